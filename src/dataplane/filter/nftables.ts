import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { isDeepStrictEqual } from "node:util";
import { WeftError } from "../../base/errors.ts";
import type { NetworkNamespace } from "../../linux/index.ts";

/** One object of nftables' JSON schema, libnftables-json(5), in the form in which `nft -j list` prints it. */
export type NftObject = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

/** One table with all that is in it, in the order in which it is made. */
export interface NftTable {
  readonly family: "inet" | "bridge";
  readonly name: string;
  /** Sets, chains and rules without `family` and `table`, which are those of the table. */
  readonly objects: readonly NftObject[];
}

/** Makes the table so if it is not so, in one transaction; tells whether anything had to be written. */
export async function ensureNftTable(namespace: NetworkNamespace, table: NftTable): Promise<boolean> {
  const present = await listNftTable(namespace, table.family, table.name);
  if (present !== undefined && isDeepStrictEqual(present, normalised(objectsOf(table)))) return false;
  const identity = { family: table.family, name: table.name };
  const commands = [
    ...(present === undefined ? [] : [{ delete: { table: identity } }]),
    { add: { table: identity } },
    ...objectsOf(table).map((object) => ({ add: object })),
  ];
  await runNft(
    namespace,
    `set nft table ${table.family} ${table.name}`,
    ["-j", "-f", "-"],
    JSON.stringify({ nftables: commands }),
  );
  return true;
}

/** Tells whether there was such a table. */
export async function deleteNftTable(
  namespace: NetworkNamespace,
  family: NftTable["family"],
  name: string,
): Promise<boolean> {
  if ((await listNftTable(namespace, family, name)) === undefined) return false;
  await runNft(namespace, `delete nft table ${family} ${name}`, ["delete", "table", family, name], "");
  return true;
}

/** The objects of a table in comparable form: without handles and packet counts, sets in order; `undefined`: no such table. */
async function listNftTable(namespace: NetworkNamespace, family: string, name: string): Promise<unknown[] | undefined> {
  let listing: string;
  try {
    listing = await runNft(namespace, `list nft table ${family} ${name}`, ["-j", "list", "table", family, name], "");
  } catch (error) {
    if (error instanceof WeftError && /No such file or directory/.test(error.reason)) return undefined;
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
    else if (field === "elem" && Array.isArray(content)) {
      if (content.length > 0) result[field] = content.map(String).sort();
    } else result[field] = normalised(content);
  }
  return result;
}

async function runNft(
  namespace: NetworkNamespace,
  operation: string,
  parameters: readonly string[],
  input: string,
): Promise<string> {
  const attempted = `${operation} in ${namespace.label}`;
  const inputFile = openInput(input);
  let child: ChildProcess;
  try {
    child = namespace.spawn("nft", parameters, { stdio: [inputFile, "pipe", "pipe"] });
  } finally {
    closeSync(inputFile);
  }
  if (child.stdout === null || child.stderr === null) throw new TypeError("nft has no pipes");
  const [output, complaints, failure] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, "close").then(
      ([code]) => (code === 0 ? undefined : `exit ${code}`),
      (error: Error) => error.message,
    ),
  ]);
  if (failure === undefined) return output;
  const missing = failure.includes("ENOENT");
  throw new WeftError({
    code: missing ? "failed-precondition" : "internal",
    attempted,
    reason: missing ? "the program nft is not installed" : complaints.trim() || failure,
    ...(missing ? { hint: "install the Debian package nftables" } : {}),
  });
}

/** nft opens its standard input anew, which works for files and not for the sockets that Node makes. The file has no name. */
function openInput(input: string): number {
  const directory = mkdtempSync(join(tmpdir(), "weft-nft-"));
  try {
    const fd = openSync(join(directory, "input"), "wx+", 0o600);
    writeFileSync(fd, input);
    return fd;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
