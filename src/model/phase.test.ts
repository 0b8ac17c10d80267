import assert from "node:assert/strict";
import { it } from "node:test";
import {
  beginChange,
  isSameWay,
  mtusInPhase,
  type NetworkChange,
  nextPhase,
  type WayFields,
  waysInPhase,
} from "./phase.ts";

type SizedWay = Parameters<typeof beginChange>[0];

const vxlan: SizedWay = { encapsulation: "vxlan", port: 4789, crossSubnet: false, mtu: 1450 };
const otherPort: SizedWay = { encapsulation: "vxlan", port: 8472, crossSubnet: false, mtu: 1450 };
const geneve: SizedWay = { encapsulation: "geneve", port: 6081, crossSubnet: false, mtu: 1450 };
const crossing: SizedWay = { ...geneve, crossSubnet: true };
const gre: SizedWay = { encapsulation: "gre", port: 0, crossSubnet: false, mtu: 1472 };

const at = { mtu: 1450, now: 1_000 };

function begun(before: SizedWay, after: SizedWay, underWay?: NetworkChange): NetworkChange {
  const change = beginChange(before, underWay, after, at);
  assert.ok(change !== undefined);
  return change;
}

function sending(change: NetworkChange): NetworkChange {
  const next = nextPhase(change, 2_000, []);
  assert.ok(next !== undefined);
  return next;
}

/** `vxlan:4789 (geneve:6081)`: sent on the first, received on those in brackets, too. */
function brief(wanted: WayFields, change?: NetworkChange): string {
  const text = ({ encapsulation, port, crossSubnet }: WayFields) => `${encapsulation}:${port}${crossSubnet ? "+" : ""}`;
  const { sent, standby } = waysInPhase(wanted, change);
  return `${text(sent)} (${standby.map(text).join(" ")})`;
}

it("without a change packets travel as the network says", () => {
  assert.equal(brief(vxlan), "vxlan:4789 ()");
  assert.equal(beginChange(vxlan, undefined, { ...vxlan }, at), undefined);
});

it("the new way is received on first, then sent on, and the old one ended last", () => {
  const change = begun(vxlan, geneve);
  assert.equal(brief(geneve, change), "vxlan:4789 (geneve:6081)");
  assert.equal(brief(geneve, sending(change)), "geneve:6081 (vxlan:4789)");
  assert.equal(nextPhase(sending(change), 3_000, []), undefined);
});

it("a change of whether nodes of a link go without a tunnel is one of the way", () => {
  const change = begun(geneve, crossing);
  assert.equal(brief(crossing, change), "geneve:6081 (geneve:6081+)");
  assert.equal(brief(crossing, sending(change)), "geneve:6081+ (geneve:6081)");
});

it("another change on the way leaves every way open that anybody may send on", () => {
  const first = begun(vxlan, geneve);
  const early = begun(geneve, otherPort, first);
  assert.equal(brief(otherPort, early), "vxlan:4789 (vxlan:8472 geneve:6081)");
  assert.equal(brief(otherPort, sending(early)), "vxlan:8472 (vxlan:4789 geneve:6081)");
  const late = begun(geneve, otherPort, sending(first));
  assert.equal(brief(otherPort, late), "geneve:6081 (vxlan:8472 vxlan:4789)");
});

it("back again: what nobody else may send on is not waited for, what somebody may is", () => {
  const first = begun(vxlan, geneve);
  const early = begun(geneve, vxlan, first);
  assert.equal(brief(vxlan, early), "vxlan:4789 (geneve:6081)");
  const late = begun(geneve, vxlan, sending(first));
  assert.equal(brief(vxlan, late), "geneve:6081 (vxlan:4789)");
});

it("remembers who was left behind, a dozen at most", () => {
  const names = Array.from({ length: 20 }, (_, index) => `h${index}`);
  const change = nextPhase(begun(vxlan, geneve), 2_000, names);
  assert.deepEqual(change?.leftBehind, names.slice(0, 12));
  assert.deepEqual(begun(geneve, otherPort, change).leftBehind, names.slice(0, 12));
  assert.equal(change?.since, 2_000);
});

