import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { describe, it } from "node:test";
import fc from "fast-check";
import { addressAt, type Cidr, cidr, cidrContains, cidrSize } from "../base/cidr.ts";
import { seconds } from "../base/duration.ts";
import { type IpAddress, ip } from "../base/ip.ts";
import { isGroupMac, isLocalMac, mac, macToBytes } from "../base/mac.ts";
import { AddressPool, type Holding } from "./allocation.ts";
import { type Hash, networkMac } from "./endpoint-mac.ts";
import type { Vni } from "./resources.ts";
import { reservedReason } from "./subnet.ts";

const quarantine = seconds(60);

const sha256: Hash = (text) => createHash("sha256").update(text).digest();

/** Counts up, so that every MAC differs. */
function counter(): (length: number) => Uint8Array {
  let count = 0;
  return (length) => {
    const bytes = new Uint8Array(length);
    new DataView(bytes.buffer).setUint32(length - 4, ++count);
    return bytes;
  };
}

function poolOf(subnets: string[], gateways: string[] = [], random = counter(), hash: Hash = sha256): AddressPool {
  const network = {
    name: "blue-net",
    vni: 7 as Vni,
    mode: "l2",
    blockSize: 64,
    subnets: subnets.map(cidr),
    gateways: gateways.map(ip),
  } as const;
  return new AddressPool(network, { random, hash, quarantine });
}

function allocate(pool: AddressPool, id: string, now = 0, ips: string[] = []): Holding {
  const result = pool.allocate({ id, node: "h1", ips: ips.map(ip) }, now);
  assert.ok(result.ok, result.ok ? "" : result.error.message);
  return result.value;
}

function refusal(result: ReturnType<AddressPool["allocate"]>): string {
  assert.ok(!result.ok, "the pool should have refused");
  return `${result.error.code}: ${result.error.message} — ${result.error.hint}`;
}

describe("chosen addresses", () => {
  it("start after the reserved ones, one of each subnet", () => {
    const pool = poolOf(["10.0.0.0/29", "fd00::/64"], ["10.0.0.1"]);
    assert.deepEqual(allocate(pool, "a").ips, ["10.0.0.2", "fd00::1"]);
    assert.deepEqual(allocate(pool, "b").ips, ["10.0.0.3", "fd00::2"]);
    assert.equal(pool.ownerOf(ip("fd00::2")), "b");
  });

  it("fill up the family that the request leaves out", () => {
    const pool = poolOf(["10.0.0.0/29", "fd00::/64"]);
    assert.deepEqual(allocate(pool, "a", 0, ["fd00::99"]).ips, ["10.0.0.1", "fd00::99"]);
  });

  it("are used again as late as possible: unused first, then the one released longest ago", () => {
    const pool = poolOf(["10.0.0.0/29"]);
    const [a, b] = [allocate(pool, "a"), allocate(pool, "b")];
    pool.release(b, 1);
    pool.release(a, 2);
    const later = 1_000_000;
    const order = ["c", "d", "e", "f", "g", "h"].map((id) => allocate(pool, id, later).ips[0]);
    assert.deepEqual(order, ["10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.2", "10.0.0.1"]);
  });

  it("are not lost when a gateway changes", () => {
    const pool = poolOf(["10.0.0.0/30"], ["10.0.0.1"]);
    allocate(pool, "a");
    assert.ok(pool.setGateways([], 0).ok);
    assert.deepEqual([...pool.quarantined(0)], [{ address: "10.0.0.1", releasedAt: 0 }]);
    assert.deepEqual(allocate(pool, "b", quarantine).ips, ["10.0.0.1"]);
    const refused = pool.setGateways([ip("10.0.0.2")], 0);
    assert.equal(
      refused.ok ? "" : refused.error.message,
      "reserve gateway 10.0.0.2 in network blue-net: endpoint a has it",
    );
  });

  it("are not those of a new gateway, in quarantine or after it", () => {
    const pool = poolOf(["10.0.0.0/30"]);
    pool.release(allocate(pool, "a"), 0);
    assert.ok(pool.setGateways([ip("10.0.0.1")], 0).ok);
    assert.deepEqual([...pool.quarantined(0)], []);
    assert.deepEqual(allocate(pool, "b", quarantine).ips, ["10.0.0.2"]);
    assert.match(refusal(pool.allocate({ id: "c", node: "h1", ips: [] }, quarantine)), /all 1 addresses are taken/);
  });

  it("skip what the store said is taken or in quarantine", () => {
    const pool = poolOf(["10.0.0.0/29"], ["10.0.0.6"]);
    assert.ok(pool.adopt({ id: "a", mac: mac("02:00:00:00:00:aa"), ips: [ip("10.0.0.1")] }).ok);
    pool.quarantine([
      { address: ip("10.0.0.2"), releasedAt: -10_000 },
      { address: ip("10.0.0.6"), releasedAt: -10_000 },
    ]);
    assert.deepEqual(allocate(pool, "b").ips, ["10.0.0.3"]);
    assert.deepEqual([...pool.quarantined(0)], [{ address: "10.0.0.2", releasedAt: -10_000 }]);
  });

  it("remember a bounded number of released addresses in a subnet without end", () => {
    const pool = poolOf(["fd00::/64"]);
    const seen = new Set<IpAddress>();
    for (let count = 0; count < 10_000; count++) {
      const holding = allocate(pool, "a", count * quarantine);
      for (const address of holding.ips) seen.add(address);
      pool.release(holding, count * quarantine);
    }
    assert.equal(seen.size, 4096);
  });
});

