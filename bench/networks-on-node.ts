/**
 * How soon the networks of many tenants are in the kernel of one node, and gone from it: each with its bridge, its tunnel and one
 * endpoint on another node. Peer: bridges, tunnels and entries that `ip -batch` and `bridge -batch` make in namespaces that are there.
 *
 *     scripts/node.sh bench/networks-on-node.ts [--networks 500] [--tenants 10]
 */
import { execFileSync } from "node:child_process";
import { parseArgs } from "node:util";
import { ip } from "../src/base/ip.ts";
import { mac } from "../src/base/mac.ts";
import type { Vni } from "../src/model/resources.ts";
import { createNamedNamespace, deleteNamedNamespace } from "../src/netlink/index.ts";
import { networkSettings } from "../src/testing/desired.ts";
import { untilInSync, withDataplane } from "./dataplane-scene.ts";
import { table } from "./netlink-scene.ts";

const { values: options } = parseArgs({
  options: { networks: { type: "string", default: "500" }, tenants: { type: "string", default: "10" } },
});
const count = Number(options.networks);
const tenants = Number(options.tenants);
const instance = `b${process.pid}`;
const host = `${instance}-host`;
const peers = Array.from({ length: tenants }, (_, tenant) => `${instance}-p${tenant}`);
const networks = Array.from({ length: count }, (_, number) => ({
  name: `n${number}`,
  tenant: number % tenants,
  vni: 5000 + number,
}));

function seconds(start: number): string {
  return ((performance.now() - start) / 1000).toFixed(2);
}

function weft(): Promise<string[]> {
  return withDataplane({ host, instance, vtep: ip("192.0.2.1") }, async (dataplane) => {
    const start = performance.now();
    for (const { name, tenant, vni } of networks)
      dataplane.putNetwork(networkSettings({ name, tenant: `t${tenant}`, vni: vni as Vni })).putRemote({
        id: vni.toString(16).padStart(12, "0"),
        mac: mac("02:00:00:00:00:01"),
        ips: [ip("10.0.0.7")],
        source: { name: "server", node: "h2" },
        vtep: ip("192.0.2.2"),
      });
    await untilInSync(dataplane);
    const up = seconds(start);
    const end = performance.now();
    for (const { name } of networks) dataplane.removeNetwork(name);
    await untilInSync(dataplane);
    return ["weft, tenants' namespaces and filters as well", up, seconds(end)];
  });
}

function byHand(): string[] {
  const batch = (program: string, namespace: string, lines: readonly string[]): void =>
    void execFileSync(program, ["-n", namespace, "-batch", "-"], { input: lines.join("\n") });
  const each = (make: (vni: number) => string[], program: string): void => {
    for (const [tenant, namespace] of peers.entries())
      batch(
        program,
        namespace,
        networks.filter((network) => network.tenant === tenant).flatMap(({ vni }) => make(vni)),
      );
  };
  const start = performance.now();
  each(
    (vni) => [
      `link add br${vni} type bridge`,
      `link add vx${vni} type vxlan id ${vni} local 192.0.2.1 dstport 4789 nolearning`,
      `link set vx${vni} master br${vni} up`,
      `link set br${vni} up`,
      `neigh add 10.0.0.7 lladdr 02:00:00:00:00:01 dev br${vni} nud permanent`,
    ],
    "ip",
  );
  each(
    (vni) => [
      `fdb add 02:00:00:00:00:01 dev vx${vni} master`,
      `fdb append 02:00:00:00:00:01 dev vx${vni} dst 192.0.2.2 self`,
      `fdb append 00:00:00:00:00:00 dev vx${vni} dst 192.0.2.2 self`,
    ],
    "bridge",
  );
  const up = seconds(start);
  const end = performance.now();
  each((vni) => [`link del vx${vni}`, `link del br${vni}`], "ip");
  return ["ip -batch and bridge -batch", up, seconds(end)];
}

for (const name of [host, ...peers]) createNamedNamespace(name);
try {
  const rows = [["", "up s", "gone s"], await weft(), byHand(), await weft(), byHand()];
  console.log(`${count} networks of ${tenants} tenants`);
  console.log(table(rows));
} finally {
  for (const name of [host, ...peers]) deleteNamedNamespace(name);
}
