/** Each family of objects on the real kernel, beside iproute2: made by one, read by the other. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { cidr } from "../../src/base/cidr.ts";
import { ip } from "../../src/base/ip.ts";
import { mac, zeroMac } from "../../src/base/mac.ts";
import * as nl from "../../src/netlink/index.ts";
import { until } from "../support/cluster.ts";
import { requires } from "../support/kernel.ts";
import { type TestNamespace, testNamespace } from "../support/namespaces.ts";

/** RTPROT_STATIC. linux/rtnetlink.h */
const protocol = 4;
const permanent = nl.neighbourState.permanent;

function open(namespace: TestNamespace): nl.NetlinkSocket {
  return new nl.NetlinkSocket({ namespace: namespace.namespace });
}

async function indexOf(socket: nl.NetlinkSocket, name: string): Promise<number> {
  return (await socket.get(nl.getLink({ name }))).index;
}

/** With some modules loaded, a namespace begins with devices for tunnels beside its loopback interface. */
async function namesOf(socket: nl.NetlinkSocket): Promise<string[]> {
  return (await socket.dump(nl.listLinks())).map(({ name }) => name).sort();
}

/** The fields of `actual` that `expected` names. */
function assertHas(actual: object | undefined, expected: object): void {
  assert.ok(actual !== undefined);
  const fields = Object.entries(actual).filter(([field]) => field in expected);
  assert.deepEqual(Object.fromEntries(fields), expected);
}

test("veth: made by the library with its peer in another namespace", async () => {
  using host = testNamespace("host");
  using container = testNamespace("container");
  using socket = open(host);
  using inside = open(container);
  const before = await namesOf(inside);
  const address = mac("02:00:00:00:00:01");
  const peerAddress = mac("02:00:00:00:00:02");
  await socket.execute(
    nl.createLink("veth", {
      name: "left",
      mac: address,
      mtu: 1400,
      group: 77,
      transmitQueueLength: 500,
      gsoMaxSize: 30_000,
      gsoMaxSegments: 20,
      up: true,
      info: { peer: { name: "right", mac: peerAddress, mtu: 1300, namespace: container.namespace } },
    }),
  );
  const [left] = host.json("ip -details -json link show dev left");
  assertHas(left, {
    ifname: "left",
    address,
    mtu: 1400,
    group: "77",
    txqlen: 500,
    gso_max_size: 30_000,
    gso_max_segs: 20,
  });
  assert.ok(left.flags.includes("UP"));
  const [right] = container.json("ip -json link show dev right");
  assertHas(right, { address: peerAddress, mtu: 1300 });

  const read = await socket.get(nl.getLink({ name: "left" }));
  assertHas(read, {
    index: left.ifindex,
    name: "left",
    mac: address,
    mtu: 1400,
    group: 77,
    up: true,
    carrier: false,
    transmitQueueLength: 500,
    gsoMaxSize: 30_000,
    gsoMaxSegments: 20,
  });
  assert.equal(read.info.kind, "veth");
  assert.deepEqual(await socket.get(nl.getLink({ index: read.index })), read);
  await socket.execute(nl.changeLink({ name: "left" }, { alias: "weft test" }));
  assert.equal(host.json("ip -json link show dev left")[0].ifalias, "weft test");
  assert.equal((await socket.get(nl.getLink({ name: "left" }))).alias, "weft test");

  await assert.rejects(inside.execute(nl.changeLink({ name: "right" }, { name: "eth0" })), /referred to by index/);
  await inside.execute(
    nl.changeLink({ index: right.ifindex }, { up: true, ipv6AddressGeneration: "none", name: "eth0" }),
  );
  const [renamed] = container.json("ip -details -json link show dev eth0");
  assert.equal(renamed.inet6_addr_gen_mode, "none");
  assert.equal((await inside.get(nl.getLink({ name: "eth0" }))).ipv6AddressGenerationMode, 1);
  assert.equal((await socket.get(nl.getLink({ name: "left" }))).carrier, true);

  await socket.execute(nl.deleteLink({ name: "left" }));
  assert.deepEqual(await namesOf(inside), before);
  await assert.rejects(socket.get(nl.getLink({ name: "left" })), (error) => nl.isErrno(error, "ENODEV"));
});

test("links: what ip made is listed; ports of one bridge alone; a whole group is deleted at once", async () => {
  using host = testNamespace("host");
  using socket = open(host);
  const before = await namesOf(socket);
  host.shell(`
    ip link add br0 type bridge
    for n in 1 2 3; do ip link add v$n type veth peer name p$n; ip link set v$n master br0 group 9; done
    ip link set v1 alias "words of somebody"
  `);
  const links = await socket.dump(nl.listLinks());
  const shown = host.json("ip -json link show");
  assert.deepEqual(
    links.map((link) => [link.index, link.name, link.mac, link.mtu, link.alias]),
    // biome-ignore lint/suspicious/noExplicitAny: what ip prints.
    shown.map((link: any) => [
      link.ifindex,
      link.ifname,
      // Tunnels have the IP address of their end in its place.
      link.address.length === "00:00:00:00:00:00".length ? link.address : undefined,
      link.mtu,
      link.ifalias,
    ]),
  );
  const master = await indexOf(socket, "br0");
  const ports = await socket.dump(nl.listLinks({ master }));
  assert.deepEqual(ports.map(({ name }) => name).sort(), ["v1", "v2", "v3"]);
  assert.ok(ports.every((port) => port.master === master && port.info.portKind === "bridge"));
  await socket.execute(nl.changeLink({ name: "v3" }, { master: 0, group: 0 }));
  await socket.execute(nl.deleteLinkGroup(9));
  assert.deepEqual(await namesOf(socket), [...before, "br0", "p3", "v3"].sort());
});

