/** Packet sockets: real frames on real interfaces, what the filter lets through and what it does not. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";
import { closeDescriptor } from "../../src/linux/descriptor.ts";
import { addressResolutionFilter, assembleBpf, isErrno, PacketSocket, packetType } from "../../src/linux/index.ts";
import { libc } from "../../src/linux/libc.ts";
import { type TestNamespace, testNamespace } from "../support/namespaces.ts";
import { eventually } from "../support/underlay.ts";

const everything = assembleBpf([{ accept: true }]);

/** MAC addresses in hexadecimal. */
const sender = "020000000001";
const receiver = "020000000002";
const stranger = "020000000099";
const broadcast = "ffffffffffff";
const solicitedNode = "3333ff000002";

const colons = (text: string): string => text.replaceAll(/..(?!$)/g, "$&:");

/** Two hosts with a cable between their interfaces `e`, which send nothing of their own. */
function twoHosts(): { left: TestNamespace; right: TestNamespace; [Symbol.dispose](): void } {
  const left = testNamespace("left");
  const right = testNamespace("right");
  left.shell(`
    ip link add e address ${colons(sender)} type veth peer name e address ${colons(receiver)} netns ${right.name}
    ip link set e addrgenmode none; ip link set e up`);
  right.shell("ip link set e addrgenmode none; ip link set e up");
  peers.set(left, right).set(right, left);
  return {
    left,
    right,
    [Symbol.dispose]() {
      left[Symbol.dispose]();
      right[Symbol.dispose]();
    },
  };
}

function indexOf(host: TestNamespace, name: string): number {
  return host.json(`ip -json link show ${name}`)[0].ifindex;
}

const peers = new WeakMap<TestNamespace, TestNamespace>();
/** IEEE 802 Table 9-1 (RFC 9542 §2.4): for experiments. Of the frame that is sent last. */
const lastType = "88b6";
const lastFrames = assembleBpf([
  { load: 2, at: 12 },
  { equals: Number.parseInt(lastType, 16), no: "other" },
  { accept: true },
  { label: "other" },
  { accept: false },
]);

/** Sends frames, given in hexadecimal, as they are, and waits until the other host has them: until one behind them arrives. */
async function send(host: TestNamespace, name: string, frames: readonly string[]): Promise<void> {
  const peer = peers.get(host);
  assert.ok(peer !== undefined);
  using witness = new PacketSocket({
    ...{ namespace: peer.namespace, interfaceIndex: indexOf(peer, name), filter: lastFrames },
  });
  const address = new Uint8Array(20);
  new DataView(address.buffer).setUint16(0, 17, true); // AF_PACKET
  new DataView(address.buffer).setInt32(4, indexOf(host, name), true);
  const fd = host.namespace.run(() => Number(libc.socket(17, 3, 0)));
  const sendOne = (text: string): void => {
    const frame = Buffer.from(text, "hex");
    assert.equal(Number(libc.send(fd, frame, frame.length, 0)), frame.length);
  };
  try {
    assert.equal(libc.bind(fd, address, address.length), 0);
    for (const frame of frames) sendOne(frame);
    await eventually("what was sent has arrived", () => {
      sendOne(`${broadcast}${sender}${lastType}`);
      return witness.receive() !== undefined;
    });
  } finally {
    closeDescriptor(fd);
  }
}

interface Received {
  readonly type: number;
  readonly index: number;
  readonly frame: string;
}

/** Without those that {@link send} sends last. */
function receiveAll(socket: PacketSocket): Received[] {
  const all: Received[] = [];
  for (;;) {
    const next = socket.receive();
    if (next === undefined) return all;
    const frame = Buffer.from(next.frame).toString("hex");
    if (frame.slice(24, 28) === lastType) continue;
    all.push({ type: next.packetType, index: next.interfaceIndex, frame });
  }
}

const arp = (operation: 1 | 2): string => `00010800 0604000${operation} ${sender} 0a000001 ${receiver} 0a000002`;
const ipv6 = (nextHeader: string, payload: string): string =>
  `60000000 00${(payload.replaceAll(" ", "").length / 2).toString(16).padStart(2, "0")} ${nextHeader} ff` +
  `fe800000000000000000000000000001 ff0200000000000000000001ff000002 ${payload}`;
const frame = (destination: string, etherType: string, payload: string): string =>
  `${destination}${sender}${etherType}${payload}`.replaceAll(" ", "");
const neighbour = (type: string): string => `${type}000000 00000000 fe800000000000000000000000000002`;

