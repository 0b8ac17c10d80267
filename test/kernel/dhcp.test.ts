/**
 * Real clients in namespaces whose addresses were taken away: what they are told by DHCP and router advertisements, in whose name, and
 * that nobody else hears them ask.
 */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { type Ipv4Address, ip } from "../../src/base/ip.ts";
import { broadcastMac, mac, macToBytes } from "../../src/base/mac.ts";
import { buildFrame, type Dhcpv4Option, decodeFrame, dhcpv4 } from "../../src/wire/index.ts";
import {
  BackgroundProgram,
  createNetworks,
  idle,
  inLab,
  type Owner,
  pings,
  testDirectory,
  testLab,
  theWholeFile,
  until,
  weft,
  weftJson,
} from "../support/cluster.ts";
import { inTenant } from "../support/cluster-tables.ts";
import { fileRequires, requires } from "../support/kernel.ts";
import { testNamespace } from "../support/namespaces.ts";
import { RawInterface } from "../support/raw-frames.ts";
import { TapGuest } from "../support/tap-guest.ts";

await fileRequires("nft-inet", "quick processes");

const owner = theWholeFile();
const lab = await testLab(owner, { hosts: 2 });
const directory = testDirectory(owner);
const told = { dns: ["10.1.0.53", "fd01::53"], domain: "lab.example", ntp: ["10.1.0.123"], leaseTime: 600 };
await createNetworks(lab, [
  { name: "flat", subnets: ["10.1.0.0/24", "fd01::/64"], vni: 100, gateway: "distributed", mtu: 1400, dhcp: told },
  { name: "pods", mode: "l3", subnets: ["10.2.0.0/16", "fd02::/64"], vni: 200, gateway: "distributed", dhcp: {} },
  {
    ...{ name: "plain", subnets: ["10.3.0.0/24"], vni: 300, policyDefault: "deny", antiSpoof: false },
    dhcp: { bootServer: "10.3.0.69", bootFile: "pxelinux.0" },
  },
  { name: "six", subnets: ["fd04::/64"], vni: 400, dhcp: { dns: ["fd04::53"] } },
]);

interface Guest {
  readonly host: "h1" | "h2";
  readonly network: string;
  readonly ips: readonly string[];
}
const guests = {
  flat1: { host: "h1", network: "flat", ips: ["10.1.0.11", "fd01::11"] },
  flat2: { host: "h1", network: "flat", ips: ["10.1.0.12", "fd01::12"] },
  flat3: { host: "h2", network: "flat", ips: ["10.1.0.13", "fd01::13"] },
  pods1: { host: "h1", network: "pods", ips: [] },
  pods2: { host: "h2", network: "pods", ips: [] },
  plain1: { host: "h1", network: "plain", ips: ["10.3.0.11"] },
  plain2: { host: "h2", network: "plain", ips: ["10.3.0.12"] },
  six1: { host: "h1", network: "six", ips: ["fd04::11"] },
  six2: { host: "h2", network: "six", ips: ["fd04::12"] },
} satisfies Record<string, Guest>;
type Name = keyof typeof guests;

const addresses = new Map<Name, readonly string[]>();
const ids = new Map<Name, string>();
const macs = new Map<Name, string>();
for (const [name, { host, network, ips }] of Object.entries(guests) as [Name, Guest][]) {
  lab.addContainer(name);
  const attached = await lab.attach(name, host, network, { ips: [...ips] });
  addresses.set(name, attached.ips);
  ids.set(name, attached.id);
  macs.set(name, attached.mac);
}
await idle(lab, "h1", "h2");
const addressOf = (name: Name, family: 4 | 6): string =>
  addresses.get(name)?.find((address) => address.includes(":") === (family === 6)) ?? "";

