import assert from "node:assert/strict";
import { test } from "node:test";
import { type Ipv4Address, ip } from "../base/ip.ts";
import { mac, zeroMac } from "../base/mac.ts";
import { arp, arpOperation } from "./arp.ts";
import { codecSuite } from "./codec-suite.test.ts";

const request = {
  operation: "request",
  senderMac: mac("02:00:00:00:00:01"),
  senderIp: ip("192.0.2.1") as Ipv4Address,
  targetMac: zeroMac,
  targetIp: ip("192.0.2.2") as Ipv4Address,
} as const;

const requestBytes = `
  00 01              # hardware type: Ethernet
  08 00              # protocol type: IPv4
  06 04              # address lengths
  00 01              # operation: request
  02 00 00 00 00 01  # sender MAC
  c0 00 02 01        # sender IP
  00 00 00 00 00 00  # target MAC
  c0 00 02 02        # target IP`;

codecSuite(arp, {
  examples: [
    { name: "a request", bytes: requestBytes, value: request },
    {
      name: "an operation without a name",
      bytes: requestBytes.replace("00 01              # operation", "00 09 # operation"),
      value: { ...request, operation: { unknown: 9 } },
    },
  ],
  refused: [
    {
      name: "another kind of hardware",
      bytes: requestBytes.replace("00 01              # hardware", "00 20 # hardware"),
      error: { header: "arp", what: "hardwareType is 32, not 1", offset: 0 },
    },
    {
      name: "another length of protocol address",
      bytes: requestBytes.replace("06 04", "06 10"),
      error: { header: "arp", what: "protocolLength is 16, not 4", offset: 5 },
    },
  ],
});

test("operations without a name keep their number", () => {
  assert.equal(arpOperation.decode(2), "reply");
  assert.deepEqual(arpOperation.decode(9), { unknown: 9 });
  assert.equal(arpOperation.encode({ unknown: 9 }), 9);
});
