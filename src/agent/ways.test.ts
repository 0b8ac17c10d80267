import assert from "node:assert/strict";
import { it } from "node:test";
import type { NetworkState } from "../api/convert.ts";
import { unwrap } from "../base/result.ts";
import { beginChange, nextPhase } from "../model/phase.ts";
import type { Network } from "../model/resources.ts";
import { parseNetwork } from "../model/schema.ts";
import { wayEvent } from "./way-events.ts";
import { waysNow, wayText } from "./ways.ts";

function network(fields: Record<string, unknown>): Network {
  return unwrap(parseNetwork({ name: "blue", tenant: "acme", vni: 5000, subnets: ["10.0.0.0/16"], ...fields }));
}

/** `vxlan:4789 (geneve:6081) 1450`: sent by the first, received on the ones in brackets, too. */
function brief(state: NetworkState): string {
  const { way, standby, mtu, deviceMtu } = waysNow(state);
  return `${wayText(way)} (${standby.map(wayText).join(" ")}) ${mtu}${deviceMtu === undefined ? "" : ` of ${deviceMtu}`}`;
}

it("a network travels as it is told, and in a change as the phase says", () => {
  const before = network({ mode: "l3", encapsulation: "gre" });
  const after = network({ mode: "l3", encapsulation: "vxlan", crossSubnet: true });
  assert.equal(brief({ network: before, effectiveMtu: 1472, placement: "own" }), "gre () 1472");
  const change = beginChange({ ...before, mtu: 1472 }, undefined, { ...after, mtu: 1450 }, { mtu: 1472, now: 0 });
  assert.ok(change !== undefined);
  assert.equal(
    brief({ network: after, effectiveMtu: 1450, placement: "own", change }),
    "gre (vxlan:4789 or direct) 1450 of 1472",
  );
  const send = nextPhase(change, 1, []);
  assert.equal(
    brief({ network: after, effectiveMtu: 1450, placement: "own", change: send }),
    "vxlan:4789 or direct (gre) 1450 of 1472",
  );
  assert.equal(brief({ network: after, effectiveMtu: 1450, placement: "own" }), "vxlan:4789 or direct () 1450");
});

it("an event of each phase, and of the end, names whom those before left behind", () => {
  const before = { network: network({ mtu: 1400 }), effectiveMtu: 1400, placement: "own" } as const;
  const after = { network: network({ encapsulation: "geneve" }), effectiveMtu: 1450, placement: "own" } as const;
  const change = beginChange(
    { ...before.network, mtu: 1400 },
    undefined,
    { ...after.network, mtu: 1450 },
    { mtu: 1400, now: 0 },
  );
  assert.ok(change !== undefined);
  const send = { ...after, change: nextPhase(change, 1, ["h2"]) };
  const said = [wayEvent(before, { ...after, effectiveMtu: 1400, change }), wayEvent({ ...after, change }, send)];
  said.push(wayEvent(send, { ...after, leftBehind: ["h2", "h3"] }), wayEvent(send, after));
  assert.deepEqual(
    said.map((event) => `${event?.level}: ${event?.message}`),
    [
      "info: sends on vxlan:4789, receives on geneve:6081, too; packets of 1400 octets at most, lets 1450 pass",
      "warning: sends on geneve:6081, receives on vxlan:4789, too; packets of 1450 octets at most; left behind: h2",
      "warning: sends on geneve:6081; packets of 1450 octets at most; left behind: h2, h3",
      "info: sends on geneve:6081; packets of 1450 octets at most",
    ],
  );
  assert.equal(wayEvent(after, { ...after, leftBehind: ["h2"] }), undefined);
});

it("direct is in no tunnel", () => {
  assert.equal(
    brief({ network: network({ mode: "l3", encapsulation: "direct" }), effectiveMtu: 1500, placement: "own" }),
    "direct () 1500",
  );
});
