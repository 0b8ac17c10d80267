import { createHash } from "node:crypto";
import { addressAt, type Cidr, cidrContains, cidrSize } from "../../base/cidr.ts";
import { type ErrorCode, WeftError } from "../../base/errors.ts";
import { type IpAddress, parseIp } from "../../base/ip.ts";
import { type MacAddress, parseMac } from "../../base/mac.ts";
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
}

/**
 * An endpoint with an address of each subnet from this node's blocks, as the server would make it: for while the server
 * cannot be asked. It goes through the blocks from their ends, because the server gives out the lowest address that nobody has had:
 * what it released a moment ago is not had again at once.
 */
export function claimFromBlocks(
  {
    id,
    mac: macText,
    ips,
    labels: given,
    attachment,
  }: Pick<AttachRequest, "mac" | "ips" | "labels"> & Pick<Endpoint, "id" | "attachment">,
  { node, network, blocks, own }: OwnPart,
  attempted: string,
): Endpoint {
  const refuse = (code: ErrorCode, reason: string): WeftError =>
    new WeftError({
      code,
      attempted,
      reason: `the server cannot be asked, and ${reason}`,
      hint: "see weft status for why it cannot be asked; endpoints that are attached work on meanwhile",
    });
  const takenIps = new Set<IpAddress>();
  const takenMacs = new Set<MacAddress>([networkMac(network.vni)]);
  for (const endpoint of own) {
    if (endpoint.network !== network.name) continue;
    takenMacs.add(endpoint.mac);
    for (const ip of endpoint.ips) takenIps.add(ip);
  }
  const wanted = ips.map((text) => {
    const ip = parseIp(text);
    if (!ip.ok) throw refuse("invalid-argument", ip.error);
    const block = blocks.find((each) => cidrContains(each, ip.value));
    if (block === undefined) throw refuse("unavailable", `${text} is in no block of this node`);
    const reserved = blockReservedReason(block, ip.value);
    if (reserved !== undefined) throw refuse("invalid-argument", `${text} is ${reserved} of block ${block}`);
    if (takenIps.has(ip.value)) throw refuse("already-exists", `an endpoint of this node has ${text}`);
    return ip.value;
  });
  const chosen = network.subnets.map((subnet) => {
    const [ip, second] = wanted.filter((each) => cidrContains(subnet, each));
    if (second !== undefined) throw refuse("invalid-argument", `${second} is the second address of ${subnet}`);
    if (ip !== undefined) return ip;
    const within = blocks.filter((block) => cidrContains(subnet, addressAt(block, 0n)));
    const free = within
      .values()
      .flatMap(fromTheEnd)
      .find((each) => !takenIps.has(each));
    if (free !== undefined) return free;
    const what =
      within.length === 0 ? `has no block of ${subnet}` : `all addresses of its blocks of ${subnet} are taken`;
    throw refuse("unavailable", within.length === 0 ? `this node ${what}` : `on this node ${what}`);
  });
  const mac = macText === "" ? ownMac(network, chosen) : parseMac(macText);
  if (!mac.ok || !isUnicastMac(mac.value)) throw refuse("invalid-argument", `${macText} is no unicast MAC address`);
  if (takenMacs.has(mac.value)) throw refuse("already-exists", `MAC ${mac.value} is taken`);
  const labels = parseEndpointLabels({ ...given });
  if (!labels.ok) throw refuse("invalid-argument", labels.error.map(formatProblem).join("; "));
  return {
    id,
    network: network.name,
    node,
    mac: mac.value,
    ips: chosen,
    attachment,
    ...(labels.value === undefined ? {} : { labels: labels.value }),
    sequence: 0,
  };
}

/** The addresses of a block that endpoints may have. */
function* fromTheEnd(block: Cidr): Generator<IpAddress> {
  for (let index = cidrSize(block) - 1n; index >= 0n; index--) {
    const address = addressAt(block, index);
    if (blockReservedReason(block, address) === undefined) yield address;
  }
}

function ownMac({ vni }: OwnPart["network"], [first]: readonly IpAddress[]): ReturnType<typeof parseMac> {
  const hash = (text: string): Uint8Array => createHash("sha256").update(text).digest();
  return { ok: true, value: addressMac(vni, first as IpAddress, hash) };
}
