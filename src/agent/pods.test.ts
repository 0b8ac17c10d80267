import assert from "node:assert/strict";
import { test } from "node:test";
import type { Pod } from "../model/resources.ts";
import { Pods } from "./pods.ts";

const pod = (name: string): Pod => ({ name, node: "h1", title: "", networks: ["web"], ips: [] });
const never = new AbortController().signal;

test("who asks for a pod waits until it is told of", async () => {
  const pods = new Pods();
  const [one, another] = [pods.told("p1", never), pods.told("p1", never)];
  pods.apply({ kind: "pod", pod: pod("p2") });
  pods.apply({ kind: "pod", pod: pod("p1") });
  assert.deepEqual(await Promise.all([one, another]), [pod("p1"), pod("p1")]);
  assert.deepEqual(await pods.told("p2", never), pod("p2"));
  pods.apply({ kind: "pod-removed", name: "p2" });
  assert.deepEqual([...pods.names], ["p1"]);
});

test("whoever gives up does so alone, and every change is told", async () => {
  const pods = new Pods();
  let changes = 0;
  pods.onChange = () => changes++;
  const patience = new AbortController();
  const [impatient, patient] = [pods.told("p1", patience.signal), pods.told("p1", never)];
  patience.abort(new Error("too long"));
  await assert.rejects(impatient, /too long/);
  await assert.rejects(pods.told("p1", patience.signal), /too long/);
  pods.apply({ kind: "pod", pod: pod("p1") });
  assert.deepEqual(await patient, pod("p1"));
  pods.apply({ kind: "pod-removed", name: "p1" });
  assert.equal(changes, 2);
});
