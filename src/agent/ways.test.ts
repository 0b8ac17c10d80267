import assert from "node:assert/strict";
import { it } from "node:test";
import { ManualClock } from "../base/clock.ts";
import { seconds } from "../base/duration.ts";
import { type Way, type WayNow, Ways, wayText } from "./ways.ts";

const vxlan: Way = { transport: { encapsulation: "vxlan", port: 4789 }, isDirect: false };
const otherPort: Way = { transport: { encapsulation: "vxlan", port: 8472 }, isDirect: false };
const geneve: Way = { transport: { encapsulation: "geneve", port: 6081 }, isDirect: false };
const direct: Way = { isDirect: true };

function start() {
  const clock = new ManualClock();
  const steps: string[] = [];
  const ways = new Ways(clock, (network) => steps.push(network));
  return { clock, steps, ways };
}

/** `vxlan:4789 (geneve:6081) 1450`: sent by the first, received on the ones in brackets, too. */
function brief({ way, standby, mtu }: WayNow): string {
  return `${wayText(way)} (${standby.map(wayText).join(" ")}) ${mtu}`;
}

it("a network begins as it is wanted", () => {
  const { ways } = start();
  assert.equal(brief(ways.want("blue", vxlan, 1450)), "vxlan:4789 () 1450");
});

it("the new way is received on first, then sent on, and the old one ended last", () => {
  const { ways, clock, steps } = start();
  ways.want("blue", vxlan, 1450);
  assert.equal(brief(ways.want("blue", geneve, 1400)), "vxlan:4789 (geneve:6081) 1400");
  clock.advance(seconds(4.9));
  assert.equal(brief(ways.want("blue", geneve, 1400)), "vxlan:4789 (geneve:6081) 1400");
  clock.advance(seconds(0.1));
  assert.deepEqual(steps, ["blue"]);
  assert.equal(brief(ways.want("blue", geneve, 1400)), "geneve:6081 (vxlan:4789) 1400");
  clock.advance(seconds(5));
  assert.deepEqual(steps, ["blue", "blue"]);
  assert.equal(brief(ways.want("blue", geneve, 1400)), "geneve:6081 () 1400");
});

it("a larger MTU waits until the way that cannot carry it is gone; a smaller one does not wait", () => {
  const { ways, clock } = start();
  ways.want("blue", vxlan, 1450);
  assert.equal(brief(ways.want("blue", direct, 1500)), "vxlan:4789 (direct) 1450");
  assert.equal(brief(ways.want("blue", direct, 1300)), "vxlan:4789 (direct) 1300");
  assert.equal(brief(ways.want("blue", direct, 1500)), "vxlan:4789 (direct) 1300");
  clock.advance(seconds(5));
  assert.equal(brief(ways.want("blue", direct, 1500)), "direct (vxlan:4789) 1300");
  clock.advance(seconds(5));
  assert.equal(brief(ways.want("blue", direct, 1500)), "direct () 1500");
});

it("an MTU alone changes at once", () => {
  const { ways } = start();
  ways.want("blue", vxlan, 1450);
  assert.equal(brief(ways.want("blue", vxlan, 8950)), "vxlan:4789 () 8950");
});

it("a change of mind on the way leaves every way open that anybody may send on", () => {
  const { ways, clock } = start();
  ways.want("blue", vxlan, 1450);
  ways.want("blue", geneve, 1450);
  assert.equal(brief(ways.want("blue", otherPort, 1450)), "vxlan:4789 (vxlan:8472 geneve:6081) 1450");
  clock.advance(seconds(5));
  assert.equal(brief(ways.want("blue", otherPort, 1450)), "vxlan:8472 (vxlan:4789 geneve:6081) 1450");
  clock.advance(seconds(5));
  assert.equal(brief(ways.want("blue", otherPort, 1450)), "vxlan:8472 () 1450");
});

it("back again before anything was sent: still sent as before, and the other way ends", () => {
  const { ways, clock } = start();
  ways.want("blue", vxlan, 1450);
  ways.want("blue", geneve, 1450);
  assert.equal(brief(ways.want("blue", vxlan, 1450)), "vxlan:4789 (geneve:6081) 1450");
  clock.advance(seconds(10));
  assert.equal(brief(ways.want("blue", vxlan, 1450)), "vxlan:4789 () 1450");
});

it("a network that left does no step any more", () => {
  const { ways, clock, steps } = start();
  ways.want("blue", vxlan, 1450);
  ways.want("blue", geneve, 1450);
  ways.forget("blue");
  clock.advance(seconds(10));
  assert.deepEqual(steps, []);
});
