import { WeftError } from "../base/errors.ts";
import type { IpAddress } from "../base/ip.ts";
import { hasAnycastGateway } from "../model/anycast-gateway.ts";
import {
  checkNetworkChange,
  checkNetworkDeletion,
  checkNetworkUnnamed,
  checkNewNetwork,
  chooseVni,
  plainRules,
} from "../model/conflicts.ts";
import {
  type DeclaredKind,
  type Drafts,
  type PlainKind,
  type ResourceKind,
  type Resources,
  resourceKinds,
} from "../model/kinds.ts";
import { effectiveMtu } from "../model/mtu.ts";
import { partsOfPeer } from "../model/names.ts";
import { checkVtepsOutside } from "../model/node-registration.ts";
import { peersInForce } from "../model/peering.ts";
import { beginChange, isSameWay } from "../model/phase.ts";
import { type Policy, ruleFields } from "../model/policy/index.ts";
import type { FloatingAddress, Network, NetworkDraft, Vni } from "../model/resources.ts";
import { isRoutedByHost } from "../model/routed-by-host.ts";
import type { Condition, Operation, Transaction } from "../store/store.ts";
import { DeclaredSoFar } from "./declared.ts";
import { type Endpoints, type LabelChange, releasedKeys } from "./endpoints.ts";
import { claimIn, hold } from "./hold.ts";
import type { Ledger } from "./ledger.ts";
import type { NodeSettingsChange, Nodes } from "./nodes.ts";
import { owners, plainRecords, records, remove } from "./records.ts";
import { requireNone } from "./refusal.ts";
import type { NetworkEntry } from "./state.ts";

/** What an administrator declares. */
export type Declaration = {
  [Kind in DeclaredKind]: { readonly kind: Kind; readonly value: Drafts[Kind] };
}[DeclaredKind];

/** What became, or would become, of one declared resource. */
export type Outcome = {
  [Kind in DeclaredKind]: { readonly kind: Kind; readonly value: Resources[Kind] };
}[DeclaredKind] & {
  readonly outcome: "created" | "changed" | "unchanged";
  /** `mtu: 1450 -> 8950`. */
  readonly differences: readonly string[];
};

