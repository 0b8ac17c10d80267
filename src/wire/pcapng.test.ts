import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { toHex } from "../base/bytes.ts";
import { makeTemporaryDirectory } from "../testing/temporary-directory.ts";
import { annotated } from "./codec-suite.test.ts";
import { pcapngInterface, pcapngPacket, pcapngSection, pcapngStatistics } from "./pcapng.ts";

/** 14 November 2023, 22:13:20.123456789 UTC. */
const time = 1_700_000_000_123_456_789n;

const blocks = [
  {
    name: "a section",
    written: pcapngSection({ program: "weft" }),
    bytes: `
      0a 0d 0d 0a  28 00 00 00  4d 3c 2b 1a  01 00 00 00  ff ff ff ff ff ff ff ff
      04 00 04 00  77 65 66 74  # the program
      00 00 00 00  28 00 00 00`,
  },
  {
    name: "an interface with a filter",
    written: pcapngInterface({ linkType: 1, snapLength: 96, name: "eth0", filter: "arp" }),
    bytes: `
      01 00 00 00  30 00 00 00  01 00 00 00  60 00 00 00
      02 00 04 00  65 74 68 30  # the name
      09 00 01 00  09 00 00 00  # nanoseconds
      0b 00 04 00  00 61 72 70  # a filter in the words of libpcap
      00 00 00 00  30 00 00 00`,
  },
  {
    name: "a packet of which nothing more is known",
    written: pcapngPacket({ interfaceId: 2, timestamp: time, originalLength: 60, bytes: Uint8Array.of(1, 2, 3) }),
    bytes: `
      06 00 00 00  24 00 00 00  02 00 00 00  fe 9c 97 17  15 cd 85 3d
      03 00 00 00  3c 00 00 00  01 02 03 00  # padded
      24 00 00 00`,
  },
  {
    name: "a packet with a comment, going out, whose checksum is to be computed yet",
    written: pcapngPacket({
      ...{ interfaceId: 0, timestamp: time, originalLength: 4, bytes: Uint8Array.of(1, 2, 3, 4) },
      ...{ direction: "out", reception: "broadcast", checksum: "not-ready", segmentationOffloaded: true },
      comments: ["web"],
    }),
    bytes: `
      06 00 00 00  38 00 00 00  00 00 00 00  fe 9c 97 17  15 cd 85 3d
      04 00 00 00  04 00 00 00  01 02 03 04
      01 00 03 00  77 65 62 00  # the comment
      02 00 04 00  0e 0a 00 00  # bits 1 (out), 2 and 3 (broadcast), 9, 11
      00 00 00 00  38 00 00 00`,
  },
  {
    name: "statistics",
    written: pcapngStatistics({ interfaceId: 1, timestamp: time, received: 258n, lost: 3n }),
    bytes: `
      05 00 00 00  34 00 00 00  01 00 00 00  fe 9c 97 17  15 cd 85 3d
      04 00 08 00  02 01 00 00 00 00 00 00
      05 00 08 00  03 00 00 00 00 00 00 00
      00 00 00 00  34 00 00 00`,
  },
];

describe("pcapng", () => {
  for (const { name, written, bytes } of blocks)
    test(name, () => assert.equal(toHex(written), toHex(annotated(bytes))));

  test("a text that is too long is cut at a character", () => {
    const packet = { interfaceId: 0, timestamp: 0n, originalLength: 0, bytes: new Uint8Array() };
    const written = pcapngPacket({ ...packet, comments: ["é".repeat(40_000)] });
    assert.equal(new DataView(written.buffer).getUint16(30, true), 65_534);
    assert.equal(written.length, new DataView(written.buffer).getUint32(4, true));
  });

  test("what does not fit its field is refused", () => {
    const packet = { interfaceId: 0, timestamp: 0n, originalLength: 0, bytes: new Uint8Array() };
    assert.throws(() => pcapngPacket({ ...packet, timestamp: -1n }), /pcapng\.timestamp is -1/);
    assert.throws(() => pcapngPacket({ ...packet, timestamp: 1n << 64n }), /pcapng\.timestamp/);
    assert.throws(() => pcapngPacket({ ...packet, originalLength: 2 ** 32 }), /pcapng\.originalLength/);
    assert.throws(() => pcapngInterface({ linkType: 65_536, snapLength: 0 }), /pcapng\.linkType is 65536/);
  });

  test("tshark and capinfos read what was written", (t) => {
    const directory = makeTemporaryDirectory();
    t.after(() => rmSync(directory, { recursive: true, force: true }));
    const file = join(directory, "capture.pcapng");
    const frame = new Uint8Array(60);
    const packet = { timestamp: time, originalLength: 1514, bytes: frame };
    writeFileSync(
      file,
      Buffer.concat([
        pcapngSection({ program: "weft 0.1.0", comments: ["node h1"] }),
        pcapngInterface({ linkType: 1, snapLength: 60, name: "vx4096", description: "of weft-blue", filter: "ip" }),
        pcapngPacket({ ...packet, interfaceId: 0, direction: "in", comments: ["network web", "more"] }),
        pcapngInterface({ linkType: 101, snapLength: 0, name: "eth0" }),
        pcapngPacket({ ...packet, timestamp: time + 1n, interfaceId: 1, direction: "out", checksum: "not-ready" }),
        pcapngStatistics({ interfaceId: 0, timestamp: time, received: 7n, lost: 6n }),
      ]),
    );
    const fields = [
      ...["frame.time_epoch", "frame.interface_name", "frame.cap_len", "frame.len"],
      ...["frame.packet_flags", "frame.comment", "frame.encap_type"],
    ];
    const read = execFileSync("tshark", ["-r", file, "-T", "fields", ...fields.flatMap((field) => ["-e", field])], {
      ...{ encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] },
    });
    assert.equal(
      read,
      "1700000000.123456789\tvx4096\t60\t1514\t0x00000001\tnetwork web,more\t1\n" +
        "1700000000.123456790\teth0\t60\t1514\t0x00000202\t\t7\n",
    );
    const facts = execFileSync("capinfos", [file], { encoding: "utf8" });
    for (const fact of [
      /File type: +Wireshark\/\.\.\. - pcapng/,
      /File timestamp precision: +nanoseconds \(9\)/,
      /Number of packets: +2/,
      /Capture application: +weft 0\.1\.0/,
      /Capture comment: +node h1/,
      /Name = vx4096/,
      /Description = of weft-blue/,
      /Filter string = ip/,
      /Number of stat entries = 1/,
    ])
      assert.match(facts, fact);
  });
});
