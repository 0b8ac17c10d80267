import assert from "node:assert/strict";
import { test } from "node:test";
import { bitsOf, parseRate, rateAllowed } from "./bandwidth.ts";
import { formatProblem } from "./problem.ts";
import { parseBandwidth } from "./schema.ts";

test("rates are read as tc writes them, and told in their shortest form", () => {
  for (const [text, rate, bits] of [
    ["100Mbit", "100Mbit", 100e6],
    ["1000mbit", "1Gbit", 1e9],
    ["1.5Gbit", "1500Mbit", 1.5e9],
    ["100000bit", "100kbit", 100e3],
    ["400 Gbit", "400Gbit", 400e9],
  ] as const) {
    const parsed = parseRate(text);
    assert.deepEqual(parsed, { ok: true, value: rate });
    assert.equal(parsed.ok && bitsOf(parsed.value), bits);
  }
});

test("what is no rate is refused", () => {
  for (const text of ["", "100", "99kbit", "401Gbit", "100Mbps", "-1Mbit", "1e9bit", "100001bit", "1Mbit "])
    assert.deepEqual(parseRate(text), { ok: false, error: rateAllowed }, text);
});

test("limits that do not go together are refused with what is allowed", () => {
  for (const [input, problem] of [
    [{ send: { burst: 10_000 } }, "bandwidth.send.burst: found 10000; allowed: a burst with a limit"],
    [
      { receive: { limit: "1Mbit", guarantee: "2Mbit" } },
      "bandwidth.receive.guarantee: found 2Mbit; allowed: at most the limit, 1Mbit",
    ],
    [
      { send: { limit: "1Mbit", burst: 8_000_000 } },
      "bandwidth.send.burst: found 8000000; allowed: what 1Mbit lets through in 60 s at most",
    ],
  ] as const) {
    const parsed = parseBandwidth(input);
    assert.deepEqual(parsed.ok ? [] : parsed.error.map(formatProblem), [problem]);
  }
  assert.deepEqual(parseBandwidth({ send: {} }), { ok: true, value: undefined });
});
