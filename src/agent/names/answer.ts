import { fromHex } from "../../base/bytes.ts";
import { type Cidr, cidrContains } from "../../base/cidr.ts";
import { familyOf, type IpAddress, ipFromBytes, parseIp } from "../../base/ip.ts";
import { topDomain } from "../../model/endpoint-names.ts";
import type { Network } from "../../model/resources.ts";
import { type DnsQuestion, type DnsRecord, dnsHeader, readDnsQuestion, writeDnsResponse } from "../../wire/index.ts";
import type { EndpointNames } from "./endpoint-names.ts";

/** Seconds: what is asked costs no packet on the underlay, and endpoints come and go. */
const timeToLive = 5;

/** Whose names they are. */
export type NamedNetwork = Pick<Network, "name" | "tenant" | "subnets" | "dhcp">;

/** What is known of a name. */
type Outcome =
  /** Some of its addresses, its name, or none of the kind that was asked for. */
  | { readonly kind: "found"; readonly records: readonly DnsRecord[] }
  /** Nobody but weft could have it, and nobody has it. */
  | { readonly kind: "nobody" }
  /** Others may know it: who is refused asks the next server. */
  | { readonly kind: "not-ours" };

/**
 * The response to a DNS message of an endpoint; `undefined`: it is none that is answered. `first`: at least 0 and less than 1, with
 * which of several addresses it begins.
 */
export function answerTo(
  message: Uint8Array,
  network: NamedNetwork,
  names: Pick<EndpointNames, "addressesOf" | "nameOf">,
  first: number,
): Uint8Array | undefined {
  const header = dnsHeader.decode(message);
  if (!header.ok || header.value.isResponse) return undefined;
  const { id, operation, recursionDesired, questions } = header.value;
  const common = { id, operation, recursionDesired, timeToLive, isAuthoritative: false, records: [] };
  if (operation !== 0) return writeDnsResponse({ ...common, responseCode: "not-implemented" });
  const question = readDnsQuestion(message, dnsHeader.length);
  if (questions !== 1 || !question.ok) return writeDnsResponse({ ...common, responseCode: "format-error" });
  const asked = { ...common, question: question.value };
  const outcome = look(question.value, network, names);
  switch (outcome.kind) {
    case "found":
      return writeDnsResponse({
        ...{ ...asked, isAuthoritative: true, responseCode: "no-error" },
        records: turned(outcome.records, first),
      });
    case "nobody":
      return writeDnsResponse({ ...asked, isAuthoritative: true, responseCode: "name-error" });
    case "not-ours":
      return writeDnsResponse({ ...asked, responseCode: "refused" });
  }
}

function look(
  question: DnsQuestion,
  network: NamedNetwork,
  names: Pick<EndpointNames, "addressesOf" | "nameOf">,
): Outcome {
  if (question.class !== "internet") return { kind: "not-ours" };
  const name = question.name.toLowerCase();
  const address = addressOf(name);
  if (address !== undefined) return lookBack(address, question.type, network, names);
  const inNetwork = names.addressesOf(network.name, nameIn(name, network) ?? "");
  if (inNetwork !== undefined) return { kind: "found", records: recordsOf(inNetwork, question.type) };
  const isBelow = name === topDomain || name.endsWith(`.${topDomain}`);
  return { kind: isBelow ? "nobody" : "not-ours" };
}

/** What an endpoint of the network is called that is asked for so. A name of several labels is nobody's by itself: it may be the world's. */
function nameIn(name: string, { name: network, tenant, dhcp }: NamedNetwork): string | undefined {
  const [first = "", ...rest] = name.split(".");
  const suffix = rest.join(".");
  const suffixes = [
    "",
    network,
    `${network}.${tenant}.${topDomain}`,
    ...(dhcp?.domain === undefined ? [] : [dhcp.domain]),
  ];
  return suffixes.includes(suffix) ? first : undefined;
}

function recordsOf(addresses: readonly IpAddress[], type: DnsQuestion["type"]): DnsRecord[] {
  return addresses
    .filter((address) => type === "any" || type === (familyOf(address) === 4 ? "a" : "aaaa"))
    .map((address) => ({ type: "address", address }));
}

function lookBack(
  address: IpAddress,
  type: DnsQuestion["type"],
  { name, tenant, subnets }: NamedNetwork,
  names: Pick<EndpointNames, "nameOf">,
): Outcome {
  const found = names.nameOf(name, address);
  const isOwn = subnets.some((subnet: Cidr) => cidrContains(subnet, address));
  if (found === undefined) return { kind: isOwn ? "nobody" : "not-ours" };
  const records: DnsRecord[] =
    type === "ptr" || type === "any" ? [{ type: "name", name: `${found}.${name}.${tenant}.${topDomain}` }] : [];
  return { kind: "found", records };
}

/** The address whose name is asked for. RFC 1035 §3.5, RFC 3596 §2.5. */
function addressOf(name: string): IpAddress | undefined {
  const v4 = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.in-addr\.arpa$/.exec(name);
  if (v4 !== null) {
    const address = parseIp(v4.slice(1).reverse().join("."));
    return address.ok ? address.value : undefined;
  }
  const v6 = /^((?:[0-9a-f]\.){32})ip6\.arpa$/.exec(name)?.[1];
  if (v6 === undefined) return undefined;
  const octets = fromHex(v6.split(".").reverse().join(""));
  return octets && ipFromBytes(octets);
}

/** The same list from another beginning on, so that not all go to the first. */
function turned<Item>(list: readonly Item[], first: number): readonly Item[] {
  const at = Math.floor(first * list.length);
  return [...list.slice(at), ...list.slice(0, at)];
}
