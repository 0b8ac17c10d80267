/** The test of networks that change, with a node that takes 20 s for it. */
process.env.WEFT_STANDSTILL ??= "20";
await import("../kernel/network-changes.test.ts");
