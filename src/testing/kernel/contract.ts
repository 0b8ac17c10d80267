import { type Cidr, cidr } from "../../base/cidr.ts";
import { ip } from "../../base/ip.ts";
import { mac, zeroMac } from "../../base/mac.ts";
import type { Kernel } from "../../dataplane/kernel.ts";
import {
  appendFdbEntry,
  changeBridgePort,
  changeLink,
  createLink,
  createNexthop,
  deleteAddress,
  deleteFdbEntry,
  deleteLink,
  deleteLinkGroup,
  deleteNeighbour,
  deleteNexthop,
  deleteProxyNeighbour,
  deleteRoute,
  type FdbEntry,
  getFdbEntry,
  neighbourFlag,
  neighbourState,
  type Route,
  replaceAddress,
  replaceFdbEntry,
  replaceNeighbour,
  replaceNexthop,
  replaceProxyNeighbour,
  replaceRoute,
  routeType,
} from "../../netlink/index.ts";
import { Observation } from "./observation.ts";

const macs = [
  mac("02:00:00:00:00:01"),
  mac("02:00:00:00:00:02"),
  mac("02:00:00:00:00:03"),
  mac("02:00:00:00:00:04"),
] as const;
const { self, master, externallyLearned } = neighbourFlag;
const { permanent } = neighbourState;

/** What a kernel makes of all that a bridged network over VXLAN is made of, and of routes, settings and pairs of devices. */
export async function observeKernel(kernel: Kernel, names: readonly [string, string]): Promise<string[]> {
  return Observation.of(kernel, names, async (on) => {
    await devices(on);
    await entries(on);
    await addressesAndRoutes(on);
    await goings(on);
  });
}

async function devices(on: Observation): Promise<void> {
  await on.do("bridge", () =>
    createLink("bridge", {
      name: "br1",
      mac: macs[0],
      mtu: 1450,
      info: { bridge: { multicastSnooping: false, vlanDefaultPvid: 0 } },
    }),
  );
  const vxlan = { vxlan: { vni: 7, port: 4789, local: ip("192.0.2.1"), learning: false } };
  const namespace = on.inner.namespace;
  await on.do(
    "tunnel",
    () => createLink("vxlan", { name: "vx1", mac: macs[1], mtu: 1450, info: vxlan, namespace }),
    on.outer,
  );
  await on.do("another of its VNI", () => createLink("vxlan", { name: "vx2", info: vxlan, namespace }), on.outer);
  await on.do("a name that is taken", () => createLink("bridge", { name: "vx1" }));
  await on.do("no such kind", () => createLink("nonesuch", { name: "n1" }));
  await on.do("alias of a device that is down", () => changeLink({ index: on.index("vx1") }, { alias: "mine" }));
  await on.do("settings of no port", () => changeBridgePort(on.index("vx1"), { learning: false }));
  await on.do("port", () => changeLink({ index: on.index("vx1") }, { master: on.index("br1") }));
  const bridgePort = { isolated: true, learning: false };
  await on.do("settings of a port that is down", () =>
    changeLink({ index: on.index("vx1") }, { info: { portKind: "bridge", bridgePort } }),
  );
  await on.do("up", () => changeLink({ index: on.index("vx1") }, { up: true }));
  await on.do("bridge up", () => changeLink({ index: on.index("br1") }, { up: true }));
  await on.do("settings of a port", () =>
    changeLink({ index: on.index("vx1") }, { info: { portKind: "bridge", bridgePort: { unicastFlood: false } } }),
  );
  await on.do("settings of a port, told to the bridge", () =>
    changeBridgePort(on.index("vx1"), { neighbourSuppress: true }),
  );
  await on.do("alias", () => changeLink({ index: on.index("vx1") }, { alias: "mine too" }));
  await on.do("VNI of a tunnel that is there", () =>
    changeLink({ index: on.index("vx1") }, { info: { kind: "vxlan", vxlan: { vni: 8 } } }),
  );
}

