import assert from "node:assert/strict";
import { it } from "node:test";
import { ip } from "../../base/ip.ts";
import type { Vni } from "../../model/index.ts";
import type { Arrival } from "./correspondence.ts";
import { type Journey, judgeJourney } from "./judge.ts";

const count = 100;
const all = Array.from({ length: count }, (_, sequence) => sequence);

function arrived(sequences: readonly number[], change: Partial<Arrival> = {}): Arrival[] {
  return sequences.map((sequence) => ({ sequence, delay: 100, isChanged: false, ...change }));
}

function journey(changes: {
  readonly left?: readonly number[];
  readonly atInterface?: readonly Arrival[];
  readonly atTunnel?: readonly Arrival[];
  readonly missed?: number;
  readonly refusals?: Journey["departures"]["refusals"];
}): Journey {
  const { left = all, atInterface = arrived(all), atTunnel = atInterface, missed = 0, refusals = [] } = changes;
  return {
    sender: "h1",
    receiver: "h2",
    network: "web",
    innerMtu: 1450,
    way: { encapsulation: "vxlan", port: 4789, vni: 100 as Vni, from: ip("192.0.2.1"), to: ip("192.0.2.2") },
    sizes: all.map(() => 150),
    departures: { sequences: left, refusals },
    arrivals: { atInterface, atTunnel, missed },
  };
}

const codes = (of: Journey): string[] => judgeJourney(of).map(({ code }) => code);
const causeOf = (of: Journey): string => judgeJourney(of)[0]?.cause ?? "";

it("all that arrive as they were sent are none of anybody's business", () => {
  assert.deepEqual(codes(journey({})), []);
});

it("where packets vanish is told by the last place that saw them", () => {
  const none: readonly number[] = [];
  const stopped = { atInterface: [], atTunnel: [] };
  assert.match(causeOf(journey({ ...stopped, left: none })), /do not leave node h1: its firewall drops them/);
  const refused = { sequence: 0, error: "EPERM", by: "", mtu: 0 };
  assert.match(
    causeOf(journey({ ...stopped, left: none, refusals: [refused] })),
    /refuses to send them: EPERM: its firewall/,
  );
  const unreachable = { ...refused, error: "ENETUNREACH" };
  assert.match(
    causeOf(journey({ ...stopped, left: none, refusals: [unreachable] })),
    /ENETUNREACH: it has no way there/,
  );
  assert.match(
    causeOf(journey(stopped)),
    /leave node h1 and do not reach node h2: something between the two drops vxlan \(UDP port 4789\)/,
  );
  const byRouter = { ...refused, error: "EHOSTUNREACH", by: "198.51.100.1" };
  assert.match(causeOf(journey({ ...stopped, refusals: [byRouter] })), /198\.51\.100\.1 refuses them: EHOSTUNREACH/);
  assert.match(causeOf(journey({ atTunnel: [] })), /reach node h2, whose firewall, reverse path filter or tunnel/);
  const nobody = { ...refused, error: "ECONNREFUSED", by: "192.0.2.2" };
  assert.match(
    causeOf(journey({ atTunnel: [], refusals: [nobody] })),
    /reach node h2, which has no tunnel that takes them/,
  );
  for (const each of [journey(stopped), journey({ atTunnel: [] })]) assert.deepEqual(codes(each), ["path-blocked"]);
});

it("one in a hundred lost is none yet, two are; not if the watching itself had no room for them", () => {
  assert.deepEqual(codes(journey({ atInterface: arrived(all.slice(1)) })), []);
  assert.deepEqual(codes(journey({ atInterface: arrived(all.slice(2)) })), ["path-loss"]);
  assert.deepEqual(codes(journey({ atInterface: arrived(all.slice(2)), missed: 2 })), []);
  assert.deepEqual(codes(journey({ atTunnel: arrived(all.slice(5)) })), ["path-loss"]);
});

it("packets that overtake others are told from packets that are lost", () => {
  const swapped = all.map((sequence) =>
    sequence % 10 === 3 ? sequence + 1 : sequence % 10 === 4 ? sequence - 1 : sequence,
  );
  assert.deepEqual(codes(journey({ atInterface: arrived(swapped) })), ["path-reordering"]);
  assert.deepEqual(codes(journey({ atInterface: arrived(all.filter((sequence) => sequence % 10 !== 3)) })), [
    "path-loss",
  ]);
});

it("changed octets are told as such, and not as the loss that they cause", () => {
  const some = [...arrived(all.slice(10)), ...arrived(all.slice(0, 10), { isChanged: true })];
  const ordered = some.toSorted((a, b) => a.sequence - b.sequence);
  assert.deepEqual(codes(journey({ atInterface: ordered, atTunnel: arrived(all.slice(10)) })), ["path-corrupts"]);
});
