/** The kernel's own frames, as `capture.ts` recorded them: read like tshark reads them, and written back to the octet. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { isDeepStrictEqual } from "node:util";
import { toHex } from "../../src/base/bytes.ts";
import {
  buildFrame,
  decodeFrame,
  describeFrame,
  encodeFrame,
  genevePort,
  readNvgreKey,
  verifyChecksums,
  vxlanPort,
  writePcap,
} from "../../src/wire/index.ts";
import { type Expected, plainLayers, quotesPacket, readCapture } from "./golden.ts";
import { readFields } from "./tshark-fields.ts";

const folder = new URL(".", import.meta.url).pathname;
const captures = readdirSync(folder).filter((file) => file.endsWith(".pcap"));

const tunnelPorts: readonly number[] = [vxlanPort, genevePort];

test("there are captures", () => assert.ok(captures.length >= 30));

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
        assert.ok(
          absent.every(({ protocol, header }) => protocol === "udp" && tunnelPorts.includes(header.destinationPort)),
        );
        assert.ok(checksums.every(({ status }) => status !== "wrong"));
        // Fragments, VXLAN with a UDP checksum and Geneve without are not what buildFrame makes.
        const unsummed = layers.filter((_, position) => layers[position + 1]?.protocol === "vxlan");
        if (isDeepStrictEqual(absent, unsummed) && !layers.some(isFragment))
          assert.equal(toHex(buildFrame(layers)), toHex(bytes));
      });
    }
  });

test("nvgre.pcap: the key is a VSID and a FlowID to whom it is known to be", () => {
  const keys = readCapture(`${folder}nvgre.pcap`).packets.flatMap(({ bytes }) =>
    decodeFrame(bytes).layers.map((layer) => (layer.protocol === "gre" ? readNvgreKey(layer.header) : undefined)),
  );
  const read = keys.filter((key) => key !== undefined);
  assert.deepEqual(read, new Array(4).fill({ vsid: 0x123456, flowId: 0x78 }));
});

function isFragment({ header }: ReturnType<typeof decodeFrame>["layers"][number]): boolean {
  return "moreFragments" in header && (header.moreFragments || header.fragmentOffset > 0);
}
