import type { Clock } from "../base/clock.ts";
import type { IpAddress } from "../base/ip.ts";
import { isSameList } from "../base/lists.ts";
import type { Rate, Vni } from "../model/index.ts";
import { getLink, NetlinkSocket, Watch } from "../netlink/index.ts";
import { UnderlayShares } from "./bandwidth/underlay-shares.ts";
import type { OffloadLimits } from "./devices/device-changes.ts";
import { HostDevices } from "./devices/host-devices.ts";
import type { KernelBpf, KernelNamespace } from "./kernel.ts";
import { sourceFilterName } from "./kernel-names.ts";
import { KeptTable } from "./nft/kept-table.ts";
import { Nftables } from "./nft/nftables.ts";
import { type FilteredNetwork, sourceFilterTable } from "./nft/source-filter.ts";
import { VtepRoutes } from "./nft/vtep-paths.ts";
import type { Failure } from "./reconcile/marks.ts";
import type { Objects } from "./reconcile/objects.ts";
import { ReconciledObjects } from "./reconcile/reconciled-objects.ts";
import type { Report } from "./report.ts";
import { Turns } from "./rounds.ts";
import { VtepNexthops } from "./tables/vtep-nexthops.ts";
import { ForwardedDevices } from "./uplink/forwarded-devices.ts";
import { removeLeftoverUplinks } from "./uplink/leftovers.ts";

/** Octets; of an underlay interface that was not told yet. RFC 894. */
const defaultMtu = 1500;

export interface UnderlayOptions {
  readonly instance: string;
  readonly namespace: KernelNamespace;
  readonly bpf: KernelBpf;
  /** What all networks together send at most; absent: they send as they come. */
  readonly bandwidth: Rate | undefined;
  /** What the tunnels of a network send has another class of that than before. */
  readonly onMoved: (vni: Vni) => void;
  readonly clock: Clock;
  readonly report: Report;
  /** Something was damaged, and marked for repair. */
  readonly onDamage: () => void;
  /** The kernel's events were lost. What they may have told of is marked. */
  readonly onOverrun: () => void;
}

/** The one object that the underlay keeps itself. */
const sourceFilter = "source filter";

/** What tunnels need on the underlay before they come up: a nexthop for each VTEP, and the filter that keeps strangers out. */
export class UnderlayDataplane implements Objects<typeof sourceFilter> {
  /** Makes tunnels, too: what is made through it has its socket here. */
  readonly socket: NetlinkSocket;
  /** Of all that is in the underlay namespace. */
  readonly watch: Watch;
  readonly nftables: Nftables;
  /** What all uplinks share of the host. */
  readonly forwarded: ForwardedDevices;
  /** Those that endpoints send by. */
  readonly hostDevices: HostDevices;
  /** How networks share what is sent. */
  readonly shares: UnderlayShares;
  /** Uplinks of several tenants change the same things on the host. */
  readonly uplinks = new Turns();
  readonly #options: UnderlayOptions;
  readonly #nexthops: VtepNexthops;
  readonly #routes: VtepRoutes;
  #localVteps: readonly IpAddress[] = [];
  #offload: OffloadLimits = {};
  #mtu = defaultMtu;
  /** UDP ports of all tunnels of this node. */
  tunnelPorts: readonly number[] = [];
  readonly #objects: ReconciledObjects<typeof sourceFilter>;
  readonly #sourceFilter: KeptTable;
  #networks: readonly FilteredNetwork[] = [];
  /** Networks that the source filter knows. */
  #protected: readonly FilteredNetwork[] = [];
  #uplinkWrites = 0;

