import assert from "node:assert/strict";
import { test } from "node:test";
import { parseAgentSocket, parseCniName } from "./texts.ts";

test("names are what the specification allows", () => {
  for (const name of ["a", "A-b_c.d", "9"]) assert.ok(parseCniName(name).ok, name);
  for (const name of ["", "-a", ".a", "a b", "a/b", "é"]) assert.ok(!parseCniName(name).ok, name);
});

test("a socket of the agent's is what plugin.c takes", () => {
  for (const path of ["/a", "/run/weft/agent.sock", "/~ !#[]", `/${"x".repeat(106)}`])
    assert.ok(parseAgentSocket(path).ok, path);
  for (const path of ["", "a", "./a", '/"', "/\\", "/é", "/\n", "/\x7f", `/${"x".repeat(107)}`])
    assert.ok(!parseAgentSocket(path).ok, path);
});
