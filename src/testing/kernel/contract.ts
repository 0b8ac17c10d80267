import { type Cidr, cidr } from "../../base/cidr.ts";
import { messageOf } from "../../base/errors.ts";
import { familyOf, ip } from "../../base/ip.ts";
import { isGroupMac, mac, zeroMac } from "../../base/mac.ts";
import type { Kernel } from "../../dataplane/kernel.ts";
import { fdbText, neighbourText, nexthopText, type RowNames, routeText } from "../../dataplane/tables/row-text.ts";
import { SystemError } from "../../linux/index.ts";
import {
  appendFdbEntry,
  changeBridgePort,
  changeLink,
  createLink,
  deleteAddress,
  deleteFdbEntry,
  deleteLink,
  deleteNeighbour,
  deleteNexthop,
  deleteRoute,
  type FdbEntry,
  getFdbEntry,
  type Link,
  listAddresses,
  listFdbEntries,
  listLinks,
  listNeighbours,
  listNexthops,
  listRoutes,
  NetlinkSocket,
  neighbourFlag,
  neighbourState,
  netconfIndex,
  type Query,
  type Request,
  type Route,
  replaceAddress,
  replaceFdbEntry,
  replaceNeighbour,
  replaceNexthop,
  replaceRoute,
  routeType,
  Watch,
  withoutNewNeighbours,
} from "../../netlink/index.ts";

const macs = [
  mac("02:00:00:00:00:01"),
  mac("02:00:00:00:00:02"),
  mac("02:00:00:00:00:03"),
  mac("02:00:00:00:00:04"),
] as const;
const { self, master, externallyLearned } = neighbourFlag;
const { permanent } = neighbourState;

/** A namespace as the contract sees it. */
interface Side {
  readonly namespace: ReturnType<Kernel["openNamed"]>;
  readonly socket: NetlinkSocket;
  readonly watch: Watch;
  readonly names: Map<number, string>;
  readonly told: Set<string>;
  /** What was told of each device, as such and as a port, last: kernels repeat themselves. */
  readonly last: Map<string, string>;
}

/**
 * What a kernel answers and tells when objects are made, changed and taken away in two empty namespaces: lines that are the
 * same for every kernel that is as Linux is, as far as the dataplane relies on it. Tunnels' outer packets travel in the first.
 */
export async function observeKernel(kernel: Kernel, names: readonly [string, string]): Promise<string[]> {
  const outer = open(kernel, names[0]);
  const inner = open(kernel, names[1]);
  try {
    return await new Observation(outer, inner).run();
  } finally {
    for (const { watch, socket, namespace } of [outer, inner]) {
      watch.close();
      socket.close();
      namespace.close();
    }
  }
}

class Observation {
  readonly #outer: Side;
  readonly #inner: Side;
  readonly #lines: string[] = [];

  constructor(outer: Side, inner: Side) {
    this.#outer = outer;
    this.#inner = inner;
  }

