import assert from "node:assert/strict";
import { constants } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { readBpfObject, SystemError } from "../../linux/index.ts";
import { FakeBpf } from "../../testing/kernel/ebpf.ts";
import { ProgramMaps } from "./maps.ts";

const names = { kept: ["lists"], own: [], full: { reason: "it is full", hint: "say less" } } as const;
const octets = (number: number): Uint8Array => Uint8Array.of(number);
const rows = (...numbers: number[]) => numbers.map((number) => [octets(number), octets(number + 100)] as const);

/** Maps whose kernel has room for so many writes. */
function mapsWith(room: { writes: number }): { maps: ProgramMaps<"lists">; calls: string[] } {
  const calls: string[] = [];
  const bpf = new FakeBpf((operation) => {
    if (operation.startsWith("open")) return;
    if (operation.startsWith("write") && room.writes-- <= 0)
      throw new SystemError({ operation, errno: constants.errno.E2BIG });
    calls.push(operation);
  });
  const object = readBpfObject(join(import.meta.dirname, "policy.o"));
  return { maps: ProgramMaps.create(bpf, object, names), calls };
}
const keysOf = (maps: ProgramMaps<"lists">): number[] => maps.keys("lists").map(([key = 0]) => key);

test("what is there as it is wanted is not written, of many rows as of one", () => {
  const { maps, calls } = mapsWith({ writes: 100 });
  assert.equal(maps.put("lists", octets(1), octets(101)), true);
  assert.equal(maps.put("lists", octets(1), octets(101)), false);
  maps.putAll("lists", rows(1, 2, 3));
  maps.putAll("lists", rows(1, 2, 3));
  maps.putCounters("lists", [1, 2, 3, 4].map(octets), octets(0));
  assert.deepEqual([calls.length, maps.writes], [4, 4]);
  assert.deepEqual(maps.read("lists", octets(3)), octets(103));
  assert.deepEqual(maps.read("lists", octets(4)), octets(0));
  maps.deleteAll("lists", [2, 9, 4].map(octets));
  maps.deleteAll("lists", [2, 9, 4].map(octets));
  assert.deepEqual([calls.length, maps.writes], [6, 6]);
  assert.deepEqual(keysOf(maps), [1, 3]);
});

test("of rows for which there is no room those are known that were written, and the others are written when there is", () => {
  const room = { writes: 3 };
  const { maps } = mapsWith(room);
  assert.throws(
    () => maps.putAll("lists", rows(1, 2, 3, 4, 5)),
    ({ code, reason, hint }: { code: string; reason: string; hint: string }) =>
      code === "exhausted" && reason === "it is full" && hint === "say less",
  );
  assert.deepEqual([keysOf(maps), maps.writes], [[1, 2, 3], 3]);
  room.writes = 10;
  maps.putAll("lists", rows(1, 2, 3, 4, 5));
  assert.deepEqual([keysOf(maps), maps.writes, room.writes], [[1, 2, 3, 4, 5], 5, 8]);
});

test("a moment's refusal within many rows is none", () => {
  let fails = 1;
  const bpf = new FakeBpf((operation) => {
    if (operation.startsWith("write") && fails-- === 0)
      throw new SystemError({ operation, errno: constants.errno.ENOMEM });
  });
  const maps = ProgramMaps.create(bpf, readBpfObject(join(import.meta.dirname, "policy.o")), names);
  maps.putAll("lists", rows(1, 2, 3));
  assert.deepEqual([keysOf(maps), maps.writes], [[1, 2, 3], 3]);
});