test("bridge and bridge ports: every setting, both ways", async () => {
  using host = testNamespace("host");
  using socket = open(host);
  const bridge: nl.BridgeSettings = {
    forwardDelay: 200,
    ageingTime: 12_300,
    stpState: 0,
    multicastSnooping: false,
    callIptables: false,
    callIp6tables: false,
    callArptables: false,
  };
  await socket.execute(nl.createLink("bridge", { name: "br0", info: { bridge } }));
  const [shown] = host.json("ip -details -json link show dev br0");
  assertHas(shown.linkinfo.info_data, {
    forward_delay: 200,
    ageing_time: 12_300,
    stp_state: 0,
    mcast_snooping: 0,
    nf_call_iptables: 0,
  });
  assertHas((await socket.get(nl.getLink({ name: "br0" }))).info.bridge, bridge);
  host.shell("ip link set br0 type bridge ageing_time 4500 mcast_snooping 1 forward_delay 400");
  assertHas((await socket.get(nl.getLink({ name: "br0" }))).info.bridge, {
    ageingTime: 4500,
    multicastSnooping: true,
    forwardDelay: 400,
  });
  await socket.execute(nl.changeLink({ name: "br0" }, { info: { kind: "bridge", bridge: { ageingTime: 700 } } }));
  assertHas((await socket.get(nl.getLink({ name: "br0" }))).info.bridge, {
    ageingTime: 700,
    multicastSnooping: true,
  });

  host.shell("ip link add v0 type veth peer name p0; ip link set v0 master br0 up; ip link set br0 up");
  const index = await indexOf(socket, "v0");
  const settings: nl.BridgePortSettings = {
    hairpin: true,
    bpduGuard: true,
    learning: false,
    unicastFlood: false,
    proxyArp: true,
    multicastFlood: false,
    vlanTunnel: true,
    broadcastFlood: false,
    neighbourSuppress: true,
    isolated: true,
    locked: true,
  };
  await socket.execute(nl.changeBridgePort(index, settings));
  const [port] = host.json("ip -details -json link show dev v0");
  assertHas(port.linkinfo.info_slave_data, {
    hairpin: true,
    guard: true,
    learning: false,
    flood: false,
    proxy_arp: true,
    mcast_flood: false,
    vlan_tunnel: true,
    bcast_flood: false,
    neigh_suppress: true,
    isolated: true,
    locked: true,
  });
  assertHas((await socket.get(nl.getLink({ index }))).info.bridgePort, settings);
  host.shell("bridge link set dev v0 hairpin off learning on flood on neigh_suppress off isolated off");
  assertHas((await socket.get(nl.getLink({ index }))).info.bridgePort, {
    hairpin: false,
    learning: true,
    unicastFlood: true,
    neighbourSuppress: false,
    isolated: false,
    locked: true,
  });
});

test("vxlan: every setting, over IPv4 and IPv6, and straight into another namespace", async () => {
  using underlay = testNamespace("underlay");
  using tenant = testNamespace("tenant");
  using socket = open(underlay);
  using inside = open(tenant);
  underlay.shell("ip link set lo up; ip addr add 192.0.2.1/24 dev lo; ip addr add 2001:db8::1/64 dev lo nodad");
  const settings: nl.VxlanSettings = {
    vni: 0xab_cdef,
    local: ip("192.0.2.1"),
    ttl: 33,
    tos: 0x10,
    learning: false,
    ageing: 444,
    limit: 5555,
    proxy: true,
    l2Miss: true,
    l3Miss: true,
    port: 8472,
    udpChecksum: false,
    udpZeroChecksum6Transmit: true,
    udpZeroChecksum6Receive: true,
    collectMetadata: false,
    dontFragment: 1,
  };
  await socket.execute(nl.createLink("vxlan", { name: "vx0", namespace: tenant.namespace, info: { vxlan: settings } }));
  const [shown] = tenant.json("ip -details -json link show dev vx0");
  assertHas(shown.linkinfo.info_data, {
    id: 0xab_cdef,
    local: "192.0.2.1",
    ttl: 33,
    learning: false,
    ageing: 444,
    limit: 5555,
    proxy: true,
    l2miss: true,
    l3miss: true,
    port: 8472,
    udp_csum: false,
    udp_zero_csum6_tx: true,
    udp_zero_csum6_rx: true,
    df: "set",
  });
  const read = await inside.get(nl.getLink({ name: "vx0" }));
  assertHas(read.info.vxlan, settings);
  assert.equal(read.info.kind, "vxlan");

  const settings6: nl.VxlanSettings = {
    vni: 6,
    local6: ip("2001:db8::1"),
    port: 4790,
    learning: false,
    udpZeroChecksum6Transmit: false,
  };
  await socket.execute(
    nl.createLink("vxlan", { name: "vx6", namespace: tenant.namespace, info: { vxlan: settings6 } }),
  );
  assert.equal(tenant.json("ip -details -json link show dev vx6")[0].linkinfo.info_data.local6, "2001:db8::1");
  assertHas((await inside.get(nl.getLink({ name: "vx6" }))).info.vxlan, settings6);

  underlay.shell("ip link add under type veth peer name far; ip link set under up");
  underlay.shell(
    `ip link add vxg netns ${tenant.name} type vxlan id 7 group 239.1.1.1 dev under dstport 4791 ttl 5 nolearning
     ip link add vxe netns ${tenant.name} type vxlan external vnifilter dstport 4792`,
  );
  const group = await inside.get(nl.getLink({ name: "vxg" }));
  assertHas(group.info.vxlan, {
    vni: 7,
    group: ip("239.1.1.1"),
    link: await indexOf(socket, "under"),
    port: 4791,
    ttl: 5,
    learning: false,
  });
  assert.equal(group.linkNamespaceId, 0);
  assertHas((await inside.get(nl.getLink({ name: "vxe" }))).info.vxlan, {
    collectMetadata: true,
    vniFilter: true,
    port: 4792,
  });

  await assert.rejects(
    socket.execute(nl.createLink("vxlan", { name: "again", namespace: tenant.namespace, info: { vxlan: settings } })),
    (error) =>
      nl.isErrno(error, "EEXIST") &&
      error.attempted === `create vxlan again in ${tenant.name}` &&
      error.message.includes("A VXLAN device with the specified VNI already exists"),
  );
});

