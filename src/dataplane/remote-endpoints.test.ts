import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ip } from "../base/ip.ts";
import { mac } from "../base/mac.ts";
import { type RemoteEndpoint, RemoteEndpoints, type Source } from "./remote-endpoints.ts";

const sources: readonly Source[] = [{ name: "server", node: "h1" }, { name: "server", node: "h2" }, { name: "static" }];
const addresses = ["10.0.0.1", "10.0.0.2", "0.0.0.1", "::1", "fd00::1", "::a00:1", "::ffff:a00:1", "a00:1::"].map(ip);
const endpoints: fc.Arbitrary<RemoteEndpoint> = fc
  .record(
    {
      id: fc.constantFrom("a", "ab", "0123456789ab", "0123456789ac", "1"),
      mac: fc.constantFrom("02:00:00:00:00:01", "02:00:00:00:00:02", "fe:ff:ff:ff:ff:ff", "00:00:00:00:00:01").map(mac),
      ips: fc
        .subarray(addresses, { maxLength: 4 })
        .chain((some) => fc.shuffledSubarray(some, { minLength: some.length })),
      vtep: fc.constantFrom("192.0.2.1", "192.0.2.2", "2001:db8::1").map(ip),
      source: fc.constantFrom(...sources),
      isLearned: fc.constant(true),
    },
    { requiredKeys: ["id", "mac", "ips", "vtep", "source"], noNullPrototype: true },
  )
  .chain((endpoint) =>
    fc
      .subarray([...endpoint.ips])
      .map((learnedIps) => (learnedIps.length === 0 ? endpoint : { ...endpoint, learnedIps })),
  );
const steps = fc.array(
  fc.oneof(
    endpoints,
    endpoints.map(({ id }) => id),
  ),
  { maxLength: 60 },
);

/** Who has each MAC and address: the last that was put, and nobody once that is gone. */
class Model {
  readonly all = new Map<string, RemoteEndpoint>();
  readonly macs = new Map<string, RemoteEndpoint>();
  readonly ips = new Map<string, RemoteEndpoint>();

  put(endpoint: RemoteEndpoint): void {
    this.remove(endpoint.id);
    this.all.set(endpoint.id, endpoint);
    this.macs.set(endpoint.mac, endpoint);
    for (const each of endpoint.ips) this.ips.set(each, endpoint);
  }

  remove(id: string): void {
    this.all.delete(id);
    for (const held of [this.macs, this.ips])
      for (const [key, endpoint] of held) if (endpoint.id === id) held.delete(key);
  }
}

test("has what was put and not removed, by id, MAC and address", () => {
  fc.assert(
    fc.property(steps, (sequence) => {
      const model = new Model();
      const remotes = new RemoteEndpoints();
      for (const step of sequence) {
        if (typeof step === "string") {
          model.remove(step);
          remotes.remove(step);
        } else {
          model.put(step);
          remotes.put(step);
        }
        assert.equal(remotes.size, model.all.size);
        assert.deepEqual(new Map([...remotes.values()].map((each) => [each.id, each])), model.all);
        assert.deepEqual(new Map(remotes.byMac), model.macs);
        assert.deepEqual(new Map(remotes.byIp), model.ips);
        for (const each of addresses) {
          assert.equal(remotes.byIp.has(each), model.ips.has(each));
          assert.equal(remotes.macOf(each), model.ips.get(each)?.mac);
        }
        for (const id of ["a", "ab", "abc"]) assert.deepEqual(remotes.get(id), model.all.get(id));
      }
    }),
  );
});

test("many come, go and come again: their records are used again", () => {
  const remotes = new RemoteEndpoints();
  const hex = (number: number, digits: number): string => number.toString(16).padStart(digits, "0");
  const endpoint = (number: number): RemoteEndpoint => ({
    id: hex(number, 12),
    mac: mac(`02:00:00:00:${hex(number >> 8, 2)}:${hex(number & 255, 2)}`),
    ips: [ip(`10.0.${number >> 8}.${number & 255}`), ip(`fd00::${hex(number, 4)}`)],
    vtep: ip("192.0.2.1"),
    source: { name: "server", node: `h${number}` },
  });
  for (const round of [1, 2]) {
    for (let number = 0; number < 3000; number++) remotes.put(endpoint(number + round));
    assert.equal(remotes.size, 2999 + round);
    for (let number = 0; number < 3000; number += 7)
      assert.deepEqual(remotes.byIp.get(endpoint(number + round).ips[1] ?? ip("::")), endpoint(number + round));
  }
  for (let number = 0; number < 3010; number++) remotes.remove(hex(number, 12));
  assert.equal(remotes.size, 0);
  assert.deepEqual([...remotes.values(), ...remotes.byMac.keys(), ...remotes.byIp.keys()], []);
});

test("refuses an id that it cannot hold, and has none such", () => {
  const remotes = new RemoteEndpoints();
  const place = { vtep: ip("192.0.2.1"), source: { name: "static" } } as const;
  for (const id of ["", "0123456789abc", "é", "a b"]) {
    assert.throws(() => remotes.put({ id, mac: mac("02:00:00:00:00:01"), ips: [], ...place }), RangeError);
    assert.equal(remotes.get(id), undefined);
    remotes.remove(id);
  }
  assert.equal(remotes.size, 0);
});