/** Takes away what weft has set up inside, as if a guest's kernel knew of nothing yet. */
async function strip(name: Name): Promise<void> {
  await inLab(
    lab,
    name,
    "sh",
    "-ec",
    "ip addr flush dev eth0 scope global; ip -4 route flush dev eth0 2>/dev/null || true; ip -6 route flush dev eth0 proto 119; ip -6 route flush dev eth0 proto ra",
  );
}

/** What clients run when something happened to their lease: it prints what they were told, and does as it was told. */
const script = join(directory, "told");
writeFileSync(
  script,
  `#!/bin/sh
env | sed "s/^/TOLD $1$reason /"
case "$1$reason" in
bound | renew | BOUND | RENEW | REBOOT)
  ip addr replace $ip$new_ip_address/$mask$new_subnet_mask dev eth0
  for router in $router $new_routers; do ip route replace default via $router dev eth0; done ;;
BOUND6 | REBIND6) ip addr replace $new_ip6_address/128 dev eth0 nodad ;;
esac
exit 0
`,
  { mode: 0o755 },
);

/** What the client was told when it came to this. */
function toldBy({ output }: BackgroundProgram, moment: string): Record<string, string> {
  const start = `TOLD ${moment} `;
  const lines = output.split("\n").filter((line) => line.startsWith(start));
  return Object.fromEntries(lines.map((line) => line.slice(start.length).split(/=(.*)/s).slice(0, 2)));
}

function begin(on: Owner, name: Name, command: string, ...words: readonly string[]): BackgroundProgram {
  using namespace = lab.namespace(name);
  return new BackgroundProgram(on, namespace, command, words);
}

/** Begins BusyBox's client and waits until it has a lease. */
async function udhcpc(on: Owner, name: Name): Promise<BackgroundProgram> {
  await strip(name);
  const options = ["-i", "eth0", "-f", "-s", script, "-t", "20", "-T", "1", "-O", "mtu", "-O", "staticroutes"];
  const client = begin(on, name, "busybox", "udhcpc", ...options);
  await client.said(/TOLD bound/);
  return client;
}

let clients = 0;

/** How ISC's client is called; `leases`: what it remembers. */
function dhclientWords(leases: string, ...words: readonly string[]): string[] {
  const path = join(directory, `dhclient${++clients}`);
  writeFileSync(`${path}.leases`, leases);
  writeFileSync(`${path}.conf`, "also request dhcp6.name-servers, dhcp6.domain-search;\n");
  const files = ["-lf", `${path}.leases`, "-pf", `${path}.pid`, "-cf", `${path}.conf`, "-sf", script];
  return [...words, "-d", "-v", ...files, "eth0"];
}

/** Begins ISC's client. */
function dhclient(on: Owner, name: Name, leases: string, ...words: readonly string[]): BackgroundProgram {
  return begin(on, name, "dhclient", ...dhclientWords(leases, ...words));
}

const dhcpPorts = new Set([67, 68, 546, 547]);

/** Whether a frame is one of those that ask for configuration, or answer. */
function isConfiguration(frame: Uint8Array): boolean {
  return decodeFrame(frame).layers.some(
    (layer) =>
      (layer.protocol === "udp" && dhcpPorts.has(layer.header.destinationPort)) ||
      (layer.protocol === "icmpv6" && /^router-/.test(`${layer.header.type}`)),
  );
}

/** Sends frames to everybody that mean nothing, until all of the listeners have had one; what else they had by then is of before. */
async function heardBy(sender: Name, listeners: readonly Name[], action: () => Promise<void>): Promise<number[]> {
  const open = async (name: Name): Promise<RawInterface> => {
    using namespace = lab.namespace(name);
    return await RawInterface.open(namespace, "eth0");
  };
  const own = await open(sender);
  const others = await Promise.all(listeners.map(open));
  try {
    // IEEE 802 local experimental EtherType 1.
    const marker = Uint8Array.of(
      ...macToBytes(broadcastMac),
      ...macToBytes(mac(macs.get(sender) as string)),
      0x88,
      0xb5,
    );
    const isMarker = (frame: Uint8Array): boolean => frame[12] === 0x88 && frame[13] === 0xb5;
    await action();
    const frames = others.map((): Uint8Array[] => []);
    await until(() => {
      own.send(Uint8Array.of(...marker, ...new Uint8Array(46)));
      for (const [index, each] of others.entries()) frames[index]?.push(...each.received());
      assert.ok(frames.every((all) => all.some(isMarker)));
    });
    return frames.map((all) => all.filter(isConfiguration).length);
  } finally {
    for (const each of [own, ...others]) each.close();
  }
}

