import { ip } from "../../base/ip.ts";
import type { MacAddress } from "../../base/mac.ts";
import { decodeFrame } from "../../wire/index.ts";

const noIpv4 = ip("0.0.0.0");

/**
 * Whether the machine with this MAC tells by the frame that it is here now: gratuitous ARP (RFC 5227 §3), an unsolicited neighbour
 * advertisement (RFC 4861 §7.2.6), or reverse ARP (RFC 903), which QEMU sends in its stead.
 */
export function isAnnouncement(frame: Uint8Array, mac: MacAddress): boolean {
  const [link, network, message] = decodeFrame(frame).layers;
  if (link?.protocol !== "ethernet" || link.header.source !== mac) return false;
  if (link.header.etherType === "rarp") return true;
  if (network?.protocol === "arp") {
    const { senderMac, senderIp, targetIp } = network.header;
    return senderMac === mac && senderIp === targetIp && senderIp !== noIpv4;
  }
  if (network?.protocol !== "ipv6" || message?.protocol !== "icmpv6") return false;
  const { header } = message;
  return header.type === "neighbour-advertisement" && !header.solicited;
}
