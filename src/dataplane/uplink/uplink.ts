import { isDeepStrictEqual } from "node:util";
import { type Cidr, cidr, cidrOf, hostPrefix, networkAddress, prefixLengthOf } from "../../base/cidr.ts";
import type { Clock } from "../../base/clock.ts";
import { WeftError } from "../../base/errors.ts";
import type { IpAddress, IpFamily } from "../../base/ip.ts";
import { isErrno } from "../../linux/index.ts";
import {
  type BatchResult,
  deleteRoute,
  type Link,
  listAddresses,
  listLinks,
  listRoutes,
  type Route,
  replaceRoute,
  type Watch,
  type WatchEvents,
} from "../../netlink/index.ts";
import { hostDevice, hostTable, routeMetric, tenantTable, type UplinkIdentity, weftProtocol } from "../kernel-names.ts";
import { KeptTable } from "../nft/kept-table.ts";
import type { Objects } from "../reconcile/objects.ts";
import { ReconciledObjects } from "../reconcile/reconciled-objects.ts";
import type { Report } from "../report.ts";
import { isSameRoute } from "../tables/block-routes.ts";
import { choosePair, knownPair, type PairAddresses } from "./addresses.ts";
import { ensureAnswers } from "./answers.ts";
import { FloatingAnnouncements } from "./floating-announcements.ts";
import type { ForwardedDevices } from "./forwarded-devices.ts";
import { hostFilterTable } from "./host-filter.ts";
import { releaseForwarding } from "./host-forwarding.ts";
import { type HostRoutePlan, isOwnRoute, planHostRoutes } from "./host-routes.ts";
import {
  addressesOf,
  type Ends,
  endChanges,
  ends,
  ensurePair,
  findEnds,
  type PairContext,
  type PairSettings,
  removeEnds,
  type Side,
  sideOf,
} from "./pair.ts";
import { families, isEmptyRequest, needsDefaultRoute, passesHost, type UplinkRequest } from "./request.ts";
import { mainTable } from "./routing-tables.ts";
import { tenantFilterTable } from "./tenant-filter.ts";

/** The host's own namespace, and what all uplinks share of it. */
export interface UplinkHost extends Side {
  readonly watch: Watch;
  readonly forwarded: ForwardedDevices;
}

export interface UplinkOptions extends UplinkIdentity {
  readonly clock: Clock;
  /** The tenant's namespace. */
  readonly namespace: Side["namespace"];
  readonly socket: Side["socket"];
  readonly nftables: Side["nftables"];
  readonly watch: Watch;
  readonly underlay: UplinkHost;
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

/** What an uplink is made of, in the order in which it comes up: no packet passes before the filters say which. */
const parts = ["filters", "devices", "routes", "forwarding"] as const;
type Part = (typeof parts)[number];

/** The pair as it was left. */
interface Pair {
  readonly host: number;
  readonly tenant: number;
  readonly mtu: number;
}

const everywhere: Readonly<Record<IpFamily, Cidr>> = { 4: cidr("0.0.0.0/0"), 6: cidr("::/0") };

/**
 * The link between a tenant's namespace and the host's own: a veth pair, routes on both sides, and filters that let
 * through what the tenant's networks ask for. It is there only while some network needs it. Everything about it is
 * in the kernel, so that a restart finds it as it was.
 */
export class Uplink implements Objects<Part> {
  readonly objects: ReconciledObjects<Part>;
  readonly #options: UplinkOptions;
  readonly #context: PairContext;
  readonly #metric: number;
  readonly #hostFilter: KeptTable;
  readonly #tenantFilter: KeptTable;
  readonly #stops: readonly (() => void)[];
  /** Ends the listening to the ends of the pair. */
  #stopEnds: readonly (() => void)[] = [];
  /** Something of it may be in the kernel: part of it, if what was begun failed. */
  #isMade = false;
  #request: UplinkRequest | undefined;
  #settings: UplinkSettings = { tunnelPorts: [], mtu: 0 };
  #addresses: PairAddresses | undefined;
  #pair: Pair | undefined;
  #hostRoutes: ReadonlyMap<Cidr, Route> = new Map();
  #defaultRoutes: ReadonlyMap<Cidr, Route> = new Map();
  /** Floating addresses that the host answers for, with the device on whose link each is. */
  #answered: ReadonlyMap<IpAddress, number> = new Map();
  readonly #announcements: FloatingAnnouncements;
  /** Indexes of the host's own devices by which routes lead to other nodes, or on whose links it answers. */
  #direct: readonly number[] = [];
  /** {@link ForwardedDevices.deviceEvents} as of when routes were compared. */
  #deviceEventsSeen = 0;
  /** The last that was told of each end, not judged yet. */
  readonly #linkEvents = new Map<keyof Ends, Link | undefined>();
  #ownWrites = 0;

