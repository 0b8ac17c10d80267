/** An address that gets another MAC: containers of both nodes that had spoken with it learn of it at once. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createNetworks, idle, inLab, testLab, theWholeFile, until } from "../support/cluster.ts";
import { fileRequires } from "../support/kernel.ts";

await fileRequires("nft-inet");

const lab = await testLab(theWholeFile(), { hosts: 2 });
const networks = ["suppressed", "open"] as const;
await createNetworks(lab, [
  { name: "suppressed", subnets: ["10.0.0.0/24", "fd00::/64"], vni: 100 },
  { name: "open", subnets: ["10.0.0.0/24", "fd00::/64"], vni: 200, tenant: "other", arpSuppression: false },
]);
const addresses = ["10.0.0.50", "fd00::50"];
const hosts = ["h1", "h2"] as const;

/** What a container of each node has in its neighbour cache; held longer than any test takes, unless somebody tells better. */
async function remembered(network: string): Promise<string[]> {
  const macs = new Set<string>();
  for (const host of hosts)
    for (const ip of addresses) {
      const entry = await inLab(lab, `${network}-${host}`, "ip", "neigh", "show", ip, "dev", "eth0");
      macs.add(`${host} ${ip} ${/lladdr (\S+)/.exec(entry)?.[1]}`);
    }
  return [...macs].sort();
}

const everywhere = (mac: string) => hosts.flatMap((host) => addresses.map((ip) => `${host} ${ip} ${mac}`)).sort();

for (const network of networks) {
  for (const host of hosts) {
    lab.addContainer(`${network}-${host}`);
    await lab.attach(`${network}-${host}`, host, network);
    for (const family of ["ipv4", "ipv6"])
      await inLab(
        lab,
        `${network}-${host}`,
        "sysctl",
        "-qw",
        `net.${family}.neigh.eth0.base_reachable_time_ms=3600000`,
      );
  }
  for (const name of ["a", "b", "c"]) lab.addContainer(`${network}-${name}`);
  await lab.attach(`${network}-a`, "h2", network, { ips: addresses, mac: "02:00:00:00:00:0a" });
}
await idle(lab, ...hosts);

/** The address goes from one container to another, which has another MAC. */
const moves = [
  { from: "a", to: "b", onto: "h2", before: "h2", mac: "02:00:00:00:00:0b", what: "stays on its node" },
  { from: "b", to: "c", onto: "h1", before: "h2", mac: "02:00:00:00:00:0c", what: "moves to the other node" },
  { from: "c", to: "a", onto: "h2", before: "h1", mac: "02:00:00:00:00:0d", what: "moves back with a third MAC" },
];

for (const network of networks)
  for (const { from, to, onto, before, mac, what } of moves)
    test(`network ${network}: an address that ${what}`, async () => {
      for (const host of hosts)
        for (const ip of addresses)
          await until(async () => {
            await inLab(lab, `${network}-${host}`, "ping", "-c", "1", "-W", "1", ip);
          });
      await lab.detach(`${network}-${from}`, before, network);
      const stale = await remembered(network);
      assert.ok(
        stale.every((entry) => !entry.endsWith(mac) && !entry.endsWith("undefined")),
        stale.join(", "),
      );
      await lab.attach(`${network}-${to}`, onto, network, { ips: addresses, mac });
      await until(async () => assert.deepEqual(await remembered(network), everywhere(mac)));
    });
