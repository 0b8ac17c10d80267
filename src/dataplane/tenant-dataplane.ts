import { prefixLengthOf } from "../base/cidr.ts";
import type { Clock } from "../base/clock.ts";
import { WeftError } from "../base/errors.ts";
import { isErrno } from "../linux/index.ts";
import type { Placement, Vni } from "../model/index.ts";
import {
  deleteLink,
  deleteRoute,
  type Link,
  listLinks,
  listRoutes,
  type Netconf,
  NetlinkSocket,
  neighbourFlag,
  Watch,
  type WatchEvents,
  withoutNewNeighbours,
} from "../netlink/index.ts";
import type { DesiredNetwork } from "./desired.ts";
import { deleteTogether } from "./devices/delete-together.ts";
import { LinkTable } from "./devices/link-table.ts";
import { takesFromAll } from "./encapsulation/tunnel.ts";
import type { Guard } from "./guard/guard.ts";
import type { Kernel, KernelNamespace } from "./kernel.ts";
import {
  endpointOfPort,
  isAliasOf,
  isMetricOfUplink,
  isNetworkDevice,
  isOwnLink,
  leavingGroup,
  namespaceName,
  tenantDevice,
  tenantTable,
  weftProtocol,
} from "./kernel-names.ts";
import { NetworkDataplane, type PortTraffic, removalKind } from "./network-dataplane.ts";
import { Nftables } from "./nft/nftables.ts";
import { OnHost, protectionOnHost } from "./on-host/on-host.ts";
import { type PeerSide, TenantPeerings } from "./peering/tenant-peerings.ts";
import { peeringsOf } from "./peering/wanted.ts";
import type { TenantPolicies } from "./policy/desired-policies.ts";
import { TenantPolicy } from "./policy/tenant-policy.ts";
import type { Objects } from "./reconcile/objects.ts";
import { ReconciledObjects } from "./reconcile/reconciled-objects.ts";
import type { Problems, Report } from "./report.ts";
import type { Turns } from "./rounds.ts";
import { ensureNamespaceName, openTenantNamespace, removeTenantNamespace } from "./tenant-namespace.ts";
import { protectionOfNamespace, TenantProtection } from "./tenant-protection.ts";
import type { UnderlayDataplane } from "./underlay-dataplane.ts";
import { requestOf } from "./uplink/networks-request.ts";
import { isEmptyRequest, type UplinkRequest } from "./uplink/request.ts";
import { mainTable } from "./uplink/routing-tables.ts";
import { Uplink } from "./uplink/uplink.ts";

/**
 * Networks, or devices that an earlier run left, whose deletion the kernel is asked for in one go. Meanwhile it does nothing else that
 * concerns devices: some 20 ms for each bridge.
 */
const together = 8;

export interface TenantOptions {
  readonly kernel: Kernel;
  readonly clock: Clock;
  readonly instance: string;
  readonly tenant: string;
  readonly placement: Placement;
  readonly underlay: UnderlayDataplane;
  readonly guard: Guard;
  /** Who may talk to whom. */
  readonly policies: TenantPolicies;
  readonly problems: Problems;
  readonly report: Report;
  /** The network, of whichever tenant, that is to leave and has the VNI; `undefined`: there is none. */
  readonly holderOf: (vni: Vni) => DesiredNetwork | undefined;
  /** All networks in the host's own namespace. */
  readonly networksOnHost: () => readonly DesiredNetwork[];
  /** The namespace of another tenant; `undefined` until it is there. */
  readonly sideOf: (tenant: string) => PeerSide | undefined;
  /** Of all tenants, for what concerns two of them. */
  readonly pairTurns: Turns;
  /** Something was damaged, and marked for repair. */
  readonly onDamage: () => void;
  /** The kernel's events were lost. */
  readonly onOverrun: () => void;
  /** A MAC that nobody declared is behind a port of this node, or is there no more. */
  readonly onTraffic: (event: PortTraffic) => void;
}

/** What a tenant holds of the kernel. */
interface Opened {
  readonly namespace: KernelNamespace;
  readonly socket: NetlinkSocket;
  readonly watch: Watch;
  readonly nftables: Nftables;
  readonly policy: TenantPolicy;
  /** Lets go of all of it. */
  readonly all: DisposableStack;
}