/** The kernel of the guest listens to routers from now on. */
async function listenToRouters(name: Name): Promise<void> {
  await inLab(lab, name, "sh", "-ec", "sysctl -qw net.ipv6.conf.eth0.accept_ra=1 net.ipv6.conf.eth0.accept_dad=0");
}

const networkMacs = { flat: "02:57:00:00:00:64", six: "02:57:00:00:01:90" };
const linkLocals = { flat: "fe80::57:ff:fe00:64", six: "fe80::57:ff:fe00:190" };

test("a DHCPv4 client is told the address of its endpoint and what goes with it", async (t) => {
  const expected: readonly [Name, Record<string, string | undefined>][] = [
    [
      "flat1",
      {
        ...{ ip: "10.1.0.11", mask: "24", serverid: "10.1.0.1", router: "10.1.0.1", mtu: "1400", lease: "600" },
        ...{ dns: "10.1.0.53", domain: "lab.example", ntpsrv: "10.1.0.123", staticroutes: undefined },
      },
    ],
    [
      "pods1",
      {
        ...{ ip: addressOf("pods1", 4), mask: "26", serverid: "10.2.0.1", router: "10.2.0.1", mtu: "1450" },
        ...{ staticroutes: "10.2.0.0/16 10.2.0.1 0.0.0.0/0 10.2.0.1", lease: "86400", dns: undefined },
      },
    ],
    [
      "plain1",
      {
        ...{ ip: "10.3.0.11", mask: "24", serverid: "169.254.0.1", router: undefined },
        ...{ siaddr: "10.3.0.69", boot_file: "pxelinux.0", tftp: "10.3.0.69", bootfile: "pxelinux.0" },
      },
    ],
  ];
  for (const [name, wanted] of expected) {
    const client = await udhcpc(t, name);
    const found = toldBy(client, "bound");
    assert.deepEqual(Object.fromEntries(Object.keys(wanted).map((key) => [key, found[key]])), wanted, name);
    await client.end();
  }
  using flat1 = lab.namespace("flat1");
  assert.ok(await pings(flat1, "10.1.0.13"), "within the network");
  assert.ok(await pings(flat1, addressOf("pods2", 4)), "by the router");
});

test("a host name is what the label says, or the id", async (t) => {
  const id = ids.get("flat1") as string;
  const before = await udhcpc(t, "flat1");
  assert.equal(toldBy(before, "bound").hostname, id);
  await before.end();
  const { status, complaints } = await weft([
    "endpoint",
    "set",
    id,
    "--label",
    "hostname=web-1",
    "--server",
    lab.serverSocket,
  ]);
  assert.equal(status, 0, complaints);
  await idle(lab, "h1");
  const after = await udhcpc(t, "flat1");
  assert.equal(toldBy(after, "bound").hostname, "web-1");
  await after.end();
});

for (const [name, server, what] of [
  ["flat1", "10.1.0.1", "the gateway"],
  ["plain1", "169.254.0.1", "a server that is nobody's address"],
] as const)
  test(`a client renews by unicast to ${what}`, async (t) => {
    const client = await udhcpc(t, name);
    // The client closes its socket when it has sent, and loses an answer that is there before that: then it broadcasts.
    await until(async () => {
      const before = client.complaints.length;
      process.kill(client.pid, "SIGUSR1");
      await until(() => assert.match(client.complaints.slice(before), /lease of/));
      assert.match(client.complaints.slice(before), new RegExp(`sending renew to server ${server}\n.*lease of`));
    });
    await client.said(/TOLD renew ip=/);
    assert.equal(toldBy(client, "renew").ip, addressOf(name, 4));
    await client.end();
  });

