import assert from "node:assert/strict";
import { it } from "node:test";
import { type Cidr, cidr, cidrContains, cidrOf } from "../../base/cidr.ts";
import { ip } from "../../base/ip.ts";
import { choosePair, knownPair } from "./addresses.ts";

const identity = { instance: "weft", tenant: "blue" };

it("gives an uplink the same addresses each time, and others to another tenant and instance", () => {
  for (const family of [4, 6] as const) {
    const pair = choosePair(identity, family, []);
    assert.deepEqual(choosePair(identity, family, []), pair);
    assert.notDeepEqual(choosePair({ ...identity, tenant: "red" }, family, []), pair);
    assert.notDeepEqual(choosePair({ ...identity, instance: "weft2" }, family, []), pair);
  }
});

it("takes both from one link, IPv4 link-local and IPv6 unique local", () => {
  const ipv4 = choosePair(identity, 4, []);
  assert.equal(cidrOf(ipv4.host, 31), cidrOf(ipv4.tenant, 31));
  assert.ok(cidrContains(cidr("169.254.0.0/16"), ipv4.host));
  const ipv6 = choosePair(identity, 6, []);
  assert.equal(cidrOf(ipv6.host, 127), cidrOf(ipv6.tenant, 127));
  assert.ok(cidrContains(cidr("fd00::/8"), ipv6.host));
});

it("steps on to what nobody uses", () => {
  for (const [family, length, wide] of [
    [4, 31, "169.254.0.0/16"],
    [6, 127, "fd00::/8"],
  ] as const) {
    const occupied: Cidr[] = [cidr(wide)];
    const seen = new Set<string>();
    for (let count = 0; count < 100; count++) {
      const { host } = choosePair(identity, family, occupied);
      assert.ok(!seen.has(host), host);
      seen.add(host);
      occupied.push(cidrOf(host, length));
    }
  }
});

it("leaves alone what clouds serve at link-local addresses, and says when nothing is left", () => {
  const all = Array.from({ length: 256 }, (_, third) => cidr(`169.254.${third}.0/24`));
  const isReserved = (prefix: Cidr): boolean => /\.(169|170|0|255)\.0\/24$/.test(prefix);
  for (const free of all)
    if (isReserved(free))
      assert.throws(
        () =>
          choosePair(
            identity,
            4,
            all.filter((prefix) => prefix !== free),
          ),
        /choose IPv4 addresses for the uplink of tenant blue: all of 169\.254\.0\.0\/16 is taken/,
      );
  assert.ok(
    choosePair(
      identity,
      4,
      all.filter((prefix) => prefix !== "169.254.7.0/24"),
    ).host.startsWith("169.254.7."),
  );
});

it("knows the pair by either end, and nothing else for one", () => {
  for (const family of [4, 6] as const) {
    const pair = choosePair(identity, family, []);
    const prefixLength = family === 4 ? 31 : 127;
    for (const address of [pair.host, pair.tenant])
      assert.deepEqual(
        knownPair(family, [
          { address: ip("192.0.2.1"), prefixLength: 31 },
          { address, prefixLength },
        ]),
        pair,
      );
    assert.equal(knownPair(family, [{ address: pair.host, prefixLength: prefixLength - 1 }]), undefined);
  }
});
