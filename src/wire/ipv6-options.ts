import type { ValueOf } from "./codec.ts";
import { uint } from "./layout.ts";
import { defineOptions } from "./options.ts";

/**
 * The options in the data of an `ipv6Extension` that is a hop-by-hop or destination options header; of a routing header
 * it makes no sense. RFC 8200 §4.2. The length counts the data alone. On the wire they fill the header: `lengthOf` must
 * come to 8n + 6 octets, with `pad-1`, or `{ unknown: 1 }` of n zero octets for n + 2 octets of padding.
 *
 *      0                   1                   2                   3
 *      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |  Option Type  | Data Length   |              ...              |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 */
export const ipv6Options = defineOptions(
  "ipv6 option",
  { length: "data-octets", single: { "pad-1": 0 } },
  {
    /** How many more tunnels may be put around the packet; a destination option of tunnel entries. RFC 2473 §4.1.1. */
    "tunnel-encapsulation-limit": { type: 4, fields: { limit: uint(8) } },
    /** What routers on the way are to look for; 0: multicast listener discovery. RFC 2711 §2.1. */
    "router-alert": { type: 5, fields: { value: uint(16) } },
  },
);
export type Ipv6Option = ValueOf<typeof ipv6Options>[number];
