/** Nodes that come, go and get another address while traffic runs. */
import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import type { NetworkNamespace } from "../../src/linux/index.ts";
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
await lab.startAgent("h2", { underlay: "eth0" });
// Otherwise the second address of a prefix would go with the first one.
await inLab(lab, "h2", "sysctl", "-qw", "net.ipv4.conf.eth0.promote_secondaries=1");
const renumbered = { before: "192.0.2.2", after: "192.0.2.52" };

const [first, second] = [{ subnets: ["10.0.0.0/24", "fd00::/64"] }, { subnets: ["10.0.1.0/24", "fd00:0:0:1::/64"] }];
/** Those that live through the same beside each other. */
const groups: readonly (readonly [networks: readonly NetworkWish[], needs: readonly KernelFeature[]])[] = [
  [
    [
      { name: "vxlan-l2", vni: 101, ...first },
      { name: "vxlan-l3", vni: 102, mode: "l3", ...second },
    ],
    ["quick processes", "nft-inet"],
  ],
  [
    [
      { name: "geneve-l2", vni: 103, encapsulation: "geneve", ...first },
      { name: "gre-l3", vni: 104, mode: "l3", encapsulation: "gre", ...second },
    ],
    ["geneve", "gre"],
  ],
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

interface Member {
  readonly host: string;
  readonly namespace: NetworkNamespace;
  readonly ips: readonly string[];
}

async function attachTo(network: string, host: string): Promise<Member> {
  lab.addContainer(`${network}-${host}`);
  const { ips } = await lab.attach(`${network}-${host}`, host, network);
  return { host, namespace: lab.namespace(`${network}-${host}`), ips };
}

/** A network in use: its members on h1, h2 and h3, and traffic from the first to the others. */
async function begin(t: TestContext, { name }: NetworkWish) {
  const [h1, h2, h3] = [await attachTo(name, "h1"), await attachTo(name, "h2"), await attachTo(name, "h3")];
  t.after(() => {
    for (const { namespace } of [h1, h2, h3]) namespace.close();
  });
  await idle(lab, "h1", "h2", "h3");
  const unaffected = await startStream(t, h1.namespace, h3.namespace, h3.ips[0] ?? "");
  const affected = await startStream(t, h1.namespace, h2.namespace, h2.ips[0] ?? "");
  return { name, h1, h2, h3, unaffected, affected };
}

async function reaches(from: Member, to: Pick<Member, "host" | "ips">): Promise<void> {
  for (const address of to.ips)
    assert.ok(await pings(from.namespace, address), `${from.host} reaches ${address} of ${to.host}`);
}

async function live(t: TestContext, wishes: readonly NetworkWish[]): Promise<void> {
  await createNetworks(lab, wishes);
  const networks = [];
  for (const wish of wishes) networks.push(await begin(t, wish));

  // A node gets another address.
  const from = performance.now();
  await inLab(lab, "h2", "ip", "address", "add", `${renumbered.after}/24`, "dev", "eth0");
  await inLab(lab, "h2", "ip", "address", "del", `${renumbered.before}/24`, "dev", "eth0");
  for (const { h1, h2, h3 } of networks)
    await until(async () => {
      await reaches(h1, h2);
      await reaches(h3, h2);
    });
  t.diagnostic(`reached again at its new address within ${(performance.now() - from).toFixed(0)} ms`);
  await until(async () => {
    for (const host of ["h1", "h3"])
      assert.deepEqual(await traces(host, renumbered.before), [], `${host} has forgotten`);
  });

  // A node comes.
  for (const { name, h1, affected } of networks) {
    const late = await attachTo(name, "h4");
    late.namespace.close();
    await until(() => reaches(h1, late));
    t.diagnostic(`${name}, to the renumbered node: ${JSON.stringify(await affected.stop())}`);
  }

  // A node is removed while another's agent is away.
  lab.kill("h2");
  await lab.stop("h4");
  await lab.admin.delete({ resources: [{ kind: "node", name: "h4" }] });
  await idle(lab, "h1", "h3");
  await lab.startAgent("h2", { underlay: "eth0" });
  await idle(lab, "h2");
  for (const host of ["h1", "h2", "h3"])
    await until(async () => assert.deepEqual(await traces(host, "192.0.2.4"), [], `${host} has forgotten h4`));

  for (const { name, unaffected } of networks) {
    const traffic = await unaffected.stop();
    t.diagnostic(`${name}, to a node that stayed as it was: ${JSON.stringify(traffic)}`);
    assert.equal(traffic.lost, 0);
    assert.equal(traffic.tcpError, "");
  }
}

for (const [wishes, needs] of groups) {
  const names = wishes.map(({ name }) => name);
  test(
    `${names.join(" and ")}: peers follow without a restart, others lose nothing, and nothing is left behind`,
    requires(...needs),
    async (t) => {
      try {
        await live(t, wishes);
      } finally {
        await restore(names);
      }
    },
  );
}

/** As it was before, for the next networks. */
async function restore(networks: readonly string[]): Promise<void> {
  const addresses = await inLab(lab, "h2", "ip", "-br", "address", "show", "eth0");
  if (!addresses.includes(`${renumbered.before}/`)) {
    await inLab(lab, "h2", "ip", "address", "add", `${renumbered.before}/24`, "dev", "eth0");
    await inLab(lab, "h2", "ip", "address", "del", `${renumbered.after}/24`, "dev", "eth0");
  }
  for (const network of networks)
    for (const host of ["h1", "h2", "h3"]) await lab.detach(`${network}-${host}`, host, network);
  // The node of h4 is gone: the host joins anew, and finds in its kernel what it was before.
  rmSync(join(lab.names.directory, "h4"), { recursive: true, force: true });
  await lab.startAgent("h4");
  await idle(lab, "h4");
  assert.ok(!namespaceNames().includes(`${lab.names.instance("h4")}-acme`), "nothing of the node that was is left");
  await lab.admin.delete({ resources: networks.map((name) => ({ kind: "network", name })) });
}
