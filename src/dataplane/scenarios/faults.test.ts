import { describe, it } from "node:test";
import { plainScenarios, specialScenarios } from "../../testing/scenarios.ts";
import { faults, undisturbed, walkWithFault, walkWithLoss } from "../../testing/walk.ts";

/** Those that together use every table and all objects. */
const main = new Set(["vxlan l2 over IPv4", "gateway, egress and host access", "geneve l3 over IPv6"]);
const scenarios = [...plainScenarios, ...specialScenarios];
/** A walk over all of them in each way takes ten minutes: `npm run test:long`. */
const stride = process.env.WEFT_WALK === "all" ? 1 : 41;

describe("one call of the kernel fails, and all ends well", () => {
  for (const scenario of scenarios) {
    const isMain = main.has(scenario.name) && stride > 1;
    it(`${scenario.name}: ${isMain ? "each, in one way or another" : `each of ${stride}, in each way`}`, async () => {
      const { texts, calls } = await undisturbed(scenario);
      for (const [way, fault] of faults.entries()) {
        const [first, step] = isMain ? [way, faults.length] : [way % stride, stride];
        for (let at = first; at < calls; at += step) await walkWithFault(scenario, texts, fault, at);
      }
    });
  }
});

describe("one event of the kernel is lost, and all ends well", () => {
  for (const scenario of scenarios)
    it(`${scenario.name}: each of ${stride}`, async () => {
      const { texts, events } = await undisturbed(scenario);
      for (const isTold of [true, false])
        for (let at = isTold ? 0 : stride >> 1; at < events; at += stride)
          await walkWithLoss(scenario, texts, isTold, at);
    });
});
