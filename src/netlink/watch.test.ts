import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { cidr } from "../base/cidr.ts";
import { ip } from "../base/ip.ts";
import { mac } from "../base/mac.ts";
import { netlinkProtocol } from "../linux/index.ts";
import { FakeKernel, type FakeMessage } from "../testing/fake-kernel.ts";
import { replaceAddress } from "./address.ts";
import type { ChannelOptions } from "./channel.ts";
import { changeBridgePort, changeLink, deleteLink, RTM_NEWLINK } from "./link.ts";
import { deleteFdbEntry, deleteNeighbour, replaceFdbEntry, replaceNeighbour } from "./neighbour.ts";
import { RTM_NEWNETCONF } from "./netconf.ts";
import { deleteNexthop, replaceNexthop } from "./nexthop.ts";
import { deleteRoute, replaceRoute } from "./route.ts";
import { createRule } from "./rule.ts";
import { Watch, type WatchKind } from "./watch.ts";
import type { MessageWriter } from "./writer.ts";

function watching() {
  const objects = new FakeKernel();
  const filters = new FakeKernel();
  const opened: Omit<ChannelOptions, "namespace">[] = [];
  const watch = new Watch({
    groups: ["link", "route"],
    open: (options) => {
      opened.push(options);
      return options.protocol === netlinkProtocol.netfilter ? filters : objects;
    },
  });
  const heard: unknown[] = [];
  const hear = (kind: WatchKind, key?: number | string): (() => void) =>
    watch.subscribe(kind, (event) => heard.push(event === undefined ? kind : { [kind]: event }), key);
  return { objects, filters, opened, watch, heard, hear };
}

/** A change in an nftables table, as the kernel tells of it. linux/netfilter/nf_tables.h: NFT_MSG_NEWRULE of NFNL_SUBSYS_NFTABLES. */
function ruleIn(table: string): FakeMessage {
  return {
    type: (10 << 8) | 6,
    write: (writer) => {
      writer.reserve(4);
      const start = writer.beginAttribute(1);
      writer.bytes.set(new TextEncoder().encode(table), writer.reserve(table.length + 1));
      writer.endAttribute(start);
    },
  };
}

/** The end of a transaction: NFT_MSG_NEWGEN, with NFTA_GEN_ID. */
const newGeneration: FakeMessage = {
  type: (10 << 8) | 15,
  write: (writer) => {
    writer.reserve(4);
    const start = writer.beginAttribute(1);
    writer.reserve(4);
    writer.endAttribute(start);
  },
};

const row = { index: 3, mac: mac("02:00:00:00:00:07"), state: 2, flags: 2 };
const neighbour = { index: 3, ip: ip("10.0.0.7"), mac: mac("02:00:00:00:00:07"), state: 2, flags: 0 };
const route = { destination: cidr("10.0.0.0/8"), protocol: 119, priority: 7, nexthops: [{ index: 3 }] };

