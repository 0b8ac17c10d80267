/** The test of what container runtimes do when things go wrong, with 10,000 calls. */
process.env.WEFT_CNI_CALLS ??= "10000";
await import("../kernel/cni-faults.test.ts");
