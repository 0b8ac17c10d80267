/** The moves of containers, 1,000 times. */
process.env.WEFT_MOVES ??= "1000";
await import("../kernel/agent-move.test.ts");
