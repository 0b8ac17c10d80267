import type { ValueOf } from "./codec.ts";
import { codes, flag, ipv6Address, reserved, tail, uint } from "./layout.ts";
import { defineMessages } from "./messages.ts";
import { neighbourOptions } from "./neighbour-options.ts";

/** IANA "ICMPv6 Parameters", types. */
export const icmpv6Type = codes(8, {
  "destination-unreachable": 1,
  "packet-too-big": 2,
  "time-exceeded": 3,
  "parameter-problem": 4,
  "echo-request": 128,
  "echo-reply": 129,
  "router-solicitation": 133,
  "router-advertisement": 134,
  "neighbour-solicitation": 135,
  "neighbour-advertisement": 136,
  redirect: 137,
  "multicast-listener-report-v2": 143,
});

/** Codes of destination unreachable. RFC 4443 §3.1. */
export const icmpv6UnreachableCode = codes(8, {
  "no-route": 0,
  "administratively-prohibited": 1,
  "beyond-scope": 2,
  address: 3,
  port: 4,
  "source-address-failed-policy": 5,
  "route-rejected": 6,
});

/** Of the message and the IPv6 pseudo header, this field counted as zero. RFC 4443 §2.3. */
const checksum = uint(16);
const code = uint(8);
const echo = { code, checksum, identifier: uint(16), sequence: uint(16) };
const options = tail(neighbourOptions);

/**
 * ICMPv6 message without its data (RFC 4443), neighbour discovery with its options (RFC 4861 §4). Of types without a
 * layout here only type, code and checksum are read; the rest counts as data.
 *
 *      0                   1                   2                   3
 *      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |     Type      |     Code      |           Checksum            |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |          Identifier           |        Sequence Number        |   echo
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                              MTU                              |   packet too big
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     | Cur Hop Limit |M|O| Reserved  |        Router Lifetime        |   router advertisement
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                        Reachable Time                         |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                         Retrans Timer                         |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |R|S|O|                       Reserved                          |   neighbour advertisement; all
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+   reserved in a solicitation
 *     |                                                               |
 *     +                   Target Address (4 words)                    +
 *     |                                                               |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 */
export const icmpv6 = defineMessages(
  "icmpv6",
  icmpv6Type,
  {
    "destination-unreachable": { code: icmpv6UnreachableCode, checksum, unused: reserved(32) },
    /** `mtu` in octets. RFC 4443 §3.2. */
    "packet-too-big": { code, checksum, mtu: uint(32) },
    "time-exceeded": { code, checksum, unused: reserved(32) },
    /** `pointer`: the octet of the packet where the error was found. RFC 4443 §3.4. */
    "parameter-problem": { code, checksum, pointer: uint(32) },
    "echo-request": echo,
    "echo-reply": echo,
    "router-solicitation": { code, checksum, reserved: reserved(32), options },
    "router-advertisement": {
      code,
      checksum,
      /** For the hop limit field of outgoing packets; 0: unspecified. */
      hopLimit: uint(8),
      /** Addresses come from DHCPv6. */
      managed: flag(),
      /** Other configuration comes from DHCPv6. */
      otherConfiguration: flag(),
      reserved: reserved(6),
      /** Seconds; 0: not a default router. */
      routerLifetime: uint(16),
      /** Milliseconds; 0: unspecified. */
      reachableTime: uint(32),
      /** Milliseconds; 0: unspecified. */
      retransmitTimer: uint(32),
      options,
    },
    "neighbour-solicitation": { code, checksum, reserved: reserved(32), target: ipv6Address(), options },
    "neighbour-advertisement": {
      code,
      checksum,
      router: flag(),
      solicited: flag(),
      override: flag(),
      reserved: reserved(29),
      target: ipv6Address(),
      options,
    },
  },
  { code, checksum },
);
export type Icmpv6Message = ValueOf<typeof icmpv6>;
