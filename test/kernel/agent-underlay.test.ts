/** What the underlay does to the overlay: its MTU, and what must not cross it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { runProgram } from "../../src/lab/process.ts";
import {
  BackgroundProgram,
  createNetworks,
  idle,
  inLab,
  inSync,
  pings,
  pingsInVain,
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
  { name: "far", tenant: "far", mode: "l3", subnets: ["10.3.0.0/16", "fd03::/64"], vni: 300 },
  { name: "far6", tenant: "far", mode: "l3", subnets: ["10.4.0.0/16", "fd04::/64"], vni: 301, underlay: "ipv6" },
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

test("an underlay MTU that the server refuses is a problem until it takes another, and no loss of the VTEP address", async () => {
  const registration = { kind: "registration of node", key: "h2" };
  const problemsOf = async () => (await lab.agent("h2").getStatus({})).problems;
  await inLab(lab, "h2", "ip", "route", "add", "192.0.2.1", "dev", "eth0", "mtu", "1000");
  await until(async () => {
    const problem = (await problemsOf()).find(({ reference }) => reference?.kind === registration.kind);
    assert.equal(problem?.reference?.key, registration.key);
    assert.match(
      problem?.reason ?? "",
      /tell the server that node h2 has VTEP 192\.0\.2\.2, .* and underlay MTU 1000: /,
    );
  });
  assert.ok(!(await problemsOf()).some(({ reference }) => reference?.kind === "VTEP address"));
  await inLab(lab, "h2", "ip", "route", "replace", "192.0.2.1", "dev", "eth0", "mtu", "1400");
  await until(async () => assert.deepEqual(await problemsOf(), []));
  await assertMtu(1350, 1330);
  await inLab(lab, "h2", "ip", "route", "del", "192.0.2.1");
  await assertMtu(1450, 1430);
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
  assert.ok(await pingsInVain(a, "10.1.0.9"), "10.1.0.9 is another tenant's");
  assert.ok(await pingsInVain(a, "fd01::9"), "fd01::9 is another tenant's");
  assert.ok(await pingsInVain(r2, "10.1.0.1"), "10.1.0.1 is another tenant's");
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
  await lab.startAgent("h2", { underlay: "198.51.100.2,2001:db8::2" });
  await assertMtu(1350, 1330);
  assert.equal((await lab.agent("h2").getStatus({})).underlayMtu, 1500);
  await until(async () => assert.ok(await crosses("a", "10.1.0.2", 1350)));
  await inLab(lab, "h1", "ip", "route", "replace", "198.51.100.2", "via", "192.0.2.2");
  await assertMtu(1450, 1430);
  await until(async () => assert.ok(await crosses("a", "10.1.0.2", 1450)));
  await inSync(lab, "h1", "h2");
  // Without it the node carries nothing, and says so of its networks.
  const behind = async () => {
    const { readiness } = await lab.admin.list({ kind: "network", name: "web" });
    return readiness?.behind.map(({ node, reason }) => `${node}: ${reason}`) ?? [];
  };
  await until(async () => assert.deepEqual(await behind(), []));
  await inLab(lab, "h2", "ip", "addr", "del", "198.51.100.2/32", "dev", "lo");
  await until(async () => assert.match((await behind()).join(), /^h2: VTEP address: .*198\.51\.100\.2/));
  await inLab(lab, "h2", "ip", "addr", "add", "198.51.100.2/32", "dev", "lo");
  await until(async () => assert.deepEqual(await behind(), []));
  await inSync(lab, "h1", "h2");
  await inLab(lab, "h1", "ip", "route", "del", "198.51.100.2");
  await lab.stop("h2");
  await lab.startAgent("h2", { underlay: "192.0.2.2,2001:db8::2" });
  await inSync(lab, "h1", "h2");
});

/** Takes what comes over TCP, and answers with how much it was. */
const takeProgram = `
  require("node:net").createServer({ allowHalfOpen: true }, (s) => {
    let octets = 0;
    s.on("error", () => {}).on("data", (data) => { octets += data.length; }).on("end", () => s.end(String(octets)));
  }).listen(9000, "::", () => console.log("ready"));`;
const giveProgram = `
  const [address, octets] = process.argv.slice(1);
  const s = require("node:net").connect({ host: address, port: 9000, allowHalfOpen: true });
  s.on("error", (error) => console.log("failed: " + error.code)).on("data", (answer) => console.log("arrived: " + answer));
  s.end(Buffer.alloc(Number(octets)));`;

/** Tells a gateway that its answer, which never was, to another endpoint was too big for 600 octets. RFC 1191 §4. */
const forgeProgram = `
import socket, struct, sys
gateway, other = sys.argv[1:]
def checksum(data):
  total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
  total = (total >> 16) + (total & 65535)
  return ~(total + (total >> 16)) & 65535
def summed(data, at): return data[:at] + struct.pack("!H", checksum(data)) + data[at + 2:]
answer = summed(struct.pack("!BBHHH", 0, 0, 0, 1, 1) + bytes(8), 2)
header = struct.pack("!BBHHHBBH", 69, 0, 1028, 1, 0x4000, 64, 1, 0) + socket.inet_aton(gateway) + socket.inet_aton(other)
error = summed(struct.pack("!BBHI", 3, 4, 0, 600) + summed(header, 10) + answer, 2)
socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).sendto(error, (gateway, 0))
`;

test("layer-3 networks heed what the path carries, where no host's link says it", async (t) => {
  const octets = 40_000_000;
  const places: { near: string; far: string; addresses: readonly string[] }[] = [];
  for (const network of ["far", "far6"]) {
    const [near, far] = [`${network}-a`, `${network}-b`];
    for (const container of [near, far]) lab.addContainer(container);
    await lab.attach(near, "h1", network);
    const { ips } = await lab.attach(far, "h2", network);
    places.push({ near, far, addresses: ips });
  }
  await idle(lab, "h1", "h2");
  // What an endpoint says of the path of others is nothing to go by.
  await inLab(lab, "far-a", "python3", "-c", forgeProgram, "10.3.0.1", "10.3.0.66");
  assert.ok(await crosses("far-a", "10.3.0.66", 1450), "a forged error was believed");
  // The server's host becomes the router between the two.
  const router = [
    "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1",
    "sysctl -qw net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.eth0.send_redirects=0",
    ...["192.0.2.1/32", "192.0.2.2/32", "2001:db8::1/128", "2001:db8::2/128"].map(
      (host) => `ip route add ${host} dev eth0 mtu lock 1400`,
    ),
  ];
  await inLab(lab, "server", "sh", "-ec", router.join("\n"));
  for (const [host, other] of [
    ["h1", "2"],
    ["h2", "1"],
  ] as const) {
    const way = `sysctl -qw net.ipv6.conf.eth0.accept_redirects=0
      ip route add 192.0.2.${other}/32 via 192.0.2.254
      ip route add 2001:db8::${other}/128 via 2001:db8::fe`;
    await inLab(lab, host, "sh", "-ec", way);
  }
  for (const { near, far, addresses } of places) {
    using from = lab.namespace(near);
    using to = lab.namespace(far);
    const taker = new BackgroundProgram(t, to, process.execPath, ["-e", takeProgram]);
    await taker.said(/ready/);
    for (const address of addresses) {
      const giver = new BackgroundProgram(t, from, process.execPath, ["-e", giveProgram, address, `${octets}`]);
      // At 0.3 Mbit/s, as it is where every large packet is lost, it takes a quarter of an hour.
      await giver.said(new RegExp(`arrived: ${octets}`));
    }
  }
});
