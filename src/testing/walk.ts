import assert from "node:assert/strict";
import { minutes } from "../base/duration.ts";
import type { MachineFault } from "./kernel/namespace.ts";
import type { Scenario } from "./scenarios.ts";
import { difference, Scene } from "./scene.ts";

/** Ways in which a call fails. asm-generic/errno-base.h, errno.h. */
export const faults: readonly MachineFault[] = [
  { errno: 16 }, // EBUSY
  { errno: 105 }, // ENOBUFS
  { errno: 2 }, // ENOENT
  { errno: 17 }, // EEXIST
  "answer lost",
  "namespace gone",
];

/** What the machine holds after each step of a scenario in which nothing goes wrong, and how many calls that took. */
export interface Undisturbed {
  readonly texts: readonly string[];
  readonly calls: number;
  readonly events: number;
}

const steps = 3;

/** Takes one step and sees it through: comes up, changes, leaves. */
async function take(step: number, scenario: Scenario, scene: Scene): Promise<void> {
  if (step === 0) await scene.start(scenario.first);
  else {
    if (step === 1) scenario.later(scene.dataplane);
    else scene.removeNetworks();
    await scene.dataplane.changed();
  }
}

export async function undisturbed(scenario: Scenario): Promise<Undisturbed> {
  const scene = await Scene.make();
  const begun = { calls: scene.machine.calls, events: scene.machine.events };
  const texts: string[] = [];
  for (let step = 0; step < steps; step++) {
    await take(step, scenario, scene);
    await scene.settle();
    texts.push(scene.machine.text());
  }
  await scene.dataplane.close();
  const { calls, events } = scene.machine;
  return { texts, calls: calls - begun.calls, events: events - begun.events };
}

/** One call of the kernel goes wrong. */
export async function walkWithFault(
  scenario: Scenario,
  texts: readonly string[],
  fault: MachineFault,
  at: number,
): Promise<void> {
  // That what is to go has gone already is believed until the next audit.
  const isBelieved = typeof fault === "object" && fault.errno === 2;
  const what = `${JSON.stringify(fault)} at call ${at}`;
  await walk(scenario, texts, what, (scene) => scene.machine.failAfter(at, fault), isBelieved);
}

/** One event is lost, unheard of until the audit, unless `isTold`. */
export async function walkWithLoss(
  scenario: Scenario,
  texts: readonly string[],
  isTold: boolean,
  at: number,
): Promise<void> {
  const what = `event ${at} is lost${isTold ? ", which is told" : ""}`;
  await walk(scenario, texts, what, (scene) => scene.machine.loseEventAfter(at, isTold), !isTold);
}

/** Walks through a scenario in which something goes wrong once: it ends well, and says nothing wrong meanwhile. */
async function walk(
  scenario: Scenario,
  texts: readonly string[],
  what: string,
  disturb: (scene: Scene) => void,
  needsAudit: boolean,
): Promise<void> {
  const scene = await Scene.make();
  disturb(scene);
  for (let step = 0; step < steps; step++) {
    await take(step, scenario, scene);
    const isRight = (when: string): void =>
      assert.deepEqual(difference(scene.machine.text(), texts[step] ?? ""), [], `${what}, step ${step}, ${when}`);
    await scene.turns();
    scene.bringContainers();
    if (scene.dataplane.inSync && !needsAudit) isRight("when all was said to be well");
    await scene.settle();
    if (needsAudit) {
      scene.clock.advance(minutes(5));
      await scene.settle();
    }
    isRight("when all had come to rest");
  }
  await scene.dataplane.close();
}
