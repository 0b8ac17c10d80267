/** Pods and nodes come and go, by the hundred and without warning. */
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { theWholeFile, until } from "../support/cluster.ts";
import { KubernetesCluster } from "./cluster.ts";
import type { KubernetesNode } from "./node.ts";
import { approached, deployment, fetchFrom, readyPods, webPod } from "./pods.ts";
import { WeftNetwork } from "./weft.ts";

const cluster = await KubernetesCluster.up(theWholeFile());
const { kubectl, nodes } = cluster;
const [, two] = nodes as [KubernetesNode, KubernetesNode];
const weft = await WeftNetwork.up(cluster);

/** What a node has in its kernel of weft's and of the runtime's, without what comes and goes on every host. */
async function traces({ machine }: KubernetesNode): Promise<string[]> {
  const lines = await machine.run(
    "sh",
    "-ec",
    `ip -brief link | sed 's/ .*//'
     ip route
     ip netns
     iptables-save | grep -e CNI -e KUBE-SEP || true`,
  );
  return lines.trim().split("\n").sort();
}

async function deletePods(...words: readonly string[]): Promise<void> {
  await kubectl.delete(...words);
  for (const node of nodes) await approached(0, async () => (await podsOf(node)).length);
}

/** Addresses on the node, but for that of the pod that each node has. */
async function podsOf(node: KubernetesNode): Promise<string[]> {
  const { endpoints } = await weft.agent(node).getStatus({});
  const always = await kubectl.list("pods", "--namespace=weft", "--selector=app=weft-presence");
  const ips = always.map(({ status }) => status.podIP);
  return endpoints.flatMap(({ endpoint }) => endpoint?.ips ?? []).filter((ip) => !ips.includes(ip));
}

/** Endpoints, but for those of the pods that each node has. */
async function endpointsOnServer(): Promise<number> {
  return (await weft.admin.list({ kind: "endpoint" })).resources.length - nodes.length;
}

// Whatever came of a test, the next begins with nothing.
afterEach(() => kubectl.run("delete", "deployments,pods", "--all", "--wait=false"));

test("pods that are deleted leave nothing on their nodes or the server", async () => {
  // The first pods bring what stays: devices while the node hosts the network, and the chains of portmap.
  const fields = { ports: [{ containerPort: 80, hostPort: 8081 }] };
  await kubectl.apply(webPod({ name: "first", node: "n1", fields }), webPod({ name: "second", node: "n2", fields }));
  await kubectl.run("wait", "--for=condition=Ready", "pod/first", "pod/second", "--timeout=120s");
  const before = await Promise.all(nodes.map(traces));
  const ports = [{ containerPort: 80, hostPort: 8080 }];
  await kubectl.apply(
    ...nodes.flatMap(({ name }) => [
      webPod({ name: `${name}-a`, node: name, labels: { app: "brief" }, fields: { ports } }),
      webPod({ name: `${name}-b`, node: name, labels: { app: "brief" } }),
    ]),
  );
  await readyPods(kubectl, "app=brief", 4);
  await kubectl.delete("pods", "--selector", "app=brief");
  await until(async () => {
    assert.equal(await endpointsOnServer(), 2);
    assert.deepEqual(await Promise.all(nodes.map(traces)), before);
  });
  await deletePods("pods", "first", "second");
});

test("200 pods come and go, each with an address of its own", async () => {
  await kubectl.apply(deployment("many", 200));
  const pods = await readyPods(kubectl, "app=many", 200);
  assert.equal(new Set(pods.map(({ status }) => status.podIP)).size, 200);
  await approached(200, endpointsOnServer);
  await deletePods("deployment", "many");
  await approached(0, async () => (await kubectl.list("pods")).length);
  await until(async () => assert.equal(await endpointsOnServer(), 0));
});

test("while the agent of a node starts again, its pods work on, and what comes meanwhile comes up afterwards", async () => {
  await kubectl.apply(webPod({ name: "old", node: "n1" }), webPod({ name: "other", node: "n2" }));
  await kubectl.run("wait", "--for=condition=Ready", "pod/old", "pod/other", "--timeout=120s");
  const before = await kubectl.json("pod", "old");
  await kubectl.run("--namespace=weft", "delete", "pods", "--selector=app=weft-agent", "--wait=false");
  await kubectl.apply(webPod({ name: "new", node: "n1" }));
  assert.equal(await fetchFrom(kubectl, "other", before.status.podIP), "old");
  await kubectl.run("wait", "--for=condition=Ready", "pod/new", "--timeout=120s");
  const { status } = await kubectl.json("pod", "new");
  assert.equal(await fetchFrom(kubectl, "other", status.podIP), "new");
  assert.equal(await fetchFrom(kubectl, "other", before.status.podIP), "old");
  assert.deepEqual(await kubectl.json("pod", "old").then((pod) => pod.status.podIP), before.status.podIP);
  await deletePods("pods", "old", "other", "new");
});

