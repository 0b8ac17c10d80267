import { AttributeSchema, type AttributeValues, be32, binary, list, nested, string } from "../attribute.ts";
import { NLM_F_CREATE } from "../message.ts";
import type { Query, Request } from "../request.ts";
import { keyLength, type NftField } from "./key.ts";
import { header, type NftFamily, nftMessage, writeHeader } from "./message.ts";
import { setNotes, typeOfFields } from "./type-of.ts";

/** linux/netfilter/nf_tables.h */
const NFT_MSG_NEWSET = nftMessage(9);
const NFT_MSG_GETSET = nftMessage(10);
const NFT_MSG_DELSET = nftMessage(11);

/** linux/netfilter/nf_tables.h: `enum nft_set_flags`. */
export const nftSetFlag = { interval: 0x4, map: 0x8, concatenation: 0x80 } as const;

const descriptionSchema = new AttributeSchema("NFTA_SET_DESC", {
  /** Lengths of the fields of a key, octets. NFTA_SET_FIELD_LEN */
  fields: list(2, nested(1, new AttributeSchema("NFTA_SET_FIELD", { length: be32(1) }))),
});

/** linux/netfilter/nf_tables.h: `NFTA_SET_*`. */
const schema = new AttributeSchema("NFTA_SET", {
  table: string(1),
  name: string(2),
  flags: be32(3),
  keyType: be32(4),
  keyLength: be32(5),
  dataType: be32(6),
  dataLength: be32(7),
  description: nested(9, descriptionSchema),
  /** By which other messages of the transaction could speak of it; the kernel insists on one. */
  id: be32(10),
  notes: binary(13),
});

/** A set of nftables, or a map: a set whose elements have data. */
export interface NftSet {
  readonly family: NftFamily;
  readonly table: string;
  readonly name: string;
  /** One field, or several together. */
  readonly key: readonly NftField[];
  /** Elements are ranges: `10.0.0.0/8`. Default: single values. */
  readonly isInterval?: boolean;
  /** Of a map: what its elements have, one field or several together. */
  readonly data?: readonly NftField[];
}

/** What the kernel tells of a set. */
export type NftSetLayout = Pick<
  AttributeValues<typeof schema.set>,
  "flags" | "keyType" | "keyLength" | "dataType" | "dataLength"
>;

function layoutOf({ key, isInterval = false, data }: NftSet): NftSetLayout {
  return {
    flags:
      (isInterval ? nftSetFlag.interval : 0) |
      (data === undefined ? 0 : nftSetFlag.map) |
      (isInterval && key.length > 1 ? nftSetFlag.concatenation : 0),
    keyType: typeOf(key),
    keyLength: keyLength(key),
    ...(data === undefined ? {} : { dataType: typeOf(data), dataLength: keyLength(data) }),
  };
}

/** nftables/include/datatype.h: TYPE_BITS */
function typeOf(fields: readonly NftField[]): number {
  return fields.reduce((type, { datatype }) => (type << 6) | datatype, 0);
}

/** Whether the set that the kernel has under this name is made as this one. */
export function isSameSet(set: NftSet, actual: NftSetLayout): boolean {
  const wanted = layoutOf(set);
  return (
    wanted.flags === (actual.flags ?? 0) &&
    wanted.keyType === actual.keyType &&
    wanted.keyLength === actual.keyLength &&
    wanted.dataType === actual.dataType &&
    wanted.dataLength === actual.dataLength
  );
}

/** Makes a set, unless it is there. Part of a transaction. */
export function addNftSet(set: NftSet): Request {
  const { family, table, name, key, isInterval } = set;
  const notes = notesOf(key);
  return {
    type: NFT_MSG_NEWSET,
    flags: NLM_F_CREATE,
    describe: () => `add nft set ${name} to table ${family} ${table}`,
    write: (writer) => {
      writeHeader(writer, family);
      schema.write(writer, {
        table,
        name,
        ...layoutOf(set),
        id: 1,
        ...(isInterval && key.length > 1
          ? { description: { fields: key.map(({ octets }) => ({ length: octets })) } }
          : {}),
        notes,
      });
    },
  };
}

function notesOf(key: readonly NftField[]): Uint8Array {
  const [only] = key;
  const order = key.length > 1 ? "none" : only?.isHostOrder ? "host" : "network";
  if (!key.some((field) => field.isRaw)) return setNotes(order);
  const typeOf = key.flatMap((field) => field.typeOf ?? []);
  if (typeOf.length < key.length) throw new TypeError("nft has no words for such a key");
  return setNotes(order, key.length > 1 ? typeOfFields(typeOf) : typeOf[0]);
}

/** Removes a set; ENOENT if there is none, EBUSY while a rule uses it. Part of a transaction. */
export function deleteNftSet({ family, table, name }: Pick<NftSet, "family" | "table" | "name">): Request {
  return {
    type: NFT_MSG_DELSET,
    flags: 0,
    describe: () => `delete nft set ${name} of table ${family} ${table}`,
    write: (writer) => {
      writeHeader(writer, family);
      schema.write(writer, { table, name });
    },
  };
}

/** The sets of a table that have a name, by it; ENOENT if there is no such table. */
export function listNftSets(family: NftFamily, table: string): Query<readonly [string, NftSetLayout]> {
  return {
    type: NFT_MSG_GETSET,
    flags: 0,
    describe: () => `list nft sets of table ${family} ${table}`,
    write: (writer) => {
      writeHeader(writer, family);
      schema.write(writer, { table });
    },
    read: (bytes, view, start, end) => {
      const { name, ...layout } = readNftSet(bytes, view, start, end);
      // Those that are part of one rule have names that nft hides.
      return name === undefined || name.startsWith("__") ? undefined : [name, layout];
    },
  };
}

/** Reads the payload of NFT_MSG_NEWSET or NFT_MSG_DELSET. */
export function readNftSet(bytes: Uint8Array, view: DataView, start: number, end: number) {
  return schema.read(bytes, view, start + header.length, end);
}
