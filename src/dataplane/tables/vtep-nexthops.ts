import type { Clock } from "../../base/clock.ts";
import { WeftError } from "../../base/errors.ts";
import type { IpAddress } from "../../base/ip.ts";
import { isErrno } from "../../linux/index.ts";
import {
  createNexthop,
  deleteNexthop,
  getNexthop,
  listNexthops,
  lookUp,
  type NetlinkSocket,
  type Nexthop,
  replaceNexthop,
} from "../../netlink/index.ts";
import { nexthopRange, weftProtocol } from "../kernel-names.ts";
import type { Failure } from "../reconcile/marks.ts";
import type { ReconciledTable } from "../reconcile/reconciled-table.ts";
import { Reconciler } from "../reconcile/reconciler.ts";
import type { Table } from "../reconcile/table.ts";

/** The nexthop of a VTEP and the group with it alone that FDB entries refer to: the kernel takes nothing but groups. */
interface VtepNexthop {
  readonly id: number;
  readonly group: number;
}

/** How often other identifiers are chosen in one pass for such as others took at the same moment. */
const mostChoices = 3;

export interface VtepNexthopOptions {
  readonly instance: string;
  /** Of the underlay namespace. */
  readonly socket: NetlinkSocket;
  readonly clock: Clock;
}

/**
 * The FDB nexthops of a node: one group for each VTEP, in the underlay namespace, which tunnels made from there look
 * into. The kernel is the record: after a restart identifiers are read back from it.
 */
export class VtepNexthops {
  readonly #socket: NetlinkSocket;
  readonly #range: { readonly first: number; readonly last: number };
  readonly #byVtep = new Map<IpAddress, VtepNexthop>();
  /** VTEPs by both of their identifiers. */
  readonly #vteps = new Map<number, IpAddress>();
  /** Identifiers of the range that others use. */
  readonly #foreign = new Set<number>();
  /** Identifiers that the kernel has as weft's: these alone are replaced. */
  readonly #present = new Set<number>();
  /** VTEPs whose group rows may lead to. */
  readonly #served = new Set<IpAddress>();
  /** VTEPs that were served by an identifier that is another's now, and are to get others. */
  readonly #displaced = new Set<IpAddress>();
  readonly #reconciler: Reconciler;
  readonly #hops: ReconciledTable<number, Nexthop>;
  readonly #groups: ReconciledTable<number, Nexthop>;
  /** VTEPs whose group somebody else had changed or removed, and that is there again. */
  #renewed = new Set<IpAddress>();
  #next: number;