/** Pings until it is asked how many answers came: `120 packets transmitted, 120 packets received`. */
async function startPings(pod: string, address: string): Promise<() => Promise<string>> {
  const shell = (script: string): Promise<string> => kubectl.exec(pod, "sh", "-c", script);
  await shell(`ping -i 0.05 ${address} >/tmp/pings 2>&1 & echo $! >/tmp/pid`);
  return async () => {
    await shell("kill -INT $(cat /tmp/pid)");
    let counts = "";
    await until(async () => {
      counts = /\d+ packets transmitted, \d+ packets received/.exec(await shell("cat /tmp/pings"))?.[0] ?? "";
      assert.notEqual(counts, "");
    });
    return counts;
  };
}

test("server and agents are replaced one after the other, and no packet between pods is lost", async () => {
  await kubectl.apply(webPod({ name: "old", node: "n1" }), webPod({ name: "other", node: "n2" }));
  await kubectl.run("wait", "--for=condition=Ready", "pod/old", "pod/other", "--timeout=120s");
  const { status } = await kubectl.json("pod", "other");
  const end = await startPings("old", status.podIP);
  for (const what of ["deployment/weft-server", "daemonset/weft-agent"]) {
    await kubectl.run("--namespace=weft", "rollout", "restart", what);
    await kubectl.run("--namespace=weft", "rollout", "status", what, "--timeout=180s");
  }
  const [sent, received] = (await end()).match(/\d+/g)?.map(Number) ?? [];
  assert.equal(received, sent);
  await deletePods("pods", "old", "other");
});

/** Its pods leave a node as soon as that is given up. */
const impatience = ["not-ready", "unreachable"].map((state) => ({
  ...{ key: `node.kubernetes.io/${state}`, operator: "Exists", effect: "NoExecute", tolerationSeconds: 1 },
}));

test("a node that is switched off and on has its pods again, and nothing of those before", async () => {
  await kubectl.apply(deployment("on-two", 3, { nodeName: "n2" }), webPod({ name: "other", node: "n1" }));
  await readyPods(kubectl, "app=on-two", 3);
  await kubectl.run("wait", "--for=condition=Ready", "pod/other", "--timeout=120s");
  await two.machine.switchOff();
  await two.machine.boot();
  await two.start();
  let addresses: string[] = [];
  await until(async () => {
    const pods = await kubectl.list("pods", "--selector", "app=on-two");
    const again = pods.filter(({ status: { containerStatuses: [web] = [] } }) => web?.ready && web.restartCount > 0);
    assert.equal(again.length, 3);
    addresses = again.map(({ status }) => status.podIP).sort();
  });
  for (const address of addresses) await fetchFrom(kubectl, "other", address);
  await until(async () => {
    assert.deepEqual((await podsOf(two)).sort(), addresses);
    assert.equal(await endpointsOnServer(), 4);
  });
  await deletePods("deployment/on-two", "pod/other");
});

test("pods of a node that was switched off come up on another, and their service leads there", async () => {
  await kubectl.apply(deployment("moves", 4, { tolerations: impatience }), webPod({ name: "other", node: "n1" }));
  await kubectl.apply({
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "moves" },
    spec: { clusterIP: "10.96.0.81", selector: { app: "moves" }, ports: [{ port: 80 }] },
  });
  const before = await readyPods(kubectl, "app=moves", 4);
  assert.ok(before.some(({ spec }) => spec.nodeName === "n2"));
  await two.machine.switchOff();
  let names: string[] = [];
  await until(async () => {
    const pods = await kubectl.list("pods", "--selector", "app=moves", "--field-selector", "spec.nodeName=n1");
    const ready = pods.filter(({ status }) => status.containerStatuses?.[0]?.ready);
    assert.equal(ready.length, 4);
    names = ready.map(({ metadata }) => metadata.name).sort();
  });
  // All of them answer, and nobody else is asked any more.
  const answered = new Set<string>();
  await until(async () => {
    answered.add(await fetchFrom(kubectl, "other", "10.96.0.81"));
    assert.deepEqual([...answered].sort(), names);
  });
});