test("vxlan: packets to an address of this host may go out", async (t) => {
  using host = testNamespace("host");
  using socket = open(host);
  const info = { vxlan: { vni: 1, port: 4789, localBypass: false } };
  await socket.execute(nl.createLink("vxlan", { name: "vx0", info }));
  const { vxlan } = (await socket.get(nl.getLink({ name: "vx0" }))).info;
  if (vxlan?.localBypass === undefined) t.skip("this kernel has no IFLA_VXLAN_LOCALBYPASS, which came with Linux 6.5");
  else assert.equal(vxlan.localBypass, false);
});

test("addresses of both families", async () => {
  using host = testNamespace("host");
  using socket = open(host);
  host.shell(
    "ip link add v0 type veth peer name p0; ip link set p0 up; ip link set v0 addrgenmode none; ip link set v0 up",
  );
  const index = await indexOf(socket, "v0");
  const entries: nl.InterfaceAddressEntry[] = [
    { index, address: ip("10.1.2.3"), prefixLength: 24 },
    { index, address: ip("10.1.9.9"), prefixLength: 32, scope: 253 },
    { index, address: ip("fd00::3"), prefixLength: 64, withoutDad: true },
  ];
  assert.deepEqual(await socket.batch(entries.map(nl.replaceAddress)), { done: 3, failures: [] });
  const shown = (): string[] =>
    host
      .json("ip -json address show dev v0")[0]
      .addr_info.map(
        (entry: { local: string; prefixlen: number; scope: string; nodad?: boolean }) =>
          `${entry.local}/${entry.prefixlen} ${entry.scope} ${entry.nodad ?? false}`,
      )
      .sort();
  assert.deepEqual(shown(), ["10.1.2.3/24 global false", "10.1.9.9/32 link false", "fd00::3/64 global true"]);
  const list = await socket.dump(nl.listAddresses({ index }));
  assert.deepEqual(
    list.toSorted((a, b) => (a.address < b.address ? -1 : 1)),
    entries.map((entry) => ({ scope: 0, withoutDad: false, permanent: true, ...entry })),
  );
  await socket.batch(entries.slice(1).map(nl.deleteAddress));
  assert.deepEqual(shown(), ["10.1.2.3/24 global false"]);
  host.shell("ip address add fd00::9/128 dev v0 nodad; ip address add 10.1.2.4/24 dev v0");
  assert.deepEqual(
    (await socket.dump(nl.listAddresses()))
      .map(({ address, prefixLength }) => `${address}/${prefixLength}`)
      .filter((text) => !text.startsWith("fe80"))
      .sort(),
    ["10.1.2.3/24", "10.1.2.4/24", "fd00::9/128"],
  );
  await assert.rejects(
    socket.execute(nl.deleteAddress({ index, address: ip("10.7.7.7"), prefixLength: 24 })),
    (error) => nl.isErrno(error, "EADDRNOTAVAIL"),
  );
});

test("addresses of two-host links, of the other end, and without a route to their prefix", async () => {
  using host = testNamespace("host");
  using socket = open(host);
  host.shell(
    "ip link add v0 type veth peer name p0; ip link set p0 up; ip link set v0 addrgenmode none; ip link set v0 up",
  );
  const index = await indexOf(socket, "v0");
  const entries: nl.InterfaceAddressEntry[] = [
    { index, address: ip("10.1.2.0"), prefixLength: 31 },
    { index, address: ip("10.1.3.1"), peer: ip("10.9.9.9"), prefixLength: 32 },
    { index, address: ip("10.1.4.1"), prefixLength: 24, withoutPrefixRoute: true },
    { index, address: ip("fd00:1::"), prefixLength: 127, withoutDad: true },
    { index, address: ip("fd00:2::1"), peer: ip("fd00:9::9"), prefixLength: 128, withoutDad: true },
    { index, address: ip("fd00:3::1"), prefixLength: 64, withoutDad: true, withoutPrefixRoute: true },
  ];
  assert.deepEqual((await socket.batch(entries.map(nl.replaceAddress))).failures, []);
  const addresses = host.shell("ip -oneline address show dev v0");
  for (const expected of [
    "inet 10.1.2.0/31 scope global",
    "inet 10.1.3.1 peer 10.9.9.9/32 scope global",
    "inet 10.1.4.1/24 scope global noprefixroute",
    "inet6 fd00:1::/127 scope global nodad",
    "inet6 fd00:2::1 peer fd00:9::9/128 scope global nodad",
    "inet6 fd00:3::1/64 scope global nodad noprefixroute",
  ])
    assert.ok(addresses.includes(expected), `${expected} is missing in\n${addresses}`);
  // IPv6's route to the other end comes when a worker of the kernel has ended the address's detection of duplicates.
  await until(() =>
    assert.deepEqual(
      host
        .shell("ip route; ip -6 route show proto kernel dev v0")
        .match(/^(?!fe80)\S+/gm)
        ?.sort(),
      ["10.1.2.0/31", "10.9.9.9", "fd00:1::/127", "fd00:2::1", "fd00:9::9"],
    ),
  );
  assert.deepEqual(
    (await socket.dump(nl.listAddresses({ index }))).toSorted((a, b) => (a.address < b.address ? -1 : 1)),
    entries.map((entry) => ({ scope: 0, withoutDad: false, permanent: true, ...entry })),
  );
  assert.deepEqual((await socket.batch(entries.map(nl.replaceAddress))).failures, [], "once more");
  assert.deepEqual((await socket.batch(entries.map(nl.deleteAddress))).failures, []);
  assert.deepEqual(await socket.dump(nl.listAddresses({ index })), []);
});

