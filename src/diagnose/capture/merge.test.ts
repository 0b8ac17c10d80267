import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";
import { ManualClock } from "../../base/clock.ts";
import { milliseconds } from "../../base/duration.ts";
import { mergeByTime } from "./merge.ts";
import type { CapturedPacket, Place } from "./packet.ts";

const lag = milliseconds(100);
const place: Place = {
  ...{ node: "h1", kind: "port", namespace: "weft-blue", interface: "ve1", link: "ethernet", mtu: 1500 },
};

function packet(time: number, octets = 0): CapturedPacket {
  const bytes = new Uint8Array(octets);
  return { place, time: BigInt(time), direction: "in", bytes, originalLength: octets, isSegmented: false };
}

/** A source that a test fills, and how many batches were taken from it. */
class Source {
  readonly #waiting: (readonly CapturedPacket[])[] = [];
  #wake: () => void = () => {};
  #isEnded = false;
  #failure: Error | undefined;
  taken = 0;

  give(...times: readonly number[]): void {
    this.giveAll(times.map((time) => packet(time)));
  }

  giveAll(packets: readonly CapturedPacket[]): void {
    this.#waiting.push(packets);
    this.#wake();
  }

  end(failure?: Error): void {
    this.#isEnded = true;
    this.#failure = failure;
    this.#wake();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<readonly CapturedPacket[]> {
    for (;;) {
      const next = this.#waiting.shift();
      if (next !== undefined) {
        this.taken++;
        yield next;
      } else if (this.#failure !== undefined) throw this.#failure;
      else if (this.#isEnded) return;
      else await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }
}

/** What was merged so far, and turns of the event loop in which nothing but the merge has anything to do. */
function collect(sources: readonly Source[], clock: ManualClock) {
  const times: number[] = [];
  const ended = (async () => {
    for await (const packets of mergeByTime(sources, lag, clock))
      times.push(...packets.map(({ time }) => Number(time)));
  })();
  const turns = async (): Promise<void> => {
    for (let turn = 0; turn < 20; turn++) await nextTurn();
  };
  return { times, ended, turns };
}

describe("packets of several sources", () => {
  test("come in the order of their times, once the others had time to tell of older ones", async () => {
    const clock = new ManualClock();
    const [a, b] = [new Source(), new Source()];
    const { times, ended, turns } = collect([a, b], clock);
    a.give(10, 30);
    await turns();
    clock.advance(milliseconds(60));
    b.give(20, 40);
    await turns();
    assert.deepEqual(times, []);
    clock.advance(milliseconds(40));
    await turns();
    assert.deepEqual(times, [10, 20, 30], "the first has waited long enough, and what is older comes with it");
    clock.advance(milliseconds(60));
    await turns();
    assert.deepEqual(times, [10, 20, 30, 40]);
    b.give(5);
    clock.advance(lag);
    await turns();
    clock.advance(lag);
    await turns();
    assert.deepEqual(times.at(-1), 5, "what comes too late is not lost");
    a.give(60);
    b.give(50);
    a.end();
    b.end();
    await ended;
    assert.deepEqual(times.slice(-2), [50, 60], "at the end nothing waits");
  });

  test("a source whose clock is behind holds nothing back", async () => {
    const clock = new ManualClock();
    const [right, behind] = [new Source(), new Source()];
    const { times, ended, turns } = collect([right, behind], clock);
    right.give(1_000_000);
    for (let time = 1; time <= 10; time++) {
      behind.give(time);
      await turns();
      clock.advance(milliseconds(20));
    }
    assert.ok(times.includes(1_000_000));
    right.end();
    behind.end();
    await ended;
    assert.equal(times.length, 11);
  });

  test("what is held has a limit: sources wait while nobody takes it", async () => {
    const clock = new ManualClock();
    const [a, b] = [new Source(), new Source()];
    const large = packet(1, 1 << 20);
    for (let count = 0; count < 100; count++) a.giveAll([large]);
    const merged = mergeByTime([a, b], lag, clock);
    const first = await merged.next();
    for (let turn = 0; turn < 200; turn++) await nextTurn();
    assert.ok(a.taken < 50, `${a.taken} of 100 were taken`);
    let count = first.done === true ? 0 : first.value.length;
    a.end();
    b.end();
    for await (const packets of merged) count += packets.length;
    assert.equal(count, 100);
  });

  test("a packet that has one time at several points goes inwards", async () => {
    const clock = new ManualClock();
    const sources = [new Source(), new Source(), new Source()] as const;
    const kinds: string[] = [];
    const ended = (async () => {
      for await (const packets of mergeByTime(sources, lag, clock))
        kinds.push(...packets.map((each) => each.place.kind));
    })();
    const at = (kind: Place["kind"]): CapturedPacket => ({ ...packet(7), place: { ...place, kind } });
    for (const [index, kind] of (["bridge", "underlay", "tunnel"] as const).entries()) {
      sources[index]?.giveAll([at(kind)]);
      sources[index]?.end();
    }
    await ended;
    assert.deepEqual(kinds, ["underlay", "tunnel", "bridge"]);
  });

  test("a source that fails ends it", async () => {
    const clock = new ManualClock();
    const [a, b] = [new Source(), new Source()];
    const { ended } = collect([a, b], clock);
    a.end(new Error("gone"));
    await assert.rejects(ended, /gone/);
    b.end();
  });

  test("one source alone waits for nobody", async () => {
    const source = new Source();
    const { times, ended } = collect([source], new ManualClock());
    source.give(3, 1);
    source.end();
    await ended;
    assert.deepEqual(times, [3, 1]);
  });
});
