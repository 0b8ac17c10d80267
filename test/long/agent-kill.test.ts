/** The kill test of the agent, 50 times. */
process.env.WEFT_KILLS ??= "50";
await import("../kernel/agent-kill.test.ts");
