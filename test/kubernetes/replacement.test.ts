/**
 * The steps of docs/kubernetes.md from another network of a cluster's pods to weft, and back. No package of Debian's has flannel: in its place is
 * the reference plugin `bridge`, with routes from node to node, and a configuration of flannel's name.
 */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { theWholeFile, until } from "../support/cluster.ts";
import { KubernetesCluster } from "./cluster.ts";
import type { Manifest } from "./kubectl.ts";
import type { KubernetesNode } from "./node.ts";
import { deployment, fetchFrom, readyPods } from "./pods.ts";
import { WeftNetwork } from "./weft.ts";

const cluster = await KubernetesCluster.up(theWholeFile());
const { kubectl, nodes } = cluster;
const former = { cluster: "10.244.0.0/16", prefix: "10.244.", file: "/etc/cni/net.d/10-flannel.conflist" };
const latter = { cluster: "10.245.0.0/16", prefix: "10.245." };
const service = "10.96.0.80";
const replicas = 4;

const subnetOf = (node: KubernetesNode): string => `10.244.${nodes.indexOf(node) + 1}.0/24`;

/** What flannel's daemon and its backend `host-gw` make on a node. */
async function startFormer(node: KubernetesNode): Promise<void> {
  const ipam = { type: "host-local", ranges: [[{ subnet: subnetOf(node) }]], routes: [{ dst: "0.0.0.0/0" }] };
  const bridge = { type: "bridge", bridge: "cni0", isGateway: true, ipMasq: true, hairpinMode: true, ipam };
  const plugins = [bridge, { type: "portmap", capabilities: { portMappings: true } }];
  writeFileSync(node.machine.path(former.file), JSON.stringify({ cniVersion: "0.4.0", name: "cbr0", plugins }));
  for (const other of nodes)
    if (other !== node) await node.machine.run("ip", "route", "add", subnetOf(other), "via", other.machine.address);
}

/** Until all pods of the deployment have addresses of the one network, and its service leads to each, from pods and from nodes. */
async function isWhole(prefix: string): Promise<void> {
  let pods: Manifest[] = [];
  await until(async () => {
    pods = (await readyPods(kubectl, "app=web", replicas)).filter(({ metadata }) => !metadata.deletionTimestamp);
    for (const { metadata, status } of pods)
      assert.ok(status.podIP.startsWith(prefix), `${metadata.name} ${status.podIP}`);
  });
  const names = pods.map(({ metadata }) => metadata.name).sort();
  for (const { metadata } of pods)
    for (const to of pods) assert.equal(await fetchFrom(kubectl, metadata.name, to.status.podIP), to.metadata.name);
  const asks = [
    ...names.map((name) => () => fetchFrom(kubectl, name, service)),
    ...nodes.map(
      ({ machine }) =>
        () =>
          machine.run("curl", "--silent", "--max-time", "5", `http://${service}/`).then((text) => text.trim()),
    ),
  ];
  for (const ask of asks) {
    const seen = new Set<string>();
    await until(async () => {
      seen.add(await ask());
      assert.deepEqual([...seen].sort(), names);
    });
  }
}

/** Step 4: `change` is what is done on the drained node. */
async function moveNode(node: KubernetesNode, change: string): Promise<void> {
  const { name, machine } = node;
  await kubectl.run("drain", name, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=120s");
  await machine.run("sh", "-ec", change);
  const own = ["--namespace=weft", "--selector=app=weft-presence", `--field-selector=spec.nodeName=${name}`];
  await kubectl.delete("pods", ...own);
  await kubectl.run("uncordon", name);
}

test("the former network carries the pods", async () => {
  for (const node of nodes) await startFormer(node);
  await cluster.ready();
  await kubectl.apply(deployment("web", replicas), {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "web" },
    spec: { clusterIP: service, selector: { app: "web" }, ports: [{ port: 80 }] },
  });
  await isWhole(former.prefix);
});

let weft: WeftNetwork;

test("weft is installed beside it, and new pods go on to be the former's", async () => {
  const networks = join(cluster.folder, "networks.yaml");
  const usual = readFileSync(join(import.meta.dirname, "../../deploy/networks.yaml"), "utf8");
  writeFileSync(networks, usual.replace(former.cluster, latter.cluster));
  weft = await WeftNetwork.up(cluster, { networks });
  await kubectl.run("rollout", "restart", "deployment/web");
  await kubectl.run("rollout", "status", "deployment/web", "--timeout=120s");
  await isWhole(former.prefix);
});

test("node by node pods become weft's, and nothing of the former is left", async () => {
  for (const node of nodes) await node.restartProxy(latter.cluster);
  for (const node of nodes) await moveNode(node, `mv ${former.file} /var/lib/`);
  // All are weft's by now, on the first node.
  await kubectl.run("rollout", "restart", "deployment/web");
  await kubectl.run("rollout", "status", "deployment/web", "--timeout=120s");
  for (const node of nodes)
    await node.machine.run(
      "sh",
      "-ec",
      "ip link delete cni0; ip route show 10.244.0.0/16; ip route flush root 10.244.0.0/16",
    );
  await isWhole(latter.prefix);
});

test("and back: nothing of weft's is left on the nodes", async () => {
  for (const node of nodes) {
    for (const other of nodes)
      if (other !== node) await node.machine.run("ip", "route", "add", subnetOf(other), "via", other.machine.address);
    await moveNode(node, `mv /var/lib/10-flannel.conflist ${former.file}`);
  }
  for (const node of nodes) await node.restartProxy(former.cluster);
  await kubectl.run("rollout", "restart", "deployment/web");
  await kubectl.run("rollout", "status", "deployment/web", "--timeout=120s");
  await isWhole(former.prefix);
  await until(async () => assert.deepEqual((await weft.admin.list({ kind: "endpoint" })).resources, []));
  await weft.remove();
  for (const { machine } of nodes) {
    assert.equal(await machine.run("sh", "-c", "ip -brief link | grep -E '^(br|vx|ve)[0-9]' || true"), "");
    assert.equal(await machine.run("sh", "-c", "ip route | grep 10.245 || true"), "");
    assert.equal(await machine.run("sh", "-c", "nft list tables | grep weft || true"), "");
  }
  await isWhole(former.prefix);
});
