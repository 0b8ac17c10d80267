/** Sets of nftables by netlink: what nft shows of them, and what the kernel makes of whole transactions. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  addNftElements,
  addNftSet,
  addNftTable,
  deleteNftElements,
  deleteNftSet,
  deleteNftTable,
  isErrno,
  isSameSet,
  listNftSets,
  listNftTables,
  NetlinkSocket,
  type NftSet,
  netlinkProtocol,
  nftField,
  packetAddress,
  packetNumber,
  type Request,
  readNftElements,
} from "../../src/netlink/index.ts";
import { requires } from "../support/kernel.ts";
import { type TestNamespace, testNamespace } from "../support/namespaces.ts";

const { ipv4_addr, ipv6_addr, ether_addr, inet_proto, inet_service, ifname } = nftField;
const vni = packetNumber(96, 24);

/** Each kind of set that weft has: its elements as weft has them, in order, and as nft shows them. */
const sets: readonly (readonly [name: string, Pick<NftSet, "key" | "isInterval" | "data">, string[], shown: RegExp])[] =
  [
    ["ports", { key: [inet_service] }, ["4789", "8472"], /type inet_service elements = { 4789, 8472 }/],
    ["macs", { key: [ether_addr] }, ["02:00:00:00:00:01"], /elements = { 02:00:00:00:00:01 }/],
    ["names", { key: [ifname] }, ["eth0"], /elements = { "eth0" }/],
    ["patterns", { key: [ifname], isInterval: true }, ["gr12*", "vx5"], /elements = { "gr12\*", "vx5" }/],
    [
      "prefixes4",
      { key: [ipv4_addr], isInterval: true },
      ["1.2.3.4", "10.0.0.0/24", "10.0.1.0/24", "255.0.0.0/8"],
      /flags interval elements = { 1.2.3.4, 10.0.0.0\/24, 10.0.1.0\/24, 255.0.0.0\/8 }/,
    ],
    ["prefixes6", { key: [ipv6_addr], isInterval: true }, ["fd00::/64", "ff00::/8"], /{ fd00::\/64, ff00::\/8 }/],
    ["bound4", { key: [ifname, ipv4_addr], isInterval: true }, ["br1 . 10.0.0.0/24"], /{ "br1" \. 10.0.0.0\/24 }/],
    ["bound6", { key: [ifname, ipv6_addr], isInterval: true }, ["br1 . fd00::/64"], /{ "br1" \. fd00::\/64 }/],
    ["vnis", { key: [vni] }, ["1", "4242"], /typeof @th,96,24 elements = { 0x1, 0x1092 }/],
    [
      "members4",
      { key: [vni, ipv4_addr] },
      ["4242 . 10.99.0.2"],
      /typeof @th,96,24 \. ip saddr elements = { 0x1092 \. 10.99.0.2 }/,
    ],
    ["members6", { key: [vni, ipv6_addr] }, ["4242 . fd99::2"], /@th,96,24 \. ip6 saddr .*{ 0x1092 \. fd99::2 }/],
    ["quoted4", { key: [packetAddress(192, "ipv4_addr")] }, ["10.0.0.1"], /typeof @th,192,32 elements = { 0xa000001 }/],
    [
      "ways6",
      { key: [packetAddress(256, "ipv6_addr"), ifname] },
      ["fd00::1 . eth0"],
      /typeof @th,256,128 \. iifname elements = { 0xfd0{29}1 \. "eth0" }/,
    ],
    [
      "lead",
      { key: [inet_proto, inet_service], data: [ipv4_addr, inet_service] },
      ["6 . 8080 : 10.0.0.2 . 80"],
      /{ tcp \. 8080 : 10\.0\.0\.2 \. 80 }/,
    ],
    ["nat", { key: [ipv4_addr], data: [ipv4_addr] }, ["10.0.0.1 : 10.0.0.2"], /{ 10.0.0.1 : 10.0.0.2 }/],
  ];
const all = sets.map(([name, fields]): NftSet => ({ family: "inet", table: "t", name, ...fields }));
const named = (name: string): NftSet => all.find((each) => each.name === name) as NftSet;

/** An inet table `t` with all of the sets, all empty. */
async function withSets(act: (place: TestNamespace, socket: NetlinkSocket) => Promise<void>): Promise<void> {
  using place = testNamespace("nft");
  using socket = new NetlinkSocket({ channel: place.kernel.openChannel({ protocol: netlinkProtocol.netfilter }) });
  await carryOut(socket, addNftTable("inet", "t"), ...all.map(addNftSet));
  await act(place, socket);
}