async function entries(on: Observation): Promise<void> {
  const entry = (changes: Partial<FdbEntry>): FdbEntry => ({
    index: on.index("vx1"),
    mac: macs[2],
    state: permanent,
    flags: self | master | externallyLearned,
    ...changes,
  });
  const [hop, group] = [102, 12];
  const protocol = 119;
  await on.do("entry without its nexthop", () => replaceFdbEntry(entry({ nexthop: group, flags: self })));
  await on.do(
    "group without its member",
    () => replaceNexthop({ id: group, protocol, fdb: true, group: [{ id: hop, weight: 1 }] }),
    on.outer,
  );
  await on.do("nexthop", () => replaceNexthop({ id: hop, protocol, fdb: true, gateway: ip("192.0.2.2") }), on.outer);
  await on.do(
    "group",
    () => replaceNexthop({ id: group, protocol, fdb: true, group: [{ id: hop, weight: 1 }] }),
    on.outer,
  );
  await on.do(
    "group that becomes a nexthop",
    () => replaceNexthop({ id: group, protocol, fdb: true, gateway: ip("192.0.2.2") }),
    on.outer,
  );
  await on.do(
    "nexthop of a number that is taken",
    () => createNexthop({ id: hop, protocol: 4, fdb: true, gateway: ip("192.0.2.9") }),
    on.outer,
  );
  await on.do(
    "another's nexthop",
    () => createNexthop({ id: 103, protocol: 4, fdb: true, gateway: ip("192.0.2.9") }),
    on.outer,
  );
  await on.do("entry", () => replaceFdbEntry(entry({ nexthop: group })));
  await on.do("the same entry", () => replaceFdbEntry(entry({ nexthop: group })));
  const flood = (vtep: string): FdbEntry => entry({ mac: zeroMac, vtep: ip(vtep), flags: self | externallyLearned });
  await on.do("flood entry", () => appendFdbEntry(flood("192.0.2.2")));
  await on.do("the same flood entry", () => appendFdbEntry(flood("192.0.2.2")));
  await on.do("another flood entry", () => appendFdbEntry(flood("192.0.2.3")));
  await on.ask("entry of the tunnel", () => getFdbEntry(on.index("vx1"), macs[2], "self"));
  await on.ask("entry of the bridge", () => getFdbEntry(on.index("vx1"), macs[2], "master"));
  await on.ask("no such entry", () => getFdbEntry(on.index("vx1"), macs[3], "self"));
  await on.do("entry of what is no port", () =>
    replaceFdbEntry(entry({ index: on.index("br1"), flags: master | externallyLearned })),
  );
  await on.do("one flood entry less", () => deleteFdbEntry({ ...flood("192.0.2.3"), state: 0 }));
  await on.do("no such flood entry", () => deleteFdbEntry({ ...flood("192.0.2.9"), state: 0 }));
  await on.list("entries");
  await on.do("nexthop less", () => deleteNexthop(hop), on.outer);
  await on.list("entries without nexthop");
  await on.do("no such nexthop", () => deleteNexthop(hop), on.outer);
  const neighbour = { index: on.index("br1"), mac: macs[2], state: permanent, flags: externallyLearned, protocol };
  for (const what of ["neighbour", "the same neighbour"])
    await on.do(what, () => replaceNeighbour({ ...neighbour, ip: ip("10.0.0.1") }));
  await on.do("IPv6 neighbour", () => replaceNeighbour({ ...neighbour, ip: ip("fd00::9") }));
  await on.do("no such neighbour", () => deleteNeighbour(on.index("br1"), ip("10.44.0.1")));
  await on.do("neighbour of no device", () => replaceNeighbour({ ...neighbour, index: 999, ip: ip("10.0.0.1") }));
}

