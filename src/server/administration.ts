import { WeftError } from "../base/errors.ts";
import {
  checkNetworkChange,
  checkNetworkDeletion,
  checkNewNetwork,
  checkNewTenant,
  checkTenantDeletion,
  chooseVni,
} from "../model/conflicts.ts";
import { effectiveMtu } from "../model/mtu.ts";
import { checkVtepsOutside } from "../model/node-registration.ts";
import { beginChange } from "../model/phase.ts";
import type { Network, Node, Tenant, Vni } from "../model/resources.ts";
import type { NetworkDraft } from "../model/schema.ts";
import type { Condition, Operation, Transaction } from "../store/store.ts";
import { type Endpoints, releasedKeys } from "./endpoints.ts";
import type { Ledger } from "./ledger.ts";
import type { NodeSettingsChange, Nodes } from "./nodes.ts";
import { changeCodec, keys, networkCodec, put, putOwner, remove, tenantCodec } from "./records.ts";
import { requireNone } from "./refusal.ts";
import type { NetworkEntry } from "./state.ts";

/** What an administrator declares. */
export type Declaration =
  | { readonly kind: "tenant"; readonly tenant: Tenant }
  | { readonly kind: "network"; readonly network: NetworkDraft };

export type ResourceKind = "tenant" | "network" | "node" | "endpoint";

/** What became, or would become, of one declared resource. */
export type Outcome = (
  | { readonly kind: "tenant"; readonly tenant: Tenant }
  | { readonly kind: "network"; readonly network: Network }
) & {
  readonly outcome: "created" | "changed" | "unchanged";
  /** `mtu: 1450 -> 8950`. */
  readonly differences: readonly string[];
};

/** The administrator's changes of tenants and networks, one after the other. */
export class Administration {
  readonly #ledger: Ledger;
  readonly #endpoints: Endpoints;
  readonly #nodes: Nodes;
  #last: Promise<unknown> = Promise.resolve();

  constructor(ledger: Ledger, endpoints: Endpoints, nodes: Nodes) {
    this.#ledger = ledger;
    this.#endpoints = endpoints;
    this.#nodes = nodes;
  }

  /** Creates all or none; each must be new. */
  create(declarations: readonly Declaration[]) {
    return this.#declare(declarations, "create", false);
  }

  /** Makes all so, or none: creates what is missing, changes what differs. `dryRun`: only says what would be done. */
  apply(declarations: readonly Declaration[], dryRun: boolean) {
    return this.#declare(declarations, "apply", dryRun);
  }

  /** Deletes the resources, endpoints first and tenants last, one after the other: an error ends it half-way. */
  delete(references: readonly { readonly kind: ResourceKind; readonly name: string }[]): Promise<number> {
    return this.#exclusively(async () => {
      let { revision } = this.#ledger.state;
      for (const kind of ["endpoint", "node", "network", "tenant"] as const)
        for (const { name } of references.filter((reference) => reference.kind === kind))
          revision = await this.#deleteOne(kind, name);
      return revision;
    });
  }

  /** What the administrator says of a node, which may be yet to join. */
  setNode(name: string, change: NodeSettingsChange) {
    return this.#exclusively(() => this.#nodes.set(name, change));
  }

  #deleteOne(kind: ResourceKind, name: string): Promise<number> {
    switch (kind) {
      case "endpoint":
        if (!this.#ledger.state.endpoints.has(name)) throw missing("endpoint", name);
        return this.#endpoints.releaseAny([name], `delete endpoint ${name}`);
      case "node":
        return this.#nodes.delete(name);
      case "network":
        return this.#deleteNetwork(name);
      case "tenant":
        return this.#deleteTenant(name);
    }
  }

  async #deleteNetwork(name: string): Promise<number> {
    const entry = this.#ledger.state.networks.get(name);
    if (entry === undefined) throw missing("network", name);
    entry.closing = true;
    try {
      return await this.#ledger.commit(`delete network ${name}`, () => {
        requireNone(checkNetworkDeletion(name, entry.endpoints()));
        requireNonePending(entry, `delete network ${name}`);
        const key = keys.network(name);
        return {
          conditions: [{ key, revision: entry.revision }],
          operations: [remove(key), remove(keys.vni(entry.network.vni)), ...forget(entry)],
        };
      });
    } finally {
      entry.closing = false;
    }
  }

  #deleteTenant(name: string): Promise<number> {
    return this.#ledger.commit(`delete tenant ${name}`, () => {
      const known = this.#ledger.state.tenants.get(name);
      if (known === undefined) throw missing("tenant", name);
      requireNone(checkTenantDeletion(name, networksOf(this.#ledger)));
      const key = keys.tenant(name);
      return { conditions: [{ key, revision: known.revision }], operations: [remove(key)] };
    });
  }

  #declare(
    declarations: readonly Declaration[],
    verb: "create" | "apply",
    dryRun: boolean,
  ): Promise<{ readonly outcomes: readonly Outcome[]; readonly revision: number }> {
    return this.#exclusively(async () => {
      let outcomes: readonly Outcome[] = [];
      const revision = await this.#ledger.commit(`${verb} ${declarations.length} resources`, () => {
        const plan = new Plan(this.#ledger, verb === "apply");
        outcomes = plan.add(declarations);
        return dryRun ? { conditions: [], operations: [] } : plan.transaction();
      });
      return { outcomes, revision };
    });
  }

  /** One change at a time: each plan rests on the outcome of the one before. */
  #exclusively<Value>(action: () => Promise<Value>): Promise<Value> {
    const result = this.#last.then(action);
    this.#last = result.catch(() => {});
    return result;
  }
}

