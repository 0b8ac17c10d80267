import type { Clock } from "../base/clock.ts";
import { type Duration, formatDuration, milliseconds, minutes } from "../base/duration.ts";
import { messageOf } from "../base/errors.ts";
import type { IpAddress } from "../base/ip.ts";
import { type Transport, tenantOfNamespace } from "../model/names.ts";
import { getLink, NetlinkSocket, type Watch } from "../netlink/index.ts";
import { DesiredNetwork, type NetworkSettings } from "./desired.ts";
import { takesFromAll } from "./encapsulation/tunnel.ts";
import type { Kernel, KernelNamespace } from "./kernel.ts";
import type { NetworkDataplane, PortTraffic } from "./network-dataplane.ts";
import type { KernelObject } from "./objects.ts";
import { aliasOf } from "./ownership.ts";
import { Problems, type Report } from "./report.ts";
import { TenantDataplane } from "./tenant-dataplane.ts";
import { UnderlayDataplane } from "./underlay-dataplane.ts";

/** Work that is left although nothing failed is looked at again after this. */
const workRetry = milliseconds(100);
/** Everything is compared with the kernel this often, whatever events said. */
const auditInterval = minutes(5);

export interface NodeDataplaneOptions {
  readonly kernel: Kernel;
  readonly instance: string;
  /** Where the VTEP addresses are. */
  readonly underlay: KernelNamespace;
  readonly clock: Clock;
  readonly report: Report;
  /** Told of MACs behind ports that nobody declared, in networks that learn. */
  readonly onTraffic?: (event: PortTraffic) => void;
  /** Some of that may have been missed. */
  readonly onTrafficMissed?: () => void;
  /** Told when a pass begins, which does all that is desired by then, and when it has ended. */
  readonly onPass?: (moment: "began" | "ended") => void;
}

/** Where a network is in the kernel. */
export interface NetworkPlacement {
  readonly namespace: KernelNamespace;
  readonly socket: NetlinkSocket;
  readonly dataplane: NetworkDataplane;
}

/**
 * The kernel of one node, kept equal to the desired networks: observe, plan, apply. Level-triggered: callers change
 * {@link networks} and say {@link NodeDataplane.changed}; the kernel's events mark what was damaged. One pass runs at a
 * time; what comes meanwhile is done by the next.
 */
export class NodeDataplane {
  readonly #options: NodeDataplaneOptions;
  readonly #desired = new Map<string, DesiredNetwork>();
  readonly #tenants = new Map<string, TenantDataplane>();
  readonly #underlay: UnderlayDataplane;
  readonly #namespaceNames: { close(): void };
  readonly #problems: Problems;
  readonly #report: Report;
  readonly #stopAudit: () => void;
  #writesOfClosed = 0;
  #repairs = 0;
  /** Leftovers of an earlier run have been looked for. */
  #pruned = false;
  #started = false;
  #closed = false;
  #running: Promise<void> | undefined;
  #again = false;
  /** What failed a moment ago is to be tried by the next pass all the same. */
  #retryAll = false;
  #cancelRetry: (() => void) | undefined;