async function addressesAndRoutes(on: Observation): Promise<void> {
  const bridge = on.index("br1");
  const [ipv4, ipv6] = [
    { index: bridge, address: ip("10.0.0.254"), prefixLength: 24, withoutDad: true },
    { index: bridge, address: ip("fd00::fe"), prefixLength: 64, withoutDad: true },
  ];
  await on.do("address", () => replaceAddress(ipv4));
  await on.do("IPv6 address", () => replaceAddress(ipv6));
  await on.do("no such address", () => deleteAddress({ ...ipv4, address: ip("10.1.1.1") }));
  const route = (destination: Cidr, changes: Partial<Route> = {}): Route => ({
    destination,
    protocol: 119,
    nexthops: [],
    ...changes,
  });
  const by = (gateway: string, onLink: boolean) => [{ index: bridge, gateway: ip(gateway), onLink }];
  const [one, other] = [cidr("10.9.0.0/24"), cidr("fd09::/64")];
  await on.do("route by a gateway that is nowhere", () =>
    replaceRoute(route(one, { nexthops: by("10.8.0.64", false) })),
  );
  await on.do("route by a gateway on the link", () => replaceRoute(route(one, { nexthops: by("10.8.0.64", true) })));
  await on.do("the same route to nowhere", () => replaceRoute(route(one, { type: routeType.unreachable })));
  await on.do("another protocol's", () => deleteRoute(route(one, { protocol: 4, type: routeType.unreachable })));
  await on.do("route less", () => deleteRoute(route(one, { type: routeType.unreachable })));
  await on.do("no such route", () => deleteRoute(route(one)));
  await on.do("IPv6 route to nowhere", () => replaceRoute(route(other, { type: routeType.unreachable })));
  await on.do("the same by a gateway", () => replaceRoute(route(other, { nexthops: by("fe80::9", true) })));
  await on.do("route again", () => replaceRoute(route(one, { nexthops: by("10.8.0.64", true) })));
  await on.do("another MAC of the bridge", () => changeLink({ index: bridge }, { mac: macs[3] }));
  await on.do("neighbour again", () =>
    replaceNeighbour({
      index: bridge,
      ip: ip("10.0.0.1"),
      mac: macs[2],
      state: permanent,
      flags: externallyLearned,
      protocol: 119,
    }),
  );
  const proxy = { index: bridge, ip: ip("10.0.0.77"), protocol: 119 };
  for (const what of ["answer for an address", "the same again"]) await on.do(what, () => replaceProxyNeighbour(proxy));
  await on.do("answer for an IPv6 address", () => replaceProxyNeighbour({ ...proxy, ip: ip("fd00::77") }));
  await on.do("answer for another", () => replaceProxyNeighbour({ ...proxy, ip: ip("10.0.0.78") }));
  await on.do("answer for that no more", () => deleteProxyNeighbour({ ...proxy, ip: ip("10.0.0.78") }));
  await on.do("no such answer", () => deleteProxyNeighbour({ ...proxy, ip: ip("10.0.0.78") }));
  await on.do("answer by no device", () => replaceProxyNeighbour({ ...proxy, index: 999 }));
  await on.list("before the bridge goes down");
  await on.do("bridge down", () => changeLink({ index: bridge }, { up: false }));
  await on.list("while the bridge is down");
  await on.do("route by a device that is down", () => replaceRoute(route(one, { nexthops: by("10.8.0.64", true) })));
  await on.do("bridge up again", () => changeLink({ index: bridge }, { up: true }));
  await on.list("when the bridge is up again");
  await on.setting("ipv4/ip_forward", "1");
  await on.setting("ipv6/conf/all/forwarding", "1");
  await on.setting("ipv4/conf/br1/rp_filter", "2");
  await on.setting("ipv4/conf/br1/forwarding", "0");
  await on.setting("ipv4/neigh/br1/proxy_delay", "0");
  await on.setting("ipv6/conf/br1/proxy_ndp", "1");
  await on.setting("ipv6/conf/br1/forwarding", "0");
  await on.do("IPv6 address again", () => replaceAddress(ipv6));
  await on.do("too small an MTU for IPv6", () => changeLink({ index: bridge }, { mtu: 1200 }));
  on.say(`accept_ra: ${on.inner.namespace.readSysctl("ipv6/conf/br1/accept_ra")}`);
  await on.do("IPv6 address without IPv6", () => replaceAddress(ipv6));
  await on.do("IPv6 neighbour without IPv6", () =>
    replaceNeighbour({ index: bridge, ip: ip("fd00::9"), mac: macs[2], state: permanent, flags: externallyLearned }),
  );
  await on.do("MTU as before", () => changeLink({ index: bridge }, { mtu: 1450 }));
}

async function goings(on: Observation): Promise<void> {
  const { namespace } = on.outer;
  await on.do("pair", () =>
    createLink("veth", {
      name: "ve1",
      mac: macs[1],
      mtu: 1450,
      info: { peer: { name: "eth0", mac: macs[2], mtu: 1450, namespace } },
    }),
  );
  await on.do("another whose end's name is taken", () =>
    createLink("veth", { name: "ve2", info: { peer: { name: "eth0", namespace } } }),
  );
  await on.do("port of a pair", () => changeLink({ index: on.index("ve1") }, { master: on.index("br1") }));
  await on.do("entry of a port", () =>
    replaceFdbEntry({
      index: on.index("ve1"),
      mac: macs[2],
      state: neighbourState.noArp,
      flags: master | externallyLearned,
    }),
  );
  await on.list("entries of ports");
  await on.do("the pair's other end goes", () => deleteLink({ name: "eth0" }), on.outer);
  await on.do("no such device", () => deleteLink({ name: "ve1" }));
  await on.do("port that leaves", () => changeLink({ index: on.index("vx1") }, { master: 0 }));
  await on.do("no device of the group", () => deleteLinkGroup(77));
  await on.do("pair of a group", () =>
    createLink("veth", {
      name: "ve3",
      mac: macs[1],
      group: 77,
      info: { peer: { name: "eth0", mac: macs[2], namespace } },
    }),
  );
  await on.do("another bridge", () => createLink("bridge", { name: "br2", mac: macs[0] }));
  await on.do("its group is the same", () => changeLink({ name: "br2" }, { group: 77 }));
  await on.do("the pair becomes a port of it", () => changeLink({ name: "ve3" }, { master: on.index("br2") }));
  await on.do("all of the group go", () => deleteLinkGroup(77));
  await on.do("tunnel goes", () => deleteLink({ name: "vx1" }));
  await on.do("bridge goes", () => deleteLink({ name: "br1" }));
  await on.list("at last");
}
