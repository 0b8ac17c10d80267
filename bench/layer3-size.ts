/**
 * What a node holds in its kernel of 5,000 nodes with 60 endpoints each: as one layer-3 network, in which each node owns a
 * block, and as one flat layer-2 network, in which each endpoint has rows of its own. Both by the real dataplane into the
 * real kernel, and counted there by ip and bridge.
 *
 *     scripts/node.sh bench/layer3-size.ts [--nodes 5000] [--endpoints 60]
 */
import { execFileSync } from "node:child_process";
import { parseArgs } from "node:util";
import { addressAt, cidr, cidrOf } from "../src/base/cidr.ts";
import { mac } from "../src/base/mac.ts";
import type { DesiredNetwork } from "../src/dataplane/index.ts";
import { namespaceName } from "../src/dataplane/kernel-names.ts";
import { NetworkNamespace } from "../src/linux/index.ts";
import type { Vni } from "../src/model/resources.ts";
import { createNamedNamespace, deleteNamedNamespace } from "../src/netlink/index.ts";
import { networkSettings } from "../src/testing/desired.ts";
import { untilInSync, withDataplane } from "./dataplane-scene.ts";
import { table } from "./netlink-scene.ts";

const { values: options } = parseArgs({
  options: { nodes: { type: "string", default: "5000" }, endpoints: { type: "string", default: "60" } },
});
const nodes = Number(options.nodes);
const endpoints = Number(options.endpoints);
const subnet = cidr("10.0.0.0/12");
const blockLength = 26;
const instance = `b${process.pid}`;
const host = `${instance}-host`;
const vtepOf = (node: number) => addressAt(cidr("172.16.0.0/12"), BigInt(node + 1));

function fillLayer3(network: DesiredNetwork): void {
  for (let node = 1; node < nodes; node++) {
    const block = cidrOf(addressAt(subnet, BigInt(node) << 6n), blockLength);
    const source = { name: "server", node: `h${node}` } as const;
    network.putBlock({ cidr: block, source, vtep: vtepOf(node), isDirect: false, isFromLink: false });
  }
}

function fillLayer2(network: DesiredNetwork): void {
  for (let node = 1; node < nodes; node++)
    for (let endpoint = 0; endpoint < endpoints; endpoint++) {
      const number = node * endpoints + endpoint;
      const hex = number.toString(16).padStart(12, "0");
      network.putRemote({
        id: hex,
        mac: mac(`02:00:${hex.slice(4, 6)}:${hex.slice(6, 8)}:${hex.slice(8, 10)}:${hex.slice(10, 12)}`),
        ips: [addressAt(subnet, BigInt(number))],
        source: { name: "server", node: `h${node}` },
        vtep: vtepOf(node),
      });
    }
}

/** Rows of weft's in the tenant's namespace, as iproute2 shows them. */
function count(tenant: string): Record<string, number> {
  using namespace = NetworkNamespace.openNamed(namespaceName(instance, tenant));
  const lines = (command: string): number =>
    namespace.run(() => Number(execFileSync("/bin/sh", ["-c", `${command} | wc -l`], { encoding: "utf8" }).trim()));
  return {
    routes: lines("ip route show proto 119"),
    neighbours: lines("ip neigh show proto 119"),
    tunnel: lines("bridge fdb show | grep 'self.*extern_learn' | grep -v 00:00:00:00:00:00"),
    bridge: lines("bridge fdb show | grep 'extern_learn.*master'"),
    flood: lines("bridge fdb show | grep 00:00:00:00:00:00"),
  };
}

createNamedNamespace(host);
try {
  const rows = [["network", "routes", "neighbours", "tunnel FDB", "bridge FDB", "flood list", "seconds"]];
  await withDataplane({ host, instance, vtep: vtepOf(0) }, async (dataplane) => {
    for (const [name, mode, fill] of [
      ["layer 3", "l3", fillLayer3],
      ["layer 2", "l2", fillLayer2],
    ] as const) {
      const begin = performance.now();
      const settings = networkSettings({
        name: mode,
        tenant: mode,
        mode,
        vni: (mode === "l3" ? 3 : 2) as Vni,
        subnets: [subnet],
        localVtep: vtepOf(0),
        gateways: mode === "l3" ? [{ address: addressAt(subnet, 1n), prefixLength: blockLength }] : [],
      });
      fill(dataplane.putNetwork(settings));
      await untilInSync(dataplane);
      const took = (performance.now() - begin) / 1_000;
      const { routes, neighbours, tunnel, bridge, flood } = count(mode);
      rows.push([name, ...[routes, neighbours, tunnel, bridge, flood].map(String), took.toFixed(1)]);
      dataplane.removeNetwork(mode);
      await dataplane.changed();
    }
  });
  console.log(`${nodes} nodes with ${endpoints} endpoints each: rows in the kernel of one node`);
  console.log(table(rows));
} finally {
  for (const tenant of ["l2", "l3"]) deleteNamedNamespace(namespaceName(instance, tenant));
  deleteNamedNamespace(host);
}