/** The administrator's changes of what is declared, one after the other. */
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

  /** Deletes the resources, those first that rest on others, one after the other: an error ends it half-way. */
  delete(references: readonly { readonly kind: ResourceKind; readonly name: string }[]): Promise<number> {
    return this.#exclusively(async () => {
      let { revision } = this.#ledger.state;
      for (const kind of resourceKinds.toReversed())
        for (const { name } of references.filter((reference) => reference.kind === kind))
          revision = await this.#deleteOne(kind, name);
      return revision;
    });
  }

  /** What the administrator says of a node, which may be yet to join. */
  setNode(name: string, change: NodeSettingsChange) {
    return this.#exclusively(() => this.#nodes.set(name, change));
  }

  /** What the administrator says of an endpoint. */
  setEndpoint(id: string, change: LabelChange) {
    return this.#exclusively(() => this.#endpoints.setLabels(id, change));
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
      default:
        return this.#deletePlain(kind, name);
    }
  }

  #deleteNetwork(name: string): Promise<number> {
    const deletable = (): NetworkEntry => {
      const entry = this.#ledger.state.networks.get(name);
      if (entry === undefined) throw missing("network", name);
      const declared = new DeclaredSoFar(this.#ledger.state);
      requireNone(checkNetworkDeletion(name, entry.endpoints(), declared));
      requireNone(checkNetworkUnnamed(name, declared.policiesOf(entry.network.tenant)));
      return entry;
    };
    return this.#ledger.commit(`delete network ${name}`, async () => {
      deletable();
      const held = await hold(this.#ledger, name);
      const entry = deletable();
      return {
        conditions: [
          { key: records.network.key(name), revision: entry.revision },
          { key: records.hold.key(name), revision: held },
          this.#tenantAsIs(entry.network.tenant),
        ],
        operations: [
          records.network.remove(name),
          owners.vni.remove(entry.network.vni),
          records.hold.remove(name),
          ...forget(entry),
        ],
      };
    });
  }

  /** A policy that comes to name one of its networks writes the tenant anew. */
  #tenantAsIs(name: string): Condition {
    return { key: records.tenant.key(name), revision: this.#ledger.state.tenants.get(name)?.revision ?? 0 };
  }

  #deletePlain(kind: PlainKind, name: string): Promise<number> {
    return this.#ledger.commit(`delete ${kind} ${name}`, () => {
      const known = this.#ledger.state.plain[kind].get(name);
      if (known === undefined) throw missing(kind, name);
      requireNone(plainRules[kind].deletion(name, new DeclaredSoFar(this.#ledger.state)));
      const operation = plainRecords[kind].remove(name);
      const claims = kind === "floating-address" ? [owners.vtep.remove(name as IpAddress)] : [];
      return { conditions: [{ key: operation.key, revision: known.revision }], operations: [operation, ...claims] };
    });
  }

  #declare(
    declarations: readonly Declaration[],
    verb: "create" | "apply",
    dryRun: boolean,
  ): Promise<{ readonly outcomes: readonly Outcome[]; readonly revision: number }> {
    return this.#exclusively(async () => {
      let outcomes: readonly Outcome[] = [];
      const revision = await this.#ledger.commit(`${verb} ${declarations.length} resources`, async () => {
        const holds = new Map<string, number>();
        for (;;) {
          const plan = new DeclarationPlan(this.#ledger, verb === "apply", holds);
          outcomes = plan.add(declarations);
          if (dryRun) return { conditions: [], operations: [] };
          if (plan.unheld.length === 0) return plan.transaction();
          for (const network of plan.unheld) holds.set(network, await hold(this.#ledger, network));
        }
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

/** One transaction that makes what is declared so. */
class DeclarationPlan {
  /** Networks that must be held before it can be committed. */
  readonly unheld: string[] = [];
  readonly #ledger: Ledger;
  readonly #holds: ReadonlyMap<string, number>;
  readonly #mayExist: boolean;
  readonly #declared: DeclaredSoFar;
  readonly #conditions = new Map<string, Condition>();
  readonly #operations = new Map<string, Operation>();

  /** `holds`: the revisions of those that were put on networks for it. */
  constructor(ledger: Ledger, mayExist: boolean, holds: ReadonlyMap<string, number>) {
    this.#ledger = ledger;
    this.#mayExist = mayExist;
    this.#holds = holds;
    this.#declared = new DeclaredSoFar(ledger.state);
  }

  transaction(): Transaction {
    return { conditions: [...this.#conditions.values()], operations: [...this.#operations.values()] };
  }

  /** The outcomes in the order of the declarations, in which kinds may be mixed: a tenant may come after its networks. */
  add(declarations: readonly Declaration[]): Outcome[] {
    const outcomes = new Map<Declaration, Outcome>();
    for (const { kind, value } of declarations)
      if (kind === "network" && value.vni !== undefined) this.#declared.takeVni(value.vni);
    for (const kind of resourceKinds)
      for (const declaration of declarations.filter((each) => each.kind === kind))
        outcomes.set(
          declaration,
          declaration.kind === "network"
            ? this.#addNetwork(declaration.value)
            : this.#addPlain(declaration.kind, declaration.value),
        );
    return declarations.flatMap((declaration) => outcomes.get(declaration) ?? []);
  }

  #addPlain(kind: PlainKind, value: Resources[PlainKind]): Outcome {
    const { name } = value;
    const before = this.#mayExist ? this.#declared.get(kind, name) : undefined;
    const what = outcomeOf(before, value);
    const rules = plainRules[kind];
    if (before === undefined) requireNone(rules.creation(value as never, this.#declared));
    else if (what.outcome === "changed") requireNone(rules.change(before as never, value as never, this.#declared));
    this.#declared.put(kind, value);
    const revision = this.#ledger.state.plain[kind].get(name)?.revision ?? 0;
    if (what.outcome !== "unchanged") this.#put(revision, plainRecords[kind].put(value, name));
    if (kind === "floating-address")
      this.#claimFloating(before as FloatingAddress | undefined, value as FloatingAddress);
    const tenant = what.outcome === "unchanged" ? undefined : this.#restsOn(kind, value);
    if (tenant !== undefined) this.#touchTenant(tenant);
    if (kind === "floating-address" && what.outcome !== "unchanged") this.#touchUnderlay(`floating-address ${name}`);
    return { kind, value, ...what } as Outcome;
  }

  /** The tenant whose networks, or other such resources of whose, it must agree with. */
  #restsOn(kind: PlainKind, value: Resources[PlainKind]): string | undefined {
    if (kind === "policy") return (value as Policy).tenant;
    if (kind !== "floating-address") return undefined;
    return this.#declared.get("network", (value as FloatingAddress).network)?.tenant;
  }

  /** Whoever is about to take its network away finds that changed, and no node gets its address for a VTEP. */
  #claimFloating(before: FloatingAddress | undefined, { name, network }: FloatingAddress): void {
    if (before !== undefined && before.network !== network) this.#leaveEndpoint(before);
    if (before === undefined) this.#put(0, owners.vtep.put(`floating-address ${name}`, name));
    const entry = this.#ledger.state.networks.get(network);
    if (entry === undefined) return;
    const { conditions, operations } = claimIn(entry);
    for (const { key, revision } of conditions) this.#require(key, revision);
    for (const operation of operations) this.#operations.set(operation.key, operation);
  }

  /**
   * Who was away hears of endpoints by their own records and by those of the floating addresses of their network: one that has none
   * any more, because that is another network's, is written anew.
   */
  #leaveEndpoint({ network, endpoint }: FloatingAddress): void {
    const known = this.#ledger.state.endpointAt(network, endpoint);
    const key = owners.address.key(network, endpoint);
    if (known === undefined) this.#require(key, 0);
    else this.#put(known.revision, records.endpoint.put(known, network, known.id));
  }

  #addNetwork(draft: NetworkDraft): Outcome {
    const before = this.#mayExist ? this.#declared.get("network", draft.name) : undefined;
    if (before !== undefined) return this.#changeNetwork(before, draft);
    requireNone([
      ...checkNewNetwork(draft, this.#declared),
      ...checkVtepsOutside(draft, undefined, this.#declared.nodes()),
    ]);
    const network: Network = { ...draft, vni: draft.vni ?? this.#chooseVni(draft) };
    this.#requireCarried(network);
    this.#declared.put("network", network);
    this.#put(0, records.network.put(network, network.name));
    this.#put(0, owners.vni.put(network.name, network.vni));
    this.#touchTenant(network.tenant);
    this.#touchPeers(network);
    if (underlayOf(network) !== "") this.#touchUnderlay(`network ${network.name}`);
    return { kind: "network", value: network, outcome: "created", differences: [] };
  }

  #changeNetwork(before: Network, draft: NetworkDraft): Outcome {
    const entry = this.#ledger.state.networks.get(before.name);
    const network: Network = { ...draft, vni: draft.vni ?? before.vni };
    const { name } = network;
    const what = outcomeOf(before, network);
    if (what.outcome === "unchanged") return { kind: "network", value: before, ...what };
    requireNone([
      ...checkNetworkChange(before, draft, this.#declared, entry?.endpoints() ?? [], entry?.ownedBlocks() ?? []),
      ...checkVtepsOutside(draft, before, this.#declared.nodes()),
    ]);
    this.#requireCarried(network);
    this.#declared.put("network", network);
    if (entry !== undefined) this.#changeWay(entry, network);
    this.#put(entry?.revision ?? 0, records.network.put(network, name));
    const isReplanned = before.subnets.join() !== network.subnets.join() || before.blockSize !== network.blockSize;
    // Who has what decides whether these can change, and whether a way changes by phases.
    const restsOnClaims =
      isReplanned ||
      before.gateways.join() !== network.gateways.join() ||
      hasAnycastGateway(before) !== hasAnycastGateway(network) ||
      !isSameWay(before, network);
    if (entry !== undefined && restsOnClaims) {
      const held = this.#holds.get(name);
      if (held === undefined) this.unheld.push(name);
      else this.#put(held, records.hold.remove(name));
    }
    if (before.peers.join() !== network.peers.join()) this.#touchPeers(network);
    const underlay = underlayOf(network);
    if (underlay !== "" && underlay !== underlayOf(before)) this.#touchUnderlay(`network ${name}`);
    if (entry !== undefined && isReplanned) {
      this.#touchTenant(network.tenant);
      this.#touchPeers(network);
      for (const operation of forget(entry)) this.#operations.set(operation.key, operation);
    }
    return { kind: "network", value: network, ...what };
  }

  /** Without hosts nobody sends, and nothing has to be waited for. */
  #changeWay(entry: NetworkEntry, after: Network): void {
    const { network, change, changeRevision, effectiveMtu: mtu, hosts } = entry;
    if (hosts.size === 0 && change === undefined) return;
    const sized = (way: Network) => ({ ...way, mtu: this.#ledger.state.mtuOf(way) });
    const next = beginChange(sized(network), change, sized(after), { mtu, now: this.#ledger.clock.now() });
    if (next === undefined || next === change) return;
    this.#put(changeRevision, records.change.put(next, network.name));
  }

  #chooseVni({ encapsulation }: NetworkDraft): Vni {
    const vni = chooseVni((from) => this.#declared.freeVni(from), encapsulation);
    if (!vni.ok) throw vni.error;
    return vni.value;
  }

  /** With no node yet, nobody knows what the underlay carries. */
  #requireCarried(network: Network): void {
    const nodes = [...this.#ledger.state.decisiveNodesOf(network)];
    const mtu = nodes.length === 0 ? undefined : effectiveMtu(network, nodes);
    if (mtu !== undefined && !mtu.ok) throw mtu.error;
  }

  /** Writing the tenant anew makes plans of other servers fail that rest on its networks: no overlap, no loss. */
  #touchTenant(name: string): void {
    const known = this.#ledger.state.tenants.get(name);
    const tenant = this.#declared.get("tenant", name);
    if (known === undefined || tenant === undefined) return;
    this.#put(known.revision, records.tenant.put(tenant, name));
  }

  /** Plans of other servers fail that rest on who has addresses of the underlay, of whichever tenant. */
  #touchUnderlay(by: string): void {
    this.#put(this.#ledger.state.underlayRevision, records.underlay.put(by, "claims"));
  }

  /**
   * What is routed with it rests on the networks of all of these tenants; whether it is, on what those are that it names, and on that
   * others are not there yet.
   */
  #touchPeers(network: Network): void {
    for (const peer of network.peers) {
      const { network: name } = partsOfPeer(peer);
      this.#require(records.network.key(name), this.#ledger.state.networks.get(name)?.revision ?? 0);
    }
    const peers = peersInForce(network, (name) => this.#declared.get("network", name));
    for (const { tenant } of peers.length === 0 ? [] : [network, ...peers]) this.#touchTenant(tenant);
  }

  /** `revision`: at which its key is now. */
  #put(revision: number, operation: Operation): void {
    this.#require(operation.key, revision);
    this.#operations.set(operation.key, operation);
  }

  /** The key is at the revision still. */
  #require(key: string, revision: number): void {
    if (!this.#conditions.has(key)) this.#conditions.set(key, { key, revision });
  }
}

/** What a network has of the addresses that hosts have or route themselves; empty: nothing. */
function underlayOf(network: Network): string {
  return [...(isRoutedByHost(network) ? network.subnets : []), ...network.vteps.map((vtep) => `VTEP ${vtep}`)].join();
}

/** Quarantine, blocks, a change under way and whom one left behind end with the subnets. */
function forget(entry: NetworkEntry): Operation[] {
  const { name } = entry.network;
  return [
    ...Array.from(releasedKeys(entry), ({ key }) => remove(key)),
    ...Array.from(entry.blocks.keys(), (cidr) => records.block.remove(name, cidr)),
    ...(entry.change === undefined ? [] : [records.change.remove(name)]),
    ...(entry.leftBehindRevision === 0 ? [] : [records.leftBehind.remove(name)]),
  ];
}

/** What the absence of a field means. */
const whenAbsent: { readonly [field in keyof Network | keyof Policy]?: string } = {
  mtu: "computed",
  dhcp: "none",
  multicast: "none",
  nodeSelector: "every node",
  gateway: "none",
  bandwidth: "no limit",
  endpointBandwidth: "no limit",
  endpoints: "all",
  dscp: "0",
};

/** What becomes of a resource that is `before` now, if it is there. */
function outcomeOf<Resource extends Partial<Network> | Policy>(
  before: Resource | undefined,
  after: Resource,
): Pick<Outcome, "outcome" | "differences"> {
  if (before === undefined) return { outcome: "created", differences: [] };
  const fields = new Set([...Object.keys(before), ...Object.keys(after)]) as Set<keyof Resource>;
  const differences: string[] = [];
  for (const field of fields) {
    if (field === "rules") {
      differences.push(...ruleDifferences(before as Policy, after as Policy));
      continue;
    }
    const [old, now] = [before, after].map((each) =>
      shown(each[field] ?? whenAbsent[field as keyof typeof whenAbsent]),
    );
    if (old !== now) differences.push(`${String(field)}: ${old} -> ${now}`);
  }
  return { outcome: differences.length === 0 ? "unchanged" : "changed", differences };
}

/** Each rule that differs, as operators write it, and their order where it does. */
function ruleDifferences(before: Policy, after: Policy): string[] {
  const textsOf = (policy: Policy): ReadonlyMap<string, string> =>
    new Map(policy.rules.map((rule) => [rule.name, shown(ruleFields(rule))]));
  const [old, now] = [textsOf(before), textsOf(after)];
  const differences = [...new Set([...old.keys(), ...now.keys()])].flatMap((name) => {
    const [former, latter] = [old.get(name) ?? "none", now.get(name) ?? "none"];
    return former === latter ? [] : [`rule ${name}: ${former} -> ${latter}`];
  });
  const [formerly, lately] = [
    shown([...old.keys()].filter((name) => now.has(name))),
    shown([...now.keys()].filter((name) => old.has(name))),
  ];
  return formerly === lately ? differences : [...differences, `rules: ${formerly} -> ${lately}`];
}

function shown(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(shown).join(", ")}]`;
  if (typeof value !== "object" || value === null) return String(value);
  return `{${Object.entries(value)
    .map(([field, part]) => `${field}: ${shown(part)}`)
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
