import type { NodeIdentity } from "../api/node-uri.ts";
import { seconds } from "../base/duration.ts";
import { WeftError } from "../base/errors.ts";
import type { IpAddress } from "../base/ip.ts";
import type { MacAddress } from "../base/mac.ts";
import { networkMac } from "../model/endpoint-mac.ts";
import { declaredIps, type Endpoint } from "../model/resources.ts";
import type { LearnedAddress } from "../model/schema.ts";
import type { Condition, Operation, Transaction } from "../store/store.ts";
import { nextSequence, requireNetwork } from "./endpoints.ts";
import { claimIn } from "./hold.ts";
import type { Identities } from "./identities.ts";
import type { Ledger } from "./ledger.ts";
import { MoveLimiter } from "./move-limiter.ts";
import { owners, records, remove } from "./records.ts";
import { requireSelected } from "./selection.ts";
import type { NetworkEntry, State } from "./state.ts";

/** Addresses published in one transaction. */
const chunkLimit = 100;
/** IP addresses of one learned MAC at most. */
const ipLimit = 16;
/** When a place may have come free behind the ports of a node. */
const fullRetry = seconds(10);
/** When another request is done with the address. */
const busyRetry = seconds(1);

/** What became of one published address. */
export interface LearnedOutcome {
  /** As it is now; undefined: refused. */
  readonly endpoint: Endpoint | undefined;
  /** Why it was refused, or why some of its addresses were left out. Empty: nothing to say. */
  readonly reason: string;
  /** Milliseconds after which asking again may help; 0: never. */
  readonly retryAfter: number;
}

/**
 * Endpoints that nobody declared: MACs and addresses that nodes found behind their ports. What was declared goes before
 * what was learned. Of two nodes that learn the same MAC the later one has it, with a higher sequence (RFC 7432 §7.7).
 */
export class Learned {
  readonly #ledger: Ledger;
  readonly #identities: Identities;
  readonly #moves: MoveLimiter;

  constructor(ledger: Ledger, identities: Identities) {
    this.#ledger = ledger;
    this.#identities = identities;
    this.#moves = new MoveLimiter(ledger.clock);
  }

