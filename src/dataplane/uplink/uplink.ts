import { type Cidr, cidr, cidrFamily, cidrOf, prefixLengthOf } from "../../base/cidr.ts";
import { WeftError } from "../../base/errors.ts";
import type { IpAddress, IpFamily } from "../../base/ip.ts";
import { isErrno } from "../../linux/index.ts";
import {
  type BatchResult,
  deleteRoute,
  type EventMessage,
  EventSocket,
  eventGroup,
  type Link,
  listAddresses,
  listLinks,
  listRoutes,
  netconfIndex,
  type Route,
  RTM_DELADDR,
  RTM_DELLINK,
  RTM_DELROUTE,
  RTM_NEWLINK,
  RTM_NEWNETCONF,
  RTM_NEWROUTE,
  RTM_NEWRULE,
  readAddress,
  readLink,
  readLinkHeader,
  readNetconf,
  readRoute,
  replaceRoute,
  routeType,
} from "../../netlink/index.ts";
import { deleteNftTable, ensureNftTable, type NftTable } from "../filter/nftables.ts";
import { isOwnLink, weftProtocol } from "../ownership.ts";
import type { Report } from "../report.ts";
import { choosePair, knownPair, type PairAddresses } from "./addresses.ts";
import { hostFilterTable } from "./host-filter.ts";
import { ensureForwarding, type ForwardingDevices, forwardingTable, releaseForwarding } from "./host-forwarding.ts";
import { isOwnRoute, isSameRoute, planHostRoutes, widestDefault } from "./host-routes.ts";
import { hostDevice, hostTable, routeMetric, type UplinkIdentity } from "./identity.ts";
import {
  addressesOf,
  type Ends,
  endChanges,
  ends,
  ensurePair,
  findEnds,
  type PairPlace,
  removeEnds,
  type Side,
  sideOf,
} from "./pair.ts";
import { families, isEmptyRequest, needsDefaultRoute, passesHost, type UplinkRequest } from "./request.ts";
import { mainTable, tablesInUse } from "./routing-tables.ts";
import { tenantFilterTable, tenantTable } from "./tenant-filter.ts";
import { watchTables } from "./watch-tables.ts";

export interface UplinkOptions extends UplinkIdentity {
  /** The tenant's namespace. */
  readonly namespace: Side["namespace"];
  readonly socket: Side["socket"];
  /** The host's own namespace. */
  readonly underlay: Side;
  readonly report: Report;
  /** Something was damaged, and marked for repair. */
  readonly onDamage: () => void;
}

export interface UplinkSettings {
  /** UDP ports of all tunnels of this node. */
  readonly tunnelPorts: readonly number[];
  /** Of the underlay interface, octets. */
  readonly mtu: number;
}

/** What is to be compared with the kernel. */
type Part = "devices" | "filters" | "forwarding";
const parts: readonly Part[] = ["devices", "filters", "forwarding"];

/** The pair as it was left. */
interface Pair {
  readonly host: number;
  readonly tenant: number;
  readonly mtu: number;
}

/** Offsets in `struct rtmsg`. */
const rtmDestinationLength = 1;
const rtmProtocol = 5;

const everywhere: Readonly<Record<IpFamily, Cidr>> = { 4: cidr("0.0.0.0/0"), 6: cidr("::/0") };

/**
 * The link between a tenant's namespace and the host's own: a veth pair, routes on both sides, and filters that let
 * through what the tenant's networks ask for. It is there only while some network needs it. Everything about it is
 * in the kernel, so that a restart finds it as it was.
 */
export class Uplink {
  readonly #options: UplinkOptions;
  readonly #place: PairPlace;
  readonly #metric: number;
  readonly #sockets: readonly EventSocket[];
  readonly #changed = new Set<Part>(parts);
  /** Parts that somebody else touched: their repair is worth an event. */
  readonly #damaged = new Set<Part>();
  #request: UplinkRequest | undefined;
  #settingsKey = "";
  #addresses: PairAddresses | undefined;
  #pair: Pair | undefined;
  #hostRoutes: ReadonlyMap<Cidr, Route> = new Map();
  #defaultRoutes: ReadonlyMap<Cidr, Route> = new Map();
  /** Devices of the host that packets of the tenant pass. */
  #watchedDevices: ReadonlySet<number> = new Set();
  /** Devices of the host whose forwarding is for tenants alone. */
  #guarded: ForwardingDevices = { 4: [], 6: [] };
  /** The last that was told of each end, not judged yet. */
  readonly #linkEvents = new Map<keyof Ends, Link | undefined>();
  #ownWrites = 0;

