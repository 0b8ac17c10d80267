import type { Clock } from "../base/clock.ts";
import { isSameList } from "../base/lists.ts";
import { type Link, listLinks, type NetlinkSocket } from "../netlink/index.ts";
import type { DesiredNetwork, NetworkSettings } from "./desired.ts";
import type { KernelNamespace } from "./kernel.ts";
import { endpointPortName, isOwnLink, routingFilterName, suppressionFilterName } from "./kernel-names.ts";
import { KeptTable } from "./nft/kept-table.ts";
import type { Nftables } from "./nft/nftables.ts";
import { handedUpTable, routingFilterTable, tunnelPatterns } from "./nft/routing-filter.ts";
import { suppressionFilterTable } from "./nft/suppression-filter.ts";
import type { NftTable } from "./nft/table.ts";
import type { Objects } from "./reconcile/objects.ts";
import { ReconciledObjects } from "./reconcile/reconciled-objects.ts";
import type { Report } from "./report.ts";
import type { SysctlChange } from "./sysctls.ts";
import { ensureTenantSysctls } from "./tenant-sysctls.ts";

/** What protects the networks of a tenant where they are. */
export interface ProtectionPlan {
  readonly filters: readonly ProtectionFilter[];
  /** Filters name the ports of endpoints in any case; else only where frames may have tags. */
  readonly knowsPorts: boolean;
  /** Makes settings so that are not so; `devices`: those that packets of endpoints are routed by. */
  ensureSettings(devices: readonly string[]): readonly SysctlChange[];
}

export interface ProtectionFilter extends Pick<NftTable, "family" | "name"> {
  table(networks: readonly DesiredNetwork[], tunnelPorts: readonly number[]): NftTable;
}

export interface TenantProtectionOptions {
  readonly tenant: string;
  readonly plan: ProtectionPlan;
  readonly socket: NetlinkSocket;
  readonly nftables: Nftables;
  readonly clock: Clock;
  readonly report: Report;
  /** Something was damaged, and marked for repair. */
  readonly onDamage: () => void;
}

const settingsPart = "settings";
/** The settings, and each filter by its family and name. */
type Part = string;

/** What is there before any network of a tenant comes up, since whatever is sent there is routed: settings and filters. */
export class TenantProtection implements Objects<Part> {
  readonly #options: TenantProtectionOptions;
  readonly #objects: ReconciledObjects<Part>;
  readonly #filters: ReadonlyMap<Part, { readonly filter: ProtectionFilter; readonly kept: KeptTable }>;
  readonly #parts: readonly Part[];
  #networks: readonly DesiredNetwork[] = [];
  #settings: readonly NetworkSettings[] | undefined;
  #tunnelPorts: readonly number[] = [];
  #writes = 0;