  constructor(options: UplinkOptions) {
    const { instance, tenant, namespace, socket, nftables, watch, underlay } = options;
    const identity = { instance, tenant };
    this.#options = options;
    this.#context = { identity, tenant: { namespace, socket, nftables }, underlay };
    this.#metric = routeMetric(identity);
    this.objects = new ReconciledObjects(this, options.clock);
    this.#announcements = new FloatingAnnouncements({
      clock: options.clock,
      openSender: () => underlay.namespace.openPacketSender(),
      isAnswered: (address, index) => this.#answered.get(address) === index,
      onFailure: ({ message }) =>
        options.report({ level: "warning", kind: "failed", object: { kind: "announcements", tenant }, message }),
    });
    const onOverrun = (): void => this.#damage(...parts);
    this.#hostFilter = this.#keptTable(underlay, hostTable(identity));
    this.#tenantFilter = this.#keptTable(this.#context.tenant, tenantTable);
    this.#stops = [
      underlay.watch.subscribe("route", (event) => this.#onHostRoute(event), this.#metric),
      watch.subscribe("route", (event) => this.#onTenantRoute(event)),
      underlay.watch.subscribe("overrun", onOverrun),
      watch.subscribe("overrun", onOverrun),
    ];
  }

  /** Whether something is to be compared with the kernel, although the request is the same. */
  get hasWork(): boolean {
    if (!this.objects.isSettled) return true;
    return this.#pair !== undefined && (this.#options.underlay.forwarded.hasWork || this.#mayLackRoutes);
  }

