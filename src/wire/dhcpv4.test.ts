import { cidr } from "../base/cidr.ts";
import { type Ipv4Address, ip } from "../base/ip.ts";
import { mac } from "../base/mac.ts";
import { codecSuite } from "./codec-suite.test.ts";
import { type Dhcpv4Message, dhcpv4, dhcpv4Options } from "./dhcpv4.ts";

const v4 = (text: string): Ipv4Address => ip(text) as Ipv4Address;
const zeros = (count: number): string => "00 ".repeat(count);
const discover: Dhcpv4Message = {
  operation: "request",
  hops: 0,
  transaction: 0x3903f326,
  seconds: 3,
  broadcast: true,
  clientAddress: v4("0.0.0.0"),
  yourAddress: v4("0.0.0.0"),
  nextServer: v4("0.0.0.0"),
  relayAgent: v4("0.0.0.0"),
  clientMac: mac("02:00:5e:10:00:01"),
  serverName: "",
  bootFile: "pxe",
  options: [{ type: "message-type", messageType: "discover" }, { type: "end" }],
};
const discoverBytes = `
  01 01 06 00              # request, Ethernet
  39 03 f3 26              # transaction
  00 03 80 00              # seconds, broadcast
  ${zeros(16)}             # ciaddr, yiaddr, siaddr, giaddr
  02 00 5e 10 00 01 ${zeros(10)}
  ${zeros(64)}             # sname
  70 78 65 ${zeros(125)}   # file
  63 82 53 63              # magic cookie
  35 01 01                 # message type
  ff`;

codecSuite(dhcpv4, {
  examples: [{ name: "a DISCOVER", bytes: discoverBytes, value: discover, wholeAt: [240, 243] }],
  refused: [
    {
      name: "BOOTP without options",
      bytes: discoverBytes.replace("63 82 53 63", "00 00 00 00"),
      error: { header: "dhcpv4", what: "magicCookie is 0, not 1669485411", offset: 236 },
    },
    {
      name: "a token ring",
      bytes: discoverBytes.replace("01 01 06 00", "01 06 06 00"),
      error: { header: "dhcpv4", what: "hardwareType is 6, not 1", offset: 1 },
    },
  ],
  unfit: [
    { name: "a file name of 129 octets", value: { ...discover, bootFile: "x".repeat(129) }, message: /128 at most/ },
    { name: "a file name that is no octets", value: { ...discover, bootFile: "日" }, message: /is no octet/ },
  ],
});

codecSuite(dhcpv4Options, {
  examples: [
    {
      name: "what a server says",
      bytes: `
        01 04 ff ff ff 00                # subnet mask
        03 04 0a 00 00 01                # router
        06 08 09 09 09 09 01 01 01 01    # DNS
        1a 02 05 aa                      # MTU
        79 0c 00 0a 00 00 01             # default by 10.0.0.1
              0d 0a 08 0a 00 00 01       # 10.8.0.0/13
        0c 03 77 65 62                   # host name
        ff`,
      value: [
        { type: "subnet-mask", mask: v4("255.255.255.0") },
        { type: "routers", addresses: [v4("10.0.0.1")] },
        { type: "dns-servers", addresses: [v4("9.9.9.9"), v4("1.1.1.1")] },
        { type: "interface-mtu", mtu: 1450 },
        {
          type: "classless-routes",
          routes: [
            { destination: cidr("0.0.0.0/0"), router: v4("10.0.0.1") },
            { destination: cidr("10.8.0.0/13"), router: v4("10.0.0.1") },
          ],
        },
        { type: "host-name", text: "web" },
        { type: "end" },
      ],
      wholeAt: [0, 6, 12, 22, 26, 40, 45],
    },
    {
      name: "options that are not as they should be are kept",
      bytes: `
        06 03 09 09 09                   # three octets of DNS servers
        79 05 21 0a 00 00 01             # a prefix of 33 bits
        52 02 01 02                      # relay agent information`,
      value: [
        { type: { unknown: 6 }, data: Uint8Array.of(9, 9, 9) },
        { type: { unknown: 121 }, data: Uint8Array.of(0x21, 0x0a, 0, 0, 1) },
        { type: { unknown: 82 }, data: Uint8Array.of(1, 2) },
      ],
      wholeAt: [0, 5, 12],
    },
  ],
  unfit: [
    {
      name: "more than an option takes",
      value: [{ type: "host-name", text: "x".repeat(256) }],
      message: /256, not a number of 8 bits/,
    },
  ],
});
