import { milliseconds, seconds } from "../base/duration.ts";
import { messageOf } from "../base/errors.ts";
import { beginChange, leftBehindWith, mostNamed, type NetworkChange, nextPhase } from "../model/phase.ts";
import type { Ledger } from "./ledger.ts";
import { returnTime } from "./readiness.ts";
import { records } from "./records.ts";
import type { NetworkEntry } from "./state.ts";

/** Reports that come together are looked at once. */
const gatherTime = milliseconds(20);
/** Nodes that do not come back, and those that change by their own clock, are looked for this often; and a commit that failed is tried again after this. */
const lookAgain = seconds(1);

/** The phase that a network is in, as this process saw it begin. */
interface Course {
  readonly revision: number;
  /** When the phase began, by the clock that never goes back. */
  readonly moment: number;
  /** By the same clock: what failed is not tried again before. */
  retryAt: number;
  cancel: () => void;
  advancing: boolean;
}

/**
 * Leads changes of networks from phase to phase: each follows when all nodes that are connected have the one before in
 * place, or when its time is over. Phases are in the store, so that a server that starts again goes on.
 */
export class Changes {
  readonly #ledger: Ledger;
  readonly #courses = new Map<NetworkEntry, Course>();
  /** Networks to be looked at in a moment. */
  readonly #gathered = new Set<NetworkEntry>();
  /** Networks whose nodes that were left behind are being forgotten, or could not be a moment ago. */
  readonly #forgetting = new Set<NetworkEntry>();
  readonly #stopListening: () => void;
  /** What the store held when this process began: phases up to then are taken up, later ones begin before its eyes. */
  readonly #begin: number;
  #cancelLook: (() => void) | undefined;
  #closed = false;

