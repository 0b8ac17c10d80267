import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { globSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { before, describe, test } from "node:test";
import fc from "fast-check";
import { unwrap } from "../../base/result.ts";
import { makeTemporaryDirectory } from "../../testing/temporary-directory.ts";
import { linkTypeEthernet, readPcap, writePcap } from "../../wire/index.ts";
import { encodeBpf, parseBpf, runBpf } from "./bpf.ts";
import { allOf, asksDirection, compileFilter, oneOf, passes, socketProgram } from "./filter.ts";

const directory = makeTemporaryDirectory();
process.on("exit", () => rmSync(directory, { recursive: true, force: true }));
const everything = join(directory, "all.pcap");

/** All frames of the golden captures, numbered by their time. */
const frames = globSync(join(import.meta.dirname, "../../../test/golden/*.pcap"))
  .sort()
  .flatMap((path) => unwrap(readPcap(new Uint8Array(readFileSync(path)))).packets.map(({ bytes }) => bytes));

before(() => {
  const packets = frames.map((bytes, index) => ({
    timestamp: BigInt(index) * 1_000_000_000n,
    originalLength: bytes.length,
    bytes,
  }));
  writeFileSync(
    everything,
    writePcap({ linkType: linkTypeEthernet, snapLength: 262_144, resolution: "microseconds", packets }),
  );
});

/** The numbers of the frames that tcpdump takes. */
function takenByTcpdump(text: string): number[] {
  const { status, stdout, stderr } = spawnSync("tcpdump", ["-r", everything, "-w", "-", "--", text]);
  // It refuses to begin with a filter that nothing can pass.
  if (stderr.toString().includes("rejects all packets")) return [];
  assert.equal(status, 0, stderr.toString());
  const { packets } = unwrap(readPcap(new Uint8Array(stdout)));
  return packets.map(({ timestamp }) => Number(timestamp / 1_000_000_000n));
}

async function takenHere(text: string): Promise<number[]> {
  const filter = await compileFilter(text, "ethernet");
  return [...frames.keys()].filter((index) => passes(filter, frames[index] as Uint8Array));
}

/** Expressions that say something of some frames of the captures. */
const primitives = [
  ..."arp|ip|ip6|icmp|icmp6|udp|tcp|vlan|vlan 10|ether broadcast|ether multicast|ip proto 47|ip6 proto 41|ip proto 4".split(
    "|",
  ),
  ..."host 10.0.0.1|src host 10.0.0.2|net 10.0.0.0/8|net 192.0.2.0/24|ip6 host fd00::1|ip6 net fd00::/8".split("|"),
  ..."port 4789|udp dst port 6081|dst portrange 4000-7000|tcp port 7|greater 100|less 90|len > 70".split("|"),
  ..."ether[0] & 1 != 0|ip[6:2] & 0x1fff != 0|ip[((ip[0] & 0xf) << 2) + 12 : 4] & 0xffffff00 = 0x6400".split("|"),
  ..."ip[8] * 2 > 100|ip[2:2] / 3 < 40|ip[2:2] % 7 = 1|ip[0] ^ 0x45 = 0|ip[2:2] - 20 > len|ip[8] << 3 >= 512".split(
    "|",
  ),
  ..."ip6[40 + 12 : 4] & 0xffffff00 = 0x6400|tcp[tcpflags] & tcp-syn != 0|icmp[icmptype] = icmp-echo".split("|"),
  ..."udp[4:2] >> 2 > 10|ip[len - 20] = 0|geneve|ether[len - 1] = 0x37|ether[1500] = 1|-ip[8] > 5".split("|"),
];

const expressions = fc.letrec<{ expression: string }>((tie) => ({
  expression: fc.oneof(
    { maxDepth: 3, withCrossShrink: true },
    // What tcpdump makes of "geneve" beside others reads memory that nothing was written to, which the kernel refuses.
    fc.constantFrom(...primitives.filter((text) => text !== "geneve")),
    fc.tuple(tie("expression"), tie("expression")).map(([a, b]) => allOf(a, b)),
    fc.tuple(tie("expression"), tie("expression")).map(([a, b]) => oneOf([a, b])),
    tie("expression").map((a) => `not (${a})`),
  ),
})).expression;

describe("filters", () => {
  for (const text of primitives)
    test(`${text}: the frames that tcpdump takes`, async () => {
      assert.deepEqual(await takenHere(text), takenByTcpdump(text));
    });

  test("most of these expressions are true of some frames and not of others", async () => {
    const taken = await Promise.all(primitives.map(takenHere));
    const telling = taken.filter((each) => each.length > 0 && each.length < frames.length);
    assert.ok(telling.length > primitives.length * 0.7, `${telling.length} of ${primitives.length}`);
  });

  test("what is made of them is true of the same frames as with tcpdump", async () => {
    const property = fc.asyncProperty(expressions, async (text) => {
      assert.deepEqual(await takenHere(text), takenByTcpdump(text));
    });
    await fc.assert(property, { numRuns: 30 });
  });

  test("an empty filter lets everything through", async () => {
    assert.equal((await takenHere("")).length, frames.length);
  });

  test("packets without an Ethernet header", async () => {
    const filter = await compileFilter("icmp and host 10.0.0.1", "ip");
    const sameOnEthernet = await takenHere("icmp and host 10.0.0.1");
    const packets = frames.map((bytes) =>
      (bytes[12] ?? 0) * 256 + (bytes[13] ?? 0) === 0x800 ? bytes.subarray(14) : undefined,
    );
    const taken = [...packets.keys()].filter((index) => packets[index] !== undefined && passes(filter, packets[index]));
    assert.deepEqual(taken, sameOnEthernet);
  });

  test("what no packet can be", async () => {
    assert.equal((await compileFilter("arp and icmp", "ethernet")).isImpossible, true);
    assert.equal((await compileFilter("arp", "ip")).isImpossible, true);
    assert.equal((await compileFilter("icmp", "ip")).isImpossible, false);
  });

  test("which way a packet goes", async () => {
    const filter = await compileFilter("outbound and icmp", "ethernet");
    assert.equal(asksDirection(filter), true);
    assert.equal(asksDirection(await compileFilter("icmp", "ethernet")), false);
    const icmp = await takenHere("icmp");
    const [bytes = new Uint8Array()] = icmp.map((index) => frames[index] as Uint8Array);
    assert.deepEqual(
      [0, 1, 4, undefined].map((packetType) => passes(filter, bytes, packetType === undefined ? {} : { packetType })),
      [false, false, true, false],
    );
  });

  test("what is no filter is refused in tcpdump's words", async () => {
    const refused = [
      ["foo bar", "ethernet", /^can't parse filter expression: syntax error$/],
      ["ether host 02:00:00:00:00:01", "ip", /^ethernet addresses supported only on ethernet/],
      ["ip[0] / 0 = 1", "ethernet", /^division by zero$/],
      ["ip6 protochain 47", "ethernet", /^it goes through headers one by one, which the kernel's filters cannot$/],
    ] as const;
    for (const [text, link, reason] of refused)
      await assert.rejects(compileFilter(text, link), {
        code: "invalid-argument",
        attempted: `read the filter "${text}"`,
        reason,
      });
    await assert.rejects(compileFilter("x".repeat(200_000), "ethernet"), { code: "invalid-argument" });
    await assert.rejects(compileFilter("icmp\0", "ethernet"), { code: "invalid-argument" });
  });

  test("the command line is the filter's alone: an option of tcpdump's is none", async () => {
    await assert.rejects(compileFilter(`-w ${join(directory, "made")}`, "ethernet"), { code: "invalid-argument" });
    assert.deepEqual(globSync(join(directory, "made")), []);
  });
});

describe("a socket's filter", () => {
  /** What the kernel would do: extended loads give what it knows of the packet. */
  function keeps(program: Uint8Array, packet: Uint8Array, known: { readonly index: number; readonly tagged: boolean }) {
    const view = new DataView(program.buffer);
    const steps = Array.from({ length: program.length / 8 }, (_, step) => ({
      code: view.getUint16(step * 8, true),
      ifTrue: view.getUint8(step * 8 + 2),
      ifFalse: view.getUint8(step * 8 + 3),
      operand: view.getUint32(step * 8 + 4, true),
    }));
    const replaced = steps.map((step) => {
      if (step.operand === 0xffff_f000 + 8) return { ...step, code: 0x00, operand: known.index };
      return step.operand === 0xffff_f000 + 48 ? { ...step, code: 0x00, operand: known.tagged ? 1 : 0 } : step;
    });
    return runBpf(replaced, packet);
  }

  test("interfaces, tags and the length that is kept", async () => {
    const filter = await compileFilter("arp", "ethernet");
    const arp = frames.find((bytes) => bytes[12] === 8 && bytes[13] === 6) as Uint8Array;
    const other = frames.find((bytes) => bytes[12] === 8 && bytes[13] === 0) as Uint8Array;
    const indexes = Array.from({ length: 300 }, (_, position) => 2 * position + 2);
    const program = socketProgram(filter, 96, indexes);
    for (const index of [2, 4, 300, 598, 600]) {
      assert.equal(keeps(program, arp, { index, tagged: false }), 96);
      assert.equal(keeps(program, other, { index, tagged: false }), 0);
      // It is looked at again when its tag is back.
      assert.equal(keeps(program, other, { index, tagged: true }), 0xffff_ffff);
    }
    for (const index of [1, 3, 301, 602]) assert.equal(keeps(program, arp, { index, tagged: false }), 0);
    assert.equal(keeps(socketProgram(filter, 96, undefined), arp, { index: 7, tagged: false }), 96);
  });

  test("more interfaces than a program has room for: all pass", async () => {
    const filter = await compileFilter("arp", "ethernet");
    const program = socketProgram(
      filter,
      96,
      Array.from({ length: 3000 }, (_, index) => index + 1),
    );
    assert.ok(program.length / 8 <= 4096);
    const arp = frames.find((bytes) => bytes[12] === 8 && bytes[13] === 6) as Uint8Array;
    assert.equal(keeps(program, arp, { index: 9999, tagged: false }), 96);
  });
});

describe("a BPF program", () => {
  test("text that is none is refused", () => {
    for (const text of ["", "1", "1\n6 0 0", "2\n6 0 0 0", "1\n6 0 0 x", "0"])
      assert.equal(parseBpf(text).ok, false, text);
    const program = unwrap(parseBpf("1\n6 0 0 96\n"));
    assert.deepEqual([...encodeBpf(program)], [6, 0, 0, 0, 96, 0, 0, 0]);
  });

  test("whatever the program, it ends and keeps a number of octets", () => {
    const step = fc.record({
      code: fc.integer({ min: 0, max: 0xff }),
      ifTrue: fc.integer({ min: 0, max: 255 }),
      ifFalse: fc.integer({ min: 0, max: 255 }),
      operand: fc.oneof(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 0, max: 0xffff_ffff })),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), fc.uint8Array({ maxLength: 64 }), (program, packet) => {
        const kept = runBpf(program, packet);
        assert.ok(Number.isInteger(kept) && kept >= 0 && kept <= 0xffff_ffff);
      }),
    );
  });
});
