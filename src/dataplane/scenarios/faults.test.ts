import { describe, it } from "node:test";
import { plainScenarios, specialScenarios } from "../../testing/scenarios.ts";
import { faults, undisturbed, walkWithFault, walkWithLoss } from "../../testing/walk.ts";

const scenarios = [...plainScenarios, ...specialScenarios];
const isWhole = process.env.WEFT_WALK === "all";
/**
 * Of so many calls one fails in each way. A walk over all of them takes ten minutes: `npm run test:long`. Of those scenarios
 * that together use every table and all objects, one fails in one way or another.
 */
const stride = isWhole ? 1 : 97;
const strideInOneWay: Readonly<Record<string, number>> = isWhole
  ? {}
  : { "vxlan l2 over IPv4": 3, "geneve l3 over IPv6": 3, "gateway, egress and host access": 9 };

describe("one call of the kernel fails, and all ends well", () => {
  for (const scenario of scenarios) {
    const inOneWay = strideInOneWay[scenario.name];
    const share =
      inOneWay === undefined ? `one of ${stride}, in each way` : `one of ${inOneWay}, in one way or another`;
    it(`${scenario.name}: ${share}`, async () => {
      const { texts, calls } = await undisturbed(scenario);
      for (const [way, fault] of faults.entries()) {
        const [first, step] = inOneWay === undefined ? [way, stride] : [way * inOneWay, faults.length * inOneWay];
        for (let at = first % step; at < calls; at += step) await walkWithFault(scenario, texts, fault, at);
      }
    });
  }
});

describe("one event of the kernel is lost, and all ends well", () => {
  for (const scenario of scenarios)
    it(`${scenario.name}: one of ${stride}`, async () => {
      const { texts, events } = await undisturbed(scenario);
      for (const isTold of [true, false])
        for (let at = isTold ? 0 : stride >> 1; at < events; at += stride)
          await walkWithLoss(scenario, texts, isTold, at);
    });
});