it("a change of another field keeps the phase", () => {
  const change = begun(vxlan, geneve);
  assert.equal(beginChange(geneve, change, { ...geneve }, at), change);
});

/** Octets that a way carries, whatever the network asks for. */
const carriedBy = (way: WayFields): number => (way.encapsulation === "gre" ? 1472 : 1450);

/** `1300 of 1400`: endpoints send 1300, devices let 1400 pass. */
function sizes({ mtu: wanted }: SizedWay, change?: NetworkChange): string {
  const { mtu, deviceMtu } = mtusInPhase(wanted, change, (way) => Math.min(carriedBy(way), wanted));
  return `${mtu} of ${deviceMtu}`;
}

it("a larger MTU passes devices first, and is sent then", () => {
  const large = { ...vxlan, mtu: 1400 };
  const change = beginChange({ ...vxlan, mtu: 1300 }, undefined, large, { mtu: 1300, now: 1_000 });
  assert.equal(brief(large, change), "vxlan:4789 ()");
  assert.equal(sizes(large, change), "1300 of 1400");
  assert.equal(sizes(large, change && nextPhase(change, 2_000, [])), "1400 of 1400");
  assert.equal(sizes(large), "1400 of 1400");
});

it("a smaller MTU is sent first, and bounds devices last", () => {
  const small = { ...vxlan, mtu: 1300 };
  const change = begun(vxlan, small);
  assert.equal(sizes(small, change), "1300 of 1450");
  assert.equal(sizes(small, sending(change)), "1300 of 1450");
  assert.equal(sizes(small), "1300 of 1300");
});

it("what comes to be wanted meanwhile is sent no sooner than devices let it pass", () => {
  const change = beginChange({ ...vxlan, mtu: 1300 }, undefined, { ...vxlan, mtu: 1400 }, { mtu: 1300, now: 1_000 });
  assert.ok(change !== undefined);
  assert.equal(sizes(vxlan, change), "1300 of 1400");
  assert.equal(sizes(vxlan, sending(change)), "1400 of 1400");
});

it("what the new way carries more is sent once nobody sends on the old one", () => {
  const change = begun(vxlan, gre);
  assert.equal(sizes(gre, change), "1450 of 1472");
  assert.equal(sizes(gre, sending(change)), "1450 of 1472");
  assert.equal(sizes(gre), "1472 of 1472");
});

it("whatever follows upon what: devices let pass what anybody sends, and ways carry it", () => {
  const ways = [vxlan, otherPort, gre].flatMap((way) => [1300, 1400, way.mtu].map((mtu) => ({ ...way, mtu })));
  let seed = 1;
  const random = (below: number): number => {
    seed = (seed * 48_271) % 2_147_483_647;
    return seed % below;
  };
  for (let run = 0; run < 300; run++) {
    let wanted = vxlan;
    let change: NetworkChange | undefined;
    const now = () => ({
      ...mtusInPhase(wanted.mtu, change, (way) => Math.min(carriedBy(way), wanted.mtu)),
      ...waysInPhase(wanted, change),
    });
    /** What a node may be like: what it was told since all had something in place. */
    let possible = [now()];
    for (let step = 0; step < 30; step++) {
      if (random(3) > 0) {
        possible = possible.slice(-1);
        change = change && nextPhase(change, step, []);
      } else {
        const after = ways[random(ways.length)] ?? vxlan;
        change = beginChange(wanted, change, after, { mtu: now().mtu, now: step });
        wanted = after;
      }
      possible.push(now());
      for (const sender of possible)
        for (const receiver of possible) {
          const what = JSON.stringify({ run, step, sender, receiver });
          assert.ok(sender.mtu <= receiver.deviceMtu, what);
          assert.ok(sender.mtu <= carriedBy(receiver.sent), what);
          assert.ok(
            [receiver.sent, ...receiver.standby].some((way) => isSameWay(way, sender.sent)),
            what,
          );
        }
    }
  }
});
