import { cidr } from "../../base/cidr.ts";
import { messageOf } from "../../base/errors.ts";
import { familyOf, ip } from "../../base/ip.ts";
import { isGroupMac } from "../../base/mac.ts";
import { isMade } from "../../dataplane/encapsulation/fallback-tunnels.ts";
import type { Kernel } from "../../dataplane/kernel.ts";
import type { RowNames } from "../../dataplane/tables/row-text.ts";
import { SystemError } from "../../linux/index.ts";
import {
  changeLink,
  type FdbEntry,
  type Link,
  listAddresses,
  listFdbEntries,
  listLinks,
  listNeighbours,
  listNexthops,
  listProxyNeighbours,
  listRoutes,
  NetlinkSocket,
  neighbourFlag,
  neighbourState,
  netconfIndex,
  type Query,
  type Request,
  type Route,
  Watch,
  withoutNewNeighbours,
} from "../../netlink/index.ts";
import { fdbText, neighbourText, nexthopText, proxyText, routeText } from "./row-text.ts";

const { externallyLearned } = neighbourFlag;
const { permanent } = neighbourState;

/** A namespace as an observation sees it. */
interface Side {
  readonly namespace: ReturnType<Kernel["openNamed"]>;
  readonly socket: NetlinkSocket;
  readonly watch: Watch;
  readonly names: Map<number, string>;
  readonly told: Set<string>;
  /**
   * Devices that were told of first in this step. Before Linux 6.15 a tunnel was made in the namespace of its outer packets
   * and then moved: what comes and goes in one step is nothing.
   */
  readonly fresh: Set<number>;
  /** What was told of each device, as such and as a port, last: kernels repeat themselves. */
  readonly last: Map<string, string>;
}

/**
 * What a kernel answers and tells when objects are made, changed and taken away in two empty namespaces: lines that are the
 * same for every kernel that is as Linux is, as far as the dataplane relies on it. Tunnels' outer packets travel in the first.
 */
export class Observation {
  readonly outer: Side;
  readonly inner: Side;
  readonly #lines: string[] = [];

  private constructor(outer: Side, inner: Side) {
    this.outer = outer;
    this.inner = inner;
  }

  /** The lines of what `act` does. */
  static async of(
    kernel: Kernel,
    names: readonly [string, string],
    act: (observation: Observation) => Promise<void>,
  ): Promise<string[]> {
    const observation = new Observation(open(kernel, names[0]), open(kernel, names[1]));
    const { outer, inner } = observation;
    try {
      // A device that is down does not tell of its alias.
      for (const { socket } of [outer, inner]) await socket.execute(changeLink({ index: loopback }, { up: true }));
      // Devices give themselves no addresses.
      inner.namespace.writeSysctl("ipv6/conf/default/addr_gen_mode", "1");
      await act(observation);
      return observation.#lines;
    } finally {
      for (const { watch, socket, namespace } of [outer, inner]) {
        watch.close();
        socket.close();
        namespace.close();
      }
    }
  }

  say(line: string): void {
    this.#lines.push(line);
  }

  index(name: string): number {
    for (const [index, known] of this.inner.names) if (known === name) return index;
    return 999;
  }

  /** Asks for a change, and notes the answer and what both namespaces tell of it. */
  async do(what: string, make: () => Request, side = this.inner): Promise<void> {
    await this.#note(what, () => side.socket.execute(make()));
  }

  async setting(path: string, value: string): Promise<void> {
    await this.#note(`${path} = ${value}`, async () => this.inner.namespace.writeSysctl(path, value));
  }

  async ask(what: string, make: () => Query<FdbEntry>): Promise<void> {
    await this.#note(what, async () => {
      const entry = await this.inner.socket.get(make());
      this.#lines.push(`  is ${fdbText(entry, namesOf(this.inner))}`);
    });
  }

  async #note(what: string, action: () => Promise<unknown>): Promise<void> {
    for (const { told, fresh } of [this.outer, this.inner]) for (const each of [told, fresh]) each.clear();
    const outcome = await action().then(
      () => "done",
      (error: unknown) => (error instanceof SystemError ? error.errnoName : messageOf(error)),
    );
    this.#lines.push(`${what}: ${outcome}`);
    for (const [name, side] of [["outer", this.outer] as const, ["inner", this.inner] as const]) {
      await heardAll(side, `mark ${this.#lines.length}`);
      this.#lines.push(...[...side.told].sort().map((told) => `  ${name} ${told}`));
    }
  }

  /** All that there is. */
  async list(what: string): Promise<void> {
    this.#lines.push(`${what}:`);
    for (const [name, side] of [["outer", this.outer] as const, ["inner", this.inner] as const]) {
      const names = namesOf(side);
      const { socket } = side;
      const lines = [
        ...(await socket.dump(listLinks())).filter(isMade).map((link) => linkText(link, names)),
        ...(await socket.dump(listAddresses()))
          .filter(({ index }) => index !== loopback)
          .map(({ index, address, prefixLength }) => `addr ${address}/${prefixLength} dev ${names.device(index)}`),
        ...(await socket.dump(listNeighbours())).filter(isMarked).map((row) => `neigh ${neighbourText(row, names)}`),
        ...(await socket.dump(listProxyNeighbours())).map((row) => `neigh proxy ${proxyText(row, names)}`),
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
  const socket = new NetlinkSocket({ channel: namespace.openChannel({}) });
  const watch = new Watch({
    open: (options) => namespace.openChannel(options),
    groups: ["link", "neighbour", "address", "route", "netconf", "nexthop"],
    // Older kernels tell of entries of tunnels twice.
    filter: withoutNewNeighbours(0),
  });
  const side: Side = {
    namespace,
    socket,
    watch,
    names: new Map([[1, "lo"]]),
    told: new Set(),
    fresh: new Set(),
    last: new Map(),
  };
  const names = namesOf(side);
  const tell = (text: string, isGone = false): unknown => side.told.add(`${isGone ? "no more " : ""}${text}`);
  const tellNews = (key: string, text: string): void => {
    if (side.last.get(key) !== text) tell(text);
    side.last.set(key, text);
  };
  watch.subscribe("link", ({ index, link }) => {
    if (link !== undefined) side.names.set(index, link.name);
    if (index === loopback || (link !== undefined && !isMade(link))) return;
    if (link !== undefined) {
      if (!side.last.has(`link ${index}`)) side.fresh.add(index);
      tellNews(`link ${index}`, linkText(link, names));
    } else if (side.fresh.has(index)) side.told.delete(side.last.get(`link ${index}`) ?? "");
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