async function carryOut(socket: NetlinkSocket, ...requests: readonly Request[]): Promise<void> {
  const { failures } = await socket.transaction(requests);
  if (failures[0] !== undefined) throw failures[0].error;
}

describe("sets of nftables", requires("nft-inet"), () => {
  it("are made, filled, listed and emptied as nft would", () =>
    withSets(async (place, socket) => {
      assert.deepEqual(await socket.dump(listNftTables("inet")), ["t"]);
      const layouts = new Map(await socket.dump(listNftSets("inet", "t")));
      for (const [name, { data }, elements, shown] of sets) {
        const set = named(name);
        assert.ok(isSameSet(set, layouts.get(name) ?? {}), name);
        await carryOut(socket, addNftElements(set, elements));
        await carryOut(socket, addNftElements(set, elements));
        assert.deepEqual(await readNftElements(socket, set), elements);
        const listing = place.shell(`nft list ${data === undefined ? "set" : "map"} inet t ${name}`);
        assert.match(listing.replace(/\s+/g, " "), shown);
      }
      for (const [name, , elements] of sets) {
        await carryOut(socket, deleteNftElements(named(name), elements));
        assert.deepEqual(await readNftElements(socket, named(name)), []);
      }
      await carryOut(socket, ...all.map(deleteNftSet), deleteNftTable("inet", "t"));
      assert.equal(place.shell("nft list ruleset"), "");
    }));

  it("are read as nft writes them, and its elements taken out", () =>
    withSets(async (place, socket) => {
      for (const [name, elements, read] of [
        ["patterns", '"gr12*", "vx5"', ["gr12*", "vx5"]],
        ["prefixes4", "10.0.1.0/24, 10.0.0.1-10.0.0.3", ["0x0a000001-0x0a000003", "10.0.1.0/24"]],
        ["bound4", '"br1" . 10.0.0.0/24', ["br1 . 10.0.0.0/24"]],
      ] as const) {
        place.shell(`nft 'add element inet t ${name} { ${elements} }'`);
        assert.deepEqual(await readNftElements(socket, named(name)), read);
        await carryOut(socket, deleteNftElements(named(name), read));
        assert.doesNotMatch(place.shell(`nft list set inet t ${name}`), /elements/);
      }
    }));

  it("stay as they were if one request of a transaction is refused", () =>
    withSets(async (_place, socket) => {
      const [prefixes, ports] = [named("prefixes4"), named("ports")];
      await carryOut(socket, addNftElements(prefixes, ["10.0.0.0/24"]), addNftElements(ports, ["80"]));
      const { done, failures } = await socket.transaction([
        addNftElements(ports, ["81"]),
        deleteNftElements(ports, ["82"]),
        addNftElements(prefixes, ["10.0.0.0/16"]),
        deleteNftElements(ports, ["80"]),
      ]);
      assert.equal(done, 0);
      assert.deepEqual(
        failures.map(({ error }) => error.message),
        [
          "delete element 82 of nft set ports of table inet t: ENOENT: no such object",
          "add element 10.0.0.0/16 of nft set prefixes4 of table inet t: EEXIST: it exists already",
        ],
      );
      assert.deepEqual(await readNftElements(socket, ports), ["80"]);
      assert.deepEqual(await readNftElements(socket, prefixes), ["10.0.0.0/24"]);
      const missing = { ...ports, name: "missing" };
      await assert.rejects(readNftElements(socket, missing), (error) => isErrno(error, "ENOENT"));
      await assert.rejects(carryOut(socket, addNftElements(missing, ["1"])), (error) => isErrno(error, "ENOENT"));
    }));

  it("exchange a prefix for narrower ones, and back, at once", () =>
    withSets(async (_place, socket) => {
      const steps = [["10.0.0.0/23"], ["10.0.0.0/24", "10.0.1.0/24"], ["10.0.0.0/8"], ["10.0.1.0/24"]];
      for (const [name, wrap] of [
        ["prefixes4", (prefix: string) => prefix],
        ["bound4", (prefix: string) => `br1 . ${prefix}`],
      ] as const) {
        let before: string[] = [];
        for (const step of steps.map((prefixes) => prefixes.map(wrap))) {
          await carryOut(socket, deleteNftElements(named(name), before), addNftElements(named(name), step));
          assert.deepEqual(await readNftElements(socket, named(name)), step);
          before = step;
        }
      }
    }));
});
