import { broadcastMac, mac } from "../base/mac.ts";
import { codecSuite } from "./codec-suite.test.ts";
import { ethernet } from "./ethernet.ts";

codecSuite(ethernet, {
  examples: [
    {
      name: "a broadcast that carries ARP",
      bytes: `
        ff ff ff ff ff ff  # destination
        02 00 00 00 00 01  # source
        08 06              # EtherType`,
      value: { destination: broadcastMac, source: mac("02:00:00:00:00:01"), etherType: "arp" },
    },
    {
      name: "an IEEE 802.3 frame, which has a length there",
      bytes: "01 80 c2 00 00 00  02 00 00 00 00 01  00 26",
      value: {
        destination: mac("01:80:c2:00:00:00"),
        source: mac("02:00:00:00:00:01"),
        etherType: { unknown: 0x26 },
      },
    },
  ],
  unfit: [
    {
      name: "an EtherType of 17 bits",
      value: { destination: broadcastMac, source: broadcastMac, etherType: { unknown: 0x10000 } },
      message: /^ethernet\.etherType is 65536, not a number of 16 bits$/,
    },
  ],
});
