import type { Clock } from "../base/clock.ts";
import { WeftError } from "../base/errors.ts";
import { isErrno } from "../linux/index.ts";
import { endpointPortName, namespaceName, tunnelPattern } from "../model/names.ts";
import {
  deleteLink,
  type EventMessage,
  EventSocket,
  eventGroup,
  type Link,
  listLinks,
  NetlinkSocket,
  neighbourFlag,
  type Route,
  RTM_DELADDR,
  RTM_DELLINK,
  RTM_DELNEIGH,
  RTM_DELROUTE,
  RTM_NEWADDR,
  RTM_NEWLINK,
  RTM_NEWNEIGH,
  RTM_NEWNETCONF,
  RTM_NEWROUTE,
  readAddress,
  readBridgePort,
  readFdbEntry,
  readLink,
  readLinkHeader,
  readNeighbour,
  readNetconf,
  readRoute,
  withoutNewNeighbours,
} from "../netlink/index.ts";
import type { DesiredNetwork } from "./desired.ts";
import { takesFromAll } from "./encapsulation/tunnel.ts";
import { KeptTable } from "./filter/kept-table.ts";
import type { NftTable } from "./filter/nftables.ts";
import { handedUpTable, routingFilterName, routingFilterTable } from "./filter/routing-filter.ts";
import { suppressionFilterName, suppressionFilterTable } from "./filter/suppression-filter.ts";
import { watchFilters } from "./filter/watch-filters.ts";
import type { Kernel, KernelNamespace } from "./kernel.ts";
import { LinkTable } from "./link-table.ts";
import { NetworkDataplane, type PortTraffic } from "./network-dataplane.ts";
import { isOwnLink, weftProtocol } from "./ownership.ts";
import type { Problems, Report } from "./report.ts";
import { ensureNamespaceName, openTenantNamespace, removeTenantNamespace } from "./tenant-namespace.ts";
import { ensureTenantSysctls } from "./tenant-sysctls.ts";
import type { UnderlayDataplane } from "./underlay-dataplane.ts";
import { tenantDevice } from "./uplink/identity.ts";
import { requestOf } from "./uplink/networks-request.ts";
import { isEmptyRequest, type UplinkRequest } from "./uplink/request.ts";
import { Uplink } from "./uplink/uplink.ts";

export interface TenantOptions {
  readonly kernel: Kernel;
  readonly clock: Clock;
  readonly instance: string;
  readonly tenant: string;
  readonly underlay: UnderlayDataplane;
  readonly problems: Problems;
  readonly report: Report;
  /** Something was damaged, and marked for repair. */
  readonly onDamage: () => void;
  /** The kernel's events were lost. */
  readonly onOverrun: () => void;
  /** A MAC that nobody declared is behind a port of this node, or is there no more. */
  readonly onTraffic: (event: PortTraffic) => void;
}

/** One tenant on this node: its namespace, the filter in it, and its networks. */
export class TenantDataplane {
  readonly namespace: KernelNamespace;
  readonly socket: NetlinkSocket;
  readonly networks = new Map<string, NetworkDataplane>();
  readonly #options: TenantOptions;
  readonly #events: EventSocket;
  readonly #filterEvents: EventSocket;
  readonly #suppressionFilter: KeptTable;
  readonly #handedUpFilter: KeptTable;
  readonly #routingFilter: KeptTable;
  /** There from the first network on that needs it. */
  #uplink: Uplink | undefined;
  /** The last that was told of each device, not judged yet. */
  readonly #linkEvents = new Map<number, Link | undefined>();
  /** Somebody may have touched the namespace's settings. */
  #sysctlsChanged = false;
  #sysctlWrites = 0;
  #containerWrites = 0;

