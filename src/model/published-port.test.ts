import assert from "node:assert/strict";
import { test } from "node:test";
import { parsePublishedPort, publishedPortText } from "./published-port.ts";

test("published ports are read, and told in full", () => {
  for (const [text, told] of [
    ["8080", "8080:8080/tcp"],
    ["8080:80", "8080:80/tcp"],
    ["53:5353/udp", "53:5353/udp"],
    ["192.0.2.1:8080:80", "192.0.2.1:8080:80/tcp"],
    ["[2001:DB8::1]:53:53/udp", "[2001:db8::1]:53:53/udp"],
    ["65535:1/sctp", "65535:1/sctp"],
  ] as const) {
    const parsed = parsePublishedPort(text);
    assert.ok(parsed.ok, text);
    assert.equal(publishedPortText(parsed.value), told);
    assert.deepEqual(parsePublishedPort(told), parsed);
  }
});

test("what is no published port is refused with what is allowed", () => {
  for (const text of [
    "",
    "0",
    "65536",
    "80:",
    ":80",
    "a:80",
    "80/icmp",
    "80/toString",
    "1.2.3:80:80",
    "fd00::1:80:80",
    "1.2.3.4:80:80:80",
    "-1:80",
    "8080:0",
  ])
    assert.deepEqual(parsePublishedPort(text).ok, false, text);
});
