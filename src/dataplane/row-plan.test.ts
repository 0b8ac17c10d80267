import assert from "node:assert/strict";
import { it } from "node:test";
import fc from "fast-check";
import { type IpAddress, ip } from "../base/ip.ts";
import { type MacAddress, mac } from "../base/mac.ts";
import { type FdbEntry, type Neighbour, neighbourFlag, neighbourState } from "../netlink/index.ts";
import { type DesiredRows, RowComparison, type RowPlan } from "./row-plan.ts";

const bridge = 3;
const tunnel = 4;
const vteps = [ip("192.0.2.2"), ip("192.0.2.3")];
const macOf = (number: number): MacAddress => mac(`02:00:00:00:00:${number.toString(16).padStart(2, "0")}`);
const ipOf = (number: number): IpAddress => ip(`10.0.0.${number}`);
const groupOf = (vtep: IpAddress): number => 100 + vteps.indexOf(vtep);

/** Number of an endpoint → number of its VTEP. */
type Placement = ReadonlyMap<number, number>;

function desiredRows(placement: Placement, localMacs: readonly MacAddress[] = []): DesiredRows {
  const endpoints = [...placement].map(([number, vtep]) => ({
    number,
    mac: macOf(number),
    vtep: vteps[vtep] as IpAddress,
  }));
  return {
    bridge,
    sharedTunnel: tunnel,
    isTunnel: (index) => index === tunnel,
    tunnelTowards: () => tunnel,
    localMacs: new Set(localMacs),
    remotesByMac: new Map(endpoints.map((endpoint) => [endpoint.mac, endpoint])),
    remotesByIp: new Map(endpoints.map((endpoint) => [ipOf(endpoint.number), endpoint])),
    localsByIp: new Map(),
    groupOf,
  };
}

const own = neighbourFlag.externallyLearned;
function fdbOf(placement: Placement): FdbEntry[] {
  return [...placement].flatMap(([number, vtep]) => [
    {
      index: tunnel,
      mac: macOf(number),
      state: neighbourState.permanent,
      flags: own,
      nexthop: groupOf(vteps[vtep] as IpAddress),
    },
    { index: tunnel, mac: macOf(number), state: neighbourState.reachable, flags: own, master: bridge },
  ]);
}
function neighboursOf(placement: Placement): Neighbour[] {
  return [...placement.keys()].map((number) => ({
    index: bridge,
    ip: ipOf(number),
    mac: macOf(number),
    state: neighbourState.permanent,
    flags: own,
  }));
}

function plan(desired: DesiredRows, fdb: readonly FdbEntry[], neighbours: readonly Neighbour[]): RowPlan {
  const comparison = new RowComparison(desired);
  for (const entry of fdb) comparison.observeFdb(entry);
  for (const entry of neighbours) comparison.observeNeighbour(entry);
  return comparison.plan();
}

const empty: RowPlan = { macs: [], ips: [], surplusFdb: [], surplusNeighbours: [] };
const placements = fc
  .array(fc.tuple(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 0, max: 1 })), { maxLength: 30 })
  .map((pairs): Placement => new Map(pairs));

it("equal tables give an empty plan", () => {
  fc.assert(
    fc.property(placements, (placement) => {
      assert.deepEqual(plan(desiredRows(placement), fdbOf(placement), neighboursOf(placement)), empty);
    }),
  );
});

it("carrying out the plan makes the tables equal", () => {
  fc.assert(
    fc.property(placements, placements, (desired, observed) => {
      const steps = plan(desiredRows(desired), fdbOf(observed), neighboursOf(observed));
      const written: Placement = new Map([...desired].filter(([number]) => steps.macs.includes(macOf(number))));
      const isKept = (entry: FdbEntry): boolean =>
        !steps.macs.includes(entry.mac) && !steps.surplusFdb.some((gone) => gone.mac === entry.mac);
      const fdb = [...fdbOf(observed).filter(isKept), ...fdbOf(written)];
      const known: Placement = new Map([...desired].filter(([number]) => steps.ips.includes(ipOf(number))));
      const neighbours = [
        ...neighboursOf(observed).filter((entry) => !steps.surplusNeighbours.some((gone) => gone.ip === entry.ip)),
        ...neighboursOf(known),
      ];
      assert.deepEqual(plan(desiredRows(desired), fdb, neighbours), empty);
      assert.deepEqual(new Set(fdb.map((entry) => entry.mac)), new Set([...desired.keys()].map(macOf)));
    }),
  );
});

it("writes a row that one of the two tables lacks, or that leads to another VTEP", () => {
  const desired = desiredRows(new Map([[1, 0]]));
  const [inTunnel, inBridge] = fdbOf(new Map([[1, 0]])) as [FdbEntry, FdbEntry];
  const neighbours = neighboursOf(new Map([[1, 0]]));
  assert.deepEqual(plan(desired, [inTunnel], neighbours).macs, [macOf(1)]);
  assert.deepEqual(plan(desired, [inBridge], neighbours).macs, [macOf(1)]);
  assert.deepEqual(plan(desired, [{ ...inTunnel, nexthop: 101 }, inBridge], neighbours).macs, [macOf(1)]);
  assert.deepEqual(plan(desired, [inTunnel, inBridge], []).ips, [ipOf(1)]);
});

it("leaves alone what does not carry the mark, and what belongs to another device", () => {
  const foreign = fdbOf(new Map([[7, 0]])).map((entry) => ({ ...entry, flags: 0 }));
  const elsewhere = fdbOf(new Map([[8, 0]])).map((entry) => ({ ...entry, index: 99 }));
  const neighbours = neighboursOf(new Map([[7, 0]])).map((entry) => ({ ...entry, flags: 0 }));
  assert.deepEqual(plan(desiredRows(new Map()), [...foreign, ...elsewhere], neighbours), empty);
});

it("takes away the tunnel's entry of a MAC that has come here, and not the bridge's, which the port takes over", () => {
  const { surplusFdb } = plan(desiredRows(new Map(), [macOf(1)]), fdbOf(new Map([[1, 0]])), []);
  assert.deepEqual(
    surplusFdb.map(({ mac: address, flags }) => [address, flags]),
    [[macOf(1), neighbourFlag.self]],
  );
});
