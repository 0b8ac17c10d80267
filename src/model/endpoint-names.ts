import type { Labels } from "./policy/index.ts";

/** The label of an endpoint that names it: to others, and to itself. */
export const hostNameLabel = "hostname";
/** Labels that begin so name it to others as well, whatever their value. */
const aliasPrefix = "alias/";

/** Below it weft alone has names: `web.NETWORK.TENANT.weft`. */
export const topDomain = "weft";

/** One label of a domain name (RFC 1035 §3.1) that a label of an endpoint can say. Container engines name things with underscores, too. */
const pattern = /^[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?$/;

/** A name as it is looked up: in lower case; `undefined`: it cannot be one label of a domain name. */
export function nameFrom(text: string): string | undefined {
  const name = text.toLowerCase();
  return pattern.test(name) ? name : undefined;
}

export function isNameLabel(label: string): boolean {
  return label === hostNameLabel || label.startsWith(aliasPrefix);
}

/** What an endpoint with these labels is called in its network, each name once. */
export function namesOf(labels: Labels = {}): string[] {
  const names: string[] = [];
  for (const [label, value] of Object.entries(labels)) {
    const text = label === hostNameLabel ? value : label.startsWith(aliasPrefix) ? label.slice(aliasPrefix.length) : "";
    const name = nameFrom(text);
    if (name === undefined) continue;
    if (label === hostNameLabel) names.unshift(name);
    else names.push(name);
  }
  return [...new Set(names)];
}

/** The labels of an endpoint that is called so: first the name that it has itself. What cannot be a name is left out. */
export function labelsOfNames([own, ...others]: readonly string[]): Labels {
  const aliases = others.flatMap((each) => nameFrom(each) ?? []);
  const name = nameFrom(own ?? "");
  return {
    ...(name === undefined ? {} : { [hostNameLabel]: name }),
    ...Object.fromEntries(aliases.map((alias) => [`${aliasPrefix}${alias}`, ""])),
  };
}
