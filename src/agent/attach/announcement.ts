import type { MacAddress } from "../../base/mac.ts";
import { decodeFrame } from "../../wire/index.ts";
import { readSighting } from "../learning/sighting.ts";

/**
 * Whether the frame shows that the machine with this MAC runs here now: reverse ARP (RFC 903), which QEMU sends in its stead, or ARP
 * and neighbour discovery in its own name, gratuitous or not. That it tries out an address shows nothing: {@link readSighting}.
 */
export function isAnnouncement(frame: Uint8Array, mac: MacAddress): boolean {
  const [link] = decodeFrame(frame).layers;
  if (link?.protocol !== "ethernet" || link.header.source !== mac) return false;
  return link.header.etherType === "rarp" || readSighting(frame)?.mac === mac;
}
