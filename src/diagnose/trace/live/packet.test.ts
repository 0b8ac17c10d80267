import assert from "node:assert/strict";
import { test } from "node:test";
import { ip } from "../../../base/ip.ts";
import { type TracedPacket, tracedProtocols } from "../step.ts";
import { markedPayload, markOffset, readMark, smallestMarked } from "./packet.ts";

const ends = { 4: ["10.1.0.1", "10.1.0.2"], 6: ["fd01::1", "fd01::2"] } as const;
const lead = { train: 0x1234_5678_9abc_def0n, sequence: 2, sentAt: 1_700_000_000_000_000 };

for (const family of [4, 6] as const)
  for (const protocol of tracedProtocols)
    test(`${protocol} over IPv${family}: marked and of the size that is asked for`, () => {
      const [source, destination] = ends[family].map(ip);
      if (source === undefined || destination === undefined) throw new TypeError("two ends");
      const packet: TracedPacket = {
        ...{ source, destination, protocol, sourcePort: 50_000, destinationPort: 443, timeToLive: 64, isAnswer: false },
        size: smallestMarked({ source, protocol }) + 11,
      };
      const header = family === 4 ? 20 : 40;
      const payload = markedPayload(packet, lead);
      assert.equal(header + payload.length, packet.size);
      const mark = readMark(payload, packet);
      assert.deepEqual(mark, { id: lead.train, sequence: 2, isAnswer: false });
      assert.equal(Buffer.from(payload).indexOf("weftprob"), markOffset(packet) - header);
    });

test("an echo reply is known as an answer", () => {
  const packet: TracedPacket = {
    ...{ source: ip("10.1.0.1"), destination: ip("10.1.0.2"), protocol: "icmp", sourcePort: 7, destinationPort: 7 },
    ...{ size: 84, timeToLive: 64, isAnswer: false },
  };
  const payload = markedPayload(packet, lead);
  payload[0] = 0;
  assert.equal(readMark(payload, packet)?.isAnswer, true);
});

test("what has no mark is none", () => {
  assert.equal(readMark(new Uint8Array(200), { protocol: "udp" }), undefined);
});