test("routes with a gateway of the other family, one and several", async () => {
  using host = testNamespace("host");
  using socket = open(host);
  host.shell(
    "ip link add v0 type veth peer name p0; ip link set p0 up; ip link set v0 up; ip address add 10.0.0.1/24 dev v0; ip address add fd00::1/64 dev v0 nodad",
  );
  const index = await indexOf(socket, "v0");
  const routes: nl.Route[] = [
    { destination: cidr("10.10.0.0/16"), protocol, nexthops: [{ gateway: ip("fd00::9"), index }] },
    {
      destination: cidr("10.11.0.0/16"),
      protocol,
      nexthops: [
        { gateway: ip("fd00::8"), index, weight: 1, onLink: false },
        { gateway: ip("10.7.7.7"), index, weight: 2, onLink: true },
      ],
    },
  ];
  assert.deepEqual((await socket.batch(routes.map(nl.replaceRoute))).failures, []);
  const text = host.shell("ip route show proto static").replaceAll(/\s+/g, " ");
  assert.match(text, /10\.10\.0\.0\/16 via inet6 fd00::9 dev v0/);
  assert.match(
    text,
    /10\.11\.0\.0\/16 nexthop via inet6 fd00::8 dev v0 weight 1 nexthop via 10\.7\.7\.7 dev v0 weight 2 onlink/,
  );
  const listed = (await socket.dump(nl.listRoutes())).filter((route) => route.protocol === protocol);
  assert.deepEqual(
    listed.map(({ destination, nexthops }) => ({ destination, protocol, nexthops })),
    routes,
  );
  assert.deepEqual((await socket.batch(routes.map(nl.deleteRoute))).failures, []);
  assert.equal(host.shell("ip route show proto static"), "");
});

test("routes with an MTU, which stays when the device's grows that it equals", async () => {
  using host = testNamespace("host");
  using socket = open(host);
  host.shell(
    "ip link add v0 mtu 1300 type veth peer name p0; ip link set p0 up; ip link set v0 up; ip address add 10.0.0.1/24 dev v0; ip address add fd00::1/64 dev v0 nodad",
  );
  const nexthops = [{ index: await indexOf(socket, "v0") }];
  const routes: nl.Route[] = [
    { destination: cidr("10.0.0.0/25"), protocol, nexthops, preferredSource: ip("10.0.0.1"), mtu: 1300 },
    { destination: cidr("fd00::/65"), protocol, nexthops, mtu: 1300, isMtuLocked: true },
  ];
  assert.deepEqual((await socket.batch(routes.map(nl.replaceRoute))).failures, []);
  host.shell("ip link set v0 mtu 1400");
  const listed = (await socket.dump(nl.listRoutes())).filter((route) => route.protocol === protocol);
  assert.deepEqual(
    listed.map(({ destination, mtu, isMtuLocked }) => [destination, mtu, isMtuLocked]),
    [
      ["10.0.0.0/25", 1300, undefined],
      ["fd00::/65", 1300, true],
    ],
  );
  assert.match(host.shell("ip route get 10.0.0.9"), /mtu 1300/);
  assert.match(host.shell("ip -6 route get fd00::9"), /mtu lock 1300/);
  assert.deepEqual((await socket.batch(listed.map(nl.deleteRoute))).failures, []);
  assert.equal(host.shell("ip route show proto static; ip -6 route show proto static"), "");
});

