import assert from "node:assert/strict";
import { it } from "node:test";
import type { Link } from "../netlink/index.ts";
import { aliasOf, isOwnLink, nexthopRange, weftGroup } from "./ownership.ts";

it("knows its own devices by their group, not by name or alias", () => {
  const link: Link = {
    index: 5,
    name: "vx100",
    mtu: 1450,
    up: true,
    carrier: true,
    group: weftGroup,
    alias: aliasOf("weft"),
    info: {},
  };
  assert.ok(isOwnLink(link));
  assert.ok(!isOwnLink({ ...link, group: 0 }));
});

it("numbers the nexthops of an instance in a range that its name alone decides", () => {
  const { first, last } = nexthopRange("weft");
  assert.deepEqual(nexthopRange("weft"), { first, last });
  assert.equal(last - first + 1, 1 << 14);
});

it("keeps all ranges above the identifiers that people choose, and within 32 bits", () => {
  for (let number = 0; number < 2_000; number++) {
    const { first, last } = nexthopRange(`instance${number}`);
    assert.equal(first % (1 << 14), 0);
    assert.ok(first >= 0x4000_0000 && last <= 0x7fff_ffff, `${first}…${last}`);
  }
});

it("gives the instances of one machine ranges of their own", () => {
  const names = ["weft", ...Array.from({ length: 16 }, (_, index) => `labh${index + 1}`)];
  assert.equal(new Set(names.map((name) => nexthopRange(name).first)).size, names.length);
});
