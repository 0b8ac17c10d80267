import { InvalidArgumentError } from "commander";
import { familyOf, type IpAddress } from "../../base/ip.ts";
import { UsageError } from "../errors.ts";
import { address } from "../options.ts";

/** `192.0.2.1`, `192.0.2.1,2001:db8::1`: at most one address of each family. */
export function addressPair(text: string): readonly IpAddress[] {
  const addresses = text.split(",").map((part) => address(part.trim()));
  if (new Set(addresses.map(familyOf)).size === addresses.length) return addresses;
  throw new InvalidArgumentError("Allowed: one IPv4 address, one IPv6 address, or one of each");
}

/** What `--label NAME=VALUE` and `--label NAME-` ask for; the server checks names and values. */
export function labelChanges(
  node: string,
  texts: readonly string[],
): { readonly labels: Record<string, string>; readonly removedLabels: string[] } {
  const labels: Record<string, string> = {};
  const removedLabels: string[] = [];
  for (const text of texts) {
    const { name, value } = splitLabel(text);
    if (value !== undefined) labels[name] = value;
    else if (name.endsWith("-")) removedLabels.push(name.slice(0, -1));
    else
      throw new UsageError(
        `set node ${node}`,
        `--label: found "${text}"; allowed: NAME=VALUE, or NAME- to take it away`,
      );
  }
  return { labels, removedLabels };
}

/** `--node-selector NAME=VALUE`, which can be repeated. */
export function nodeSelector(text: string, previous: Readonly<Record<string, string>> | undefined) {
  const { name, value } = splitLabel(text);
  if (value === undefined) throw new InvalidArgumentError("Allowed: NAME=VALUE");
  return { ...previous, [name]: value };
}

/** What `--label NAME=VALUE` and `--no-label NAME` ask for, each of which can be repeated. */
export interface LabelChanges {
  readonly labels: Readonly<Record<string, string>>;
  readonly removedLabels: readonly string[];
}
const noLabelChanges: LabelChanges = { labels: {}, removedLabels: [] };

export function label(text: string, { labels, removedLabels } = noLabelChanges): LabelChanges {
  return { labels: nodeSelector(text, labels), removedLabels };
}

export function noLabel(name: string, { labels, removedLabels } = noLabelChanges): LabelChanges {
  if (name.includes("=")) throw new InvalidArgumentError("Allowed: NAME");
  return { labels, removedLabels: [...removedLabels, name] };
}

/** Labels as they are written: `zone=a`. */
export function labelTexts(labels: Readonly<Record<string, string>> = {}): string[] {
  return Object.entries(labels).map(([label, value]) => `${label}=${value}`);
}

/** `NAME=VALUE`; without a value there is no equals sign. */
function splitLabel(text: string): { readonly name: string; readonly value: string | undefined } {
  const equals = text.indexOf("=");
  return equals < 0 ? { name: text, value: undefined } : { name: text.slice(0, equals), value: text.slice(equals + 1) };
}

/** What stands behind a host or network that is there from before its selector or the labels changed. */
function outside(missing: readonly string[]): string {
  return missing.length === 0 ? "" : ` (outside its selector: lacks ${missing.join(", ")})`;
}

/** What hosts, or is hosted, by name. Where a node has nothing of a network it routes into it from others of the tenant. */
export function hostText(
  name: string,
  host: { readonly endpoints: number; readonly blocks: number; readonly missingLabels: readonly string[] },
): string {
  return `${name}${host.endpoints + host.blocks === 0 ? " (routes)" : ""}${outside(host.missingLabels)}`;
}
