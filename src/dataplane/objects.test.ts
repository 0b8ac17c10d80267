import assert from "node:assert/strict";
import { it } from "node:test";
import { type KernelObject, nameOfObject } from "./objects.ts";

const cases: readonly (readonly [KernelObject, string])[] = [
  [{ kind: "network", tenant: "acme", network: "blue" }, "network blue"],
  [{ kind: "tenant", tenant: "acme" }, "tenant acme"],
  [{ kind: "rows", tenant: "acme", network: "blue" }, "rows of network blue"],
  [
    { kind: "FDB entry", tenant: "acme", network: "blue", key: "02:00:00:00:00:01" },
    "FDB entry 02:00:00:00:00:01 of network blue",
  ],
  [{ kind: "uplink", tenant: "acme" }, "uplink of tenant acme"],
  [{ kind: "nexthop", key: "192.0.2.2" }, "nexthop 192.0.2.2"],
  [{ kind: "underlay" }, "underlay"],
];
for (const [object, name] of cases)
  it(name, () => {
    assert.equal(nameOfObject(object), name);
  });