test("a client that asks for another endpoint's address is refused, and gets its own", async (t) => {
  await strip("flat1");
  const times = ["renew", "rebind", "expire"].map((each) => `${each} 5 2099/01/02 00:00:00;`).join(" ");
  const lease = `lease { interface "eth0"; fixed-address 10.1.0.12; option subnet-mask 255.255.255.0; ${times} }\n`;
  const client = dhclient(t, "flat1", lease, "-4");
  await client.said(/bound to 10\.1\.0\.11/);
  assert.match(client.complaints, /DHCPREQUEST for 10\.1\.0\.12 on eth0/);
  assert.match(client.complaints, /DHCPNAK from 10\.1\.0\.1/);
  assert.equal(toldBy(client, "BOUND").new_host_name, "web-1");
  await client.end();
});

test("a DHCPv6 client is told the address of its endpoint, keeps it when it comes back, and may ask for the rest alone", async (t) => {
  const expected = {
    flat1: ["fd01::11", "fd01::53", "lab.example."],
    six1: ["fd04::11", "fd04::53", undefined],
  } as const;
  for (const name of ["flat1", "six1"] as const) {
    await strip(name);
    await listenToRouters(name);
    const client = dhclient(t, name, "", "-6");
    await client.said(/TOLD BOUND6/);
    const { new_ip6_address, new_dhcp6_name_servers, new_dhcp6_domain_search } = toldBy(client, "BOUND6");
    assert.deepEqual([new_ip6_address, new_dhcp6_name_servers, new_dhcp6_domain_search], expected[name]);
    await client.end();
    const leases = readFileSync(join(directory, `dhclient${clients}.leases`), "utf8");
    const again = dhclient(t, name, leases, "-6");
    await again.said(/TOLD REBIND6|TOLD BOUND6|TOLD REBOOT6/);
    assert.match(again.complaints, /XMT: Confirm/);
    assert.doesNotMatch(again.complaints, /XMT: Solicit/);
    await again.end();
    const strayed = dhclient(t, name, leases.replaceAll(`iaaddr ${expected[name][0]}`, "iaaddr fd01::99"), "-6");
    await strayed.said(/TOLD BOUND6/);
    assert.match(strayed.complaints, /XMT: Confirm.*XMT: Solicit/s);
    assert.equal(toldBy(strayed, "BOUND6").new_ip6_address, expected[name][0]);
    await strayed.end();
    const stateless = dhclient(t, name, "", "-6", "-S");
    await stateless.said(/TOLD \S+ new_dhcp6_name_servers=/);
    await stateless.end();
  }
});

test("routers that a guest asks for are the node: prefix, MTU, DNS, and a way out where there is one", async () => {
  for (const [name, network, lifetime] of [
    ["flat1", "flat", 600],
    ["six1", "six", 0],
  ] as const) {
    await strip(name);
    await listenToRouters(name);
    const found = await inLab(lab, name, "rdisc6", "-1", "-n", "eth0");
    const subnet = network === "flat" ? "fd01::/64" : "fd04::/64";
    for (const pattern of [
      /Stateful address conf\.\s+:\s+Yes/,
      /Stateful other conf\.\s+:\s+Yes/,
      new RegExp(`Router lifetime\\s+:\\s+${lifetime} `),
      new RegExp(`Source link-layer address:\\s+${networkMacs[network]}`, "i"),
      new RegExp(`MTU\\s+:\\s+${network === "flat" ? 1400 : 1450} bytes`),
      new RegExp(`Prefix\\s+:\\s+${subnet}`),
      /On-link\s+:\s+Yes/,
      /Autonomous address conf\.:\s+No/,
      new RegExp(`Recursive DNS server\\s+:\\s+${network === "flat" ? "fd01::53" : "fd04::53"}`),
      new RegExp(`from ${linkLocals[network]}`),
    ])
      assert.match(found, pattern, name);
    const routes = await inLab(lab, name, "ip", "-6", "route", "show", "dev", "eth0");
    assert.match(routes, new RegExp(`^${subnet} proto kernel .*expires|^${subnet} proto ra`, "m"), routes);
    const isDefault = new RegExp(`^default via ${linkLocals[network]} proto ra`, "m").test(routes);
    assert.equal(isDefault, lifetime > 0, routes);
    const global = await inLab(lab, name, "ip", "-6", "addr", "show", "dev", "eth0", "scope", "global");
    assert.equal(global, "", "no address of the guest's own making");
  }
});

