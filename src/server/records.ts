import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  endpointFromMessage,
  endpointToMessage,
  networkFromMessage,
  networkToMessage,
  nodeFromMessage,
  nodeToMessage,
  tenantFromMessage,
  tenantToMessage,
} from "../api/convert.ts";
import { networkChangeFromMessage, networkChangeToMessage } from "../api/convert-change.ts";
import {
  BlockRecordSchema,
  IdentityRecordSchema,
  NodeSettingsRecordSchema,
  OwnerRecordSchema,
  QuarantineRecordSchema,
  TokenRecordSchema,
} from "../api/generated/weft/storage/v1/records_pb.js";
import { NetworkChangeSchema } from "../api/generated/weft/v1/readiness_pb.js";
import { EndpointSchema, NetworkSchema, NodeSchema, TenantSchema } from "../api/generated/weft/v1/resources_pb.js";
import type { Cidr } from "../base/cidr.ts";
import type { IpAddress, Ipv4Address, Ipv6Address } from "../base/ip.ts";
import type { MacAddress } from "../base/mac.ts";
import { unwrap } from "../base/result.ts";
import type { NetworkChange } from "../model/phase.ts";
import type { Endpoint, Network, Node, NodeSettings, Tenant, Vni } from "../model/resources.ts";
import type { Operation } from "../store/store.ts";

/** The keys of the store. Names, ids and addresses hold no slash, a prefix holds one. */
export const keys = {
  tenant: (name: string) => `/tenants/${name}`,
  network: (name: string) => `/networks/${name}`,
  /** The change of the network's way that is under way. */
  change: (network: string) => `/changes/${network}`,
  node: (name: string) => `/nodes/${name}`,
  nodeSettings: (node: string) => `/node-settings/${node}`,
  endpoint: (network: string, id: string) => `/endpoints/${network}/${id}`,
  block: (network: string, cidr: Cidr) => `/blocks/${network}/${cidr}`,
  /** Who holds a number or an address; each can be held once. */
  vni: (vni: Vni) => `/vnis/${vni}`,
  vtep: (address: IpAddress) => `/vteps/${address}`,
  address: (network: string, ip: IpAddress) => `/addresses/${network}/${ip}`,
  mac: (network: string, mac: MacAddress) => `/macs/${network}/${mac}`,
  quarantinedIp: (network: string, ip: IpAddress) => `/quarantine/${network}/ip/${ip}`,
  quarantinedMac: (network: string, mac: MacAddress) => `/quarantine/${network}/mac/${mac}`,
  identity: (node: string) => `/identities/${node}`,
  /** `hash`: SHA-256 of the token's secret, hexadecimal. */
  token: (hash: string) => `/tokens/${hash}`,
} as const;

/** How one kind of value lies in the store. `decode` throws when the store is damaged. */
interface Codec<Value> {
  encode(value: Value): Uint8Array;
  decode(bytes: Uint8Array): Value;
}

export const tenantCodec: Codec<Tenant> = {
  encode: (tenant) => toBinary(TenantSchema, tenantToMessage(tenant)),
  decode: (bytes) => unwrap(tenantFromMessage(fromBinary(TenantSchema, bytes))),
};

export const networkCodec: Codec<Network> = {
  encode: (network) => toBinary(NetworkSchema, networkToMessage(network)),
  decode: (bytes) => unwrap(networkFromMessage(fromBinary(NetworkSchema, bytes))),
};

export const changeCodec: Codec<NetworkChange> = {
  encode: (change) => toBinary(NetworkChangeSchema, networkChangeToMessage(change)),
  decode: (bytes) => unwrap(networkChangeFromMessage(fromBinary(NetworkChangeSchema, bytes))),
};

export const nodeCodec: Codec<Node> = {
  encode: (node) => toBinary(NodeSchema, nodeToMessage(node)),
  decode: (bytes) => unwrap(nodeFromMessage(fromBinary(NodeSchema, bytes))),
};

