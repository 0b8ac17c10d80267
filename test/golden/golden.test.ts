/** The kernel's own frames, as `capture.ts` recorded them: read like tshark reads them, and written back to the octet. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { toHex } from "../../src/base/bytes.ts";
import {
  buildFrame,
  decodeFrame,
  describeFrame,
  encodeFrame,
  verifyChecksums,
  vxlanPort,
  writePcap,
} from "../../src/wire/index.ts";
import { type Expected, plainLayers, quotesPacket, readCapture } from "./golden.ts";
import { readFields } from "./tshark-fields.ts";

const folder = new URL(".", import.meta.url).pathname;
const captures = readdirSync(folder).filter((file) => file.endsWith(".pcap"));

test("there are captures", () => assert.ok(captures.length >= 16));

for (const file of captures)
  describe(file, () => {
    const capture = readCapture(folder + file);
    const { frames }: Expected = JSON.parse(readFileSync(folder + file.replace(/pcap$/, "json"), "utf8"));

    test("the file is written as it was", () => {
      assert.equal(toHex(writePcap(capture)), toHex(new Uint8Array(readFileSync(folder + file))));
      assert.equal(frames.length, capture.packets.length);
    });

    for (const [index, { bytes }] of capture.packets.entries()) {
      const expected = frames[index];
      test(expected?.line ?? "not expected", () => {
        const { layers, error } = decodeFrame(bytes);
        assert.equal(error, undefined);
        assert.deepEqual(plainLayers(layers), expected?.layers);
        assert.equal(describeFrame({ layers }), expected?.line);
        for (const [field, values] of Object.entries(readFields(layers))) {
          const theirs = expected?.tshark[field];
          assert.deepEqual(quotesPacket(layers) ? theirs?.slice(0, values.length) : theirs, values, field);
        }

        assert.equal(toHex(encodeFrame(layers)), toHex(bytes));
        const checksums = verifyChecksums(bytes, layers);
        const absent = checksums.filter(({ status }) => status === "absent").map(({ layer }) => layer);
        assert.ok(absent.every(({ protocol, header }) => protocol === "udp" && header.destinationPort === vxlanPort));
        assert.ok(checksums.every(({ status }) => status !== "wrong"));
        // Fragments and tunnels with a checksum are not what buildFrame makes.
        const tunnels = layers.filter(({ protocol }) => protocol === "vxlan").length;
        if (absent.length === tunnels && !layers.some(isFragment))
          assert.equal(toHex(buildFrame(layers)), toHex(bytes));
      });
    }
  });

function isFragment({ header }: ReturnType<typeof decodeFrame>["layers"][number]): boolean {
  return "moreFragments" in header && (header.moreFragments || header.fragmentOffset > 0);
}
