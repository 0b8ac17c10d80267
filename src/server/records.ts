import { asFields, codec } from "../api/codec.ts";
import { networkChange } from "../api/convert-change.ts";
import {
  BlockRecordSchema,
  IdentityRecordSchema,
  LeftBehindRecordSchema,
  NodeSettingsRecordSchema,
  OwnerRecordSchema,
  QuarantineRecordSchema,
  TokenRecordSchema,
} from "../api/generated/weft/storage/v1/records_pb.js";
import { kinds, vtepsFromMessage } from "../api/kinds.ts";
import { type Cidr, cidr } from "../base/cidr.ts";
import type { WeftError } from "../base/errors.ts";
import type { IpAddress } from "../base/ip.ts";
import type { MacAddress } from "../base/mac.ts";
import { ok, type Result, unwrap } from "../base/result.ts";
import { type PlainKind, plainKinds, type Resources } from "../model/kinds.ts";
import type { NetworkChange } from "../model/phase.ts";
import type { Endpoint, Network, Node, NodeSettings, Vni } from "../model/resources.ts";
import type { Operation } from "../store/store.ts";

interface Layout<Value> {
  readonly folder: string;
  encode(value: Value): Uint8Array;
  decode(bytes: Uint8Array): Result<Value, WeftError>;
}

/** One kind of record in the store: under `/FOLDER/` and its names. These hold no slash, but for a prefix, which holds one. */
export class Records<Value, Names extends readonly (string | number)[]> {
  readonly #layout: Layout<Value>;

  constructor(layout: Layout<Value>) {
    this.#layout = layout;
  }

  /** What all keys begin with. */
  get prefix(): string {
    return `/${this.#layout.folder}/`;
  }

  key(...names: Names): string {
    return this.prefix + names.join("/");
  }

