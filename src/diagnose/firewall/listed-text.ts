import { chainKey, type ListedText, ruleKey } from "./ruleset.ts";

const table = /^table (\S+) (\S+) \{/;
const chain = /^\tchain (\S+) \{/;
const handle = / # handle (\d+)$/;
const devices = /\bdevices? (?:= )?(\{[^}]*\}|"[^"]+"|\S+) priority/;

/** Reads what `nft -a list ruleset` printed. Rules that are longer than a line, because of sets in them, are put into one. */
export function readListedText(listing: string): ListedText {
  const rules = new Map<string, string>();
  const ofChains = new Map<string, readonly string[]>();
  const dormant = new Set<string>();
  let [inFamily, inTable, inChain] = ["", "", ""];
  let begun: string[] = [];
  for (const line of listing.split("\n")) {
    const [, family, name] = table.exec(line) ?? [];
    if (family !== undefined && name !== undefined) [inFamily, inTable, inChain] = [family, name, ""];
    else if (line === "\tflags dormant") dormant.add(`${inFamily} ${inTable}`);
    else if (/^\t\S/.test(line)) {
      inChain = chain.exec(line)?.[1] ?? "";
      begun = [];
    } else if (inChain !== "") {
      const text = line.trim();
      if (begun.length === 0 && /^type \S+ hook /.test(text)) {
        const names = devices.exec(text)?.[1]?.match(/[^\s{},"]+/g);
        if (names) ofChains.set(chainKey(inFamily, inTable, inChain), names);
        continue;
      }
      // The chain's own.
      if (begun.length === 0 && text.startsWith('comment "')) continue;
      begun.push(text);
      const number = handle.exec(text)?.[1];
      if (number === undefined) continue;
      rules.set(ruleKey(inFamily, inTable, inChain, Number(number)), begun.join(" ").replace(handle, ""));
      begun = [];
    }
  }
  return { rules, devices: ofChains, dormant };
}
