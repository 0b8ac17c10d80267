import type { Clock } from "../base/clock.ts";
import { isSameList } from "../base/lists.ts";
import { listLinks, type NetlinkSocket } from "../netlink/index.ts";
import type { DesiredNetwork, NetworkSettings } from "./desired.ts";
import type { KernelNamespace } from "./kernel.ts";
import {
  endpointPortName,
  isOwnLink,
  routingFilterName,
  suppressionFilterName,
  tunnelPattern,
} from "./kernel-names.ts";
import { KeptTable } from "./nft/kept-table.ts";
import type { Nftables } from "./nft/nftables.ts";
import { handedUpTable, routingFilterTable } from "./nft/routing-filter.ts";
import { suppressionFilterTable } from "./nft/suppression-filter.ts";
import type { NftTable } from "./nft/table.ts";
import type { Objects } from "./reconcile/objects.ts";
import { ReconciledObjects } from "./reconcile/reconciled-objects.ts";
import type { Report } from "./report.ts";
import { ensureTenantSysctls } from "./tenant-sysctls.ts";

export interface TenantProtectionOptions {
  readonly tenant: string;
  readonly namespace: KernelNamespace;
  readonly socket: NetlinkSocket;
  readonly nftables: Nftables;
  readonly clock: Clock;
  readonly report: Report;
  /** Something was damaged, and marked for repair. */
  readonly onDamage: () => void;
}

const filters = ["handed up", "routing", "suppression"] as const;
type Filter = (typeof filters)[number];
const parts = ["settings", ...filters] as const;
type Part = (typeof parts)[number];

/** What a tenant's namespace has before any network comes up in it, since it routes whatever is sent to it: settings and filters. */
export class TenantProtection implements Objects<Part> {
  readonly #options: TenantProtectionOptions;
  readonly #objects: ReconciledObjects<Part>;
  readonly #filters: Readonly<Record<Filter, KeptTable>>;
  #networks: readonly DesiredNetwork[] = [];
  #settings: readonly NetworkSettings[] | undefined;
  #writes = 0;

  constructor(options: TenantProtectionOptions) {
    this.#options = options;
    this.#objects = new ReconciledObjects(this, options.clock);
    this.#filters = {
      "handed up": this.#keptTable("handed up", "bridge", routingFilterName),
      routing: this.#keptTable("routing", "inet", routingFilterName),
      suppression: this.#keptTable("suppression", "bridge", suppressionFilterName),
    };
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

  /** Somebody may have touched the namespace's settings. */
  damageSettings(): void {
    this.#objects.damage("settings");
    this.#options.onDamage();
  }

  /** Makes it so for these networks. Throws what the kernel refuses. */
  async reconcile(networks: readonly DesiredNetwork[]): Promise<void> {
    const settings = networks.map((network) => network.settings);
    // Ports are in a filter only where frames may have tags.
    const isSame = this.#settings !== undefined && isSameList(settings, this.#settings);
    if (!isSame || settings.some(({ vlanTags }) => vlanTags)) for (const filter of filters) this.#objects.mark(filter);
    this.#networks = networks;
    this.#settings = settings;
    await this.#objects.settle();
  }

  keys(): readonly Part[] {
    return parts;
  }

  rankOf(part: Part): number {
    return parts.indexOf(part);
  }

  isWanted(): boolean {
    return true;
  }

  async ensure(part: Part, isDamaged: boolean): Promise<void> {
    if (part === "settings") await this.#ensureSettings();
    else await this.#filters[part].ensure(this.#tableOf(part), isDamaged);
  }

  /** It goes with the namespace. */
  async remove(): Promise<void> {}

  /** Whoever calls {@link reconcile} hears of it. */
  onAttempt(): void {}

  #tableOf(filter: Filter): NftTable {
    const networks = this.#settings ?? [];
    switch (filter) {
      case "handed up":
        return handedUpTable(networks);
      case "routing":
        return routingFilterTable(networks);
      case "suppression":
        return suppressionFilterOf(this.#networks);
    }
  }

  async #ensureSettings(): Promise<void> {
    const { tenant, namespace, socket, report } = this.#options;
    const links = await socket.dump(listLinks());
    const routing = links.filter((link) => isOwnLink(link) && link.master === undefined).map(({ name }) => name);
    for (const { name, found, wanted } of ensureTenantSysctls(namespace, routing)) {
      this.#writes++;
      const message = `had been changed to ${found}; set to ${wanted} again`;
      report({ level: "warning", kind: "repaired", object: { kind: "sysctl", tenant, key: name }, message });
    }
  }

  #keptTable(filter: Filter, family: NftTable["family"], name: string): KeptTable {
    const { tenant, nftables, report, onDamage } = this.#options;
    return new KeptTable({
      nftables,
      family,
      name,
      object: { kind: "nft table", tenant, key: `${family} ${name}` },
      report,
      onDamage: () => {
        this.#objects.damage(filter);
        onDamage();
      },
    });
  }
}

function suppressionFilterOf(wanted: readonly DesiredNetwork[]): NftTable {
  const tunnelsOf = (isMeant: (network: DesiredNetwork) => boolean): string[] =>
    wanted.filter((network) => network.settings.mode === "l2" && isMeant(network)).flatMap(tunnelPatterns);
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

/** The tunnels of a network as the filter matches them. */
function tunnelPatterns({ settings: { vni, transport, standby } }: DesiredNetwork): string[] {
  return [...(transport === undefined ? [] : [transport]), ...standby].map((each) => tunnelPattern(each, vni));
}