  constructor(options: UplinkOptions) {
    const { instance, tenant, namespace, socket, underlay } = options;
    const identity = { instance, tenant };
    this.#options = options;
    this.#place = { identity, tenant: { namespace, socket }, underlay };
    this.#metric = routeMetric(identity);
    const { link, ipv4Address, ipv6Address, ipv4Route, ipv6Route, ipv4Rule, ipv6Rule } = eventGroup;
    const groups = [link, ipv4Address, ipv6Address, ipv4Route, ipv6Route];
    const onOverrun = (): void => this.#damage(...parts);
    this.#sockets = [
      new EventSocket({
        open: (socket) => underlay.namespace.openTransport(socket),
        groups: [...groups, ipv4Rule, ipv6Rule, eventGroup.ipv4Netconf, eventGroup.ipv6Netconf],
        onEvent: (message) => this.#onHostEvent(message),
        onOverrun,
      }),
      new EventSocket({
        open: (socket) => namespace.openTransport(socket),
        groups,
        onEvent: (message) => this.#onTenantEvent(message),
        onOverrun,
      }),
      watchTables(underlay.namespace, [hostTable(identity), forwardingTable], (table) =>
        this.#damage(table === forwardingTable ? "forwarding" : "filters"),
      ),
      watchTables(namespace, [tenantTable], () => this.#damage("filters")),
    ];
  }

  /** Whether something is to be compared with the kernel, although the request is the same. */
  get hasWork(): boolean {
    return this.#changed.size > 0;
  }

  /** Changes of the kernel by other means than the two sockets that were given, which count their own. */
  get writes(): number {
    return this.#ownWrites;
  }

