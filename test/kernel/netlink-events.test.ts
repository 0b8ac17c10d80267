/** Events of the real kernel: what changes is told, what is filtered is not, and what is lost is known to be lost. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as nextTurn, setTimeout as sleep } from "node:timers/promises";
import { cidr } from "../../src/base/cidr.ts";
import { ip } from "../../src/base/ip.ts";
import { type MacAddress, mac } from "../../src/base/mac.ts";
import * as nl from "../../src/netlink/index.ts";
import { type TestNamespace, testNamespace } from "../support/namespaces.ts";
import { eventually } from "../support/underlay.ts";

test("links, addresses, neighbours and routes: each change is told as it happens", async () => {
  using host = testNamespace("host");
  const heard: string[] = [];
  using _events = new nl.EventSocket({
    namespace: host.namespace,
    groups: [
      nl.eventGroup.link,
      nl.eventGroup.neighbour,
      nl.eventGroup.ipv4Address,
      nl.eventGroup.ipv6Address,
      nl.eventGroup.ipv4Route,
      nl.eventGroup.ipv6Route,
    ],
    onOverrun: () => heard.push("overrun"),
    onEvent: ({ type, bytes, view, start, end }) => {
      if (type === nl.RTM_NEWLINK || type === nl.RTM_DELLINK) {
        const link = nl.readLink(bytes, view, start, end);
        if (link !== undefined) heard.push(`${type === nl.RTM_NEWLINK ? "link" : "no link"} ${link.name}`);
      } else if (type === nl.RTM_NEWADDR || type === nl.RTM_DELADDR) {
        const entry = nl.readAddress(bytes, view, start, end);
        heard.push(`${type === nl.RTM_NEWADDR ? "address" : "no address"} ${entry?.address}/${entry?.prefixLength}`);
      } else if (type === nl.RTM_NEWROUTE || type === nl.RTM_DELROUTE) {
        const route = nl.readRoute(bytes, view, start, end);
        heard.push(`${type === nl.RTM_NEWROUTE ? "route" : "no route"} ${route?.destination}`);
      } else if (type === nl.RTM_NEWNEIGH || type === nl.RTM_DELNEIGH) {
        const word = type === nl.RTM_NEWNEIGH ? "" : "no ";
        const neighbour = nl.readNeighbour(bytes, view, start, end);
        const entry = nl.readFdbEntry(bytes, view, start, end);
        if (neighbour !== undefined) heard.push(`${word}neighbour ${neighbour.ip} ${neighbour.mac}`);
        if (entry !== undefined) heard.push(`${word}FDB ${entry.mac}`);
      }
    },
  });
  const script = `
    ip link add br0 type bridge
    ip link set br0 up
    ip address add 10.0.0.1/24 dev br0
    ip address add fd00::1/64 dev br0 nodad
    ip neighbour add 10.0.0.7 lladdr 02:00:00:00:00:07 dev br0
    ip neighbour add fd00::7 lladdr 02:00:00:00:00:07 dev br0
    ip route add 10.9.0.0/16 via 10.0.0.7
    ip route add fd09::/64 via fd00::7
    bridge fdb add 02:00:00:00:00:08 dev br0 self
    ip route del 10.9.0.0/16
    ip route del fd09::/64
    ip neighbour del 10.0.0.7 dev br0
    ip address del 10.0.0.1/24 dev br0
    ip link del br0`;
  for (const line of script.trim().split("\n")) host.shell(line);
  await eventually("the deletion of br0 is heard", () => heard.includes("no link br0"));
  for (const expected of [
    "link br0",
    "address 10.0.0.1/24",
    "address fd00::1/64",
    "neighbour 10.0.0.7 02:00:00:00:00:07",
    "neighbour fd00::7 02:00:00:00:00:07",
    "route 10.9.0.0/16",
    "route fd09::/64",
    "FDB 02:00:00:00:00:08",
    "no route 10.9.0.0/16",
    "no route fd09::/64",
    "no neighbour 10.0.0.7 undefined",
    "no address 10.0.0.1/24",
    "no link br0",
  ])
    assert.ok(heard.includes(expected), `${expected} is missing in\n${heard.join("\n")}`);
  assert.ok(!heard.includes("overrun"));
});

/** Puts what is told of neighbours and links, without what a control plane wrote, into `heard`. */
function listenFiltered(
  { namespace }: TestNamespace,
  heard: string[],
  describe: (message: nl.EventMessage) => string | undefined,
): nl.EventSocket {
  return new nl.EventSocket({
    namespace,
    groups: [nl.eventGroup.neighbour, nl.eventGroup.link],
    filter: nl.withoutNewNeighbours(nl.neighbourFlag.externallyLearned),
    onOverrun: () => heard.push("overrun"),
    onEvent: (message) => {
      const line = describe(message);
      if (line !== undefined) heard.push(line);
    },
  });
}

