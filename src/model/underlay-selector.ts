import { type Cidr, cidrFamily, parseCidr } from "../base/cidr.ts";
import { familyOf, type IpAddress, type IpFamily, parseIp } from "../base/ip.ts";
import { err, ok, type Result } from "../base/result.ts";
import { parseInterfaceName, type TextParser } from "./names.ts";

/**
 * What names a node's VTEP addresses: an address, a prefix that holds one of the host's, or an interface that has some.
 * The last two are followed when the host's addresses change.
 */
export type UnderlaySelector =
  | { readonly kind: "address"; readonly address: IpAddress }
  | { readonly kind: "prefix"; readonly prefix: Cidr }
  | { readonly kind: "interface"; readonly name: string };

/** One selector for each IP version, or one that serves both. */
export const parseUnderlaySelectors: TextParser<readonly UnderlaySelector[]> = (text) => {
  const selectors: UnderlaySelector[] = [];
  for (const part of text.split(",")) {
    const selector = parseSelector(part);
    if (!selector.ok) return selector;
    selectors.push(selector.value);
  }
  const families = selectors.flatMap(familiesOf);
  return new Set(families).size === families.length
    ? ok(selectors)
    : err("one of IPv4, one of IPv6, one of each, or one interface");
};

function parseSelector(text: string): Result<UnderlaySelector, string> {
  const address = parseIp(text);
  if (address.ok) return ok({ kind: "address", address: address.value });
  const prefix = parseCidr(text);
  if (prefix.ok) return ok({ kind: "prefix", prefix: prefix.value });
  // What is made of digits and dots alone was meant as an address.
  if (parseInterfaceName(text).ok && !/^[\d.]+$/.test(text)) return ok({ kind: "interface", name: text });
  return err("an IP address of this host, a prefix such as 192.0.2.0/24, or the name of an interface");
}

function familiesOf(selector: UnderlaySelector): readonly IpFamily[] {
  switch (selector.kind) {
    case "address":
      return [familyOf(selector.address)];
    case "prefix":
      return [cidrFamily(selector.prefix)];
    case "interface":
      return [4, 6];
  }
}
