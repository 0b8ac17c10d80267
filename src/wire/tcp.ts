import type { ValueOf } from "./codec.ts";
import { defineHeader, flag, reserved, uint } from "./layout.ts";
import { defineOptions, withOptions } from "./options.ts";

/**
 * TCP options. RFC 9293 §3.2; others, such as the blocks of a selective acknowledgment (RFC 2018 §3), stay octets.
 * Nothing but more of itself can follow `end-of-list`.
 */
export const tcpOptions = defineOptions(
  "tcp option",
  { length: "octets", single: { "end-of-list": 0, "no-operation": 1 }, end: "end-of-list" },
  {
    /** Octets of the largest segment that the sender takes. RFC 9293 §3.7.1. */
    "maximum-segment-size": { type: 2, fields: { size: uint(16) } },
    /** The window counts in units of 2^shift octets. RFC 7323 §2.2. */
    "window-scale": { type: 3, fields: { shift: uint(8) } },
    /** RFC 2018 §2. */
    "sack-permitted": { type: 4, fields: {} },
    /** RFC 7323 §3.2. */
    timestamps: { type: 8, fields: { value: uint(32), echo: uint(32) } },
  },
);
export type TcpOption = ValueOf<typeof tcpOptions>[number];

const fixedPart = defineHeader("tcp", {
  sourcePort: uint(16),
  destinationPort: uint(16),
  sequence: uint(32),
  acknowledgment: uint(32),
  dataOffset: uint(4),
  reserved: reserved(4),
  cwr: flag(),
  ece: flag(),
  urg: flag(),
  ack: flag(),
  psh: flag(),
  rst: flag(),
  syn: flag(),
  fin: flag(),
  /** Octets, before scaling. */
  window: uint(16),
  /** Of header, data and pseudo header, this field counted as zero. */
  checksum: uint(16),
  urgentPointer: uint(16),
});

/**
 * TCP header, 20 to 60 octets. RFC 9293 §3.1. The data offset follows from the options.
 *
 *      0                   1                   2                   3
 *      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |          Source Port          |       Destination Port        |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                        Sequence Number                        |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                    Acknowledgment Number                      |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |  Data |       |C|E|U|A|P|R|S|F|                               |
 *     | Offset| Rsrvd |W|C|R|C|S|S|Y|I|            Window             |
 *     |       |       |R|E|G|K|H|T|N|N|                               |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |           Checksum            |        Urgent Pointer         |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                    Options, 0 to 40 octets                    |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 */
export const tcp = withOptions(fixedPart, "dataOffset", tcpOptions);
export type TcpHeader = ValueOf<typeof tcp>;
