/** A cluster with IPv4 and IPv6 whose nodes have the part of the pods' subnets that Kubernetes gives them. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { addressAt, cidr, cidrContains } from "../../src/base/cidr.ts";
import { type IpAddress, ip } from "../../src/base/ip.ts";
import { theWholeFile, until } from "../support/cluster.ts";
import { KubernetesCluster } from "./cluster.ts";
import { podSubnets } from "./control-plane.ts";
import type { Manifest } from "./kubectl.ts";
import type { Machine } from "./machine.ts";
import { fetchFrom, readyPods, webPod } from "./pods.ts";
import { WeftNetwork } from "./weft.ts";

const cluster = await KubernetesCluster.up(theWholeFile(), { families: "dual" });
const { kubectl, control, nodes } = cluster;
const [one, two] = nodes.map(({ machine }) => machine) as [Machine, Machine];
const networks = join(cluster.folder, "networks.yaml");
const usual = readFileSync(join(import.meta.dirname, "../../deploy/networks.yaml"), "utf8");
const declared = `subnets: [${podSubnets.join(", ")}]\nblockAssignment: declared\nblockSize: 256`;
writeFileSync(networks, usual.replace(/^subnets: .*$/m, declared));
await WeftNetwork.up(cluster, { networks });

const addressesOf = ({ status }: Manifest): IpAddress[] => status.podIPs.map((each: Manifest) => ip(each.ip));
/** An IPv6 address as URLs have it. */
const inUrl = (address: string): string => (address.includes(":") ? `[${address}]` : address);
const fetchOn = (machine: Machine, address: string, port = 80): Promise<string> =>
  machine
    .run("curl", "--silent", "--show-error", "--max-time", "5", `http://${inUrl(address)}:${port}/`)
    .then((answer) => answer.trim());

let pods: Manifest[] = [];

test("pods have an address of each family, of their node's podCIDRs", async () => {
  const labels = { app: "web" };
  await kubectl.apply(
    webPod({ name: "a", node: "n1", labels }),
    webPod({ name: "b", node: "n1", labels }),
    webPod({ name: "c", node: "n2", labels }),
  );
  pods = await readyPods(kubectl, "app=web", 3);
  for (const pod of pods) {
    const { podCIDRs } = (await kubectl.json("node", pod.spec.nodeName)).spec;
    assert.deepEqual(
      addressesOf(pod).map((address) => podCIDRs.findIndex((each: string) => cidrContains(cidr(each), address))),
      [0, 1],
    );
  }
});

test("pods and nodes reach pods by both, on one node and on two, and pods the nodes", async () => {
  for (const to of pods)
    for (const address of addressesOf(to)) {
      for (const from of pods) assert.equal(await fetchFrom(kubectl, from.metadata.name, address), to.metadata.name);
      for (const machine of [one, two]) assert.equal(await fetchOn(machine, address), to.metadata.name, machine.name);
    }
  for (const { metadata } of pods)
    for (const { address, address6 } of [control, one, two])
      for (const each of [address, address6]) await kubectl.exec(metadata.name, "ping", "-c", "1", "-W", "5", each);
});

test("a service of both families leads to its pods by both, from pods, from nodes and by node ports", async () => {
  await kubectl.apply({
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "web" },
    spec: {
      type: "NodePort",
      ipFamilyPolicy: "RequireDualStack",
      selector: { app: "web" },
      ports: [{ port: 80, nodePort: 30_080 }],
    },
  });
  const { spec } = await kubectl.json("service", "web");
  const asks = [
    ...spec.clusterIPs.flatMap((address: string) => [
      ...["a", "c"].map((name) => () => fetchFrom(kubectl, name, address)),
      ...[one, two].map((machine) => () => fetchOn(machine, address)),
    ]),
    ...[one, two].flatMap(({ address, address6 }) => [
      () => fetchOn(control, address, 30_080),
      () => fetchOn(control, address6, 30_080),
    ]),
  ];
  assert.equal(asks.length, 12);
  for (const ask of asks) {
    const seen = new Set<string>();
    await until(async () => {
      seen.add(await ask());
      assert.deepEqual([...seen].sort(), ["a", "b", "c"]);
    });
  }
});

test("a node's probe reaches a pod by IPv6, also one that policies isolate from all others", async () => {
  const { podCIDRs } = (await kubectl.json("node", "n1")).spec;
  const [address, address6] = podCIDRs.map((each: string) => addressAt(cidr(each), 200n));
  await kubectl.apply({
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { name: "nobody" },
    spec: { podSelector: { matchLabels: { app: "probed" } } },
  });
  const probe = { httpGet: { host: address6, port: 80, path: "/" }, periodSeconds: 1, failureThreshold: 1 };
  const pod = webPod({ name: "probed", node: "n1", labels: { app: "probed" }, fields: { readinessProbe: probe } });
  pod.metadata.annotations = { "weft.dev/addresses": `${address},${address6}` };
  await kubectl.apply(pod);
  const [probed] = (await readyPods(kubectl, "app=probed", 1)) as [Manifest];
  assert.deepEqual(addressesOf(probed), [address, address6]);
  for (const each of [address, address6]) await assert.rejects(fetchFrom(kubectl, "b", each));
  await kubectl.delete("networkpolicy", "nobody");
  await until(async () => assert.equal(await fetchFrom(kubectl, "c", address6), "probed"));
});
