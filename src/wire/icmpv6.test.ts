import { type Ipv6Address, ip } from "../base/ip.ts";
import { mac } from "../base/mac.ts";
import { codecSuite } from "./codec-suite.test.ts";
import { icmpv6 } from "./icmpv6.ts";
import { neighbourOptions } from "./neighbour-options.ts";

const target = ip("2001:db8::2") as Ipv6Address;
const targetBytes = "20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 02";
const address = mac("02:00:00:00:00:01");

codecSuite(icmpv6, {
  examples: [
    {
      name: "an echo reply",
      bytes: "81 00 12 34 00 07 00 08",
      value: { type: "echo-reply", code: 0, checksum: 0x1234, identifier: 7, sequence: 8 },
    },
    {
      name: "packet too big",
      bytes: `
        02 00        # type, code
        ab cd        # checksum
        00 00 05 78  # MTU`,
      value: { type: "packet-too-big", code: 0, checksum: 0xabcd, mtu: 1400 },
    },
    {
      name: "port unreachable",
      bytes: "01 04 00 00 00 00 00 00",
      value: { type: "destination-unreachable", code: "port", checksum: 0 },
    },
    {
      name: "a parameter problem",
      bytes: "04 01 00 00 00 00 00 28",
      value: { type: "parameter-problem", code: 1, checksum: 0, pointer: 40 },
    },
    {
      name: "a neighbour solicitation",
      bytes: `
        87 00 00 00              # type, code, checksum
        00 00 00 00
        ${targetBytes}           # target
        01 01 02 00 00 00 00 01  # source link-layer address`,
      value: {
        type: "neighbour-solicitation",
        code: 0,
        checksum: 0,
        target,
        options: [{ type: "source-link-layer-address", address }],
      },
      wholeAt: [24],
    },
    {
      name: "a neighbour advertisement",
      bytes: `
        88 00 00 00              # type, code, checksum
        60 00 00 00              # solicited, override
        ${targetBytes}           # target
        02 01 02 00 00 00 00 01  # target link-layer address`,
      value: {
        type: "neighbour-advertisement",
        code: 0,
        checksum: 0,
        router: false,
        solicited: true,
        override: true,
        target,
        options: [{ type: "target-link-layer-address", address }],
      },
      wholeAt: [24],
    },
    {
      name: "a router solicitation without an option",
      bytes: "85 00 00 00 00 00 00 00",
      value: { type: "router-solicitation", code: 0, checksum: 0, options: [] },
    },
    {
      name: "a router advertisement",
      bytes: `
        86 00 00 00        # type, code, checksum
        40                 # hop limit
        40                 # other configuration
        07 08              # router lifetime
        00 00 75 30        # reachable time
        00 00 03 e8        # retransmit timer
        03 04 40 c0        # prefix information: 64 bits, on link, autonomous
        00 01 51 80        # valid lifetime
        00 00 38 40        # preferred lifetime
        00 00 00 00
        20 01 0d b8 00 77 00 00 00 00 00 00 00 00 00 00
        05 01 00 00 00 00 05 aa  # MTU`,
      value: {
        type: "router-advertisement",
        code: 0,
        checksum: 0,
        hopLimit: 64,
        managed: false,
        otherConfiguration: true,
        routerLifetime: 1800,
        reachableTime: 30000,
        retransmitTimer: 1000,
        options: [
          {
            type: "prefix-information",
            prefixLength: 64,
            onLink: true,
            autonomous: true,
            validLifetime: 86400,
            preferredLifetime: 14400,
            prefix: ip("2001:db8:77::") as Ipv6Address,
          },
          { type: "mtu", mtu: 1450 },
        ],
      },
      wholeAt: [16, 48],
    },
    {
      name: "a report whose records count as data",
      bytes: "8f 00 12 34",
      value: { type: "multicast-listener-report-v2", code: 0, checksum: 0x1234 },
    },
  ],
});

codecSuite(neighbourOptions, {
  examples: [
    {
      name: "DNS servers and a search list",
      bytes: `
        19 03 00 00 00 00 0e 10 ${targetBytes}
        1f 03 00 00 ff ff ff ff
           03 6c 61 62 07 65 78 61 6d 70 6c 65 00 00 00 00  # lab.example`,
      value: [
        { type: "recursive-dns-servers", lifetime: 3600, addresses: [target] },
        { type: "dns-search-list", lifetime: 0xffff_ffff, domains: ["lab.example"] },
      ],
      wholeAt: [0, 24],
    },
    {
      name: "more padding of a search list than it takes",
      bytes: "1f 03 00 00 00 00 00 00 01 61 00 00 00 00 00 00 00 00 00 00 00 00 00 00",
      value: [{ type: { unknown: 31 }, data: Uint8Array.of(0, 0, 0, 0, 0, 0, 1, 0x61, ...new Uint8Array(14)) }],
      wholeAt: [0],
    },
    {
      name: "one without a name, and a link-layer address of another length",
      bytes: `
        0e 01 01 02 03 04 05 06  # nonce
        01 02 00 11 22 33 44 55 66 77 00 00 00 00 00 00`,
      value: [
        { type: { unknown: 14 }, data: Uint8Array.of(1, 2, 3, 4, 5, 6) },
        {
          type: { unknown: 1 },
          data: Uint8Array.of(0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0, 0, 0, 0, 0, 0),
        },
      ],
      wholeAt: [0, 8],
    },
  ],
  refused: [
    {
      name: "a length of zero, which would never end",
      bytes: "01 01 02 00 00 00 00 01  05 00 00 00 00 00 05 dc",
      error: { header: "neighbour option", what: "the length of option 5 is 0", offset: 9 },
    },
  ],
  unfit: [
    {
      name: "data that does not fill 8 octets",
      value: [{ type: { unknown: 14 }, data: new Uint8Array(7) }],
      message: /^neighbour option: 9 octets are no multiple of 8$/,
    },
  ],
});
