/** The kill test of the server, 100 times. */
process.env.WEFT_KILL_CYCLES ??= "100";
await import("../../src/server/kill.test.ts");