test("nexthops, groups and routes of both families", async () => {
  using host = testNamespace("host");
  using socket = open(host);
  host.shell(`
    ip link set lo up
    for n in 0 1; do
      ip link add v$n type veth peer name p$n; ip link set p$n up; ip link set v$n up
      ip address add 10.0.$n.1/24 dev v$n; ip address add fd00:$n::1/64 dev v$n nodad
    done
  `);
  const first = await indexOf(socket, "v0");
  const second = await indexOf(socket, "v1");
  const nexthops: nl.Nexthop[] = [
    { id: 1, protocol, gateway: ip("10.0.0.9"), interfaceIndex: first },
    { id: 2, protocol, gateway: ip("10.0.1.9"), interfaceIndex: second },
    { id: 6, protocol, gateway: ip("fd00:1::9"), interfaceIndex: second },
    {
      id: 12,
      protocol,
      group: [
        { id: 1, weight: 1 },
        { id: 2, weight: 200 },
      ],
    },
    { id: 101, protocol, gateway: ip("192.0.2.7"), fdb: true },
    { id: 106, protocol, gateway: ip("2001:db8::7"), fdb: true },
    { id: 112, protocol, fdb: true, group: [{ id: 101, weight: 1 }] },
  ];
  assert.deepEqual(await socket.batch(nexthops.map(nl.replaceNexthop)), { done: 7, failures: [] });
  assert.deepEqual(await socket.dump(nl.listNexthops()), nexthops);
  assert.equal(
    host.shell("ip nexthop show").replaceAll(/ +$/gm, ""),
    `id 1 via 10.0.0.9 dev v0 scope link proto static
id 2 via 10.0.1.9 dev v1 scope link proto static
id 6 via fd00:1::9 dev v1 scope link proto static
id 12 group 1/2,200 proto static
id 101 via 192.0.2.7 scope link proto static fdb
id 106 via 2001:db8::7 scope link proto static fdb
id 112 group 101 proto static fdb
`,
  );

  const routes: nl.Route[] = [
    { destination: cidr("10.10.0.0/16"), protocol, nexthops: [{ gateway: ip("10.0.0.9"), index: first }], mtu: 1400 },
    { destination: cidr("10.11.0.0/16"), protocol, nexthops: [{ index: second }], preferredSource: ip("10.0.1.1") },
    {
      destination: cidr("10.12.0.0/16"),
      protocol,
      nexthops: [
        { gateway: ip("10.0.0.9"), index: first, weight: 3, onLink: false },
        { gateway: ip("10.0.1.9"), index: second, weight: 256, onLink: false },
      ],
    },
    { destination: cidr("10.13.0.0/16"), protocol, nexthops: [], nexthopId: 12 },
    { destination: cidr("10.14.0.0/16"), protocol, type: nl.routeType.blackhole, nexthops: [], priority: 9 },
    {
      destination: cidr("10.15.0.0/16"),
      protocol,
      table: 1000,
      nexthops: [{ gateway: ip("172.16.0.1"), index: first, onLink: true }],
    },
    { destination: cidr("0.0.0.0/0"), protocol, nexthops: [{ gateway: ip("10.0.0.9"), index: first }] },
    { destination: cidr("fd10::/64"), protocol, nexthops: [{ gateway: ip("fd00:0::9"), index: first }], priority: 50 },
    {
      destination: cidr("fd11::/64"),
      protocol,
      priority: 50,
      nexthops: [
        { gateway: ip("fd00:0::9"), index: first, weight: 1, onLink: false },
        { gateway: ip("fd00:1::9"), index: second, weight: 2, onLink: false },
      ],
    },
    { destination: cidr("fd12::/64"), protocol, nexthops: [], nexthopId: 6, priority: 50 },
    { destination: cidr("fd13::/64"), protocol, type: nl.routeType.unreachable, nexthops: [], priority: 50 },
    { destination: cidr("::/0"), protocol, nexthops: [{ gateway: ip("fd00:1::9"), index: second }], priority: 50 },
  ];
  const written = await socket.batch(routes.map(nl.replaceRoute));
  assert.deepEqual(written.failures, []);
  const text = host.shell("ip route show table all proto static; ip -6 route show table all proto static");
  for (const expected of [
    "10.10.0.0/16 via 10.0.0.9 dev v0 mtu 1400",
    "10.11.0.0/16 dev v1 scope link src 10.0.1.1",
    "nexthop via 10.0.0.9 dev v0 weight 3",
    "nexthop via 10.0.1.9 dev v1 weight 256",
    "10.13.0.0/16 nhid 12",
    "blackhole 10.14.0.0/16 metric 9",
    "10.15.0.0/16 via 172.16.0.1 dev v0 table 1000 onlink",
    "default via 10.0.0.9 dev v0",
    "fd10::/64 via fd00::9 dev v0 metric 50",
    "nexthop via fd00:1::9 dev v1 weight 2",
    "fd12::/64 nhid 6 via fd00:1::9 dev v1 metric 50",
    "unreachable fd13::/64 dev lo metric 50",
    "default via fd00:1::9 dev v1 metric 50",
  ])
    assert.ok(text.replaceAll(/ +/g, " ").includes(expected), `${expected} is missing in\n${text}`);

  const listed = new Map((await socket.dump(nl.listRoutes())).map((route) => [`${route.destination}`, route]));
  for (const route of routes) {
    const { nexthops: hops, ...rest } = route;
    const read = listed.get(route.destination);
    assertHas(read, rest);
    // Where a nexthop object is named the kernel tells its nexthops too; an unreachable IPv6 route is told with lo.
    if (route.nexthopId === undefined && route.type === undefined) assert.deepEqual(read?.nexthops, hops);
  }
  assertHas(await socket.get(nl.lookUpRoute(cidr("10.15.1.1/32"))), { destination: "0.0.0.0/0", table: 254 });
  assertHas(await socket.get(nl.lookUpRoute(cidr("fd11::1/128"))), { destination: "fd11::/64" });

  host.shell("ip route add 10.20.0.0/16 proto 99 nexthop via 10.0.0.9 dev v0 nexthop via 10.0.1.9 dev v1 weight 5");
  host.shell("ip -6 route add blackhole fd20::/48 proto 99");
  const foreign = (await socket.dump(nl.listRoutes())).filter((route) => route.protocol === 99);
  assertHas(
    foreign.find((route) => route.destination === "10.20.0.0/16"),
    {
      nexthops: [
        { gateway: "10.0.0.9", index: first, weight: 1, onLink: false },
        { gateway: "10.0.1.9", index: second, weight: 5, onLink: false },
      ],
    },
  );
  assertHas(
    foreign.find((route) => route.destination === "fd20::/48"),
    { type: nl.routeType.blackhole },
  );

  assert.deepEqual((await socket.batch([...routes, ...foreign].map(nl.deleteRoute))).failures, []);
  assert.equal(host.shell("ip route show table all proto static; ip -6 route show table all proto static"), "");
  assert.deepEqual((await socket.batch(nexthops.toReversed().map(({ id }) => nl.deleteNexthop(id)))).failures, []);
  assert.deepEqual(await socket.dump(nl.listNexthops()), []);
  await assert.rejects(socket.execute(nl.deleteRoute(routes[0] as nl.Route)), (error) => nl.isErrno(error, "ESRCH"));
});