describe("refusals", () => {
  const full = poolOf(["10.0.0.0/30"]);
  allocate(full, "aaaaaaaaaaaa");
  const holding = allocate(full, "bbbbbbbbbbbb");
  const rows: [string, ReturnType<AddressPool["allocate"]>, string][] = [
    [
      "full",
      full.allocate({ id: "c", node: "h1", ips: [] }, 0),
      "exhausted: choose an IPv4 address of 10.0.0.0/30 for endpoint c in network blue-net: all 2 addresses are taken — detach endpoints, or use a network with a larger subnet",
    ],
    [
      "taken",
      full.allocate({ id: "c", node: "h1", ips: [ip("10.0.0.1")] }, 0),
      "already-exists: give 10.0.0.1 to endpoint c in network blue-net: endpoint aaaaaaaaaaaa has it — choose another address, or detach that endpoint first",
    ],
    [
      "outside",
      full.allocate({ id: "c", node: "h1", ips: [ip("10.0.1.1")] }, 0),
      "invalid-argument: give 10.0.1.1 to endpoint c in network blue-net: it is outside the network's subnets 10.0.0.0/30 — choose an address inside them, or none",
    ],
    [
      "reserved",
      full.allocate({ id: "c", node: "h1", ips: [ip("10.0.0.3")] }, 0),
      "invalid-argument: give 10.0.0.3 to endpoint c in network blue-net: it is the broadcast address of 10.0.0.0/30 — choose another address, or none",
    ],
    [
      "gateway",
      poolOf(["10.0.0.0/24"], ["10.0.0.1"]).allocate({ id: "c", node: "h1", ips: [ip("10.0.0.1")] }, 0),
      "invalid-argument: give 10.0.0.1 to endpoint c in network blue-net: it is the gateway of 10.0.0.0/24 — choose another address, or none",
    ],
    [
      "two of one subnet",
      poolOf(["10.0.0.0/24"]).allocate({ id: "c", node: "h1", ips: [ip("10.0.0.1"), ip("10.0.0.2")] }, 0),
      "invalid-argument: give 10.0.0.2 to endpoint c in network blue-net: it is the second one of 10.0.0.0/24 — choose one address of each subnet",
    ],
    [
      "group MAC",
      full.allocate({ id: "c", node: "h1", ips: [], mac: mac("01:00:5e:00:00:01") }, 0),
      "invalid-argument: give MAC 01:00:5e:00:00:01 to endpoint c in network blue-net: it is no unicast address — choose another MAC, or none",
    ],
    [
      "zero MAC",
      full.allocate({ id: "c", node: "h1", ips: [], mac: mac("00:00:00:00:00:00") }, 0),
      "invalid-argument: give MAC 00:00:00:00:00:00 to endpoint c in network blue-net: it is no unicast address — choose another MAC, or none",
    ],
    [
      "MAC taken",
      full.allocate({ id: "c", node: "h1", ips: [], mac: holding.mac }, 0),
      `already-exists: give MAC ${holding.mac} to endpoint c in network blue-net: endpoint bbbbbbbbbbbb has it — choose another MAC, or none`,
    ],
  ];
  for (const [name, result, expected] of rows) it(name, () => assert.equal(refusal(result), expected));

  it("all free addresses in quarantine: says when the next comes free", () => {
    const pool = poolOf(["10.0.0.0/30"]);
    allocate(pool, "a");
    pool.release(allocate(pool, "b"), 1_000);
    assert.equal(
      refusal(pool.allocate({ id: "c", node: "h1", ips: [] }, 31_000)),
      "exhausted: choose an IPv4 address of 10.0.0.0/30 for endpoint c in network blue-net: none is free (1 taken, the others released a moment ago); the next comes free in 30 s — try again in 30 s, or ask for one of them by its address",
    );
    assert.deepEqual(allocate(pool, "c", 31_000, ["10.0.0.2"]).ips, ["10.0.0.2"]);
  });

  it("one subnet exhausted takes nothing from the other", () => {
    const pool = poolOf(["10.0.0.0/30", "fd00::/64"]);
    for (const id of ["a", "b"]) allocate(pool, id);
    refusal(pool.allocate({ id: "c", node: "h1", ips: [ip("fd00::3")] }, 0));
    assert.equal(pool.ownerOf(ip("fd00::3")), undefined);
  });
});