/** One tenant on this node: its namespace, the filter in it, and its networks. */
export class TenantDataplane {
  readonly namespace: KernelNamespace;
  readonly socket: NetlinkSocket;
  readonly policy: TenantPolicy;
  /** Those that are wanted. */
  readonly networks = new Map<string, NetworkDataplane>();
  /** Those that are wanted no more, and are not gone yet. */
  readonly #leaving = new Set<NetworkDataplane>();
  readonly #removals: ReconciledObjects<NetworkDataplane>;
  readonly #options: TenantOptions;
  readonly #opened: Opened;
  readonly #watch: Watch;
  readonly #nftables: Nftables;
  readonly #protection: TenantProtection;
  /** Absent: the tenant has a namespace of its own. */
  readonly #onHost: OnHost | undefined;
  readonly #peerings: TenantPeerings;
  /** There from the first network on that needs it. */
  #uplink: Uplink | undefined;
  /** Which network has the device of an index; `undefined`: none. */
  readonly #owners = new Map<number, NetworkDataplane | undefined>();
  /** Devices may get other owners. */
  #isChangingDevices = false;
  /** The last that was told of each device, not judged yet. */
  readonly #linkEvents = new Map<number, Link | undefined>();
  #containerWrites = 0;

  private constructor(options: TenantOptions, opened: Opened) {
    this.#options = options;
    this.#opened = opened;
    this.namespace = opened.namespace;
    this.socket = opened.socket;
    this.policy = opened.policy;
    this.#watch = opened.watch;
    this.#nftables = opened.nftables;
    const isOnHost = options.placement === "host";
    this.#onHost = isOnHost ? new OnHost(options) : undefined;
    const plan = isOnHost ? protectionOnHost(options, opened.namespace) : protectionOfNamespace(opened.namespace);
    this.#protection = opened.all.adopt(new TenantProtection({ ...options, ...opened, plan }), (each) => each.close());
    this.#peerings = new TenantPeerings({ ...options, ...opened, turns: options.pairTurns });
    this.#removals = new ReconciledObjects(this.#removing(), options.clock);
    this.#listen();
  }

  /** Makes the tenant's namespace, or takes up the one that an earlier run made, or the host's own. */
  static async open(options: TenantOptions): Promise<TenantDataplane> {
    using stack = new DisposableStack();
    const { namespace, socket } = await openNamespace(options, stack);
    const watch = stack.use(
      new Watch({
        open: (socket) => namespace.openChannel(socket),
        groups: ["link", "neighbour", "address", "route", "netconf", "trafficControl"],
        // A hundred thousand rows of our own are not news.
        filter: withoutNewNeighbours(neighbourFlag.externallyLearned),
      }),
    );
    const links = await socket.dump(listLinks());
    // An earlier run ended between two steps of deleting them. Those that are wanted again by now are made anew.
    const leaving = links.filter(({ group, name }) => group === leavingGroup && isNetworkDevice(name));
    await deleteTogether(socket, leaving);
    const ports = links.filter((link) => isOwnLink(link) && endpointOfPort(link.name) !== undefined);
    const indexes = ports.map(({ index }) => index);
    await options.guard.adopt(namespace.inode, indexes, socket);
    const policy = stack.adopt(
      new TenantPolicy({ bpf: options.kernel.bpf, socket, desired: options.policies }),
      (opened) => opened.close(),
    );
    await policy.adopt(indexes);
    const nftables = stack.adopt(new Nftables(namespace, watch), (opened) => opened.close());
    return new TenantDataplane(options, { namespace, socket, watch, nftables, policy, all: stack.move() });
  }

  get writes(): number {
    const ownWrites = this.socket.writes + this.#containerWrites + this.#protection.writes + this.policy.writes;
    return ownWrites + this.#nftables.writes + (this.#uplink?.writes ?? 0);
  }

  /** Everything will be compared with the kernel at the next opportunity. */
  distrust(): void {
    this.#protection.distrust();
    this.#peerings.objects.distrust();
    this.#uplink?.distrust();
    for (const network of this.networks.values()) network.distrust();
  }