  constructor(options: NodeDataplaneOptions) {
    this.#options = options;
    this.#report = (event) => {
      if (event.kind === "repaired") this.#repairs++;
      options.report(event);
    };
    this.#problems = new Problems(this.#report, options.clock);
    this.#underlay = new UnderlayDataplane({
      instance: options.instance,
      namespace: options.underlay,
      clock: options.clock,
      report: this.#report,
      onDamage: () => this.#trigger(),
      // Rows follow from nexthops: those that went are made again with all rows that use them.
      onOverrun: () => {
        this.#tellOverrun("comparing what is on the host");
        this.#trigger();
      },
    });
    this.#namespaceNames = options.kernel.watchNamed(
      (name) => {
        if (tenantOfNamespace(options.instance, name) !== undefined) this.#trigger();
      },
      (error) => this.#onNamesUnwatched(error),
    );
    this.#stopAudit = this.#every(auditInterval, () => this.audit());
  }

  /** This node's VTEP addresses and the interface that carries them. */
  setUnderlay(vteps: readonly IpAddress[], interfaceIndex: number | undefined): Promise<void> {
    return this.#underlay.setVteps(vteps, interfaceIndex);
  }

  get networks(): ReadonlyMap<string, DesiredNetwork> {
    return this.#desired;
  }

  /** The network as it shall be. One with another VNI, tenant or mode is another network, whose endpoints are yet to come. */
  putNetwork(settings: NetworkSettings): DesiredNetwork {
    const present = this.#desired.get(settings.name);
    const isSame =
      present?.settings.vni === settings.vni &&
      present.settings.tenant === settings.tenant &&
      present.settings.mode === settings.mode;
    if (isSame) {
      present.setSettings(settings);
      return present;
    }
    this.removeNetwork(settings.name);
    const network = new DesiredNetwork(settings);
    this.#desired.set(settings.name, network);
    return network;
  }

  removeNetwork(name: string): void {
    const network = this.#desired.get(name);
    if (network === undefined) return;
    this.#desired.delete(name);
    // No pass has come to it yet: what an earlier run made of it is nobody's, and was kept for it.
    if (this.network(name)?.dataplane.desired !== network) this.#pruned = false;
  }

  /** The desired state is complete: from now on the kernel is made equal to it. */
  start(): Promise<void> {
    this.#started = true;
    return this.changed();
  }

  /** Does what the changes ask for. Resolves when a pass that began after this call has ended. */
  changed(): Promise<void> {
    this.#retryAll = true;
    return this.#run();
  }

  /** Does what is to be done; what failed lately waits until it is due. */
  #run(): Promise<void> {
    if (this.#closed || !this.#started) return Promise.resolve();
    if (this.#running === undefined) {
      this.#options.onPass?.("began");
      this.#running = this.#pass().finally(() => {
        this.#running = undefined;
        this.#options.onPass?.("ended");
        if (this.#again) {
          this.#again = false;
          this.#trigger();
        }
      });
      return this.#running;
    }
    this.#again = true;
    return this.#running.then(() => this.#running ?? Promise.resolve());
  }

  /** Compares everything with the kernel again. */
  audit(): Promise<void> {
    this.#underlay.distrust();
    for (const tenant of this.#tenants.values()) tenant.distrust();
    return this.#run();
  }

  /** The network's place in the kernel; `undefined` until it has one. */
  network(name: string): NetworkPlacement | undefined {
    for (const { namespace, socket, networks } of this.#tenants.values()) {
      const dataplane = networks.get(name);
      if (dataplane !== undefined) return { namespace, socket, dataplane };
    }
    return undefined;
  }

  /** Whether the port of an endpoint of this node is as it shall be. */
  isPortInPlace(network: string, endpoint: string): boolean {
    const { desired, ports } = this.network(network)?.dataplane ?? {};
    if (desired === undefined || desired !== this.#desired.get(network)) return false;
    return ports?.isWanted(endpoint) === true && !ports.objects.isPending(endpoint);
  }

  /** Whether the namespace is the underlay's or a tenant's of this node: nothing is attached there. */
  isOwnNamespace(inode: number): boolean {
    return (
      inode === this.#underlay.inode || [...this.#tenants.values()].some((tenant) => tenant.namespace.inode === inode)
    );
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
    return this.#started && this.#pruned && this.#running === undefined && this.#problems.size === 0 && !this.#hasWork;
  }

  /** Messages that changed the kernel since the start: netlink requests and nftables transactions. */
  get writes(): number {
    let writes = this.#writesOfClosed + this.#underlay.writes;
    for (const tenant of this.#tenants.values()) writes += tenant.writes;
    return writes;
  }

  /** Objects that somebody else damaged and that were restored. */
  get repairs(): number {
    return this.#repairs;
  }

  /** Lets go of the kernel, which stays as it is. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#cancelRetry?.();
    this.#stopAudit();
    this.#namespaceNames.close();
    await this.#running;
    for (const tenant of this.#tenants.values()) tenant.close();
    this.#tenants.clear();
    this.#underlay.close();
  }

  get #hasWork(): boolean {
    return (
      [...this.#desired.keys()].some((name) => this.network(name) === undefined) ||
      [...this.#tenants.values()].some((tenant) => tenant.hasWork)
    );
  }

  async #pass(): Promise<void> {
    this.#cancelRetry?.();
    const problems = this.#problems;
    problems.beginPass();
    if (this.#retryAll) problems.retryAll();
    this.#retryAll = false;
    // First what leaves: its VNI may be another network's by now.
    for (const [name, tenant] of this.#tenants)
      await problems.attempt({ kind: "removals", tenant: name }, () => this.#removeFrom(name, tenant));
    if (!this.#pruned) await problems.attempt({ kind: "leftovers" }, () => this.#prune());
    await problems.attempt({ kind: "nexthops" }, () => this.#addNexthops());
    await problems.attempt({ kind: "underlay" }, () => this.#ensureSourceFilter());
    for (const name of new Set([...this.#desired.values()].map((network) => network.settings.tenant)))
      await problems.attempt({ kind: "tenant", tenant: name }, () => this.#reconcileTenant(name));
    problems.forget((object) => this.#isOfNoTenant(object));
    if (this.#pruned)
      await problems.attempt({ kind: "leftover nexthops" }, () => this.#underlay.removeNexthops(this.#nexthopVteps()));
    const pause = problems.nextRetry ?? (this.#hasWork ? workRetry : undefined);
    if (pause !== undefined) this.#cancelRetry = this.#options.clock.after(pause, () => this.#trigger());
  }

  async #addNexthops(): Promise<void> {
    const renewed = await this.#underlay.addNexthops(this.#nexthopVteps());
    if (renewed.size > 0)
      for (const tenant of this.#tenants.values())
        for (const network of tenant.networks.values()) network.rows.onNexthopRenewed(renewed);
  }

  async #ensureSourceFilter(): Promise<void> {
    const networks = [...this.#desired.values()];
    const ofMulticast = networks.filter(({ settings }) => settings.multicast !== undefined);
    this.#underlay.tunnelPorts = sorted(networks.flatMap((network) => portsOf(network, () => true)));
    await this.#underlay.ensureSourceFilter({
      ports: sorted(networks.flatMap((network) => portsOf(network, takesFromAll))),
      vnis: sorted(
        networks.filter((each) => portsOf(each, takesFromAll).length > 0).map(({ settings }) => settings.vni),
      ),
      openPorts: sorted(ofMulticast.flatMap((network) => portsOf(network, takesFromAll))),
      groups: sorted(networks.flatMap(({ settings }) => settings.multicast?.address ?? [])),
      remoteVteps: sorted(networks.flatMap((network) => [...network.peers])),
    });
  }

  async #reconcileTenant(name: string): Promise<void> {
    const tenant = this.#tenants.get(name) ?? (await this.#openTenant(name));
    await tenant.reconcile(this.#networksOf(name));
  }

  #networksOf(tenant: string): readonly DesiredNetwork[] {
    return [...this.#desired.values()].filter((network) => network.settings.tenant === tenant);
  }

  async #openTenant(name: string): Promise<TenantDataplane> {
    const tenant = await TenantDataplane.open({
      kernel: this.#options.kernel,
      clock: this.#options.clock,
      instance: this.#options.instance,
      tenant: name,
      underlay: this.#underlay,
      problems: this.#problems,
      report: this.#report,
      onDamage: () => this.#trigger(),
      onOverrun: () => this.#onOverrun(),
      onTraffic: this.#options.onTraffic ?? (() => {}),
    });
    this.#tenants.set(name, tenant);
    return tenant;
  }

  async #removeFrom(name: string, tenant: TenantDataplane): Promise<void> {
    await tenant.removeNetworks((network) => this.#desired.get(network.settings.name) === network);
    if (this.#networksOf(name).length === 0) await this.#removeTenant(name, tenant);
  }

  async #removeTenant(name: string, tenant: TenantDataplane): Promise<void> {
    await tenant.removeUplink();
    await tenant.prune([]);
    await tenant.removeNamespace();
    this.#tenants.delete(name);
    this.#writesOfClosed += tenant.writes;
    tenant.close();
  }

  /**
   * Removes what an earlier run of this instance left and nobody wants any more. Before anything is made: a leftover
   * tunnel may hold the VNI of a new network.
   */
  async #prune(): Promise<void> {
    // A network that leaves meanwhile asks for another look.
    this.#pruned = true;
    try {
      await this.#pruneAll();
    } catch (error) {
      this.#pruned = false;
      throw error;
    }
  }

  async #pruneAll(): Promise<void> {
    for (const name of await this.#options.kernel.listNamed()) {
      const tenantName = tenantOfNamespace(this.#options.instance, name);
      if (tenantName === undefined || !(await this.#isOwnNamespace(name))) continue;
      const wanted = this.#networksOf(tenantName);
      const tenant = this.#tenants.get(tenantName) ?? (await this.#openTenant(tenantName));
      await tenant.prune(wanted);
      if (wanted.length === 0) await this.#removeTenant(tenantName, tenant);
    }
    await this.#underlay.removeUplinks(
      new Set(
        [...new Set([...this.#desired.values()].map(({ settings }) => settings.tenant))].filter((tenant) =>
          TenantDataplane.needsUplink(this.#networksOf(tenant)),
        ),
      ),
    );
  }

  async #isOwnNamespace(name: string): Promise<boolean> {
    using namespace = this.#options.kernel.openNamed(name);
    using socket = new NetlinkSocket({ transport: namespace.openTransport({}) });
    const loopback = await socket.get(getLink({ name: "lo" }));
    return loopback.alias === aliasOf(this.#options.instance);
  }

  /** A tenant that could not be brought up, and that nobody wants any more. */
  #isOfNoTenant({ kind, tenant }: KernelObject): boolean {
    if (kind !== "tenant" || tenant === undefined) return false;
    return !this.#tenants.has(tenant) && this.#networksOf(tenant).length === 0;
  }

  /** VTEPs that FDB entries refer to. */
  #nexthopVteps(): ReadonlySet<IpAddress> {
    const vteps = new Set<IpAddress>();
    for (const network of this.#desired.values())
      if (network.usesNexthops) for (const vtep of network.remoteVteps) vteps.add(vtep);
    return vteps;
  }

  /** Events of a tenant were lost: one look at everything, however many were lost. */
  #onOverrun(): void {
    this.#tellOverrun("comparing everything");
    this.#options.onTrafficMissed?.();
    void this.audit();
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

  #trigger(): void {
    this.#run().catch((error: unknown) =>
      this.#report({ level: "error", kind: "failed", object: { kind: "dataplane" }, message: messageOf(error) }),
    );
  }

  #every(interval: Duration, action: () => Promise<void>): () => void {
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
  isMeant: (transport: Transport) => boolean,
): number[] {
  return [...standby, ...(transport === undefined ? [] : [transport])]
    .filter((each) => each.port > 0 && isMeant(each))
    .map(({ port }) => port);
}

/** Each once and in order, so that the same filter is the same text. */
function sorted<Value extends number | string>(values: readonly Value[]): Value[] {
  return [...new Set(values)].sort((a, b) => (a < b ? -1 : 1));
}