  /** Addresses of an endpoint that stay where they are because they moved too often, and for how many milliseconds. */
  frozenOf({ network, mac, ips }: Endpoint): { readonly address: MacAddress | IpAddress; readonly duration: number }[] {
    return [mac, ...ips]
      .map((address) => ({ address, duration: this.#moves.frozenFor(placeOf(network, address)) }))
      .filter(({ duration }) => duration > 0);
  }

  /** They may move again. Answers which could not. */
  unfreeze(id: string): ReturnType<Learned["frozenOf"]> {
    const endpoint = this.#ledger.state.endpoints.get(id);
    if (endpoint === undefined)
      throw new WeftError({
        code: "not-found",
        attempted: `unfreeze endpoint ${id}`,
        reason: "there is no such endpoint",
        hint: "list the endpoints with: weft endpoint list",
      });
    const frozen = this.frozenOf(endpoint);
    for (const { address } of frozen) this.#moves.forget(placeOf(endpoint.network, address));
    return frozen;
  }

  /** One outcome for each address, in their order. */
  async publish(
    caller: NodeIdentity,
    network: string,
    addresses: readonly LearnedAddress[],
  ): Promise<{ readonly outcomes: readonly LearnedOutcome[]; readonly revision: number }> {
    const attempted = `publish ${addresses.length} learned addresses of node ${caller.name} in network ${network}`;
    const { state } = this.#ledger;
    const outcomes: LearnedOutcome[] = [];
    let { revision } = state;
    for (let start = 0; start < addresses.length; start += chunkLimit) {
      const chunk = addresses.slice(start, start + chunkLimit);
      let plan: PublicationPlan | undefined;
      let planned: LearnedOutcome[] = [];
      revision = await this.#ledger.commit(attempted, () => {
        const identity = this.#identities.requireCurrent(caller, attempted);
        const current = requireLearning(state, network, attempted);
        // Behind the ports of a node that has something in the network already nothing begins.
        if (current.hosts.get(caller.name)?.isEmpty !== false)
          requireSelected(state, current.network, caller.name, attempted);
        plan = new PublicationPlan(state, current, caller.name, this.#moves);
        planned = chunk.map((address) => plan?.add(address) ?? refused("", 0));
        const { conditions, operations } = plan.transaction(this.#ledger.clock.now());
        if (operations.length === 0) return { conditions: [], operations: [] };
        const claim = claimIn(current);
        return {
          conditions: [
            { key: records.identity.key(caller.name), revision: identity.revision },
            ...claim.conditions,
            ...conditions,
          ],
          operations: [...claim.operations, ...operations],
        };
      });
      for (const move of plan?.moves ?? []) this.#moves.record(move);
      outcomes.push(...planned);
    }
    return { outcomes, revision };
  }
}

function requireLearning(state: State, name: string, attempted: string): NetworkEntry {
  const entry = requireNetwork(state, name, attempted);
  const { mode, learningLimit } = entry.network;
  if (mode === "l2" && learningLimit > 0) return entry;
  throw new WeftError({
    code: "failed-precondition",
    attempted,
    reason: `the network learns nothing: its mode is ${mode}, its learning limit ${learningLimit}`,
    hint: `weft network set ${name} --learning-limit 16`,
  });
}

function refused(reason: string, retryAfter: number): LearnedOutcome {
  return { endpoint: undefined, reason, retryAfter };
}

/** One transaction that makes published addresses endpoints. Later ones see what earlier ones change. */
class PublicationPlan {
  /** What moved, once it is committed. */
  readonly moves: string[] = [];
  readonly #state: State;
  readonly #entry: NetworkEntry;
  readonly #node: string;
  readonly #limiter: MoveLimiter;
  /** Endpoints as they will be. */
  readonly #changed = new Map<string, Endpoint>();
  readonly #macs = new Map<MacAddress, string>();
  /** Who will have an address; empty: nobody. */
  readonly #ips = new Map<IpAddress, string>();
  /** Learned MACs that come to the node. */
  #arrivals = 0;

  constructor(state: State, entry: NetworkEntry, node: string, limiter: MoveLimiter) {
    this.#state = state;
    this.#entry = entry;
    this.#node = node;
    this.#limiter = limiter;
  }

  add({ id, mac, ips }: LearnedAddress): LearnedOutcome {
    if (mac === networkMac(this.#entry.network.vni)) return refused(`the network's bridges have ${mac}`, 0);
    const owner = this.#macs.get(mac) ?? this.#entry.pool.ownerOfMac(mac);
    const known = owner === undefined ? undefined : this.#endpoint(owner);
    if (owner !== undefined && known === undefined)
      return refused(`endpoint ${owner} is being created with ${mac}`, busyRetry);
    if (known !== undefined && known.attachment !== "learned")
      return known.node === this.#node
        ? this.#addTo(known, ips)
        : refused(`endpoint ${known.id} on node ${known.node}, which was declared, has ${mac}`, 0);
    const isMove = known !== undefined && known.node !== this.#node;
    const frozen = isMove ? this.#limiter.frozenFor(this.#placeOf(mac)) : 0;
    if (isMove && frozen > 0)
      return refused(`${mac} moved too often, as if it were there twice: it stays on node ${known.node}`, frozen);
    if (known === undefined && this.#endpoint(id) !== undefined) return refused(`there is an endpoint ${id}`, 0);
    if (known === undefined || isMove) {
      const full = this.#fullReason();
      if (full !== undefined) return refused(full, fullRetry);
      this.#arrivals++;
    }
    if (isMove) this.moves.push(this.#placeOf(mac));

    const admitted = this.#admit(ips, known?.id ?? id);
    if (known !== undefined && !isMove && sameMembers(known.ips, admitted.ips))
      return { endpoint: known, reason: admitted.reason, retryAfter: admitted.retryAfter };
    for (const ip of known?.ips ?? []) if (!admitted.ips.includes(ip)) this.#ips.set(ip, "");
    const sequence = known === undefined ? nextSequence(this.#entry, mac) : known.sequence + (isMove ? 1 : 0);
    const endpoint: Endpoint = {
      id: known?.id ?? id,
      network: this.#entry.network.name,
      node: this.#node,
      mac,
      ips: admitted.ips,
      attachment: "learned",
      sequence,
    };
    this.#macs.set(mac, endpoint.id);
    for (const ip of admitted.ips) this.#ips.set(ip, endpoint.id);
    this.#changed.set(endpoint.id, endpoint);
    return { endpoint, reason: admitted.reason, retryAfter: admitted.retryAfter };
  }

  /** Further addresses that are in use with the MAC of an endpoint that the node has declared. */
  #addTo(known: Endpoint, ips: readonly IpAddress[]): LearnedOutcome {
    const { learnedIps: before = [], ...rest } = known;
    const declared = declaredIps(known);
    const found = ips.filter((ip) => !declared.includes(ip));
    const { ips: admitted, ...remarks } = this.#admit(found, known.id);
    if (sameMembers(before, admitted)) return { endpoint: known, ...remarks };
    for (const ip of before) if (!admitted.includes(ip)) this.#ips.set(ip, "");
    for (const ip of admitted) this.#ips.set(ip, known.id);
    const endpoint = withLearnedIps(rest, declared, admitted);
    this.#changed.set(known.id, endpoint);
    return { endpoint, ...remarks };
  }

  transaction(now: number): Transaction {
    const conditions: Condition[] = [];
    const operations: Operation[] = [];
    const { name } = this.#entry.network;
    /** Takes an address out of quarantine, in which it may be. */
    const retrieve = (key: string, released: { readonly revision: number } | undefined): void => {
      conditions.push({ key, revision: released?.revision ?? 0 });
      if (released !== undefined) operations.push(remove(key));
    };
    for (const endpoint of this.#changed.values()) {
      const { id, mac } = endpoint;
      const before = this.#state.endpoints.get(id);
      const key = records.endpoint.key(name, id);
      conditions.push({ key, revision: before?.revision ?? 0 });
      operations.push(records.endpoint.put(endpoint, name, id));
      if (before !== undefined) continue;
      conditions.push({ key: owners.mac.key(name, mac), revision: 0 });
      operations.push(owners.mac.put(id, name, mac));
      retrieve(records.quarantine.key(name, "mac", mac), this.#entry.releasedMacs.get(mac));
    }
    for (const [ip, owner] of this.#ips) {
      const before = this.#entry.pool.ownerOf(ip) ?? "";
      if (owner === before) continue;
      const key = owners.address.key(name, ip);
      if (owner === "") {
        operations.push(remove(key));
        operations.push(records.quarantine.put({ released: now, sequence: 0 }, name, "ip", ip));
        continue;
      }
      operations.push(owners.address.put(owner, name, ip));
      // Of an endpoint that gives it up: that one's own revision vouches for it.
      if (before !== "") continue;
      conditions.push({ key, revision: 0 });
      retrieve(records.quarantine.key(name, "ip", ip), this.#entry.releasedIps.get(ip));
    }
    return { conditions, operations };
  }

  /** The addresses that the endpoint may have, and why not the others. */
  #admit(
    ips: readonly IpAddress[],
    id: string,
  ): { readonly ips: readonly IpAddress[]; readonly reason: string; readonly retryAfter: number } {
    const admitted: IpAddress[] = [];
    const reasons: string[] = [];
    let retryAfter = 0;
    for (const ip of new Set(ips)) {
      const obstacle =
        admitted.length === ipLimit ? { reason: `${ip} is one more than ${ipLimit}`, wait: 0 } : this.#obstacle(ip, id);
      if (obstacle === undefined) {
        this.#takeFromOther(ip, id);
        admitted.push(ip);
        continue;
      }
      reasons.push(obstacle.reason);
      retryAfter = Math.max(retryAfter, obstacle.wait);
    }
    return { ips: admitted, reason: reasons.join("; "), retryAfter };
  }

  #obstacle(ip: IpAddress, id: string): { readonly reason: string; readonly wait: number } | undefined {
    const unusable = this.#entry.pool.unusableReason(ip);
    if (unusable !== undefined) return { reason: `${ip} is ${unusable}`, wait: 0 };
    const owner = this.#ownerOf(ip);
    if (owner === "" || owner === id) return undefined;
    const other = this.#endpoint(owner);
    if (other === undefined) return { reason: `${ip} is being given to endpoint ${owner}`, wait: busyRetry };
    if (other.attachment !== "learned" && other.learnedIps?.includes(ip) !== true)
      return { reason: `${ip} is of endpoint ${owner} on node ${other.node}, which was declared`, wait: 0 };
    const wait = this.#limiter.frozenFor(this.#placeOf(ip));
    if (wait === 0) return undefined;
    return { reason: `${ip} moved too often, as if it were there twice: it stays with ${other.mac}`, wait };
  }

  /** The address of another learned endpoint goes to the newcomer: a virtual address moves from host to host. */
  #takeFromOther(ip: IpAddress, id: string): void {
    const owner = this.#ownerOf(ip);
    const other = owner === "" || owner === id ? undefined : this.#endpoint(owner);
    if (other === undefined) return;
    const { learnedIps = [], ...rest } = other;
    const isKept = (one: IpAddress): boolean => one !== ip;
    this.#changed.set(other.id, withLearnedIps(rest, declaredIps(other).filter(isKept), learnedIps.filter(isKept)));
    this.moves.push(this.#placeOf(ip));
  }

  /** A node may publish as many as all its ports may learn. */
  #fullReason(): string | undefined {
    const host = this.#entry.hosts.get(this.#node);
    const { learningLimit } = this.#entry.network;
    const declared = (host?.endpoints.size ?? 0) - (host?.learned ?? 0);
    if ((host?.learned ?? 0) + this.#arrivals < learningLimit * declared) return undefined;
    return `node ${this.#node} has ${declared} endpoints in the network, behind each of which ${learningLimit} MACs may be learned, and no more are free`;
  }

  #ownerOf(ip: IpAddress): string {
    return this.#ips.get(ip) ?? this.#entry.pool.ownerOf(ip) ?? "";
  }

  #endpoint(id: string): Endpoint | undefined {
    return this.#changed.get(id) ?? this.#state.endpoints.get(id);
  }

  #placeOf(address: MacAddress | IpAddress): string {
    return placeOf(this.#entry.network.name, address);
  }
}

/** What moves: an address in its network. */
function placeOf(network: string, address: MacAddress | IpAddress): string {
  return `${network}/${address}`;
}

function withLearnedIps(
  endpoint: Omit<Endpoint, "learnedIps">,
  declared: readonly IpAddress[],
  learnedIps: readonly IpAddress[],
): Endpoint {
  return { ...endpoint, ips: [...declared, ...learnedIps], ...(learnedIps.length === 0 ? {} : { learnedIps }) };
}

function sameMembers(a: readonly IpAddress[], b: readonly IpAddress[]): boolean {
  return a.length === b.length && a.every((address) => b.includes(address));
}
