import type { Cidr } from "../../base/cidr.ts";
import type { Clock } from "../../base/clock.ts";
import { WeftError } from "../../base/errors.ts";
import { ip } from "../../base/ip.ts";
import { linkLocalOf } from "../../base/link-local.ts";
import { isSameList } from "../../base/lists.ts";
import {
  changeLink,
  createLink,
  deleteLink,
  deleteRoute,
  getLink,
  getNeighbour,
  type InterfaceAddressEntry,
  isGone,
  type Link,
  type LinkSettings,
  listAddresses,
  listRoutes,
  lookUp,
  type Neighbour,
  type NetlinkSocket,
  type Request,
  type Route,
  replaceAddress,
  replaceNeighbour,
  replaceRoute,
  type Watch,
  type WatchEvents,
} from "../../netlink/index.ts";
import type { NetworkSettings } from "../desired.ts";
import type { KernelNamespace } from "../kernel.ts";
import {
  aliasOf,
  isOwnLink,
  peeringAddress,
  peeringDevice,
  peeringMac,
  weftGroup,
  weftProtocol,
} from "../kernel-names.ts";
import type { Objects } from "../reconcile/objects.ts";
import { ReconciledObjects } from "../reconcile/reconciled-objects.ts";
import type { Problems, Report } from "../report.ts";
import type { Turns } from "../rounds.ts";
import { isSameRoute } from "../tables/block-routes.ts";
import { isSameNeighbour, permanentNeighbour } from "../tables/bridge-neighbours.ts";
import { mainTable } from "../uplink/routing-tables.ts";
import { peerTenants } from "./wanted.ts";

/** A tenant's namespace, and how to speak with its kernel. */
export interface PeerSide {
  readonly namespace: KernelNamespace;
  readonly socket: NetlinkSocket;
}

export interface TenantPeeringsOptions extends PeerSide {
  readonly clock: Clock;
  readonly instance: string;
  readonly tenant: string;
  readonly watch: Watch;
  /** The side of another tenant; `undefined` until it is there. */
  readonly sideOf: (tenant: string) => PeerSide | undefined;
  /** Of all tenants of the node: a pair is made from either side. */
  readonly turns: Turns;
  readonly problems: Problems;
  readonly report: Report;
  /** Something was damaged, and marked for repair. */
  readonly onDamage: () => void;
}

/** What networks carry is for them to say: packets that are too large for the next one are answered by that one's namespace. net/core/dev.c */
const largestMtu = 65_535;

/** linux/rtnetlink.h: RT_SCOPE_HOST. */
const hostScope = 254;
/**
 * Linux takes no IPv4 gateway where no address ever was (net/ipv4/fib_frontend.c: `__inet_dev_addr_type`), as in a namespace with nothing but
 * other nodes' blocks. This one nobody outside can have or reach, and of its scope no packet is sent from it.
 */
const ipv4Address = { address: ip("127.0.0.1"), prefixLength: 32, scope: hostScope };

/** An end as it was left. */
interface End {
  readonly index: number;
  readonly stops: readonly (() => void)[];
}

/**
 * The ways from a tenant's namespace to those of other tenants with networks that its own are peers of: for each such tenant one end of a veth
 * pair, whose other end is in that one's namespace; the next hop that leads there; and the routes to the peers' subnets. Which packets
 * pass says the routing filter. Each tenant sees to its own end, and either makes the pair. Everything about it is in the kernel, so that a
 * restart finds it as it was.
 */
export class TenantPeerings implements Objects<string> {
  readonly objects: ReconciledObjects<string>;
  readonly #options: TenantPeeringsOptions;
  readonly #stopRoutes: () => void;
  /** By tenant: subnets of the peers that are of it. */
  #wanted: ReadonlyMap<string, readonly Cidr[]> = new Map();
  readonly #ends = new Map<string, End>();
  /** Tenants whose namespaces are not there yet. */
  readonly #awaited = new Set<string>();
  /** The last that was told of each end, not judged yet. */
  readonly #linkEvents = new Map<string, Link | undefined>();

  constructor(options: TenantPeeringsOptions) {
    this.#options = options;
    this.objects = new ReconciledObjects(this, options.clock);
    this.#stopRoutes = options.watch.subscribe("route", (event) => this.#onRoute(event));
  }

  /** Whether all that is wanted is there, as far as is known, and nothing else. */
  get isSettled(): boolean {
    return this.objects.isSettled && this.#awaited.size === 0;
  }

  /** Whether the way to another tenant is as it shall be, as far as is known. */
  isJoinedTo(peer: string): boolean {
    return this.#ends.has(peer) && !this.#awaited.has(peer) && !this.objects.pending.includes(peer);
  }

  /** Whether one of the ends has the index. */
  ownsIndex(index: number): boolean {
    return this.#ends.values().some((end) => end.index === index);
  }