describe("MAC addresses", () => {
  it("are locally administered unicast, whatever the random octets", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 6, maxLength: 6 }), (bytes) => {
        const holding = allocate(
          poolOf(["10.0.0.0/30"], [], counter(), () => bytes),
          "a",
        );
        assert.ok(isLocalMac(holding.mac) && !isGroupMac(holding.mac));
      }),
    );
  });

  it("go with the first address: whoever has it next has its MAC at once, on whichever node", () => {
    const pool = poolOf(["10.0.0.0/29", "fd00::/64"]);
    const first = allocate(pool, "a", 0, ["10.0.0.5"]);
    pool.release(first, 0);
    assert.notEqual(allocate(pool, "b").mac, first.mac);
    const again = pool.allocate({ id: "c", node: "h2", ips: [ip("10.0.0.5")] }, 1);
    assert.ok(again.ok);
    assert.equal(again.value.mac, first.mac);
    assert.equal(allocate(poolOf(["10.0.0.0/24"]), "a", 0, ["10.0.0.5"]).mac, first.mac);
  });

  it("are others when somebody has the address's own, were it asked for or learned, and when the bridge has it", () => {
    const own = allocate(poolOf(["10.0.0.0/29"]), "a", 0, ["10.0.0.5"]).mac;
    const pool = poolOf(["10.0.0.0/29"]);
    assert.ok(pool.adopt({ id: "learned", mac: own, ips: [] }).ok);
    assert.notEqual(allocate(pool, "a", 0, ["10.0.0.5"]).mac, own);
    const bridge = networkMac(7 as Vni);
    const hash = () => macToBytes(bridge);
    assert.notEqual(allocate(poolOf(["10.0.0.0/29"], [], counter(), hash), "a").mac, bridge);
  });

  it("are not the bridge's, were it asked for", () => {
    const mac = networkMac(7 as Vni);
    assert.match(
      refusal(poolOf(["10.0.0.0/29"]).allocate({ id: "a", node: "h1", mac, ips: [] }, 0)),
      /^invalid-argument: give MAC 02:57:00:00:00:07 to endpoint a .*: the network's bridges have it — choose another MAC, or none/,
    );
  });

  it("are drawn after a collision, and not for ever", () => {
    const draws = [1, 2].values();
    const pool = poolOf(
      ["10.0.0.0/29"],
      [],
      () => new Uint8Array(6).fill(draws.next().value ?? 2),
      () => new Uint8Array(6).fill(1),
    );
    assert.equal(allocate(pool, "a").mac, "02:01:01:01:01:01");
    assert.equal(allocate(pool, "b").mac, "02:02:02:02:02:02");
    assert.match(
      refusal(pool.allocate({ id: "c", node: "h1", ips: [] }, 0)),
      /^internal: .*16 random MACs in a row were taken/,
    );
  });

  it("come free at once", () => {
    const pool = poolOf(["10.0.0.0/29"]);
    const first = allocate(pool, "a");
    pool.release(first, 0);
    assert.ok(pool.allocate({ id: "b", node: "h1", ips: [], mac: first.mac }, 0).ok);
    pool.release(first, 0);
    assert.match(
      refusal(pool.allocate({ id: "c", node: "h1", ips: [], mac: first.mac }, 0)),
      /endpoint b has it/,
      "the release of a former owner must not free it",
    );
  });
});

