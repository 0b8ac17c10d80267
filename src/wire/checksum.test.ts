import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ip } from "../base/ip.ts";
import { checksumStatus, internetChecksum, onesComplementSum, pseudoHeaderSum } from "./checksum.ts";
import { annotated } from "./codec-suite.test.ts";

test("sum: the example of RFC 1071 §3", () => {
  assert.equal(onesComplementSum(annotated("00 01 f2 03 f4 f5 f6 f7")), 0xddf2);
  assert.equal(internetChecksum(annotated("00 01 f2 03 f4 f5 f6 f7")), 0x220d);
});

test("sum: an odd last octet is the high half of a word", () => {
  assert.equal(onesComplementSum(annotated("12 34 56")), 0x1234 + 0x5600);
  assert.equal(onesComplementSum(new Uint8Array(), 0x1fffe), 0xffff);
});

test("octets with their checksum are correct, and wrong after a change of one bit", () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 2, maxLength: 64 }), fc.nat(), (bytes, bit) => {
      bytes[0] = 0;
      bytes[1] = 0;
      new DataView(bytes.buffer, bytes.byteOffset).setUint16(0, internetChecksum(bytes));
      assert.equal(checksumStatus(bytes), "correct");
      const position = bit % (bytes.length * 8);
      const index = Math.floor(position / 8);
      bytes[index] = (bytes[index] as number) ^ (1 << (position % 8));
      assert.equal(checksumStatus(bytes), "wrong");
    }),
    { numRuns: 300 },
  );
});

test("pseudo header: the same as the sum of its octets", () => {
  const octets = annotated("c0 00 02 01  c0 00 02 02  00 11  00 0a");
  assert.equal(
    onesComplementSum(new Uint8Array(), pseudoHeaderSum(ip("192.0.2.1"), ip("192.0.2.2"), 17, 10)),
    onesComplementSum(octets),
  );
  const octets6 = annotated(`
    20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 01
    20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 02
    00 01 00 0a  # length, of a jumbogram
    00 00 00 3a`);
  assert.equal(
    onesComplementSum(new Uint8Array(), pseudoHeaderSum(ip("2001:db8::1"), ip("2001:db8::2"), 58, 0x1000a)),
    onesComplementSum(octets6),
  );
});