test("rules of both families", async () => {
  using host = testNamespace("host");
  using socket = open(host);
  host.shell("ip link add v0 type veth peer name p0");
  const rules: nl.Rule[] = [
    {
      family: 4,
      table: 1000,
      priority: 100,
      protocol,
      source: cidr("10.0.0.0/8"),
      destination: cidr("172.16.0.0/12"),
      inputInterface: "v0",
    },
    { family: 4, table: 50, priority: 101, protocol, outputInterface: "p0", mark: 0x10, markMask: 0xff },
    { family: 6, table: 1000, priority: 100, protocol, source: cidr("fd00::/8") },
  ];
  assert.deepEqual((await socket.batch(rules.map(nl.createRule))).failures, []);
  const [, , , ...none] = host
    .json("ip -json rule show")
    .filter((rule: { protocol?: string }) => rule.protocol !== "static");
  assert.deepEqual(none, []);
  const text = host.shell("ip rule show; ip -6 rule show");
  assert.match(text, /100:\s+from 10\.0\.0\.0\/8 to 172\.16\.0\.0\/12 iif v0 lookup 1000 proto static/);
  assert.match(text, /101:\s+from all fwmark 0x10\/0xff oif p0 lookup 50 proto static/);
  assert.match(text, /100:\s+from fd00::\/8 lookup 1000 proto static/);
  for (const family of [4, 6] as const)
    assert.deepEqual(
      (await socket.dump(nl.listRules(family))).filter((rule) => rule.protocol === protocol),
      rules.filter((rule) => rule.family === family).map((rule) => rule),
    );
  await assert.rejects(socket.execute(nl.createRule(rules[0] as nl.Rule)), (error) => nl.isErrno(error, "EEXIST"));
  host.shell("ip rule add from 192.168.0.0/16 lookup 77 priority 200 protocol 99");
  assertHas(
    (await socket.dump(nl.listRules(4))).find((rule) => rule.priority === 200),
    { source: "192.168.0.0/16", table: 77, protocol: 99 },
  );
  assert.deepEqual((await socket.batch(rules.map(nl.deleteRule))).failures, []);
  assert.doesNotMatch(host.shell("ip rule show; ip -6 rule show"), /static/);
});

test("neighbours of both families", async () => {
  using host = testNamespace("host");
  using socket = open(host);
  host.shell(
    "ip link add v0 type veth peer name p0; ip link set v0 up; ip link set p0 up; ip link add br0 type bridge",
  );
  const index = await indexOf(socket, "v0");
  const entries: nl.Neighbour[] = [
    { index, ip: ip("10.0.0.7"), mac: mac("02:00:00:00:00:07"), state: permanent, flags: 0, protocol: 42 },
    { index, ip: ip("fd00::7"), mac: mac("02:00:00:00:00:08"), state: permanent, flags: 0, protocol: 42 },
  ];
  assert.deepEqual((await socket.batch(entries.map(nl.replaceNeighbour))).failures, []);
  assert.deepEqual(
    host
      .json("ip -json neighbour show dev v0 nud permanent")
      .map((entry: { dst: string; lladdr: string }) => `${entry.dst} ${entry.lladdr}`)
      .sort(),
    ["10.0.0.7 02:00:00:00:00:07", "fd00::7 02:00:00:00:00:08"],
  );
  const mine = (await socket.dump(nl.listNeighbours({ index }))).filter((entry) => entry.state === permanent);
  assert.deepEqual(
    mine.toSorted((a, b) => a.ip.length - b.ip.length),
    entries.toSorted((a, b) => a.ip.length - b.ip.length),
  );
  for (const entry of entries) assert.deepEqual(await socket.get(nl.getNeighbour(index, entry.ip)), entry);
  await socket.execute(nl.replaceNeighbour({ ...entries[0], mac: mac("02:00:00:00:00:99") } as nl.Neighbour));
  assert.match(host.shell("ip neighbour show 10.0.0.7"), /02:00:00:00:00:99 .*PERMANENT/);
  host.shell("ip neighbour add 10.0.0.50 lladdr 02:00:00:00:00:50 dev v0 nud reachable");
  assertHas(await socket.get(nl.getNeighbour(index, ip("10.0.0.50"))), {
    mac: "02:00:00:00:00:50",
    state: nl.neighbourState.reachable,
  });
  assert.deepEqual(await socket.dump(nl.listNeighbours({ index: await indexOf(socket, "br0") })), []);
  assert.deepEqual((await socket.batch(entries.map((entry) => nl.deleteNeighbour(index, entry.ip)))).failures, []);
  assert.equal(host.shell("ip neighbour show nud permanent dev v0"), "");
  await assert.rejects(socket.get(nl.getNeighbour(index, ip("10.0.0.7"))), (error) => nl.isErrno(error, "ENOENT"));
});