/** One transaction that makes declared tenants and networks so. */
class Plan {
  readonly #ledger: Ledger;
  readonly #mayExist: boolean;
  readonly #tenants: Map<string, Tenant>;
  readonly #networks: Map<string, Network>;
  readonly #vnis: Set<Vni>;
  readonly #conditions = new Map<string, Condition>();
  readonly #operations = new Map<string, Operation>();

  constructor(ledger: Ledger, mayExist: boolean) {
    this.#ledger = ledger;
    this.#mayExist = mayExist;
    this.#tenants = new Map(Array.from(ledger.state.tenants, ([name, { value }]) => [name, value]));
    this.#networks = new Map(Array.from(ledger.state.networks, ([name, { network }]) => [name, network]));
    this.#vnis = new Set(ledger.state.vnis.keys());
  }

  transaction(): Transaction {
    return { conditions: [...this.#conditions.values()], operations: [...this.#operations.values()] };
  }

  /** The outcomes in the order of the declarations. Tenants go first, so that they may be declared after their networks. */
  add(declarations: readonly Declaration[]): Outcome[] {
    const outcomes = new Map<Declaration, Outcome>();
    for (const declaration of declarations)
      if (declaration.kind === "tenant") outcomes.set(declaration, this.#addTenant(declaration.tenant));
      else if (declaration.network.vni !== undefined) this.#vnis.add(declaration.network.vni);
    for (const declaration of declarations)
      if (declaration.kind === "network") outcomes.set(declaration, this.#addNetwork(declaration.network));
    return declarations.flatMap((declaration) => outcomes.get(declaration) ?? []);
  }

  #addTenant(tenant: Tenant): Outcome {
    const known = this.#tenants.get(tenant.name);
    if (known !== undefined && this.#mayExist) {
      const differences = differencesOf(known, tenant);
      if (differences.length === 0) return { kind: "tenant", tenant: known, outcome: "unchanged", differences };
      this.#tenants.set(tenant.name, tenant);
      const key = keys.tenant(tenant.name);
      this.#put(key, this.#ledger.state.tenants.get(tenant.name)?.revision ?? 0, put(key, tenantCodec, tenant));
      return { kind: "tenant", tenant, outcome: "changed", differences };
    }
    requireNone(checkNewTenant(tenant, this.#tenants.values()));
    this.#tenants.set(tenant.name, tenant);
    this.#put(keys.tenant(tenant.name), 0, put(keys.tenant(tenant.name), tenantCodec, tenant));
    return { kind: "tenant", tenant, outcome: "created", differences: [] };
  }

  #addNetwork(draft: NetworkDraft): Outcome {
    const before = this.#networks.get(draft.name);
    if (before !== undefined && this.#mayExist) return this.#changeNetwork(before, draft);
    requireNone([
      ...checkNewNetwork(draft, this.#tenants.values(), this.#networks.values()),
      ...checkVtepsOutside(draft, undefined, this.#nodes()),
    ]);
    const network: Network = { ...draft, vni: draft.vni ?? this.#chooseVni() };
    this.#requireCarried(network);
    this.#vnis.add(network.vni);
    this.#networks.set(network.name, network);
    this.#put(keys.network(network.name), 0, put(keys.network(network.name), networkCodec, network));
    this.#put(keys.vni(network.vni), 0, putOwner(keys.vni(network.vni), network.name));
    this.#touchTenant(network.tenant);
    return { kind: "network", network, outcome: "created", differences: [] };
  }

  #changeNetwork(before: Network, draft: NetworkDraft): Outcome {
    const entry = this.#ledger.state.networks.get(before.name);
    const network: Network = { ...draft, vni: draft.vni ?? before.vni };
    const differences = differencesOf(before, network);
    if (differences.length === 0) return { kind: "network", network: before, outcome: "unchanged", differences };
    const isReplanned = before.subnets.join() !== network.subnets.join() || before.blockSize !== network.blockSize;
    if (entry !== undefined && isReplanned) requireNonePending(entry, `change network ${before.name}`);
    requireNone([
      ...checkNetworkChange(
        before,
        draft,
        this.#networks.values(),
        entry?.endpoints() ?? [],
        entry?.ownedBlocks() ?? [],
      ),
      ...checkVtepsOutside(draft, before, this.#nodes()),
    ]);
    this.#requireCarried(network);
    this.#networks.set(network.name, network);
    if (entry !== undefined) this.#changeWay(entry, network);
    this.#put(keys.network(network.name), entry?.revision ?? 0, put(keys.network(network.name), networkCodec, network));
    if (entry !== undefined && isReplanned) {
      this.#touchTenant(network.tenant);
      for (const operation of forget(entry)) this.#operations.set(operation.key, operation);
    }
    return { kind: "network", network, outcome: "changed", differences };
  }

  /** Without hosts nobody sends on the old way, and nothing has to be waited for. */
  #changeWay(entry: NetworkEntry, after: Network): void {
    const { network, change, changeRevision, effectiveMtu: mtu, hosts } = entry;
    if (hosts.size === 0 && change === undefined) return;
    const next = beginChange(network, change, after, { mtu, now: this.#ledger.clock.now() });
    if (next === undefined || next === change) return;
    const key = keys.change(network.name);
    this.#put(key, changeRevision, put(key, changeCodec, next));
  }

  *#nodes(): Iterable<Node> {
    for (const { value } of this.#ledger.state.nodes.values()) yield value;
  }

  #chooseVni(): Vni {
    const vni = chooseVni(this.#vnis);
    if (!vni.ok) throw vni.error;
    return vni.value;
  }

  /** With no node yet, nobody knows what the underlay carries. */
  #requireCarried(network: Network): void {
    const nodes = [...this.#ledger.state.nodesOf(network)];
    const mtu = nodes.length === 0 ? undefined : effectiveMtu(network, nodes);
    if (mtu !== undefined && !mtu.ok) throw mtu.error;
  }

  /** Writing the tenant anew makes plans of other servers fail that rest on its networks: no overlap, no loss. */
  #touchTenant(name: string): void {
    const known = this.#ledger.state.tenants.get(name);
    const tenant = this.#tenants.get(name);
    if (known === undefined || tenant === undefined) return;
    this.#put(keys.tenant(name), known.revision, put(keys.tenant(name), tenantCodec, tenant));
  }

  #put(key: string, revision: number, operation: Operation): void {
    if (!this.#conditions.has(key)) this.#conditions.set(key, { key, revision });
    this.#operations.set(key, operation);
  }
}

function networksOf(ledger: Ledger): Network[] {
  return Array.from(ledger.state.networks.values(), (entry) => entry.network);
}

/** Quarantine, blocks and a change under way end with the subnets. */
function forget(entry: NetworkEntry): Operation[] {
  const { name } = entry.network;
  return [
    ...Array.from(releasedKeys(entry), ({ key }) => remove(key)),
    ...Array.from(entry.blocks.keys(), (cidr) => remove(keys.block(name, cidr))),
    ...(entry.change === undefined ? [] : [remove(keys.change(name))]),
  ];
}

/** A request under way rests on the network as it is. */
function requireNonePending(entry: NetworkEntry, attempted: string): void {
  if (entry.pendingEndpoints === 0) return;
  throw new WeftError({
    code: "failed-precondition",
    attempted,
    reason: `endpoints are being created in it (${entry.pendingEndpoints})`,
    hint: "try again, and detach them first",
  });
}

/** What the absence of a field means. */
const whenAbsent: { readonly [field in keyof Network]?: string } = {
  mtu: "computed",
  multicast: "none",
  nodeSelector: "every node",
};

/** One line for each field that differs: `mtu: 1450 -> 8950`. */
function differencesOf<Resource extends Partial<Network>>(before: Resource, after: Resource): string[] {
  const fields = new Set([...Object.keys(before), ...Object.keys(after)]) as Set<keyof Resource & keyof Network>;
  const lines: string[] = [];
  for (const field of fields) {
    const [old, now] = [before, after].map((network) => shown(network[field] ?? whenAbsent[field]));
    if (old !== now) lines.push(`${field}: ${old} -> ${now}`);
  }
  return lines;
}

function shown(value: unknown): string {
  if (Array.isArray(value)) return `[${value.join(", ")}]`;
  if (typeof value !== "object" || value === null) return String(value);
  return `{${Object.entries(value)
    .map(([field, part]) => `${field}: ${part}`)
    .join(", ")}}`;
}

function missing(kind: ResourceKind, name: string): WeftError {
  return new WeftError({
    code: "not-found",
    attempted: `delete ${kind} ${name}`,
    reason: `there is no ${kind} ${name}`,
    hint: `list what there is with: weft ${kind} list`,
  });
}
