import assert from "node:assert/strict";
import { test } from "node:test";
import { type Cidr, cidr } from "../../base/cidr.ts";
import { type IpAddress, ip } from "../../base/ip.ts";
import { mac } from "../../base/mac.ts";
import type { Endpoint, Vni } from "../../model/resources.ts";
import { claimFromBlocks, type OwnPart } from "./claim-from-blocks.ts";

const network = { name: "web", vni: 7 as Vni, subnets: [cidr("10.0.0.0/16"), cidr("fd00::/64")] };
const request = { id: "00000000000a", attachment: "netns", mac: "", ips: [], labels: {} } as const;
const other = (address: string, of = "web"): Endpoint => ({
  ...request,
  network: of,
  node: "h1",
  mac: mac("02:00:00:00:00:09"),
  ips: [ip(address)],
  sequence: 0,
});

function part(fields: Partial<OwnPart> = {}): OwnPart {
  return {
    node: "h1",
    network,
    blocks: [cidr("10.0.0.64/29"), cidr("fd00::40/125")],
    own: [],
    lastChosen: new Map<Cidr, IpAddress>(),
    isAlone: true,
    ...fields,
  };
}

test("addresses come from the end of blocks, one after the other, and round again", () => {
  const own: Endpoint[] = [other("10.0.0.70", "another")];
  const where = part({ own });
  const chosen: string[] = [];
  for (let number = 0; number < 5; number++) {
    const claim = claimFromBlocks(request, where, "try");
    assert.ok(claim.ok);
    chosen.push(claim.value.ips.join(" "));
    if (number === 1) own.push({ ...claim.value, mac: mac("02:00:00:00:00:01") });
  }
  assert.deepEqual(chosen, [
    "10.0.0.70 fd00::47",
    "10.0.0.69 fd00::46",
    "10.0.0.68 fd00::45",
    "10.0.0.67 fd00::44",
    "10.0.0.66 fd00::43",
  ]);
  const again = claimFromBlocks(request, where, "try");
  assert.ok(again.ok);
  assert.deepEqual(again.value.ips, ["10.0.0.70", "fd00::42"]);
});

test("the MAC is the one that the server would give with the address, or the wanted one", () => {
  const claim = claimFromBlocks({ ...request, ips: ["10.0.0.67"] }, part(), "try");
  assert.ok(claim.ok);
  const again = claimFromBlocks({ ...request, ips: ["10.0.0.67"] }, part({ isAlone: false }), "try");
  assert.deepEqual(again.ok && again.value.mac, claim.value.mac);
  const wanted = claimFromBlocks({ ...request, mac: "02:00:00:00:00:05" }, part(), "try");
  assert.equal(wanted.ok && wanted.value.mac, "02:00:00:00:00:05");
});

test("while the server can be asked, a quarter of the blocks is left for what it chooses", () => {
  const own = [66, 67, 68, 69].map((last) => other(`10.0.0.${last}`));
  const claim = (isAlone: boolean, more: readonly Endpoint[] = []) =>
    claimFromBlocks(request, part({ own: [...own, ...more], isAlone }), "try").ok;
  assert.deepEqual([claim(false), claim(true)], [true, true]);
  const full = [other("10.0.0.70")];
  assert.deepEqual([claim(false, full), claim(true, full)], [false, false]);
});

for (const [what, wish, where, told] of [
  ["an address of no block of the node", { ips: ["10.0.1.1"] }, {}, /10.0.1.1 is in no block of this node/],
  ["the gateway's", { ips: ["10.0.0.65"] }, {}, /the gateway of block 10.0.0.64\/29/],
  [
    "one that is taken",
    { ips: ["10.0.0.66"] },
    { own: [other("10.0.0.66")] },
    /an endpoint of this node has 10.0.0.66/,
  ],
  ["two of a subnet", { ips: ["10.0.0.66", "10.0.0.67"] }, {}, /10.0.0.67 is the second address/],
  ["no address", { ips: ["x"] }, {}, /x/],
  ["a group's MAC", { mac: "01:00:00:00:00:01" }, {}, /no unicast MAC address/],
  ["a MAC that is taken", { mac: "02:00:00:00:00:09" }, { own: [other("10.0.0.66")] }, /02:00:00:00:00:09 is taken/],
  ["a label that is none", { labels: { "": "x" } }, {}, /labels/],
  ["anything without a block", {}, { blocks: [] }, /this node has no block of 10.0.0.0\/16/],
] as const)
  test(`${what} is refused`, () => {
    const claim = claimFromBlocks({ ...request, ...wish }, part(where), "try");
    assert.ok(!claim.ok);
    assert.match(claim.error.message, told);
  });