test("by what it was told a guest reaches others over IPv6, in its network and beyond", async (t) => {
  await strip("flat1");
  await listenToRouters("flat1");
  await inLab(lab, "flat1", "rdisc6", "-1", "-q", "eth0");
  const client = dhclient(t, "flat1", "", "-6");
  await client.said(/TOLD BOUND6/);
  using flat1 = lab.namespace("flat1");
  await until(async () => assert.ok(await pings(flat1, "fd01::13")));
  await until(async () => assert.ok(await pings(flat1, addressOf("pods2", 6))));
  await client.end();
});

/** Asks in all ways that there are, once at least. */
async function askInAllWays(on: Owner, name: Name, isAnswered: boolean): Promise<void> {
  await strip(name);
  const busybox = ["udhcpc", "-i", "eth0", "-f", "-n", "-q", "-t", "2", "-T", "1", "-s", "/bin/true"];
  const client = begin(on, name, "busybox", ...busybox);
  assert.equal((await client.ended()) === 0, isAnswered);
  if (!guests[name].ips.some((address) => address.includes(":"))) return;
  const solicitor = begin(on, name, "rdisc6", "-1", "-r", "1", "-w", "500", "eth0");
  assert.equal((await solicitor.ended()) === 0, isAnswered);
  const client6 = dhclient(on, name, "", "-6");
  await client6.said(isAnswered ? /TOLD BOUND6/ : /XMT: Solicit/);
  await client6.end();
}

async function set(...words: readonly string[]): Promise<void> {
  const { status, complaints } = await weft(["network", "set", ...words, "--wait", "--server", lab.serverSocket]);
  assert.equal(status, 0, complaints);
}

/** The lifetime of the first router that a guest hears of through this. */
async function lifetimeTold(name: Name, action: () => Promise<void>): Promise<number> {
  using namespace = lab.namespace(name);
  const own = await RawInterface.open(namespace, "eth0");
  try {
    const lifetimes: number[] = [];
    await action();
    await until(() => {
      for (const frame of own.received())
        for (const { protocol, header } of decodeFrame(frame).layers)
          if (protocol === "icmpv6" && header.type === "router-advertisement") lifetimes.push(header.routerLifetime);
      assert.notEqual(lifetimes.length, 0);
    });
    return lifetimes[0] as number;
  } finally {
    own.close();
  }
}

test("nobody else hears a guest ask, on its node or another; without DHCP they do", async (t) => {
  assert.deepEqual(await heardBy("flat1", ["flat2", "flat3"], () => askInAllWays(t, "flat1", true)), [0, 0]);
  await set("plain", "--policy-default", "allow");
  assert.deepEqual(await heardBy("plain1", ["plain2"], () => askInAllWays(t, "plain1", true)), [0]);
  assert.equal(await lifetimeTold("flat1", () => set("flat", "--no-dhcp")), 0, "a router that is none any more");
  await set("plain", "--no-dhcp");
  for (const count of await heardBy("flat1", ["flat2", "flat3"], () => askInAllWays(t, "flat1", false)))
    assert.ok(count > 0);
  for (const count of await heardBy("plain1", ["plain2"], () => askInAllWays(t, "plain1", false))) assert.ok(count > 0);
  const again = ["--dhcp", "--lease-time", "900", "--dns", "10.1.0.53", "--dns", "fd01::53"];
  assert.equal(await lifetimeTold("flat1", () => set("flat", ...again)), 900, "without having been asked");
  await set("plain", "--dhcp", "--policy-default", "deny");
});

