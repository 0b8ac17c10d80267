import { setImmediate as turn } from "node:timers/promises";
import { isSameList } from "../../base/lists.ts";
import type { MacAddress } from "../../base/mac.ts";
import { networkMac } from "../../model/endpoint-mac.ts";
import type { DesiredNetwork, LocalEndpoint } from "../desired.ts";
import type { Guard } from "./guard.ts";
import { allowedMacs, countsUnknown, type MacRow, mayHaveNobodys } from "./rows.ts";

export interface NetworkMacsOptions {
  readonly guard: Guard;
  /** The number of the tenant's namespace. */
  readonly tenant: number;
  readonly desired: DesiredNetwork;
  /** Whether any port is to be judged. */
  readonly hasPorts: () => boolean;
}

/** Rows between two turns of others. */
const rowsInATurn = 2_000;

/**
 * Which MACs somebody has in a network, in the kernel. Ports that may have what nobody has may not have one of these, and what goes to
 * another is counted.
 *
 * A row is there before the bridge is told of the MAC, and goes after it: who is known is never counted. There may be a row for each of a
 * hundred thousand endpoints, so that nothing remembers which there are: they follow from what is desired.
 */
export class NetworkMacs {
  readonly #options: NetworkMacsOptions;
  /** That came, went, or came to be somebody's by declaration. */
  readonly #marked = new Set<MacAddress>();
  /** With which endpoints here may send, by endpoint: the first is its own, and of the others nobody else knows where they are. */
  readonly #here = new Map<string, readonly MacAddress[]>();
  /** There may be rows: those of what is desired, and of what is marked. */
  #isHeld = false;
  /** There are rows of all but what is marked. */
  #isFilled = false;
  /** The kernel knows that it has them all. */
  #isToldWhole = false;
  /** What an earlier run left has been looked at. */
  #hasTakenUp = false;

  constructor(options: NetworkMacsOptions) {
    this.#options = options;
    for (const [id, endpoint] of options.desired.locals) this.#here.set(id, macsOf(endpoint));
  }

  mark(mac: MacAddress): void {
    if (this.#isHeld) this.#marked.add(mac);
  }

  /** The endpoint is here, or is no more. */
  lookAt(id: string): void {
    const endpoint = this.#options.desired.local(id);
    const before = this.#here.get(id) ?? [];
    const after = endpoint === undefined ? [] : macsOf(endpoint);
    if (isSameList(before, after)) return;
    for (const mac of [...before, ...after]) this.mark(mac);
    if (endpoint === undefined) this.#here.delete(id);
    else this.#here.set(id, after);
  }

  /** Whether the kernel has what it shall have. */
  get isSettled(): boolean {
    return this.#isFilled === this.#isWanted && this.#isToldWhole === this.#isCounted && this.#marked.size === 0;
  }

  /** Whether frames to MACs that nobody has are counted. */
  get #isCounted(): boolean {
    return this.#options.hasPorts() && countsUnknown(this.#options.desired.settings);
  }

  get #isWanted(): boolean {
    return this.#isCounted || (this.#options.hasPorts() && mayHaveNobodys(this.#options.desired.settings));
  }

  /** Rows of MACs that came. As long as they are not all there nothing is counted. */
  async ensure(): Promise<void> {
    const { guard, tenant, desired } = this.#options;
    const { vni } = desired.settings;
    if (!this.#isWanted) {
      await this.remove();
      return;
    }
    try {
      if (!this.#isFilled) await this.#fill();
      await this.#put(this.#marked);
    } catch (error) {
      this.#isToldWhole = false;
      guard.setWhole(tenant, vni, false);
      throw error;
    }
    this.#isToldWhole = this.#isCounted;
    guard.setWhole(tenant, vni, this.#isCounted);
  }

  /** Rows of MACs that went, once nothing leads to them any more. */
  forget(): void {
    const { guard, tenant, desired } = this.#options;
    const gone = [...this.#marked].filter((mac) => this.#rowOf(mac) === undefined);
    guard.removeMacs(tenant, desired.settings.vni, gone);
    for (const mac of gone) this.#marked.delete(mac);
  }

  /** There are to be no rows. */
  async remove(): Promise<void> {
    const { guard, tenant, desired } = this.#options;
    const { vni } = desired.settings;
    for (const { mac } of this.#takeUp()) this.#marked.add(mac);
    guard.setWhole(tenant, vni, false);
    this.#isToldWhole = false;
    this.#isFilled = false;
    if (this.#isHeld) for await (const some of inTurns(this.#macs())) guard.removeMacs(tenant, vni, some);
    guard.removeMacs(tenant, vni, [...this.#marked]);
    this.#isHeld = false;
    this.#marked.clear();
  }

  /** What an earlier run left, once. */
  #takeUp(): readonly MacRow[] {
    const { guard, tenant, desired } = this.#options;
    const left = this.#hasTakenUp ? [] : guard.takeMacs(tenant, desired.settings.vni);
    this.#hasTakenUp = true;
    return left;
  }

  /** What an earlier run left as it shall be nobody writes. */
  async #fill(): Promise<void> {
    const left = this.#takeUp();
    this.#isHeld = true;
    let right = 0;
    for await (const some of inTurns(left))
      for (const { mac, isDeclared } of some) {
        if (this.#rowOf(mac)?.isDeclared === isDeclared) right++;
        else this.#marked.add(mac);
      }
    let wanted = 0;
    for (const _ of this.#macs()) wanted++;
    // A row that is missing is missed by their number, and nobody remembers which.
    if (right < wanted) await this.#put(this.#macs());
    this.#isFilled = true;
  }

  /** Those of them that somebody has. */
  async #put(macs: Iterable<MacAddress>): Promise<void> {
    const { guard, tenant, desired } = this.#options;
    for await (const some of inTurns(macs)) {
      const rows = some.flatMap((mac) => this.#rowOf(mac) ?? []);
      guard.putMacs(tenant, desired.settings.vni, rows);
      for (const { mac } of rows) this.#marked.delete(mac);
    }
  }

  /** `undefined`: nobody has it. */
  #rowOf(mac: MacAddress): MacRow | undefined {
    const { desired } = this.#options;
    if (mac === networkMac(desired.settings.vni) || desired.isDeclaredMac(mac)) return { mac, isDeclared: true };
    return desired.hasMac(mac) || this.#isAllowed(mac) ? { mac, isDeclared: false } : undefined;
  }

  #isAllowed(mac: MacAddress): boolean {
    return this.#here.values().some((macs) => macs.includes(mac));
  }

  /** Those that somebody has, each once. */
  *#macs(): Generator<MacAddress> {
    const { desired } = this.#options;
    yield* desired.macs();
    const others = new Set([networkMac(desired.settings.vni), ...[...this.#here.values()].flat()]);
    for (const mac of others) if (!desired.hasMac(mac)) yield mac;
  }
}

function macsOf(endpoint: LocalEndpoint): readonly MacAddress[] {
  return [endpoint.mac, ...allowedMacs(endpoint)];
}

/** Some at a time; others get their turn between. */
async function* inTurns<Item>(items: Iterable<Item>): AsyncGenerator<Item[]> {
  let some: Item[] = [];
  for (const item of items) {
    some.push(item);
    if (some.length < rowsInATurn) continue;
    yield some;
    some = [];
    await turn();
  }
  if (some.length > 0) yield some;
}
