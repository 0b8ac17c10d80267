import { cidrFamily, prefixLengthOf } from "../../base/cidr.ts";
import type { Clock } from "../../base/clock.ts";
import type { IpFamily } from "../../base/ip.ts";
import {
  type Link,
  listLinks,
  listRoutes,
  netconfIndex,
  type Route,
  routeType,
  type Watch,
} from "../../netlink/index.ts";
import { forwardingTable, isOwnLink } from "../kernel-names.ts";
import type { Objects } from "../reconcile/objects.ts";
import { ReconciledObjects } from "../reconcile/reconciled-objects.ts";
import type { Report } from "../report.ts";
import { Turns } from "../rounds.ts";
import { ensureForwarding, type ForwardingDevices } from "./host-forwarding.ts";
import { widestDefault } from "./host-routes.ts";
import type { Side } from "./pair.ts";
import { families } from "./request.ts";
import { mainTable, tablesInUse } from "./routing-tables.ts";

export interface ForwardedDevicesOptions {
  readonly underlay: Side;
  /** Of the underlay's namespace. */
  readonly watch: Watch;
  readonly clock: Clock;
  readonly report: Report;
  /** Something was damaged, and marked for repair. */
  readonly onDamage: () => void;
}

/** What one uplink needs of the host's devices. */
export interface DeviceNeed {
  /** Of what the host forwards for the tenant. */
  readonly families: readonly IpFamily[];
  /** Indexes of the devices by which the tenant's routes lead to other nodes, or on whose links it has floating addresses. */
  readonly direct: readonly number[];
}

/** The one object that this is. */
const forwarding = "forwarding";

const none: ForwardingDevices = { 4: [], 6: [] };

/**
 * The host's own devices that packets of tenants pass, for all uplinks together: what they forward, and what happens to
 * them. So a change on the host is one piece of work, however many tenants there are.
 */
export class ForwardedDevices implements Objects<typeof forwarding> {
  readonly #underlay: Side;
  readonly #watch: Watch;
  readonly #report: Report;
  readonly #onDamage: () => void;
  readonly #needs = new Map<string, DeviceNeed>();
  /** Of all needs together. */
  #families: ReadonlySet<IpFamily> = new Set();
  readonly #stops: readonly (() => void)[];
  /** Ends the listening to single devices. */
  #stopDevices: readonly (() => void)[] = [];
  #watched: ReadonlySet<number> = new Set();
  /** Devices whose forwarding is for tenants alone. */
  #guarded = none;
  readonly #objects: ReconciledObjects<typeof forwarding>;
  #deviceEvents = 0;
  #writes = 0;
  readonly #turns = new Turns();

  constructor({ underlay, watch, clock, report, onDamage }: ForwardedDevicesOptions) {
    this.#objects = new ReconciledObjects(this, clock);
    this.#underlay = underlay;
    this.#watch = watch;
    this.#report = report;
    this.#onDamage = onDamage;
    const damage = (): void => this.#damage();
    this.#stops = [
      watch.subscribe("rule", ({ isGone }) => {
        if (!isGone) damage();
      }),
      watch.subscribe("route", ({ route, isGone }) => {
        if (!isGone && this.#leadsElsewhere(route)) damage();
      }),
      underlay.nftables.onChange(forwardingTable, damage),
      watch.subscribe("overrun", damage),
    ];
  }

  /** Whether something waits to be compared with the kernel. */
  get hasWork(): boolean {
    return this.#needs.size > 0 && !this.#objects.isSettled;
  }

  /**
   * Counts what was told of the devices: routes go with one that goes down, and come back only if somebody brings them back;
   * so do answers for floating addresses, which also need settings of it.
   */
  get deviceEvents(): number {
    return this.#deviceEvents;
  }

  /** Changes of the kernel by other means than the socket that was given. */
  get writes(): number {
    return this.#writes;
  }