  constructor(ledger: Ledger) {
    this.#ledger = ledger;
    this.#begin = ledger.state.revision;
    this.#stopListening = ledger.readiness.listen((entry) => {
      if (entry !== undefined) this.#gather(entry);
      else for (const each of this.#courses.keys()) this.#gather(each);
    });
    for (const entry of ledger.state.networks.values()) this.#gather(entry);
  }

  close(): void {
    this.#closed = true;
    this.#stopListening();
    this.#cancelLook?.();
    for (const { cancel } of this.#courses.values()) cancel();
  }

  #gather(entry: NetworkEntry): void {
    if (this.#closed) return;
    const { change, isMtuHeld, leftBehindRevision } = entry;
    if (change === undefined && !isMtuHeld && leftBehindRevision === 0 && !this.#courses.has(entry)) return;
    this.#gathered.add(entry);
    this.#cancelLook ??= this.#ledger.clock.after(gatherTime, () => {
      this.#cancelLook = undefined;
      const entries = [...this.#gathered];
      this.#gathered.clear();
      for (const each of entries) this.#look(each);
    });
  }

  #look(entry: NetworkEntry): void {
    const { clock, readiness, state } = this.#ledger;
    const { change, network } = entry;
    let course = this.#courses.get(entry);
    if (change === undefined || state.networks.get(network.name) !== entry) {
      course?.cancel();
      this.#courses.delete(entry);
      if (state.networks.get(network.name) === entry) void this.#forgetReported(entry);
      if (entry.isMtuHeld) void this.#grow(entry);
      return;
    }
    const limit = seconds(network.changeTimeout);
    if (course?.revision !== entry.changeRevision) {
      course?.cancel();
      const moment = clock.monotonic() - this.#elapsedOf(entry.changeRevision, change.since, limit);
      course = { revision: entry.changeRevision, moment, retryAt: 0, cancel: () => {}, advancing: false };
      this.#courses.set(entry, course);
    }
    if (course.advancing) return;
    course.cancel();
    const elapsed = clock.monotonic() - course.moment;
    const behind = [...readiness.behindPhase(entry, elapsed)];
    // Reports bring a look, too: without this each would be another attempt at a store that fails.
    let pause = course.retryAt - clock.monotonic();
    if (elapsed < limit && behind.some(({ isWaitedFor }) => isWaitedFor)) pause = Math.min(lookAgain, limit - elapsed);
    if (pause > 0) {
      course.cancel = clock.after(milliseconds(Math.max(pause, 1)), () => this.#gather(entry));
      return;
    }
    const left = behind.map(({ node }) => node).sort();
    course.advancing = true;
    void this.#advance(entry, course, left);
  }

  /**
   * How long the phase has lasted, in milliseconds. One that is taken up has at least the time left in which nodes can
   * come back: while the server was away nobody could report. A wall clock that was set back makes nobody wait longer than the limit.
   */
  #elapsedOf(revision: number, since: number, limit: number): number {
    if (revision > this.#begin) return 0;
    const most = limit - Math.min(limit, returnTime);
    return Math.min(Math.max(this.#ledger.clock.now() - since, 0), most);
  }

  /** What the nodes carry by now goes by phases, as an MTU does that somebody sets. */
  async #grow(entry: NetworkEntry): Promise<void> {
    const { clock, logger, state } = this.#ledger;
    const { name } = entry.network;
    try {
      await this.#ledger.commit(`let the MTU of network ${name} grow`, () => {
        const { network, change, changeRevision, effectiveMtu: mtu, isMtuHeld } = entry;
        const isDone = !isMtuHeld || change !== undefined || state.networks.get(name) !== entry;
        const wanted = { ...network, mtu: state.mtuOf(network) };
        const next = isDone
          ? undefined
          : beginChange({ ...network, mtu }, undefined, wanted, { mtu, now: clock.now() });
        if (next === undefined) return { conditions: [], operations: [] };
        return {
          conditions: [{ key: records.change.key(name), revision: changeRevision }],
          operations: [records.change.put(next, name)],
        };
      });
    } catch (error) {
      if (this.#closed) return;
      logger.error({ network: name, error: messageOf(error) }, "could not let the network's MTU grow");
      clock.after(lookAgain, () => this.#gather(entry));
    }
  }

  async #advance(entry: NetworkEntry, course: Course, left: readonly string[]): Promise<void> {
    const { clock, logger } = this.#ledger;
    const { name } = entry.network;
    const phase = entry.change?.phase;
    let isLed = false;
    try {
      await this.#ledger.commit(`change network ${name}`, () => {
        const { change, changeRevision } = entry;
        // Somebody else has led it on, or changed the network anew.
        isLed = change !== undefined && changeRevision === course.revision;
        if (change === undefined || !isLed) return { conditions: [], operations: [] };
        const next = nextPhase(change, clock.now(), left);
        return {
          conditions: [{ key: records.change.key(name), revision: changeRevision }],
          operations: next === undefined ? endOf(entry, change, left) : [records.change.put(next, name)],
        };
      });
      const details = { network: name, phase, ...(left.length === 0 ? {} : { left: left.slice(0, mostNamed) }) };
      if (!isLed) return;
      if (left.length === 0) logger.info(details, "the network's change has gone on: all nodes are in place");
      else logger.warn(details, `the network's change has gone on without ${left.length} nodes`);
    } catch (error) {
      if (this.#closed) return;
      logger.error({ network: name, error: messageOf(error) }, "could not lead the network's change on");
      course.retryAt = clock.monotonic() + lookAgain;
    } finally {
      course.advancing = false;
      this.#gather(entry);
    }
  }

  /** Nodes that the last change was ended without are named until all of them have its end in place. */
  async #forgetReported(entry: NetworkEntry): Promise<void> {
    const { clock, logger, readiness } = this.#ledger;
    const { network, leftBehindRevision: revision } = entry;
    if (revision === 0 || this.#forgetting.has(entry) || readiness.leftBehindOf(entry).length > 0) return;
    this.#forgetting.add(entry);
    try {
      await this.#ledger.submit({
        conditions: [{ key: records.leftBehind.key(network.name), revision }],
        operations: [records.leftBehind.remove(network.name)],
      });
      this.#forgetting.delete(entry);
    } catch (error) {
      if (this.#closed) return;
      logger.warn({ network: network.name, error: messageOf(error) }, "could not forget whom a change left behind");
      clock.after(lookAgain, () => {
        this.#forgetting.delete(entry);
        this.#gather(entry);
      });
    }
  }
}

/** The last phase ends, and those are remembered that it leaves behind. */
function endOf(
  { network: { name }, leftBehindRevision }: NetworkEntry,
  change: NetworkChange,
  left: readonly string[],
) {
  const names = leftBehindWith(change, left);
  const before = leftBehindRevision === 0 ? [] : [records.leftBehind.remove(name)];
  return [...(names.length === 0 ? before : [records.leftBehind.put(names, name)]), records.change.remove(name)];
}
