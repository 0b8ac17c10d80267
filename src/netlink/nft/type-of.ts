/**
 * What nft notes beside a set of what its elements are, `typeof @th,96,24 . ip saddr`: the kernel keeps it for nft, which
 * could not list or match them otherwise. Types, lengths and values of one octet. libnftnl/udata.h, nftables/src: `*_build_udata`
 */
const tlv = (type: number, ...parts: readonly Uint8Array[]): Uint8Array => {
  const value = parts.flatMap((part) => [...part]);
  return Uint8Array.of(type, value.length, ...value);
};
const u32 = (type: number, value: number): Uint8Array => tlv(type, new Uint8Array(Uint32Array.of(value).buffer));

/** nftables/include/expression.h: `enum expr_types` */
const expressionType = { payload: 7, meta: 9, concatenation: 13 } as const;
/** NFTNL_UDATA_SET_TYPEOF_EXPR, NFTNL_UDATA_SET_TYPEOF_DATA */
const expression = (type: keyof typeof expressionType, ...data: readonly Uint8Array[]): Uint8Array =>
  Uint8Array.of(...u32(0, expressionType[type]), ...tlv(1, ...data));

/** nftables/include/proto.h: PROTO_DESC_* and the field there. */
const fields = { "ip saddr": [12, 11], "ip6 saddr": [13, 8] } as const;
const transportHeader = 3;

export function typeOfPayload(field: keyof typeof fields): Uint8Array {
  const [protocol, number] = fields[field];
  return expression("payload", u32(0, protocol), u32(1, number));
}

/** Bits counted from the transport header on. */
export function typeOfPacket(offset: number, bits: number): Uint8Array {
  return expression("payload", u32(0, 0), u32(1, 0), u32(2, transportHeader), u32(3, offset), u32(4, bits));
}

/** `key`: NFT_META_* of linux/netfilter/nf_tables.h. */
export function typeOfMeta(key: number): Uint8Array {
  return expression("meta", u32(0, key));
}

/** Of several fields together: what each is. */
export function typeOfFields(fields: readonly Uint8Array[]): Uint8Array {
  return expression("concatenation", ...fields.map((each, index) => tlv(index, each)));
}

/** nftables/include/datatype.h: `enum byteorder`; of several fields together none. */
const byteOrder = { none: 0, host: 1, network: 2 } as const;

/** NFTNL_UDATA_SET_KEYBYTEORDER, NFTNL_UDATA_SET_KEY_TYPEOF */
export function setNotes(order: keyof typeof byteOrder, typeOf?: Uint8Array): Uint8Array {
  return Uint8Array.of(...u32(0, byteOrder[order]), ...(typeOf === undefined ? [] : tlv(3, typeOf)));
}