  /** All of it will be compared with the kernel at the next opportunity. */
  distrust(): void {
    if (this.#needs.size > 0) this.#objects.damage(forwarding);
  }

  /** Sees to what the tenant needs, and to what was damaged of others'. */
  provide(tenant: string, need: DeviceNeed): Promise<void> {
    if (JSON.stringify(this.#needs.get(tenant)) !== JSON.stringify(need)) {
      this.#needs.set(tenant, need);
      this.#families = new Set([...this.#needs.values()].flatMap((each) => each.families));
      this.#objects.mark(forwarding);
    }
    // The uplink that asks knows when it is time to try again.
    if (this.hasWork) this.#objects.mark(forwarding);
    return this.#turns.take(() => this.#objects.settle());
  }

  /** The tenant's uplink goes. What is on for the last one, it switches off itself. */
  forget(tenant: string): void {
    this.#needs.delete(tenant);
    if (this.#needs.size > 0) return;
    this.#guarded = none;
    this.#follow(new Set());
  }

  keys(): readonly (typeof forwarding)[] {
    return this.#needs.size > 0 ? [forwarding] : [];
  }

  isWanted(): boolean {
    return this.#needs.size > 0;
  }

  close(): void {
    for (const stop of [...this.#stops, ...this.#stopDevices]) stop();
  }

  async ensure(): Promise<void> {
    const { socket } = this.#underlay;
    const links = await socket.dump(listLinks());
    const used = { 4: await tablesInUse(socket, 4), 6: await tablesInUse(socket, 6) };
    const leading = (await socket.dump(listRoutes())).filter(({ destination, table }) =>
      used[cidrFamily(destination)].has(table ?? mainTable),
    );
    const { indexes, names } = forwardingDevices(this.#families, links, leading);
    this.#follow(new Set([...indexes, ...[...this.#needs.values()].flatMap(({ direct }) => direct)]));
    if (names[4].length + names[6].length === 0) return;
    const { guarded, writes } = await ensureForwarding(this.#underlay, names, this.#guarded, this.#report);
    this.#guarded = guarded;
    this.#writes += writes;
  }

  /** The last uplink that went has seen to it. */
  async remove(): Promise<void> {}

  /** Whoever calls {@link provide} hears of it. */
  onAttempt(): void {}

  #follow(indexes: ReadonlySet<number>): void {
    for (const stop of this.#stopDevices) stop();
    this.#watched = indexes;
    const damage = (): void => {
      this.#deviceEvents++;
      this.#damage();
    };
    const switches = indexes.size > 0 ? [...indexes, netconfIndex.all] : [];
    this.#stopDevices = [
      ...switches.map((index) => this.#watch.subscribe("netconf", damage, index)),
      ...[...indexes].map((index) => this.#watch.subscribe("link", damage, index)),
    ];
  }

  #leadsElsewhere({ destination, nexthops }: Route): boolean {
    return (
      prefixLengthOf(destination) <= widestDefault &&
      this.#families.has(cidrFamily(destination)) &&
      nexthops.some(({ index }) => index !== undefined && !this.#watched.has(index))
    );
  }

  #damage(): void {
    if (this.#needs.size === 0) return;
    this.#objects.damage(forwarding);
    this.#onDamage();
  }
}

/**
 * Where packets that the host forwards for tenants come in beside the uplinks: every device that the host routes through, by
 * which the outside answers. `routes`: of the tables that are in use.
 */
function forwardingDevices(
  wanted: ReadonlySet<IpFamily>,
  links: readonly Link[],
  routes: readonly Route[],
): { readonly indexes: ReadonlySet<number>; readonly names: ForwardingDevices } {
  const byIndex = new Map(links.map((link) => [link.index, link]));
  const indexes = new Set<number>();
  const names: Record<IpFamily, string[]> = { 4: [], 6: [] };
  for (const family of families) {
    if (!wanted.has(family)) continue;
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
    names[family] = [...found].sort();
  }
  return { indexes, names };
}
