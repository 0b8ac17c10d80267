import type { Bench } from "./bench.ts";

/** The firewall that somebody has put into a place: a table of nftables which is none of weft's. */
const table = "firewall";

/** Puts a chain into the firewall of a place; `rules` as nft(8) has them, with semicolons between. */
export async function addFilter(
  bench: Bench,
  place: string,
  hook: "input" | "output" | "forward",
  rules: string,
  policy: "accept" | "drop" = "accept",
): Promise<void> {
  const family = familyIn(place);
  const chain = `type filter hook ${hook} priority filter; policy ${policy}; ${rules}`;
  await bench.sh(place, `nft 'table ${family} ${table} { chain ${hook} { ${chain}; }; }'`);
}

/** Takes the firewall of a place away; that there is none is success. */
export async function removeFilter(bench: Bench, place: string): Promise<void> {
  const family = familyIn(place);
  await bench.sh(place, `nft 'table ${family} ${table} {}; delete table ${family} ${table}'`);
}

/** The switch forwards frames, everybody else packets. */
function familyIn(place: string): "bridge" | "inet" {
  return place === "switch" ? "bridge" : "inet";
}
