import { codecSuite } from "./codec-suite.test.ts";
import { udp } from "./udp.ts";

codecSuite(udp, {
  examples: [
    {
      name: "a tunnel's datagram without checksum",
      bytes: `
        c8 22  # source port
        12 b5  # destination port
        00 3a  # length
        00 00  # checksum`,
      value: { sourcePort: 51234, destinationPort: 4789, length: 58, checksum: 0 },
    },
  ],
  refused: [
    {
      name: "a length less than the header's",
      bytes: "c8 22 12 b5 00 07 00 00",
      error: { header: "udp", what: "the length is 7 octets, the header alone 8", offset: 0 },
    },
  ],
  unfit: [
    {
      name: "port 65536",
      value: { sourcePort: 65536, destinationPort: 1, length: 8, checksum: 0 },
      message: /^udp\.sourcePort is 65536, not a number of 16 bits$/,
    },
    {
      name: "a length less than the header's",
      value: { sourcePort: 1, destinationPort: 1, length: 0, checksum: 0 },
      message: /^udp: the length is 0 octets, the header alone 8$/,
    },
  ],
});
