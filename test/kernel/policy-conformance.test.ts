/**
 * Policies by the published cases of Kubernetes' NetworkPolicy: of each, who reaches whom, by real connections between two nodes, and
 * as the server explains it.
 */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { cases, type Pod, pods } from "../policy/conformance.ts";
import { PolicyStage } from "../policy/stage.ts";
import { fileRequires } from "../support/kernel.ts";

await fileRequires("nft-inet", "quick processes");

const labelsOf = (pod: Pod) => ({ ns: pod.slice(0, 1), pod: pod.slice(2) });

/** All policies are about namespace x. Of those who are both outside of it, two stand for all. */
const isOfInterest = (from: Pod, to: Pod): boolean =>
  from.startsWith("x") || to.startsWith("x") || (from === "y/a" && to.startsWith("z"));

describe("policies as Kubernetes' NetworkPolicy has them", () => {
  let stage: PolicyStage;
  before(async () => {
    const parties = pods.map((pod, index) => ({ name: pod, node: 1 + (index % 2), labels: labelsOf(pod) }));
    stage = await PolicyStage.make("netpol", parties);
  });
  after(() => stage.close());

  for (const { name, steps } of cases)
    it(name, async () => {
      for (const { policies, labels = {}, expect } of steps) {
        for (const pod of pods) {
          const wanted = labels[pod] ?? labelsOf(pod);
          if (JSON.stringify(stage.party(pod).labels) !== JSON.stringify(wanted)) await stage.setLabels(pod, wanted);
        }
        await stage.setPolicies(...policies((pod) => `${stage.party(pod).ipv4}/32`));
        for (const { protocol, port, allowed } of expect) {
          const [seen, wanted, explained] = [new Set<string>(), new Set<string>(), new Set<string>()];
          for (const from of pods)
            for (const to of pods) {
              if (from === to || !isOfInterest(from, to)) continue;
              if (await stage.reaches(from, to, protocol, port)) seen.add(`${from} > ${to}`);
              if (allowed(from, to)) wanted.add(`${from} > ${to}`);
              if (stage.explains(from, to, { protocol, port })) explained.add(`${from} > ${to}`);
            }
          assert.deepEqual([...seen], [...wanted], `${protocol} ${port}`);
          assert.deepEqual([...explained], [...seen], `${protocol} ${port}, as it is explained`);
        }
      }
    });
});