export const nodeSettingsCodec: Codec<NodeSettings> = {
  encode: ({ labels, approved: { ipv4 = "", ipv6 = "" } }) =>
    toBinary(
      NodeSettingsRecordSchema,
      create(NodeSettingsRecordSchema, { labels: { ...labels }, approvedIpv4: ipv4, approvedIpv6: ipv6 }),
    ),
  decode: (bytes) => {
    const { labels, approvedIpv4, approvedIpv6 } = fromBinary(NodeSettingsRecordSchema, bytes);
    return {
      labels,
      approved: {
        ...(approvedIpv4 === "" ? {} : { ipv4: approvedIpv4 as Ipv4Address }),
        ...(approvedIpv6 === "" ? {} : { ipv6: approvedIpv6 as Ipv6Address }),
      },
    };
  },
};

export const endpointCodec: Codec<Endpoint> = {
  encode: (endpoint) => toBinary(EndpointSchema, endpointToMessage(endpoint)),
  decode: (bytes) => unwrap(endpointFromMessage(fromBinary(EndpointSchema, bytes))),
};

/** Who owns a block, or owned it last. */
export interface BlockState {
  readonly node: string;
  readonly generation: number;
  /** About to be released, if no endpoint has an address of it. */
  readonly closing: boolean;
  /** Milliseconds since 1970; 0: the node owns it. */
  readonly released: number;
}

export const blockCodec: Codec<BlockState> = {
  encode: ({ node, generation, closing, released }) =>
    toBinary(BlockRecordSchema, create(BlockRecordSchema, { node, generation, closing, released: BigInt(released) })),
  decode: (bytes) => {
    const { node, generation, closing, released } = fromBinary(BlockRecordSchema, bytes);
    return { node, generation, closing, released: Number(released) };
  },
};

/** Whose certificates of a node's name are good. */
export interface Identity {
  readonly generation: number;
  /** The node was deleted and has not joined again. */
  readonly revoked: boolean;
}

export const identityCodec: Codec<Identity> = {
  encode: (identity) => toBinary(IdentityRecordSchema, create(IdentityRecordSchema, identity)),
  decode: (bytes) => {
    const { generation, revoked } = fromBinary(IdentityRecordSchema, bytes);
    return { generation, revoked };
  },
};

/** A join token, known by its hash alone. */
export interface TokenState {
  /** Milliseconds since 1970. */
  readonly expires: number;
  /** Its one use. */
  readonly used?: { readonly node: string; readonly publicKeyHash: Uint8Array; readonly generation: number };
}

export const tokenCodec: Codec<TokenState> = {
  encode: ({ expires, used }) =>
    toBinary(TokenRecordSchema, create(TokenRecordSchema, { expires: BigInt(expires), ...used })),
  decode: (bytes) => {
    const { expires, node, publicKeyHash, generation } = fromBinary(TokenRecordSchema, bytes);
    return { expires: Number(expires), ...(node === "" ? {} : { used: { node, publicKeyHash, generation } }) };
  },
};

/** An address that was released a moment ago. */
export interface Quarantine {
  /** Milliseconds since 1970. */
  readonly released: number;
  /** Of a MAC: the sequence of its last owner. */
  readonly sequence: number;
}

export const quarantineCodec: Codec<Quarantine> = {
  encode: ({ released, sequence }) =>
    toBinary(
      QuarantineRecordSchema,
      create(QuarantineRecordSchema, { released: BigInt(released), sequence: BigInt(sequence) }),
    ),
  decode: (bytes) => {
    const { released, sequence } = fromBinary(QuarantineRecordSchema, bytes);
    return { released: Number(released), sequence: Number(sequence) };
  },
};

export function put<Value>(key: string, codec: Codec<Value>, value: Value): Operation {
  return { kind: "put", key, value: codec.encode(value) };
}

/** Notes who holds what `key` stands for. */
export function putOwner(key: string, owner: string): Operation {
  return { kind: "put", key, value: toBinary(OwnerRecordSchema, create(OwnerRecordSchema, { owner })) };
}

export function remove(key: string): Operation {
  return { kind: "delete", key };
}
