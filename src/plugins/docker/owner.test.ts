import assert from "node:assert/strict";
import { test } from "node:test";
import { ownerOf, ownerText } from "./owner.ts";

test("an owner is read as it was written", () => {
  for (const owner of [
    { mac: "", endpoint: "", boot: "b" },
    { mac: "02:00:00:00:00:01", endpoint: "", boot: "b" },
    { mac: "02:00:00:00:00:01", endpoint: "e1", boot: "b" },
  ])
    assert.deepEqual(ownerOf({ owner: ownerText(owner) }), owner);
});

test("what others attached is not Docker's", () => {
  for (const other of [{}, { owner: "cni web c eth0 b" }, { owner: "dockerish" }])
    assert.equal(ownerOf(other), undefined);
});
