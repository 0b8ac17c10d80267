import { type Ipv6Address, ip } from "../base/ip.ts";
import { codecSuite } from "./codec-suite.test.ts";
import { ipv6 } from "./ipv6.ts";
import { ipv6Extension, ipv6Fragment } from "./ipv6-extension.ts";

const bytes = `
  62 e4 bc de                                      # version 6, DSCP 11, ECN 2, flow label 0x4bcde
  00 40                                            # payload length
  3a                                               # next header: ICMPv6
  ff                                               # hop limit
  20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 01  # source
  ff 02 00 00 00 00 00 00 00 00 00 01 ff 00 00 02  # destination`;

codecSuite(ipv6, {
  examples: [
    {
      name: "a packet to a multicast group",
      bytes,
      value: {
        dscp: 11,
        ecn: 2,
        flowLabel: 0x4bcde,
        payloadLength: 64,
        nextHeader: "icmpv6",
        hopLimit: 255,
        source: ip("2001:db8::1") as Ipv6Address,
        destination: ip("ff02::1:ff00:2") as Ipv6Address,
      },
    },
  ],
  refused: [
    {
      name: "version 4",
      bytes: bytes.replace("62 ", "42 "),
      error: { header: "ipv6", what: "version is 4, not 6", offset: 0 },
    },
  ],
});

codecSuite(ipv6Extension, {
  examples: [
    {
      name: "hop-by-hop options: router alert and padding",
      bytes: `
        3a           # next header: ICMPv6
        00           # no further words
        05 02 00 00  # router alert
        01 00        # padding`,
      value: { nextHeader: "icmpv6", data: Uint8Array.of(5, 2, 0, 0, 1, 0) },
    },
    {
      name: "16 octets",
      bytes: "3c 01 01 0c 00 00 00 00 00 00 00 00 00 00 00 00",
      value: {
        nextHeader: "destination-options",
        data: Uint8Array.of(1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
      },
    },
  ],
  unfit: [
    {
      name: "data that does not end with a word",
      value: { nextHeader: "udp", data: new Uint8Array(8) },
      message: /^ipv6 extension data has 8n \+ 6 octets, not 8$/,
    },
    {
      name: "2056 octets",
      value: { nextHeader: "udp", data: new Uint8Array(2054) },
      message: /extraWords is 256, not a number of 8 bits$/,
    },
  ],
});

codecSuite(ipv6Fragment, {
  examples: [
    {
      name: "a middle fragment",
      bytes: `
        11           # next header: UDP
        00
        05 a9        # offset 181 units, more fragments
        de ad be ef  # identification`,
      value: { nextHeader: "udp", fragmentOffset: 181, moreFragments: true, identification: 0xdeadbeef },
    },
  ],
});
