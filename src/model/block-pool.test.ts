import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { describe, it } from "node:test";
import { cidr } from "../base/cidr.ts";
import { seconds } from "../base/duration.ts";
import { ip } from "../base/ip.ts";
import { AddressPool } from "./allocation.ts";
import { BlockPool } from "./block-pool.ts";
import type { Vni } from "./resources.ts";
import { blockGateway, blockReservedReason } from "./subnet.ts";

const quarantine = seconds(60);

/** The block that a node would have to claim for any address, or why there is none. */
function needed(pool: BlockPool, node: string, now = 0): string {
  const need = pool.need(node, undefined, now);
  if (!need.ok) return need.error;
  if (need.value === undefined) return "room";
  const { block, freeAt, empty } = need.value;
  return block ?? `none, free at ${freeAt}, empty ${empty}`;
}

describe("reserved addresses of a block", () => {
  const table: [block: string, address: string, reason: string | undefined][] = [
    ["10.0.0.64/26", "10.0.0.64", "the network address"],
    ["10.0.0.64/26", "10.0.0.65", "the gateway"],
    ["10.0.0.64/26", "10.0.0.66", undefined],
    ["10.0.0.64/26", "10.0.0.127", "the broadcast address"],
    ["fd00::40/122", "fd00::40", "the network address"],
    ["fd00::40/122", "fd00::41", "the gateway"],
    ["fd00::40/122", "fd00::7f", undefined],
    // Of an l2 subnet of this length the highest 128 are reserved (RFC 2526).
    ["fd00::/112", "fd00::ffff", undefined],
  ];
  for (const [block, address, reason] of table)
    it(`${address} in ${block}`, () => assert.equal(blockReservedReason(cidr(block), ip(address)), reason));
  it("the gateway is the first usable one", () =>
    assert.deepEqual([blockGateway(cidr("10.0.0.64/26")), blockGateway(cidr("fd00::/122"))], ["10.0.0.65", "fd00::1"]));
});

describe("the block to claim", () => {
  it("is the lowest free one, also of those that came free again", () => {
    const pool = new BlockPool(cidr("10.0.0.0/28"), 4, quarantine);
    for (const [index, block] of ["10.0.0.0/30", "10.0.0.4/30", "10.0.0.8/30"].entries()) {
      assert.equal(needed(pool, `h${index}`), block);
      pool.own(cidr(block), `h${index}`);
    }
    pool.disown(cidr("10.0.0.4/30"), "h1", 0);
    pool.disown(cidr("10.0.0.0/30"), "h0", 1);
    assert.equal(needed(pool, "new", quarantine - 1), "10.0.0.12/30");
    assert.equal(needed(pool, "new", quarantine), "10.0.0.4/30");
    assert.equal(needed(pool, "new", quarantine + 1), "10.0.0.0/30");
    pool.own(cidr("10.0.0.0/30"), "new");
    pool.own(cidr("10.0.0.4/30"), "new");
    assert.equal(needed(pool, "newer", quarantine + 1), "10.0.0.12/30");
  });

  it("is one of those declared for the node, where they are; otherwise the error says why not", () => {
    const pool = new BlockPool(cidr("10.0.0.0/28"), 4, quarantine);
    const declared = ["10.0.0.4/30", "10.0.0.8/30", "10.0.0.8/29", "192.0.2.0/30"].map(cidr);
    const of = (node: string, blocks = declared): string => {
      const need = pool.need(node, undefined, 0, blocks);
      return need.ok ? (need.value?.block ?? "room") : need.error;
    };
    assert.equal(of("h1"), "10.0.0.4/30");
    pool.own(cidr("10.0.0.4/30"), "h1");
    assert.equal(of("h1"), "room");
    pool.take(ip("10.0.0.6"), "a");
    assert.equal(of("h1"), "10.0.0.8/30");
    pool.own(cidr("10.0.0.8/30"), "h2");
    assert.equal(
      of("h1"),
      "no block that is declared for node h1 has room: 10.0.0.4/30 is full; 10.0.0.8/30 is node h2's; " +
        "10.0.0.8/29 is no block of the network, whose blockSize makes them /30",
    );
    assert.equal(of("h3", []), "no block of 10.0.0.0/28 is declared for node h3");
    pool.disown(cidr("10.0.0.8/30"), "h2", 0);
    assert.equal(
      of("h3", [cidr("10.0.0.8/30")]),
      "no block that is declared for node h3 has room: 10.0.0.8/30 was node h2's a moment ago and comes free in 60 s",
    );
    const wanted = pool.need("h3", ip("10.0.0.2"), 0, []);
    assert.equal(wanted.ok ? "" : wanted.error, "it is in block 10.0.0.0/30, which is not declared for node h3");
  });

  it("is not one that another claims, until that claim has failed", () => {
    const pool = new BlockPool(cidr("10.0.0.0/29"), 4, quarantine);
    pool.claim(cidr("10.0.0.0/30"), "h1");
    assert.equal(needed(pool, "h2"), "10.0.0.4/30");
    pool.claim(cidr("10.0.0.4/30"), "h2");
    assert.equal(needed(pool, "h3"), "none, free at undefined, empty undefined");
    pool.endClaim(cidr("10.0.0.0/30"));
    assert.equal(needed(pool, "h3"), "10.0.0.0/30");
    const wanted = pool.need("h3", ip("10.0.0.6"), 0);
    assert.equal(wanted.ok ? "" : wanted.error, "it is in block 10.0.0.4/30 of node h2");
  });

  it("is none while the node has room, and again when an address leaves quarantine", () => {
    const pool = new BlockPool(cidr("10.0.0.0/30"), 4, quarantine);
    pool.own(cidr("10.0.0.0/30"), "h1");
    assert.equal(needed(pool, "h1"), "room");
    pool.take(ip("10.0.0.2"), "a");
    assert.equal(needed(pool, "h1"), "none, free at undefined, empty undefined");
    assert.equal(pool.isEmpty(cidr("10.0.0.0/30")), false);
    pool.release(ip("10.0.0.2"), "somebody else", 5);
    pool.release(ip("10.0.0.2"), "a", 5);
    assert.equal(needed(pool, "h1", 5), `none, free at ${quarantine + 5}, empty undefined`);
    assert.equal(needed(pool, "h2", 5), "none, free at undefined, empty 10.0.0.0/30");
    assert.equal(needed(pool, "h1", quarantine + 5), "room");
  });
});

