import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { toHex } from "../base/bytes.ts";
import { unwrap } from "../base/result.ts";
import { annotated } from "./codec-suite.test.ts";
import { linkTypeEthernet, type Pcap, pcapFileHeader, pcapRecord, readPcap, writePcap } from "./pcap.ts";

const capture = (resolution: Pcap["resolution"], timestamp: bigint): Pcap => ({
  linkType: linkTypeEthernet,
  snapLength: 262144,
  resolution,
  packets: [{ timestamp, originalLength: 60, bytes: Uint8Array.of(1, 2, 3) }],
});

const files = [
  {
    name: "microseconds, little-endian",
    bytes: `
      d4 c3 b2 a1  02 00 04 00  00 00 00 00  00 00 00 00  00 00 04 00  01 00 00 00
      00 e1 0b 65  40 e2 01 00  # time
      03 00 00 00  3c 00 00 00  # captured and original length
      01 02 03`,
    value: capture("microseconds", 1_695_277_312_123_456_000n),
  },
  {
    name: "nanoseconds, little-endian",
    bytes: `
      4d 3c b2 a1  02 00 04 00  00 00 00 00  00 00 00 00  00 00 04 00  01 00 00 00
      00 e1 0b 65  15 cd 5b 07  03 00 00 00  3c 00 00 00  01 02 03`,
    value: capture("nanoseconds", 1_695_277_312_123_456_789n),
  },
  {
    name: "microseconds, big-endian",
    bytes: `
      a1 b2 c3 d4  00 02 00 04  00 00 00 00  00 00 00 00  00 04 00 00  00 00 00 01
      65 0b e1 00  00 01 e2 40  00 00 00 03  00 00 00 3c  01 02 03`,
    value: capture("microseconds", 1_695_277_312_123_456_000n),
  },
  {
    name: "nanoseconds, big-endian",
    bytes: `
      a1 b2 3c 4d  00 02 00 04  00 00 00 00  00 00 00 00  00 04 00 00  00 00 00 01
      65 0b e1 00  07 5b cd 15  00 00 00 03  00 00 00 3c  01 02 03`,
    value: capture("nanoseconds", 1_695_277_312_123_456_789n),
  },
];

describe("pcap", () => {
  for (const { name, bytes: text, value } of files) {
    const bytes = annotated(text);
    test(`${name}: read`, () => assert.deepEqual(readPcap(bytes), { ok: true, value }));

    if (name.endsWith("little-endian"))
      test(`${name}: written`, () => assert.equal(toHex(writePcap(value)), toHex(bytes)));

    test(`${name}: cut short`, () => {
      for (let length = 0; length < bytes.length; length++) {
        const result = readPcap(bytes.subarray(0, length));
        assert.equal(result.ok, length >= 24);
        if (!result.ok)
          assert.deepEqual(result.error, {
            header: "pcap",
            what: "cut short",
            offset: 0,
            needed: 24,
            available: length,
          });
        else {
          assert.equal(result.value.packets.length, 0);
          assert.equal(result.value.error?.what, length === 24 ? undefined : "cut short");
        }
      }
    });
  }

  test("packets before a damaged one are kept", () => {
    const [first] = files;
    const bytes = annotated(`${first?.bytes}\n 00 00 00 00 00 00 00 00 ff ff ff ff 00 00 00 00 01`);
    const { packets, error } = unwrap(readPcap(bytes));
    assert.equal(packets.length, 1);
    assert.deepEqual(error, {
      ...{ header: "pcap packet", what: "cut short", offset: 59, needed: 0xffffffff, available: 1 },
    });
  });

  test("what is no capture is refused", () => {
    const other = new Uint8Array(24);
    assert.deepEqual(readPcap(other), {
      ok: false,
      error: { header: "pcap", what: "magic number is 0x00000000", offset: 0 },
    });
    const version = writePcap(capture("microseconds", 0n));
    version[4] = 1;
    assert.deepEqual(readPcap(version), {
      ok: false,
      error: { header: "pcap", what: "major version is 1, not 2", offset: 4 },
    });
  });

  test("values that do not fit throw", () => {
    const [packet] = capture("nanoseconds", 0n).packets;
    assert.ok(packet);
    for (const timestamp of [-1n, 2n ** 32n * 1_000_000_000n])
      assert.throws(() => pcapRecord({ ...packet, timestamp }, "nanoseconds"), /pcap\.timestamp/);
    assert.throws(() => pcapFileHeader({ ...capture("nanoseconds", 0n), linkType: 65536 }), /pcap\.linkType is 65536/);
  });

  test("what is written is read again; any octets are read or refused", () => {
    const packet = fc.record(
      {
        timestamp: fc.bigInt({ min: 0n, max: 2n ** 32n * 1_000_000_000n - 1n }),
        originalLength: fc.nat(65_535),
        bytes: fc.uint8Array({ maxLength: 40 }),
      },
      { noNullPrototype: true },
    );
    const pcap = fc.record(
      {
        linkType: fc.nat(65_535),
        snapLength: fc.nat(),
        resolution: fc.constant("nanoseconds" as const),
        packets: fc.array(packet, { maxLength: 5 }),
      },
      { noNullPrototype: true },
    );
    fc.assert(fc.property(pcap, (value) => assert.deepEqual(readPcap(writePcap(value)), { ok: true, value })));
    const magic = fc.uint8Array({ maxLength: 120 }).map((rest) => Uint8Array.of(0xd4, 0xc3, 0xb2, 0xa1, 2, 0, ...rest));
    fc.assert(fc.property(fc.oneof(magic, fc.uint8Array()), (bytes) => void readPcap(bytes)));
  });
});
