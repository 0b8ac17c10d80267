import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { cidr } from "../../base/cidr.ts";
import { ip } from "../../base/ip.ts";
import { type Route, routeType } from "../../netlink/index.ts";
import { routeMetric } from "../kernel-names.ts";
import { type HostRoutePlan, planHostRoutes } from "./host-routes.ts";
import type { UplinkRequest } from "./request.ts";

const identity = { instance: "weft", tenant: "blue" };
const addresses = {
  4: { host: ip("169.254.9.2"), tenant: ip("169.254.9.3") },
  6: { host: ip("fd77::2"), tenant: ip("fd77::3") },
};
const names = new Map([
  [1, "lo"],
  [2, "eth0"],
  [3, "docker0"],
  [9, "up000000000000"],
]);
const nothing: UplinkRequest = {
  hostAccess: [],
  egress: [],
  egressBlocked: [],
  direct: [],
  directInward: [],
  floating: [],
  published: [],
};

/** As `ip route` would say it: `10.0.0.0/24 via 192.0.2.1 dev eth0`. */
function route(text: string, more: Partial<Route> = {}): Route {
  const [, destination = "", , gateway, , device = ""] =
    /^(\S+)( via (\S+))?( dev (\S+))?$/.exec(text) ?? assert.fail(text);
  const index = [...names].find(([, name]) => name === device)?.[0];
  return {
    destination: cidr(destination),
    table: 254,
    protocol: 2,
    type: routeType.unicast,
    nexthops: index === undefined ? [] : [{ index, ...(gateway === undefined ? {} : { gateway: ip(gateway) }) }],
    ...more,
  };
}

const own = (text: string): Route => route(text, { protocol: 119, priority: routeMetric(identity) });

/** The host's own, before any uplink. */
const host = [
  route("0.0.0.0/0 via 192.0.2.254 dev eth0"),
  route("192.0.2.0/24 dev eth0"),
  route("192.0.2.1/32 dev eth0", { table: 255, type: routeType.local }),
  route("2001:db8::/64 dev eth0"),
  route("172.17.0.0/16 dev docker0"),
];

function plan(request: Partial<UplinkRequest>, routes: readonly Route[] = host): HostRoutePlan {
  const nameOf = (index: number): string => names.get(index) ?? "?";
  return planHostRoutes({ identity, request: { ...nothing, ...request }, device: 9, addresses, routes, nameOf });
}

function textOf({ destination, nexthops: [nexthop] }: Route): string {
  return `${destination} via ${nexthop?.gateway} dev ${names.get(nexthop?.index ?? 0)}`;
}

const access = (prefix: string): Partial<UplinkRequest> => ({
  hostAccess: [{ prefix: cidr(prefix), source: ip(prefix.includes(":") ? "fd00::1" : "10.0.0.1") }],
});
const direct = (prefix: string, vtep: string): Partial<UplinkRequest> => ({
  direct: [{ prefix: cidr(prefix), vtep: ip(vtep) }],
});