  put(value: Value, ...names: Names): Extract<Operation, { kind: "put" }> {
    return { kind: "put", key: this.key(...names), value: this.#layout.encode(value) };
  }

  remove(...names: Names): Operation {
    return remove(this.key(...names));
  }

  /** Throws when the store is damaged. */
  decode(bytes: Uint8Array): Value {
    return unwrap(this.#layout.decode(bytes));
  }
}

export function remove(key: string): Operation {
  return { kind: "delete", key };
}

/** Whose certificates of a node's name are good. */
export interface Identity {
  readonly generation: number;
  /** The node was deleted and has not joined again. */
  readonly revoked: boolean;
}

/** Who owns a block, or owned it last. */
export interface BlockState {
  readonly node: string;
  readonly generation: number;
  /** About to be released, if no endpoint has an address of it. */
  readonly closing: boolean;
  /** Milliseconds since 1970; 0: the node owns it. */
  readonly released: number;
}

/** An address that was released a moment ago. */
export interface Quarantine {
  /** Milliseconds since 1970. */
  readonly released: number;
  /** Of a MAC: the sequence of its last owner. */
  readonly sequence: number;
}

/** A join token, known by its hash alone. */
export interface TokenState {
  /** Milliseconds since 1970. */
  readonly expires: number;
  /** Its one use. */
  readonly used?: { readonly node: string; readonly publicKeyHash: Uint8Array; readonly generation: number };
}

const owner = codec(
  OwnerRecordSchema,
  (owner: string) => ({ owner }),
  ({ owner }) => ok(owner),
);

export const plainRecords = Object.fromEntries(
  plainKinds.map((kind) => [kind, new Records<Resources[PlainKind], [name: string]>(kinds[kind])]),
) as Readonly<Record<PlainKind, Records<Resources[PlainKind], [name: string]>>>;

/**
 * What the server's state in memory is made of, in the order in which it is read: endpoints have a place only in known
 * networks and blocks.
 */
export const records = {
  identity: new Records<Identity, [node: string]>({
    folder: "identities",
    ...codec(IdentityRecordSchema, asFields<Identity>, ({ generation, revoked }) => ok({ generation, revoked })),
  }),
  node: new Records<Node, [name: string]>(kinds.node),
  nodeSettings: new Records<NodeSettings, [node: string]>({
    folder: "node-settings",
    ...codec(
      NodeSettingsRecordSchema,
      ({ labels, approved: { ipv4, ipv6 }, drained, blocks = [] }: NodeSettings) =>
        asFields({ labels, approvedIpv4: ipv4 ?? "", approvedIpv6: ipv6 ?? "", drained: drained === true, blocks }),
      ({ labels, approvedIpv4: ipv4, approvedIpv6: ipv6, drained, blocks }) =>
        ok({
          labels,
          approved: unwrap(vtepsFromMessage({ ipv4, ipv6 })),
          ...(drained ? { drained: true as const } : {}),
          ...(blocks.length === 0 ? {} : { blocks: blocks.map(cidr) }),
        }),
    ),
  }),
  ...plainRecords,
  network: new Records<Network, [name: string]>(kinds.network),
  /** The change of a network's way that is under way. */
  change: new Records<NetworkChange, [network: string]>({ folder: "changes", ...networkChange }),
  /**
   * Nodes that its last change was ended without. One commit's changes come in the order of their keys: before /changes, so that
   * nodes are told the end with the names.
   */
  leftBehind: new Records<readonly string[], [network: string]>({
    folder: "behind",
    ...codec(
      LeftBehindRecordSchema,
      (nodes: readonly string[]) => ({ nodes: [...nodes] }),
      ({ nodes }) => ok(nodes),
    ),
  }),
  /** As long as it is there, nobody claimed anything in the network since it was put. */
  hold: new Records<string, [network: string]>({ folder: "holds", ...owner }),
  /**
   * Who last asked for addresses that hosts have or route themselves, which whatever tenant's resources must agree on: written anew with
   * each such change, so that a plan of another server that rests on there being none fails.
   */
  underlay: new Records<string, [what: "claims"]>({ folder: "underlay", ...owner }),
  block: new Records<BlockState, [network: string, cidr: Cidr]>({
    folder: "blocks",
    ...codec(
      BlockRecordSchema,
      ({ released, ...fields }: BlockState) => ({ ...fields, released: BigInt(released) }),
      ({ node, generation, closing, released }) => ok({ node, generation, closing, released: Number(released) }),
    ),
  }),
  /** Without floating addresses, which have records of their own. */
  endpoint: new Records<Endpoint, [network: string, id: string]>({
    ...kinds.endpoint,
    encode: ({ floatingAddresses: _, ...endpoint }) => kinds.endpoint.encode(endpoint),
  }),
  quarantine: new Records<
    Quarantine,
    [network: string, ...([kind: "ip", address: IpAddress] | [kind: "mac", address: MacAddress])]
  >({
    folder: "quarantine",
    ...codec(
      QuarantineRecordSchema,
      ({ released, sequence }: Quarantine) => ({ released: BigInt(released), sequence: BigInt(sequence) }),
      ({ released, sequence }) => ok({ released: Number(released), sequence: Number(sequence) }),
    ),
  }),
} as const;

/** Read when they are used. A token's name is the SHA-256 of its secret, hexadecimal. */
export const tokens = new Records<TokenState, [hash: string]>({
  folder: "tokens",
  ...codec(
    TokenRecordSchema,
    ({ expires, used }: TokenState) => ({ expires: BigInt(expires), ...used }),
    ({ expires, node, publicKeyHash, generation }) =>
      ok({ expires: Number(expires), ...(node === "" ? {} : { used: { node, publicKeyHash, generation } }) }),
  ),
});

/** Who holds a number or an address; each can be held once. They guard transactions: the records above say the same. */
export const owners = {
  vni: new Records<string, [vni: Vni]>({ folder: "vnis", ...owner }),
  vtep: new Records<string, [address: IpAddress]>({ folder: "vteps", ...owner }),
  address: new Records<string, [network: string, ip: IpAddress]>({ folder: "addresses", ...owner }),
  mac: new Records<string, [network: string, mac: MacAddress]>({ folder: "macs", ...owner }),
} as const;
