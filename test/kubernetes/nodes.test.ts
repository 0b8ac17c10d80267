import assert from "node:assert/strict";
import { test } from "node:test";
import { theWholeFile } from "../support/cluster.ts";
import { KubernetesCluster } from "./cluster.ts";

const cluster = await KubernetesCluster.up(theWholeFile());

test("without a network nodes are not ready", async () => {
  for (const { status } of await cluster.kubectl.list("nodes")) {
    const ready = status.conditions.find(({ type }: { readonly type: string }) => type === "Ready");
    assert.equal(ready.status, "False");
    assert.match(ready.message, /network/);
  }
});
