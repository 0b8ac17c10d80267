import type { Ipv4Address } from "../base/ip.ts";
import { dnsPort } from "../wire/dns.ts";
import { ipOffset } from "./ethernet-filter.ts";
import { requestsTo } from "./node-address-requests.ts";

const udpDestinationOffset = ipOffset + 20 + 2;

/** Lets through DNS over UDP to `server`: see {@link requestsTo}. */
export function nameRequestFilter(server: Ipv4Address): Uint8Array {
  return requestsTo(server, "udp", [
    { load: 2, at: udpDestinationOffset },
    { equals: dnsPort, yes: "accept", no: "drop" },
  ]);
}
