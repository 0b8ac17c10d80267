import { isDeepStrictEqual } from "node:util";
import type { FakeMessage } from "../fake-kernel.ts";

/** linux/netfilter/nfnetlink.h: NFNL_SUBSYS_NFTABLES; linux/netfilter/nf_tables.h: `enum nf_tables_msg_types`. */
const subsystem = 10 << 8;
const messageOf = { table: 0, chain: 3, rule: 6, set: 9, element: 12 } as const;
const NFT_MSG_NEWGEN = 15;
const nfgenmsgLength = 4;
const tableAttribute = 1;

type Kind = keyof typeof messageOf;
type Fields = Readonly<Record<string, unknown>>;
type Command = Readonly<Record<string, Readonly<Record<string, Fields>>>>;

/** A table with what is in it, in the form of libnftables-json(5). */
export interface PresentTable {
  readonly family: string;
  readonly name: string;
  readonly sets: readonly Fields[];
  readonly chains: readonly Fields[];
  readonly rules: readonly Fields[];
}

/** The tables of nftables in one namespace, and nft(8), as far as it is used here. */
export class Nft {
  #tables: ReadonlyMap<string, PresentTable> = new Map();
  readonly #tell: (...messages: readonly FakeMessage[]) => void;

  constructor(tell: (...messages: readonly FakeMessage[]) => void) {
    this.#tell = tell;
  }

  get tables(): readonly PresentTable[] {
    return [...this.#tables.values()];
  }

  /** What nft prints. Throws what it complains of, having done nothing. */
  run(parameters: readonly string[], input: string): string {
    const words = parameters.filter((word) => word !== "-j" && word !== "-p");
    const [verb, kind, family = "", name = ""] = words;
    if (verb === "-f") {
      this.apply((JSON.parse(input) as { nftables: Command[] }).nftables);
      return "";
    }
    switch (`${verb} ${kind}`) {
      case "delete table":
        this.apply([{ delete: { table: { family, name } } }]);
        return "";
      case "flush ruleset":
        this.apply(this.tables.map((table) => ({ delete: { table: { family: table.family, name: table.name } } })));
        return "";
      case "list tables":
        return listing(
          this.tables
            .filter((table) => table.family === family)
            .map((table) => ({ table: { family, name: table.name, handle: 1 } })),
        );
      case "list table": {
        const { sets, chains, rules } = this.#need(this.#tables, family, name);
        const all = {
          set: sets,
          chain: chains,
          rule: chains.flatMap((chain) => rules.filter((rule) => rule.chain === chain.name)),
        };
        return listing([
          { table: { family, name, handle: 1 } },
          ...Object.entries(all).flatMap(([of, objects]) =>
            objects.map((fields) => ({ [of]: { ...asListed(fields), handle: 1 } })),
          ),
        ]);
      }
      default:
        throw new Error(`nft ${parameters.join(" ")}: not known here`);
    }
  }

  /** All, or nothing. */
  apply(commands: readonly Command[]): void {
    const tables = new Map(this.#tables);
    const messages: FakeMessage[] = [];
    for (const command of commands)
      for (const [verb, object] of Object.entries(command))
        for (const [kind, fields] of Object.entries(object) as [Kind, Fields][]) {
          carryOut(tables, verb, kind, fields, (family, name) => this.#need(tables, family, name));
          const isOfTable = kind === "table";
          const type = subsystem | (messageOf[kind] + (verb === "add" ? 0 : 2));
          messages.push(messageAbout(type, String(isOfTable ? fields.name : fields.table)));
        }
    this.#tables = tables;
    if (messages.length > 0)
      this.#tell(...messages, {
        type: subsystem | NFT_MSG_NEWGEN,
        write: (writer) => void writer.reserve(nfgenmsgLength),
      });
  }

  #need(tables: ReadonlyMap<string, PresentTable>, family: string, name: string): PresentTable {
    const table = tables.get(`${family} ${name}`);
    if (table === undefined) throw new Error("Error: No such file or directory");
    return table;
  }
}

function carryOut(
  tables: Map<string, PresentTable>,
  verb: string,
  kind: Kind,
  fields: Fields,
  need: (family: string, name: string) => PresentTable,
): void {
  const family = String(fields.family);
  if (kind === "table") {
    const name = String(fields.name);
    const key = `${family} ${name}`;
    if (verb === "delete") {
      need(family, name);
      tables.delete(key);
    } else if (!tables.has(key)) tables.set(key, { family, name, sets: [], chains: [], rules: [] });
    return;
  }
  const table = need(family, String(fields.table));
  const key = `${family} ${table.name}`;
  const hasName = (object: Fields): boolean => object.name === fields.name;
  if (kind === "element") {
    const set = table.sets.find(hasName);
    if (set === undefined) throw new Error("Error: No such file or directory");
    const elem = changedElements((set.elem ?? []) as unknown[], verb, (fields.elem ?? []) as unknown[]);
    const sets = table.sets.map((each) => (each === set ? { ...set, elem } : each));
    tables.set(key, { ...table, sets });
    return;
  }
  if (verb !== "add") throw new Error(`nft ${verb} ${kind}: not known here`);
  if (kind === "rule") {
    if (!table.chains.some(({ name }) => name === fields.chain)) throw new Error("Error: No such file or directory");
    tables.set(key, { ...table, rules: [...table.rules, fields] });
    return;
  }
  const field = kind === "set" ? "sets" : "chains";
  if (!table[field].some(hasName)) tables.set(key, { ...table, [field]: [...table[field], fields] });
}

function changedElements(present: readonly unknown[], verb: string, named: readonly unknown[]): readonly unknown[] {
  const isSame = (a: unknown, b: unknown): boolean =>
    a === b || (String(a) === String(b) && typeof a !== "object") || isDeepStrictEqual(a, b);
  if (verb === "add")
    return [...present, ...named.filter((element) => !present.some((other) => isSame(element, other)))];
  if (named.some((element) => !present.some((other) => isSame(element, other))))
    throw new Error("Error: Could not process rule: No such file or directory");
  return present.filter((element) => !named.some((other) => isSame(element, other)));
}

/** As nft prints what it was given: without what is empty, and with counts of packets. */
function asListed(fields: Fields): Fields {
  const { elem, expr, ...rest } = fields;
  return {
    ...rest,
    ...(Array.isArray(elem) && elem.length > 0 ? { elem } : {}),
    ...(Array.isArray(expr)
      ? { expr: expr.map((each: Fields) => ("counter" in each ? { counter: { packets: 0, bytes: 0 } } : each)) }
      : {}),
  };
}

function listing(objects: readonly unknown[]): string {
  return JSON.stringify({ nftables: [{ metainfo: { json_schema_version: 1 } }, ...objects] });
}

function messageAbout(type: number, table: string): FakeMessage {
  const name = new TextEncoder().encode(table);
  return {
    type,
    write(writer) {
      writer.reserve(nfgenmsgLength);
      const start = writer.beginAttribute(tableAttribute);
      const at = writer.reserve(name.length + 1);
      writer.bytes.set(name, at);
      writer.endAttribute(start);
    },
  };
}
