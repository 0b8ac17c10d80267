import { codecSuite } from "./codec-suite.test.ts";
import { ipv6Options } from "./ipv6-options.ts";

codecSuite(ipv6Options, {
  examples: [
    {
      name: "the tunnel encapsulation limit of Linux, with padding",
      bytes: `
        04 01 04  # tunnel encapsulation limit: 4
        01 01 00  # one octet of padding`,
      value: [
        { type: "tunnel-encapsulation-limit", limit: 4 },
        { type: { unknown: 1 }, data: Uint8Array.of(0) },
      ],
      wholeAt: [0, 3],
    },
    {
      name: "padding of one octet does not end the list",
      bytes: "00 05 02 00 00 00",
      value: [{ type: "pad-1" }, { type: "router-alert", value: 0 }, { type: "pad-1" }],
      wholeAt: [0, 1, 5],
    },
    {
      name: "an option without a name, and a limit of another length",
      bytes: "c9 02 ab cd 04 00",
      value: [
        { type: { unknown: 0xc9 }, data: Uint8Array.of(0xab, 0xcd) },
        { type: { unknown: 4 }, data: new Uint8Array() },
      ],
      wholeAt: [0, 4],
    },
  ],
  refused: [
    {
      name: "an option that ends behind the header",
      bytes: "04 05 00 00 00 00",
      error: { header: "ipv6 option", what: "cut short", offset: 0, needed: 7, available: 6 },
    },
  ],
  unfit: [
    {
      name: "a limit of 256",
      value: [{ type: "tunnel-encapsulation-limit", limit: 256 }],
      message: /^ipv6 option\.limit is 256, not a number of 8 bits$/,
    },
    {
      name: "256 octets of data",
      value: [{ type: { unknown: 200 }, data: new Uint8Array(256) }],
      message: /length is 256, not a number of 8 bits$/,
    },
    {
      name: "padding of one octet with data",
      value: [{ type: { unknown: 0 }, data: new Uint8Array(1) }],
      message: /^ipv6 option 0 is one octet, without data$/,
    },
  ],
});
