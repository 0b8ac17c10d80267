import assert from "node:assert/strict";
import { test } from "node:test";
import { Fields } from "./fields.ts";

test("what is left out, null or of another type reads as empty", () => {
  const fields = Fields.parse('{"a":"x","b":null,"c":1,"d":{"e":"y","f":true},"g":[{"h":"z"},1,null],"i":[]}');
  assert.deepEqual([fields.text("a"), fields.text("b"), fields.text("c"), fields.text("none")], ["x", "", "", ""]);
  assert.deepEqual([fields.within("d").text("e"), fields.within("d").flag("f"), fields.flag("a")], ["y", true, false]);
  assert.deepEqual([fields.within("g").names, fields.within("b").names], [[], []]);
  assert.deepEqual(
    fields.list("g").map((each) => each.text("h")),
    ["z"],
  );
  assert.deepEqual([fields.list("i"), fields.list("d")], [[], []]);
});

test("a request without a body is one without fields, and what is no object is none", () => {
  for (const text of ["", "  ", "{}"]) assert.deepEqual(Fields.parse(text).names, []);
  for (const text of ["[]", "1", '"a"', "null", "{", "{}{}"])
    assert.throws(() => Fields.parse(text), /it is no object of JSON/);
});