/** Frames of the endpoint that were dropped, by reason. */
async function dropped(name: Name): Promise<Record<string, number>> {
  const places = ["--server", lab.serverSocket, "--agent", lab.agentSocket(guests[name].host)];
  return (await weftJson(["endpoint", "show", ids.get(name) as string, ...places])).dropped;
}

test("under policies that deny everything guests are configured all the same, and nothing counts as denied", async (t) => {
  using plain1 = lab.namespace("plain1");
  assert.equal(await pings(plain1, "10.3.0.12"), false);
  const before = await dropped("plain1");
  assert.ok((before["policy-egress"] ?? 0) > 0);
  const client = await udhcpc(t, "plain1");
  await client.end();
  assert.deepEqual(await dropped("plain1"), before);
});

test("a virtual machine behind a tap is told all of it", requires("tap"), async (t) => {
  const card = "52:54:00:00:00:01";
  const ips = ["--ip", "10.1.0.51", "--ip", "fd01::51"];
  const there = ["--agent", lab.agentSocket("h1")];
  const { status, complaints } = await weft(["attach", "flat", "--tap", "vm1", "--mac", card, ...ips, ...there]);
  assert.equal(status, 0, complaints);
  using guest = testNamespace("machine");
  using h1 = lab.namespace("h1");
  const machine = new TapGuest({ namespace: h1, tap: "vm1" }, { namespace: guest.namespace, tap: "eth0" });
  try {
    guest.shell(`ip link set eth0 address ${card} mtu 1400
      sysctl -qw net.ipv6.conf.eth0.accept_dad=0 net.ipv6.conf.eth0.accept_ra=1; ip link set eth0 up`);
    const options = ["udhcpc", "-i", "eth0", "-f", "-s", script, "-t", "20", "-T", "1"];
    const client = new BackgroundProgram(t, guest.namespace, "busybox", options);
    await client.said(/TOLD bound ip=10\.1\.0\.51/);
    await client.end();
    // This process carries the machine's frames: it may not wait for the program without letting others run.
    const solicitor = new BackgroundProgram(t, guest.namespace, "rdisc6", ["-1", "-q", "-r", "20", "eth0"]);
    assert.equal(await solicitor.ended(), 0);
    const client6 = new BackgroundProgram(t, guest.namespace, "dhclient", dhclientWords("", "-6"));
    await client6.said(/TOLD BOUND6 new_ip6_address=fd01::51/);
    await client6.end();
    for (const address of ["10.1.0.13", "fd01::13"])
      await until(async () => assert.ok(await pings(guest.namespace, address), address));
  } finally {
    machine.close();
    await weft(["detach", "flat", "--tap", "vm1", ...there]);
  }
});

/** A DHCPv4 message of a guest, to everybody. */
function message(name: Name, ...options: readonly Dhcpv4Option[]): Uint8Array {
  const client = mac(macs.get(name) as string);
  const none = ip("0.0.0.0") as Ipv4Address;
  const fields = { clientAddress: none, yourAddress: none, nextServer: none, relayAgent: none, clientMac: client };
  const sent = { operation: "request", hops: 0, transaction: 7, seconds: 0, broadcast: true } as const;
  const header = new Uint8Array(300);
  dhcpv4.encode({ ...sent, ...fields, serverName: "", bootFile: "", options }, header);
  const packet = { dscp: 0, ecn: 0, identification: 0, dontFragment: false, moreFragments: false, fragmentOffset: 0 };
  const ends = { source: none, destination: ip("255.255.255.255") as Ipv4Address, options: new Uint8Array() };
  return buildFrame([
    { protocol: "ethernet", header: { source: client, destination: broadcastMac, etherType: "ipv4" } },
    { protocol: "ipv4", header: { ...packet, ...ends, timeToLive: 64, protocol: "udp" } },
    { protocol: "udp", header: { sourcePort: 68, destinationPort: 67 } },
    { protocol: "payload", header },
  ]);
}

