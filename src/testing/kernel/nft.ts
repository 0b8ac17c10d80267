import { toHex } from "../../base/bytes.ts";
import {
  addNftElements,
  type NftField,
  type NftSet,
  nftField,
  packetAddress,
  packetNumber,
} from "../../netlink/index.ts";
import { elementsOf, readNftElementList } from "../../netlink/nft/element.ts";
import { NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END, nftMessage, readFamily } from "../../netlink/nft/message.ts";
import { type NftSetLayout, nftSetFlag, readNftSet } from "../../netlink/nft/set.ts";
import { addNftTable, readNftTable } from "../../netlink/nft/table.ts";
import type { FakeAnswer, FakeHandler, FakeMessage, FakeRequest } from "../fake-kernel.ts";
import { errnoOf, viewOf } from "./request.ts";

type Fields = Record<string, unknown>;
type NftObject = Readonly<Record<string, Fields>>;
type Command = Readonly<Record<string, NftObject>>;

interface FakeSet {
  readonly set: NftSet;
  /** As it was asked for. */
  readonly payload: Uint8Array;
  readonly elements: Set<string>;
}

/** A table with what is in it: chains and rules in the form of libnftables-json(5), elements of sets as nft has them. */
export interface FakeNftTable {
  rules: readonly NftObject[];
  readonly sets: Map<string, FakeSet>;
}

type Tables = Map<string, FakeNftTable>;

/** What a transaction makes of the tables, until it is done or refused. */
interface Staged {
  readonly tables: Tables;
  /** Those that something was done in, be it that they are as they were. */
  readonly touched: Set<string>;
}

/** NFT_MSG_* of one kind of object. linux/netfilter/nf_tables.h */
const messages = (first: number) => ({
  add: nftMessage(first),
  list: nftMessage(first + 1),
  delete: nftMessage(first + 2),
});
const [table, set, element] = [messages(0), messages(9), messages(12)] as const;

/** Whether a message begins or ends a transaction. */
export const isBatchEdge = (type: number): boolean => type === NFNL_MSG_BATCH_BEGIN || type === NFNL_MSG_BATCH_END;

/** nftables of a namespace: rules by way of the program nft, sets by netlink. */
export class FakeNft {
  readonly #tell: (...messages: readonly FakeMessage[]) => void;
  #tables: Tables = new Map();
  /** How this nft lists what it was given: versions differ. */
  form: (rules: readonly NftObject[]) => readonly NftObject[] = (rules) => rules;
  /** Runs of nft, and how many of them were to write. */
  readonly runs = { all: 0, writing: 0 };

  constructor(tell: (...messages: readonly FakeMessage[]) => void) {
    this.#tell = tell;
  }

  /** By family and name, `inet weft`. */
  get tables(): ReadonlyMap<string, FakeNftTable> {
    return this.#tables;
  }

  /** What nft(8) prints. Throws what it complains of, having done nothing. */
  run(parameters: readonly string[], input: string): string {
    this.runs.all++;
    if (parameters.includes("-f")) {
      this.runs.writing++;
      this.apply((JSON.parse(input) as { nftables: Command[] }).nftables);
      return "";
    }
    const [, , family = "", name = ""] = parameters.filter((word) => !word.startsWith("-"));
    const found = this.#tables.get(`${family} ${name}`);
    if (found === undefined) throw noSuch(`table ${family} ${name}`);
    return JSON.stringify({ nftables: [{ metainfo: {} }, { table: { family, name } }, ...this.form(found.rules)] });
  }

  /** Does all that nft is told, or nothing. */
  apply(commands: readonly Command[]): void {
    const staged = this.#stage();
    for (const command of commands) applyCommand(staged, command);
    this.#commit(staged, 0);
  }

  /** Answers requests that come by one socket. */
  handlerOf(port: number): FakeHandler {
    let batch: (Staged & { readonly begin: number; done: number }) | undefined;
    return (request) => {
      if (request.type === NFNL_MSG_BATCH_BEGIN) {
        batch = { ...this.#stage(), begin: request.sequence, done: 0 };
        return {};
      }
      if (request.type === NFNL_MSG_BATCH_END) {
        // What was refused, here or before it came here, was not counted.
        if (batch !== undefined && batch.done === request.sequence - batch.begin - 1) this.#commit(batch, port);
        batch = undefined;
        return {};
      }
      const listing = this.#list(request);
      if (listing !== undefined) return listing;
      if (batch === undefined) return { errno: errnoOf("EINVAL") };
      const refusal = change(batch, request);
      if (refusal === 0) batch.done++;
      return { errno: refusal };
    };
  }

  #list({ type, payload }: FakeRequest): FakeAnswer | undefined {
    const view = viewOf(payload);
    const family = readFamily(view, 0, payload.length);
    if (type === table.list) {
      const own = [...this.#tables.keys()].filter((key) => key.startsWith(`${family} `));
      return { messages: own.map((key) => addNftTable(family, key.slice(family.length + 1))) };
    }
    if (type === set.list) {
      const { table: name } = readNftSet(payload, view, 0, payload.length);
      const found = this.#tables.get(`${family} ${name}`);
      return found === undefined
        ? { errno: errnoOf("ENOENT") }
        : { messages: [...found.sets.values()].map(setMessage) };
    }
    if (type === element.list) {
      const asked = readNftElementList(payload, view, 0, payload.length);
      const found = this.#tables.get(`${family} ${asked.table}`)?.sets.get(asked.set ?? "");
      if (found === undefined) return { errno: errnoOf("ENOENT") };
      return { messages: [addNftElements(found.set, [...found.elements])] };
    }
    return undefined;
  }

  #stage(): Staged {
    return { tables: copyOf(this.#tables), touched: new Set() };
  }

  #commit({ tables, touched }: Staged, port: number): void {
    this.#tables = tables;
    for (const key of touched) this.#tellOf(key, port);
  }

  #tellOf(key: string, portId: number): void {
    const [family, name = ""] = key.split(" ");
    this.#tell({ ...addNftTable(family === "bridge" ? "bridge" : "inet", name), portId });
  }
}