describe("routes of an uplink on the host", () => {
  it("lead to the tenant, and to other nodes", () => {
    const { missing, surplus, refusals } = plan({
      ...access("10.0.0.0/16"),
      directInward: [cidr("10.0.1.0/24"), cidr("fd00:1::/64")],
      direct: [
        { prefix: cidr("10.0.2.0/24"), vtep: ip("192.0.2.2") },
        { prefix: cidr("10.0.3.0/24"), vtep: ip("2001:db8::3") },
        { prefix: cidr("fd00:2::/64"), vtep: ip("2001:db8::2") },
      ],
    });
    assert.deepEqual(missing.map(textOf), [
      "10.0.0.0/16 via 169.254.9.3 dev up000000000000",
      "10.0.1.0/24 via 169.254.9.3 dev up000000000000",
      "fd00:1::/64 via fd77::3 dev up000000000000",
      "10.0.2.0/24 via 192.0.2.2 dev eth0",
      "10.0.3.0/24 via 2001:db8::3 dev eth0",
      "fd00:2::/64 via 2001:db8::2 dev eth0",
    ]);
    assert.deepEqual([surplus, refusals], [[], []]);
  });

  it("are not written where they are, and go where nobody wants them", () => {
    const there = [
      ...host,
      own("10.0.0.0/24 via 169.254.9.3 dev up000000000000"),
      own("10.0.2.0/24 via 192.0.2.77 dev eth0"),
      own("10.0.5.0/24 via 192.0.2.5 dev eth0"),
    ];
    const { missing, surplus } = plan({ ...access("10.0.0.0/24"), ...direct("10.0.2.0/24", "192.0.2.2") }, there);
    assert.deepEqual(missing.map(textOf), ["10.0.2.0/24 via 192.0.2.2 dev eth0"]);
    assert.deepEqual(surplus.map(textOf), ["10.0.5.0/24 via 192.0.2.5 dev eth0"]);
  });

  it("of another uplink are none of these", () => {
    const other = route("10.0.5.0/24 via 192.0.2.5 dev eth0", { protocol: 119, priority: routeMetric(identity) + 1 });
    assert.deepEqual(plan(access("10.0.0.0/24"), [...host, other]).surplus, []);
    assert.match(plan(direct("10.0.5.0/24", "192.0.2.2"), [...host, other]).refusals[0]?.message ?? "", /on eth0$/);
  });

  for (const [what, there, prefix, message] of [
    ["an equal network", "10.0.0.0/24 dev docker0", "10.0.0.0/24", "the host routes 10.0.0.0/24 on docker0"],
    ["a narrower network", "10.0.0.64/26 dev docker0", "10.0.0.0/24", "the host routes 10.0.0.64/26 on docker0"],
    ["a wider network", "10.0.0.0/8 via 192.0.2.9 dev eth0", "10.0.0.0/24", "the host routes 10.0.0.0/8 on eth0"],
    ["the network of the underlay", "10.9.0.0/24 dev eth0", "192.0.2.0/24", "the host routes 192.0.2.0/24 on eth0"],
    ["an IPv6 network", "fd00::/48 dev docker0", "fd00:0:0:1::/64", "the host routes fd00::/48 on docker0"],
    ["nothing that overlaps", "10.0.1.0/24 dev docker0", "10.0.0.0/24", undefined],
    ["all by default", "0.0.0.0/0 dev docker0", "10.0.0.0/24", undefined],
    ["all by two halves", "0.0.0.0/1 dev docker0", "10.0.0.0/24", undefined],
  ] as const)
    it(`are ${message === undefined ? "possible" : "refused"} beside a host's route to ${what}`, () => {
      const { missing, refusals } = plan(access(prefix), [...host, route(there)]);
      const expected = message === undefined ? [] : [`route ${prefix} to tenant blue: ${message}`];
      assert.deepEqual(
        refusals.map((error) => error.message),
        expected,
      );
      assert.equal(missing.length, 1 - expected.length);
    });

  it("are possible within a wide route to nowhere, and not in place of one", () => {
    const blackhole = { type: routeType.blackhole };
    assert.deepEqual(plan(access("10.0.0.0/24"), [...host, route("10.0.0.0/8", blackhole)]).refusals, []);
    assert.equal(plan(access("10.0.0.0/24"), [...host, route("10.0.0.0/24", blackhole)]).refusals.length, 1);
  });

  it("do not hide an address of the host", () => {
    const address = route("10.0.0.5/32 dev lo", { table: 255, type: routeType.local });
    assert.match(
      plan(access("10.0.0.0/24"), [...host, address]).refusals[0]?.message ?? "",
      /has the address 10\.0\.0\.5\/32 on lo/,
    );
  });

  for (const [vtep, message] of [
    ["198.51.100.1", /VTEP 198\.51\.100\.1 is not on a link of this node/],
    ["2001:db8:1::1", /VTEP 2001:db8:1::1 is not on a link of this node/],
  ] as const)
    it(`to VTEP ${vtep} behind a router, or nowhere, are refused`, () => {
      const { refusals, missing } = plan(direct("10.0.2.0/24", vtep));
      assert.match(refusals[0]?.message ?? "", message);
      assert.match(refusals[0]?.hint ?? "", /crossSubnet/);
      assert.deepEqual(missing, []);
    });

  it("follow the narrowest route to a VTEP", () => {
    const routed = route("192.0.2.64/26 via 192.0.2.254 dev eth0");
    assert.equal(plan(direct("10.0.2.0/24", "192.0.2.70"), [...host, routed]).refusals.length, 1);
    assert.equal(plan(direct("10.0.2.0/24", "192.0.2.7"), [...host, routed]).refusals.length, 0);
  });
});