test("tells of each kind in its own words", async () => {
  const { objects, watch } = watching();
  const told: unknown[] = [];
  watch.subscribe("link", ({ index, link }) => told.push(["link", index, link?.mtu]));
  watch.subscribe("bridgePort", ({ index, settings }) => told.push(["bridgePort", index, settings]));
  watch.subscribe("address", ({ address, isGone }) => told.push(["address", address.address, isGone]));
  watch.subscribe("fdb", ({ entry, isGone }) => told.push(["fdb", entry.mac, isGone]));
  watch.subscribe("neighbour", ({ neighbour, isGone }) => told.push(["neighbour", neighbour.ip, isGone]));
  watch.subscribe("route", ({ route, isGone }) => told.push(["route", route.destination, isGone]));
  watch.subscribe("rule", ({ isGone }) => told.push(["rule", isGone]));
  watch.subscribe("netconf", ({ index }) => told.push(["netconf", index]));
  watch.subscribe("nexthop", ({ nexthop, isGone }) => told.push(["nexthop", nexthop.id, isGone]));
  objects.publish(
    changeLink({ index: 3 }, { mtu: 1400 }),
    deleteLink({ index: 3 }),
    { ...changeBridgePort(4, { learning: false }), type: RTM_NEWLINK },
    replaceAddress({ index: 3, address: ip("10.0.0.1"), prefixLength: 24 }),
    replaceFdbEntry(row),
    deleteFdbEntry(row),
    replaceNeighbour(neighbour),
    deleteNeighbour(3, neighbour.ip),
    replaceRoute(route),
    deleteRoute(route),
    createRule({ family: 4, table: 100, priority: 5, protocol: 3 }),
    { type: RTM_NEWNETCONF, write: (writer: MessageWriter) => void writer.reserve(4) },
    replaceNexthop({ id: 9, protocol: 119, fdb: true, gateway: ip("192.0.2.2") }),
    deleteNexthop(9),
  );
  await turn();
  assert.deepEqual(told, [
    ["link", 3, 1400],
    ["link", 3, undefined],
    ["bridgePort", 4, { learning: false }],
    ["address", "10.0.0.1", false],
    ["fdb", row.mac, false],
    ["fdb", row.mac, true],
    ["neighbour", "10.0.0.7", false],
    ["neighbour", "10.0.0.7", true],
    ["route", "10.0.0.0/8", false],
    ["route", "10.0.0.0/8", true],
    ["rule", false],
    ["netconf", -1],
    ["nexthop", 9, false],
    ["nexthop", 9, true],
  ]);
});

test("looks up who asked: by device, metric and table, until he asks no more", async () => {
  const { objects, filters, watch } = watching();
  const told: string[] = [];
  const stops = [
    watch.subscribe("link", () => told.push("link 3"), 3),
    watch.subscribe("link", () => told.push("link 4"), 4),
    watch.subscribe("fdb", () => told.push("fdb 3"), 3),
    watch.subscribe("route", () => told.push("metric 7"), 7),
    watch.subscribe("route", () => told.push("no metric"), 0),
    watch.subscribe("nft", () => told.push("table a"), "a"),
    watch.subscribe("nft", () => told.push("table b"), "b"),
  ];
  const publish = async (): Promise<void> => {
    objects.publish(changeLink({ index: 3 }, { mtu: 1400 }), replaceFdbEntry(row), replaceRoute(route));
    filters.publish(ruleIn("a"), ruleIn("c"), newGeneration);
    await turn();
  };
  await publish();
  assert.deepEqual(told.sort(), ["fdb 3", "link 3", "metric 7", "table a"]);
  for (const stop of stops) stop();
  await publish();
  assert.equal(told.length, 4);
});

test("of a device that nobody asked for reads no more than the header", async () => {
  const { objects, hear, heard } = watching();
  hear("link", 3);
  hear("overrun");
  const unreadable = (index: number): FakeMessage => ({
    type: RTM_NEWLINK,
    write: (writer) => {
      changeLink({ index }, {}).write(writer);
      // An attribute that claims to be longer than the message.
      writer.view.setUint16(writer.reserve(4), 400, true);
    },
  });
  objects.publish(unreadable(4));
  await turn();
  assert.deepEqual(heard, []);
  objects.publish(unreadable(3));
  await turn();
  assert.deepEqual(heard, ["overrun"]);
});

test("all hear of what was lost, each of his own socket", async () => {
  const { objects, filters, hear, heard } = watching();
  hear("overrun");
  hear("nft", "a");
  hear("nft", "b");
  objects.publishOverrun();
  await turn();
  assert.deepEqual(heard, ["overrun"]);
  filters.publishOverrun();
  await turn();
  assert.deepEqual(heard, ["overrun", { nft: {} }, { nft: {} }]);
});

test("joins the groups of what it was asked for, and ends", () => {
  const { objects, filters, opened, watch } = watching();
  assert.deepEqual(
    opened.map(({ protocol, groups }) => [protocol, groups]),
    [
      [undefined, [1, 7, 11]],
      [netlinkProtocol.netfilter, [7]],
    ],
  );
  watch.close();
  assert.deepEqual([objects.closed, filters.closed], [true, true]);
});
