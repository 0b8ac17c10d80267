/** Pods on nodes that have weft for their network. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { theWholeFile, until } from "../support/cluster.ts";
import { KubernetesCluster } from "./cluster.ts";
import { fetchFrom, readyPods, webPod } from "./pods.ts";
import { WeftNetwork } from "./weft.ts";

const cluster = await KubernetesCluster.up(theWholeFile());
const { kubectl } = cluster;

test("without a network nodes are not ready, with weft they are", async () => {
  for (const { status } of await kubectl.list("nodes")) {
    const ready = status.conditions.find(({ type }: { readonly type: string }) => type === "Ready");
    assert.equal(ready.status, "False");
    assert.match(ready.message, /network/);
  }
  await WeftNetwork.up(cluster);
});

test("pods talk, on one node and on two", async () => {
  const labels = { app: "talk" };
  await kubectl.apply(
    webPod({ name: "a", node: "n1", labels }),
    webPod({ name: "b", node: "n1", labels }),
    webPod({ name: "c", node: "n2", labels }),
  );
  const pods = await readyPods(kubectl, "app=talk", 3);
  for (const from of pods)
    for (const to of pods)
      await until(async () =>
        assert.equal(await fetchFrom(kubectl, from.metadata.name, to.status.podIP), to.metadata.name),
      );
});
