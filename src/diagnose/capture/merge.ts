import { setImmediate as nextTurn } from "node:timers/promises";
import type { Clock } from "../../base/clock.ts";
import { type Duration, milliseconds } from "../../base/duration.ts";
import type { CapturedPacket, PointKind } from "./packet.ts";

/** Packets that came together, and when: milliseconds of a clock that never goes back. */
interface Held {
  readonly packets: readonly CapturedPacket[];
  readonly arrived: number;
}

/** Octets that are held back at most; then all is given on before its time, and sources wait until it is taken. */
const mostOctets = 16 << 20;
/** Turns of the event loop in which it asks which sockets can be read, and reads them. */
const turnsToRead = 2;
/** What a packet takes beside its octets. */
const packetOverhead = 300;

/**
 * Packets of several sources in the order of their times. Each is held back for `lag` after it arrived, for packets of other sources that
 * are older and come later; what comes later still is out of order. Clocks that go wrong hold nothing back for longer. It ends when all
 * sources have ended.
 */
export async function* mergeByTime(
  sources: readonly AsyncIterable<readonly CapturedPacket[]>[],
  lag: Duration,
  clock: Clock,
): AsyncGenerator<readonly CapturedPacket[]> {
  const [only, ...others] = sources;
  if (only !== undefined && others.length === 0) {
    yield* only;
    return;
  }
  const merge = new Merge(lag, clock);
  for (const source of sources) void merge.follow(source);
  try {
    for (;;) {
      const packets = await merge.next();
      if (packets === undefined) return;
      yield packets;
    }
  } finally {
    merge.end();
  }
}

class Merge {
  readonly #lag: Duration;
  readonly #clock: Clock;
  #held: Held[] = [];
  #octets = 0;
  #running = 0;
  #isEnded = false;
  #failure: { readonly error: unknown } | undefined;
  #onArrival: () => void = () => {};
  /** Resolves when what is too much was taken. A race of promises would remember each batch at a source that is quiet. */
  #room = Promise.withResolvers<void>();

  constructor(lag: Duration, clock: Clock) {
    this.#lag = lag;
    this.#clock = clock;
  }

  async follow(source: AsyncIterable<readonly CapturedPacket[]>): Promise<void> {
    this.#running++;
    try {
      for await (const packets of source) {
        this.#held.push({ packets, arrived: this.#clock.monotonic() });
        for (const { bytes } of packets) this.#octets += bytes.length + packetOverhead;
        this.#onArrival();
        while (this.#isTooMuch && !this.#isEnded) await this.#room.promise;
        if (this.#isEnded) break;
      }
    } catch (error) {
      this.#failure ??= { error };
    } finally {
      this.#running--;
      this.#onArrival();
    }
  }

  /** The next packets that need not wait any more; `undefined`: there will be none. */
  async next(): Promise<readonly CapturedPacket[] | undefined> {
    for (;;) {
      if (this.#failure !== undefined) throw this.#failure.error;
      if (this.#held.length === 0 && this.#running === 0) return undefined;
      const now = this.#clock.monotonic();
      const isLast = this.#running === 0 || this.#isTooMuch;
      if (isLast) return this.#takeUntil(latestOf(this.#held));
      if (this.#held.some(({ arrived }) => arrived + this.#lag <= now)) {
        // However late this process is: what has come at other sources meanwhile is read first.
        for (let turn = 0; turn < turnsToRead; turn++) await nextTurn();
        return this.#takeUntil(latestOf(this.#held.filter(({ arrived }) => arrived + this.#lag <= now)));
      }
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#onArrival = resolve;
      const [oldest] = this.#held;
      const delay = oldest === undefined ? undefined : milliseconds(Math.max(0, oldest.arrived + this.#lag - now));
      const cancel = delay === undefined ? undefined : this.#clock.after(delay, resolve);
      await promise;
      cancel?.();
    }
  }

  end(): void {
    this.#isEnded = true;
    this.#room.resolve();
  }

  get #isTooMuch(): boolean {
    return this.#octets > mostOctets;
  }

  /** In the order of their times; of the same time as a packet goes inwards, else in the order in which they arrived. */
  #takeUntil(time: bigint): readonly CapturedPacket[] {
    const taken: CapturedPacket[] = [];
    const kept: Held[] = [];
    this.#octets = 0;
    for (const { packets, arrived } of this.#held) {
      const rest: CapturedPacket[] = [];
      for (const packet of packets) {
        (packet.time <= time ? taken : rest).push(packet);
        if (packet.time > time) this.#octets += packet.bytes.length + packetOverhead;
      }
      if (rest.length > 0) kept.push({ packets: rest, arrived });
    }
    this.#held = kept;
    this.#room.resolve();
    this.#room = Promise.withResolvers();
    return taken.sort((a, b) => (a.time < b.time ? -1 : a.time > b.time ? 1 : depthOf(a) - depthOf(b)));
  }
}

/**
 * A packet that was received keeps its time on its way inwards, if any socket of the machine wants the times of packets: in the bridge
 * it is as old as at the port or on the underlay.
 */
const depths = { underlay: 0, tunnel: 1, container: 2, port: 3, bridge: 4 } as const satisfies Record<
  PointKind,
  number
>;

function depthOf({ place }: CapturedPacket): number {
  return depths[place.kind];
}

function latestOf(held: readonly Held[]): bigint {
  let latest = 0n;
  for (const { packets } of held) for (const { time } of packets) if (time > latest) latest = time;
  return latest;
}
