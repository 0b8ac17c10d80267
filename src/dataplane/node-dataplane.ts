import type { Clock } from "../base/clock.ts";
import { type Duration, formatDuration, minutes, seconds } from "../base/duration.ts";
import { messageOf } from "../base/errors.ts";
import type { IpAddress } from "../base/ip.ts";
import { isSameList } from "../base/lists.ts";
import type { TunnelTransport } from "../model/encapsulation.ts";
import type { Placement, Rate, Vni } from "../model/index.ts";
import { type PolicyDirection, policyDirections } from "../model/policy/index.ts";
import { getLink, NetlinkSocket, type Watch } from "../netlink/index.ts";
import type { BandwidthUse } from "./bandwidth/use.ts";
import { DesiredNetwork, type NetworkSettings } from "./desired.ts";
import { takesFromAll } from "./encapsulation/tunnel.ts";
import { DroppedReport } from "./guard/dropped-report.ts";
import { Guard } from "./guard/guard.ts";
import type { Dropped } from "./guard/rows.ts";
import type { Kernel, KernelNamespace } from "./kernel.ts";
import { aliasOf, tenantOfNamespace, tenantOfOnHostTable } from "./kernel-names.ts";
import type { NetworkDataplane, PortTraffic } from "./network-dataplane.ts";
import type { KernelObject } from "./objects.ts";
import { DesiredPolicies } from "./policy/desired-policies.ts";
import { ruleIdentifier } from "./policy/verdict-list.ts";
import { Problems, type Report } from "./report.ts";
import { Rounds, Turns } from "./rounds.ts";
import { TenantDataplane } from "./tenant-dataplane.ts";
import { TenantQueue } from "./tenant-queue.ts";
import { UnderlayDataplane } from "./underlay-dataplane.ts";

/** Everything is compared with the kernel this often, whatever events said. */
const auditInterval = minutes(5);
/** How often it is told what endpoints tried to send and may not. */
const droppedInterval = seconds(30);

export interface NodeDataplaneOptions {
  readonly kernel: Kernel;
  readonly instance: string;
  /** Where the VTEP addresses are. */
  readonly underlay: KernelNamespace;
  /** What networks share of the underlay; absent: they send as they come. */
  readonly underlayBandwidth?: Rate;
  readonly clock: Clock;
  readonly report: Report;
  /** Told of MACs behind ports that nobody declared, in networks that learn. */
  readonly onTraffic?: (event: PortTraffic) => void;
  /** Some of that may have been missed. */
  readonly onTrafficMissed?: () => void;
  /**
   * Told when a pass begins that does all that is desired of a tenant by then, and when it has ended. `undefined`: of
   * networks that have no place on this node.
   */
  readonly onPass?: (moment: "began" | "ended", tenant: string | undefined) => void;
}

/** A network in the kernel, and how to read it there. */
export interface ProgrammedNetwork {
  readonly namespace: KernelNamespace;
  readonly socket: NetlinkSocket;
  readonly dataplane: NetworkDataplane;
  /** Whether its tenant's ways to the tenants of its peers are there. */
  readonly isJoined: boolean;
}

/**
 * The kernel of one node, kept equal to the desired networks: observe, plan, apply. Level-triggered: callers change
 * {@link networks} and say {@link NodeDataplane.changed}; the kernel's events mark what was damaged. What is on the
 * host comes first; then each tenant has a queue of its own, in which one pass runs at a time, and what comes meanwhile is
 * done by the next.
 */
