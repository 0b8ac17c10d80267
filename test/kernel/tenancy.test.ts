/**
 * Networks of many tenants with the same subnet: every VNI carries traffic under its own number, the least and the greatest
 * among them, and a node has of all that no more than what its endpoints are in.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { unwrap } from "../../src/base/result.ts";
import { startCapture } from "../../src/lab/capture.ts";
import { decodeFrame, readPcap } from "../../src/wire/index.ts";
import { createNetworks, idle, inLab, pings, testDirectory, testLab, theWholeFile, until } from "../support/cluster.ts";
import { inTenant } from "../support/cluster-tables.ts";
import { fileRequires } from "../support/kernel.ts";

await fileRequires("vxlan", "nft-inet");

/** With and without each of the three octets. RFC 7348 §5: 24 bits. */
const vnis = [1, 0xff, 0x100, 0xffff, 0x10000, 0xff_fffe, 0xff_ffff];
const networkOf = (vni: number): string => `n${vni}`;
const tenantOf = (vni: number): string => `t${vni}`;

const lab = await testLab(theWholeFile(), { hosts: 3 });
await createNetworks(
  lab,
  vnis.map((vni) => ({ name: networkOf(vni), tenant: tenantOf(vni), vni, subnets: ["10.1.0.0/24"] })),
);
const places = [
  ...vnis.flatMap((vni) => [
    { vni, host: "h1", container: `a${vni}` },
    { vni, host: "h2", container: `b${vni}` },
  ]),
  { vni: 0xff_ffff, host: "h3", container: "c" },
];
const addresses = new Map<string, string>();
for (const { vni, host, container } of places) {
  lab.addContainer(container);
  const { ips } = await lab.attach(container, host, networkOf(vni));
  addresses.set(container, ips[0] ?? "");
}
await idle(lab, "h1", "h2", "h3");

test("each VNI carries what its network sends, and names it on the wire", async (t) => {
  const file = join(testDirectory(t), "eth0.pcap");
  using underlay = lab.namespace("h1");
  const capture = await startCapture(underlay, "eth0", file, { filter: "udp port 4789", direction: "out" });
  for (const vni of vnis) {
    using from = lab.namespace(`a${vni}`);
    assert.ok(await pings(from, addresses.get(`b${vni}`) ?? ""), `VNI ${vni}`);
  }
  await capture.stop();
  const seen = new Set(
    unwrap(readPcap(readFileSync(file))).packets.flatMap(({ bytes }) =>
      decodeFrame(bytes).layers.flatMap((layer) => (layer.protocol === "vxlan" ? [layer.header.vni] : [])),
    ),
  );
  assert.deepEqual(
    [...seen].sort((a, b) => a - b),
    vnis,
  );
});

/** The tenants of which a node has something, and the devices that networks have in them. */
async function instantiated(host: string): Promise<string[]> {
  const prefix = `${lab.names.instance(host)}-`;
  const names = (await inLab(lab, host, "ip", "netns", "list")).split("\n").map((line) => line.split(" ")[0] ?? "");
  const lines: string[] = [];
  for (const tenant of names.filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length))) {
    const links: { ifname: string }[] = JSON.parse(await inTenant(lab, host, tenant, "ip", "-j", "link", "show"));
    const devices = links.map(({ ifname }) => ifname).filter((name) => /^(br|vx)\d+$/.test(name));
    lines.push(`${tenant}: ${devices.sort().join(" ")}`);
  }
  return lines.sort();
}
const whole = (...numbers: readonly number[]): string[] =>
  numbers.map((vni) => `${tenantOf(vni)}: br${vni} vx${vni}`).sort();

test("a node has the networks of its endpoints, and of others nothing", async () => {
  assert.deepEqual(await instantiated("h1"), whole(...vnis));
  assert.deepEqual(await instantiated("h3"), whole(0xff_ffff));
  const { networks } = await lab.agent("h3").getStatus({});
  assert.deepEqual(
    networks.map(({ name }) => name),
    [networkOf(0xff_ffff)],
  );
  lab.addContainer("d");
  await lab.attach("d", "h3", networkOf(0x100));
  await until(async () => assert.deepEqual(await instantiated("h3"), whole(0x100, 0xff_ffff)));
  await lab.detach("d", "h3", networkOf(0x100));
  await lab.detach("c", "h3", networkOf(0xff_ffff));
  await until(async () => assert.deepEqual(await instantiated("h3"), []));
});