function noSuch(what: string): Error {
  return new Error(`Error: No such file or directory: ${what}`);
}

function copyOf(tables: Tables): Tables {
  const copySet = (each: FakeSet): FakeSet => ({ ...each, elements: new Set(each.elements) });
  return new Map(
    Array.from(tables, ([key, { rules, sets }]) => [
      key,
      { rules, sets: new Map(Array.from(sets, ([name, each]) => [name, copySet(each)])) },
    ]),
  );
}

function applyCommand({ tables, touched }: Staged, command: Command): void {
  const [verb = "", object = {}] = Object.entries(command)[0] ?? [];
  const [kind = "", fields = {}] = Object.entries(object)[0] ?? [];
  const key = `${fields.family} ${kind === "table" ? fields.name : fields.table}`;
  const found = tables.get(key);
  if (found === undefined) throw noSuch(`${verb} ${kind} of ${key}`);
  touched.add(key);
  if (verb === "delete" && kind === "table") tables.delete(key);
  else if (verb === "flush") found.rules = found.rules.filter((each) => !("rule" in each));
  else if (verb === "delete") found.rules = found.rules.filter(({ chain }) => chain?.name !== fields.name);
  else found.rules = [...found.rules, object];
}

/** Does one request of a transaction; the number of the error with which it is refused, or 0. Nothing is told of what was so already. */
function change({ tables, touched }: Staged, { type, payload }: FakeRequest): number {
  const view = viewOf(payload);
  const family = readFamily(view, 0, payload.length);
  if (type === table.add || type === table.delete) {
    const key = `${family} ${readNftTable(payload, view, 0, payload.length)}`;
    if (type === table.add && tables.has(key)) return 0;
    touched.add(key);
    if (type === table.delete) return tables.delete(key) ? 0 : errnoOf("ENOENT");
    tables.set(key, { rules: [], sets: new Map() });
    return 0;
  }
  if (type === set.add || type === set.delete) {
    const { table: tableName = "", name = "", notes, ...layout } = readNftSet(payload, view, 0, payload.length);
    const key = `${family} ${tableName}`;
    const found = tables.get(key);
    if (found === undefined) return errnoOf("ENOENT");
    const { rules, sets } = found;
    const isInUse = type === set.delete && JSON.stringify(rules).includes(`"@${name}"`);
    if (isInUse) return errnoOf("EBUSY");
    if (type === set.delete || !sets.has(name)) touched.add(key);
    if (type === set.delete) return sets.delete(name) ? 0 : errnoOf("ENOENT");
    const made = { family, table: tableName, name, ...fieldsOf(layout, notes ?? new Uint8Array()) };
    if (!sets.has(name)) sets.set(name, { set: made, payload, elements: new Set() });
    return 0;
  }
  const {
    table: tableName,
    set: name = "",
    elements: parts = [],
  } = readNftElementList(payload, view, 0, payload.length);
  const key = `${family} ${tableName}`;
  const found = tables.get(key)?.sets.get(name);
  if (found === undefined) return errnoOf("ENOENT");
  for (const each of elementsOf(found.set, parts)) {
    if (type === element.add && found.elements.has(each)) continue;
    touched.add(key);
    if (type === element.add) found.elements.add(each);
    else if (!found.elements.delete(each)) return errnoOf("ENOENT");
  }
  return 0;
}

const setMessage = ({ payload }: FakeSet): FakeMessage => ({
  type: set.add,
  write: (writer) => writer.bytes.set(payload, writer.reserve(payload.length)),
});

/** nftables/include/datatype.h: TYPE_BITS */
function typesOf(together: number): number[] {
  const types: number[] = [];
  for (let rest = together; rest > 0; rest >>>= 6) types.unshift(rest & 0x3f);
  return types;
}

/** What a set's elements are made of: datatypes, and octets of packets as nft notes them, `typeof @th,96,24`. */
function fieldsOf(
  { flags = 0, keyType = 0, dataType }: NftSetLayout,
  notes: Uint8Array,
): Pick<NftSet, "key" | "isInterval" | "data"> {
  const octets = toHex(notes).matchAll(/0204030000000304(.{8})0404(.{2})000000/g);
  const inPackets = Array.from(octets, ([, , bits = ""]): NftField => {
    const length = Number.parseInt(bits, 16);
    if (length === 32 || length === 128) return packetAddress(0, length === 32 ? "ipv4_addr" : "ipv6_addr");
    return packetNumber(0, length);
  });
  const known = (type: number): NftField | undefined =>
    Object.values<NftField>(nftField).find(({ datatype }) => datatype === type);
  const key = typesOf(keyType).flatMap((type) => known(type) ?? inPackets.shift() ?? []);
  const data = dataType === undefined ? undefined : typesOf(dataType).flatMap((type) => known(type) ?? []);
  return { key, isInterval: (flags & nftSetFlag.interval) !== 0, ...(data === undefined ? {} : { data }) };
}