  constructor(options: UnderlayOptions) {
    const { namespace, instance, bpf, clock, report, onDamage, onOverrun } = options;
    this.#options = options;
    this.socket = new NetlinkSocket({ channel: namespace.openChannel({}) });
    this.watch = new Watch({
      open: (socket) => namespace.openChannel(socket),
      groups: ["link", "address", "route", "rule", "netconf", "nexthop", "trafficControl"],
    });
    const { socket, watch } = this;
    this.hostDevices = new HostDevices({ instance, namespace, socket, watch });
    const { bandwidth: rate, onMoved } = options;
    this.shares = new UnderlayShares({ instance, bpf, socket, watch, clock, rate, report, onMoved, onDamage });
    this.#nexthops = new VtepNexthops({ instance, socket: this.socket, clock });
    this.#routes = new VtepRoutes(this.watch, this.socket, () => {
      this.#objects.mark(sourceFilter);
      onDamage();
    });
    this.nftables = new Nftables(namespace, this.watch);
    this.forwarded = new ForwardedDevices({ underlay: this, watch: this.watch, clock, report, onDamage });
    this.watch.subscribe("nexthop", ({ nexthop, isGone }) => {
      if (this.#nexthops.observe(nexthop, isGone)) onDamage();
    });
    const name = sourceFilterName(instance);
    this.#objects = new ReconciledObjects(this, clock);
    // An earlier run may have left one.
    this.#objects.mark(sourceFilter);
    this.#sourceFilter = new KeptTable({
      nftables: this.nftables,
      family: "inet",
      name,
      object: { kind: "nft table", key: `inet ${name}` },
      report,
      onDamage: () => {
        this.#objects.damage(sourceFilter);
        onDamage();
      },
    });
    this.watch.subscribe("overrun", () => {
      this.#nexthops.distrust();
      onOverrun();
    });
  }

  /** This node's VTEP addresses and the interface that carries them. */
  async setVteps(vteps: readonly IpAddress[], interfaceIndex: number | undefined): Promise<void> {
    this.#localVteps = vteps;
    this.#objects.mark(sourceFilter);
    if (interfaceIndex === undefined) return;
    const link = await this.socket.get(getLink({ index: interfaceIndex }));
    this.#mtu = link.mtu;
    this.shares.setInterface(link);
    this.#offload = {
      ...(link.gsoMaxSize === undefined ? {} : { gsoMaxSize: link.gsoMaxSize }),
      ...(link.gsoMaxSegments === undefined ? {} : { gsoMaxSegments: link.gsoMaxSegments }),
    };
  }

  get namespace(): KernelNamespace {
    return this.#options.namespace;
  }

  /** The namespace, by its inode number on nsfs. */
  get inode(): number {
    return this.#options.namespace.inode;
  }

  /** Limits of the underlay interface. */
  get offload(): OffloadLimits {
    return this.#offload;
  }

  get writes(): number {
    return this.socket.writes + this.nftables.writes + this.#uplinkWrites + this.forwarded.writes;
  }

  /** The FDB nexthop group of a VTEP. */
  groupOf(vtep: IpAddress): number | undefined {
    return this.#nexthops.groupOf(vtep);
  }

  /** The VTEP of an FDB nexthop group. */
  vtepOf(group: number): IpAddress | undefined {
    return this.#nexthops.vtepOf(group);
  }

  /** Everything will be compared with the kernel at the next opportunity. */
  distrust(): void {
    this.#objects.damage(sourceFilter);
    this.shares.objects.distrust();
    this.hostDevices.distrust();
    this.#nexthops.distrust();
    this.#routes.distrust();
    this.forwarded.distrust();
  }

  /** All nexthops are compared with the kernel at the next opportunity, which is asked for. */
  distrustNexthops(): void {
    this.#nexthops.distrust();
    this.#options.onDamage();
  }

  /** Nexthops for all `vteps`. Returns those that had been removed: the kernel dropped all rows that used them. */
  async addNexthops(vteps: ReadonlySet<IpAddress>): Promise<ReadonlySet<IpAddress>> {
    const renewed = await this.#nexthops.add(vteps);
    for (const vtep of renewed)
      this.#options.report({
        level: "warning",
        kind: "repaired",
        object: { kind: "nexthop", key: vtep },
        message: "had been changed or removed; set again with all FDB entries that use it",
      });
    return renewed;
  }

  /** Whether there are nexthops of other VTEPs than these. */
  hasOtherNexthops(wanted: ReadonlySet<IpAddress>): boolean {
    return this.#nexthops.hasOthers(wanted);
  }

  get nexthopsAreSettled(): boolean {
    return this.#nexthops.isSettled;
  }

  /** What the kernel refused of nexthops, and is tried again. */
  get nexthopFailures(): ReadonlyMap<IpAddress, Failure<unknown>> {
    return this.#nexthops.failures;
  }

  /** Removes the nexthops of VTEPs that no row leads to any more. */
  async removeNexthops(wanted: ReadonlySet<IpAddress>): Promise<void> {
    await this.#nexthops.keepOnly(wanted);
  }

  /** Lets nobody send into the networks but their peers. Tells what the kernel refused of that, and is tried again. */
  async protect(networks: readonly FilteredNetwork[]): Promise<Failure<unknown> | undefined> {
    const isSame = networks.length === this.#networks.length && networks.every(this.#isKnown, this);
    if (!isSame) this.#objects.mark(sourceFilter);
    this.#networks = networks;
    await this.#objects.ensure();
    const [failure] = this.#objects.failures;
    return failure;
  }

  keys(): readonly (typeof sourceFilter)[] {
    return [sourceFilter];
  }

  isWanted(): boolean {
    return true;
  }

  async ensure(_key: typeof sourceFilter, isDamaged: boolean): Promise<void> {
    const networks = this.#networks;
    const vteps = new Set(networks.flatMap(({ peers }) => [...peers]));
    const paths = await this.#routes.paths([...vteps]);
    const isNeeded = vteps.size > 0 || networks.some(({ ports }) => ports.length > 0);
    const filter = { instance: this.#options.instance, networks, localVteps: this.#localVteps, paths };
    await this.#sourceFilter.ensure(isNeeded ? sourceFilterTable(filter) : undefined, isDamaged);
    this.#protected = networks;
  }

  /** It is the table that is empty, where there are no networks. */
  async remove(): Promise<void> {}

  /** Whoever calls {@link protect} hears of it. */
  onAttempt(): void {}

  /** Octets of the largest packet that the underlay interface takes. */
  get mtu(): number {
    return this.#mtu;
  }

  /** Whether strangers are kept from the network's tunnels on this port. */
  protects(port: number, vni: Vni): boolean {
    return this.#protected.some((network) => network.vni === vni && network.ports.includes(port));
  }

  /** Removes what an earlier run left of the uplinks of tenants that are not kept. */
  async removeUplinks(kept: () => ReadonlySet<string>): Promise<void> {
    await this.uplinks.take(async () => {
      this.#uplinkWrites += await removeLeftoverUplinks(this.#options.instance, kept, this);
    });
  }

  #isKnown({ vni, ports, peers, group }: FilteredNetwork, index: number): boolean {
    const known = this.#networks[index];
    return known?.vni === vni && known.peers === peers && known.group === group && isSameList(known.ports, ports);
  }

  /** Lets go of the kernel, which stays as it is. */
  close(): void {
    this.watch.close();
    this.nftables.close();
    this.socket.close();
  }
}
