/** The walk over faults of the dataplane's unit tests, without leaving anything out: each call, in each way, and each event. */
process.env.WEFT_WALK = "all";
await import("../../src/dataplane/scenarios/faults.test.ts");
