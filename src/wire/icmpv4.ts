import type { ValueOf } from "./codec.ts";
import { codes, reserved, uint } from "./layout.ts";
import { defineMessages } from "./messages.ts";

/** IANA "ICMP Parameters", types. */
export const icmpv4Type = codes(8, {
  "echo-reply": 0,
  "destination-unreachable": 3,
  redirect: 5,
  "echo-request": 8,
  "time-exceeded": 11,
  "parameter-problem": 12,
});

/** Codes of destination unreachable. RFC 792, RFC 1122 §3.2.2.1, RFC 1812 §5.2.7.1. */
export const icmpv4UnreachableCode = codes(8, {
  network: 0,
  host: 1,
  protocol: 2,
  port: 3,
  "fragmentation-needed": 4,
  "source-route-failed": 5,
  "network-prohibited": 9,
  "host-prohibited": 10,
  "administratively-prohibited": 13,
});

/** Of the message, this field counted as zero. No pseudo header. */
const checksum = uint(16);
const echo = { code: uint(8), checksum, identifier: uint(16), sequence: uint(16) };

/**
 * ICMP message without its data: the echoed octets, or the start of the packet that an error is about. RFC 792.
 * Of types without a layout here only type, code and checksum are read; the rest counts as data.
 *
 *      0                   1                   2                   3
 *      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |     Type      |     Code      |           Checksum            |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |          Identifier           |        Sequence Number        |   echo
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |            Unused             |         Next-Hop MTU          |   destination unreachable, RFC 1191 §4
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 */
export const icmpv4 = defineMessages(
  "icmpv4",
  icmpv4Type,
  {
    "echo-request": echo,
    "echo-reply": echo,
    "destination-unreachable": {
      code: icmpv4UnreachableCode,
      checksum,
      unused: reserved(16),
      /** Octets; with `fragmentation-needed` only. 0: the router is older than RFC 1191. */
      nextHopMtu: uint(16),
    },
    "time-exceeded": { code: uint(8), checksum, unused: reserved(32) },
  },
  { code: uint(8), checksum },
);
export type Icmpv4Message = ValueOf<typeof icmpv4>;
