/**
 * Remakes the golden captures: `node test/golden/capture.ts [NAME…]`, as root, with iproute2, ethtool, tcpdump, tshark and
 * Python 3. Three hosts in network namespaces, left - router - right, send; tcpdump writes what crosses left's
 * interface; tshark's reading goes beside each capture and must agree with ours. Nothing is left behind.
 * The tunnels of `capture-uml.sh`, which kernels of clouds and containers often lack, it has sent in User-Mode Linux.
 */
import { type ChildProcess, type ChildProcessByStdio, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import type { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import { decodeFrame, describeFrame } from "../../src/wire/index.ts";
import { type Expected, type ExpectedFrame, plainLayers, quotesPacket, readCapture } from "./golden.ts";
import { readWithTshark } from "./tshark.ts";
import { readFields } from "./tshark-fields.ts";

const left = `wire-${process.pid}-left`;
const router = `wire-${process.pid}-router`;
const right = `wire-${process.pid}-right`;
const children = new Set<ChildProcess>();
const traffic = new URL("traffic.py", import.meta.url).pathname;

function run(command: string): string {
  const [program, ...words] = command.split(" ");
  return execFileSync(program as string, words, { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
}

const send = (namespace: string, command: string) => run(`ip netns exec ${namespace} python3 ${traffic} ${command}`);

/** Addresses are fixed, so that captures made again differ in as little as possible. */
function build(): void {
  for (const namespace of [left, router, right]) {
    run(`ip netns add ${namespace}`);
    run(`ip -n ${namespace} link set lo up`);
  }
  run(`ip netns exec ${router} sysctl -q -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1`);
  run(
    `ip -n ${left} link add u0 address 02:00:00:00:00:01 type veth peer name u0 address 02:00:00:00:00:02 netns ${router}`,
  );
  run(
    `ip -n ${router} link add u1 address 02:00:00:00:00:03 type veth peer name u1 address 02:00:00:00:00:04 netns ${right}`,
  );
  // The checksums must be in the frames, not left to a network card that does not exist.
  for (const end of [
    `${left} ethtool -K u0`,
    `${router} ethtool -K u0`,
    `${router} ethtool -K u1`,
    `${right} ethtool -K u1`,
  ])
    run(`ip netns exec ${end} tx off`);
  address(left, "u0", "192.0.2.1/24", "2001:db8::1/64");
  address(router, "u0", "192.0.2.2/24", "2001:db8::2/64");
  address(router, "u1", "198.51.100.1/24", "2001:db8:1::1/64");
  address(right, "u1", "198.51.100.2/24", "2001:db8:1::2/64");
  run(`ip -n ${router} link set u1 mtu 1400`);
  run(`ip -n ${left} route add default via 192.0.2.2`);
  run(`ip -n ${left} route add default via 2001:db8::2`);
  run(`ip -n ${right} route add default via 198.51.100.1`);
  run(`ip -n ${right} route add default via 2001:db8:1::1`);
  run(
    `ip -n ${left} link add u9 address 02:00:00:00:00:91 type veth peer name u9 address 02:00:00:00:00:92 netns ${router}`,
  );
  for (const namespace of [left, router]) run(`ip -n ${namespace} link set u9 up`);
  tunnel("vx4", 100, "192.0.2.1", "192.0.2.2", "10.0.0", "fd00::", "0a");
  tunnel("vx6", 0xabcdef, "2001:db8::1", "2001:db8::2", "10.0.1", "fd00:1::", "0b");
}

function address(namespace: string, device: string, ...addresses: readonly string[]): void {
  for (const each of addresses)
    run(`ip -n ${namespace} address add ${each} dev ${device}${each.includes(":") ? " nodad" : ""}`);
  run(`ip -n ${namespace} link set ${device} up`);
}

function tunnel(name: string, vni: number, local: string, remote: string, v4: string, v6: string, octet: string): void {
  const ends = [
    { namespace: left, host: 1, from: local, to: remote },
    { namespace: router, host: 2, from: remote, to: local },
  ];
  for (const { namespace, host, from, to } of ends) {
    const mac = `02:00:00:00:${octet}:0${host}`;
    run(
      `ip -n ${namespace} link add ${name} address ${mac} type vxlan id ${vni} dstport 4789 local ${from} remote ${to} nolearning`,
    );
    run(`ip netns exec ${namespace} ethtool -K ${name} tx off`);
    address(namespace, name, `${v4}.${host}/24`, `${v6}${host}/64`);
  }
}

interface Recipe {
  readonly name: string;
  readonly note: string;
  /** The interface of the left host to listen on. Default: its underlay interface. */
  readonly device?: string;
  /** tcpdump's filter: keeps out what the kernel sends on its own account. */
  readonly filter: string;
  readonly frames: number;
  readonly make: () => void | Promise<void>;
}

const forgetNeighbours = () => {
  for (const namespace of [left, router]) run(`ip -n ${namespace} neigh flush all`);
};

function restartIpv6(): void {
  for (const value of [1, 0]) run(`ip netns exec ${left} sysctl -q -w net.ipv6.conf.u9.disable_ipv6=${value}`);
}

async function exchangeTcp(address: string): Promise<void> {
  const server = spawn("ip", ["netns", "exec", router, "python3", traffic, "tcp-server", address, "7000"]);
  children.add(server);
  const ended = once(server, "exit");
  await once(server.stdout, "data");
  send(left, `tcp-client ${address} 7000`);
  await ended;
}

const recipes: readonly Recipe[] = [
  {
    name: "arp",
    note: "ARP request and reply of the kernel.",
    filter: "arp",
    frames: 2,
    make() {
      forgetNeighbours();
      send(left, "ping 192.0.2.2 8");
    },
  },
  {
    name: "icmpv4-echo",
    note: "ICMP echo: the request is from a raw socket, the reply from the kernel.",
    filter: "icmp",
    frames: 2,
    make: () => void send(left, "ping 192.0.2.2 56"),
  },
  {
    name: "icmpv4-fragments",
    note: "An ICMP echo request and reply of 2000 octets, each in two fragments.",
    filter: "ip proto 1",
    frames: 4,
    make: () => void send(left, "ping 192.0.2.2 2000"),
  },
  {
    name: "fragmentation-needed",
    note: "The router's answer to a packet with Don't Fragment that does not fit its next link, MTU 1400.",
    filter: "icmp[icmptype] == icmp-unreach",
    frames: 1,
    make: () => void send(left, "ping-df 198.51.100.2 1400"),
  },
  {
    name: "neighbour-discovery",
    note: "Neighbour solicitation and advertisement of the kernel, and the ICMPv6 echo that asked for them.",
    filter:
      "icmp6 and (ip6[40] == 128 or ip6[40] == 129 or ip6[40] == 135 or ip6[40] == 136) and dst net 2001:db8::/64 or (ip6[40] == 135 and dst net ff02::1:ff00:0/104 and src 2001:db8::1)",
    frames: 4,
    make() {
      forgetNeighbours();
      send(left, "ping 2001:db8::2 56");
    },
  },
  {
    name: "icmpv6-fragments",
    note: "An ICMPv6 echo request and reply of 2000 octets, each in two fragments.",
    filter: "ip6 proto 44",
    frames: 4,
    make: () => void send(left, "ping 2001:db8::2 2000"),
  },
  {
    name: "packet-too-big",
    note: "The router's answer to a packet that does not fit its next link, MTU 1400.",
    filter: "icmp6 and ip6[40] == 2",
    frames: 1,
    make: () => void send(left, "ping-df 2001:db8:1::2 1400"),
  },
  {
    name: "multicast-listener",
    note: "The kernel's MLDv2 report, behind a hop-by-hop header, as an interface comes up.",
    device: "u9",
    filter: "ip6 proto 0",
    frames: 1,
    make: restartIpv6,
  },
  {
    name: "router-discovery",
    note: "The kernel's router solicitation as an interface comes up, and a router advertisement from a raw socket, whose checksum is the kernel's.",
    device: "u9",
    filter: "icmp6 and (ip6[40] == 133 or ip6[40] == 134)",
    frames: 2,
    async make() {
      restartIpv6();
      await sleep(3_000); // duplicate address detection, then up to a second of random delay
      send(router, "router-advertisement u9");
    },
  },
  {
    name: "tcp",
    note: "A TCP connection of the kernel over IPv4: handshake with options, four octets each way, close.",
    filter: "tcp",
    frames: 9,
    make: () => exchangeTcp("192.0.2.2"),
  },
  {
    name: "tcp-ipv6",
    note: "The same over IPv6.",
    filter: "ip6 proto 6",
    frames: 9,
    make: () => exchangeTcp("2001:db8::2"),
  },
  {
    name: "udp",
    note: "UDP to a closed port over IPv4 and IPv6, with the kernel's port unreachable.",
    filter: "udp or icmp[icmptype] == icmp-unreach or (icmp6 and ip6[40] == 1)",
    frames: 4,
    make() {
      send(left, "udp 192.0.2.2 7001");
      send(left, "udp 2001:db8::2 7001");
    },
  },
  {
    name: "vlan",
    note: "Not from the kernel: 802.1Q and stacked 802.1ad tags around an ARP request and a UDP datagram, written octet by octet and sent through a packet socket, because kernels without 8021q send none.",
    filter: "ether[12:2] == 0x8100 or ether[12:2] == 0x88a8 or vlan",
    frames: 2,
    make() {
      const arp = `0001080006040001 020000000001 c0000201 000000000000 c0000202`;
      const udp = `4500001e00014000 4011 b6ca c0000201c0000202 1b591b5a000adcb9 6869`;
      for (const frame of [
        `ffffffffffff 020000000001 8100 b064 0806 ${arp}`,
        `020000000002 020000000001 88a8 0064 8100 60c8 0800 ${udp}`,
      ])
        send(left, `raw u0 ${frame.replaceAll(" ", "")}`);
    },
  },
  {
    name: "vxlan-ipv4",
    note: "VXLAN of the kernel over IPv4, VNI 100: ARP, ICMP echo, neighbour discovery and ICMPv6 echo inside.",
    filter: "udp port 4789",
    frames: 8,
    make() {
      forgetNeighbours();
      send(left, "ping 10.0.0.2 56");
      send(left, "ping fd00::2 56");
    },
  },
  {
    name: "vxlan-ipv6",
    note: "VXLAN of the kernel over IPv6, with UDP checksum, VNI 11259375: ARP, ICMP echo and a TCP connection inside.",
    filter: "ip6 and udp port 4789",
    frames: 13,
    async make() {
      forgetNeighbours();
      send(left, "ping 10.0.1.2 56");
      await exchangeTcp("10.0.1.2");
    },
  },
  {
    name: "vxlan-inner",
    note: "The frames of the VXLAN device itself, as they are before encapsulation and after it.",
    device: "vx4",
    filter: "arp or icmp",
    frames: 4,
    make() {
      forgetNeighbours();
      send(left, "ping 10.0.0.2 56");
    },
  },
];

/** What `capture-uml.sh` records, by name. */
const tunnels: Readonly<Record<string, string>> = {
  gre: "GRE of the kernel over IPv4 without optional parts: ICMP and ICMPv6 echo inside.",
  "gre-options": "The same with checksum, key and sequence number.",
  gretap: "GRE of the kernel for Ethernet: ARP and ICMP echo inside.",
  nvgre: "The same with a key, as NVGRE with VSID 0x123456 and FlowID 0x78 sends it.",
  "gre-ipv6":
    "GRE of the kernel over IPv6 with checksum and key, behind a tunnel encapsulation limit: ICMP and ICMPv6 echo inside.",
  "gretap-ipv6": "GRE of the kernel for Ethernet over IPv6, without the limit: ARP and ICMP echo inside.",
  ipip: "IP in IP of the kernel: ICMP echo inside.",
  "6in4": "IPv6 in IPv4 of the kernel: ICMPv6 echo inside.",
  "4in6": "IPv4 in IPv6 of the kernel with its usual tunnel encapsulation limit of 4: ICMP echo inside.",
  "6in6": "IPv6 in IPv6 of the kernel with a tunnel encapsulation limit of 7: ICMPv6 echo inside.",
  geneve: "Geneve of the kernel over IPv4, VNI 100: ARP and ICMP echo inside.",
  "geneve-ipv6": "Geneve of the kernel over IPv6, with UDP checksum, VNI 11259375: ARP and ICMP echo inside.",
  "geneve-options":
    "Geneve of the kernel with two options, the first critical though the kernel leaves the C flag out, VNI 200: ICMP echo inside; the reply has a UDP checksum.",
  "geneve-ip": "Geneve of the kernel with IP packets for its payload, VNI 300: ICMP echo inside.",
};

function captureTunnels(names: readonly string[]): void {
  const folder = new URL(".", import.meta.url).pathname;
  execFileSync(`${folder}capture-uml.sh`, [folder, ...names], { stdio: "inherit" });
  for (const name of names) describe(name, tunnels[name] as string);
}

async function capture({ name, note, device = "u0", filter, frames, make }: Recipe): Promise<void> {
  const path = new URL(`${name}.pcap`, import.meta.url).pathname;
  const arguments_ = ["-i", device, "-n", "-U", "-s", "0", "-Z", "root", "-c", String(frames), "-w", path, filter];
  const tcpdump = spawn("ip", ["netns", "exec", left, "tcpdump", "--immediate-mode", ...arguments_], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  children.add(tcpdump);
  const ended = once(tcpdump, "exit");
  try {
    await listening(tcpdump);
    await make();
    const late = sleep(5_000, "late", { ref: false });
    if ((await Promise.race([ended, late])) === "late")
      throw new Error(`${name}: fewer than ${frames} frames were seen`);
  } finally {
    tcpdump.kill();
    await ended;
  }
  describe(name, note);
}

/** Puts beside the capture what is read in it. */
function describe(name: string, note: string): void {
  const path = new URL(`${name}.pcap`, import.meta.url).pathname;
  const expected: Expected = { note, frames: readAll(path) };
  writeFileSync(path.replace(/pcap$/, "json"), `${JSON.stringify(expected, null, 1)}\n`);
  console.log(`${name}: ${expected.frames.length} captured`);
}

/** Waits until tcpdump says that it listens. */
function listening({ stderr }: ChildProcessByStdio<null, null, Readable>): Promise<void> {
  return new Promise((resolve, reject) => {
    let words = "";
    stderr.on("data", (chunk) => {
      words += chunk;
      if (words.includes("listening on")) resolve();
    });
    stderr.on("end", () => reject(new Error(`tcpdump: ${words}`)));
  });
}

/** Our reading of a capture, once it agrees with tshark's. */
function readAll(path: string): ExpectedFrame[] {
  const tshark = readWithTshark(path);
  return readCapture(path).packets.map(({ bytes }, index) => {
    const frame = decodeFrame(bytes);
    const line = describeFrame(frame);
    const theirs = tshark[index] ?? {};
    if (frame.error !== undefined) throw new Error(`${path}, frame ${index + 1}: ${line}`);
    for (const [field, values] of Object.entries(readFields(frame.layers))) {
      const same = quotesPacket(frame.layers) ? theirs[field]?.slice(0, values.length) : theirs[field];
      if (!isDeepStrictEqual(same, values))
        throw new Error(
          `${path}, frame ${index + 1}: ${field} is ${values} here and ${theirs[field]} in tshark\n${line}`,
        );
    }
    return { line, tshark: theirs, layers: plainLayers(frame.layers) };
  });
}

function tearDown(): void {
  for (const child of children) child.kill();
  for (const namespace of [left, router, right])
    try {
      run(`ip netns delete ${namespace}`);
    } catch {
      // It was not made yet, and ip has said so.
    }
}

for (const signal of ["SIGINT", "SIGTERM"])
  process.once(signal, () => {
    tearDown();
    process.exit(1);
  });

const wanted = new Set(process.argv.slice(2));
for (const name of wanted)
  if (!(name in tunnels) && !recipes.some((recipe) => recipe.name === name))
    throw new Error(
      `there is no capture "${name}", only ${[...recipes.map((recipe) => recipe.name), ...Object.keys(tunnels)].join(", ")}`,
    );
const chosen = (name: string): boolean => wanted.size === 0 || wanted.has(name);
const chosenTunnels = Object.keys(tunnels).filter(chosen);
const chosenRecipes = recipes.filter(({ name }) => chosen(name));
if (chosenTunnels.length > 0) captureTunnels(chosenTunnels);
if (chosenRecipes.length > 0)
  try {
    build();
    await sleep(2_500); // until the link-local addresses have passed duplicate address detection
    for (const recipe of chosenRecipes) await capture(recipe);
  } finally {
    tearDown();
  }
