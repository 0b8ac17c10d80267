import { type Cidr, cidrContains, hostPrefix, networkAddress, prefixLengthOf } from "../../base/cidr.ts";
import type { IpAddress } from "../../base/ip.ts";
import { PrefixIndex } from "../../base/prefix-index.ts";
import {
  type EndpointPeer,
  type Identity,
  isNodePeer,
  isPeerOf,
  isSubnetPeer,
  type Policy,
  type PolicyPeer,
  type SubnetPeer,
} from "../../model/policy/index.ts";
import { type Identifier, identifierOf } from "./identifier.ts";

/** Those who are the same to all rules. */
export interface PeerClass {
  /** 0: nobody that any rule names. */
  readonly id: Identifier;
  /** {@link peerKey} of the peers of rules that they are. */
  readonly peers: ReadonlySet<string>;
  /** Whose the address is, is not known yet. */
  readonly isUnknown: boolean;
}

const everybody: PeerClass = { id: 0n, peers: new Set(), isUnknown: false };

/** What tells a peer of a rule from others. */
export function peerKey(peer: PolicyPeer): string {
  if (isNodePeer(peer)) return `node ${peer.node}`;
  if (isSubnetPeer(peer)) return ["subnet", peer.subnet, ...peer.except].join(" ");
  return ["endpoints", peer.endpoints ?? "", ...peer.networks].join(" ");
}

/** Divides all addresses by which peers of these policies they are. */
export class PeerClasses {
  /** By {@link peerKey}. */
  readonly peers: ReadonlySet<string>;
  readonly #endpoints = new Map<string, EndpointPeer>();
  readonly #subnets = new Map<string, SubnetPeer>();
  readonly #subnetIndex = new PrefixIndex<string>();
  readonly #nodePeers = new Set<string>();
  readonly #own = new PrefixIndex<Cidr>();
  readonly #node: ReadonlySet<Cidr>;
  /** Prefixes whose addresses may differ from those around them. */
  readonly #named: ReadonlySet<Cidr>;
  #ofNamed: readonly (readonly [Cidr, PeerClass])[] | undefined;
  /** An address of which nothing is known may be one that is denied. */
  readonly #judgesUnknown: boolean = false;
  readonly #classes = new Map<string, PeerClass>();
  #lastAsked: { readonly prefix: Cidr; readonly keys: readonly string[] } | undefined;
  /** Of endpoints with the same network and labels. */
  readonly #ofIdentity = new Map<string, readonly string[]>();

  /** `own`: the tenant's subnets. `node`: the node's addresses, which are no endpoint's. */
  constructor(policies: Iterable<Policy>, own: Iterable<Cidr>, node: Iterable<IpAddress> = []) {
    for (const subnet of own) this.#own.add(subnet, subnet);
    this.#node = new Set(Array.from(node, hostPrefix));
    for (const { rules } of policies)
      for (const { peers, action } of rules)
        for (const peer of peers) {
          const key = peerKey(peer);
          if (isNodePeer(peer)) this.#nodePeers.add(key);
          else if (isSubnetPeer(peer)) {
            this.#subnets.set(key, peer);
            this.#subnetIndex.add(peer.subnet, key);
          } else {
            this.#endpoints.set(key, peer);
            this.#judgesUnknown ||= action === "deny";
          }
        }
    this.peers = new Set([...this.#endpoints.keys(), ...this.#subnets.keys(), ...this.#nodePeers]);
    const subnets = Array.from(this.#subnets.values(), ({ subnet, except }) => [subnet, ...except]).flat();
    this.#named = new Set([
      ...subnets,
      ...(this.#judgesUnknown ? this.#own.values() : []),
      ...(this.#judgesUnknown || this.#nodePeers.size > 0 ? this.#node : []),
    ]);
  }

  /** Of an endpoint's address. */
  ofMember(identity: Identity, ip: IpAddress): PeerClass {
    const labels = Object.entries(identity.labels).sort(([a], [b]) => (a < b ? -1 : 1));
    const text = JSON.stringify([identity.network, labels]);
    let known = this.#ofIdentity.get(text);
    if (known === undefined) {
      const party = { address: ip, identity };
      known = [...this.#endpoints].flatMap(([key, peer]) => (isPeerOf(peer, party, "allow") ? key : []));
      this.#ofIdentity.set(text, known);
    }
    return this.#intern([...known, ...this.#subnetsAt(hostPrefix(ip))], false);
  }

  /** Of an address of which nobody is known to have it. */
  ofNobody(ip: IpAddress): PeerClass {
    return this.#ofPrefix(hostPrefix(ip));
  }

  /** Whether the address is one of {@link prefixes} by itself. */
  names(ip: IpAddress): boolean {
    return this.#named.has(hostPrefix(ip));
  }

  /** Of an address that several have. */
  ofSeveral(ip: IpAddress): PeerClass {
    return this.#intern(this.#subnetsAt(hostPrefix(ip)), this.#judgesUnknown);
  }

  /** All prefixes whose addresses may differ from those around them. */
  *prefixes(): Generator<readonly [Cidr, PeerClass]> {
    this.#ofNamed ??= Array.from(this.#named, (prefix) => [prefix, this.#ofPrefix(prefix)] as const);
    yield* this.#ofNamed;
  }

  /** Of the addresses of a prefix that are in no longer one that is named. */
  #ofPrefix(prefix: Cidr): PeerClass {
    const isUnknown =
      this.#judgesUnknown &&
      !this.#node.has(prefix) &&
      [...this.#own.overlapping(prefix)].some((subnet) => contains(subnet, prefix));
    const ofNode = this.#node.has(prefix) ? this.#nodePeers : [];
    return this.#intern([...this.#subnetsAt(prefix), ...ofNode], isUnknown);
  }

  /** The same is asked of an address as an endpoint's, and as anybody's. */
  #subnetsAt(prefix: Cidr): readonly string[] {
    if (this.#subnets.size === 0) return [];
    if (this.#lastAsked?.prefix === prefix) return this.#lastAsked.keys;
    const found = new Set(this.#subnetIndex.overlapping(prefix));
    const keys = [...found].filter((key) => {
      const peer = this.#subnets.get(key);
      return peer !== undefined && contains(peer.subnet, prefix) && !peer.except.some((hole) => contains(hole, prefix));
    });
    this.#lastAsked = { prefix, keys };
    return keys;
  }

  #intern(keys: readonly string[], isUnknown: boolean): PeerClass {
    if (keys.length === 0 && !isUnknown) return everybody;
    const text = [isUnknown ? "unknown" : "known", ...[...keys].sort()].join("\n");
    let known = this.#classes.get(text);
    if (known === undefined) {
      known = { id: identifierOf(`class ${text}`), peers: new Set(keys), isUnknown };
      this.#classes.set(text, known);
    }
    return known;
  }
}

function contains(outer: Cidr, inner: Cidr): boolean {
  return prefixLengthOf(outer) <= prefixLengthOf(inner) && cidrContains(outer, networkAddress(inner));
}
