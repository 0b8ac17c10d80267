import assert from "node:assert/strict";
import { it } from "node:test";
import { parseUnderlaySelectors } from "./underlay-selector.ts";

const accepted: readonly (readonly [text: string, kinds: readonly string[]])[] = [
  ["192.0.2.1", ["address"]],
  ["192.0.2.1,2001:db8::1", ["address", "address"]],
  ["192.0.2.0/24", ["prefix"]],
  ["2001:db8::/64,192.0.2.1", ["prefix", "address"]],
  ["eth0", ["interface"]],
  ["eth0.100", ["interface"]],
];
for (const [text, kinds] of accepted)
  it(`accepts ${text}`, () => {
    const parsed = parseUnderlaySelectors(text);
    assert.deepEqual(parsed.ok && parsed.value.map(({ kind }) => kind), kinds);
  });

for (const text of [
  "",
  "192.0.2.1,192.0.2.2",
  "192.0.2.0/24,192.0.2.1",
  "eth0,192.0.2.1",
  "eth0,eth1",
  "192.0.2",
  "192.0.2.1/24",
  "2001:db8::1/64",
  "a b",
  "192.0.2.1,",
])
  it(`refuses "${text}"`, () => assert.equal(parseUnderlaySelectors(text).ok, false));