  /** Makes the namespace equal to the `wanted` networks of this tenant. */
  async reconcile(wanted: readonly DesiredNetwork[]): Promise<void> {
    this.#ensureName();
    await this.#changingDevices(() => this.#reconcileNetworks(wanted));
  }

  /** Whether something waits to be compared with the kernel. */
  get hasWork(): boolean {
    if (!this.#protection.isSettled || !this.#removals.isSettled || !this.policy.isSettled) return true;
    if (this.#onHost?.hasWork === true) return true;
    if (!this.#peerings.isSettled) return true;
    return this.#uplink?.hasWork === true || [...this.networks.values()].some((network) => !network.isSettled);
  }

  /** Takes networks off that are not `isWanted`. Those that cannot be taken off now are tried again with time. */
  async removeNetworks(isWanted: (network: DesiredNetwork) => boolean): Promise<void> {
    for (const [name, network] of this.networks) {
      if (isWanted(network.desired)) continue;
      this.networks.delete(name);
      this.#leaving.add(network);
      this.#removals.mark(network);
    }
    await this.#changingDevices(() => this.#removals.remove());
  }

  /** The namespace of another tenant is there. */
  peerCameUp(tenant: string): void {
    this.#peerings.cameUp(tenant);
  }

  /** Whether the way to another tenant is there. */
  isJoinedTo(tenant: string): boolean {
    return this.#peerings.isJoinedTo(tenant);
  }

  /** Networks that are wanted no more, and are still there. */
  get leaving(): ReadonlySet<NetworkDataplane> {
    return this.#leaving;
  }

  /** Deletes what is weft's and belongs to none of the `wanted` networks: an earlier run left it. */
  async prune(ofTenant: readonly DesiredNetwork[]): Promise<void> {
    const isOnHost = this.#onHost !== undefined;
    const wanted = isOnHost ? this.#options.networksOnHost() : ofTenant;
    await this.#pruneDevices(wanted);
    await this.#pruneRoutes(wanted);
    if (isOnHost) return;
    if (this.#uplink === undefined && !TenantDataplane.needsUplink(wanted)) await this.#pruneUplinkFilter();
  }

  async #pruneDevices(wanted: readonly DesiredNetwork[]): Promise<void> {
    const kept = new Set(wanted.flatMap((desired) => NetworkDataplane.deviceNames(desired)));
    if (TenantDataplane.needsUplink(wanted)) kept.add(tenantDevice);
    for (const { device } of peeringsOf(wanted.map(({ settings }) => settings))) kept.add(device);
    const links = await this.socket.dump(listLinks());
    const ports = links.filter(({ name }) => kept.has(name) && endpointOfPort(name) !== undefined);
    const indexes = ports.map(({ index }) => index);
    this.#options.guard.keepPorts(this.namespace.inode, indexes);
    this.policy.keepPorts(indexes);
    this.#options.guard.keepNetworks(this.namespace.inode, new Set(wanted.map(({ settings }) => settings.vni)));
    const leftovers = links.filter((link) => this.#isOfTenant(link) && !kept.has(link.name));
    await this.#deleteTogether(leftovers.map((link) => async () => [link]));
    for (const { index } of leftovers)
      await this.socket.execute(deleteLink({ index })).catch((error: unknown) => {
        if (!isErrno(error, "ENODEV")) throw error;
      });
  }

  /** In a tenant's own namespace all that is weft's is the tenant's. */
  #isOfTenant(link: Link): boolean {
    if (!isOwnLink(link)) return false;
    return this.#onHost === undefined || (isNetworkDevice(link.name) && isAliasOf(this.#options.instance, link.alias));
  }

  /** So many at a time that others do not wait long. What fails is left, and told by who deletes one after the other. */
  async #deleteTogether(finders: readonly (() => Promise<readonly Link[]>)[]): Promise<void> {
    for (let first = 0; first < finders.length; first += together) {
      const links: Link[] = [];
      try {
        for (const find of finders.slice(first, first + together)) links.push(...(await find()));
        await deleteTogether(this.socket, links);
      } catch (error) {
        if (!(error instanceof Error)) throw error;
      }
    }
  }

  /** Routes of subnets that lead nowhere or to the uplink do not go with the devices of their network, nor do those to peers. */
  async #pruneRoutes(wanted: readonly DesiredNetwork[]): Promise<void> {
    const routed = wanted.filter(({ settings }) => settings.mode === "l3");
    const peers = new Set(wanted.flatMap(({ settings }) => settings.peers.flatMap(({ subnets }) => subnets)));
    for (const { destination, protocol, type, priority, table = mainTable } of await this.socket.dump(listRoutes())) {
      // On the host there are those of uplinks, too.
      const isOfNetwork =
        protocol === weftProtocol &&
        table === mainTable &&
        prefixLengthOf(destination) > 0 &&
        (this.#onHost === undefined || !isMetricOfUplink(priority));
      if (!isOfNetwork || peers.has(destination) || routed.some((desired) => desired.owns(destination))) continue;
      const route = { destination, protocol, ...(type === undefined ? {} : { type }), nexthops: [] };
      await this.socket.execute(deleteRoute(route)).catch((error: unknown) => {
        if (!isErrno(error, "ESRCH")) throw error;
      });
    }
  }

  async #pruneUplinkFilter(): Promise<void> {
    const tables = await this.#nftables.tables("inet");
    if (tables.includes(tenantTable)) await this.#nftables.remove("inet", tenantTable);
  }

  /** Whether networks of this tenant need the host. */
  static needsUplink(wanted: readonly DesiredNetwork[]): boolean {
    return !isEmptyRequest(requestOf(wanted));
  }

  /** Whether published ports lead to endpoints. */
  get leadsPorts(): boolean {
    return this.#onHost === undefined ? this.#uplink?.isOpen === true : this.#protection.isSettled;
  }

  /** Takes the uplink off, with what it has on the host. */
  async removeUplink(): Promise<void> {
    await this.#options.underlay.uplinks.take(async () => this.#uplink?.takeOff());
  }

  /** Removes the namespace, unless somebody has put devices of his own into it. Of the host's own what protected the networks goes. */
  async removeNamespace(): Promise<void> {
    const { kernel, instance, tenant, report } = this.#options;
    if (this.#onHost !== undefined) {
      await this.#onHost.takeOff();
      await this.#protection.takeOff();
      return;
    }
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
    for (const network of [...this.networks.values(), ...this.#leaving]) network.close();
    this.#peerings.close();
    this.#uplink?.close();
    this.#opened.all.dispose();
  }

  async #reconcileNetworks(wanted: readonly DesiredNetwork[]): Promise<void> {
    const { problems } = this.#options;
    const names = new Set(wanted.map(({ settings }) => settings.name));
    problems.forget(({ kind, network = "" }) => kind === "network" && !names.has(network));
    for (const desired of wanted) {
      if (this.networks.get(desired.settings.name)?.desired === desired || this.#mustWait(desired)) continue;
      this.networks.set(desired.settings.name, this.#makeNetwork(desired));
    }
    await this.#protection.reconcile(wanted, this.#options.underlay.tunnelPorts);
    await this.#onHost?.provide(wanted);
    this.policy.setNetworks(wanted.map(({ settings }) => settings));
    const policy = { kind: "policy", tenant: this.#options.tenant };
    await problems.attempt(policy, () => this.policy.reconcile());
    const request = requestOf(wanted);
    // Rows lead to the uplink once it is there, and leave it before it goes.
    if (!isEmptyRequest(request)) await this.#ensureUplink(request);
    // Of networks that have nothing here but what is elsewhere, routes need the address that comes with these.
    await this.#peerings.reconcile(wanted.map(({ settings }) => settings));
    const links = new LinkTable(this.socket);
    for (const network of this.networks.values()) {
      if (network.isSettled) continue;
      if (this.#isProtected(network) && (await this.#hasRoom(network))) await network.reconcile(links);
    }
    const ports = Array.from(this.networks.values(), (network) => network.ports);
    await problems.attempt(policy, () =>
      this.policy.sweep((index) => ports.some((of) => of.endpointAt(index) !== undefined)),
    );
    if (isEmptyRequest(request)) await this.#ensureUplink(request);
  }

  /** Whether something that leaves has devices as the network will have: those of its VNI, or of its endpoints. */
  #mustWait({ settings: { name, vni, tenant } }: DesiredNetwork): boolean {
    const { problems, holderOf } = this.#options;
    const former = Array.from(this.#leaving, ({ desired }) => desired).find(({ settings }) => settings.name === name);
    const holder = (former ?? holderOf(vni))?.settings;
    const object = { kind: "network", tenant, network: name };
    if (holder === undefined) {
      problems.cleared(object);
      return false;
    }
    problems.failed(
      object,
      new WeftError({
        code: "failed-precondition",
        attempted: `bring up network ${name}`,
        reason: `network ${holder.name} of tenant ${holder.tenant}, which has VNI ${holder.vni}, has not left yet`,
        hint: "see the problem of its removal in weft status",
      }),
    );
    return true;
  }

  #removing(): Objects<NetworkDataplane> {
    const { problems, tenant } = this.#options;
    return {
      keys: () => this.#leaving,
      isWanted: () => false,
      ensure: async () => {},
      removeTogether: (networks) => this.#deleteTogether(networks.map((network) => () => network.leavingDevices())),
      remove: async (network) => {
        await network.remove();
        this.#leaving.delete(network);
      },
      onAttempt: ({ desired }, failure) => {
        const object = { kind: removalKind, tenant, network: desired.settings.name };
        if (failure === undefined) problems.cleared(object);
        else problems.failed(object, failure.error, failure);
      },
    };
  }

  #ensureName(): void {
    if (this.#onHost !== undefined) return;
    const { kernel, instance, tenant, report } = this.#options;
    if (!ensureNamespaceName(kernel, this.namespace, namespaceName(instance, tenant))) return;
    report({
      level: "warning",
      kind: "repaired",
      object: { kind: "network namespace", tenant, key: this.namespace.label },
      message: "its name had been deleted; named again",
    });
  }

  /** A tunnel without its source filter would be open to everyone: it waits. */
  #isProtected(network: NetworkDataplane): boolean {
    const { underlay, problems } = this.#options;
    const { name, transport, standby } = network.desired.settings;
    const all = [...standby, ...(transport === undefined ? [] : [transport])];
    const open = all.find((each) => takesFromAll(each) && !underlay.protects(each.port, network.desired.settings.vni));
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

  /** One that is there has taken its room. */
  async #hasRoom({ bridge, desired }: NetworkDataplane): Promise<boolean> {
    return this.#onHost === undefined || bridge.index !== 0 || (await this.#onHost.hasRoomFor(desired));
  }

  /** A prefix that the host has itself leaves the other networks as they are. */
  async #ensureUplink(request: UplinkRequest): Promise<void> {
    const { underlay, problems, tenant } = this.#options;
    if (this.#uplink === undefined && isEmptyRequest(request)) return;
    this.#uplink ??= this.#makeUplink();
    const uplink = this.#uplink;
    const settings = { tunnelPorts: underlay.tunnelPorts, mtu: underlay.mtu };
    await problems.attempt({ kind: "uplink", tenant }, () =>
      underlay.uplinks.take(() => uplink.reconcile(request, settings)),
    );
  }

  #makeUplink(): Uplink {
    const { namespace, socket } = this;
    return new Uplink({ ...this.#options, namespace, socket, nftables: this.#nftables, watch: this.#watch });
  }

  #makeNetwork(desired: DesiredNetwork): NetworkDataplane {
    const { kernel, clock, guard, instance, underlay, problems, report } = this.#options;
    return new NetworkDataplane(desired, {
      kernel,
      clock,
      guard,
      policy: this.policy,
      instance,
      namespace: this.namespace,
      socket: this.socket,
      underlay: underlay.socket,
      isOnHost: this.#onHost !== undefined,
      underlayNamespace: underlay.namespace,
      underlayInode: underlay.inode,
      get offload() {
        return underlay.offload;
      },
      openSocket: (namespace) => this.#countedSocket(namespace),
      hostDevices: underlay.hostDevices,
      onDamage: this.#options.onDamage,
      groupOf: (vtep) => underlay.groupOf(vtep),
      shareOf: (vni) => underlay.shares.handleOf(vni),
      distrustNexthops: () => underlay.distrustNexthops(),
      uplink: (family) => this.#uplink?.nexthop(family),
      onTraffic: this.#options.onTraffic,
      problems,
      report,
    });
  }

  /** A socket in a container's namespace that is used for a moment; its writes count on when it is closed. */
  #countedSocket(namespace: KernelNamespace): NetlinkSocket {
    const socket = new NetlinkSocket({ channel: namespace.openChannel({}) });
    const close = socket.close.bind(socket);
    let counted = false;
    socket.close = () => {
      if (!counted) this.#containerWrites += socket.writes;
      counted = true;
      close();
    };
    return socket;
  }

  #listen(): void {
    const watch = this.#watch;
    watch.subscribe("overrun", this.#options.onOverrun);
    watch.subscribe("netconf", (netconf) => this.#onNetconf(netconf));
    watch.subscribe("route", (event) => this.#judgeRoute(event));
    watch.subscribe("link", ({ index, link }) => {
      const network = this.#networkOf(index);
      if (network === undefined) return;
      if (link !== undefined) network.noteLink(index, link);
      if (this.#linkEvents.size === 0) setImmediate(() => this.#judgeLinks());
      this.#linkEvents.set(index, link);
    });
    const judge = (index: number, isDamaged: (network: NetworkDataplane) => boolean): void => {
      const network = this.#networkOf(index);
      if (network !== undefined && isDamaged(network)) this.#options.onDamage();
    };
    watch.subscribe("trafficControl", (event) => judge(event.index, (network) => network.judgeTrafficControl(event)));
    watch.subscribe("bridgePort", ({ index, settings }) =>
      judge(index, (network) => network.judgePort(index, settings)),
    );
    watch.subscribe("address", ({ address, isGone }) =>
      judge(address.index, (network) => network.onAddressChanged(address, isGone)),
    );
    watch.subscribe("fdb", ({ entry, isGone }) => judge(entry.index, (network) => network.observeFdb(entry, isGone)));
    watch.subscribe("neighbour", ({ neighbour, isGone }) =>
      judge(neighbour.index, (network) => network.rows.observeNeighbour(neighbour, isGone)),
    );
  }

  #onNetconf({ index, forwarding, reversePathFilter }: Netconf): void {
    // Devices that appear tell of theirs, too.
    const isHarmless = forwarding !== 0 && (reversePathFilter ?? 0) === 0;
    const isOfNobody = this.#networkOf(index) === undefined && !this.#peerings.ownsIndex(index);
    if (index >= 0 && (isHarmless || isOfNobody)) return;
    this.#protection.damageSettings();
  }

  #judgeRoute({ route, isGone }: WatchEvents["route"]): void {
    if (isGone && route.protocol !== weftProtocol) return;
    let isDamaged = false;
    for (const network of this.networks.values())
      if (network.desired.settings.mode === "l3") isDamaged = network.rows.observeRoute(route, isGone) || isDamaged;
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
    if (this.#owners.has(index)) return this.#owners.get(index);
    const owner = [...this.networks.values()].find((network) => network.ownsIndex(index));
    if (!this.#isChangingDevices) this.#owners.set(index, owner);
    return owner;
  }

  /** Does what may make devices, or remove them. */
  async #changingDevices(action: () => Promise<void>): Promise<void> {
    this.#owners.clear();
    this.#isChangingDevices = true;
    try {
      await action();
    } finally {
      this.#isChangingDevices = false;
    }
  }
}

async function openNamespace(
  { kernel, instance, tenant, placement, underlay }: TenantOptions,
  stack: DisposableStack,
): Promise<Pick<Opened, "namespace" | "socket">> {
  if (placement === "own") {
    const { namespace, socket } = await openTenantNamespace(kernel, namespaceName(instance, tenant), instance);
    return { namespace: stack.use(namespace), socket: stack.use(socket) };
  }
  const { namespace } = underlay;
  return { namespace, socket: stack.use(new NetlinkSocket({ channel: namespace.openChannel({}) })) };
}
