import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { labelsOfNames, nameFrom, namesOf } from "./endpoint-names.ts";

describe("names of an endpoint", () => {
  it("are what its labels say: first its own, then the others", () => {
    assert.deepEqual(namesOf({ "alias/db": "", app: "x", "alias/DB-2": "any", hostname: "Web_1", "alias/web_1": "" }), [
      "web_1",
      "db",
      "db-2",
    ]);
    assert.deepEqual(namesOf({ app: "x" }), []);
    assert.deepEqual(namesOf(), []);
  });

  it("are one label of a domain name each: what a name with dots means the world says", () => {
    const cases: readonly [text: string, name: string | undefined][] = [
      ["a", "a"],
      ["A_b-C", "a_b-c"],
      ["a".repeat(63), "a".repeat(63)],
      ["a".repeat(64), undefined],
      ["example.org", undefined],
      ["-a", undefined],
      ["a-", undefined],
      ["_a", undefined],
      ["", undefined],
      ["ä", undefined],
    ];
    for (const [text, name] of cases) assert.equal(nameFrom(text), name, text);
  });

  it("become labels, without those that cannot be names", () => {
    const labels = labelsOfNames(["Web", "db", "example.org", "cache"]);
    assert.deepEqual(labels, { hostname: "web", "alias/db": "", "alias/cache": "" });
    assert.deepEqual(namesOf(labels), ["web", "db", "cache"]);
    assert.deepEqual(labelsOfNames(["a.b"]), {});
    assert.deepEqual(labelsOfNames([]), {});
  });
});