  async run(): Promise<string[]> {
    const { namespace } = this.#inner;
    // A device that is down does not tell of its alias.
    for (const { socket } of [this.#outer, this.#inner])
      await socket.execute(changeLink({ index: loopback }, { up: true }));
    // Devices give themselves no addresses.
    namespace.writeSysctl("ipv6/conf/default/addr_gen_mode", "1");
    await this.#devices();
    await this.#entries();
    await this.#addressesAndRoutes();
    await this.#goings();
    return this.#lines;
  }

  async #devices(): Promise<void> {
    await this.#do("bridge", () =>
      createLink("bridge", {
        name: "br1",
        mac: macs[0],
        mtu: 1450,
        info: { bridge: { multicastSnooping: false, vlanDefaultPvid: 0 } },
      }),
    );
    const vxlan = { vxlan: { vni: 7, port: 4789, local: ip("192.0.2.1"), learning: false } };
    const namespace = this.#inner.namespace;
    await this.#do(
      "tunnel",
      () => createLink("vxlan", { name: "vx1", mac: macs[1], mtu: 1450, info: vxlan, namespace }),
      this.#outer,
    );
    await this.#do(
      "another of its VNI",
      () => createLink("vxlan", { name: "vx2", info: vxlan, namespace }),
      this.#outer,
    );
    await this.#do("a name that is taken", () => createLink("bridge", { name: "vx1" }));
    await this.#do("no such kind", () => createLink("nonesuch", { name: "n1" }));
    await this.#do("alias of a device that is down", () =>
      changeLink({ index: this.#index("vx1") }, { alias: "mine" }),
    );
    await this.#do("settings of no port", () => changeBridgePort(this.#index("vx1"), { learning: false }));
    await this.#do("port", () => changeLink({ index: this.#index("vx1") }, { master: this.#index("br1") }));
    const bridgePort = { isolated: true, learning: false };
    await this.#do("settings of a port that is down", () =>
      changeLink({ index: this.#index("vx1") }, { info: { portKind: "bridge", bridgePort } }),
    );
    await this.#do("up", () => changeLink({ index: this.#index("vx1") }, { up: true }));
    await this.#do("bridge up", () => changeLink({ index: this.#index("br1") }, { up: true }));
    await this.#do("settings of a port", () =>
      changeLink({ index: this.#index("vx1") }, { info: { portKind: "bridge", bridgePort: { unicastFlood: false } } }),
    );
    await this.#do("settings of a port, told to the bridge", () =>
      changeBridgePort(this.#index("vx1"), { neighbourSuppress: true }),
    );
    await this.#do("alias", () => changeLink({ index: this.#index("vx1") }, { alias: "mine too" }));
    await this.#do("VNI of a tunnel that is there", () =>
      changeLink({ index: this.#index("vx1") }, { info: { kind: "vxlan", vxlan: { vni: 8 } } }),
    );
  }

  async #entries(): Promise<void> {
    const entry = (changes: Partial<FdbEntry>): FdbEntry => ({
      index: this.#index("vx1"),
      mac: macs[2],
      state: permanent,
      flags: self | master | externallyLearned,
      ...changes,
    });
    const [hop, group] = [102, 12];
    const protocol = 119;
    await this.#do("entry without its nexthop", () => replaceFdbEntry(entry({ nexthop: group, flags: self })));
    await this.#do(
      "group without its member",
      () => replaceNexthop({ id: group, protocol, fdb: true, group: [{ id: hop, weight: 1 }] }),
      this.#outer,
    );
    await this.#do(
      "nexthop",
      () => replaceNexthop({ id: hop, protocol, fdb: true, gateway: ip("192.0.2.2") }),
      this.#outer,
    );
    await this.#do(
      "group",
      () => replaceNexthop({ id: group, protocol, fdb: true, group: [{ id: hop, weight: 1 }] }),
      this.#outer,
    );
    await this.#do(
      "group that becomes a nexthop",
      () => replaceNexthop({ id: group, protocol, fdb: true, gateway: ip("192.0.2.2") }),
      this.#outer,
    );
    await this.#do("entry", () => replaceFdbEntry(entry({ nexthop: group })));
    await this.#do("the same entry", () => replaceFdbEntry(entry({ nexthop: group })));
    const flood = (vtep: string): FdbEntry => entry({ mac: zeroMac, vtep: ip(vtep), flags: self | externallyLearned });
    await this.#do("flood entry", () => appendFdbEntry(flood("192.0.2.2")));
    await this.#do("the same flood entry", () => appendFdbEntry(flood("192.0.2.2")));
    await this.#do("another flood entry", () => appendFdbEntry(flood("192.0.2.3")));
    await this.#ask("entry of the tunnel", () => getFdbEntry(this.#index("vx1"), macs[2], "self"));
    await this.#ask("entry of the bridge", () => getFdbEntry(this.#index("vx1"), macs[2], "master"));
    await this.#ask("no such entry", () => getFdbEntry(this.#index("vx1"), macs[3], "self"));
    await this.#do("entry of what is no port", () =>
      replaceFdbEntry(entry({ index: this.#index("br1"), flags: master | externallyLearned })),
    );
    await this.#do("one flood entry less", () => deleteFdbEntry({ ...flood("192.0.2.3"), state: 0 }));
    await this.#do("no such flood entry", () => deleteFdbEntry({ ...flood("192.0.2.9"), state: 0 }));
    await this.#list("entries");
    await this.#do("nexthop less", () => deleteNexthop(hop), this.#outer);
    await this.#list("entries without nexthop");
    await this.#do("no such nexthop", () => deleteNexthop(hop), this.#outer);
    const neighbour = { index: this.#index("br1"), mac: macs[2], state: permanent, flags: externallyLearned, protocol };
    for (const what of ["neighbour", "the same neighbour"])
      await this.#do(what, () => replaceNeighbour({ ...neighbour, ip: ip("10.0.0.1") }));
    await this.#do("IPv6 neighbour", () => replaceNeighbour({ ...neighbour, ip: ip("fd00::9") }));
    await this.#do("no such neighbour", () => deleteNeighbour(this.#index("br1"), ip("10.44.0.1")));
    await this.#do("neighbour of no device", () => replaceNeighbour({ ...neighbour, index: 999, ip: ip("10.0.0.1") }));
  }

  async #addressesAndRoutes(): Promise<void> {
    const bridge = this.#index("br1");
    const [ipv4, ipv6] = [
      { index: bridge, address: ip("10.0.0.254"), prefixLength: 24, withoutDad: true },
      { index: bridge, address: ip("fd00::fe"), prefixLength: 64, withoutDad: true },
    ];
    await this.#do("address", () => replaceAddress(ipv4));
    await this.#do("IPv6 address", () => replaceAddress(ipv6));
    await this.#do("no such address", () => deleteAddress({ ...ipv4, address: ip("10.1.1.1") }));
    const route = (destination: Cidr, changes: Partial<Route> = {}): Route => ({
      destination,
      protocol: 119,
      nexthops: [],
      ...changes,
    });
    const by = (gateway: string, onLink: boolean) => [{ index: bridge, gateway: ip(gateway), onLink }];
    const [one, other] = [cidr("10.9.0.0/24"), cidr("fd09::/64")];
    await this.#do("route by a gateway that is nowhere", () =>
      replaceRoute(route(one, { nexthops: by("10.8.0.64", false) })),
    );
    await this.#do("route by a gateway on the link", () =>
      replaceRoute(route(one, { nexthops: by("10.8.0.64", true) })),
    );
    await this.#do("the same route to nowhere", () => replaceRoute(route(one, { type: routeType.unreachable })));
    await this.#do("another protocol's", () => deleteRoute(route(one, { protocol: 4, type: routeType.unreachable })));
    await this.#do("route less", () => deleteRoute(route(one, { type: routeType.unreachable })));
    await this.#do("no such route", () => deleteRoute(route(one)));
    await this.#do("IPv6 route to nowhere", () => replaceRoute(route(other, { type: routeType.unreachable })));
    await this.#do("the same by a gateway", () => replaceRoute(route(other, { nexthops: by("fe80::9", true) })));
    await this.#do("route again", () => replaceRoute(route(one, { nexthops: by("10.8.0.64", true) })));
    await this.#do("another MAC of the bridge", () => changeLink({ index: bridge }, { mac: macs[3] }));
    await this.#do("neighbour again", () =>
      replaceNeighbour({
        index: bridge,
        ip: ip("10.0.0.1"),
        mac: macs[2],
        state: permanent,
        flags: externallyLearned,
        protocol: 119,
      }),
    );
    await this.#list("before the bridge goes down");
    await this.#do("bridge down", () => changeLink({ index: bridge }, { up: false }));
    await this.#list("while the bridge is down");
    await this.#do("route by a device that is down", () =>
      replaceRoute(route(one, { nexthops: by("10.8.0.64", true) })),
    );
    await this.#do("bridge up again", () => changeLink({ index: bridge }, { up: true }));
    await this.#list("when the bridge is up again");
    await this.#setting("ipv4/ip_forward", "1");
    await this.#setting("ipv6/conf/all/forwarding", "1");
    await this.#setting("ipv4/conf/br1/rp_filter", "2");
    await this.#setting("ipv4/conf/br1/forwarding", "0");
    await this.#do("IPv6 address again", () => replaceAddress(ipv6));
    await this.#do("too small an MTU for IPv6", () => changeLink({ index: bridge }, { mtu: 1200 }));
    this.#lines.push(`accept_ra: ${this.#inner.namespace.readSysctl("ipv6/conf/br1/accept_ra")}`);
    await this.#do("IPv6 address without IPv6", () => replaceAddress(ipv6));
    await this.#do("IPv6 neighbour without IPv6", () =>
      replaceNeighbour({ index: bridge, ip: ip("fd00::9"), mac: macs[2], state: permanent, flags: externallyLearned }),
    );
    await this.#do("MTU as before", () => changeLink({ index: bridge }, { mtu: 1450 }));
  }

  async #goings(): Promise<void> {
    const { namespace } = this.#outer;
    await this.#do("pair", () =>
      createLink("veth", {
        name: "ve1",
        mac: macs[1],
        mtu: 1450,
        info: { peer: { name: "eth0", mac: macs[2], mtu: 1450, namespace } },
      }),
    );
    await this.#do("another whose end's name is taken", () =>
      createLink("veth", { name: "ve2", info: { peer: { name: "eth0", namespace } } }),
    );
    await this.#do("port of a pair", () => changeLink({ index: this.#index("ve1") }, { master: this.#index("br1") }));
    await this.#do("entry of a port", () =>
      replaceFdbEntry({
        index: this.#index("ve1"),
        mac: macs[2],
        state: neighbourState.noArp,
        flags: master | externallyLearned,
      }),
    );
    await this.#list("entries of ports");
    await this.#do("the pair's other end goes", () => deleteLink({ name: "eth0" }), this.#outer);
    await this.#do("no such device", () => deleteLink({ name: "ve1" }));
    await this.#do("port that leaves", () => changeLink({ index: this.#index("vx1") }, { master: 0 }));
    await this.#do("tunnel goes", () => deleteLink({ name: "vx1" }));
    await this.#do("bridge goes", () => deleteLink({ name: "br1" }));
    await this.#list("at last");
  }

  #index(name: string): number {
    for (const [index, known] of this.#inner.names) if (known === name) return index;
    return 999;
  }

  /** Asks for a change, and notes the answer and what both namespaces tell of it. */
  async #do(what: string, make: () => Request, side = this.#inner): Promise<void> {
    await this.#note(what, () => side.socket.execute(make()));
  }

  async #setting(path: string, value: string): Promise<void> {
    await this.#note(`${path} = ${value}`, async () => this.#inner.namespace.writeSysctl(path, value));
  }

  async #ask(what: string, make: () => Query<FdbEntry>): Promise<void> {
    await this.#note(what, async () => {
      const entry = await this.#inner.socket.get(make());
      this.#lines.push(`  is ${fdbText(entry, namesOf(this.#inner))}`);
    });
  }

  async #note(what: string, action: () => Promise<unknown>): Promise<void> {
    for (const { told } of [this.#outer, this.#inner]) told.clear();
    const outcome = await action().then(
      () => "done",
      (error: unknown) => (error instanceof SystemError ? error.errnoName : messageOf(error)),
    );
    this.#lines.push(`${what}: ${outcome}`);
    for (const [name, side] of [["outer", this.#outer] as const, ["inner", this.#inner] as const]) {
      await heardAll(side, `mark ${this.#lines.length}`);
      this.#lines.push(...[...side.told].sort().map((told) => `  ${name} ${told}`));
    }
  }

  /** All that there is. */
  async #list(what: string): Promise<void> {
    this.#lines.push(`${what}:`);
    for (const [name, side] of [["outer", this.#outer] as const, ["inner", this.#inner] as const]) {
      const names = namesOf(side);
      const { socket } = side;
      const lines = [
        ...(await socket.dump(listLinks())).filter(isOwnLink).map((link) => linkText(link, names)),
        ...(await socket.dump(listAddresses()))
          .filter(({ index }) => index !== loopback)
          .map(({ index, address, prefixLength }) => `addr ${address}/${prefixLength} dev ${names.device(index)}`),
        ...(await socket.dump(listNeighbours())).filter(isMarked).map((row) => `neigh ${neighbourText(row, names)}`),
        ...(await socket.dump(listFdbEntries())).filter(isOfInterest).map((row) => `fdb ${fdbText(row, names)}`),
        ...(await socket.dump(listRoutes())).filter(isOfTables).map((row) => `route ${routeText(row, names)}`),
        ...(await socket.dump(listNexthops())).map((row) => `nexthop ${nexthopText(row, names)}`),
      ];
      this.#lines.push(...lines.sort().map((line) => `  ${name} ${line}`));
    }
  }
}

function open(kernel: Kernel, name: string): Side {
  const namespace = kernel.openNamed(name);
  const socket = new NetlinkSocket({ transport: namespace.openTransport({}) });
  const watch = new Watch({
    open: (options) => namespace.openTransport(options),
    groups: ["link", "neighbour", "address", "route", "netconf", "nexthop"],
    // Older kernels tell of entries of tunnels twice.
    filter: withoutNewNeighbours(0),
  });
  const side: Side = { namespace, socket, watch, names: new Map([[1, "lo"]]), told: new Set(), last: new Map() };
  const names = namesOf(side);
  const tell = (text: string, isGone = false): unknown => side.told.add(`${isGone ? "no more " : ""}${text}`);
  const tellNews = (key: string, text: string): void => {
    if (side.last.get(key) !== text) tell(text);
    side.last.set(key, text);
  };
  watch.subscribe("link", ({ index, link }) => {
    if (link !== undefined) side.names.set(index, link.name);
    if (index === loopback) return;
    if (link !== undefined) tellNews(`link ${index}`, linkText(link, names));
    else tell(`link ${names.device(index)}`, true);
  });
  watch.subscribe("bridgePort", ({ index, settings: { learning, isolated, unicastFlood, neighbourSuppress } }) =>
    tellNews(
      `port ${index}`,
      `port ${names.device(index)} ${JSON.stringify({ learning, isolated, unicastFlood, neighbourSuppress })}`,
    ),
  );
  watch.subscribe("address", ({ address: { index, address, prefixLength }, isGone }) => {
    // Of a new IPv6 address the kernel tells when a worker of it comes to that.
    const isLate = !isGone && familyOf(address) === 6;
    if (index !== loopback && !isLate) tell(`addr ${address}/${prefixLength} dev ${names.device(index)}`, isGone);
  });
  watch.subscribe(
    "neighbour",
    ({ neighbour, isGone }) => isMarked(neighbour) && tell(`neigh ${neighbourText(neighbour, names)}`, isGone),
  );
  watch.subscribe("fdb", ({ entry, isGone }) => isOfInterest(entry) && tell(`fdb ${fdbText(entry, names)}`, isGone));
  watch.subscribe(
    "route",
    ({ route, isGone }) => isOfTables(route) && tell(`route ${routeText(route, names)}`, isGone),
  );
  watch.subscribe("netconf", ({ index, forwarding, reversePathFilter }) => {
    const device =
      index === netconfIndex.all ? "all" : index === netconfIndex.default ? "default" : names.device(index);
    // Of a device that is new its name is not known yet.
    if (!device.startsWith("if")) tell(`netconf ${device} ${forwarding ?? "-"} ${reversePathFilter ?? "-"}`);
  });
  watch.subscribe("nexthop", ({ nexthop, isGone }) =>
    tell(`nexthop ${nexthop.id} ${nexthop.gateway ?? "group"}`, isGone),
  );
  return side;
}

const loopback = 1;

/** Events come in order: after what is told of the loopback device, all that was told before has been heard. */
async function heardAll({ socket, watch }: Side, mark: string): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const stop = watch.subscribe("link", ({ link }) => link?.alias === mark && resolve(), loopback);
  await socket.execute(changeLink({ index: loopback }, { alias: mark }));
  await promise;
  stop();
}

function namesOf({ names }: Side): RowNames {
  return {
    device: (index) => names.get(index ?? 0) ?? `if${index}`,
    // The dataplane's group for a VTEP has other numbers than here.
    vtep: () => undefined,
  };
}

function linkText({ name, mac: address, mtu, up, master: bridge, alias, info }: Link, names: RowNames): string {
  return `link ${name} ${info.kind ?? ""} mtu ${mtu} ${address ?? ""} ${up ? "up" : "down"}${bridge === undefined ? "" : ` master ${names.device(bridge)}`}${alias === undefined ? "" : ` alias ${alias}`}`;
}

/** Kernels put tunnels of their own into each namespace. */
function isOwnLink({ name }: Link): boolean {
  return /^(br|vx|ve|eth)\d$/.test(name);
}

function isMarked({ flags }: { readonly flags: number }): boolean {
  return (flags & externallyLearned) !== 0;
}

/** The MACs of groups that a device listens to are another matter. */
function isOfInterest({ mac: address, flags, master: bridge, state }: FdbEntry): boolean {
  const isOfPort = bridge !== undefined && (state & permanent) !== 0 && flags === 0;
  return !isGroupMac(address) && !isOfPort;
}

/** Not those to the host's own addresses, and to groups. */
function isOfTables({ destination, table, protocol }: Route): boolean {
  const isToGroups = destination === cidr("ff00::/8");
  return (
    table === 254 &&
    !isToGroups &&
    (protocol === 119 || protocol === 2) &&
    (familyOf(ip(destination.split("/")[0] ?? "")) === 4 || !destination.startsWith("fe80"))
  );
}
