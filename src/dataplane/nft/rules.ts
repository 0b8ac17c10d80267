import type { NftFamily } from "../../netlink/index.ts";
import type { KernelNamespace } from "../kernel.ts";
import type { NftObject, NftTable } from "./table.ts";

/** Chains and rules of a table as {@link listRules} gives them. */
export function rulesOf({ family, name, rules }: NftTable): NftObject[] {
  return normalised(
    rules.map((object) => {
      const [kind = "", fields] = Object.entries(object)[0] ?? [];
      return { [kind]: { family, table: name, ...fields } };
    }),
  );
}

/** The chains and rules of a table, in comparable form: without handles and packet counts. */
export async function listRules(namespace: KernelNamespace, family: NftFamily, name: string): Promise<NftObject[]> {
  // -t: without elements. -p: protocols as numbers, whatever /etc/protocols of this machine calls them.
  const parameters = ["-j", "-t", "-p", "list", "table", family, name];
  const listing = await namespace.nft(attemptOf(family, name), parameters, "");
  const { nftables } = JSON.parse(listing) as { nftables: NftObject[] };
  return normalised(nftables.filter((object) => "chain" in object || "rule" in object));
}

/** Exchanges the rules that are `present` for those of the table, at once. Its sets are there. */
export async function writeRules(
  namespace: KernelNamespace,
  table: NftTable,
  present: readonly NftObject[],
): Promise<void> {
  const { family, name } = table;
  const chains = present.flatMap(({ chain }) => (chain === undefined ? [] : [chain.name]));
  const commands = [
    ...(present.length === 0 ? [] : [{ flush: { table: { family, name } } }]),
    ...chains.map((chain) => ({ delete: { chain: { family, table: name, name: chain } } })),
    ...rulesOf(table).map((object) => ({ add: object })),
  ];
  const input = JSON.stringify({ nftables: commands });
  await namespace.nft(attemptOf(family, name), ["-j", "-f", "-"], input);
}

/** Rules are looked at to be set: where nft does not run, that is one problem. */
export const attemptOf = (family: NftFamily, name: string): string => `set nft table ${family} ${name}`;

function normalised(value: unknown): never;
function normalised(value: NftObject[]): NftObject[];
function normalised(value: unknown): unknown {
  if (Array.isArray(value)) return value.map((item) => normalised(item));
  if (typeof value !== "object" || value === null) return value;
  const result: Record<string, unknown> = {};
  for (const [field, content] of Object.entries(value))
    if (field !== "handle") result[field] = field === "counter" ? null : normalised(content);
  return result;
}
