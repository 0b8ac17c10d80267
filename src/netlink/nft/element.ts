import { AttributeSchema, type AttributeValues, be32, binary, list, nested, string } from "../attribute.ts";
import { NLM_F_CREATE } from "../message.ts";
import type { Query, Request } from "../request.ts";
import type { NetlinkSocket } from "../socket.ts";
import { keyText, type OctetRange, parseKey } from "./key.ts";
import { header, nftMessage, writeHeader } from "./message.ts";
import type { NftSet } from "./set.ts";

/** linux/netfilter/nf_tables.h */
const NFT_MSG_NEWSETELEM = nftMessage(12);
const NFT_MSG_GETSETELEM = nftMessage(13);
const NFT_MSG_DELSETELEM = nftMessage(14);

/** The element ends an interval, and is not in it. */
const NFT_SET_ELEM_INTERVAL_END = 1;

/** linux/netfilter/nf_tables.h: `NFTA_DATA_*`. */
const value = new AttributeSchema("NFTA_DATA", { value: binary(1) });

/** linux/netfilter/nf_tables.h: `NFTA_SET_ELEM_*`. */
const elementSchema = new AttributeSchema("NFTA_SET_ELEM", {
  key: nested(1, value),
  data: nested(2, value),
  flags: be32(3),
  /** Of a key of several fields: the last of the interval. */
  keyEnd: nested(10, value),
});
type Part = AttributeValues<typeof elementSchema.set>;

/** linux/netfilter/nf_tables.h: `NFTA_SET_ELEM_LIST_*`. */
const schema = new AttributeSchema("NFTA_SET_ELEM_LIST", {
  table: string(1),
  set: string(2),
  elements: list(3, nested(1, elementSchema)),
});

/** Between the key of a map's element and its data. */
const toData = " : ";

/**
 * Adds elements: keys as text, fields with ` . ` between them, in maps ` : ` and the data. Those that are there are left;
 * EEXIST if one overlaps another or has other data. At most some hundred at once. Part of a transaction.
 */
export function addNftElements(set: NftSet, elements: readonly string[]): Request {
  return writeElements("add", NFT_MSG_NEWSETELEM, NLM_F_CREATE, set, elements);
}

/** Takes elements out; ENOENT if one is not there. Part of a transaction. */
export function deleteNftElements(set: NftSet, elements: readonly string[]): Request {
  return writeElements("delete", NFT_MSG_DELSETELEM, 0, set, elements);
}

function writeElements(verb: string, type: number, flags: number, set: NftSet, elements: readonly string[]): Request {
  const { family, table, name } = set;
  return {
    type,
    flags,
    describe: () => {
      const what = elements.length === 1 ? `element ${elements[0]}` : `${elements.length} elements`;
      return `${verb} ${what} of nft set ${name} of table ${family} ${table}`;
    },
    write: (writer) => {
      writeHeader(writer, family);
      schema.write(writer, { table, set: name, elements: elements.flatMap((each) => partsOf(set, each)) });
    },
  };
}

/** All elements of a set; rejects with ENOENT if there is none. */
export async function readNftElements(socket: NetlinkSocket, set: NftSet): Promise<string[]> {
  return elementsOf(set, (await socket.dump(listParts(set))).flat());
}

function listParts({ family, table, name }: NftSet): Query<readonly Part[]> {
  return {
    type: NFT_MSG_GETSETELEM,
    flags: 0,
    describe: () => `list nft set ${name} of table ${family} ${table}`,
    write: (writer) => {
      writeHeader(writer, family);
      schema.write(writer, { table, set: name });
    },
    read: (bytes, view, start, end) => readNftElementList(bytes, view, start, end).elements,
  };
}

/** Reads the payload of NFT_MSG_NEWSETELEM or NFT_MSG_DELSETELEM; {@link elementsOf} says what its parts are. */
export function readNftElementList(bytes: Uint8Array, view: DataView, start: number, end: number) {
  return schema.read(bytes, view, start + header.length, end);
}

/** An element as the kernel takes it: intervals of one field are two, the second of which is where it ends. */
function partsOf(set: NftSet, element: string): Part[] {
  const { key, data, isInterval = false } = set;
  const [keyPart = "", dataPart] = element.split(toData);
  const { first, last } = parseKey(key, keyPart, isInterval);
  const start: Part = {
    key: { value: first },
    ...(isInterval && key.length > 1 ? { keyEnd: { value: last } } : {}),
    ...(data === undefined || dataPart === undefined ? {} : { data: { value: parseKey(data, dataPart, false).first } }),
  };
  const end = isInterval && key.length === 1 ? successor(last) : undefined;
  return end === undefined ? [start] : [start, { key: { value: end }, flags: NFT_SET_ELEM_INTERVAL_END }];
}

/** The elements that these are, in the order of their octets. */
export function elementsOf(set: NftSet, parts: readonly Part[]): string[] {
  const { key, data, isInterval = false } = set;
  const isEnd = (part: Part): boolean => ((part.flags ?? 0) & NFT_SET_ELEM_INTERVAL_END) !== 0;
  const known = parts.flatMap((part) => {
    const octets = part.key?.value;
    return octets === undefined ? [] : [{ part, octets }];
  });
  // One interval may begin where another ends.
  known.sort((a, b) => Buffer.compare(a.octets, b.octets) || Number(isEnd(b.part)) - Number(isEnd(a.part)));
  return known.flatMap(({ part, octets }, index) => {
    if (isEnd(part)) return [];
    const next = known[index + 1]?.octets;
    const last =
      part.keyEnd?.value ??
      (!isInterval || key.length > 1 ? octets : next === undefined ? octets.map(() => 0xff) : predecessor(next));
    const range: OctetRange = { first: octets, last };
    const value = part.data?.value;
    const ending =
      data === undefined || value === undefined ? "" : toData + keyText(data, { first: value, last: value });
    return [keyText(key, range) + ending];
  });
}

/** The octets as a number, and one more; `undefined`: there is none. */
function successor(octets: Uint8Array): Uint8Array | undefined {
  const next = octets.slice();
  for (let index = next.length - 1; index >= 0; index--) {
    next[index] = ((next[index] ?? 0) + 1) & 0xff;
    if (next[index] !== 0) return next;
  }
  return undefined;
}

function predecessor(octets: Uint8Array): Uint8Array {
  const before = octets.slice();
  for (let index = before.length - 1; index >= 0; index--) {
    const octet = before[index] ?? 0;
    before[index] = (octet - 1) & 0xff;
    if (octet !== 0) break;
  }
  return before;
}
