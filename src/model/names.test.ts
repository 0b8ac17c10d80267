import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  parseEndpointId,
  parseInstanceName,
  parseInterfaceName,
  parseNetworkName,
  parseNodeName,
  parseTenantName,
  type TextParser,
} from "./names.ts";

const tables: [string, TextParser<string>, accepted: string[], refused: string[]][] = [
  [
    "tenant name",
    parseTenantName,
    ["a", "0", "blue", "b-1", "a".repeat(40)],
    ["", "-a", "a-", "Blue", "a_b", "a.b", "ä", "a\n", "a".repeat(41)],
  ],
  [
    "node name",
    parseNodeName,
    ["h1", "ip-10-0-0-1.ec2.internal", "a".repeat(253)],
    ["", "-a", "a.", ".a", "a..b", "a.-b", "A", "a/b", "a".repeat(254)],
  ],
  ["network name", parseNetworkName, ["a".repeat(63)], ["a".repeat(64)]],
  [
    "endpoint id",
    parseEndpointId,
    ["0123456789ab"],
    ["", "0123456789aB", "0123456789a", "0123456789abc", "0123456789ag"],
  ],
  ["instance name", parseInstanceName, ["weft", "lab1h2"], ["", "lab-1", "1lab", "Weft", "a".repeat(17)]],
  [
    "interface name",
    parseInterfaceName,
    ["eth0", "a".repeat(15), "~x", "eth0.100", "...", "é"],
    // The second byte of "à" is 0xa0, white space to the kernel.
    ["", "a".repeat(16), "é".repeat(8), ".", "..", "a/b", "a:b", "a b", "a\t", "a\0", "eth%d", "all", "default", "à"],
  ],
];
for (const [name, parse, accepted, refused] of tables)
  describe(name, () => {
    for (const text of accepted) it(`accepts ${JSON.stringify(text)}`, () => assert.equal(parse(text).ok, true));
    for (const text of refused) it(`refuses ${JSON.stringify(text)}`, () => assert.equal(parse(text).ok, false));
  });
