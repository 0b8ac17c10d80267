import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ManualClock } from "../base/clock.ts";
import { milliseconds, minutes, seconds } from "../base/duration.ts";
import { type IpAddress, ip } from "../base/ip.ts";
import { type MacAddress, mac } from "../base/mac.ts";
import { decodeFrame, verifyChecksums } from "../wire/index.ts";
import { Announcements } from "./announcements.ts";

const address = ip("10.0.0.9");
const [old, next, other] = [mac("02:00:00:00:00:01"), mac("02:00:00:00:00:02"), mac("02:00:00:00:00:03")];

/** Announcements of a node with two ports: index 7 of the endpoint with the MAC `next`, and index 8 of another. */
function setUp(openSender?: () => never) {
  const clock = new ManualClock();
  const owners = new Map<IpAddress, MacAddress>();
  const sent: { readonly port: number; readonly frame: Uint8Array }[] = [];
  const failures: string[] = [];
  const announcements = new Announcements({
    clock,
    openSender:
      openSender ?? (() => ({ send: (port, frame) => sent.push({ port, frame }), [Symbol.dispose]: () => {} })),
    ports: () => [
      { index: 7, mac: next },
      { index: 8, mac: other },
    ],
    macOf: (each) => owners.get(each),
    onFailure: ({ message }) => failures.push(message),
  });
  /** The address has this MAC now, and frames to it arrive. */
  const own = (owner: MacAddress, which = address): void => {
    owners.set(which, owner);
    announcements.programmed(which);
  };
  const leave = (former: MacAddress, which = address): void => {
    owners.delete(which);
    announcements.left([[which, former]]);
  };
  return { clock, owners, sent, failures, announcements, own, leave };
}

describe("an address with another MAC", () => {
  for (const target of [address, ip("fd00::9")])
    it(`is announced to all ports but its owner's, and once more after a second: ${target}`, () => {
      const { clock, sent, own, leave } = setUp();
      leave(old, target);
      own(next, target);
      clock.advance(milliseconds(1));
      assert.deepEqual(
        sent.map(({ port }) => port),
        [8],
      );
      clock.advance(milliseconds(990));
      assert.equal(sent.length, 1);
      clock.advance(minutes(20));
      assert.equal(sent.length, 2);
      const bytes = sent[0]?.frame ?? new Uint8Array();
      const frame = decodeFrame(bytes);
      assert.ok(verifyChecksums(bytes, frame.layers).every(({ status }) => status === "correct"));
      const { header } = frame.layers.at(-1) ?? {};
      if (target === address)
        assert.deepEqual(header, {
          operation: "reply",
          senderMac: next,
          senderIp: target,
          targetMac: next,
          targetIp: target,
        });
      else assert.match(JSON.stringify(header), /"override":true.*"fd00::9".*"02:00:00:00:00:02"/);
    });

  it("is announced when it comes back within ten minutes, and not after", () => {
    for (const [pause, frames] of [
      [minutes(9), 2],
      [minutes(11), 0],
    ] as const) {
      const { clock, sent, own, leave } = setUp();
      leave(old);
      clock.advance(pause);
      own(next);
      clock.advance(seconds(2));
      assert.equal(sent.length, frames);
    }
  });

  it("is not announced when it is new, when it has the MAC again that it had, and when it has lost it meanwhile", () => {
    const { clock, sent, own, leave, owners } = setUp();
    own(next);
    leave(next);
    own(next);
    leave(next);
    own(other);
    owners.set(address, old);
    clock.advance(minutes(1));
    assert.equal(sent.length, 0);
  });

  it("is announced with its last MAC after a change that was not programmed", () => {
    const { clock, sent, own, leave } = setUp();
    leave(old);
    leave(next);
    own(old);
    leave(old);
    own(next);
    clock.advance(minutes(1));
    assert.equal(sent.length, 2);
  });
});

it("100,000 changes at once: announces a bounded number, at a bounded pace", () => {
  const { clock, sent, own, leave } = setUp();
  const addresses = Array.from({ length: 100_000 }, (_, index) =>
    ip(`10.${index >> 16}.${(index >> 8) & 255}.${index & 255}`),
  );
  for (const each of addresses) leave(old, each);
  for (const each of addresses) own(next, each);
  clock.advance(milliseconds(99));
  assert.ok(sent.length <= 2_000, `${sent.length} frames within a tenth of a second`);
  clock.advance(minutes(1));
  assert.ok(sent.length > 0 && sent.length <= 2 * 4_096, `${sent.length} frames`);
});

it("tells that nothing can be sent, and sends nothing when it is closed", () => {
  const broken = setUp(() => {
    throw new Error("no descriptors left");
  });
  broken.leave(old);
  broken.own(next);
  broken.clock.advance(minutes(1));
  assert.deepEqual(broken.failures, ["no descriptors left"]);
  const { clock, sent, own, leave, announcements } = setUp();
  leave(old);
  own(next);
  announcements.close();
  clock.advance(minutes(1));
  assert.equal(sent.length, 0);
});