  constructor(options: TenantProtectionOptions) {
    this.#options = options;
    this.#objects = new ReconciledObjects(this, options.clock);
    this.#filters = new Map(
      options.plan.filters.map((filter) => {
        const part = `${filter.family} ${filter.name}`;
        return [part, { filter, kept: this.#keptTable(part, filter) }];
      }),
    );
    this.#parts = [settingsPart, ...this.#filters.keys()];
  }

  /** Settings that were written. */
  get writes(): number {
    return this.#writes;
  }

  get isSettled(): boolean {
    return this.#objects.isSettled;
  }

  /** Everything will be compared with the kernel at the next opportunity. */
  distrust(): void {
    this.#objects.distrust();
  }

  /** Somebody may have touched the settings. */
  damageSettings(): void {
    this.#objects.damage(settingsPart);
    this.#options.onDamage();
  }

  /** Makes it so for these networks. `tunnelPorts`: UDP ports of all tunnels of this node. Throws what the kernel refuses. */
  async reconcile(networks: readonly DesiredNetwork[], tunnelPorts: readonly number[]): Promise<void> {
    const settings = networks.map((network) => network.settings);
    const isSame =
      this.#settings !== undefined &&
      isSameList(settings, this.#settings) &&
      isSameList(tunnelPorts, this.#tunnelPorts);
    const hasPorts = this.#options.plan.knowsPorts || settings.some(({ vlanTags }) => vlanTags);
    if (!isSame || hasPorts) for (const part of this.#filters.keys()) this.#objects.mark(part);
    this.#networks = networks;
    this.#settings = settings;
    this.#tunnelPorts = tunnelPorts;
    await this.#objects.settle();
  }

  keys(): readonly Part[] {
    return this.#parts;
  }

  rankOf(part: Part): number {
    return this.#parts.indexOf(part);
  }

  isWanted(): boolean {
    return true;
  }

  async ensure(part: Part, isDamaged: boolean): Promise<void> {
    const { filter, kept } = this.#filters.get(part) ?? {};
    if (filter === undefined) await this.#ensureSettings();
    else await kept?.ensure(filter.table(this.#networks, this.#tunnelPorts), isDamaged);
  }

  /** It goes with the tenant: {@link takeOff}. */
  async remove(): Promise<void> {}

  /** Whoever calls {@link reconcile} hears of it. */
  onAttempt(): void {}

  /** Takes the filters off, the last first. */
  async takeOff(): Promise<void> {
    for (const { filter, kept } of [...this.#filters.values()].reverse()) {
      await this.#options.nftables.remove(filter.family, filter.name);
      kept.forget();
    }
  }

  close(): void {
    for (const { kept } of this.#filters.values()) kept.close();
  }

  async #ensureSettings(): Promise<void> {
    const { tenant, plan, socket, report } = this.#options;
    const links = await socket.dump(listLinks());
    for (const { name, found, wanted } of plan.ensureSettings(links.filter(isRouting).map((link) => link.name))) {
      this.#writes++;
      const message = `had been changed to ${found}; set to ${wanted} again`;
      report({ level: "warning", kind: "repaired", object: { kind: "sysctl", tenant, key: name }, message });
    }
  }

  #keptTable(part: Part, { family, name }: ProtectionFilter): KeptTable {
    const { tenant, nftables, report, onDamage } = this.#options;
    return new KeptTable({
      nftables,
      family,
      name,
      object: { kind: "nft table", tenant, key: `${family} ${name}` },
      report,
      onDamage: () => {
        this.#objects.damage(part);
        onDamage();
      },
    });
  }
}

function isRouting(link: Link): boolean {
  return isOwnLink(link) && link.master === undefined;
}

/** Of a tenant that has a namespace of its own. */
export function protectionOfNamespace(namespace: KernelNamespace): ProtectionPlan {
  const settingsOf = (networks: readonly DesiredNetwork[]) => networks.map(({ settings }) => settings);
  return {
    filters: [
      { family: "bridge", name: routingFilterName, table: (networks) => handedUpTable(settingsOf(networks)) },
      { family: "inet", name: routingFilterName, table: (networks) => routingFilterTable(settingsOf(networks)) },
      { family: "bridge", name: suppressionFilterName, table: suppressionFilterOf },
    ],
    knowsPorts: false,
    ensureSettings: (devices) => ensureTenantSysctls(namespace, devices),
  };
}

function suppressionFilterOf(wanted: readonly DesiredNetwork[]): NftTable {
  const tunnelsOf = (isMeant: (network: DesiredNetwork) => boolean): string[] =>
    wanted
      .filter((network) => network.settings.mode === "l2" && isMeant(network))
      .flatMap(({ settings }) => tunnelPatterns(settings));
  return suppressionFilterTable({
    suppressed: tunnelsOf(({ settings }) => settings.arpSuppression && !settings.localLearning),
    own: tunnelsOf(({ settings }) => settings.gateways.length > 0),
    tagged: [
      ...tunnelsOf(({ settings }) => settings.vlanTags),
      ...wanted
        .filter(({ settings }) => settings.vlanTags)
        .flatMap(({ locals }) => Array.from(locals.keys(), endpointPortName)),
    ],
  });
}
