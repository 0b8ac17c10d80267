import { mkdirSync, watch } from "node:fs";
import type { Clock } from "../base/clock.ts";
import { type Duration, milliseconds, minutes } from "../base/duration.ts";
import { messageOf } from "../base/errors.ts";
import type { IpAddress } from "../base/ip.ts";
import {
  isErrno,
  listNamedNamespaces,
  NetworkNamespace,
  namedNamespaceExists,
  namedNamespacePath,
  netlinkProtocol,
} from "../linux/index.ts";
import { bridgeName, endpointPortName, namespaceName, tenantOfNamespace, tunnelName } from "../model/names.ts";
import {
  deleteLink,
  type EventMessage,
  EventSocket,
  eventGroup,
  getLink,
  type Link,
  listLinks,
  listNexthops,
  NetlinkSocket,
  neighbourFlag,
  RTM_DELLINK,
  RTM_DELNEIGH,
  RTM_DELNEXTHOP,
  RTM_NEWLINK,
  RTM_NEWNEIGH,
  readBridgePort,
  readFdbEntry,
  readLink,
  readLinkHeader,
  readNeighbour,
  readNexthop,
  withoutNewNeighbours,
} from "../netlink/index.ts";
import { DesiredNetwork, type NetworkSettings } from "./desired.ts";
import { deleteNftTable, ensureNftTable } from "./filter/nftables.ts";
import { sourceFilterName, sourceFilterTable } from "./filter/source-filter.ts";
import { suppressionFilterName, suppressionFilterTable } from "./filter/suppression-filter.ts";
import { LinkTable } from "./link-table.ts";
import { NetworkDataplane } from "./network-dataplane.ts";
import type { OffloadLimits } from "./network-devices.ts";
import { isOwnLink } from "./ownership.ts";
import { Problems, type Report } from "./report.ts";
import { ensureNamespaceName, openTenantNamespace, removeTenantNamespace } from "./tenant-namespace.ts";
import { VtepNexthops } from "./vtep-nexthops.ts";

/** linux/netfilter/nfnetlink.h: changes of nftables' rules. */
const NFNLGRP_NFTABLES = 7;
/** After a failure work is tried again this soon, then after twice that, up to the longest pause. */
const firstRetry = milliseconds(100);
const longestRetry = milliseconds(15_000);
/** Everything is compared with the kernel this often, whatever events said. */
const auditInterval = minutes(5);

export interface NodeDataplaneOptions {
  readonly instance: string;
  /** Where the VTEP addresses are. */
  readonly underlay: NetworkNamespace;
  readonly clock: Clock;
  readonly report: Report;
}

/** A tenant's namespace with the networks in it. */
interface TenantPlace {
  readonly name: string;
  readonly namespace: NetworkNamespace;
  readonly socket: NetlinkSocket;
  readonly events: EventSocket;
  readonly filterEvents: EventSocket;
  readonly networks: Map<string, NetworkDataplane>;
  filterChanged: boolean;
  /** Somebody else touched the filter: its repair is worth an event. */
  filterDamaged: boolean;
  /** The last that was told of each device, not judged yet. */
  readonly linkEvents: Map<number, Link | undefined>;
}

/**
 * The kernel of one node, kept equal to the desired networks: observe, plan, apply. Level-triggered: callers change
 * {@link networks} and say {@link NodeDataplane.changed}; the kernel's events mark what was damaged. One pass runs at a
 * time; what comes meanwhile is done by the next.
 */
