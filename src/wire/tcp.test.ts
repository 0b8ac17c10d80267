import assert from "node:assert/strict";
import { test } from "node:test";
import { codecSuite } from "./codec-suite.test.ts";
import { type TcpHeader, tcp } from "./tcp.ts";

const syn: TcpHeader = {
  sourcePort: 40000,
  destinationPort: 7000,
  sequence: 0xfedcba98,
  acknowledgment: 0,
  cwr: false,
  ece: false,
  urg: false,
  ack: false,
  psh: false,
  rst: false,
  syn: true,
  fin: false,
  window: 64240,
  checksum: 0x1234,
  urgentPointer: 0,
  options: [
    { type: "maximum-segment-size", size: 1460 },
    { type: "sack-permitted" },
    { type: "timestamps", value: 0xf6c00ac9, echo: 0 },
    { type: "no-operation" },
    { type: "window-scale", shift: 10 },
  ],
};

const head = (dataOffset: string, flags: string) => `
  9c 40 1b 58  # ports
  fe dc ba 98  # sequence number
  00 00 00 00  # acknowledgment number
  ${dataOffset}           # data offset
  ${flags}           # flags
  fa f0        # window
  12 34        # checksum
  00 00        # urgent pointer
`;

codecSuite(tcp, {
  examples: [
    {
      name: "a SYN with the options of Linux",
      bytes: `${head("a0", "02")}
        02 04 05 b4                    # maximum segment size
        04 02                          # SACK permitted
        08 0a f6 c0 0a c9 00 00 00 00  # timestamps
        01                             # no operation
        03 03 0a                       # window scale`,
      value: syn,
    },
    {
      name: "all flags, an option without a name, one of another length, and padding",
      bytes: `${head("80", "ff")}
        fd 04 f9 89  # experimental
        02 03 05     # a maximum segment size of one octet
        00 00 00 00 00`,
      value: {
        ...syn,
        ...{ cwr: true, ece: true, urg: true, ack: true, psh: true, rst: true, fin: true },
        options: [
          { type: { unknown: 253 }, data: Uint8Array.of(0xf9, 0x89) },
          { type: { unknown: 2 }, data: Uint8Array.of(5) },
          ...Array.from({ length: 5 }, () => ({ type: "end-of-list" }) as const),
        ],
      },
    },
  ],
  refused: [
    {
      name: "a data offset less than the header",
      bytes: head("40", "02"),
      error: { header: "tcp", what: "dataOffset is 4, less than 5", offset: 0 },
    },
    {
      name: "an option of length zero, which would never end",
      bytes: `${head("60", "02")} 05 00 00 00`,
      error: { header: "tcp option", what: "the length of option 5 is 0", offset: 21 },
    },
    {
      name: "an option that ends behind the header",
      bytes: `${head("60", "02")} 05 0a 00 00  00 00 00 00 00 00`,
      error: { header: "tcp option", what: "cut short", offset: 20, needed: 10, available: 4 },
    },
  ],
  unfit: [
    {
      name: "44 octets of options",
      value: { ...syn, options: [{ type: { unknown: 5 }, data: new Uint8Array(42) }] },
      message: /^tcp\.dataOffset is 16, not a number of 4 bits$/,
    },
    {
      name: "no operation with data",
      value: { ...syn, options: [{ type: { unknown: 1 }, data: new Uint8Array(2) }] },
      message: /^tcp option 1 is one octet, without data$/,
    },
  ],
});

test("options are padded to whole words with zero octets", () => {
  const target = new Uint8Array(24).fill(0xff);
  assert.equal(tcp.encode({ ...syn, options: [{ type: "window-scale", shift: 7 }] }, target), 24);
  assert.deepEqual(target.subarray(20), Uint8Array.of(3, 3, 7, 0));
});