test("the filter keeps back new entries with the flag; deletions and other entries pass", async () => {
  using host = testNamespace("host");
  host.shell("ip link add br0 type bridge; ip link set br0 up");
  using socket = new nl.NetlinkSocket({ namespace: host.namespace });
  const { index } = await socket.get(nl.getLink({ name: "br0" }));
  const heard: string[] = [];
  using _events = listenFiltered(host, heard, ({ type, bytes, view, start, end }) => {
    if (type === nl.RTM_NEWLINK) return "link";
    const entry = nl.readNeighbour(bytes, view, start, end);
    return entry === undefined ? undefined : `${type} ${entry.ip} ${entry.state}`;
  });
  const entry = (last: number, flags: number): nl.Neighbour => ({
    index,
    ip: ip(`10.0.0.${last}`),
    mac: mac("02:00:00:00:00:01"),
    state: nl.neighbourState.permanent,
    flags,
  });
  const flagged = entry(1, nl.neighbourFlag.externallyLearned);
  const both = entry(2, nl.neighbourFlag.externallyLearned | nl.neighbourFlag.router);
  await socket.batch([
    nl.replaceNeighbour(flagged),
    nl.replaceNeighbour(both),
    nl.replaceNeighbour(entry(3, 0)),
    nl.deleteNeighbour(index, flagged.ip),
    nl.changeLink({ index }, { up: false }),
  ]);
  await eventually("the link's change is heard", () => heard.includes("link"));
  const neighbours = heard.filter((line) => line.includes("10.0.0."));
  const { permanent, failed } = nl.neighbourState;
  // An entry that is deleted loses the flag and fails first.
  assert.deepEqual(neighbours.slice(0, 3), [
    `${nl.RTM_NEWNEIGH} 10.0.0.3 ${permanent}`,
    `${nl.RTM_NEWNEIGH} 10.0.0.1 ${failed}`,
    `${nl.RTM_DELNEIGH} 10.0.0.1 ${failed}`,
  ]);
});

test("the filter keeps back what kernels say of a tunnel's own entries; what others write and delete passes, once", async () => {
  using host = testNamespace("host");
  host.shell("ip link add vx1 type vxlan id 1 dstport 4789; ip link set vx1 up");
  using socket = new nl.NetlinkSocket({ namespace: host.namespace });
  const { index } = await socket.get(nl.getLink({ name: "vx1" }));
  const heard: string[] = [];
  using _events = listenFiltered(host, heard, ({ type, bytes, view, start, end }) => {
    if (type === nl.RTM_NEWLINK) return "link";
    const entry = nl.readFdbEntry(bytes, view, start, end);
    return entry === undefined ? undefined : `${type} ${entry.mac} ${entry.vtep}`;
  });
  const entry = (last: number, flags: number): nl.FdbEntry => ({
    index,
    mac: mac(`02:00:00:00:00:0${last}`),
    vtep: ip(`192.0.2.${last}`),
    state: nl.neighbourState.permanent,
    flags: nl.neighbourFlag.self | flags,
  });
  const ours = entry(1, nl.neighbourFlag.externallyLearned);
  await socket.batch([
    nl.replaceFdbEntry(ours),
    nl.replaceFdbEntry({ ...ours, vtep: ip("192.0.2.9") }),
    nl.replaceFdbEntry(entry(2, 0)),
    nl.deleteFdbEntry(entry(2, 0)),
    nl.changeLink({ index }, { up: false }),
  ]);
  await eventually("the link's change is heard", () => heard.includes("link"));
  assert.deepEqual(heard.slice(0, heard.indexOf("link")), [
    `${nl.RTM_NEWNEIGH} 02:00:00:00:00:02 192.0.2.2`,
    `${nl.RTM_DELNEIGH} 02:00:00:00:00:02 192.0.2.2`,
  ]);
});

test("a receive buffer that is too small for a storm gives an overrun, then silence, then events again", async () => {
  using host = testNamespace("host");
  host.shell("ip link add br0 type bridge; ip link set br0 up");
  using socket = new nl.NetlinkSocket({ namespace: host.namespace });
  const { index } = await socket.get(nl.getLink({ name: "br0" }));
  let events = 0;
  let overruns = 0;
  using _events = new nl.EventSocket({
    namespace: host.namespace,
    groups: [nl.eventGroup.neighbour, nl.eventGroup.ipv4Route],
    receiveBuffer: 4096,
    onOverrun: () => overruns++,
    onEvent: () => events++,
  });
  const count = 20_000;
  await socket.batch(
    Array.from({ length: count }, (_, number) =>
      nl.replaceFdbEntry({
        index,
        mac: `02:00:00:00:${(number >> 8).toString(16).padStart(2, "0")}:${(number & 255).toString(16).padStart(2, "0")}` as MacAddress,
        state: nl.neighbourState.permanent,
        flags: nl.neighbourFlag.self,
      }),
    ),
  );
  await eventually("the overrun is heard", () => overruns > 0);
  assert.ok(events + overruns < count, `${events} events and ${overruns} overruns: nothing was lost`);
  // What is queued still is read in the next turns of the event loop.
  for (let turn = 0; turn < 100; turn++) await nextTurn();
  const [eventsBefore, overrunsBefore] = [events, overruns];
  // No spin: while nothing happens the event loop waits. One that spins never does, however busy the machine is.
  const before = performance.eventLoopUtilization();
  await sleep(300);
  const { utilization } = performance.eventLoopUtilization(before);
  assert.deepEqual([events, overruns], [eventsBefore, overrunsBefore]);
  assert.ok(utilization < 0.5, `the event loop was at work for ${Math.round(utilization * 100)} % of the silence`);
  await socket.execute(
    nl.replaceRoute({ destination: cidr("10.0.0.0/8"), protocol: 4, type: nl.routeType.blackhole, nexthops: [] }),
  );
  await eventually("an event after the storm is heard", () => events > eventsBefore);
});