  /** Everything will be compared with the kernel at the next opportunity; what differs by then was damaged. */
  distrust(): void {
    for (const part of parts) {
      this.#changed.add(part);
      if (this.#pair !== undefined) this.#damaged.add(part);
    }
  }

  /** How packets of the tenant leave by the uplink: the next hop of routes in the tenant's namespace. */
  nexthop(family: IpFamily): { readonly index: number; readonly gateway: IpAddress } | undefined {
    if (this.#pair === undefined || this.#addresses === undefined) return undefined;
    return { index: this.#pair.tenant, gateway: this.#addresses[family].host };
  }

  /**
   * Makes the kernel equal to the request. What can be done is done, also where a prefix must be refused; the first
   * refusal is thrown at the end.
   */
  async reconcile(request: UplinkRequest, settings: UplinkSettings): Promise<void> {
    const settingsKey = JSON.stringify([request, settings]);
    if (settingsKey !== this.#settingsKey) {
      for (const part of parts) this.#changed.add(part);
      this.#damaged.clear();
      this.#settingsKey = settingsKey;
      this.#request = request;
    }
    if (this.#changed.size === 0) return;
    const work = new Set(this.#changed);
    const repair = new Set(this.#damaged);
    this.#changed.clear();
    this.#damaged.clear();
    try {
      if (isEmptyRequest(request)) await this.remove();
      else await this.#establish(request, settings, work, repair);
    } catch (error) {
      for (const part of work) this.#changed.add(part);
      for (const part of repair) this.#damaged.add(part);
      throw error;
    }
  }

  /** Takes the uplink off both namespaces, the filters last. */
  async remove(): Promise<void> {
    const present = await findEnds(this.#place);
    const isPresent = this.#pair !== undefined || present.host !== undefined || present.tenant !== undefined;
    this.#pair = undefined;
    this.#addresses = undefined;
    this.#hostRoutes = new Map();
    this.#defaultRoutes = new Map();
    this.#watchedDevices = new Set();
    this.#guarded = { 4: [], 6: [] };
    if (!isPresent) return;
    const { identity, underlay, tenant } = this.#place;
    this.#ownWrites += await removeFromHost(identity, underlay, present);
    await removeEnds(this.#place, await findEnds(this.#place));
    this.#ownWrites += Number(await deleteNftTable(tenant.namespace, "inet", tenantTable));
  }

  /** Lets go of the kernel, which stays as it is. */
  close(): void {
    for (const socket of this.#sockets) socket.close();
  }

  async #establish(
    request: UplinkRequest,
    settings: UplinkSettings,
    work: ReadonlySet<Part>,
    repair: ReadonlySet<Part>,
  ): Promise<void> {
    const present = work.has("devices") || this.#addresses === undefined ? await findEnds(this.#place) : undefined;
    this.#addresses ??= await this.#findAddresses(present ?? {});
    const addresses = this.#addresses;
    const { identity, underlay, tenant } = this.#place;
    // No packet passes before the filters say which.
    if (work.has("filters")) {
      const hostSide = hostFilterTable(identity, request, addresses, settings.tunnelPorts);
      await this.#ensureTable(underlay, hostSide, repair.has("filters"));
      await this.#ensureTable(tenant, tenantFilterTable(request, addresses), repair.has("filters"));
    }
    if (present !== undefined && work.has("devices"))
      await this.#ensureDevices(present, addresses, settings.mtu, repair);
    let refusals: readonly WeftError[] = [];
    if (work.has("devices") || work.has("forwarding")) {
      const links = await underlay.socket.dump(listLinks());
      const routes = await underlay.socket.dump(listRoutes());
      if (work.has("devices")) refusals = await this.#ensureRoutes(request, addresses, links, routes, repair);
      await this.#ensureForwarding(request, links, routes);
    }
    this.#refuse(refusals);
  }

  /** The kernel is the record: the addresses that the pair has, else such as nobody here uses. */
  async #findAddresses(present: Ends): Promise<PairAddresses> {
    const { identity, underlay, tenant } = this.#place;
    const there = [];
    for (const end of ends) {
      const link = present[end];
      if (link !== undefined)
        there.push(...(await sideOf(this.#place, end).socket.dump(listAddresses({ index: link.index }))));
    }
    const occupied: Cidr[] = [];
    for (const { socket } of [underlay, tenant]) {
      occupied.push(...(await socket.dump(listRoutes())).map(({ destination }) => destination));
      for (const { address, prefixLength } of await socket.dump(listAddresses()))
        occupied.push(cidrOf(address, prefixLength));
    }
    return {
      4: knownPair(4, there) ?? choosePair(identity, 4, occupied),
      6: knownPair(6, there) ?? choosePair(identity, 6, occupied),
    };
  }

  async #ensureTable(side: Side, table: NftTable, isRepair: boolean): Promise<void> {
    if (!(await ensureNftTable(side.namespace, table))) return;
    this.#ownWrites++;
    if (isRepair)
      this.#repaired(`nft table inet ${table.name} in ${side.namespace.label} had been changed or removed; set again`);
  }

  async #ensureDevices(present: Ends, addresses: PairAddresses, mtu: number, repair: ReadonlySet<Part>): Promise<void> {
    const { host, tenant, isNew, changes, sysctlWrites } = await ensurePair(this.#place, present, addresses, mtu);
    this.#ownWrites += sysctlWrites;
    this.#pair = { host, tenant, mtu };
    if (!repair.has("devices")) return;
    if (isNew) this.#repaired(`devices ${hostDevice(this.#place.identity)} and uplink had been removed; made again`);
    else if (changes.length > 0) this.#repaired(`had been changed; done again: ${changes.join(", ")}`);
  }

  async #ensureRoutes(
    request: UplinkRequest,
    addresses: PairAddresses,
    links: readonly Link[],
    routes: readonly Route[],
    repair: ReadonlySet<Part>,
  ): Promise<readonly WeftError[]> {
    const pair = this.#pair;
    if (pair === undefined) throw new TypeError("routes come after the devices");
    const { identity, underlay, tenant } = this.#place;
    const names = new Map(links.map(({ index, name }) => [index, name]));
    const plan = planHostRoutes({
      identity,
      request,
      device: pair.host,
      addresses,
      routes,
      nameOf: (index) => names.get(index) ?? `interface ${index}`,
    });
    const before = this.#hostRoutes;
    this.#hostRoutes = plan.wanted;
    const requests = [...plan.missing.map(replaceRoute), ...plan.surplus.map(deleteRoute)];
    expectDone(await underlay.socket.batch(requests));
    const wanted = defaultRoutes(request, addresses, pair.tenant);
    this.#defaultRoutes = wanted;
    const inside = (await tenant.socket.dump(listRoutes())).filter(
      (route) => isDefault(route) && route.nexthops[0]?.index === pair.tenant,
    );
    const missing = [...wanted.values()].filter(
      (route) => !inside.some((there) => there.destination === route.destination && isSameRoute(there, route)),
    );
    const surplus = inside.filter((route) => !wanted.has(route.destination));
    expectDone(await tenant.socket.batch([...missing.map(replaceRoute), ...surplus.map(deleteRoute)]));
    if (repair.has("devices")) {
      const restored = [...plan.missing.filter(({ destination }) => before.has(destination)), ...missing];
      const list = restored.map(({ destination }) => destination).join(", ");
      if (restored.length > 0) this.#repaired(`routes had been changed or removed; set again: ${list}`);
    }
    return plan.refusals;
  }

  async #ensureForwarding(request: UplinkRequest, links: readonly Link[], routes: readonly Route[]): Promise<void> {
    const { underlay, identity } = this.#place;
    const used = { 4: await tablesInUse(underlay.socket, 4), 6: await tablesInUse(underlay.socket, 6) };
    const leading = routes.filter(({ destination, table }) => used[cidrFamily(destination)].has(table ?? mainTable));
    const { indexes, names } = forwardingDevices(request, links, leading, hostDevice(identity));
    const direct = [...this.#hostRoutes.values()].flatMap(({ nexthops }) =>
      nexthops.flatMap(({ index }) => index ?? []),
    );
    this.#watchedDevices = new Set([...indexes, ...direct, ...(indexes.length > 0 ? [netconfIndex.all] : [])]);
    if (names[4].length + names[6].length === 0) return;
    const { guarded, writes } = await ensureForwarding(underlay, names, this.#guarded, this.#options.report);
    this.#guarded = guarded;
    this.#ownWrites += writes;
  }

  #refuse([first, ...others]: readonly WeftError[]): void {
    if (first === undefined) return;
    if (others.length === 0) throw first;
    const { code, attempted, hint } = first;
    const reason = `${first.reason}; ${others.length} more: ${others
      .slice(0, 3)
      .map(({ message }) => message)
      .join("; ")}`;
    throw new WeftError({ code, attempted, reason, ...(hint === undefined ? {} : { hint }) });
  }

  #repaired(message: string): void {
    const object = { kind: "uplink", tenant: this.#place.identity.tenant };
    this.#options.report({ level: "warning", kind: "repaired", object, message });
  }

  /** Somebody touched it, perhaps this uplink itself; the kernel does not say who. */
  #damage(...touched: readonly Part[]): void {
    if (this.#pair === undefined) return;
    for (const part of touched) {
      this.#changed.add(part);
      this.#damaged.add(part);
    }
    this.#options.onDamage();
  }

  #onHostEvent(message: EventMessage): void {
    const { type, bytes, view, start, end } = message;
    if (this.#pair === undefined) return;
    if (type === RTM_NEWRULE) this.#damage("forwarding");
    else if (type === RTM_NEWNETCONF) {
      if (this.#watchedDevices.has(readNetconf(view, start, end).index)) this.#damage("forwarding");
    } else if (type === RTM_NEWROUTE || type === RTM_DELROUTE) {
      // The host may have many routes that change all the time.
      const isOurs = bytes[start + rtmProtocol] === weftProtocol;
      if (!isOurs && (bytes[start + rtmDestinationLength] ?? 0) > widestDefault) return;
      const route = readRoute(bytes, view, start, end);
      if (route === undefined) return;
      if (isOurs) this.#judgeRoute(route, type, this.#hostRoutes, isOwnRoute(route, this.#metric));
      else if (type === RTM_NEWROUTE && this.#leadsElsewhere(route)) this.#damage("forwarding");
    } else {
      if (
        (type === RTM_NEWLINK || type === RTM_DELLINK) &&
        this.#watchedDevices.has(readLinkHeader(view, start, end).index)
      )
        // Routes go with a device that goes down, and come back with it only if somebody brings them back.
        this.#damage("devices");
      this.#onEndEvent("host", message);
    }
  }

  #onTenantEvent(message: EventMessage): void {
    const { type, bytes, view, start, end } = message;
    if (this.#pair === undefined) return;
    if (type !== RTM_NEWROUTE && type !== RTM_DELROUTE) this.#onEndEvent("tenant", message);
    else if (bytes[start + rtmDestinationLength] === 0) {
      const route = readRoute(bytes, view, start, end);
      if (route !== undefined) this.#judgeRoute(route, type, this.#defaultRoutes, isDefault(route));
    }
  }

  #judgeRoute(route: Route, type: number, wanted: ReadonlyMap<Cidr, Route>, isOwn: boolean): void {
    if (!isOwn) return;
    const plan = wanted.get(route.destination);
    if (type === RTM_DELROUTE ? plan !== undefined : !isSameRoute(plan, route)) this.#damage("devices");
  }

  #leadsElsewhere(route: Route): boolean {
    return (
      (this.#request?.egress ?? []).some((prefix) => cidrFamily(prefix) === cidrFamily(route.destination)) &&
      route.nexthops.some(({ index }) => index !== undefined && !this.#watchedDevices.has(index))
    );
  }

  #onEndEvent(which: keyof Ends, { type, bytes, view, start, end }: EventMessage): void {
    const index = this.#pair?.[which];
    if (type === RTM_DELADDR) {
      const entry = readAddress(bytes, view, start, end);
      if (entry?.index !== index || this.#addresses === undefined) return;
      if (addressesOf(which, this.#addresses).some(({ address }) => address === entry?.address))
        this.#damage("devices");
    } else if (type === RTM_NEWLINK || type === RTM_DELLINK) {
      const { index: told, isBridgePort } = readLinkHeader(view, start, end);
      if (isBridgePort || told !== index) return;
      if (this.#linkEvents.size === 0) setImmediate(() => this.#judgeLinks());
      this.#linkEvents.set(which, type === RTM_DELLINK ? undefined : readLink(bytes, view, start, end));
    }
  }

  /** A change in several steps tells of each; only where it arrived counts. */
  #judgeLinks(): void {
    const events = [...this.#linkEvents.values()];
    this.#linkEvents.clear();
    const pair = this.#pair;
    if (pair === undefined) return;
    const { instance } = this.#place.identity;
    const isSettled = (link: Link | undefined): boolean =>
      link !== undefined && endChanges(link, instance, pair.mtu).next().done === true;
    if (!events.every(isSettled)) this.#damage("devices");
  }
}

/** Routes, the device with its partner in the tenant's namespace, then the filter. Returns writes beside the socket's. */
export async function removeFromHost(identity: UplinkIdentity, underlay: Side, present: Ends): Promise<number> {
  const { namespace, socket } = underlay;
  const metric = routeMetric(identity);
  const routes = (await socket.dump(listRoutes())).filter((route) => isOwnRoute(route, metric));
  expectDone(await socket.batch(routes.map(deleteRoute)));
  if (present.host !== undefined) await removeEnds({ identity, underlay, tenant: underlay }, { host: present.host });
  const writes = Number(await deleteNftTable(namespace, "inet", hostTable(identity)));
  return writes + (await releaseForwarding(underlay));
}

/** The device may have taken the route with it. */
function expectDone({ failures }: BatchResult): void {
  const failure = failures.find(({ error }) => !isErrno(error, "ESRCH"));
  if (failure !== undefined) throw failure.error;
}

function isDefault(route: Route): boolean {
  return route.table === mainTable && route.protocol === weftProtocol && prefixLengthOf(route.destination) === 0;
}

function defaultRoutes(request: UplinkRequest, addresses: PairAddresses, index: number): ReadonlyMap<Cidr, Route> {
  const routes = new Map<Cidr, Route>();
  for (const family of families)
    if (needsDefaultRoute(request, family))
      routes.set(everywhere[family], {
        destination: everywhere[family],
        protocol: weftProtocol,
        nexthops: [{ index, gateway: addresses[family].host }],
      });
  return routes;
}

/**
 * Where packets that the host forwards for the tenant come in: the uplink, and every device that the host routes
 * through, by which the outside answers. `routes`: of the tables that are in use.
 */
function forwardingDevices(
  request: UplinkRequest,
  links: readonly Link[],
  routes: readonly Route[],
  device: string,
): { readonly indexes: readonly number[]; readonly names: ForwardingDevices } {
  const byIndex = new Map(links.map((link) => [link.index, link]));
  const indexes = new Set<number>();
  const names: Record<IpFamily, string[]> = { 4: [], 6: [] };
  for (const family of families) {
    if (!passesHost(request, family)) continue;
    const found = new Set<string>();
    for (const { destination, type, nexthops } of routes) {
      if (type !== routeType.unicast || cidrFamily(destination) !== family) continue;
      for (const { index = 0 } of nexthops) {
        const link = byIndex.get(index);
        if (link === undefined || link.name === "lo" || isOwnLink(link)) continue;
        indexes.add(index);
        found.add(link.name);
      }
    }
    names[family] = [device, ...[...found].sort()];
  }
  return { indexes: [...indexes], names };
}
