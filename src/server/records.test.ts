import assert from "node:assert/strict";
import { test } from "node:test";
import { openAuthority } from "../../test/support/authority.ts";
import { cidr } from "../base/cidr.ts";
import { ManualClock } from "../base/clock.ts";
import { type Ipv4Address, type Ipv6Address, ip } from "../base/ip.ts";
import { mac } from "../base/mac.ts";
import { unwrap } from "../base/result.ts";
import type { Vni } from "../model/resources.ts";
import { parseNetwork } from "../model/schema.ts";
import { MemoryStore } from "../store/index.ts";
import { owners, type Records, records, tokens } from "./records.ts";

function stored<Value, Names extends readonly (string | number)[]>(
  key: string,
  kind: Records<Value, Names>,
  names: Names,
  octets: string,
  value: Value,
) {
  const bytes = new Uint8Array(Buffer.from(octets, "hex"));
  return { key, bytes, value, written: kind.put(value, ...names), decode: (octets: Uint8Array) => kind.decode(octets) };
}

/** As data directories of earlier versions have it. */
const everything = [
  stored("/tenants/acme", records.tenant, ["acme"], "0a0461636d6512036f776e1a090a047a6f6e65120161", {
    name: "acme",
    placement: "own",
    nodeSelector: { zone: "a" },
  }),
  stored(
    "/networks/blue",
    records.network,
    ["blue"],
    "0a04626c7565120461636d651a026c32220576786c616e288120320b31302e302e302e302f32343209666430303a3a2f36343a0831302e302e302e313a07666430303a3a3140f80a48b6255204697076345a08686561642d656e646000684072096d756c7469636173747a130a093233392e312e322e3310041a04657468318a010a646174612d706c616e6598013ca80101c80101f0012dc202090a047261636b120137ca02100a0e3136392e3235342e302e302f3136",
    unwrap(
      parseNetwork({
        name: "blue",
        tenant: "acme",
        mode: "l2",
        encapsulation: "vxlan",
        vni: 4097,
        subnets: ["10.0.0.0/24", "fd00::/64"],
        gateways: ["10.0.0.1", "fd00::1"],
        blockSize: 64,
        mtu: 1400,
        port: 4790,
        underlay: "ipv4",
        flood: "head-end",
        arpSuppression: false,
        discovery: "multicast",
        multicast: { group: "239.1.2.3", ttl: 4, interface: "eth1" },
        vteps: [],
        learning: "data-plane",
        learningLimit: 0,
        ageing: 60,
        vlanTags: true,
        antiSpoof: true,
        stormControl: { port: 1000, network: 5000 },
        policyDefault: "allow",
        crossSubnet: false,
        egress: true,
        egressBlocked: ["169.254.0.0/16"],
        hostAccess: false,
        nodeSelector: { rack: "7" },
        changeTimeout: 45,
      }),
    ),
  ),
  stored(
    "/networks/pods",
    records.network,
    ["pods"],
    "0a04706f6473120461636d651a026c33220667656e657665288220320c31302e36342e302e302f313648c12f5204697076345a08686561642d656e646001688002720d636f6e74726f6c2d706c616e658a010d636f6e74726f6c2d706c616e659801ac02a00101b00101f0011eca0200",
    unwrap(
      parseNetwork({
        name: "pods",
        tenant: "acme",
        mode: "l3",
        encapsulation: "geneve",
        vni: 4098,
        subnets: ["10.64.0.0/16"],
        gateways: [],
        blockSize: 256,
        port: 6081,
        underlay: "ipv4",
        flood: "head-end",
        arpSuppression: true,
        discovery: "control-plane",
        vteps: [],
        learning: "control-plane",
        learningLimit: 0,
        ageing: 300,
        vlanTags: false,
        antiSpoof: true,
        stormControl: { port: 1000, network: 5000 },
        policyDefault: "allow",
        crossSubnet: true,
        egress: false,
        egressBlocked: [],
        hostAccess: true,
        changeTimeout: 30,
      }),
    ),
  ),
  stored(
    "/changes/pods",
    records.change,
    ["pods"],
    "0a0772656365697665120a0a0576786c616e10b52518f80a2080d095ffbc312a02683930aa0b",
    {
      phase: "receive",
      previous: [{ encapsulation: "vxlan", port: 4789, crossSubnet: false }],
      mtu: 1400,
      deviceMtu: 1450,
      since: 1_700_000_000_000,
      leftBehind: ["h9"],
    },
  ),
  stored("/behind/pods", records.leftBehind, ["pods"], "0a026839", ["h9"]),
  stored("/nodes/h1", records.node, ["h1"], "0a02683112093139322e302e322e311a0b323030313a6462383a3a3120dc0b3002", {
    name: "h1",
    vtepAddresses: { ipv4: ip("192.0.2.1") as Ipv4Address, ipv6: ip("2001:db8::1") as Ipv6Address },
    underlayMtu: 1500,
    generation: 2,
  }),
  stored("/node-settings/h1", records.nodeSettings, ["h1"], "0a090a047a6f6e6512016112093139322e302e322e31", {
    labels: { zone: "a" },
    approved: { ipv4: ip("192.0.2.1") as Ipv4Address },
  }),
  stored("/identities/h1", records.identity, ["h1"], "0802", { generation: 2, revoked: false }),
  stored(
    "/endpoints/blue/0123456789ab",
    records.endpoint,
    ["blue", "0123456789ab"],
    "0a0c3031323334353637383961621204626c75651a026831221130323a30303a30303a30303a30303a30312a0831302e302e302e322a07666430303a3a322a0831302e302e302e3932056e65746e733805420831302e302e302e39",
    {
      id: "0123456789ab",
      network: "blue",
      node: "h1",
      mac: mac("02:00:00:00:00:01"),
      ips: [ip("10.0.0.2"), ip("fd00::2"), ip("10.0.0.9")],
      learnedIps: [ip("10.0.0.9")],
      attachment: "netns",
      sequence: 5,
    },
  ),
  stored("/blocks/pods/10.64.1.0/24", records.block, ["pods", cidr("10.64.1.0/24")], "0a02683110031801", {
    node: "h1",
    generation: 3,
    closing: true,
    released: 0,
  }),
  stored("/quarantine/blue/ip/10.0.0.3", records.quarantine, ["blue", "ip", ip("10.0.0.3")], "0880d095ffbc31", {
    released: 1_700_000_000_000,
    sequence: 0,
  }),
  stored(
    "/quarantine/blue/mac/02:00:00:00:00:03",
    records.quarantine,
    ["blue", "mac", mac("02:00:00:00:00:03")],
    "0880d095ffbc311006",
    { released: 1_700_000_000_000, sequence: 6 },
  ),
  stored("/tokens/ab12", tokens, ["ab12"], "0880d095ffbc31120268311a0201022002", {
    expires: 1_700_000_000_000,
    used: { node: "h1", publicKeyHash: new Uint8Array([1, 2]), generation: 2 },
  }),
  stored("/vnis/4097", owners.vni, [4097 as Vni], "0a04626c7565", "blue"),
  stored("/vteps/192.0.2.1", owners.vtep, [ip("192.0.2.1")], "0a026831", "h1"),
  stored(
    "/addresses/blue/10.0.0.2",
    owners.address,
    ["blue", ip("10.0.0.2")],
    "0a0c303132333435363738396162",
    "0123456789ab",
  ),
  stored(
    "/macs/blue/02:00:00:00:00:01",
    owners.mac,
    ["blue", mac("02:00:00:00:00:01")],
    "0a0c303132333435363738396162",
    "0123456789ab",
  ),
];