  /** Makes it so for these networks. */
  async reconcile(networks: readonly NetworkSettings[]): Promise<void> {
    const before = this.#wanted;
    this.#wanted = peerTenants(networks);
    for (const peer of new Set([...before.keys(), ...this.#wanted.keys()])) {
      const [subnets, wanted] = [before.get(peer), this.#wanted.get(peer)];
      if (subnets === undefined || wanted === undefined || !isSameList(subnets, wanted)) this.objects.mark(peer);
    }
    for (const peer of this.#awaited) this.objects.mark(peer);
    this.#awaited.clear();
    await this.objects.remove();
    await this.objects.ensure();
  }

  /** The namespace of a tenant is there. */
  cameUp(tenant: string): void {
    if (this.#awaited.has(tenant)) this.#options.onDamage();
  }

  keys(): Iterable<string> {
    return this.#wanted.keys();
  }

  isWanted(peer: string): boolean {
    return this.#wanted.has(peer);
  }

  async ensure(peer: string, isDamaged: boolean): Promise<void> {
    const { socket } = this.#options;
    const left = this.#ends.get(peer)?.index;
    const link = await this.#options.turns.take(() => this.#findOrMake(peer));
    if (link === undefined) {
      this.#awaited.add(peer);
      return;
    }
    this.#follow(peer, link.index);
    const changes: string[] = link.index === left ? [] : ["device"];
    const carryOut = async (requests: Iterable<Request>): Promise<void> => {
      for (const request of requests) {
        await socket.execute(request);
        changes.push(request.describe());
      }
    };
    const { index } = link;
    const present = await socket.dump(listAddresses({ index }));
    for (const each of this.#addressesOf(peer))
      if (!present.some(({ address }) => address === each.address))
        await carryOut([replaceAddress({ index, ...each })]);
    await carryOut(this.#changesOf(peer, link));
    const neighbour = this.#neighbourOf(peer, index);
    const known = await lookUp(socket, getNeighbour(index, neighbour.ip));
    if (known === undefined || !isSameNeighbour(neighbour, known)) await carryOut([replaceNeighbour(neighbour)]);
    const routes = (await socket.dump(listRoutes())).filter((route) => isRouteBy(index, route));
    const wanted = this.#routesOf(peer, index);
    const isThere = (route: Route): boolean =>
      routes.some((each) => each.destination === route.destination && isSameRoute(route, each));
    await carryOut(wanted.filter((route) => !isThere(route)).map(replaceRoute));
    const isSurplus = ({ destination }: Route): boolean => !wanted.some((route) => route.destination === destination);
    await carryOut(routes.filter(isSurplus).map(deleteRoute));
    if (isDamaged && changes.length > 0) this.#repaired(peer, changes);
  }

  /** Both ends go with one, and all that leads through them. */
  async remove(peer: string): Promise<void> {
    const { socket } = this.#options;
    this.#unfollow(peer);
    this.#awaited.delete(peer);
    const link = await lookUp(socket, getLink({ name: peeringDevice(peer) }));
    if (link !== undefined && isOwnLink(link)) await deleteEnd(socket, link);
  }

  onAttempt(peer: string, failure: Parameters<Objects<string>["onAttempt"]>[1]): void {
    const { problems } = this.#options;
    if (failure === undefined) problems.cleared(this.#object(peer));
    else problems.failed(this.#object(peer), failure.error, failure);
  }

  /** Lets go of the kernel, which stays as it is. */
  close(): void {
    this.#stopRoutes();
    for (const peer of [...this.#ends.keys()]) this.#unfollow(peer);
  }

  /** The tenant's end; `undefined`: the other's namespace is not there. */
  async #findOrMake(peer: string): Promise<Link | undefined> {
    const { socket, tenant, sideOf } = this.#options;
    const link = await this.#find(socket, peeringDevice(peer));
    if (link !== undefined) return link;
    const other = sideOf(peer);
    if (other === undefined) return undefined;
    // One that lost its partner, or leads elsewhere.
    const former = await this.#find(other.socket, peeringDevice(tenant));
    if (former !== undefined) await deleteEnd(other.socket, former);
    await socket.execute(
      createLink("veth", {
        ...settingsOf(tenant, peer),
        info: { peer: { ...settingsOf(peer, tenant), namespace: other.namespace } },
      }),
    );
    return this.#find(socket, peeringDevice(peer));
  }

  /** Throws where somebody else's device has the name. */
  async #find(socket: NetlinkSocket, name: string): Promise<Link | undefined> {
    const link = await lookUp(socket, getLink({ name }));
    if (link === undefined || (link.info.kind === "veth" && isOwnLink(link))) return link;
    throw new WeftError({
      code: "already-exists",
      attempted: `create the link ${name} of a peering of tenant ${this.#options.tenant}`,
      reason: `a ${link.info.kind ?? "plain"} device of this name is there already and weft did not make it`,
      hint: `delete it with: ip link delete ${name}`,
    });
  }

  /** What makes an end as it shall be. It comes up last. */
  *#changesOf(peer: string, link: Link): Generator<Request> {
    const { tenant, instance } = this.#options;
    const { index } = link;
    const alias = aliasOf(instance);
    const { mac, mtu, group } = settingsOf(tenant, peer);
    if (link.mac !== mac) yield changeLink({ index }, { mac });
    if (link.alias !== alias) yield changeLink({ index }, { alias });
    if (link.group !== group) yield changeLink({ index }, { group });
    if (link.mtu !== mtu) yield changeLink({ index }, { mtu });
    if (link.ipv6AddressGenerationMode === 0) yield changeLink({ index }, { ipv6AddressGeneration: "none" });
    if (!link.up) yield changeLink({ index }, { up: true });
  }

  #addressesOf(peer: string): readonly Omit<InterfaceAddressEntry, "index">[] {
    return [ipv4Address, { address: peeringAddress(this.#options.tenant, peer), prefixLength: 128, withoutDad: true }];
  }

  /** The next hop of all routes: the other end, by the link-local address that follows from its MAC. Nobody asks for it, nor has it. */
  #neighbourOf(peer: string, index: number): Neighbour {
    const mac = peeringMac(peer, this.#options.tenant);
    return permanentNeighbour(index, linkLocalOf(mac), mac);
  }

  #routesOf(peer: string, index: number): Route[] {
    return (this.#wanted.get(peer) ?? []).map((destination) => this.#routeTo(destination, peer, index));
  }

  /** Over IPv4, too, with the IPv6 next hop. RFC 8950 */
  #routeTo(destination: Cidr, peer: string, index: number): Route {
    const gateway = this.#neighbourOf(peer, index).ip;
    return { destination, protocol: weftProtocol, nexthops: [{ index, gateway }] };
  }

  #follow(peer: string, index: number): void {
    if (this.#ends.get(peer)?.index === index) return;
    this.#unfollow(peer);
    const { watch } = this.#options;
    this.#ends.set(peer, {
      index,
      stops: [
        watch.subscribe("link", ({ link }) => this.#onLink(peer, link), index),
        watch.subscribe("address", (event) => this.#onAddress(peer, event), index),
        watch.subscribe("neighbour", (event) => this.#onNeighbour(peer, index, event), index),
      ],
    });
  }

  #unfollow(peer: string): void {
    for (const stop of this.#ends.get(peer)?.stops ?? []) stop();
    this.#ends.delete(peer);
    this.#linkEvents.delete(peer);
  }

  #onLink(peer: string, link: Link | undefined): void {
    if (this.#linkEvents.size === 0) setImmediate(() => this.#judgeLinks());
    this.#linkEvents.set(peer, link);
  }

  /** A change in several steps tells of each; only where it arrived counts. */
  #judgeLinks(): void {
    const events = [...this.#linkEvents];
    this.#linkEvents.clear();
    for (const [peer, link] of events)
      if (link === undefined || this.#changesOf(peer, link).next().done === false) this.#damage(peer);
  }

  #onAddress(peer: string, { address, isGone: hasGone }: WatchEvents["address"]): void {
    if (hasGone && this.#addressesOf(peer).some((each) => each.address === address.address)) this.#damage(peer);
  }

  #onNeighbour(peer: string, index: number, { neighbour, isGone: hasGone }: WatchEvents["neighbour"]): void {
    const wanted = this.#neighbourOf(peer, index);
    if (neighbour.ip === wanted.ip && (hasGone || !isSameNeighbour(wanted, neighbour))) this.#damage(peer);
  }

  /** Most routes of the namespace are no end's business. */
  #onRoute({ route, isGone: hasGone }: WatchEvents["route"]): void {
    const { destination, nexthops } = route;
    for (const [peer, { index }] of this.#ends) {
      const isWanted = this.#wanted.get(peer)?.includes(destination) === true;
      if (!isWanted && nexthops[0]?.index !== index) continue;
      const isDamaged = hasGone
        ? isWanted && isRouteBy(index, route)
        : isWanted
          ? (route.table ?? mainTable) === mainTable && !isSameRoute(this.#routeTo(destination, peer, index), route)
          : isRouteBy(index, route);
      if (isDamaged) this.#damage(peer);
    }
  }

  #damage(peer: string): void {
    this.objects.damage(peer);
    this.#options.onDamage();
  }

  #repaired(peer: string, changes: readonly string[]): void {
    const [first] = changes;
    const message =
      first === "device"
        ? "its devices had been removed; made again"
        : `had been changed; done again: ${changes.join(", ")}`;
    this.#options.report({ level: "warning", kind: "repaired", object: this.#object(peer), message });
  }

  #object(peer: string) {
    return { kind: "peering", tenant: this.#options.tenant, key: peer };
  }
}

/** The end in the namespace of a tenant, of the pair that it has with a peer. */
function settingsOf(tenant: string, peer: string): Required<Pick<LinkSettings, "name" | "mac" | "mtu" | "group">> {
  return { name: peeringDevice(peer), mac: peeringMac(tenant, peer), mtu: largestMtu, group: weftGroup };
}

async function deleteEnd(socket: NetlinkSocket, { index }: Link): Promise<void> {
  await socket.execute(deleteLink({ index })).catch((error: unknown) => {
    if (!(error instanceof Error) || !isGone(error)) throw error;
  });
}

function isRouteBy(index: number, { protocol, table = mainTable, nexthops: [hop] }: Route): boolean {
  return protocol === weftProtocol && table === mainTable && hop?.index === index;
}
