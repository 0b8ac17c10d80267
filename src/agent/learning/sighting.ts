import { type IpAddress, ip } from "../../base/ip.ts";
import { isGroupMac, type MacAddress, zeroMac } from "../../base/mac.ts";
import { decodeFrame } from "../../wire/index.ts";

/** An IP address that a frame says to be of a MAC address. */
export interface Sighting {
  readonly mac: MacAddress;
  readonly ip: IpAddress;
}

/** Hops of a neighbour discovery packet that no router has passed on. RFC 4861 §7.1. */
const untouchedHopLimit = 255;
const noIpv4 = ip("0.0.0.0");
const noIpv6 = ip("::");

/**
 * What an ARP packet (RFC 826) or neighbour solicitation or advertisement (RFC 4861 §4.3, §4.4) says of its sender.
 * `undefined` for other frames, for probes of an address that the sender does not have yet (RFC 5227 §2.1.1, RFC 4862
 * §5.4.2), and for what somebody says of somebody else.
 */
export function readSighting(frame: Uint8Array): Sighting | undefined {
  const { layers } = decodeFrame(frame);
  const [link, network, message] = layers;
  if (link?.protocol !== "ethernet") return undefined;
  const mac = link.header.source;
  if (isGroupMac(mac) || mac === zeroMac) return undefined;
  if (network?.protocol === "arp") {
    const { senderMac, senderIp } = network.header;
    return senderMac === mac && senderIp !== noIpv4 ? { mac, ip: senderIp } : undefined;
  }
  if (network?.protocol !== "ipv6" || network.header.hopLimit !== untouchedHopLimit) return undefined;
  if (message?.protocol !== "icmpv6") return undefined;
  const { header } = message;
  if (header.type === "neighbour-solicitation") {
    const { source } = network.header;
    return source !== noIpv6 && isOf(mac, header.options, "source-link-layer-address")
      ? { mac, ip: source }
      : undefined;
  }
  if (header.type === "neighbour-advertisement")
    return isOf(mac, header.options, "target-link-layer-address") ? { mac, ip: header.target } : undefined;
  return undefined;
}

/** Whether the message names the sender's MAC as the address's, or none. */
function isOf(
  mac: MacAddress,
  options: readonly { readonly type: unknown }[],
  type: "source-link-layer-address" | "target-link-layer-address",
): boolean {
  const named = options.find((option) => option.type === type);
  return named === undefined || ("address" in named && named.address === mac);
}
