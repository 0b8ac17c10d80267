import { ok } from "../base/result.ts";
import { type Codec, requireRoom } from "./codec.ts";
import { cutShort } from "./decode-error.ts";
import { type IpProtocol, ipProtocol } from "./ip-protocol.ts";
import { defineHeader, flag, reserved, uint } from "./layout.ts";

const start = defineHeader("ipv6 extension", { nextHeader: ipProtocol, extraWords: uint(8) });

/** An extension header whose content is kept as it is. */
export interface Ipv6Extension {
  readonly nextHeader: IpProtocol;
  /** What follows next header and length: 8n + 6 octets. */
  readonly data: Uint8Array;
}

/**
 * Hop-by-hop options, routing header and destination options, which share one frame: 8 to 2048 octets.
 * RFC 8200 §4.3, §4.4, §4.6.
 *
 *      0                   1                   2                   3
 *      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |  Next Header  |  8 octets - 1 |                               |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+                               +
 *     |                             Data                              |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 */
export const ipv6Extension: Codec<Ipv6Extension> = {
  name: start.name,
  lengthOf: ({ data }) => start.length + data.length,

  decode(bytes, offset = 0) {
    const lead = start.decode(bytes, offset);
    if (!lead.ok) return lead;
    const length = (lead.value.extraWords + 1) * 8;
    if (offset + length > bytes.length) return cutShort(start.name, bytes, offset, length);
    return ok({ nextHeader: lead.value.nextHeader, data: bytes.subarray(offset + start.length, offset + length) });
  },

  encode({ nextHeader, data }, target, offset = 0) {
    const length = start.length + data.length;
    if (length % 8 !== 0) throw new RangeError(`${start.name} data has 8n + 6 octets, not ${data.length}`);
    requireRoom(start.name, target, offset, length);
    start.encode({ nextHeader, extraWords: length / 8 - 1 }, target, offset);
    target.set(data, offset + start.length);
    return length;
  },
};

/**
 * Fragment header, 8 octets. RFC 8200 §4.5.
 *
 *      0                   1                   2                   3
 *      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |  Next Header  |   Reserved    |     Fragment Offset     |Res|M|
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                        Identification                         |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 */
export const ipv6Fragment = defineHeader("ipv6 fragment", {
  nextHeader: ipProtocol,
  reserved1: reserved(8),
  /** In units of 8 octets. */
  fragmentOffset: uint(13),
  reserved2: reserved(2),
  moreFragments: flag(),
  identification: uint(32),
});