  constructor({ instance, socket, clock }: VtepNexthopOptions) {
    this.#socket = socket;
    this.#range = nexthopRange(instance);
    this.#next = this.#range.first;
    this.#reconciler = new Reconciler({ socket, clock });
    // A group comes after its nexthop and goes before it: one that leaves takes its groups along.
    this.#hops = this.#reconciler.add(
      this.#table(
        "nexthop",
        ({ id }) => id,
        (vtep) => ({ gateway: vtep }),
      ),
    );
    this.#groups = this.#reconciler.add(
      this.#table(
        "nexthop group",
        ({ group }) => group,
        (_vtep, { id }) => ({ group: [{ id, weight: 1 }] }),
      ),
    );
  }

  /** The group of a VTEP; `undefined` until the kernel has it as it shall be. */
  groupOf(vtep: IpAddress): number | undefined {
    const known = this.#byVtep.get(vtep);
    // A group is made of whatever has its member's number.
    if (known === undefined || this.#hops.isPending(known.id) || this.#groups.isPending(known.group)) return undefined;
    return known.group;
  }

  /** The VTEP of a group. */
  vtepOf(group: number): IpAddress | undefined {
    const vtep = this.#vteps.get(group);
    return vtep !== undefined && this.#byVtep.get(vtep)?.group === group ? vtep : undefined;
  }

  /** All of it is compared with the kernel at the next opportunity. */
  distrust(): void {
    this.#reconciler.distrust();
  }

  /** The kernel told of a nexthop. Tells whether there is something to restore. */
  observe(nexthop: Nexthop, isGone: boolean): boolean {
    const { id } = nexthop;
    if (!this.#isInRange(id)) return false;
    const isGivenUp = this.#note(nexthop, isGone);
    const table = nexthop.group === undefined && !this.#isGroup(id) ? this.#hops : this.#groups;
    return table.observe(nexthop, isGone) || isGivenUp;
  }

  /**
   * Sees to nexthops for all of `vteps`, beside those there are. Returns VTEPs whose group had been changed or removed: the
   * kernel dropped all rows that used it.
   */
  async add(vteps: ReadonlySet<IpAddress> | readonly IpAddress[]): Promise<ReadonlySet<IpAddress>> {
    let isKnown = this.#hops.isKnown && this.#groups.isKnown;
    for (let tries = 0; tries < mostChoices; tries++) {
      if (!isKnown) this.#takeUp(await this.#socket.dump(listNexthops()));
      for (const vtep of vteps)
        if (!this.#byVtep.has(vtep)) this.#assign(vtep, { id: this.#take(), group: this.#take() });
      await this.#pass();
      isKnown = !this.#isAnyTaken;
      if (isKnown) break;
      this.distrust();
    }
    for (const vtep of this.#displaced)
      if (this.groupOf(vtep) !== undefined && this.#displaced.delete(vtep)) this.#renewed.add(vtep);
    const renewed = this.#renewed;
    this.#renewed = new Set();
    return renewed;
  }

  /** Whether there is something that serves none of `wanted`. */
  hasOthers(wanted: ReadonlySet<IpAddress>): boolean {
    for (const vtep of this.#byVtep.keys()) if (!wanted.has(vtep)) return true;
    return false;
  }

  /** Whether the kernel has what is wanted and nothing else, as far as is known. */
  get isSettled(): boolean {
    return this.#reconciler.isSettled;
  }

  /** What the kernel refused of which VTEP's, and is tried again. */
  get failures(): ReadonlyMap<IpAddress, Failure<unknown>> {
    const failures = new Map<IpAddress, Failure<unknown>>();
    for (const table of [this.#groups, this.#hops])
      for (const failure of table.failures) {
        const vtep = this.#vteps.get(failure.key);
        if (vtep !== undefined) failures.set(vtep, failure);
      }
    return failures;
  }

  /** Takes away what serves none of `wanted`: after all FDB entries that referred to it are gone. */
  async keepOnly(wanted: ReadonlySet<IpAddress>): Promise<void> {
    for (const [vtep, { id, group }] of this.#byVtep) {
      if (wanted.has(vtep)) continue;
      this.#release(vtep, { id, group });
      this.#served.delete(vtep);
    }
    for (const vtep of this.#displaced) if (!wanted.has(vtep)) this.#displaced.delete(vtep);
    await this.#pass();
  }

  async #pass(): Promise<void> {
    if (!this.#reconciler.hasWork) return;
    const refusal = await this.#reconciler.pass();
    // The nexthop of a group has gone unheard.
    if (isErrno(refusal?.error, "EINVAL")) this.#hops.distrust();
    // What is refused of single ones is told of these.
    if (refusal !== undefined && this.failures.size === 0) throw refusal.error;
  }

  #assign(vtep: IpAddress, nexthop: VtepNexthop): void {
    this.#byVtep.set(vtep, nexthop);
    this.#vteps.set(nexthop.id, vtep).set(nexthop.group, vtep);
    this.#hops.mark(nexthop.id);
    this.#groups.mark(nexthop.group);
  }

  #release(vtep: IpAddress, { id, group }: VtepNexthop): void {
    this.#byVtep.delete(vtep);
    this.#vteps.delete(id);
    this.#vteps.delete(group);
    this.#hops.mark(id);
    this.#groups.mark(group);
  }

  /** Notes whose an identifier is by now. Tells whether a VTEP had it that needs others now. */
  #note(nexthop: Nexthop, isGone: boolean): boolean {
    const { id } = nexthop;
    const isOwn = this.#isOwn(nexthop);
    if (isOwn && !isGone) this.#present.add(id);
    else this.#present.delete(id);
    if (isOwn || isGone) this.#foreign.delete(id);
    else this.#foreign.add(id);
    const vtep = this.#vteps.get(id);
    const assigned = vtep === undefined ? undefined : this.#byVtep.get(vtep);
    if (!this.#foreign.has(id) || vtep === undefined || assigned === undefined) return false;
    this.#release(vtep, assigned);
    if (this.#served.delete(vtep)) this.#displaced.add(vtep);
    return true;
  }

  /** Whether something is there, unheard of, under an identifier that was chosen for a new one. */
  get #isAnyTaken(): boolean {
    for (const { failures } of [this.#hops, this.#groups])
      for (const { error } of failures) if (isErrno(error, "EEXIST")) return true;
    return false;
  }

  /** Takes up what an earlier run left in the kernel, and notes what others have there. */
  #takeUp(observed: readonly Nexthop[]): void {
    this.#foreign.clear();
    this.#present.clear();
    const inRange = observed.filter(({ id }) => this.#isInRange(id));
    for (const nexthop of inRange) this.#note(nexthop, false);
    const own = inRange.filter((nexthop) => this.#isOwn(nexthop));
    const gateways = new Map(own.flatMap(({ id, gateway }) => (gateway === undefined ? [] : [[id, gateway] as const])));
    for (const { id, group } of own) {
      const member = group?.length === 1 ? group[0]?.id : undefined;
      const vtep = member === undefined ? undefined : gateways.get(member);
      if (member === undefined || vtep === undefined || this.#byVtep.has(vtep)) continue;
      // One of this run's that somebody pointed elsewhere stays this run's.
      if (this.#vteps.has(member) || this.#vteps.has(id)) continue;
      this.#byVtep.set(vtep, { id: member, group: id });
      this.#served.add(vtep);
      this.#vteps.set(member, vtep).set(id, vtep);
    }
  }

  #table(
    kind: string,
    idOf: (nexthop: VtepNexthop) => number,
    rest: (vtep: IpAddress, nexthop: VtepNexthop) => Partial<Nexthop>,
  ): Table<number, Nexthop> {
    const wanted = (id: number): Nexthop | undefined => {
      const vtep = this.#vteps.get(id);
      const nexthop = vtep === undefined ? undefined : this.#byVtep.get(vtep);
      if (vtep === undefined || nexthop === undefined || idOf(nexthop) !== id) return undefined;
      return { id, protocol: weftProtocol, fdb: true, ...rest(vtep, nexthop) };
    };
    const isOfTable = ({ id, group }: Nexthop): boolean =>
      wanted(id) !== undefined || (group !== undefined) === (kind !== "nexthop");
    return {
      kind,
      keys: () => Array.from(this.#byVtep.values(), idOf),
      wanted,
      keyOf: ({ id }) => id,
      list: () => [listNexthops()],
      isOwn: (nexthop) => this.#isOwn(nexthop) && this.#vteps.get(nexthop.id) === undefined && isOfTable(nexthop),
      same: (row, actual) =>
        actual.protocol === row.protocol &&
        actual.gateway === row.gateway &&
        actual.group?.length === row.group?.length &&
        actual.group?.[0]?.id === row.group?.[0]?.id,
      put: (nexthop) => (this.#present.has(nexthop.id) ? replaceNexthop : createNexthop)(nexthop),
      remove: ({ id }) => deleteNexthop(id),
      left: async (id) => {
        const nexthop = await lookUp(this.#socket, getNexthop(id));
        return nexthop !== undefined && this.#isOwn(nexthop) ? [nexthop] : [];
      },
      onDone: (id) => {
        const vtep = this.#vteps.get(id);
        if (vtep !== undefined && this.groupOf(vtep) !== undefined) this.#served.add(vtep);
      },
      onRepaired: (id) => {
        const vtep = this.#vteps.get(id);
        if (vtep !== undefined) this.#renewed.add(vtep);
      },
      nameOf: (id) => this.#vteps.get(id) ?? String(id),
    };
  }

  #isOwn({ id, protocol }: Nexthop): boolean {
    return protocol === weftProtocol && this.#isInRange(id);
  }

  #isInRange(id: number): boolean {
    return id >= this.#range.first && id <= this.#range.last;
  }

  #isGroup(id: number): boolean {
    const vtep = this.#vteps.get(id);
    return vtep !== undefined && this.#byVtep.get(vtep)?.group === id;
  }

  #isFree(id: number): boolean {
    return !this.#vteps.has(id) && !this.#foreign.has(id) && !this.#hops.isPending(id) && !this.#groups.isPending(id);
  }

  #take(): number {
    for (let tries = this.#range.first; tries <= this.#range.last; tries++) {
      const id = this.#next;
      this.#next = id === this.#range.last ? this.#range.first : id + 1;
      if (this.#isFree(id)) return id;
    }
    throw new WeftError({
      code: "exhausted",
      attempted: "choose an identifier for a nexthop",
      reason: `all ${this.#range.last - this.#range.first + 1} of this instance are in use`,
    });
  }
}
