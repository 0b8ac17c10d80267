import assert from "node:assert/strict";
import { it } from "node:test";
import { beginChange, type NetworkChange, nextPhase, type WayFields, waysInPhase } from "./phase.ts";

const vxlan: WayFields = { encapsulation: "vxlan", port: 4789, crossSubnet: false };
const otherPort: WayFields = { encapsulation: "vxlan", port: 8472, crossSubnet: false };
const geneve: WayFields = { encapsulation: "geneve", port: 6081, crossSubnet: false };
const crossing: WayFields = { ...geneve, crossSubnet: true };

const at = { mtu: 1450, now: 1_000 };

function begun(before: WayFields, after: WayFields, underWay?: NetworkChange): NetworkChange {
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