test("a guest that floods its port is answered at a bounded rate, and holds nobody up", async (t) => {
  using namespace = lab.namespace("flat2");
  const flood = await RawInterface.open(namespace, "eth0");
  const whole = message("flat2", { type: "message-type", messageType: "discover" });
  const broken = whole.map((octet, index) => (index < 42 + 240 ? octet : 0x79));
  const began = performance.now();
  let isOver = false;
  const flooding = (async () => {
    while (!isOver) {
      for (let count = 0; count < 50; count++) for (const frame of [whole, broken]) flood.send(frame);
      await new Promise((resolve) => setImmediate(resolve));
    }
  })();
  const client = await udhcpc(t, "flat1");
  assert.equal(toldBy(client, "bound").ip, "10.1.0.11");
  await client.end();
  let answers = 0;
  await until(() => {
    answers += flood.received().filter(isConfiguration).length;
    assert.ok(answers > 0);
  });
  isOver = true;
  await flooding;
  const seconds = (performance.now() - began) / 1000;
  answers += flood.received().filter(isConfiguration).length;
  assert.ok(answers <= 16 + 4 * seconds + 1, `${answers} in ${seconds} s`);
  flood.close();
});

test("a guest that finds its address in use says so, and the operator hears of it", async () => {
  using namespace = lab.namespace("flat2");
  const own = await RawInterface.open(namespace, "eth0");
  const words: readonly Dhcpv4Option[] = [
    { type: "message-type", messageType: "decline" },
    { type: "server-identifier", address: ip("10.1.0.1") as Ipv4Address },
    { type: "requested-address", address: ip("10.1.0.12") as Ipv4Address },
    { type: "end" },
  ];
  await until(async () => {
    own.send(message("flat2", ...words));
    const { output } = await weft(["events", "--agent", lab.agentSocket("h1")]);
    assert.match(output, /declines 10\.1\.0\.12, which DHCP gave it/);
  });
  own.close();
});

test("a port that somebody has deleted is answered at again when it is back", async (t) => {
  await inTenant(lab, "h2", "acme", "ip", "link", "delete", `ve${ids.get("flat3")}`);
  await until(async () => {
    await inLab(lab, "flat3", "ip", "link", "show", "eth0", "up");
  });
  await idle(lab, "h2");
  const client = await udhcpc(t, "flat3");
  assert.equal(toldBy(client, "bound").ip, "10.1.0.13");
  await client.end();
});

test("while the server is away, and after the agent began anew without it, guests are answered; nothing is written", async (t) => {
  await lab.stop("server");
  const client = await udhcpc(t, "flat1");
  await client.end();
  const status = () => weftJson(["status", "--agent", lab.agentSocket("h1")]);
  // The first one sets up again inside what the tests have taken away.
  for (const _ of ["whole again", "with nothing to do"]) {
    await lab.stop("h1");
    await lab.startAgent("h1");
    await until(async () => assert.equal((await status()).agent.inSync, true));
  }
  const again = await udhcpc(t, "flat1");
  assert.equal(toldBy(again, "bound").ip, "10.1.0.11");
  await again.end();
  const { agent } = await status();
  assert.equal(Number(agent.netlinkWrites), 0);
  await lab.startServer();
  await idle(lab, "h1", "h2");
});
