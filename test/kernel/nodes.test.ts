/** Nodes that come, go and get another address while traffic runs. */
import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import {
  createNetworks,
  idle,
  inLab,
  type NetworkWish,
  namespaceNames,
  pings,
  testLab,
  theWholeFile,
  until,
} from "../support/cluster.ts";
import { inTenant } from "../support/cluster-tables.ts";
import { startStream } from "../support/cluster-traffic.ts";
import { type KernelFeature, requires } from "../support/kernel.ts";

const file = theWholeFile();
const lab = await testLab(file, { hosts: 4 });
// This one follows the address of its interface.
await lab.stop("h2");
await lab.startAgent("h2", "eth0");
// Otherwise the second address of a prefix would go with the first one.
await inLab(lab, "h2", "sysctl", "-qw", "net.ipv4.conf.eth0.promote_secondaries=1");
const renumbered = { before: "192.0.2.2", after: "192.0.2.52" };

const flat = { subnets: ["10.0.0.0/24", "fd00::/64"] };
const networks: readonly (readonly [network: NetworkWish, needs: readonly KernelFeature[]])[] = [
  [{ name: "vxlan-l2", vni: 101, ...flat }, ["quick processes", "nft-inet"]],
  [{ name: "vxlan-l3", vni: 102, mode: "l3", ...flat }, ["quick processes", "nft-inet"]],
  [{ name: "geneve-l2", vni: 103, encapsulation: "geneve", ...flat }, ["geneve"]],
  [{ name: "gre-l3", vni: 104, mode: "l3", encapsulation: "gre", ...flat }, ["gre"]],
];

/** Everything in the kernel of a host that names a VTEP: tunnels, tables, nexthops, filters. */
async function traces(host: string, vtep: string): Promise<string[]> {
  const hex = vtep
    .split(".")
    .map((octet) => Number(octet).toString(16).padStart(2, "0"))
    .join("");
  const listing = [
    await inTenant(lab, host, "acme", "sh", "-c", "ip -d link; bridge fdb; ip neigh; ip route"),
    await inLab(lab, host, "sh", "-c", "ip nexthop; nft list ruleset; ip -d link"),
  ].join("\n");
  const pattern = new RegExp(`\\b${vtep.replaceAll(".", "\\.")}\\b|-${hex}\\b`);
  return listing.split("\n").filter((line) => pattern.test(line));
}

async function attachAll(network: string, hosts: readonly string[]): Promise<Map<string, readonly string[]>> {
  const ips = new Map<string, readonly string[]>();
  for (const host of hosts) {
    lab.addContainer(`${network}-${host}`);
    ips.set(host, (await lab.attach(`${network}-${host}`, host, network)).ips);
  }
  await idle(lab, ...hosts);
  return ips;
}

async function live(t: TestContext, network: NetworkWish): Promise<void> {
  const { name } = network;
  await createNetworks(lab, [network]);
  const ips = await attachAll(name, ["h1", "h2", "h3"]);
  const ipOf = (host: string): string => ips.get(host)?.[0] ?? "";
  using h1 = lab.namespace(`${name}-h1`);
  using h2 = lab.namespace(`${name}-h2`);
  using h3 = lab.namespace(`${name}-h3`);
  const unaffected = await startStream(t, h1, h3, ipOf("h3"));
  const affected = await startStream(t, h1, h2, ipOf("h2"));

  // A node gets another address.
  const from = performance.now();
  await inLab(lab, "h2", "ip", "address", "add", `${renumbered.after}/24`, "dev", "eth0");
  await inLab(lab, "h2", "ip", "address", "del", `${renumbered.before}/24`, "dev", "eth0");
  await until(async () => {
    for (const address of ips.get("h2") ?? []) assert.ok(await pings(h1, address), `h1 reaches ${address} again`);
    for (const address of ips.get("h2") ?? []) assert.ok(await pings(h3, address), `h3 reaches ${address} again`);
  });
  t.diagnostic(`reached again at its new address within ${(performance.now() - from).toFixed(0)} ms`);
  await until(async () => {
    for (const host of ["h1", "h3"])
      assert.deepEqual(await traces(host, renumbered.before), [], `${host} has forgotten`);
  });

  // A node comes.
  const late = await attachAll(name, ["h4"]);
  for (const address of late.get("h4") ?? []) await until(async () => assert.ok(await pings(h1, address)));
  t.diagnostic(`to the renumbered node: ${JSON.stringify(await affected.stop())}`);

  // A node is removed while another's agent is away.
  lab.kill("h2");
  await lab.stop("h4");
  await lab.admin.delete({ resources: [{ kind: "node", name: "h4" }] });
  await idle(lab, "h1", "h3");
  await lab.startAgent("h2", "eth0");
  await idle(lab, "h2");
  for (const host of ["h1", "h2", "h3"])
    await until(async () => assert.deepEqual(await traces(host, "192.0.2.4"), [], `${host} has forgotten h4`));

  const traffic = await unaffected.stop();
  t.diagnostic(`to a node that stayed as it was: ${JSON.stringify(traffic)}`);
  assert.equal(traffic.lost, 0);
  assert.equal(traffic.tcpError, "");
}

for (const [network, needs] of networks)
  test(
    `${network.name}: peers follow without a restart, others lose nothing, and nothing is left behind`,
    requires(...needs),
    async (t) => {
      try {
        await live(t, network);
      } finally {
        await restore(network.name);
      }
    },
  );

/** As it was before, for the next network. */
async function restore(network: string): Promise<void> {
  const addresses = await inLab(lab, "h2", "ip", "-br", "address", "show", "eth0");
  if (!addresses.includes(`${renumbered.before}/`)) {
    await inLab(lab, "h2", "ip", "address", "add", `${renumbered.before}/24`, "dev", "eth0");
    await inLab(lab, "h2", "ip", "address", "del", `${renumbered.after}/24`, "dev", "eth0");
  }
  for (const host of ["h1", "h2", "h3"]) await lab.detach(`${network}-${host}`, host, network);
  // The node of h4 is gone: the host joins anew, and finds in its kernel what it was before.
  rmSync(join(lab.names.directory, "h4"), { recursive: true, force: true });
  await lab.startAgent("h4");
  await idle(lab, "h4");
  assert.ok(!namespaceNames().includes(`${lab.names.instance("h4")}-acme`), "nothing of the node that was is left");
  await lab.admin.delete({ resources: [{ kind: "network", name: network }] });
}
