import { type Ipv4Address, ip } from "../base/ip.ts";
import { codecSuite } from "./codec-suite.test.ts";
import { type Ipv4Header, ipv4 } from "./ipv4.ts";

const plain: Ipv4Header = {
  dscp: 46,
  ecn: 1,
  totalLength: 84,
  identification: 0x1c46,
  dontFragment: true,
  moreFragments: false,
  fragmentOffset: 0,
  timeToLive: 64,
  protocol: "udp",
  checksum: 0xb1e6,
  source: ip("192.0.2.1") as Ipv4Address,
  destination: ip("192.0.2.2") as Ipv4Address,
  options: new Uint8Array(),
};

const plainBytes = `
  45           # version 4, header of 5 words
  b9           # DSCP 46, ECN 1
  00 54        # total length
  1c 46        # identification
  40 00        # don't fragment
  40           # time to live
  11           # protocol: UDP
  b1 e6        # header checksum
  c0 00 02 01  # source
  c0 00 02 02  # destination`;

codecSuite(ipv4, {
  examples: [
    { name: "no options", bytes: plainBytes, value: plain },
    {
      name: "a middle fragment with a router alert option, of a protocol without a name",
      bytes: `
        46 00 00 2c 00 01
        20 b9              # more fragments, offset 185 units
        01 fd 00 00 c0 00 02 01 c0 00 02 02
        94 04 00 00        # router alert`,
      value: {
        ...plain,
        ...{ dscp: 0, ecn: 0, totalLength: 44, identification: 1, dontFragment: false, moreFragments: true },
        ...{ fragmentOffset: 185, timeToLive: 1, protocol: { unknown: 253 }, checksum: 0 },
        options: Uint8Array.of(0x94, 4, 0, 0),
      },
    },
  ],
  refused: [
    {
      name: "version 6",
      bytes: plainBytes.replace("45 ", "65 "),
      error: { header: "ipv4", what: "version is 6, not 4", offset: 0 },
    },
    {
      name: "a header of 4 words",
      bytes: plainBytes.replace("45 ", "44 "),
      error: { header: "ipv4", what: "headerLength is 4, less than 5", offset: 0 },
    },
    {
      name: "a total length less than the header's",
      bytes: plainBytes.replace("00 54", "00 13"),
      error: { header: "ipv4", what: "the total length is 19 octets, the header alone 20", offset: 0 },
    },
  ],
  unfit: [
    {
      name: "44 octets of options",
      value: { ...plain, options: new Uint8Array(44) },
      message: /^ipv4\.headerLength is 16, not a number of 4 bits$/,
    },
    { name: "a packet of 65536 octets", value: { ...plain, totalLength: 65536 }, message: /ipv4\.totalLength/ },
    {
      name: "an IPv6 address",
      value: { ...plain, source: ip("2001:db8::1") as string as Ipv4Address },
      message: /^ipv4\.source has 4 octets, not 16$/,
    },
  ],
});
