import { type Ipv6Address, ip } from "../base/ip.ts";
import { codecSuite } from "./codec-suite.test.ts";
import { dhcpv6, dhcpv6Options } from "./dhcpv6.ts";

const v6 = (text: string): Ipv6Address => ip(text) as Ipv6Address;
const address = "fd 00 00 00 00 00 00 00 00 00 00 00 00 00 00 02";

codecSuite(dhcpv6, {
  examples: [
    {
      name: "a REPLY",
      bytes: `
        07 10 08 74                      # reply, transaction
        00 01 00 04 00 03 00 01          # client identifier
        00 0e 00 00                      # rapid commit
        00 03 00 2e                      # IA_NA
           00 00 00 07 00 00 00 32 00 00 00 50
           00 05 00 1e ${address}        # address
              00 00 00 64 00 00 00 64
              00 0d 00 02 00 00          # success
        00 19 00 12                      # IA_PD
           00 00 00 08 00 00 00 00 00 00 00 00
           00 0d 00 02 00 06             # no prefix
        00 17 00 10 ${address}           # DNS
        00 18 00 0d 03 6c 61 62 07 65 78 61 6d 70 6c 65 00  # lab.example
        00 38 00 14 00 01 00 10 ${address}                  # NTP`,
      value: {
        type: "reply",
        transaction: 0x100874,
        options: [
          { type: "client-identifier", identifier: Uint8Array.of(0, 3, 0, 1) },
          { type: "rapid-commit" },
          {
            type: "addresses",
            identifier: 7,
            t1: 50,
            t2: 80,
            options: [
              {
                type: "address",
                address: v6("fd00::2"),
                preferredLifetime: 100,
                validLifetime: 100,
                options: [{ type: "status-code", status: "success", text: "" }],
              },
            ],
          },
          {
            type: "prefixes",
            identifier: 8,
            t1: 0,
            t2: 0,
            options: [{ type: "status-code", status: "no-prefix-available", text: "" }],
          },
          { type: "dns-servers", addresses: [v6("fd00::2")] },
          { type: "domain-search", domains: ["lab.example"] },
          { type: "ntp-servers", servers: [{ type: "address", address: v6("fd00::2") }] },
        ],
      },
      wholeAt: [4, 12, 16, 66, 88, 108, 125],
    },
  ],
  refused: [
    {
      name: "a relay agent's",
      bytes: "0c 00 00 01",
      error: { header: "dhcpv6", what: "it is a relay agent's, relay-forward", offset: 0 },
    },
  ],
});

codecSuite(dhcpv6Options, {
  examples: [
    {
      name: "options that are not as they should be are kept",
      bytes: `
        00 03 00 04 00 00 00 07          # IA_NA without its times
        00 18 00 02 c0 0c                # a compressed name
        00 18 00 01 00                   # the root
        00 18 00 04 02 61 2e 00          # a dot in a label`,
      value: [
        { type: { unknown: 3 }, data: Uint8Array.of(0, 0, 0, 7) },
        { type: { unknown: 24 }, data: Uint8Array.of(0xc0, 0x0c) },
        { type: { unknown: 24 }, data: Uint8Array.of(0) },
        { type: { unknown: 24 }, data: Uint8Array.of(2, 0x61, 0x2e, 0) },
      ],
      wholeAt: [0, 8, 14, 19],
    },
  ],
  unfit: [
    {
      name: "a label of 64 octets",
      value: [{ type: "domain-search", domains: [`${"x".repeat(64)}.example`] }],
      message: /64 octets, not 1 to 63/,
    },
    { name: "an empty label", value: [{ type: "domain-search", domains: ["a..b"] }], message: /0 octets/ },
  ],
});
