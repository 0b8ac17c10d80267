import type { Ipv4Address } from "../base/ip.ts";
import { requestsTo } from "./node-address-requests.ts";

/** Lets through TCP to `server`: see {@link requestsTo}. */
export function metadataRequestFilter(server: Ipv4Address): Uint8Array {
  return requestsTo(server, "tcp", [{ accept: true }]);
}
