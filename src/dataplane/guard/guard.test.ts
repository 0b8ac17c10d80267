import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { mac } from "../../base/mac.ts";
import { readBpfObject, SystemError } from "../../linux/index.ts";
import type { Vni } from "../../model/index.ts";
import { FakeBpf } from "../../testing/kernel/ebpf.ts";
import { Guard } from "./guard.ts";
import { guardReasons, nothingDropped, readDropped } from "./rows.ts";

const programs = join(import.meta.dirname, "../programs");
const compiled = join(programs, "guard.o");

test("its maps are those that the rows are made for", () => {
  const { maps, symbols } = readBpfObject(compiled);
  const sizes = Array.from(maps, ([name, { keySize, valueSize }]) => [name, keySize, valueSize]);
  assert.deepEqual(sizes.sort(), [
    ["addresses", 28, 4],
    ["dropped", 8, nothingDropped.length],
    ["macs", 16, 4],
    ["ports", 8, 28],
    ["prefixes", 32, 4],
    ["stations", 16, 8],
    ["storms", 8, 24],
  ]);
  const names = new Set(symbols.map(({ name }) => name));
  assert.deepEqual(names, new Set([...maps.keys(), "tenant_number"]));
});

test("reasons are read in the order in which the program counts them", () => {
  const source = readFileSync(join(programs, "guard.c"), "utf8");
  const words = /enum reason \{([^}]*)\}/.exec(source)?.[1]?.match(/\w+/g) ?? [];
  assert.deepEqual(
    words.slice(0, -1).map((word) => word.toLowerCase().replaceAll("_", "-")),
    guardReasons,
  );
  const value = new Uint8Array(nothingDropped.length);
  new DataView(value.buffer).setBigUint64(8, 7n, true);
  assert.deepEqual(readDropped(value), { mac: 7 });
});

test("a kernel that lets nobody use eBPF is told with what it takes", () => {
  const guard = new Guard(
    new FakeBpf((operation) => {
      throw new SystemError({ operation, errno: constants.errno.EPERM });
    }),
  );
  assert.throws(
    () => guard.putMacs(1, 7 as Vni, [{ mac: mac("02:00:00:00:00:01"), isDeclared: true }]),
    (error: SystemError) => /EPERM/.test(error.reason) && /CONFIG_BPF_SYSCALL/.test(error.hint ?? ""),
  );
});
