import assert from "node:assert/strict";
import { test } from "node:test";
import { annotated, codecSuite } from "./codec-suite.test.ts";
import { gre } from "./gre.ts";

codecSuite(gre, {
  examples: [
    { name: "no optional part, an IPv4 packet", bytes: "00 00 08 00", value: { protocolType: "ipv4" } },
    {
      name: "all optional parts, an Ethernet frame",
      bytes: `
        b0 00        # checksum, key and sequence number present
        65 58        # Transparent Ethernet Bridging
        3a fc        # checksum
        00 00
        de ad be ef  # key
        ff ff ff ff  # sequence number`,
      value: {
        protocolType: "transparent-ethernet-bridging",
        checksum: 0x3afc,
        key: 0xdeadbeef,
        sequence: 0xffffffff,
      },
    },
    {
      name: "a checksum of zero is there, too",
      bytes: "80 00 86 dd 00 00 00 00",
      value: { protocolType: "ipv6", checksum: 0 },
    },
    { name: "key alone", bytes: "20 00 86 dd 00 00 00 07", value: { protocolType: "ipv6", key: 7 } },
    { name: "sequence number alone", bytes: "10 00 08 00 00 00 00 00", value: { protocolType: "ipv4", sequence: 0 } },
    {
      name: "an EtherType without a name: ERSPAN",
      bytes: "10 00 88 be 00 00 00 01",
      value: { protocolType: { unknown: 0x88be }, sequence: 1 },
    },
  ],
  refused: [
    {
      name: "version 1, of PPTP",
      bytes: "30 01 88 0b 00 10 00 01 00 00 00 00",
      error: { header: "gre", what: "version is 1, not 0", offset: 1 },
    },
    {
      name: "routing",
      bytes: "40 00 08 00 00 00 00 00 00 00 00 00",
      error: { header: "gre", what: "routingPresent is 1, not 0", offset: 0 },
    },
    {
      name: "a strict source route",
      bytes: "08 00 08 00",
      error: { header: "gre", what: "strictSourceRoute is 1, not 0", offset: 0 },
    },
    {
      name: "recursion control",
      bytes: "04 00 08 00",
      error: { header: "gre", what: "recursionControl is 1, not 0", offset: 0 },
    },
  ],
  unfit: [
    {
      name: "a key of 33 bits",
      value: { protocolType: "ipv4", key: 2 ** 32 },
      message: /^gre\.key is 4294967296, not a number of 32 bits$/,
    },
    {
      name: "a negative sequence number",
      value: { protocolType: "ipv4", sequence: -1 },
      message: /^gre\.sequence is -1, not a number of 32 bits$/,
    },
    {
      name: "a checksum of 17 bits",
      value: { protocolType: "ipv4", checksum: 65536 },
      message: /^gre\.checksum is 65536, not a number of 16 bits$/,
    },
  ],
});

test("reserved bits are ignored on receipt and sent as zero", () => {
  const decoded = gre.decode(annotated("83 f8 08 00 12 34 ff ff"));
  assert.deepEqual(decoded, { ok: true, value: { protocolType: "ipv4", checksum: 0x1234 } });
  const target = new Uint8Array(8).fill(0xff);
  gre.encode({ protocolType: "ipv4", checksum: 0x1234 }, target);
  assert.deepEqual(target, annotated("80 00 08 00 12 34 00 00"));
});