export class NodeDataplane {
  /** Who may talk to whom: to be changed as {@link networks} are. */
  readonly policies = new DesiredPolicies();
  readonly #options: NodeDataplaneOptions;
  readonly #desired = new Map<string, DesiredNetwork>();
  /** The same by tenant. */
  readonly #ofTenants = new Map<string, Map<string, DesiredNetwork>>();
  readonly #tenants = new Map<string, TenantQueue>();
  readonly #underlay: UnderlayDataplane;
  readonly #guard: Guard;
  readonly #host = new Rounds(() => this.#hostPass());
  /** For what concerns the namespaces of two tenants. */
  readonly #pairTurns = new Turns();
  readonly #namespaceNames: { close(): void };
  readonly #problems: Problems;
  readonly #report: Report;
  readonly #droppedReport: DroppedReport;
  readonly #stopClocks: () => void;
  #writesOfClosed = 0;
  /** By policies of tenants that are gone. */
  readonly #deniedBefore: Record<PolicyDirection, number> = { ingress: 0, egress: 0 };
  readonly #repairs = new Map<string, number>();
  /** Leftovers of an earlier run have been looked for. */
  #isPruned = false;
  #started = false;
  #closed = false;
  /** By the lists that it was made of. */
  #vtepsOfNexthops: { readonly lists: readonly (readonly IpAddress[])[]; readonly all: ReadonlySet<IpAddress> } = {
    lists: [],
    all: new Set(),
  };
  /** What failed a moment ago is to be tried by the next pass all the same. */
  #retryAll = false;
  #cancelRetry: (() => void) | undefined;

  constructor(options: NodeDataplaneOptions) {
    this.#options = options;
    this.#report = (event) => {
      const { kind } = event.object;
      if (event.kind === "repaired") this.#repairs.set(kind, (this.#repairs.get(kind) ?? 0) + 1);
      options.report(event);
    };
    this.#problems = new Problems(this.#report, options.clock);
    this.#droppedReport = new DroppedReport(this.#report);
    this.#guard = new Guard(options.kernel.bpf);
    this.#underlay = new UnderlayDataplane({
      instance: options.instance,
      namespace: options.underlay,
      bpf: options.kernel.bpf,
      bandwidth: options.underlayBandwidth,
      onMoved: (vni) => this.#onShareMoved(vni),
      clock: options.clock,
      report: this.#report,
      onDamage: () => this.#triggerHost(),
      // Rows follow from nexthops: those that went are made again with all rows that use them.
      onOverrun: () => {
        this.#tellOverrun("comparing what is on the host");
        this.#triggerHost();
      },
    });
    this.#namespaceNames = options.kernel.watchNamed(
      (name) => {
        const tenant = tenantOfNamespace(options.instance, name);
        if (tenant !== undefined) this.#tenants.get(queueKey(tenant, "own"))?.trigger();
      },
      (error) => this.#onNamesUnwatched(error),
    );
    const stops = [
      this.#every(auditInterval, () => this.audit()),
      this.#every(droppedInterval, () => this.tellDropped()),
    ];
    this.#stopClocks = () => {
      for (const stop of stops) stop();
    };
  }

  /** This node's VTEP addresses and the interface that carries them. */
  setUnderlay(vteps: readonly IpAddress[], interfaceIndex: number | undefined): Promise<void> {
    return this.#underlay.setVteps(vteps, interfaceIndex);
  }

  get networks(): ReadonlyMap<string, DesiredNetwork> {
    return this.#desired;
  }

  /** Those of a tenant, and of these such as are where `placement` says. */
  networksOf(tenant: string, placement?: Placement): readonly DesiredNetwork[] {
    const all = [...(this.#ofTenants.get(tenant)?.values() ?? [])];
    return placement === undefined ? all : all.filter(({ settings }) => settings.placement === placement);
  }

  /** The network as it shall be. One with another VNI, tenant or mode is another network, whose endpoints are yet to come. */
  putNetwork(settings: NetworkSettings): DesiredNetwork {
    const present = this.#desired.get(settings.name);
    const isSame =
      present?.settings.vni === settings.vni &&
      present.settings.tenant === settings.tenant &&
      present.settings.placement === settings.placement &&
      present.settings.mode === settings.mode;
    if (isSame) {
      present.setSettings(settings);
      return present;
    }
    this.removeNetwork(settings.name);
    const network = new DesiredNetwork(settings);
    this.#desired.set(settings.name, network);
    const ofTenant = this.#ofTenants.get(settings.tenant) ?? new Map<string, DesiredNetwork>();
    this.#ofTenants.set(settings.tenant, ofTenant.set(settings.name, network));
    return network;
  }

  removeNetwork(name: string): void {
    const network = this.#desired.get(name);
    if (network === undefined) return;
    this.#desired.delete(name);
    const { tenant } = network.settings;
    const ofTenant = this.#ofTenants.get(tenant);
    ofTenant?.delete(name);
    if (ofTenant?.size === 0) this.#ofTenants.delete(tenant);
    if (this.network(name)?.dataplane.desired === network) return;
    this.#isPruned = false;
    for (const queue of this.#queuesOf(tenant)) queue.distrustLeftovers();
  }

  /** The desired state is complete: from now on the kernel is made equal to it. */
  start(): Promise<void> {
    this.#started = true;
    return this.changed();
  }

  /**
   * Does what the changes ask for. Resolves when passes that began after this call have ended: of all tenants, or of the
   * host and this one alone.
   */
  async changed(tenant?: string): Promise<void> {
    this.#retryAll ||= tenant === undefined;
    await this.#run(tenant, (queue) => queue.changed());
  }

  /** Compares everything with the kernel again. */
  async audit(): Promise<void> {
    this.#underlay.distrust();
    for (const { dataplane } of this.#tenants.values()) dataplane?.distrust();
    await this.#run(undefined, (queue) => queue.run());
  }

  /** The network's place in the kernel; `undefined` until it has one. */
  network(name: string): ProgrammedNetwork | undefined {
    const placeIn = ({ dataplane: tenant }: TenantQueue): ProgrammedNetwork | undefined => {
      const dataplane = tenant?.networks.get(name);
      if (tenant === undefined || dataplane === undefined) return undefined;
      const { namespace, socket } = tenant;
      const isJoined = dataplane.desired.settings.peers.every((peer) => tenant.isJoinedTo(peer.tenant));
      return { namespace, socket, dataplane, isJoined };
    };
    const desired = this.#desired.get(name);
    const own = desired && this.#queueThatHas(desired);
    // One that goes, or was another tenant's, is where it was.
    return (
      (own && placeIn(own)) ??
      this.#tenants
        .values()
        .map(placeIn)
        .find((place) => place !== undefined)
    );
  }

  /** Whether somebody has a tap of the host open. */
  isOpen(tap: string): Promise<boolean> {
    return this.#underlay.hostDevices.isOpen(tap);
  }

  /** Whether the port of an endpoint of this node is as it shall be. */
  isPortInPlace(network: string, endpoint: string): boolean {
    const { desired, ports } = this.network(network)?.dataplane ?? {};
    if (desired === undefined || desired !== this.#desired.get(network)) return false;
    return ports?.isWanted(endpoint) === true && !ports.objects.isPending(endpoint);
  }

  /** Whether ports of this node lead to endpoints of the network that publish them. */
  leadsPorts(network: string): boolean {
    const desired = this.#desired.get(network);
    return desired !== undefined && this.#queueThatHas(desired)?.dataplane?.leadsPorts === true;
  }

  /** Whether the namespace is the underlay's or a tenant's of this node: nothing is attached there. */
  isOwnNamespace(inode: number): boolean {
    if (inode === this.#underlay.inode) return true;
    return [...this.#tenants.values()].some(({ dataplane }) => dataplane?.namespace.inode === inode);
  }

  get problems(): Problems {
    return this.#problems;
  }

  /** What the kernel tells of the underlay's namespace. */
  get underlayWatch(): Watch {
    return this.#underlay.watch;
  }

  /** The VTEP of an FDB nexthop group. */
  vtepOfGroup(group: number): IpAddress | undefined {
    return this.#underlay.vtepOf(group);
  }

  /** Whether nothing is left to do. */
  get inSync(): boolean {
    const hasQueues = [...this.#desired.values()].every((network) => this.#queueThatHas(network) !== undefined);
    const tenants = [...this.#tenants.values()];
    const isIdle = this.#started && this.#host.turns.isIdle && this.#problems.size === 0;
    return (
      isIdle &&
      this.#underlay.nexthopsAreSettled &&
      this.#underlay.shares.objects.isSettled &&
      this.#isPruned &&
      this.#underlay.hostDevices.isPruned &&
      hasQueues &&
      tenants.every((tenant) => tenant.isSettled)
    );
  }

  /** Messages that changed the kernel since the start: netlink requests and nftables transactions. */
  get writes(): number {
    let writes = this.#writesOfClosed + this.#underlay.writes + this.#guard.writes;
    for (const { dataplane } of this.#tenants.values()) writes += dataplane?.writes ?? 0;
    return writes;
  }

  /** Frames of endpoints here that they may not send, or that policies forbid, by reason. */
  get dropped(): ReadonlyMap<string, number> {
    const denied = { ...this.#deniedBefore };
    for (const { dataplane } of this.#tenants.values())
      for (const direction of policyDirections) denied[direction] += dataplane?.policy.denied[direction] ?? 0;
    return new Map(Object.entries({ ...this.#guard.dropped, ...reasonsOf(denied) }));
  }

  /** Tells of what endpoints tried to send since it was last told. */
  tellDropped(): void {
    this.#droppedReport.tell(this.#droppedByEndpoint());
  }

  /** The same of one endpoint since it is here. */
  droppedOf(network: string, endpoint: string): Dropped {
    const { dataplane } = this.network(network) ?? {};
    return dataplane === undefined ? {} : droppedAt(dataplane, endpoint);
  }

  /** How often each rule of a policy decided here, or was met that only logs; `undefined`: nobody here is under it. */
  policyCounts(name: string): ReadonlyMap<string, number> | undefined {
    const policy = this.policies.find(name);
    const queue =
      policy === undefined ? undefined : this.#queuesOf(policy.tenant).find(({ dataplane }) => dataplane !== undefined);
    const kernel = queue?.dataplane?.policy;
    if (policy === undefined || kernel === undefined) return undefined;
    const counts = policy.rules.flatMap((rule) => {
      const count = kernel.countOf(ruleIdentifier({ policy, rule }));
      return count === undefined ? [] : [[rule.name, count] as const];
    });
    return new Map(counts);
  }

  /** What met limits, of the network of this name or of all. Of one that is being removed nothing. */
  async bandwidthUse(network?: string): Promise<readonly BandwidthUse[]> {
    const uses: (readonly BandwidthUse[])[] = [];
    for (const name of network === undefined ? this.#desired.keys() : [network])
      uses.push((await this.network(name)?.dataplane.shapers.use()) ?? []);
    return uses.flat();
  }

  /** Objects that somebody else damaged and that were restored. */
  get repairs(): number {
    return [...this.#repairs.values()].reduce((sum, count) => sum + count, 0);
  }

  /** {@link repairs} by the kind of object. */
  get repairsByKind(): ReadonlyMap<string, number> {
    return this.#repairs;
  }

  /** Lets go of the kernel, which stays as it is. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#cancelRetry?.();
    this.#stopClocks();
    this.#namespaceNames.close();
    await this.#host.turns.ended();
    for (const tenant of this.#tenants.values()) {
      await tenant.close();
      this.#writesOfClosed += tenant.dataplane?.writes ?? 0;
    }
    this.#tenants.clear();
    this.#guard.close();
    this.#underlay.close();
  }

  /** What is on the host first, then each tenant by itself, or this one alone. */
  async #run(tenant: string | undefined, work: (queue: TenantQueue) => Promise<void>): Promise<void> {
    if (this.#closed || !this.#started) return;
    await this.#host.run();
    if (this.#closed) return;
    const queues = tenant === undefined ? [...this.#tenants.values()] : this.#queuesOf(tenant);
    if (tenant === undefined) await this.#freeVnis();
    await Promise.all(queues.map(work));
    if (this.#hasLeftoverNexthops) await this.#host.run();
  }

  /** First goes what has a VNI that is another network's by now, or may have, because an earlier run left it. */
  async #freeVnis(): Promise<void> {
    const vnis = new Set(Array.from(this.#desired.values(), ({ settings }) => settings.vni));
    const holders = [...this.#tenants.values()].filter(
      (queue) => !queue.isPruned || [...queue.stale()].some(({ settings }) => vnis.has(settings.vni)),
    );
    await Promise.all(holders.map((queue) => queue.leave()));
  }

  /** Does what is to be done on the host, and lets tenants that waited for that go on. */
  async #runHost(): Promise<void> {
    if (this.#closed || !this.#started) return;
    await this.#host.run();
    for (const { dataplane, trigger } of this.#tenants.values()) if (dataplane?.hasWork) trigger();
  }

  async #hostPass(): Promise<void> {
    if (this.#closed) return;
    const problems = this.#problems;
    this.#cancelRetry?.();
    this.#options.onPass?.("began", undefined);
    problems.beginPass();
    if (this.#retryAll) problems.retryAll();
    this.#retryAll = false;
    for (const { settings } of this.#desired.values()) this.#queueOf(settings.tenant, settings.placement);
    if (!this.#isPruned) await problems.attempt({ kind: "leftovers" }, () => this.#prune());
    const { hostDevices } = this.#underlay;
    if (!hostDevices.isPruned)
      await problems.attempt({ kind: "host interfaces" }, () =>
        hostDevices.prune((endpoint) => this.#isHere(endpoint)),
      );
    await problems.attempt({ kind: "nexthops" }, () => this.#addNexthops());
    await this.#ensureSourceFilter();
    await this.#ensureShares();
    if (this.#hasLeftoverNexthops)
      await problems.attempt({ kind: "nexthops" }, () => this.#underlay.removeNexthops(this.#nexthopVteps()));
    this.#tellNexthops();
    const pause = problems.nextRetry;
    if (pause !== undefined && !this.#closed)
      this.#cancelRetry = this.#options.clock.after(pause, () => this.#triggerHost());
    this.#options.onPass?.("ended", undefined);
  }

  /** Nexthops that no network needs, and that no row leads to any more; none while their removal waits for its next attempt. */
  get #hasLeftoverNexthops(): boolean {
    if (this.#problems.isWaiting({ kind: "nexthops" })) return false;
    const isIdle = [...this.#tenants.values()].every(({ rounds }) => rounds.turns.isIdle);
    return this.#isPruned && isIdle && this.#underlay.hasOtherNexthops(this.#nexthopVteps());
  }

  async #addNexthops(): Promise<void> {
    const renewed = await this.#underlay.addNexthops(this.#nexthopVteps());
    for (const { dataplane, trigger } of renewed.size === 0 ? [] : this.#tenants.values())
      for (const network of dataplane?.networks.values() ?? []) {
        if (![...renewed].some((vtep) => network.desired.hasPeer(vtep))) continue;
        network.rows.onNexthopRenewed(renewed);
        trigger();
      }
  }

  /** Of each VTEP whose nexthop was refused, and of those that were and are no more. */
  #tellNexthops(): void {
    const refused = this.#underlay.nexthopFailures;
    for (const [vtep, failure] of refused)
      this.#problems.failed({ kind: "nexthop", key: vtep }, failure.error, failure);
    for (const { object } of this.#problems.list())
      if (object.kind === "nexthop" && !refused.has(object.key as IpAddress)) this.#problems.cleared(object);
  }

  async #ensureSourceFilter(): Promise<void> {
    const networks = [...this.#desired.values()];
    const ports = networks.flatMap((network) => portsOf(network, () => true));
    this.#underlay.tunnelPorts = [...new Set(ports)].sort((a, b) => a - b);
    await this.#problems.attempt({ kind: "guard" }, async () => {
      this.#guard.setTunnelPorts(this.#underlay.tunnelPorts);
      this.#guard.sweepTenants();
    });
    const filtered = networks.map((network) => {
      const { vni, multicast } = network.settings;
      const group = multicast === undefined ? {} : { group: multicast.address };
      return { vni, ports: portsOf(network, takesFromAll), peers: network.peers, ...group };
    });
    const failure = await this.#underlay.protect(filtered);
    if (failure === undefined) this.#problems.cleared({ kind: "underlay" });
    else this.#problems.failed({ kind: "underlay" }, failure.error, failure);
  }

  /** Before tunnels are made, which are told their class. */
  async #ensureShares(): Promise<void> {
    const shares = [...this.#desired.values()].flatMap(({ settings: { vni, transport, bandwidth } }) => {
      const guarantee = bandwidth?.send?.guarantee;
      if (transport === undefined) return [];
      return [guarantee === undefined ? { vni } : { vni, guarantee }];
    });
    const failure = await this.#underlay.shares.share(shares);
    const object = { kind: "underlay bandwidth" };
    if (failure === undefined) this.#problems.cleared(object);
    else this.#problems.failed(object, failure.error, failure);
  }

  #onShareMoved(vni: Vni): void {
    for (const { dataplane, trigger } of this.#tenants.values())
      for (const network of dataplane?.networks.values() ?? [])
        if (network.desired.settings.vni === vni) {
          network.tunnels.plan();
          trigger();
        }
  }

  /** Those of a tenant that there are. It has two only if one of its name was elsewhere before, and is not gone yet. */
  #queuesOf(tenant: string): TenantQueue[] {
    const queues = placements.map((placement) => this.#tenants.get(queueKey(tenant, placement)));
    return queues.filter((queue) => queue !== undefined);
  }

  #queueThatHas({ settings: { tenant, placement } }: DesiredNetwork): TenantQueue | undefined {
    return this.#tenants.get(queueKey(tenant, placement));
  }

  /** The queue of a tenant, from now on. */
  #queueOf(name: string, placement: Placement): TenantQueue {
    const key = queueKey(name, placement);
    const present = this.#tenants.get(key);
    if (present !== undefined) return present;
    const problems = new Problems(this.#report, this.#options.clock, this.#problems);
    const queue = new TenantQueue({
      name,
      clock: this.#options.clock,
      problems,
      networks: () => this.networksOf(name, placement),
      isWanted: (network) => this.#desired.get(network.settings.name) === network,
      open: (opening) => this.#openTenant(opening, placement),
      onPass: (moment) => {
        this.#options.onPass?.(moment, name);
        // Rows may have left nexthops that nobody needs any more.
        if (moment === "ended") setImmediate(() => this.#hasLeftoverNexthops && this.#triggerHost());
      },
      onGone: (dataplane) => {
        for (const direction of policyDirections)
          this.#deniedBefore[direction] += dataplane?.policy.denied[direction] ?? 0;
        this.#writesOfClosed += dataplane?.writes ?? 0;
        if (dataplane !== undefined) this.#guard.tenantGone(dataplane.namespace.inode);
        setImmediate(() => this.#triggerHost());
        if (this.networksOf(name, placement).length > 0) return false;
        this.#tenants.delete(key);
        problems.close();
        return true;
      },
    });
    this.#tenants.set(key, queue);
    return queue;
  }

  async #openTenant(queue: TenantQueue, placement: Placement): Promise<TenantDataplane> {
    const { name, problems, trigger: onDamage } = queue;
    const { kernel, clock, instance, onTraffic, onTrafficMissed } = this.#options;
    const opened = await TenantDataplane.open({
      kernel,
      clock,
      instance,
      tenant: name,
      placement,
      networksOnHost: () => [...this.#desired.values()].filter(({ settings }) => settings.placement === "host"),
      underlay: this.#underlay,
      guard: this.#guard,
      policies: this.policies.of(name),
      problems,
      report: this.#report,
      holderOf: (vni) => {
        for (const each of this.#tenants.values())
          for (const network of each.stale()) if (network.settings.vni === vni) return network;
        return undefined;
      },
      sideOf: (tenant) => this.#tenants.get(queueKey(tenant, "own"))?.dataplane,
      pairTurns: this.#pairTurns,
      onDamage,
      onOverrun: () => {
        this.#tellOverrun(`comparing everything of tenant ${name}`);
        onTrafficMissed?.();
        queue.dataplane?.distrust();
        onDamage();
      },
      onTraffic: onTraffic ?? (() => {}),
    });
    // Once its queue has it.
    setImmediate(() => {
      for (const { dataplane } of this.#tenants.values()) dataplane?.peerCameUp(name);
    });
    return opened;
  }

  /** Finds what an earlier run of this instance left, and removes what of it is on the host and nobody wants any more. */
  async #prune(): Promise<void> {
    // A network that leaves meanwhile asks for another look.
    this.#isPruned = true;
    try {
      for (const name of await this.#options.kernel.listNamed()) {
        const tenant = tenantOfNamespace(this.#options.instance, name);
        if (tenant !== undefined && (await this.#isOwnNamespace(name))) this.#queueOf(tenant, "own").found();
      }
      for (const table of await this.#underlay.nftables.tables("inet")) {
        const tenant = tenantOfOnHostTable(this.#options.instance, table);
        if (tenant !== undefined) this.#queueOf(tenant, "host").found();
      }
      const needsUplink = (tenant: string): boolean => TenantDataplane.needsUplink(this.networksOf(tenant));
      const tenants = (): string[] => Array.from(this.#tenants.values(), ({ name }) => name);
      await this.#underlay.removeUplinks(() => new Set(tenants().filter(needsUplink)));
    } catch (error) {
      this.#isPruned = false;
      throw error;
    }
  }

  #isHere(endpoint: string): boolean {
    return [...this.#desired.values()].some((network) => network.local(endpoint) !== undefined);
  }

  async #isOwnNamespace(name: string): Promise<boolean> {
    using namespace = this.#options.kernel.openNamed(name);
    using socket = new NetlinkSocket({ channel: namespace.openChannel({}) });
    const loopback = await socket.get(getLink({ name: "lo" }));
    return loopback.alias === aliasOf(this.#options.instance);
  }

  /** VTEPs that FDB entries refer to. */
  #nexthopVteps(): ReadonlySet<IpAddress> {
    const lists: (readonly IpAddress[])[] = [];
    for (const network of this.#desired.values()) if (network.usesNexthops) lists.push(network.remoteVteps);
    if (!isSameList(lists, this.#vtepsOfNexthops.lists)) this.#vtepsOfNexthops = { lists, all: new Set(lists.flat()) };
    return this.#vtepsOfNexthops.all;
  }

  *#droppedByEndpoint(): Iterable<readonly [KernelObject, Dropped]> {
    for (const { dataplane } of this.#tenants.values())
      for (const [network, of] of dataplane?.networks ?? [])
        for (const key of of.ports.endpoints) yield [{ kind: "endpoint", network, key }, droppedAt(of, key)];
  }

  #tellOverrun(consequence: string): void {
    const message = `some were lost; ${consequence}`;
    this.#report({ level: "warning", kind: "resynchronised", object: { kind: "kernel events" }, message });
  }

  /** What depends on them is looked at with everything else, by the audit. */
  #onNamesUnwatched(error: Error): void {
    this.#report({
      level: "warning",
      kind: "failed",
      object: { kind: "names of network namespaces" },
      message: `changes are not told (${messageOf(error)}) and will be found every ${formatDuration(auditInterval)}; see sysctl fs.inotify.max_user_instances`,
    });
  }

  #triggerHost(): void {
    this.#runHost().catch((error: unknown) =>
      this.#report({ level: "error", kind: "failed", object: { kind: "dataplane" }, message: messageOf(error) }),
    );
  }

  #every(interval: Duration, action: () => unknown): () => void {
    let cancel = (): void => {};
    const arm = (): void => {
      cancel = this.#options.clock.after(interval, () => {
        void action();
        arm();
      });
    };
    arm();
    return () => cancel();
  }
}

/** The UDP ports of those transports of a network that `isMeant`. */
function portsOf(
  { settings: { transport, standby } }: DesiredNetwork,
  isMeant: (transport: TunnelTransport) => boolean,
): number[] {
  return [...standby, ...(transport === undefined ? [] : [transport])]
    .filter((each) => each.port > 0 && isMeant(each))
    .map(({ port }) => port);
}

/** Of frames from and to an endpoint. */
function droppedAt({ ports, guard, policy }: NetworkDataplane, endpoint: string): Dropped {
  const index = ports.indexOf(endpoint);
  if (index === undefined) return {};
  return { ...guard.droppedOf(index), ...reasonsOf(policy.deniedOf(index)) };
}

/** Those that there are. */
function reasonsOf(denied: Readonly<Record<PolicyDirection, number>> = { ingress: 0, egress: 0 }): Dropped {
  const { ingress, egress } = denied;
  return {
    ...(ingress === 0 ? {} : { "policy-ingress": ingress }),
    ...(egress === 0 ? {} : { "policy-egress": egress }),
  };
}

const placements = ["own", "host"] as const satisfies readonly Placement[];

/** Names of tenants have no blanks. */
function queueKey(tenant: string, placement: Placement): string {
  return placement === "own" ? tenant : `${tenant} on the host`;
}
