/** Faults of the lab, one after the other, as whoever learns makes them; each in a lab that has no other. */
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { breakLab, type Fault, faults, hasSymptom, mendLab, readBroken, unmet } from "../../src/lab/faults/index.ts";
import type { Lab } from "../../src/lab/lab.ts";
import { setScene } from "../../src/lab/scenario.ts";
import { testLab, theWholeFile, until } from "./cluster.ts";
import { settledFootprint } from "./cluster-footprint.ts";
import { type KernelFeature, kernelFeatures, requires } from "./kernel.ts";

/** What a fault needs that some kernel has, on which it is tried then. */
export function kernelNeeds({ needs }: Fault): readonly KernelFeature[] {
  return kernelFeatures.filter((feature) => (needs as readonly string[]).includes(feature));
}

/**
 * Tests that each fault of these that this machine can have is felt while it is there, and that nothing is left of it.
 * `others` declares tests of the same lab.
 */
export function testFaults(chosen: (fault: Fault) => boolean, others: (lab: () => Lab) => void = () => {}): void {
  const whole = theWholeFile();
  let lab: Lab;
  let clean: readonly string[];

  before(async () => {
    lab = await testLab(whole);
    await setScene(lab, () => {});
    clean = await traces(lab);
  });

  for (const fault of faults.filter(chosen))
    test(`${fault.name}: ${fault.title}`, requires(...kernelNeeds(fault)), async () => {
      assert.equal(unmet(fault.needs), undefined);
      await until(async () => assert.ok(!(await hasSymptom(lab, fault)), "felt before it was made"));
      await breakLab(lab, fault.name);
      assert.equal(readBroken(lab)?.fault, fault.name);
      await until(async () => assert.ok(await hasSymptom(lab, fault), "not felt"));
      await mendLab(lab);
      await until(async () => assert.ok(!(await hasSymptom(lab, fault)), "felt after it was mended"));
      assert.equal(readBroken(lab), undefined);
    });

  others(() => lab);

  test("nothing is left of any of them", async () => {
    await until(async () => assert.deepEqual(await traces(lab), clean));
  });
}

/** What there is, whichever numbers the kernel gave it. */
async function traces(lab: Lab): Promise<string[]> {
  return (await settledFootprint(lab)).map((line) => line.replace(/(?<=: )\d+: |(?<=@if)\d+/g, "")).sort();
}
