import { octets, type ValueOf } from "./codec.ts";
import { domainNames } from "./domain-names.ts";
import { codes, defineHeader, ipv6Address, tail, uint } from "./layout.ts";
import { defineOptions } from "./options.ts";
import { repeated } from "./repeated.ts";
import { text } from "./text.ts";

/** UDP ports. RFC 8415 §7.2. */
export const dhcpv6Port = { client: 546, server: 547 } as const;

/** RFC 8415 §7.3. */
export const dhcpv6MessageType = codes(8, {
  solicit: 1,
  advertise: 2,
  request: 3,
  confirm: 4,
  renew: 5,
  rebind: 6,
  reply: 7,
  release: 8,
  decline: 9,
  reconfigure: 10,
  "information-request": 11,
  "relay-forward": 12,
  "relay-reply": 13,
});

/** RFC 8415 §21.13. */
export const dhcpv6Status = codes(16, {
  success: 0,
  "unspecified-failure": 1,
  "no-addresses-available": 2,
  "no-binding": 3,
  "not-on-link": 4,
  "use-multicast": 5,
  "no-prefix-available": 6,
});

const form = { length: "data-octets", width: 16 } as const;
const statusCode = { type: 13, fields: { status: dhcpv6Status, text: tail(text("text")) } } as const;
const identifier = { identifier: tail(octets("DUID")) };

/** Of an address. */
const addressOptions = defineOptions("dhcpv6 address option", form, { "status-code": statusCode });

/** Of an association. Seconds; 0xffffffff is infinity. */
export const dhcpv6AssociationOptions = defineOptions("dhcpv6 association option", form, {
  /** §21.6 */
  address: {
    type: 5,
    fields: {
      address: ipv6Address(),
      preferredLifetime: uint(32),
      validLifetime: uint(32),
      options: tail(addressOptions),
    },
  },
  "status-code": statusCode,
});
export type Dhcpv6AssociationOption = ValueOf<typeof dhcpv6AssociationOptions>[number];

/** Seconds; 0: the client chooses. */
const association = { identifier: uint(32), t1: uint(32), t2: uint(32), options: tail(dhcpv6AssociationOptions) };

/** RFC 5908 §4. */
const ntpOptions = defineOptions("dhcpv6 ntp option", form, {
  address: { type: 1, fields: { address: ipv6Address() } },
});

/** Options of a DHCPv6 message. RFC 8415 §21. */
export const dhcpv6Options = defineOptions("dhcpv6 option", form, {
  "client-identifier": { type: 1, fields: identifier },
  "server-identifier": { type: 2, fields: identifier },
  /** IA_NA, §21.4. */
  addresses: { type: 3, fields: association },
  "requested-options": { type: 6, fields: { options: tail(repeated("option numbers", uint(16))) } },
  preference: { type: 7, fields: { preference: uint(8) } },
  /** Hundredths of a second. */
  "elapsed-time": { type: 8, fields: { elapsed: uint(16) } },
  "status-code": statusCode,
  "rapid-commit": { type: 14, fields: {} },
  /** RFC 3646 §3. */
  "dns-servers": { type: 23, fields: { addresses: tail(repeated("addresses", ipv6Address())) } },
  /** RFC 3646 §4. */
  "domain-search": { type: 24, fields: { domains: tail(domainNames) } },
  /** IA_PD, §21.21. */
  prefixes: { type: 25, fields: association },
  /** RFC 5908. */
  "ntp-servers": { type: 56, fields: { servers: tail(ntpOptions) } },
});
export type Dhcpv6Option = ValueOf<typeof dhcpv6Options>[number];

/**
 * DHCPv6 message between client and server. RFC 8415 §8. Those of relay agents (§9) have another layout, and are refused.
 *
 *      0                   1                   2                   3
 *      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |    msg-type   |               transaction-id                  |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                       options (variable)                      |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 */
export const dhcpv6 = defineHeader(
  "dhcpv6",
  { type: dhcpv6MessageType, transaction: uint(24), options: tail(dhcpv6Options) },
  ({ type }) => (type === "relay-forward" || type === "relay-reply" ? `it is a relay agent's, ${type}` : undefined),
);
export type Dhcpv6Message = ValueOf<typeof dhcpv6>;