it("allocates in constant time with 65,000 of 65,534 addresses taken", () => {
  const pool = poolOf(["10.0.0.0/16"]);
  const holdings: Holding[] = [];
  for (let count = 0; count < 65_534; count++) holdings.push(allocate(pool, "a"));
  for (let count = 0; count < 534; count++) pool.release(holdings[(count * 7919) % 65_534] as Holding, count);
  const before = process.cpuUsage();
  for (let count = 0; count < 20_000; count++) {
    const now = (count + 1) * quarantine;
    pool.release(allocate(pool, "b", now), now);
  }
  const { user } = process.cpuUsage(before);
  // A scan of the subnet at each allocation would take minutes.
  assert.ok(user < 2_000_000, `20,000 allocations took ${user / 1000} ms`);
});

/** What the pool must do, written down the slow way. */
interface Model {
  readonly subnet: Cidr;
  readonly usable: readonly IpAddress[];
  readonly owners: Map<IpAddress, Holding>;
  readonly releasedAt: Map<IpAddress, number>;
  now: number;
  count: number;
}

/** One step on the pool and the model. */
interface PoolCommand extends fc.Command<Model, AddressPool> {}

function hold(model: Model, pool: AddressPool, holding: Holding): void {
  const address = holding.ips[0] as IpAddress;
  assert.ok(model.usable.includes(address), `${address} is reserved or outside`);
  assert.ok(!model.owners.has(address), `${address} has two owners`);
  assert.equal(pool.ownerOf(address), holding.id);
  model.owners.set(address, holding);
  model.releasedAt.delete(address);
}

const choose: fc.Arbitrary<PoolCommand> = fc.constant({
  check: () => true,
  run(model, pool) {
    const isFree = (address: IpAddress) =>
      !model.owners.has(address) &&
      (model.releasedAt.get(address) ?? Number.NEGATIVE_INFINITY) + quarantine <= model.now;
    const result = pool.allocate({ id: `${++model.count}`, node: "h1", ips: [] }, model.now);
    assert.equal(result.ok, model.usable.some(isFree), "refused exactly when nothing is free");
    if (!result.ok) return assert.equal(result.error.code, "exhausted");
    assert.ok(isFree(result.value.ips[0] as IpAddress), "in quarantine");
    hold(model, pool, result.value);
  },
  toString: () => "choose",
});

const ask: fc.Arbitrary<PoolCommand> = fc.nat({ max: 15 }).map((index) => ({
  check: () => true,
  run(model, pool) {
    const address = addressAt(model.subnet, BigInt(index) % cidrSize(model.subnet));
    const result = pool.allocate({ id: `${++model.count}`, node: "h1", ips: [address] }, model.now);
    assert.equal(result.ok, model.usable.includes(address) && !model.owners.has(address));
    if (result.ok) hold(model, pool, result.value);
  },
  toString: () => `ask ${index}`,
}));

const release: fc.Arbitrary<PoolCommand> = fc.nat().map((choice) => ({
  check: (model) => model.owners.size > 0,
  run(model, pool) {
    const [address, holding] = [...model.owners][choice % model.owners.size] as [IpAddress, Holding];
    pool.release({ ...holding, id: "somebody else" }, model.now);
    assert.equal(pool.ownerOf(address), holding.id);
    pool.release(holding, model.now);
    assert.equal(pool.ownerOf(address), undefined);
    model.owners.delete(address);
    model.releasedAt.set(address, model.now);
  },
  toString: () => `release ${choice}`,
}));

const wait: fc.Arbitrary<PoolCommand> = fc.nat({ max: 70 }).map((count) => ({
  check: () => true,
  run(model) {
    model.now += seconds(count);
  },
  toString: () => `wait ${count} s`,
}));

it("keeps its promises under any sequence of requests", () => {
  const subnets = fc.constantFrom("10.0.0.0/30", "10.0.0.16/28", "fd00::/126", "fd00::10/124");
  const commands = fc.commands([choose, choose, ask, release, release, wait], { maxCommands: 80 });
  fc.assert(
    fc.property(subnets, fc.boolean(), commands, (text, hasGateway, steps) => {
      const subnet = cidr(text);
      const gateway = addressAt(subnet, 1n);
      const usable: IpAddress[] = [];
      for (let index = 0n; index < cidrSize(subnet); index++) {
        const address = addressAt(subnet, index);
        if (reservedReason(subnet, address) === undefined && !(hasGateway && address === gateway)) usable.push(address);
      }
      assert.ok(usable.every((address) => cidrContains(subnet, address)));
      const model: Model = { subnet, usable, owners: new Map(), releasedAt: new Map(), now: 0, count: 0 };
      fc.modelRun(() => ({ model, real: poolOf([text], hasGateway ? [gateway] : []) }), steps);
    }),
    { numRuns: 300 },
  );
});
