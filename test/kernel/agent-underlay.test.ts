/** What the underlay does to the overlay: its MTU, and what must not cross it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { runProgram } from "../../src/lab/process.ts";
import {
  BackgroundProgram,
  createNetworks,
  inLab,
  inSync,
  pings,
  testLab,
  theWholeFile,
  until,
} from "../support/cluster.ts";
import { inTenant } from "../support/cluster-tables.ts";
import { fileRequires } from "../support/kernel.ts";

await fileRequires("quick processes");
const lab = await testLab(theWholeFile(), { hosts: 2 });
await createNetworks(lab, [
  { name: "web", tenant: "acme", subnets: ["10.1.0.0/24", "fd01::/64"], vni: 100 },
  { name: "data", tenant: "acme", subnets: ["10.2.0.0/24"], vni: 101, underlay: "ipv6" },
  { name: "other", tenant: "rival", subnets: ["10.1.0.0/24", "fd01::/64"], vni: 200 },
]);
for (const [container, host, network] of [
  ["a", "h1", "web"],
  ["b", "h2", "web"],
  ["d1", "h1", "data"],
  ["d2", "h2", "data"],
] as const) {
  lab.addContainer(container);
  await lab.attach(container, host, network);
}
await inSync(lab, "h1", "h2");

interface LinkLine {
  readonly ifname: string;
  readonly mtu: number;
  readonly master?: string;
}

/** The MTU of each device of a network on a host, and of its container's interface. */
async function mtusOf(host: string, container: string, vni: number): Promise<number[]> {
  const inside = JSON.parse(await inTenant(lab, host, "acme", "ip", "-j", "link")) as LinkLine[];
  const devices = inside.filter(({ ifname, master }) => ifname === `br${vni}` || master === `br${vni}`);
  assert.equal(devices.length, 3, "a bridge, a tunnel and a port");
  const own = JSON.parse(await inLab(lab, container, "ip", "-j", "link", "show", "eth0")) as LinkLine[];
  return [...devices, ...own].map(({ mtu }) => mtu);
}

async function assertMtu(overIpv4: number, overIpv6: number): Promise<void> {
  await until(async () => {
    for (const [host, container] of [
      ["h1", "a"],
      ["h2", "b"],
    ] as const)
      assert.deepEqual(await mtusOf(host, container, 100), Array(4).fill(overIpv4), host);
    for (const [host, container] of [
      ["h1", "d1"],
      ["h2", "d2"],
    ] as const)
      assert.deepEqual(await mtusOf(host, container, 101), Array(4).fill(overIpv6), host);
  });
}

async function macOf(container: string): Promise<string> {
  const [link] = JSON.parse(await inLab(lab, container, "ip", "-j", "link", "show", "eth0")) as { address: string }[];
  assert.ok(link !== undefined);
  return link.address;
}

/** Whether an IPv4 packet of this many octets crosses in one piece. */
async function crosses(container: string, address: string, octets: number): Promise<boolean> {
  using namespace = lab.namespace(container);
  const words = ["-c", "1", "-W", "1", "-M", "do", "-s", String(octets - 28), address];
  return (await runProgram(namespace, "ping", words)).status === 0;
}

test("the inner MTU is the underlay's less the headers", async () => {
  await assertMtu(1450, 1430);
  assert.ok(await crosses("a", "10.1.0.2", 1450));
  assert.ok(!(await crosses("a", "10.1.0.2", 1451)));
  assert.ok(await crosses("d1", "10.2.0.2", 1430));
});

test("one host's smaller underlay MTU lowers the inner MTU on every host, and raises it again", async () => {
  const links = await inTenant(lab, "h1", "acme", "ip", "-o", "link");
  const indexes = (text: string) => text.match(/^\d+: \w+/gm);
  await inLab(lab, "h2", "ip", "link", "set", "eth0", "mtu", "1400");
  await assertMtu(1350, 1330);
  assert.ok(await crosses("a", "10.1.0.2", 1350));
  assert.ok(!(await crosses("a", "10.1.0.2", 1351)));
  assert.ok(await crosses("d1", "10.2.0.2", 1330));
  await inLab(lab, "h2", "ip", "link", "set", "eth0", "mtu", "1500");
  await assertMtu(1450, 1430);
  assert.ok(await crosses("a", "10.1.0.2", 1450));
  assert.deepEqual(
    indexes(await inTenant(lab, "h1", "acme", "ip", "-o", "link")),
    indexes(links),
    "no device was made anew",
  );
  await inSync(lab, "h1", "h2");
});