  private constructor(options: TenantOptions, namespace: KernelNamespace, socket: NetlinkSocket) {
    this.#options = options;
    this.namespace = namespace;
    this.socket = socket;
    this.#events = new EventSocket({
      open: (socket) => namespace.openTransport(socket),
      groups: [
        eventGroup.link,
        eventGroup.neighbour,
        eventGroup.ipv4Address,
        eventGroup.ipv6Address,
        eventGroup.ipv4Route,
        eventGroup.ipv6Route,
        eventGroup.ipv4Netconf,
        eventGroup.ipv6Netconf,
      ],
      // A hundred thousand rows of our own are not news.
      filter: withoutNewNeighbours(neighbourFlag.externallyLearned),
      onEvent: (message) => this.#onEvent(message),
      onOverrun: options.onOverrun,
    });
    const keptTable = (table: string): KeptTable =>
      new KeptTable({
        namespace,
        object: { kind: "nft table", tenant: options.tenant, key: table },
        report: options.report,
      });
    this.#suppressionFilter = keptTable(`bridge ${suppressionFilterName}`);
    this.#handedUpFilter = keptTable(`bridge ${routingFilterName}`);
    this.#routingFilter = keptTable(`inet ${routingFilterName}`);
    this.#filterEvents = watchFilters(namespace, () => {
      this.#distrustFilters();
      options.onDamage();
    });
  }

  /** Makes the tenant's namespace, or takes up the one that an earlier run made. */
  static async open(options: TenantOptions): Promise<TenantDataplane> {
    const { namespace, socket } = await openTenantNamespace(
      options.kernel,
      namespaceName(options.instance, options.tenant),
      options.instance,
    );
    return new TenantDataplane(options, namespace, socket);
  }

  get writes(): number {
    const filterWrites = this.#filters.reduce((sum, { writes }) => sum + writes, 0);
    const ownWrites = this.socket.writes + this.#containerWrites + this.#sysctlWrites;
    return ownWrites + filterWrites + (this.#uplink?.writes ?? 0);
  }

  /** Everything will be compared with the kernel at the next opportunity. */
  distrust(): void {
    this.#distrustFilters();
    this.#sysctlsChanged = true;
    this.#uplink?.distrust();
    for (const network of this.networks.values()) network.distrust();
  }

  /** Makes the namespace equal to the `wanted` networks of this tenant. */
  async reconcile(wanted: readonly DesiredNetwork[]): Promise<void> {
    this.#ensureName();
    await this.#ensureSysctls();
    for (const desired of wanted) {
      if (this.networks.get(desired.settings.name)?.desired === desired) continue;
      this.networks.set(desired.settings.name, this.#makeNetwork(desired));
    }
    // Nothing comes up before these: the namespace routes whatever is sent to it.
    const settings = wanted.map((desired) => desired.settings);
    await this.#handedUpFilter.ensure(handedUpTable(settings));
    await this.#routingFilter.ensure(routingFilterTable(settings));
    await this.#suppressionFilter.ensure(suppressionFilterOf(wanted));
    const request = requestOf(wanted);
    // Rows lead to the uplink once it is there, and leave it before it goes.
    if (!isEmptyRequest(request)) await this.#ensureUplink(request);
    const links = new LinkTable(this.socket);
    for (const network of this.networks.values()) {
      if (network.isSettled) continue;
      if (this.#isProtected(network)) await network.reconcile(links);
    }
    if (isEmptyRequest(request)) await this.#ensureUplink(request);
  }

  /** Whether the uplink waits to be compared with the kernel. */
  get hasWork(): boolean {
    return this.#uplink?.hasWork === true || [...this.networks.values()].some((network) => !network.isSettled);
  }

  /** Takes networks off that are not `isWanted`. */
  async removeNetworks(isWanted: (network: DesiredNetwork) => boolean): Promise<void> {
    for (const [name, network] of this.networks) {
      if (isWanted(network.desired)) continue;
      await network.remove();
      this.networks.delete(name);
    }
  }

  /** Deletes devices of weft's that belong to none of the `wanted` networks: an earlier run left them. */
  async prune(wanted: readonly DesiredNetwork[]): Promise<void> {
    const kept = new Set(wanted.flatMap((desired) => NetworkDataplane.deviceNames(desired)));
    if (TenantDataplane.needsUplink(wanted)) kept.add(tenantDevice);
    for (const link of await this.socket.dump(listLinks()))
      if (isOwnLink(link) && !kept.has(link.name))
        await this.socket.execute(deleteLink({ index: link.index })).catch((error: unknown) => {
          if (!isErrno(error, "ENODEV")) throw error;
        });
  }

  /** Whether networks of this tenant need the host. */
  static needsUplink(wanted: readonly DesiredNetwork[]): boolean {
    return !isEmptyRequest(requestOf(wanted));
  }

  /** Takes the uplink off, with what it has on the host. */
  async removeUplink(): Promise<void> {
    await this.#uplink?.remove();
  }

  /** Removes the namespace, unless somebody has put devices of his own into it. */
  async removeNamespace(): Promise<void> {
    const { kernel, instance, tenant, report } = this.#options;
    const name = namespaceName(instance, tenant);
    const foreign = await removeTenantNamespace(kernel, this.namespace, name, this.socket);
    if (foreign.length === 0) return;
    const devices = foreign.map((link) => link.name).join(", ");
    report({
      level: "warning",
      kind: "failed",
      object: { kind: "network namespace", tenant, key: name },
      message: `kept: weft did not make ${devices} in it`,
    });
  }

  /** Lets go of the kernel, which stays as it is. */
  close(): void {
    for (const network of this.networks.values()) network.close();
    this.#events.close();
    this.#filterEvents.close();
    this.#uplink?.close();
    this.socket.close();
    this.namespace.close();
  }

  #ensureName(): void {
    const { kernel, instance, tenant, report } = this.#options;
    if (!ensureNamespaceName(kernel, this.namespace, namespaceName(instance, tenant))) return;
    report({
      level: "warning",
      kind: "repaired",
      object: { kind: "network namespace", tenant, key: this.namespace.label },
      message: "its name had been deleted; named again",
    });
  }

  async #ensureSysctls(): Promise<void> {
    if (!this.#sysctlsChanged) return;
    this.#sysctlsChanged = false;
    try {
      const links = await this.socket.dump(listLinks());
      const routing = links.filter((link) => isOwnLink(link) && link.master === undefined).map(({ name }) => name);
      for (const { name, found, wanted } of ensureTenantSysctls(this.namespace, routing)) {
        this.#sysctlWrites++;
        this.#options.report({
          level: "warning",
          kind: "repaired",
          object: { kind: "sysctl", tenant: this.#options.tenant, key: name },
          message: `had been changed to ${found}; set to ${wanted} again`,
        });
      }
    } catch (error) {
      this.#sysctlsChanged = true;
      throw error;
    }
  }

  /** A tunnel without its source filter would be open to everyone: it waits. */
  #isProtected(network: NetworkDataplane): boolean {
    const { underlay, problems } = this.#options;
    const { name, transport, standby } = network.desired.settings;
    const all = [...standby, ...(transport === undefined ? [] : [transport])];
    const open = all.find((each) => takesFromAll(each) && !underlay.protects(each.port));
    const object = { kind: "protection", tenant: network.desired.settings.tenant, network: name };
    if (open === undefined) {
      problems.cleared(object);
      return true;
    }
    const reason = `the source filter for UDP port ${open.port} could not be set`;
    const hint = "see the problem of the underlay in weft status";
    problems.failed(
      object,
      new WeftError({ code: "failed-precondition", attempted: `bring up network ${name}`, reason, hint }),
    );
    return false;
  }

  /** A prefix that the host has itself leaves the other networks as they are. */
  async #ensureUplink(request: UplinkRequest): Promise<void> {
    const { underlay, problems, tenant } = this.#options;
    if (this.#uplink === undefined && isEmptyRequest(request)) return;
    this.#uplink ??= this.#makeUplink();
    const uplink = this.#uplink;
    await problems.attempt({ kind: "uplink", tenant }, () =>
      uplink.reconcile(request, { tunnelPorts: underlay.tunnelPorts, mtu: underlay.mtu }),
    );
  }

  #makeUplink(): Uplink {
    const { instance, tenant, underlay, report, onDamage } = this.#options;
    const { namespace, socket } = this;
    const host = { namespace: underlay.namespace, socket: underlay.socket };
    return new Uplink({ instance, tenant, namespace, socket, underlay: host, report, onDamage });
  }

  get #filters(): readonly KeptTable[] {
    return [this.#suppressionFilter, this.#handedUpFilter, this.#routingFilter];
  }

  #distrustFilters(): void {
    for (const filter of this.#filters) filter.distrust();
  }

  #makeNetwork(desired: DesiredNetwork): NetworkDataplane {
    const { kernel, clock, instance, underlay, problems, report } = this.#options;
    return new NetworkDataplane(desired, {
      kernel,
      clock,
      instance,
      namespace: this.namespace,
      socket: this.socket,
      underlay: underlay.socket,
      underlayNamespace: underlay.namespace,
      underlayInode: underlay.inode,
      get offload() {
        return underlay.offload;
      },
      openSocket: (namespace) => this.#countedSocket(namespace),
      groupOf: (vtep) => underlay.groupOf(vtep),
      uplink: (family) => this.#uplink?.nexthop(family),
      onTraffic: this.#options.onTraffic,
      problems,
      report,
    });
  }

  /** A socket in a container's namespace that is used for a moment; its writes count on when it is closed. */
  #countedSocket(namespace: KernelNamespace): NetlinkSocket {
    const socket = new NetlinkSocket({ transport: namespace.openTransport({}) });
    const close = socket.close.bind(socket);
    let counted = false;
    socket.close = () => {
      if (!counted) this.#containerWrites += socket.writes;
      counted = true;
      close();
    };
    return socket;
  }

  #onEvent({ type, bytes, view, start, end }: EventMessage): void {
    if (type === RTM_NEWROUTE || type === RTM_DELROUTE) {
      const route = readRoute(bytes, view, start, end);
      if (route?.protocol !== weftProtocol && type === RTM_DELROUTE) return;
      if (route !== undefined) this.#judgeRoute(route, type === RTM_DELROUTE);
    } else if (type === RTM_NEWADDR || type === RTM_DELADDR) {
      const address = readAddress(bytes, view, start, end);
      const network = address === undefined ? undefined : this.#networkOf(address.index);
      if (address !== undefined && network?.onAddressChanged(address, type === RTM_DELADDR)) this.#options.onDamage();
    } else if (type === RTM_DELNEIGH || type === RTM_NEWNEIGH) {
      const isGone = type === RTM_DELNEIGH;
      const entry = readFdbEntry(bytes, view, start, end);
      const neighbour = entry === undefined ? readNeighbour(bytes, view, start, end) : undefined;
      const network = this.#networkOf((entry ?? neighbour)?.index ?? 0);
      const isDamaged =
        (entry !== undefined && network?.observeFdb(entry, isGone)) ||
        (neighbour !== undefined && network?.rows.observeNeighbour(neighbour, isGone));
      if (isDamaged) this.#options.onDamage();
    } else if (type === RTM_NEWNETCONF) {
      const { index, forwarding, reversePathFilter } = readNetconf(view, start, end);
      // Devices that appear tell of theirs, too.
      const isHarmless = forwarding !== 0 && (reversePathFilter ?? 0) === 0;
      if (index >= 0 && (isHarmless || this.#networkOf(index) === undefined)) return;
      this.#sysctlsChanged = true;
      this.#options.onDamage();
    } else if (type === RTM_NEWLINK || type === RTM_DELLINK) {
      const { index, isBridgePort } = readLinkHeader(view, start, end);
      const network = this.#networkOf(index);
      if (network === undefined) return;
      if (isBridgePort) {
        // A port that leaves its bridge tells so as a device, too.
        const port = type === RTM_DELLINK ? undefined : readBridgePort(bytes, view, start, end);
        if (port !== undefined && network.judgePort(index, port.settings)) this.#options.onDamage();
        return;
      }
      if (this.#linkEvents.size === 0) setImmediate(() => this.#judgeLinks());
      this.#linkEvents.set(index, type === RTM_DELLINK ? undefined : readLink(bytes, view, start, end));
    }
  }

  #judgeRoute(route: Route, isDeleted: boolean): void {
    let isDamaged = false;
    for (const network of this.networks.values())
      if (network.desired.settings.mode === "l3") isDamaged = network.rows.observeRoute(route, isDeleted) || isDamaged;
    if (isDamaged) this.#options.onDamage();
  }

  /** A change in several steps tells of each; only where it arrived counts. */
  #judgeLinks(): void {
    const events = [...this.#linkEvents];
    this.#linkEvents.clear();
    const damaged = events.filter(([index, link]) => this.#networkOf(index)?.judgeLink(index, link) === true);
    if (damaged.length > 0) this.#options.onDamage();
  }

  #networkOf(index: number): NetworkDataplane | undefined {
    for (const network of this.networks.values()) if (network.ownsIndex(index)) return network;
    return undefined;
  }
}

function suppressionFilterOf(wanted: readonly DesiredNetwork[]): NftTable {
  const tunnelsOf = (isMeant: (network: DesiredNetwork) => boolean): string[] =>
    wanted
      .filter((network) => network.settings.mode === "l2" && isMeant(network))
      .flatMap(tunnelPatterns)
      .sort();
  return suppressionFilterTable({
    forwarded: tunnelsOf(({ settings }) => settings.arpSuppression && !settings.localLearning),
    own: tunnelsOf(({ settings }) => settings.gateways.length > 0),
    tagged: {
      ports: wanted
        .filter(({ settings }) => settings.vlanTags)
        .flatMap(({ locals }) => Array.from(locals.keys(), endpointPortName)),
      tunnels: tunnelsOf(({ settings }) => settings.vlanTags),
    },
  });
}

/** The tunnels of a network as the filter matches them. */
function tunnelPatterns({ settings: { vni, transport, standby } }: DesiredNetwork): string[] {
  return [...(transport === undefined ? [] : [transport]), ...standby].map((each) => tunnelPattern(each, vni));
}