test("outgoing frames are left out where they are not wanted", async () => {
  using hosts = twoHosts();
  const { left, right } = hosts;
  using all = new PacketSocket({ namespace: left.namespace, filter: everything });
  using incoming = new PacketSocket({ namespace: left.namespace, filter: everything, withoutOutgoing: true });
  await send(left, "e", [frame(receiver, "88b5", "0000")]);
  await send(right, "e", [frame(sender, "88b5", "0001")]);
  assert.deepEqual(
    [all, incoming].map((socket) => receiveAll(socket).map(({ type }) => type === packetType.outgoing)),
    [[true, false], [false]],
  );
});

test("the filter for address resolution: what passes, what does not, and whom it is for", async () => {
  using hosts = twoHosts();
  const { left, right } = hosts;
  const index = indexOf(right, "e");
  using socket = new PacketSocket({
    namespace: right.namespace,
    interfaceIndex: index,
    filter: addressResolutionFilter(),
  });
  const passes: readonly (readonly [what: string, type: number, frame: string])[] = [
    ["ARP request", packetType.broadcast, frame(broadcast, "0806", arp(1))],
    ["ARP reply", packetType.host, frame(receiver, "0806", arp(2))],
    ["ARP reply to another", packetType.otherHost, frame(stranger, "0806", arp(2))],
    ["neighbour solicitation", packetType.multicast, frame(solicitedNode, "86dd", ipv6("3a", neighbour("87")))],
    ["neighbour advertisement", packetType.host, frame(receiver, "86dd", ipv6("3a", neighbour("88")))],
  ];
  const doesNot: readonly (readonly [what: string, frame: string])[] = [
    ["IPv4", frame(receiver, "0800", "4500001c00000000 4001ffff 0a000001 0a000002 08000000 00010001")],
    ["RARP", frame(broadcast, "8035", arp(1))],
    ["IPv6 echo request", frame(receiver, "86dd", ipv6("3a", "80000000 00010001"))],
    ["router solicitation", frame(solicitedNode, "86dd", ipv6("3a", "85000000 00000000"))],
    ["router advertisement", frame(solicitedNode, "86dd", ipv6("3a", "86000000 00000000 0000000000000000"))],
    ["redirect", frame(receiver, "86dd", ipv6("3a", neighbour("89")))],
    ["UDP, with 135 where a type would be", frame(receiver, "86dd", ipv6("11", "87000035 00080000"))],
    ["behind an extension header", frame(solicitedNode, "86dd", ipv6("00", `3a000502 00000000 ${neighbour("87")}`))],
    ["in IPv6 in IPv6", frame(receiver, "86dd", ipv6("29", ipv6("3a", neighbour("87"))))],
    ["with a customer's VLAN tag", frame(broadcast, "8100", `0007 0806 ${arp(1)}`)],
    ["with a provider's VLAN tag", frame(solicitedNode, "88a8", `0007 86dd ${ipv6("3a", neighbour("87"))}`)],
    ["with a priority tag", frame(broadcast, "8100", `e000 0806 ${arp(1)}`)],
    ["IPv6 that ends before its type", frame(solicitedNode, "86dd", ipv6("3a", ""))],
  ];
  await send(left, "e", [...doesNot.map(([, octets]) => octets), ...passes.map(([, , octets]) => octets)]);
  const names = new Map([
    ...passes.map(([what, , octets]) => [octets, what] as const),
    ...doesNot.map(([what, octets]) => [octets, what] as const),
  ]);
  const heard = receiveAll(socket);
  assert.deepEqual(
    heard.map((each) => [names.get(each.frame) ?? each.frame, each.type]),
    passes.map(([what, type]) => [what, type]),
  );
  assert.ok(heard.every((each) => each.index === index));
});

test("the kernel's own address resolution: the neighbour's side of it is heard, this host's is not", async () => {
  using hosts = twoHosts();
  const { left, right } = hosts;
  using socket = new PacketSocket({ namespace: right.namespace, filter: addressResolutionFilter() });
  right.shell("ip address add 10.0.0.2/24 dev e; ip address add fd00::2/64 dev e nodad");
  left.shell("ip address add 10.0.0.1/24 dev e; ip address add fd00::1/64 dev e nodad");
  right.shell("ping -c 1 -w 20 10.0.0.1; ping -c 1 -w 20 fd00::1");
  const heard = receiveAll(socket);
  // The replies, at least; a host may ask in turn.
  assert.ok(heard.some((each) => each.frame.startsWith(`${receiver}${sender}08060001080006040002`)));
  assert.ok(
    heard.some((each) => each.frame.slice(0, 28) === `${receiver}${sender}86dd` && each.frame.slice(108, 110) === "88"),
  );
  assert.deepEqual([...new Set(heard.map((each) => each.frame.slice(12, 24)))], [sender]);
});