test("FDB: tunnel, bridge, both in one message, a flood list, and nexthop groups of the underlay", async () => {
  using underlay = testNamespace("underlay");
  using tenant = testNamespace("tenant");
  using under = open(underlay);
  using socket = open(tenant);
  underlay.shell(`ip link set lo up; ip address add 192.0.2.1/24 dev lo
    ip link add vx0 netns ${tenant.name} type vxlan id 5 dstport 4789 local 192.0.2.1 nolearning`);
  tenant.shell("ip link add br0 type bridge; ip link set vx0 master br0 up; ip link set br0 up");
  await under.batch([
    nl.replaceNexthop({ id: 101, protocol, gateway: ip("192.0.2.2"), fdb: true }),
    nl.replaceNexthop({ id: 112, protocol, fdb: true, group: [{ id: 101, weight: 1 }] }),
  ]);
  const index = await indexOf(socket, "vx0");
  const bridge = await indexOf(socket, "br0");
  const { self, master, externallyLearned } = nl.neighbourFlag;
  const entry = (last: number, more: Partial<nl.FdbEntry>): nl.FdbEntry => ({
    index,
    mac: mac(`02:00:00:00:00:0${last}`),
    state: permanent,
    flags: self,
    ...more,
  });
  const both = self | master | externallyLearned;
  const entries = [
    entry(1, { vtep: ip("192.0.2.2") }),
    entry(2, { flags: master }),
    entry(3, { flags: both, vtep: ip("192.0.2.3") }),
    entry(4, { flags: both, nexthop: 112 }),
  ];
  assert.deepEqual((await socket.batch(entries.map(nl.replaceFdbEntry))).failures, []);
  const flood = [ip("192.0.2.2"), ip("192.0.2.3")].map((vtep) => entry(0, { mac: zeroMac, vtep }));
  assert.deepEqual((await socket.batch(flood.map(nl.appendFdbEntry))).failures, []);
  const shown = (): string[] =>
    tenant
      .json("bridge -json fdb show dev vx0")
      // A bridge that knows VLANs keeps a copy of each entry for the VLAN that ports are in.
      .filter((line: { vlan?: number }) => line.vlan === undefined)
      .map((line: { mac: string; dst?: string; master?: string; flags: string[]; nhid?: number }) =>
        [line.mac, line.dst ?? "-", line.master ?? "-", ...line.flags].join(" "),
      )
      .filter((line: string) => line.startsWith("02:00:00:00:00:0") || line.startsWith("00:00"))
      .sort();
  assert.deepEqual(shown(), [
    "00:00:00:00:00:00 192.0.2.2 - self",
    "00:00:00:00:00:00 192.0.2.3 - self",
    "02:00:00:00:00:01 192.0.2.2 - self",
    "02:00:00:00:00:02 - br0",
    "02:00:00:00:00:03 - br0 extern_learn",
    "02:00:00:00:00:03 192.0.2.3 - self extern_learn",
    "02:00:00:00:00:04 - - self extern_learn",
    "02:00:00:00:00:04 - br0 extern_learn",
  ]);
  assert.match(tenant.shell("bridge fdb show dev vx0"), /02:00:00:00:00:04 nhid 112 .*self extern_learn permanent/);

  const self4 = await socket.get(nl.getFdbEntry(index, mac("02:00:00:00:00:04"), "self"));
  assertHas(self4, { index, nexthop: 112, state: permanent });
  assert.equal(self4.flags & externallyLearned, externallyLearned);
  assertHas(await socket.get(nl.getFdbEntry(index, mac("02:00:00:00:00:04"), "master")), { index, master: bridge });
  const list = await socket.dump(nl.listFdbEntries({ index }));
  assert.deepEqual(
    list.filter((line) => line.mac === zeroMac).map((line) => line.vtep),
    ["192.0.2.2", "192.0.2.3"],
  );
  assert.equal(list.filter((line) => line.mac === "02:00:00:00:00:03" && line.vlan === undefined).length, 2);

  tenant.shell("bridge fdb add 02:00:00:00:00:09 dev vx0 dst 192.0.2.9 self");
  assertHas(await socket.get(nl.getFdbEntry(index, mac("02:00:00:00:00:09"), "self")), { vtep: "192.0.2.9" });
  await socket.execute(nl.replaceFdbEntry(entry(9, { vtep: ip("192.0.2.8") })));
  assert.match(tenant.shell("bridge fdb get 02:00:00:00:00:09 dev vx0 self"), /dst 192\.0\.2\.8/);
  await assert.rejects(socket.execute(nl.createFdbEntry(entry(9, { vtep: ip("192.0.2.9") }))), (error) =>
    nl.isErrno(error, "EEXIST"),
  );
  await socket.execute(nl.deleteFdbEntry(flood[0] as nl.FdbEntry));
  for (const line of [...entries, entry(9, {})])
    await socket.execute(nl.deleteFdbEntry({ ...line, flags: line.flags & (self | master) }));
  assert.deepEqual(shown(), ["00:00:00:00:00:00 192.0.2.3 - self"]);
  await assert.rejects(socket.get(nl.getFdbEntry(index, mac("02:00:00:00:00:04"), "self")), (error) =>
    nl.isErrno(error, "ENOENT"),
  );
});