test("each record has its place in the store and is read as earlier versions wrote it", () => {
  for (const { key, bytes, value, written, decode } of everything) {
    assert.equal(written.key, key);
    assert.deepEqual([decode(bytes), decode(written.value)], [value, value], key);
  }
});

test("a store of an earlier version opens with all that is in it", async (t) => {
  const store = new MemoryStore();
  const operations = everything.map(({ key, bytes }) => ({ kind: "put" as const, key, value: bytes }));
  await store.transact({ conditions: [], operations });
  const { ledger } = await openAuthority(t, store, new ManualClock(1_700_000_001_000));
  const { tenants, networks, nodes, nodeSettings, identities, endpoints } = ledger.state;
  const recorded = (key: string): unknown => everything.find((record) => record.key === key)?.value;
  assert.deepEqual(tenants.get("acme")?.value, recorded("/tenants/acme"));
  assert.deepEqual(networks.get("blue")?.network, recorded("/networks/blue"));
  assert.deepEqual(networks.get("pods")?.change, recorded("/changes/pods"));
  assert.deepEqual(networks.get("pods")?.leftBehind, recorded("/behind/pods"));
  assert.deepEqual(nodes.get("h1")?.value, recorded("/nodes/h1"));
  assert.deepEqual(nodeSettings.get("h1")?.value, recorded("/node-settings/h1"));
  assert.deepEqual(identities.get("h1")?.value, recorded("/identities/h1"));
  const { revision: _, ...endpoint } = endpoints.get("0123456789ab") ?? {};
  assert.deepEqual(endpoint, recorded("/endpoints/blue/0123456789ab"));
  assert.deepEqual(
    Array.from(networks.get("pods")?.ownedBlocks() ?? [], ({ cidr, node }) => `${cidr} ${node}`),
    ["10.64.1.0/24 h1"],
  );
  assert.deepEqual([...(networks.get("blue")?.releasedIps.keys() ?? [])], ["10.0.0.3"]);
  assert.deepEqual([...(networks.get("blue")?.releasedMacs.keys() ?? [])], ["02:00:00:00:00:03"]);
});

test("a change that an earlier version began lets pass what was sent before", () => {
  const octets = "0a0772656365697665120a0a0576786c616e10b52518f80a2080d095ffbc312a026839";
  assert.equal(records.change.decode(new Uint8Array(Buffer.from(octets, "hex"))).deviceMtu, 1400);
});
