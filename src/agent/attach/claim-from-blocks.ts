import { createHash } from "node:crypto";
import { addressAt, type Cidr, cidrContains, cidrSize, networkAddress } from "../../base/cidr.ts";
import { type ErrorCode, WeftError } from "../../base/errors.ts";
import { type IpAddress, ipToBigInt, parseIp } from "../../base/ip.ts";
import { type MacAddress, parseMac } from "../../base/mac.ts";
import { err, ok, type Result } from "../../base/result.ts";
import { addressMac, isUnicastMac, networkMac } from "../../model/endpoint-mac.ts";
import { parseEndpointLabels } from "../../model/policy/index.ts";
import { formatProblem } from "../../model/problem.ts";
import type { Endpoint, Network } from "../../model/resources.ts";
import { blockReservedReason } from "../../model/subnet.ts";
import type { AttachRequest } from "./kind.ts";

/** What this node knows of a layer-3 network by itself. */
export interface OwnPart {
  readonly node: string;
  readonly network: Pick<Network, "name" | "vni" | "subnets">;
  /** This node's: nobody else gives out their addresses. */
  readonly blocks: readonly Cidr[];
  /** All that is of this node, in whatever state. */
  readonly own: Iterable<Endpoint>;
  /** The addresses that were last chosen, by subnet; the next ones are written there. */
  readonly lastChosen: Map<Cidr, IpAddress>;
  /** The server cannot be asked. When it can, a quarter of the blocks is left for what it chooses meanwhile. */
  readonly isAlone: boolean;
}

/**
 * An endpoint with an address of each subnet from this node's blocks, as the server would make it. It goes through the blocks from
 * their ends, because the server begins at their beginnings; and through all of them, so that an address that was given up is not had
 * again at once.
 */
export function claimFromBlocks(
  request: Pick<AttachRequest, "mac" | "ips" | "labels"> & Pick<Endpoint, "id" | "attachment">,
  { node, network, blocks, own, lastChosen, isAlone }: OwnPart,
  attempted: string,
): Result<Endpoint, WeftError> {
  const refuse = (code: ErrorCode, reason: string) =>
    err(
      new WeftError({
        code,
        attempted,
        reason: `the server cannot be asked, and ${reason}`,
        hint: "see weft status for why it cannot be asked; endpoints that are attached work on meanwhile",
      }),
    );
  const takenIps = new Set<IpAddress>();
  const takenMacs = new Set<MacAddress>([networkMac(network.vni)]);
  for (const endpoint of own) {
    if (endpoint.network !== network.name) continue;
    takenMacs.add(endpoint.mac);
    for (const ip of endpoint.ips) takenIps.add(ip);
  }
  const wanted = new Map<Cidr, IpAddress>();
  for (const text of request.ips) {
    const ip = parseIp(text);
    if (!ip.ok) return refuse("invalid-argument", ip.error);
    const subnet = network.subnets.find((each) => cidrContains(each, ip.value));
    const block = blocks.find((each) => cidrContains(each, ip.value));
    if (subnet === undefined || block === undefined)
      return refuse("unavailable", `${text} is in no block of this node`);
    const reserved = blockReservedReason(block, ip.value);
    if (reserved !== undefined) return refuse("invalid-argument", `${text} is ${reserved} of block ${block}`);
    if (takenIps.has(ip.value)) return refuse("already-exists", `an endpoint of this node has ${text}`);
    if (wanted.has(subnet)) return refuse("invalid-argument", `${text} is the second address of ${subnet}`);
    wanted.set(subnet, ip.value);
  }
  const ips: IpAddress[] = [];
  for (const subnet of network.subnets) {
    const within = blocks.filter((block) => cidrContains(subnet, networkAddress(block)));
    const size = within.reduce((sum, block) => sum + Number(cidrSize(block)), 0);
    const spare = isAlone ? 0 : size / 4;
    const ip = wanted.get(subnet) ?? freeAddress(within, takenIps, lastChosen.get(subnet), spare);
    if (ip === undefined) return refuse("unavailable", `this node has no block of ${subnet} with a free address`);
    ips.push(ip);
  }
  const follows = addressMac(network.vni, ips[0] as IpAddress, sha256);
  const mac = request.mac === "" ? ok(follows) : parseMac(request.mac);
  if (!mac.ok || !isUnicastMac(mac.value))
    return refuse("invalid-argument", `${request.mac} is no unicast MAC address`);
  if (takenMacs.has(mac.value)) return refuse("already-exists", `MAC ${mac.value} is taken`);
  const labels = parseEndpointLabels({ ...request.labels });
  if (!labels.ok) return refuse("invalid-argument", labels.error.map(formatProblem).join("; "));
  for (const [index, subnet] of network.subnets.entries())
    if (!wanted.has(subnet)) lastChosen.set(subnet, ips[index] as IpAddress);
  return ok({
    id: request.id,
    network: network.name,
    node,
    mac: mac.value,
    ips,
    attachment: request.attachment,
    ...(labels.value === undefined ? {} : { labels: labels.value }),
    sequence: 0,
  });
}

/** One that is lower than the last one, or else the highest. */
function freeAddress(
  blocks: readonly Cidr[],
  taken: ReadonlySet<IpAddress>,
  last: IpAddress | undefined,
  spare: number,
): IpAddress | undefined {
  const isWithin = (address: IpAddress): boolean => blocks.some((block) => cidrContains(block, address));
  const size = blocks.reduce((sum, block) => sum + Number(cidrSize(block)), 0);
  const used = [...taken].filter(isWithin).length;
  if (size - used <= spare) return undefined;
  const falling = blocks.toSorted((a, b) => (ipToBigInt(networkAddress(a)) < ipToBigInt(networkAddress(b)) ? 1 : -1));
  const from = (highest: bigint | undefined): IpAddress | undefined => {
    for (const block of falling) {
      const start = ipToBigInt(networkAddress(block));
      const end = start + cidrSize(block) - 1n;
      for (let at = highest !== undefined && highest < end ? highest : end; at >= start; at--) {
        const address = addressAt(block, at - start);
        if (!taken.has(address) && blockReservedReason(block, address) === undefined) return address;
      }
    }
    return undefined;
  };
  return (last === undefined ? undefined : from(ipToBigInt(last) - 1n)) ?? from(undefined);
}

function sha256(text: string): Uint8Array {
  return createHash("sha256").update(text).digest();
}