test("all interfaces: those that are there and those that come, and a port before its bridge", async () => {
  using hosts = twoHosts();
  const { left, right } = hosts;
  using socket = new PacketSocket({ namespace: right.namespace, filter: addressResolutionFilter() });
  using incoming = new PacketSocket({ namespace: right.namespace, filter: everything, protocol: 0x0806 });
  right.shell("ip link add br0 type bridge; ip link set br0 addrgenmode none; ip link set e master br0");
  left.shell(
    `ip link add f type veth peer name f netns ${right.name}; ip link set f addrgenmode none; ip link set f up`,
  );
  right.shell("ip link set f addrgenmode none; ip link set f up");
  const request = frame(broadcast, "0806", arp(1));
  await send(left, "e", [request]);
  await send(left, "f", [request]);
  const both = [indexOf(right, "e"), indexOf(right, "f")].map((index) => ({
    ...{ type: packetType.broadcast, index, frame: request },
  }));
  assert.deepEqual(receiveAll(socket), both);
  assert.deepEqual(receiveAll(incoming), both.slice(1), "of one protocol only what the bridge left");
});

test("one interface alone; all of its frames, with those that go out", async () => {
  using hosts = twoHosts();
  const { left, right } = hosts;
  left.shell(
    `ip link add f type veth peer name f netns ${right.name}; ip link set f addrgenmode none; ip link set f up`,
  );
  right.shell("ip link set f addrgenmode none; ip link set f up");
  const index = indexOf(right, "e");
  using socket = new PacketSocket({ namespace: right.namespace, interfaceIndex: index, filter: everything });
  const request = frame(broadcast, "0806", arp(1));
  await send(left, "f", [request]);
  await send(left, "e", [request]);
  await send(right, "e", [request]);
  assert.deepEqual(receiveAll(socket), [
    { type: packetType.broadcast, index, frame: request },
    { type: packetType.outgoing, index, frame: request },
  ]);
  assert.throws(() => new PacketSocket({ namespace: right.namespace, interfaceIndex: 9999, filter: everything }), {
    message: `open a packet socket in ${right.name} on interface 9999: ENODEV: no such device`,
  });
});

test("the event loop tells of frames, and of an interface that went down or away", async () => {
  using hosts = twoHosts();
  const { left, right } = hosts;
  using socket = new PacketSocket({
    ...{ namespace: right.namespace, interfaceIndex: indexOf(right, "e"), filter: addressResolutionFilter() },
  });
  const heard: string[] = [];
  socket.onReadable(() => {
    try {
      for (const each of receiveAll(socket)) heard.push(each.frame.slice(0, 12));
    } catch (error) {
      assert.ok(isErrno(error, "ENETDOWN"));
      heard.push("down");
    }
  });
  const hears = async (expected: readonly string[]): Promise<void> => {
    await eventually(`${expected.length} are heard`, () => heard.length >= expected.length);
    assert.deepEqual(heard, expected);
  };
  const request = frame(broadcast, "0806", arp(1));
  await send(left, "e", [request]);
  await hears([broadcast]);
  right.shell("ip link set e down");
  await hears([broadcast, "down"]);
  right.shell("ip link set e up");
  await send(left, "e", [request]);
  await hears([broadcast, "down", broadcast]);
  left.shell("ip link delete e");
  await hears([broadcast, "down", broadcast, "down"]);
  // Each turn of the event loop asks which descriptors are readable.
  for (let turn = 0; turn < 100; turn++) await nextTurn();
  assert.equal(heard.length, 4, "said once");
  socket.close();
  socket.close();
});

test("the receive buffer is a limit: what does not fit is lost, and what comes later is heard", async () => {
  using hosts = twoHosts();
  const { left, right } = hosts;
  using socket = new PacketSocket({
    ...{ namespace: right.namespace, filter: addressResolutionFilter(), receiveBuffer: 32 * 1024 },
  });
  const request = frame(broadcast, "0806", arp(1));
  await send(
    left,
    "e",
    Array.from({ length: 2000 }, () => request),
  );
  const kept = receiveAll(socket).length;
  assert.ok(kept > 10 && kept < 500, `${kept} of 2000 were kept`);
  await send(left, "e", [request]);
  assert.equal(receiveAll(socket).length, 1);
});
