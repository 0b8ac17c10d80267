/** The dataplane's unit tests of single changes, with each encapsulation in each mode over both IP versions. */
process.env.WEFT_WALK = "all";
await import("../../src/dataplane/scenarios/changes.test.ts");
