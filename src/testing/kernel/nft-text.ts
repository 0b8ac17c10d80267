import type { FakeNftTable } from "./nft.ts";

/** Lines as `nft list table` prints them, each by itself: what it is in stands in front. `key`: family and name. */
export function nftLines(key: string, { rules, sets }: FakeNftTable): string[] {
  const table = `nft ${key}`;
  const chains = rules.flatMap(({ chain }) => (chain === undefined ? [] : [chain]));
  return [
    table,
    ...Array.from(sets, ([name, { elements }]) => `${table} set ${name} { ${[...elements].sort().join(", ")} }`).sort(),
    ...chains.map(({ name: chain, type, hook, prio, policy }) => {
      const base = hook === undefined ? "" : ` ${type} hook ${hook} priority ${prio} policy ${policy ?? "accept"}`;
      return `${table} chain ${chain}${base}`;
    }),
    ...chains.flatMap(({ name: chain }) =>
      rules.flatMap(({ rule }) =>
        rule === undefined || rule.chain !== chain
          ? []
          : [`${table} ${chain}: ${(rule.expr as Statement[]).map(statementText).join(" ")}`],
      ),
    ),
  ];
}

type Statement = Readonly<Record<string, unknown>>;

function statementText(statement: Statement): string {
  const [kind = "", content] = Object.entries(statement)[0] ?? [];
  if (kind === "match") {
    const { op, left, right } = content as { op: string; left: unknown; right: unknown };
    return `${valueText(left)} ${op === "==" || op === "in" ? "" : `${op} `}${valueText(right)}`;
  }
  if (kind === "goto" || kind === "jump") return `${kind} ${(content as { target: string }).target}`;
  return content === null ? kind : `${kind} ${valueText(content)}`;
}

function valueText(value: unknown): string {
  if (Array.isArray(value)) return value.map(valueText).join(",");
  if (typeof value !== "object" || value === null) return String(value);
  const [kind = "", content] = Object.entries(value)[0] ?? [];
  const fields = content as Readonly<Record<string, unknown>>;
  switch (kind) {
    case "set":
      return `{ ${[content].flat().map(valueText).join(", ")} }`;
    case "concat":
      return (content as unknown[]).map(valueText).join(" . ");
    case "prefix":
      return `${fields.addr}/${fields.len}`;
    case "meta":
    case "ct":
      return `${kind === "ct" ? "ct " : ""}${fields.key}`;
    case "payload":
      return "base" in fields ? `@${fields.base},${fields.offset},${fields.len}` : `${fields.protocol} ${fields.field}`;
    default:
      return Object.entries(value)
        .map(([field, each]) => `${field} ${valueText(each)}`)
        .join(" ");
  }
}