  /** Something happened to devices of the host that routes of this uplink lead by. */
  get #mayLackRoutes(): boolean {
    return this.#direct.length > 0 && this.#deviceEventsSeen !== this.#options.underlay.forwarded.deviceEvents;
  }

  /** Changes of the kernel by other means than the two sockets that were given, which count their own. */
  get writes(): number {
    return this.#ownWrites;
  }

  /** Whether the pair and its filters are as asked for, whatever is the matter with single routes. */
  get isOpen(): boolean {
    return this.#pair !== undefined && !this.objects.isPending("filters") && !this.objects.isPending("devices");
  }

  /** Everything will be compared with the kernel at the next opportunity; what differs by then was damaged. */
  distrust(): void {
    this.objects.damage("filters");
    if (this.#pair === undefined) this.objects.markAll();
    else this.objects.distrust();
  }

  /** How packets of the tenant leave by the uplink: the next hop of routes in the tenant's namespace. */
  nexthop(family: IpFamily): { readonly index: number; readonly gateway: IpAddress } | undefined {
    if (this.#pair === undefined || this.#addresses === undefined) return undefined;
    return { index: this.#pair.tenant, gateway: this.#addresses[family].host };
  }

  /**
   * Makes the kernel equal to the request. What can be done is done, also where a prefix must be refused; the first
   * refusal that stands is thrown at the end.
   */
  async reconcile(request: UplinkRequest, settings: UplinkSettings): Promise<void> {
    const { forwarded } = this.#options.underlay;
    if (!isDeepStrictEqual([request, settings], [this.#request, this.#settings])) {
      this.#request = request;
      this.#settings = settings;
      for (const part of parts) this.objects.mark(part);
    }
    if (this.#mayLackRoutes) this.objects.damage("routes");
    if (this.#pair !== undefined && forwarded.hasWork) this.objects.mark("forwarding");
    this.#deviceEventsSeen = forwarded.deviceEvents;
    await this.objects.settle();
  }

  /** None while nobody asks for anything. */
  keys(): readonly Part[] {
    return this.#request === undefined || isEmptyRequest(this.#request) ? [] : parts;
  }

  isWanted(part: Part): boolean {
    return this.keys().includes(part);
  }

  rankOf(part: Part): number {
    return parts.indexOf(part);
  }

  async ensure(part: Part, isDamaged: boolean): Promise<void> {
    const request = this.#request;
    if (request === undefined) return;
    this.#isMade = true;
    const { tunnelPorts, mtu } = this.#settings;
    const addresses = await this.#ensureAddresses();
    const { identity } = this.#context;
    const forwarded = families.filter((family) => passesHost(request, family));
    switch (part) {
      case "filters":
        await this.#hostFilter.ensure(hostFilterTable(identity, request, addresses, tunnelPorts), isDamaged);
        await this.#tenantFilter.ensure(tenantFilterTable(request, addresses), isDamaged);
        break;
      case "devices":
        await this.#ensureDevices({ addresses, mtu, forwarded }, isDamaged);
        // Routes go with devices, and come after them.
        this.objects.mark("routes");
        break;
      case "routes":
        if (this.#pair !== undefined) await this.#ensureRoutes(this.#pair, request, addresses, isDamaged);
        break;
      case "forwarding":
        await this.#options.underlay.forwarded.provide(identity.tenant, { families: forwarded, direct: this.#direct });
    }
  }

  /** All parts go together. */
  async remove(part: Part): Promise<void> {
    if (part === "filters") await this.takeOff();
  }

  /** Whoever calls {@link reconcile} hears of it. */
  onAttempt(): void {}

  /** Takes the uplink off both namespaces, the filters last. */
  async takeOff(): Promise<void> {
    const present = await findEnds(this.#context);
    this.#isMade ||= present.host !== undefined || present.tenant !== undefined;
    const { identity, underlay, tenant } = this.#context;
    this.#followPair(undefined);
    this.#addresses = undefined;
    this.#hostRoutes = new Map();
    this.#defaultRoutes = new Map();
    this.#answered = new Map();
    this.#direct = [];
    this.#options.underlay.forwarded.forget(identity.tenant);
    if (!this.#isMade) return;
    this.#ownWrites += await removeFromHost(identity, underlay, present);
    await removeEnds(this.#context, await findEnds(this.#context));
    await tenant.nftables.remove("inet", tenantTable);
    this.#hostFilter.forget();
    this.#tenantFilter.forget();
    this.#isMade = false;
  }

  /** Lets go of the kernel, which stays as it is. */
  close(): void {
    for (const stop of [...this.#stops, ...this.#stopEnds]) stop();
    this.#announcements.close();
    this.#hostFilter.close();
    this.#tenantFilter.close();
    this.#options.underlay.forwarded.forget(this.#context.identity.tenant);
  }

  /** The kernel is the record: the addresses that the pair has, else such as nobody here uses. */
  async #ensureAddresses(): Promise<PairAddresses> {
    if (this.#addresses !== undefined) return this.#addresses;
    const { identity, underlay, tenant } = this.#context;
    const present = await findEnds(this.#context);
    const there = [];
    for (const end of ends) {
      const link = present[end];
      if (link !== undefined)
        there.push(...(await sideOf(this.#context, end).socket.dump(listAddresses({ index: link.index }))));
    }
    const occupied: Cidr[] = [];
    for (const { socket } of [underlay, tenant]) {
      for (const { destination } of await socket.dump(listRoutes())) occupied.push(destination);
      for (const { address, prefixLength } of await socket.dump(listAddresses()))
        occupied.push(cidrOf(address, prefixLength));
    }
    this.#addresses = {
      4: knownPair(4, there) ?? choosePair(identity, 4, occupied),
      6: knownPair(6, there) ?? choosePair(identity, 6, occupied),
    };
    return this.#addresses;
  }

  #keptTable({ nftables }: Side, name: string): KeptTable {
    const { report, tenant } = this.#options;
    const object = { kind: "nft table", tenant, key: `inet ${name}` };
    const onDamage = (): void => this.#damage("filters");
    return new KeptTable({ nftables, family: "inet", name, object, report, onDamage });
  }

  async #ensureDevices(settings: PairSettings, isRepair: boolean): Promise<void> {
    const present = await findEnds(this.#context);
    const { host, tenant, isNew, changes, sysctlWrites } = await ensurePair(this.#context, present, settings);
    this.#ownWrites += sysctlWrites;
    this.#followPair({ host, tenant, mtu: settings.mtu });
    if (!isRepair) return;
    if (isNew) this.#repaired(`devices ${hostDevice(this.#context.identity)} and uplink had been removed; made again`);
    else if (changes.length > 0) this.#repaired(`had been changed; done again: ${changes.join(", ")}`);
  }

  async #ensureRoutes(pair: Pair, request: UplinkRequest, addresses: PairAddresses, isRepair: boolean): Promise<void> {
    const { identity, underlay, tenant } = this.#context;
    const links = await underlay.socket.dump(listLinks());
    const names = new Map(links.map(({ index, name }) => [index, name]));
    const routes = await underlay.socket.dump(listRoutes());
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
    const ways = [...plan.wanted.values()].flatMap(({ nexthops }) => nexthops.flatMap(({ index }) => index ?? []));
    const direct = [...new Set([...ways, ...plan.answered.values()])].filter((index) => index !== pair.host).sort();
    if (!isDeepStrictEqual(direct, this.#direct)) this.objects.mark("forwarding");
    this.#direct = direct;
    expectDone(await underlay.socket.batch(plan.missing.map(replaceRoute)));
    const answersAgain = await this.#ensureAnswers(plan, routes, links, request);
    expectDone(await underlay.socket.batch(plan.surplus.map(deleteRoute)));
    const wanted = defaultRoutes(request, addresses, pair.tenant);
    this.#defaultRoutes = wanted;
    const inside = (await tenant.socket.dump(listRoutes())).filter(
      (route) => isDefault(route) && route.nexthops[0]?.index === pair.tenant,
    );
    const missing = [...wanted.values()].filter(
      (route) => !inside.some((there) => there.destination === route.destination && isSameRoute(route, there)),
    );
    const surplus = inside.filter((route) => !wanted.has(route.destination));
    expectDone(await tenant.socket.batch([...missing.map(replaceRoute), ...surplus.map(deleteRoute)]));
    if (isRepair) {
      const restored = [...plan.missing.filter(({ destination }) => before.has(destination)), ...missing];
      const list = restored.map(({ destination }) => destination).join(", ");
      if (restored.length > 0) this.#repaired(`routes had been changed or removed; set again: ${list}`);
      if (answersAgain.length > 0)
        this.#repaired(`the host had ceased to answer for ${answersAgain.join(", ")}; it does again`);
    }
    this.#refuse(plan.refusals);
  }

  /** Returns the addresses that the host was left to answer for, and did not. */
  async #ensureAnswers(
    { answered, surplus }: HostRoutePlan,
    routes: readonly Route[],
    links: readonly Link[],
    { floating }: UplinkRequest,
  ): Promise<readonly IpAddress[]> {
    const before = this.#answered;
    this.#answered = answered;
    if (floating.length === 0 && before.size === 0 && !surplus.some(isToOne)) return [];
    const { underlay, report } = this.#options;
    const others = routes.filter((route) => !isOwnRoute(route, this.#metric));
    const { made, switchedOn, writes } = await ensureAnswers(underlay, answered, others, links);
    this.#ownWrites += writes;
    for (const { device, settings } of switchedOn)
      report({
        level: "info",
        kind: "adjusted",
        object: { kind: "host interface", key: device },
        message: `to answer for floating addresses: ${settings.join(", ")}; the last one there takes it back`,
      });
    const announced = made.flatMap((address) => {
      const { index, mac } = links.find((link) => link.index === answered.get(address)) ?? {};
      return index === undefined || mac === undefined ? [] : [{ address, index, mac }];
    });
    this.#announcements.announce(announced);
    return made.filter((address) => before.get(address) === answered.get(address));
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
    const object = { kind: "uplink", tenant: this.#context.identity.tenant };
    this.#options.report({ level: "warning", kind: "repaired", object, message });
  }

  /** Somebody touched it, perhaps this uplink itself; the kernel does not say who. */
  #damage(...touched: readonly Part[]): void {
    if (this.#pair === undefined) return;
    for (const part of touched) this.objects.damage(part);
    this.#options.onDamage();
  }

  /** Listens to both ends of the pair, which is there now, or gone. */
  #followPair(pair: Pair | undefined): void {
    for (const stop of this.#stopEnds) stop();
    this.#pair = pair;
    if (pair === undefined) return;
    const watches = { host: this.#options.underlay.watch, tenant: this.#options.watch };
    const onForwarding = ({ forwarding }: WatchEvents["netconf"]): void => {
      if (forwarding === 0) this.#damage("devices");
    };
    this.#stopEnds = [
      ...ends.flatMap((end) => [
        watches[end].subscribe("link", ({ link }) => this.#onLink(end, link), pair[end]),
        watches[end].subscribe("address", (event) => this.#onAddress(end, event), pair[end]),
      ]),
      watches.host.subscribe("netconf", onForwarding, pair.host),
    ];
  }

  #onHostRoute({ route, isGone }: WatchEvents["route"]): void {
    if (isOwnRoute(route, this.#metric)) this.#judgeRoute(route, isGone, this.#hostRoutes);
  }

  #onTenantRoute({ route, isGone }: WatchEvents["route"]): void {
    if (isDefault(route)) this.#judgeRoute(route, isGone, this.#defaultRoutes);
  }

  #judgeRoute(route: Route, isGone: boolean, wanted: ReadonlyMap<Cidr, Route>): void {
    const plan = wanted.get(route.destination);
    if (isGone ? plan !== undefined : plan === undefined || !isSameRoute(plan, route)) this.#damage("routes");
  }

  #onAddress(end: keyof Ends, { address: { address }, isGone }: WatchEvents["address"]): void {
    if (!isGone || this.#addresses === undefined) return;
    if (addressesOf(end, this.#addresses).some((own) => own.address === address)) this.#damage("devices");
  }

  #onLink(end: keyof Ends, link: Link | undefined): void {
    if (this.#linkEvents.size === 0) setImmediate(() => this.#judgeLinks());
    this.#linkEvents.set(end, link);
  }

  /** A change in several steps tells of each; only where it arrived counts. */
  #judgeLinks(): void {
    const events = [...this.#linkEvents.values()];
    this.#linkEvents.clear();
    const pair = this.#pair;
    if (pair === undefined) return;
    const { instance } = this.#context.identity;
    const isSettled = (link: Link | undefined): boolean =>
      link !== undefined && endChanges(link, instance, pair.mtu).next().done === true;
    if (!events.every(isSettled)) this.#damage("devices");
  }
}

/** Routes, the device with its partner in the tenant's namespace, then the filter. Returns how often settings were written. */
export async function removeFromHost(identity: UplinkIdentity, underlay: Side, present: Ends): Promise<number> {
  const { nftables, socket } = underlay;
  const metric = routeMetric(identity);
  const routes = await socket.dump(listRoutes());
  const isOwn = (route: Route): boolean => isOwnRoute(route, metric);
  const others = routes.filter((route) => !isOwn(route));
  const { writes } = await ensureAnswers(underlay, new Map(), others, await socket.dump(listLinks()));
  expectDone(await socket.batch(routes.filter(isOwn).map(deleteRoute)));
  if (present.host !== undefined) await removeEnds({ identity, underlay, tenant: underlay }, { host: present.host });
  await nftables.remove("inet", hostTable(identity));
  return writes + (await releaseForwarding(underlay));
}

/** The device may have taken the route with it. */
function expectDone({ failures }: BatchResult): void {
  const failure = failures.find(({ error }) => !isErrno(error, "ESRCH"));
  if (failure !== undefined) throw failure.error;
}

/** As floating addresses have them. */
function isToOne({ destination }: Route): boolean {
  return destination === hostPrefix(networkAddress(destination));
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
