/** What the matrix makes of captures and of what came of its cases, without a kernel. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { readCapture } from "../golden/golden.ts";
import type { Check, Outcome } from "./attempt.ts";
import { casesWith, type MatrixCase, matrixCases } from "./cases.ts";
import { describeOuter, expectedOuter, readRequest } from "./outer-header.ts";
import { renderMatrix, type Trial } from "./table.ts";

function only(...words: readonly string[]): MatrixCase {
  const [each, ...more] = casesWith(words);
  assert.ok(each !== undefined && more.length === 0, `${more.length + 1} cases with ${words.join(" ")}`);
  return each;
}

test("cases are found by words of their names, which are unique", () => {
  assert.equal(new Set(matrixCases.map(({ name }) => name)).size, matrixCases.length);
  assert.equal(new Set(matrixCases.map(({ vni }) => vni)).size, matrixCases.length);
  assert.ok(casesWith(["gre"]).every(({ encapsulation }) => encapsulation === "gre"));
  assert.deepEqual(
    casesWith(["l3", "over-ipv6", "dual"]).map(({ encapsulation }) => encapsulation),
    ["vxlan", "vxlan", "geneve", "gre", "ipip", "direct"],
  );
  assert.deepEqual(casesWith(["carrier-pigeon"]), []);
});

for (const [capture, words, target, outer] of [
  ["vxlan-ipv4", ["vxlan", "l3", "dual-over-ipv4"], "10.0.0.2", "192.0.2.1 > 192.0.2.2 UDP 4789 VXLAN VNI 100"],
  [
    "vxlan-ipv6",
    ["vxlan", "l3", "dual-over-ipv6"],
    "10.0.1.2",
    "2001:db8::1 > 2001:db8::2 UDP 4789 VXLAN VNI 11259375",
  ],
  ["geneve", ["geneve", "l3", "dual-over-ipv4"], "10.0.0.2", "192.0.2.1 > 192.0.2.2 UDP 6081 GENEVE VNI 100"],
  ["nvgre", ["nvgre", "static", "dual-over-ipv4"], "10.0.0.2", "192.0.2.1 > 192.0.2.2 NVGRE VSID 1193046"],
  ["gre-options", ["gre", "dual-over-ipv4"], "fd00::2", "192.0.2.1 > 192.0.2.2 GRE key 3735928559"],
  ["gre", ["gre", "dual-over-ipv4"], "10.0.0.2", "192.0.2.1 > 192.0.2.2 GRE key missing"],
  ["6in4", ["ipip", "dual-over-ipv4"], "fd00::2", "192.0.2.1 > 192.0.2.2 IPv6 in IPv4"],
  ["icmpv4-echo", ["direct", "ipv4-over-ipv4"], "192.0.2.2", "none"],
] as const)
  test(`${capture}.pcap has in front of the packet: ${outer}`, () => {
    const each = casesWith(words).find(({ crossSubnet }) => !crossSubnet);
    assert.ok(each !== undefined);
    const { packets } = readCapture(new URL(`../golden/${capture}.pcap`, import.meta.url).pathname);
    const requests = packets.flatMap(({ bytes }) => readRequest(bytes, target, each) ?? []);
    assert.deepEqual(
      requests.map((request) => describeOuter(request.outer)),
      [outer],
    );
    assert.equal(readRequest(packets[0]?.bytes ?? new Uint8Array(), "203.0.113.1", each), undefined);
  });

test("what a case shall have in front", () => {
  const text = (...words: string[]): string => describeOuter(expectedOuter(only(...words), 4));
  assert.match(text("port 8472", "dual-over-ipv6"), /^2001:db8::1 > 2001:db8::2 UDP 8472 VXLAN VNI \d+$/);
  assert.match(text("nvgre", "static", "dual-over-ipv4"), /^192\.0\.2\.1 > 192\.0\.2\.2 NVGRE VSID \d+$/);
  assert.equal(text("ipip", "ipv4-over-ipv6"), "2001:db8::1 > 2001:db8::2 IPv4 in IPv6");
  assert.equal(text("crossSubnet", "ipv4-over-ipv6"), "none");
});

const passed: Check = { passed: true, text: "fine" };
const failed: Check = { passed: false, text: "lost" };

function tried(kernel: string, ping = passed): Trial {
  const checks = { ping, tcp: passed, fullSize: passed, outer: passed };
  return { kernel, outcome: { kind: "tried", checks, target: ["10.0.0.2"] }, readers: passed };
}

function ended(kernel: string, outcome: Outcome): Trial {
  return { kernel, outcome };
}

/** The row of a case from its overlay on, and the notes; what failed. */
function shown(each: MatrixCase, ...trials: readonly Trial[]) {
  const { lines, failures } = renderMatrix([{ case: each, trials }]);
  const [, row = "", ...notes] = lines;
  return { row: row.replace(/ +/g, " ").replace(/^.*? (ipv4|ipv6|dual) (?!ipv4|ipv6|dual)/, ""), notes, failures };
}

const gre = only("gre", "dual-over-ipv4");
const lacking = (kernel: string): Trial =>
  ended(kernel, { kind: "missing", reason: "network net: create gre r1-c0000202: EOPNOTSUPP: Unknown device type" });

test("a kernel that can is enough, and one that cannot has its words below", () => {
  assert.deepEqual(shown(gre, lacking("host 6.18"), tried("uml 6.1")), {
    row: "✓ ✓ ✓ fine ✓ fine ✓ not host [1], uml",
    notes: ["[1] host 6.18: create gre: EOPNOTSUPP: Unknown device type"],
    failures: [],
  });
  assert.deepEqual(shown(gre, lacking("host 6.18")).failures, []);
});

test("what fails on one kernel has failed, whatever the other says", () => {
  const { row, failures } = shown(gre, tried("host 6.18"), tried("uml 6.1", failed));
  assert.equal(row, "FAILED ✓ ✓ fine ✓ fine ✓ host, uml");
  assert.deepEqual(failures, [`${gre.name}: ping: uml 6.1: lost`]);
  const broken = ended("uml 6.1", { kind: "failed", reason: "no route" });
  assert.deepEqual(shown(gre, lacking("host 6.18"), broken).failures, [`${gre.name}: uml 6.1: no route`]);
  assert.deepEqual(shown(gre).failures, [`${gre.name}: no kernel tried it`]);
});

test("the server may refuse what Linux cannot route, and nothing else", () => {
  const reason = "declare network net: subnets[0]: found fd60::/64; allowed: Linux routes IPv6 to no IPv4 next hop";
  const direct = only("direct", "ipv6-over-ipv4");
  const refused = ended("host 6.18", { kind: "refused", reason });
  assert.deepEqual(shown(direct, refused), {
    row: "[1] [1] [1] [1] [1]",
    notes: ["[1] the server: found fd60::/64; allowed: Linux routes IPv6 to no IPv4 next hop"],
    failures: [],
  });
  assert.equal(shown(gre, refused).failures.length, 1);
});
