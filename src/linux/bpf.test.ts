import assert from "node:assert/strict";
import { test } from "node:test";
import { toHex } from "../base/bytes.ts";
import { assembleBpf, type BpfStep, packetProperty } from "./bpf.ts";

/** Each instruction of a program: code, where to go on if true and if false, operand. */
function instructions(steps: readonly BpfStep[]): string[] {
  return (toHex(assembleBpf(steps)).match(/.{16}/g) ?? []).map((text) => text.replace(/^(....)(..)(..)/, "$1 $2 $3 "));
}

test("each step, as linux/filter.h has it", () => {
  assert.deepEqual(
    instructions([
      { load: 1, at: 20 },
      { load: 2, at: 12 },
      { load: 4, at: packetProperty.type },
      { load: 4, at: packetProperty.vlanTagPresent },
      { load: "length" },
      { equals: 0x86dd, yes: "in", no: "out" },
      { anyBit: 0x10, no: "out" },
      { label: "in" },
      { accept: true },
      { label: "out" },
      { accept: false },
    ]),
    [
      "3000 00 00 14000000",
      "2800 00 00 0c000000",
      "2000 00 00 04f0ffff",
      "2000 00 00 30f0ffff",
      "8000 00 00 00000000",
      "1500 01 02 dd860000",
      "4500 00 01 10000000",
      "0600 00 00 ffffffff",
      "0600 00 00 00000000",
    ],
  );
});

test("labels: several to one place, at the very end of a jump's reach, and beyond", () => {
  const far = (steps: number): BpfStep[] => [
    { equals: 1, yes: "end" },
    ...Array.from({ length: steps }, () => ({ load: 1, at: 0 }) as const),
    { label: "end" },
    { label: "also" },
    { accept: true },
  ];
  assert.equal(instructions(far(255))[0], "1500 ff 00 01000000");
  assert.throws(() => assembleBpf(far(256)), /"end" is 256 BPF instructions away/);
  assert.throws(
    () => assembleBpf([{ label: "back" }, { equals: 1, yes: "back" }]),
    /"back" is -1 BPF instructions away/,
  );
  assert.throws(() => assembleBpf([{ equals: 1, no: "nowhere" }]), /no label "nowhere"/);
});
