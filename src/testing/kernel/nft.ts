import { isDeepStrictEqual } from "node:util";
import { WeftError } from "../../base/errors.ts";
import type { Context } from "./context.ts";

type Fields = Record<string, unknown>;
type NftObject = Readonly<Record<string, Fields>>;
type Command = { readonly add?: NftObject; readonly delete?: NftObject };

/** libnetfilter: subsystem 10 of nfnetlink is nftables; NFT_MSG_NEWTABLE; NFTA_TABLE_NAME. */
const changed = (10 << 8) | 0;
const tableName = 1;

/** The tables of nftables in a namespace, by what `nft -j` is told and prints: libnftables-json(5). */
export class FakeNft {
  readonly #namespace: Context;
  #tables = new Map<string, readonly NftObject[]>();

  constructor(namespace: Context) {
    this.#namespace = namespace;
  }

  get tables(): ReadonlyMap<string, readonly NftObject[]> {
    return this.#tables;
  }

  run(attempted: string, parameters: readonly string[], input: string): string {
    const words = parameters.filter((word) => !word.startsWith("-"));
    const [verb, what, family = "", name = ""] = words;
    if (parameters.includes("-f")) {
      this.apply((JSON.parse(input) as { nftables: Command[] }).nftables);
      return "";
    }
    if (verb === "delete") this.apply([{ delete: { table: { family, name } } }]);
    else if (what === "tables") {
      const own = [...this.#tables.keys()].filter((key) => key.startsWith(`${family} `));
      return JSON.stringify({
        nftables: own.map((key) => ({ table: { family, name: key.slice(family.length + 1) } })),
      });
    } else if (what === "table") {
      const objects = this.#tables.get(`${family} ${name}`);
      if (objects === undefined)
        throw new WeftError({ code: "internal", attempted, reason: "Error: No such file or directory" });
      return JSON.stringify({ nftables: [{ metainfo: {} }, { table: { family, name } }, ...objects] });
    }
    return "";
  }

  /** All of it, or nothing. */
  apply(commands: readonly Command[]): void {
    const before = this.#tables;
    this.#tables = new Map(before);
    try {
      for (const command of commands) this.#applyOne(command);
    } catch (error) {
      this.#tables = before;
      throw error;
    }
    const touched = [...new Set([...before.keys(), ...this.#tables.keys()])];
    for (const key of touched)
      if (before.get(key) !== this.#tables.get(key)) this.#tell(key.slice(key.indexOf(" ") + 1));
  }

  #applyOne(command: Command): void {
    const isAdded = command.add !== undefined;
    const [kind, fields = {}] = Object.entries(command.add ?? command.delete ?? {})[0] ?? [];
    const key = `${fields.family} ${kind === "table" ? fields.name : fields.table}`;
    const objects = this.#tables.get(key);
    const missing = new WeftError({
      code: "internal",
      attempted: "change nft rules",
      reason: `Error: No such file or directory; ${key}`,
    });
    if (kind === "table") {
      if (isAdded) this.#tables.set(key, objects ?? []);
      else if (!this.#tables.delete(key)) throw missing;
      return;
    }
    if (objects === undefined) throw missing;
    if (kind !== "element") {
      this.#tables.set(key, [...objects, { [kind ?? ""]: fields }]);
      return;
    }
    const position = objects.findIndex(({ set }) => set?.name === fields.name);
    const set = objects[position]?.set;
    if (set === undefined) throw missing;
    const [present, given] = [(set.elem ?? []) as unknown[], fields.elem as unknown[]];
    const isIn = (list: readonly unknown[], element: unknown): boolean =>
      list.some((other) => isDeepStrictEqual(other, element));
    if (!isAdded && !given.every((element) => isIn(present, element))) throw missing;
    const rest = present.filter((element) => !isIn(given, element));
    const elem = isAdded ? [...rest, ...given] : rest;
    const { elem: _elem, ...empty } = set;
    this.#tables.set(key, objects.with(position, { set: elem.length === 0 ? empty : { ...empty, elem } }));
  }

  #tell(table: string): void {
    this.#namespace.publish("nftables", {
      type: changed,
      write: (writer) => {
        writer.reserve(4);
        const attribute = writer.beginAttribute(tableName);
        const text = new TextEncoder().encode(table);
        const position = writer.reserve(text.length + 1);
        writer.bytes.set(text, position);
        writer.endAttribute(attribute);
      },
    });
  }
}

/** The lines of a table: one for each chain, set and rule. */
export function nftText(key: string, objects: readonly NftObject[]): string[] {
  return objects.map((object) => {
    const [kind = "", { family: _family, table: _table, ...fields } = {}] = Object.entries(object)[0] ?? [];
    if (kind !== "set") return `nft ${key} ${kind} ${JSON.stringify(fields)}`;
    const elements = ((fields.elem ?? []) as unknown[]).map((each) => JSON.stringify(each)).sort();
    return `nft ${key} set ${fields.name} { ${elements.join(", ")} }`;
  });
}
