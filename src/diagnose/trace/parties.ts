import { type Cidr, cidrContains } from "../../base/cidr.ts";
import { WeftError } from "../../base/errors.ts";
import { familyOf, type IpAddress, parseIp } from "../../base/ip.ts";
import { type MacAddress, parseMac } from "../../base/mac.ts";
import { parseEndpointId } from "../../model/names.ts";

/** An endpoint as far as who follows a packet knows it. */
export interface KnownEndpoint {
  readonly id: string;
  readonly network: string;
  readonly node: string;
  readonly mac: MacAddress;
  readonly ips: readonly IpAddress[];
  /** Of its namespace, where that is known: `c1` of /run/netns/c1. */
  readonly name?: string;
}

export interface KnownNetwork {
  readonly name: string;
  readonly tenant: string;
  readonly subnets: readonly Cidr[];
}

/** Who is where, as a node or the server knows it. */
export interface TraceDirectory {
  endpoints(): Iterable<KnownEndpoint>;
  networks(): Iterable<KnownNetwork>;
  /** The node whose block the address is in. */
  nodeOfBlock(network: string, address: IpAddress): string | undefined;
  nodeWith(vtep: IpAddress): string | undefined;
}

/** One end of the way. */
export interface Party {
  readonly addresses: readonly IpAddress[];
  /** Absent: it is outside. */
  readonly network?: KnownNetwork;
  /** Absent: nobody has the address, or a gateway. */
  readonly node?: string;
  readonly endpoint?: string;
}

export interface Parties {
  readonly from: Party;
  readonly to: Party;
  /** One of each, of one family. */
  readonly source: IpAddress;
  readonly destination: IpAddress;
}

const allowed =
  "the id, MAC or address of an endpoint, NETWORK/ADDRESS, the name of its namespace on this node, or an address outside";
const findOut = "list endpoints with: weft endpoint list, or on a node: weft status";

/** Whom two texts mean. Of several that the one may be, those are meant that have to do with the other. */
export function findParties(directory: TraceDirectory, fromText: string, toText: string): Parties {
  const attempted = `follow a packet from ${brief(fromText)} to ${brief(toText)}`;
  const froms = candidates(directory, fromText, "from", attempted);
  const tos = candidates(directory, toText, "to", attempted);
  const pairs = froms.flatMap((from) => tos.map((to) => ({ from, to })));
  const nearest = pairs.filter(
    ({ from, to }) => distance(from, to) === Math.min(...pairs.map((pair) => distance(pair.from, pair.to))),
  );
  const [pair, another] = nearest;
  if (pair === undefined)
    throw new WeftError({ code: "not-found", attempted, reason: "there are none such", hint: findOut });
  if (another !== undefined) {
    const [text, party, other] =
      another.from === pair.from ? [toText, pair.to, another.to] : [fromText, pair.from, another.from];
    const reason = `${brief(text)} is ${describeParty(party)}, and ${describeParty(other)}`;
    throw refusal(attempted, reason, "name it as NETWORK/ADDRESS, or by its id");
  }
  const { from, to } = pair;
  if (from.network === undefined && to.network === undefined)
    throw refusal(attempted, "neither is in a network of weft's that is known here", findOut);
  const source = from.addresses.find((address) => to.addresses.some((other) => familyOf(other) === familyOf(address)));
  const destination = to.addresses.find((address) => source !== undefined && familyOf(address) === familyOf(source));
  if (source === undefined || destination === undefined)
    throw refusal(attempted, "they have no addresses of one IP family", "name addresses of one family");
  if (source === destination) throw refusal(attempted, `both are ${source}`, "name two");
  return { from, to, source, destination };
}

/** How little two have to do with each other: one network, one tenant, an outside, tenants. */
function distance({ network: one }: Party, { network: other }: Party): number {
  if (one === undefined || other === undefined) return 2;
  return one.name === other.name ? 0 : one.tenant === other.tenant ? 1 : 3;
}

function candidates(
  directory: TraceDirectory,
  text: string,
  which: "from" | "to",
  attempted: string,
): readonly Party[] {
  const address = parseIp(text);
  if (address.ok) return byAddress(directory, [...directory.networks()], address.value);
  const slash = text.indexOf("/");
  if (slash > 0) {
    const name = text.slice(0, slash);
    const network = [...directory.networks()].find((each) => each.name === name);
    const inNetwork = parseIp(text.slice(slash + 1));
    if (network === undefined || !inNetwork.ok)
      throw refusal(
        attempted,
        `${which}: ${inNetwork.ok ? `there is no network ${name} here` : inNetwork.error}`,
        findOut,
      );
    const found = byAddress(directory, [network], inNetwork.value);
    if (found[0]?.network !== undefined) return found;
    throw refusal(
      attempted,
      `${which}: ${inNetwork.value} is in no subnet of network ${name}`,
      `weft network show ${name}`,
    );
  }
  const [mac, id] = [parseMac(text), parseEndpointId(text)];
  const networks = new Map(Array.from(directory.networks(), (network) => [network.name, network]));
  const found = [...directory.endpoints()].filter(
    (each) => (mac.ok && each.mac === mac.value) || (id.ok && each.id === id.value) || each.name === text,
  );
  if (found.length > 0) return found.map((endpoint) => partyOf(endpoint, networks.get(endpoint.network)));
  if (mac.ok || id.ok)
    throw new WeftError({
      code: "not-found",
      attempted,
      reason: `${which}: there is no endpoint ${text}`,
      hint: findOut,
    });
  throw refusal(attempted, `${which}: found ${brief(text)}; allowed: ${allowed}`, findOut);
}

function partyOf({ ips, node, id }: KnownEndpoint, network: KnownNetwork | undefined): Party {
  return { addresses: ips, node, endpoint: id, ...(network === undefined ? {} : { network }) };
}

/** As each of the networks has it; in none of them it is outside. */
function byAddress(directory: TraceDirectory, networks: readonly KnownNetwork[], address: IpAddress): readonly Party[] {
  const inside = new Map(
    networks
      .filter(({ subnets }) => subnets.some((subnet) => cidrContains(subnet, address)))
      .map((each) => [each.name, each]),
  );
  if (inside.size === 0) return [{ addresses: [address] }];
  const owners = new Map<string, KnownEndpoint>();
  for (const endpoint of directory.endpoints())
    if (inside.has(endpoint.network) && endpoint.ips.includes(address)) owners.set(endpoint.network, endpoint);
  return Array.from(inside.values(), (network): Party => {
    const owner = owners.get(network.name);
    const node = owner?.node ?? directory.nodeOfBlock(network.name, address);
    return {
      addresses: [address],
      network,
      ...(node === undefined ? {} : { node }),
      ...(owner === undefined ? {} : { endpoint: owner.id }),
    };
  });
}

/** `endpoint 5f0c2a9be871 of network web on node h1` */
export function describeParty({ addresses, network, node, endpoint }: Party): string {
  const what = endpoint === undefined ? (addresses[0] ?? "") : `endpoint ${endpoint}`;
  const of = network === undefined ? ", outside" : ` of network ${network.name}`;
  return `${what}${of}${node === undefined ? "" : ` on node ${node}`}`;
}

function brief(text: string): string {
  return JSON.stringify(text.slice(0, 80));
}

function refusal(attempted: string, reason: string, hint: string): WeftError {
  return new WeftError({ code: "invalid-argument", attempted, reason, hint });
}
