/**
 * How soon pods have their sandboxes, network included, when many come to one node at once: in a real cluster of Kubernetes, with weft on
 * one node and the reference plugins `bridge`, `host-local` and `portmap` on the other, in turns. By containerd's log, from the first call
 * of a round to the end of each; and how long each call took.
 *
 * Needs what scripts/kubernetes-build.sh builds.
 *
 *     scripts/node.sh bench/pod-sandboxes.ts [--pods 50] [--rounds 4]
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { KubernetesCluster } from "../test/kubernetes/cluster.ts";
import type { KubernetesNode } from "../test/kubernetes/node.ts";
import { approached, readyPods, webPod } from "../test/kubernetes/pods.ts";
import { WeftNetwork } from "../test/kubernetes/weft.ts";
import { quantiles, table } from "./netlink-scene.ts";

const { values: options } = parseArgs({
  options: { pods: { type: "string", default: "50" }, rounds: { type: "string", default: "4" } },
});
const count = Number(options.pods);

// All of it ends with this process.
const cluster = await KubernetesCluster.up({ after: () => {} });
const { kubectl, nodes } = cluster;
await WeftNetwork.up(cluster);
const [withWeft, withBridge] = nodes as [KubernetesNode, KubernetesNode];
const bridge = {
  cniVersion: "1.0.0",
  name: "bridge",
  plugins: [
    {
      ...{ type: "bridge", bridge: "cni0", isGateway: true, ipMasq: true, hairpinMode: true },
      ipam: {
        type: "host-local",
        ranges: [[{ subnet: "10.250.0.0/16" }]],
        routes: [{ dst: "0.0.0.0/0" }],
      },
    },
    { type: "portmap", capabilities: { portMappings: true } },
  ],
};
writeFileSync(withBridge.machine.path("/etc/cni/net.d/05-bridge.conflist"), JSON.stringify(bridge));

const kinds = [
  ["weft", withWeft],
  ["bridge", withBridge],
] as const;
const rows: string[][] = [["sandboxes, ms", "", "p50", "p90", "p99", "max"]];
const results = kinds.map(([name, node]) => ({ name, node, sinceFirst: [] as number[], calls: [] as number[] }));
for (let round = 0; round <= Number(options.rounds); round++)
  for (const { name, node, sinceFirst, calls } of results) {
    const before = sandboxCalls(node).length;
    const label = `${name}-${round}`;
    const labels = { app: label };
    await kubectl.apply(
      ...Array.from({ length: count }, (_, index) =>
        webPod({ name: `${label}-${index}`, node: node.name, labels, fields: { command: ["sleep", "infinity"] } }),
      ),
    );
    await readyPods(kubectl, `app=${label}`, count);
    const made = sandboxCalls(node).slice(before);
    await kubectl.run("delete", "pods", "--selector", `app=${label}`, "--wait=false");
    await approached(0, async () => (await kubectl.list("pods")).length);
    // The first round fills caches, and brings what stays.
    if (round === 0) continue;
    const first = Math.min(...made.map(({ began }) => began));
    sinceFirst.push(...made.map(({ ended }) => ended - first));
    calls.push(...made.map(({ began, ended }) => ended - began));
  }
for (const { name, sinceFirst, calls } of results) {
  rows.push([`${count} at once, since the first call`, name, ...text(sinceFirst)]);
  rows.push(["each call", name, ...text(calls)]);
}
console.log(table(rows));
process.exit();

/** Calls of containerd that made a sandbox, in milliseconds. */
function sandboxCalls({ machine }: KubernetesNode): { readonly began: number; readonly ended: number }[] {
  const line =
    /^time="([^"]+)" level=info msg="RunPodSandbox for &PodSandboxMetadata\{(\S+)\}( returns sandbox id )?/gim;
  const began = new Map<string, number>();
  const calls: { readonly began: number; readonly ended: number }[] = [];
  for (const [, time = "", pod = "", returned] of readFileSync(join(machine.folder, "containerd.log"), "utf8").matchAll(
    line,
  )) {
    const start = began.get(pod);
    if (returned === undefined) began.set(pod, milliseconds(time));
    else if (start !== undefined) calls.push({ began: start, ended: milliseconds(time) });
  }
  return calls;
}

/** Of a moment in RFC 3339 with nanoseconds. */
function milliseconds(time: string): number {
  const [, whole = "", fraction = "0"] = /^(.*?)(\.\d+)?Z$/.exec(time) ?? [];
  return Date.parse(`${whole}Z`) + Number(fraction) * 1_000;
}

function text(times: readonly number[]): string[] {
  return quantiles(times).map((value) => value.toFixed(0));
}
