import { classlessRoutes } from "./classless-routes.ts";
import { octets, type ValueOf } from "./codec.ts";
import { codes, defineHeader, fixed, flag, ipv4Address, macAddress, reserved, tail, uint } from "./layout.ts";
import { defineOptions } from "./options.ts";
import { repeated } from "./repeated.ts";
import { text, textField } from "./text.ts";

/** UDP ports. RFC 2131 §4.1. */
export const dhcpv4Port = { client: 68, server: 67 } as const;

/** RFC 2132 §9.6. */
export const dhcpv4MessageType = codes(8, {
  discover: 1,
  offer: 2,
  request: 3,
  decline: 4,
  ack: 5,
  nak: 6,
  release: 7,
  inform: 8,
});

const addresses = { addresses: tail(repeated("addresses", ipv4Address())) };
const address = { address: ipv4Address() };
const seconds = { seconds: uint(32) };
const string = { text: tail(text("text")) };

/** Options of a DHCPv4 message. RFC 2132; each option once, none continued in another (RFC 3396). */
export const dhcpv4Options = defineOptions(
  "dhcpv4 option",
  { length: "data-octets", single: { pad: 0, end: 255 }, end: "end" },
  {
    "subnet-mask": { type: 1, fields: { mask: ipv4Address() } },
    routers: { type: 3, fields: addresses },
    "dns-servers": { type: 6, fields: addresses },
    "host-name": { type: 12, fields: string },
    "domain-name": { type: 15, fields: string },
    /** Octets. */
    "interface-mtu": { type: 26, fields: { mtu: uint(16) } },
    "ntp-servers": { type: 42, fields: addresses },
    "requested-address": { type: 50, fields: address },
    "lease-time": { type: 51, fields: seconds },
    "message-type": { type: 53, fields: { messageType: dhcpv4MessageType } },
    "server-identifier": { type: 54, fields: address },
    "requested-options": { type: 55, fields: { options: tail(repeated("option numbers", uint(8))) } },
    message: { type: 56, fields: string },
    /** Octets of the largest IP packet with a message that the client takes. */
    "maximum-message-size": { type: 57, fields: { octets: uint(16) } },
    /** T1. */
    "renewal-time": { type: 58, fields: seconds },
    /** T2. */
    "rebinding-time": { type: 59, fields: seconds },
    "client-identifier": { type: 61, fields: { identifier: tail(octets("client identifier")) } },
    "tftp-server-name": { type: 66, fields: string },
    "boot-file-name": { type: 67, fields: string },
    /** RFC 3442. */
    "classless-routes": { type: 121, fields: { routes: tail(classlessRoutes) } },
  },
);
export type Dhcpv4Option = ValueOf<typeof dhcpv4Options>[number];

/**
 * DHCP message for Ethernet. RFC 2131 §2.
 *
 *      0                   1                   2                   3
 *      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |     op (1)    |   htype (1)   |   hlen (1)    |   hops (1)    |
 *     +---------------+---------------+---------------+---------------+
 *     |                            xid (4)                            |
 *     +-------------------------------+-------------------------------+
 *     |           secs (2)            |           flags (2)           |
 *     +-------------------------------+-------------------------------+
 *     |                          ciaddr  (4)                          |
 *     +---------------------------------------------------------------+
 *     |                          yiaddr  (4)                          |
 *     +---------------------------------------------------------------+
 *     |                          siaddr  (4)                          |
 *     +---------------------------------------------------------------+
 *     |                          giaddr  (4)                          |
 *     +---------------------------------------------------------------+
 *     |                          chaddr  (16)                         |
 *     +---------------------------------------------------------------+
 *     |                          sname   (64)                         |
 *     +---------------------------------------------------------------+
 *     |                          file    (128)                        |
 *     +---------------------------------------------------------------+
 *     |                          options (variable)                   |
 *     +---------------------------------------------------------------+
 */
export const dhcpv4 = defineHeader("dhcpv4", {
  operation: codes(8, { request: 1, reply: 2 }),
  hardwareType: fixed(8, 1),
  hardwareLength: fixed(8, 6),
  hops: uint(8),
  transaction: uint(32),
  seconds: uint(16),
  /** The client takes no answer before it has an address but by broadcast. §4.1. */
  broadcast: flag(),
  reserved: reserved(15),
  /** Of a client that has one already. */
  clientAddress: ipv4Address(),
  /** What the client is given. */
  yourAddress: ipv4Address(),
  /** Where the client boots from. */
  nextServer: ipv4Address(),
  relayAgent: ipv4Address(),
  clientMac: macAddress(),
  macPadding: reserved(80),
  serverName: textField(64),
  bootFile: textField(128),
  magicCookie: fixed(32, 0x63_82_53_63),
  options: tail(dhcpv4Options),
});
export type Dhcpv4Message = ValueOf<typeof dhcpv4>;
