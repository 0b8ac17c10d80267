import type { ValueOf } from "./codec.ts";
import { paddedDomainNames } from "./domain-names.ts";
import { flag, ipv6Address, macAddress, reserved, tail, uint } from "./layout.ts";
import { defineOptions } from "./options.ts";
import { repeated } from "./repeated.ts";

/**
 * The options of neighbour discovery messages. RFC 4861 §4.6, RFC 8106. The length counts units of 8 octets.
 *
 *      0                   1                   2                   3
 *      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |     Type      |    Length     |              ...              |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 */
export const neighbourOptions = defineOptions(
  "neighbour option",
  { length: "words" },
  {
    /** RFC 4861 §4.6.1, RFC 2464 §6. */
    "source-link-layer-address": { type: 1, fields: { address: macAddress() } },
    "target-link-layer-address": { type: 2, fields: { address: macAddress() } },
    /** RFC 4861 §4.6.2. Lifetimes in seconds, 0xffffffff is infinity. */
    "prefix-information": {
      type: 3,
      fields: {
        prefixLength: uint(8),
        onLink: flag(),
        autonomous: flag(),
        reserved1: reserved(6),
        validLifetime: uint(32),
        preferredLifetime: uint(32),
        reserved2: reserved(32),
        prefix: ipv6Address(),
      },
    },
    /** RFC 4861 §4.6.4. Octets. */
    mtu: { type: 5, fields: { reserved: reserved(16), mtu: uint(32) } },
    /** RFC 8106 §5.1. Lifetime in seconds, 0xffffffff is infinity, 0: no longer to be used. */
    "recursive-dns-servers": {
      type: 25,
      fields: { reserved: reserved(16), lifetime: uint(32), addresses: tail(repeated("DNS servers", ipv6Address())) },
    },
    /** RFC 8106 §5.2. The same of suffixes that are searched. */
    "dns-search-list": {
      type: 31,
      fields: { reserved: reserved(16), lifetime: uint(32), domains: tail(paddedDomainNames(8)) },
    },
  },
);
export type NeighbourOption = ValueOf<typeof neighbourOptions>[number];