it("a dropped block gives no addresses, whether the cursor has passed it, is in it, or comes to it", () => {
  for (const dropped of [0, 1, 2]) {
    const pool = new BlockPool(cidr("10.0.0.0/24"), 8, quarantine);
    const blocks = ["10.0.0.0/29", "10.0.0.8/29", "10.0.0.16/29"].map(cidr);
    for (const block of blocks) pool.own(block, "h1");
    const take = (): string => {
      const next = pool.next("h1", 0);
      assert.ok(next.ok);
      pool.take(next.value, "x");
      return next.value;
    };
    const taken = Array.from({ length: 6 }, take);
    for (const address of taken.filter((one) => dropped === 0 || one.startsWith("10.0.0.1")))
      pool.release(ip(address), "x", 0);
    pool.disown(blocks[dropped] ?? cidr("10.0.0.0/29"), "h1", 0);
    const rest: string[] = [];
    for (;;) {
      const next = pool.next("h1", quarantine);
      if (!next.ok) break;
      pool.take(next.value, "x");
      rest.push(next.value);
    }
    assert.ok(
      rest.every((address) => pool.blockOf(ip(address)) !== blocks[dropped]),
      `${dropped}: ${rest}`,
    );
    assert.equal(new Set(rest).size, rest.length);
    assert.equal(rest.length, [10, 5, 5][dropped]);
  }
});

it("300,000 endpoints in 5,000 blocks: the last address is chosen as quickly as the first", (t) => {
  const pool = new AddressPool(
    { name: "blue", vni: 7 as Vni, mode: "l3", subnets: [cidr("10.0.0.0/8")], gateways: [], blockSize: 64 },
    {
      random: (length) => crypto.getRandomValues(new Uint8Array(length)),
      hash: (text) => createHash("sha256").update(text).digest(),
      quarantine,
    },
  );
  const times: number[] = [];
  for (let node = 0; node < 5_000; node++) {
    const before = process.cpuUsage().user;
    for (let index = 0; index < 60; index++) {
      const request = { id: `${node}/${index}`, node: `h${node}`, ips: [] };
      const need = pool.need(request, 0);
      assert.ok(need.ok);
      const block = need.value?.block;
      assert.equal(block !== undefined, index === 0);
      if (block !== undefined) pool.blocksAt(block)?.own(block, request.node);
      assert.ok(pool.allocate(request, 0).ok);
    }
    times.push(process.cpuUsage().user - before);
  }
  const sum = (values: number[]): number => values.reduce((total, time) => total + time, 0);
  const [early, late] = [sum(times.slice(0, 2_500)), sum(times.slice(2_500))];
  t.diagnostic(`first half ${Math.round(early / 1000)} ms, second half ${Math.round(late / 1000)} ms`);
  assert.ok(late < 3 * early + 500_000, `${early} and ${late} µs`);
  assert.ok(early + late < 20_000_000);
});