test("qdiscs and classes: htb with rates beyond 32 bits, tbf, clsact, the kernel's default", async () => {
  using host = testNamespace("host");
  using socket = open(host);
  host.shell("ip link add v0 type veth peer name p0; ip link set v0 up");
  const index = await indexOf(socket, "v0");
  const qdiscs = async (): Promise<nl.Qdisc[]> =>
    (await socket.dump(nl.listQdiscs({ index }))).map(({ statistics, ...qdisc }) => {
      assert.deepEqual({ ...statistics }, { octets: 0, packets: 0, backlog: 0, dropped: 0, overlimits: 0 });
      return qdisc;
    });
  assert.deepEqual(await qdiscs(), [{ index, kind: "noqueue", handle: 0, parent: nl.qdiscParent.root }]);
  const root: nl.Qdisc = {
    index,
    kind: "htb",
    handle: nl.tcHandle(1),
    parent: nl.qdiscParent.root,
    htb: { defaultClass: 0x10 },
  };
  const tbf: nl.Qdisc = {
    index,
    kind: "tbf",
    handle: nl.tcHandle(0x20),
    parent: nl.tcHandle(1, 0x10),
    tbf: { rate: 10_000_000, burst: 5000, limit: 30_000 },
  };
  const classes: nl.HtbClass[] = [
    { index, handle: nl.tcHandle(1, 1), parent: nl.tcHandle(1), rate: 100e9, ceil: 200e9 },
    { index, handle: nl.tcHandle(1, 0x10), parent: nl.tcHandle(1, 1), rate: 50e6, burst: 15_000, priority: 3 },
  ];
  await socket.execute(nl.createQdisc(root));
  assert.deepEqual((await socket.batch(classes.map(nl.createHtbClass))).failures, []);
  await socket.execute(nl.createQdisc(tbf));
  await socket.execute(nl.createQdisc(nl.clsactQdisc(index)));
  assert.deepEqual(await qdiscs(), [root, tbf, nl.clsactQdisc(index)]);
  assert.match(host.shell("tc qdisc show dev v0"), /tbf 20: parent 1:10 rate 10Mbit burst 5000b lat 20ms/);

  // tc makes the same class beside it: both compute bursts and quantum alike. (Above some Gbit/s they differ: tc cuts
  // the time of a burst to whole microseconds, down to none.)
  host.shell("tc class add dev v0 parent 1:1 classid 1:11 htb rate 50mbit burst 15000 prio 3");
  const listed = new Map((await socket.dump(nl.listHtbClasses(index))).map((entry) => [entry.handle, entry]));
  const comparable = (minor: number): object => ({ ...listed.get(nl.tcHandle(1, minor)), handle: 0, leaf: 0 });
  assert.deepEqual(comparable(0x10), comparable(0x11));
  assertHas(listed.get(nl.tcHandle(1, 1)), { rate: 100e9, ceil: 200e9, parent: nl.tcHandle(1) });
  assertHas(listed.get(nl.tcHandle(1, 0x10)), { rate: 50e6, ceil: 50e6, burst: 15_000, priority: 3 });
  const text = host.shell("tc class show dev v0");
  assert.match(text, /class htb 1:10 parent 1:1 leaf 20: prio 3 rate 50Mbit ceil 50Mbit burst 15000b cburst 1600b/);
  assert.match(text, /class htb 1:1 root rate 100Gbit ceil 200Gbit/);

  await socket.execute(nl.replaceHtbClass({ ...(classes[1] as nl.HtbClass), rate: 70e6, ceil: 40e9 }));
  assert.match(host.shell("tc class show dev v0"), /class htb 1:10 .*rate 70Mbit ceil 40Gbit/);
  await assert.rejects(socket.execute(nl.createHtbClass(classes[1] as nl.HtbClass)), (error) =>
    nl.isErrno(error, "EEXIST"),
  );
  await assert.rejects(socket.execute(nl.replaceQdisc(root)), /Change operation not supported by specified qdisc/);
  await socket.execute(nl.replaceQdisc({ ...tbf, tbf: { rate: 80e9, burst: 100_000, limit: 200_000 } }));
  assert.match(host.shell("tc qdisc show dev v0"), /rate 80Gbit/);
  assertHas((await socket.dump(nl.listQdiscs({ index }))).find(({ kind }) => kind === "tbf")?.tbf, { rate: 80e9 });

  await socket.execute(nl.deleteQdisc({ ...tbf }));
  await socket.execute(nl.deleteHtbClass(classes[1] as nl.HtbClass));
  await socket.execute(nl.deleteQdisc(nl.clsactQdisc(index)));
  await socket.execute(nl.deleteQdisc(root));
  assert.deepEqual(
    (await socket.dump(nl.listQdiscs())).map(({ kind }) => kind),
    host.json("tc -json qdisc show").map(({ kind }: { kind: string }) => kind),
  );
  assert.equal(host.shell("tc class show dev v0"), "");
});

test("filters at a hook are counted whatever their kind", requires("flower"), async () => {
  using host = testNamespace("host");
  using socket = open(host);
  host.shell("ip link add left type bridge; tc qdisc add dev left clsact");
  const { ingress, egress } = nl.filterHook;
  const index = await indexOf(socket, "left");
  assert.deepEqual(await socket.dump(nl.listFilterPriorities(index, ingress)), []);
  host.shell(`
    tc filter add dev left ingress protocol ip pref 7 flower action pass
    tc filter add dev left ingress protocol all pref 9 bpf bytecode '1,6 0 0 0'`);
  assert.deepEqual([...new Set(await socket.dump(nl.listFilterPriorities(index, ingress)))], [7, 9]);
  assert.deepEqual(await socket.dump(nl.listFilterPriorities(index, egress)), []);
});

test("the kernel's own words, and where in the request it found fault, are in the error", async () => {
  using host = testNamespace("host");
  using socket = open(host);
  host.shell("ip link set lo up");
  await assert.rejects(
    socket.execute(
      nl.replaceRoute({ destination: cidr("10.0.0.0/8"), protocol, nexthops: [{ gateway: ip("203.0.113.1") }] }),
    ),
    { message: "set route 10.0.0.0/8 in table 254: ENETUNREACH: Nexthop has invalid gateway" },
  );
  await assert.rejects(
    socket.execute(nl.changeLink({ index: 1 }, { mtu: 10, name: "a".repeat(40) })),
    /change link 1 \(mtu, name\): (ERANGE|EINVAL): .*\(attribute at octet \d+ of the request\)/,
  );
});

test("requests are checked strictly: a dump with a filter that the kernel does not know is refused", async () => {
  using host = testNamespace("host");
  using socket = open(host);
  const list = nl.listNeighbours();
  await assert.rejects(
    socket.dump({
      ...list,
      write: (writer) => {
        list.write(writer);
        const attribute = writer.beginAttribute(5); // NDA_VLAN
        writer.reserve(2);
        writer.endAttribute(attribute);
      },
    }),
    /EINVAL/,
  );
});