test("tenants with the same addresses do not hear of each other", async (t) => {
  // Same subnets, same addresses: each sees its own neighbour, and the rival's lone container nobody.
  lab.addContainer("r1");
  lab.addContainer("r2");
  await lab.attach("r1", "h1", "other", { ips: ["10.1.0.2", "fd01::2"] });
  await lab.attach("r2", "h2", "other", { ips: ["10.1.0.9", "fd01::9"] });
  await inSync(lab, "h1", "h2");
  using a = lab.namespace("a");
  using b = lab.namespace("b");
  using r1 = lab.namespace("r1");
  using r2 = lab.namespace("r2");
  const captures = [b, r1, r2].map(
    (place) =>
      new BackgroundProgram(t, place, "tcpdump", [
        "-n",
        "-e",
        "-l",
        "--immediate-mode",
        "-i",
        "eth0",
        "icmp or icmp6 or arp",
      ]),
  );
  for (const capture of captures) await capture.said(/listening on/);
  const [atB, atR1, atR2] = captures;
  assert.ok(await pings(a, "10.1.0.2"), "a reaches b");
  await atB?.said(/10\.1\.0\.1 > 10\.1\.0\.2: ICMP echo request/);
  assert.ok(!(await pings(a, "10.1.0.9")), "10.1.0.9 is another tenant's");
  assert.ok(!(await pings(a, "fd01::9")), "fd01::9 is another tenant's");
  assert.ok(!(await pings(r2, "10.1.0.1")), "10.1.0.1 is another tenant's");
  // What they do see is their own: the captures work.
  assert.ok(await pings(r2, "10.1.0.2"), "r2 reaches r1");
  await atR1?.said(/10\.1\.0\.9 > 10\.1\.0\.2: ICMP echo request/);
  for (const capture of captures) await capture.end("SIGINT");
  assert.ok(atB?.output.includes(await macOf("a")), "captures show MAC addresses");
  for (const [capture, stranger] of [
    [atB, "r1"],
    [atB, "r2"],
    [atR1, "a"],
    [atR1, "b"],
    [atR2, "a"],
    [atR2, "b"],
  ] as const)
    assert.ok(!capture?.output.includes(await macOf(stranger)), `nothing of ${stranger}'s: ${capture?.output}`);
});

test("frames of a tunnel from an address that is no VTEP stay outside", async (t) => {
  // A stranger on the underlay sends a broadcast in VNI 100 to h1.
  using a = lab.namespace("a");
  await inLab(lab, "h2", "ip", "addr", "add", "192.0.2.99/24", "dev", "eth0");
  const capture = new BackgroundProgram(t, a, "tcpdump", [
    "-n",
    "-l",
    "-e",
    "--immediate-mode",
    "-i",
    "eth0",
    "ether proto 0x88b5",
  ]);
  await capture.said(/listening on/);
  const frame = `08000000 00006400 ffffffffffff 0200deadbeef 88b5 ${"00".repeat(46)}`.replaceAll(" ", "");
  const send = (source: string) =>
    inLab(
      lab,
      "h2",
      process.execPath,
      "-e",
      `const s = require("node:dgram").createSocket("udp4");
       s.bind(0, "${source}", () => s.send(Buffer.from("${frame}", "hex"), 4789, "192.0.2.1", () => s.close()));`,
    );
  await send("192.0.2.99");
  await send("192.0.2.2");
  await capture.said(/02:00:de:ad:be:ef/);
  await capture.end("SIGINT");
  assert.equal(capture.output.match(/02:00:de:ad:be:ef/g)?.length, 1, "the VTEP's frame alone came in");
});

test("a VTEP address on the loopback interface has the MTU of the routes to the other nodes, and follows them", async () => {
  await lab.admin.setNode({ name: "h2", approved: { ipv4: "198.51.100.2", ipv6: "2001:db8::2" } });
  await inLab(lab, "h2", "ip", "addr", "add", "198.51.100.2/32", "dev", "lo");
  await inLab(lab, "h1", "ip", "route", "add", "198.51.100.2", "via", "192.0.2.2", "mtu", "1400");
  await lab.stop("h2");
  await lab.startAgent("h2", "198.51.100.2,2001:db8::2");
  await assertMtu(1350, 1330);
  assert.equal((await lab.agent("h2").getStatus({})).underlayMtu, 1500);
  await until(async () => assert.ok(await crosses("a", "10.1.0.2", 1350)));
  await inLab(lab, "h1", "ip", "route", "replace", "198.51.100.2", "via", "192.0.2.2");
  await assertMtu(1450, 1430);
  await until(async () => assert.ok(await crosses("a", "10.1.0.2", 1450)));
  await inSync(lab, "h1", "h2");
});
