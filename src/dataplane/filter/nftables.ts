import { isDeepStrictEqual } from "node:util";
import type { KernelNamespace } from "../kernel.ts";

/** One object of nftables' JSON schema, libnftables-json(5), in the form in which `nft -j list` prints it. */
export type NftObject = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

/** One table with all that is in it, in the order in which it is made. */
export interface NftTable {
  readonly family: "inet" | "bridge";
  readonly name: string;
  /** Sets, chains and rules without `family` and `table`, which are those of the table. */
  readonly objects: readonly NftObject[];
}

/**
 * Makes the table so if it is not so, in one transaction; tells whether anything had to be written. Where nothing but
 * elements of sets differs, nothing but these is written.
 */
export async function ensureNftTable(namespace: KernelNamespace, table: NftTable): Promise<boolean> {
  const present = await listNftTable(namespace, table.family, table.name);
  const wanted = normalised(objectsOf(table));
  if (present !== undefined && isDeepStrictEqual(present, wanted)) return false;
  const identity = { family: table.family, name: table.name };
  const changes = present === undefined ? undefined : elementChanges(present, wanted);
  if (changes !== undefined && (await writeNft(namespace, table, changes).then(isDone, isRefused))) return true;
  await writeNft(namespace, table, [
    ...(present === undefined ? [] : [{ delete: { table: identity } }]),
    { add: { table: identity } },
    ...objectsOf(table).map((object) => ({ add: object })),
  ]);
  return true;
}

const isDone = (): boolean => true;
/** Some kernels take overlapping prefixes that come and go in one transaction for a conflict; the whole table they take. */
const isRefused = (): boolean => false;

async function writeNft(namespace: KernelNamespace, table: NftTable, commands: readonly object[]): Promise<void> {
  const attempted = `set nft table ${table.family} ${table.name}`;
  await namespace.nft(attempted, ["-j", "-f", "-"], JSON.stringify({ nftables: commands }));
}

/** Tells whether there was such a table. */
export async function deleteNftTable(
  namespace: KernelNamespace,
  family: NftTable["family"],
  name: string,
): Promise<boolean> {
  if ((await listNftTable(namespace, family, name)) === undefined) return false;
  await namespace.nft(`delete nft table ${family} ${name}`, ["delete", "table", family, name], "");
  return true;
}

/** The elements of all sets of a table, by name of the set; `undefined`: no such table. */
export async function readNftSets(
  namespace: KernelNamespace,
  family: NftTable["family"],
  name: string,
): Promise<ReadonlyMap<string, readonly unknown[]> | undefined> {
  const present = await listNftTable(namespace, family, name);
  if (present === undefined) return undefined;
  return new Map(setsOf(present).map((fields) => [String(fields.name), elementsOf(fields)]));
}

/** The names of all tables of a family. */
export async function listNftTables(namespace: KernelNamespace, family: string): Promise<string[]> {
  const listing = await namespace.nft(`list nft tables of ${family}`, ["-j", "list", "tables", family], "");
  const parsed = JSON.parse(listing) as { nftables: { table?: { name: string } }[] };
  return parsed.nftables.flatMap(({ table }) => (table === undefined ? [] : [table.name]));
}

type Fields = Record<string, unknown>;

function setsOf(objects: readonly unknown[]): Fields[] {
  return objects.flatMap((object) => {
    const { set } = object as { set?: Fields };
    return set === undefined ? [] : [set];
  });
}

const elementsOf = (set: Fields): readonly unknown[] => (set.elem ?? []) as readonly unknown[];

/** What makes one table the other where they differ in elements of sets alone; else `undefined`. Both are normalised. */
function elementChanges(present: readonly unknown[], wanted: readonly unknown[]): object[] | undefined {
  const withoutElements = (objects: readonly unknown[]): unknown[] =>
    objects.map((object) => {
      const { set } = object as { set?: Fields };
      return set === undefined ? object : { set: { ...set, elem: undefined } };
    });
  if (!isDeepStrictEqual(withoutElements(present), withoutElements(wanted))) return undefined;
  const commands: object[] = [];
  const before = new Map(setsOf(present).map((fields) => [fields.name, elementsOf(fields)]));
  for (const fields of setsOf(wanted)) {
    const { family, table, name } = fields;
    const change = (verb: string, these: readonly unknown[], others: readonly unknown[]): void => {
      const known = new Set(others.map((element) => JSON.stringify(element)));
      const elem = these.filter((element) => !known.has(JSON.stringify(element)));
      if (elem.length > 0) commands.push({ [verb]: { element: { family, table, name, elem } } });
    };
    const old = before.get(name) ?? [];
    change("delete", old, elementsOf(fields));
    change("add", elementsOf(fields), old);
  }
  return commands;
}

/** The objects of a table in comparable form: without handles and packet counts, sets in order; `undefined`: no such table. */
async function listNftTable(namespace: KernelNamespace, family: string, name: string): Promise<unknown[] | undefined> {
  let listing: string;
  try {
    // -p: protocols as numbers, whatever /etc/protocols of this machine calls them.
    listing = await namespace.nft(`list nft table ${family} ${name}`, ["-j", "-p", "list", "table", family, name], "");
  } catch (error) {
    // What nft says of a table that is not there is for people, in words of their language.
    if (!(await listNftTables(namespace, family)).includes(name)) return undefined;
    throw error;
  }
  const parsed = JSON.parse(listing) as { nftables: Record<string, unknown>[] };
  return normalised(parsed.nftables.filter((object) => !("metainfo" in object) && !("table" in object)));
}

function objectsOf(table: NftTable): Record<string, unknown>[] {
  return table.objects.map((object) => {
    const [kind, fields] = Object.entries(object)[0] as [string, Record<string, unknown>];
    return { [kind]: { family: table.family, table: table.name, ...fields } };
  });
}

function normalised(value: unknown): never;
function normalised(value: unknown[]): unknown[];
function normalised(value: unknown): unknown {
  if (Array.isArray(value)) return value.map((item) => normalised(item));
  if (typeof value !== "object" || value === null) return value;
  const result: Record<string, unknown> = {};
  for (const [field, content] of Object.entries(value)) {
    if (field === "handle") continue;
    if (field === "counter") result[field] = null;
    else if (field === "set" && Array.isArray(content)) result[field] = content.map(comparable).sort(byText);
    else if (field === "elem" && Array.isArray(content)) {
      if (content.length > 0) result[field] = content.map(comparable).sort(byText);
    } else result[field] = normalised(content);
  }
  return result;
}

/** Numbers as text, since nft prints ports as the one and takes them as the other. */
function comparable(element: unknown): unknown {
  return typeof element === "object" ? element : String(element);
}

function byText(a: unknown, b: unknown): number {
  const [left, right] = [JSON.stringify(a), JSON.stringify(b)];
  return left < right ? -1 : left > right ? 1 : 0;
}
