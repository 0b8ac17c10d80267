import { codecSuite } from "./codec-suite.test.ts";
import { icmpv4 } from "./icmpv4.ts";

codecSuite(icmpv4, {
  examples: [
    {
      name: "an echo request",
      bytes: `
        08 00  # type, code
        e5 ca  # checksum
        12 34  # identifier
        00 01  # sequence number`,
      value: { type: "echo-request", code: 0, checksum: 0xe5ca, identifier: 0x1234, sequence: 1 },
    },
    {
      name: "fragmentation needed",
      bytes: `
        03 04  # type, code
        43 21  # checksum
        00 00
        05 78  # next-hop MTU`,
      value: { type: "destination-unreachable", code: "fragmentation-needed", checksum: 0x4321, nextHopMtu: 1400 },
    },
    {
      name: "unreachable for a reason without a name",
      bytes: "03 0e 00 00 00 00 00 00",
      value: { type: "destination-unreachable", code: { unknown: 14 }, checksum: 0, nextHopMtu: 0 },
    },
    {
      name: "time exceeded",
      bytes: "0b 01 f4 fe 00 00 00 00",
      value: { type: "time-exceeded", code: 1, checksum: 0xf4fe },
    },
    {
      name: "a redirect, whose gateway counts as data",
      bytes: "05 01 00 00",
      value: { type: "redirect", code: 1, checksum: 0 },
    },
    {
      name: "a type without a name",
      bytes: "2a 00 12 34",
      value: { type: { unknown: 42 }, code: 0, checksum: 0x1234 },
    },
  ],
  unfit: [
    {
      name: "code 256",
      value: { type: "time-exceeded", code: 256, checksum: 0 },
      message: /^icmpv4\.code is 256, not a number of 8 bits$/,
    },
  ],
});