export class NodeDataplane {
  readonly #options: NodeDataplaneOptions;
  readonly #desired = new Map<string, DesiredNetwork>();
  readonly #tenants = new Map<string, TenantPlace>();
  readonly #underlay: NetlinkSocket;
  readonly #underlayEvents: EventSocket;
  readonly #underlayFilterEvents: EventSocket;
  readonly #namespaceNames: { close(): void };
  readonly #nexthops: VtepNexthops;
  readonly #problems: Problems;
  readonly #report: Report;
  readonly #stopAudit: () => void;
  #closedSocketWrites = 0;
  #filterWrites = 0;
  #repairs = 0;
  #localVteps: readonly IpAddress[] = [];
  #offload: OffloadLimits = {};
  #nexthopsChanged = true;
  #filterChanged = true;
  #filterKey = "";
  /** Leftovers of an earlier run are looked for once, after the first complete pass. */
  #pruned = false;
  #started = false;
  #closed = false;
  #running: Promise<void> | undefined;
  #again = false;
  #retryPause: Duration = firstRetry;
  #cancelRetry: (() => void) | undefined;

  constructor(options: NodeDataplaneOptions) {
    this.#options = options;
    const report: Report = (event) => {
      if (event.kind === "repaired") this.#repairs++;
      options.report(event);
    };
    this.#problems = new Problems(report);
    this.#report = report;
    this.#nexthops = new VtepNexthops(options.instance);
    this.#underlay = new NetlinkSocket({ namespace: options.underlay });
    this.#underlayEvents = new EventSocket({
      namespace: options.underlay,
      groups: [eventGroup.nexthop],
      onEvent: (message) => this.#onUnderlayEvent(message),
      onOverrun: () => this.#onOverrun(),
    });
    this.#underlayFilterEvents = this.#watchFilter(options.underlay, () => {
      this.#filterChanged = true;
    });
    this.#namespaceNames = watchNamespaceNames((name) => {
      if (tenantOfNamespace(options.instance, name) !== undefined) this.#trigger();
    });
    this.#stopAudit = this.#every(auditInterval, () => this.audit());
  }

  /** This node's VTEP addresses and the interface that carries them. */
  async setUnderlay(vteps: readonly IpAddress[], interfaceIndex: number | undefined): Promise<void> {
    this.#localVteps = vteps;
    this.#filterChanged = true;
    if (interfaceIndex !== undefined) {
      const link = await this.#underlay.get(getLink({ index: interfaceIndex }));
      this.#offload = {
        ...(link.gsoMaxSize === undefined ? {} : { gsoMaxSize: link.gsoMaxSize }),
        ...(link.gsoMaxSegments === undefined ? {} : { gsoMaxSegments: link.gsoMaxSegments }),
      };
    }
  }

  get networks(): ReadonlyMap<string, DesiredNetwork> {
    return this.#desired;
  }

  putNetwork(settings: NetworkSettings): DesiredNetwork {
    const present = this.#desired.get(settings.name);
    if (present !== undefined) {
      present.setSettings(settings);
      const tenant = this.#tenants.get(settings.tenant);
      if (tenant !== undefined) tenant.filterChanged = true;
      return present;
    }
    const network = new DesiredNetwork(settings);
    this.#desired.set(settings.name, network);
    return network;
  }

  removeNetwork(name: string): void {
    this.#desired.delete(name);
  }

  /** The desired state is complete: from now on the kernel is made equal to it. */
  start(): Promise<void> {
    this.#started = true;
    return this.changed();
  }

  /** Does what the changes ask for. Resolves when a pass that began after this call has ended. */
  changed(): Promise<void> {
    if (this.#closed || !this.#started) return Promise.resolve();
    if (this.#running === undefined) {
      this.#running = this.#pass().finally(() => {
        this.#running = undefined;
        if (this.#again) {
          this.#again = false;
          void this.changed();
        }
      });
      return this.#running;
    }
    this.#again = true;
    return this.#running.then(() => this.#running ?? Promise.resolve());
  }

  /** Compares everything with the kernel again. */
  audit(): Promise<void> {
    this.#filterChanged = true;
    this.#nexthopsChanged = true;
    for (const tenant of this.#tenants.values()) {
      tenant.filterChanged = true;
      for (const network of tenant.networks.values()) network.distrust();
    }
    return this.changed();
  }

  /** The network's place in the kernel; `undefined` until it has one. */
  network(
    name: string,
  ):
    | { readonly namespace: NetworkNamespace; readonly socket: NetlinkSocket; readonly dataplane: NetworkDataplane }
    | undefined {
    for (const tenant of this.#tenants.values()) {
      const dataplane = tenant.networks.get(name);
      if (dataplane !== undefined) return { namespace: tenant.namespace, socket: tenant.socket, dataplane };
    }
    return undefined;
  }

  get problems(): Problems {
    return this.#problems;
  }

  /** The VTEP of an FDB nexthop group. */
  vtepOfGroup(group: number): IpAddress | undefined {
    for (const [vtep, nexthop] of this.#nexthops.vteps) if (nexthop.group === group) return vtep;
    return undefined;
  }

  /** Whether nothing is left to do. */
  get inSync(): boolean {
    return (
      this.#started &&
      this.#pruned &&
      this.#running === undefined &&
      this.#problems.size === 0 &&
      [...this.#desired.values()].every((network) => !network.hasChanges)
    );
  }

  /** Messages that changed the kernel since the start: netlink requests and nftables transactions. */
  get writes(): number {
    let writes = this.#closedSocketWrites + this.#filterWrites + this.#underlay.writes;
    for (const tenant of this.#tenants.values()) writes += tenant.socket.writes;
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
    this.#underlayEvents.close();
    this.#underlayFilterEvents.close();
    await this.#running;
    for (const tenant of this.#tenants.values()) this.#closeTenant(tenant);
    this.#tenants.clear();
    this.#underlay.close();
  }

  async #pass(): Promise<void> {
    this.#cancelRetry?.();
    const failuresBefore = this.#problems.size;
    await this.#guard("underlay", () => this.#prepareUnderlay());
    for (const name of new Set([...this.#desired.values()].map((network) => network.settings.tenant)))
      await this.#guard(`tenant ${name}`, () => this.#reconcileTenant(name));
    await this.#guard("networks no longer here", () => this.#removeNetworks());
    if (!this.#pruned && this.#problems.size === 0) await this.#guard("leftovers", () => this.#prune());
    await this.#guard("nexthops", () => this.#removeNexthops());
    if (this.#problems.size > 0 || [...this.#desired.values()].some((network) => network.hasChanges)) {
      if (failuresBefore === 0) this.#retryPause = firstRetry;
      this.#cancelRetry = this.#options.clock.after(this.#retryPause, () => this.#trigger());
      this.#retryPause = Math.min(this.#retryPause * 2, longestRetry) as Duration;
    } else this.#retryPause = firstRetry;
  }

  /** What tunnels need before they come up: nexthops for their rows and the filter that keeps strangers out. */
  async #prepareUnderlay(): Promise<void> {
    const vteps = this.#remoteVteps();
    const unknown = [...vteps].some((vtep) => this.#nexthops.groupOf(vtep) === undefined);
    if (this.#nexthopsChanged || unknown) {
      const known = new Set(this.#nexthops.vteps.keys());
      const plan = this.#nexthops.planAddition(vteps, await this.#underlay.dump(listNexthops()));
      const { failures } = await this.#underlay.batch(plan.requests);
      if (failures[0] !== undefined) throw failures[0].error;
      this.#nexthopsChanged = false;
      const renewed = new Set(plan.renewed.filter((vtep) => known.has(vtep)));
      if (renewed.size > 0) {
        for (const tenant of this.#tenants.values())
          for (const network of tenant.networks.values()) network.onNexthopRenewed(renewed);
        for (const vtep of renewed)
          this.#report({
            level: "warning",
            kind: "repaired",
            object: `nexthop of VTEP ${vtep}`,
            message: "had been removed; set again with all FDB entries that use it",
          });
      }
    }
    const ports = [...new Set([...this.#desired.values()].map((network) => network.settings.port))].sort(
      (a, b) => a - b,
    );
    const key = JSON.stringify([ports, this.#localVteps, [...vteps].sort()]);
    if (!this.#filterChanged && key === this.#filterKey) return;
    const isRepair = key === this.#filterKey;
    this.#filterChanged = false;
    if (ports.length > 0) {
      const table = sourceFilterTable({
        instance: this.#options.instance,
        ports,
        localVteps: this.#localVteps,
        remoteVteps: [...vteps],
      });
      const written = await ensureNftTable(this.#options.underlay, table);
      if (written) this.#filterWrites++;
      if (written && isRepair)
        this.#report({
          level: "warning",
          kind: "repaired",
          object: `nft table inet ${table.name}`,
          message: "had been changed or removed; set again",
        });
    } else if (await deleteNftTable(this.#options.underlay, "inet", sourceFilterName(this.#options.instance)))
      this.#filterWrites++;
    this.#filterKey = key;
  }

  async #reconcileTenant(name: string): Promise<void> {
    const tenant = this.#tenants.get(name) ?? (await this.#openTenant(name));
    if (ensureNamespaceName(tenant.namespace, namespaceName(this.#options.instance, name)))
      this.#report({
        level: "warning",
        kind: "repaired",
        object: `network namespace ${tenant.namespace.label}`,
        message: "its name had been deleted; named again",
      });
    const wanted = [...this.#desired.values()].filter((network) => network.settings.tenant === name);
    for (const desired of wanted) {
      if (tenant.networks.get(desired.settings.name)?.desired === desired) continue;
      tenant.networks.set(desired.settings.name, this.#makeNetwork(desired, tenant));
      tenant.filterChanged = true;
    }
    if (tenant.filterChanged) {
      const isRepair = tenant.filterDamaged;
      tenant.filterChanged = false;
      tenant.filterDamaged = false;
      const tunnels = wanted
        .filter((network) => network.settings.arpSuppression)
        .map((network) => tunnelName(network.settings.vni));
      if (await ensureNftTable(tenant.namespace, suppressionFilterTable(tunnels))) {
        this.#filterWrites++;
        if (isRepair)
          this.#report({
            level: "warning",
            kind: "repaired",
            object: `nft table bridge ${suppressionFilterName} of tenant ${name}`,
            message: "had been changed or removed; set again",
          });
      }
    }
    const links = new LinkTable(tenant.socket);
    for (const network of tenant.networks.values()) if (network.hasWork) await network.reconcile(links);
  }

  async #openTenant(name: string): Promise<TenantPlace> {
    const { instance } = this.#options;
    const { namespace, socket } = await openTenantNamespace(
      namespaceName(instance, name),
      instance,
      (inside) => new NetlinkSocket({ namespace: inside }),
    );
    const tenant: TenantPlace = {
      name,
      namespace,
      socket,
      networks: new Map(),
      filterChanged: true,
      filterDamaged: false,
      linkEvents: new Map(),
      events: new EventSocket({
        namespace,
        groups: [eventGroup.link, eventGroup.neighbour],
        // A hundred thousand rows of our own are not news.
        filter: withoutNewNeighbours(neighbourFlag.externallyLearned),
        onEvent: (message) => this.#onTenantEvent(tenant, message),
        onOverrun: () => this.#onOverrun(),
      }),
      filterEvents: this.#watchFilter(namespace, () => {
        tenant.filterChanged = true;
        tenant.filterDamaged = true;
      }),
    };
    this.#tenants.set(name, tenant);
    return tenant;
  }

  #makeNetwork(desired: DesiredNetwork, tenant: TenantPlace): NetworkDataplane {
    const dataplane = this;
    return new NetworkDataplane(desired, {
      instance: this.#options.instance,
      namespace: tenant.namespace,
      socket: tenant.socket,
      underlay: this.#underlay,
      get offload() {
        return dataplane.#offload;
      },
      openSocket: (namespace) => this.#countedSocket(namespace),
      groupOf: (vtep) => this.#nexthops.groupOf(vtep),
      problems: this.#problems,
      report: this.#report,
    });
  }

  /** A socket that is used for a moment; its writes count on when it is closed. */
  #countedSocket(namespace: NetworkNamespace): NetlinkSocket {
    const socket = new NetlinkSocket({ namespace });
    const close = socket.close.bind(socket);
    let counted = false;
    socket.close = () => {
      if (!counted) this.#closedSocketWrites += socket.writes;
      counted = true;
      close();
    };
    return socket;
  }

  async #removeNetworks(): Promise<void> {
    for (const tenant of [...this.#tenants.values()]) {
      for (const [name, network] of tenant.networks) {
        if (this.#desired.get(name) === network.desired) continue;
        await network.remove();
        tenant.networks.delete(name);
        tenant.filterChanged = true;
      }
      if (tenant.networks.size > 0) continue;
      await this.#removeTenant(tenant);
    }
  }

  async #removeTenant(tenant: TenantPlace): Promise<void> {
    const name = namespaceName(this.#options.instance, tenant.name);
    const foreign = await removeTenantNamespace(tenant.namespace, name, tenant.socket);
    if (foreign.length > 0)
      this.#report({
        level: "warning",
        kind: "failed",
        object: `network namespace ${name}`,
        message: `kept: weft did not make ${foreign.map((link) => link.name).join(", ")} in it`,
      });
    this.#tenants.delete(tenant.name);
    this.#closeTenant(tenant);
  }

  #closeTenant(tenant: TenantPlace): void {
    this.#closedSocketWrites += tenant.socket.writes;
    tenant.events.close();
    tenant.filterEvents.close();
    tenant.socket.close();
    tenant.namespace.close();
  }

  /** Removes what an earlier run of this instance left and nobody wants any more. */
  async #prune(): Promise<void> {
    const { instance } = this.#options;
    for (const tenant of this.#tenants.values()) {
      const kept = new Set<string>();
      for (const { desired } of tenant.networks.values()) {
        kept.add(bridgeName(desired.settings.vni)).add(tunnelName(desired.settings.vni));
        for (const id of desired.locals.keys()) kept.add(endpointPortName(id));
      }
      for (const link of await tenant.socket.dump(listLinks()))
        if (isOwnLink(link) && !kept.has(link.name))
          await tenant.socket.execute(deleteLink({ index: link.index })).catch((error: unknown) => {
            if (!isErrno(error, "ENODEV")) throw error;
          });
    }
    for (const name of await listNamedNamespaces()) {
      const tenantName = tenantOfNamespace(instance, name);
      if (tenantName === undefined || this.#tenants.has(tenantName) || !(await this.#isOwnNamespace(name))) continue;
      const tenant = await this.#openTenant(tenantName);
      for (const link of await tenant.socket.dump(listLinks()))
        if (isOwnLink(link))
          await tenant.socket.execute(deleteLink({ index: link.index })).catch((error: unknown) => {
            if (!isErrno(error, "ENODEV")) throw error;
          });
      await this.#removeTenant(tenant);
    }
    this.#pruned = true;
  }

  async #isOwnNamespace(name: string): Promise<boolean> {
    if (!namedNamespaceExists(name)) return false;
    using namespace = NetworkNamespace.openNamed(name);
    using socket = new NetlinkSocket({ namespace });
    const loopback = await socket.get(getLink({ name: "lo" }));
    return loopback.alias === `weft:${this.#options.instance}`;
  }

  async #removeNexthops(): Promise<void> {
    const wanted = this.#remoteVteps();
    if (!this.#pruned || [...this.#nexthops.vteps.keys()].every((vtep) => wanted.has(vtep))) return;
    const requests = this.#nexthops.planRemoval(wanted, await this.#underlay.dump(listNexthops()));
    const { failures } = await this.#underlay.batch(requests);
    const failure = failures.find(({ error }) => !isErrno(error, "ENOENT"));
    if (failure !== undefined) throw failure.error;
  }

  #remoteVteps(): ReadonlySet<IpAddress> {
    const vteps = new Set<IpAddress>();
    for (const network of this.#desired.values()) for (const vtep of network.remoteVteps) vteps.add(vtep);
    return vteps;
  }

  #onTenantEvent(tenant: TenantPlace, { type, bytes, view, start, end }: EventMessage): void {
    if (type === RTM_DELNEIGH || type === RTM_NEWNEIGH) {
      const entry = readFdbEntry(bytes, view, start, end) ?? readNeighbour(bytes, view, start, end);
      if (entry === undefined) return;
      for (const network of tenant.networks.values()) {
        if (!network.ownsIndex(entry.index)) continue;
        if (type === RTM_DELNEIGH) network.onRowDeleted(entry);
        else network.onRowWritten(entry);
        if (network.desired.hasChanges) this.#trigger();
      }
    } else if (type === RTM_NEWLINK || type === RTM_DELLINK) {
      const { index, isBridgePort } = readLinkHeader(view, start, end);
      const network = [...tenant.networks.values()].find((candidate) => candidate.ownsIndex(index));
      if (network === undefined) return;
      if (isBridgePort) {
        // A port that leaves its bridge tells so as a device, too.
        const port = type === RTM_DELLINK ? undefined : readBridgePort(bytes, view, start, end);
        if (port !== undefined) network.judgePort(index, port.settings);
        if (network.desired.hasChanges) this.#trigger();
        return;
      }
      if (tenant.linkEvents.size === 0) setImmediate(() => this.#judgeLinks(tenant));
      tenant.linkEvents.set(index, type === RTM_DELLINK ? undefined : readLink(bytes, view, start, end));
    }
  }

  /** A change in several steps tells of each; only where it arrived counts. */
  #judgeLinks(tenant: TenantPlace): void {
    const events = [...tenant.linkEvents];
    tenant.linkEvents.clear();
    for (const [index, link] of events)
      for (const network of tenant.networks.values()) if (network.ownsIndex(index)) network.judgeLink(index, link);
    if ([...tenant.networks.values()].some((network) => network.desired.hasChanges)) this.#trigger();
  }

  #onUnderlayEvent({ type, bytes, view, start, end }: EventMessage): void {
    if (type !== RTM_DELNEXTHOP) return;
    const nexthop = readNexthop(bytes, view, start, end);
    if (nexthop === undefined || !this.#nexthops.ownsId(nexthop.id)) return;
    this.#nexthopsChanged = true;
    this.#trigger();
  }

  /** Events were lost: one look at everything, however many were lost. */
  #onOverrun(): void {
    this.#report({
      level: "warning",
      kind: "resynchronised",
      object: "kernel events",
      message: "some were lost; comparing everything",
    });
    void this.audit();
  }

  #watchFilter(namespace: NetworkNamespace, onChange: () => void): EventSocket {
    const changed = (): void => {
      onChange();
      this.#trigger();
    };
    return new EventSocket({
      namespace,
      protocol: netlinkProtocol.netfilter,
      groups: [NFNLGRP_NFTABLES],
      onEvent: changed,
      onOverrun: changed,
    });
  }

  #trigger(): void {
    this.changed().catch((error: unknown) =>
      this.#report({ level: "error", kind: "failed", object: "dataplane", message: messageOf(error) }),
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

  async #guard(object: string, action: () => Promise<void>): Promise<void> {
    try {
      await action();
      this.#problems.cleared(object);
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      this.#problems.failed(object, error);
    }
  }
}

/** Calls back when a name appears in, or vanishes from, the directory of named namespaces. */
function watchNamespaceNames(onChange: (name: string) => void): { close(): void } {
  const directory = namedNamespacePath("");
  mkdirSync(directory, { recursive: true, mode: 0o755 });
  return watch(directory, { persistent: false }, (_event, name) => {
    if (name !== null) onChange(name);
  });
}
