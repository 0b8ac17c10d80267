import { WeftError } from "../base/errors.ts";
import type { IpAddress } from "../base/ip.ts";
import { deleteNexthop, type Nexthop, type Request, replaceNexthop } from "../netlink/index.ts";
import { nexthopRange, weftProtocol } from "./ownership.ts";

/** The nexthop of a VTEP and the group with it alone that FDB entries refer to: the kernel takes nothing but groups. */
interface VtepNexthop {
  readonly id: number;
  readonly group: number;
}

export interface NexthopPlan {
  readonly requests: readonly Request[];
  /** VTEPs whose group is new: FDB entries that referred to an older one are gone with it. */
  readonly renewed: readonly IpAddress[];
}

/**
 * The FDB nexthops of a node: one group for each VTEP, in the underlay namespace, which tunnels made from there look
 * into. The kernel is the record: after a restart identifiers are read back from it.
 */
export class VtepNexthops {
  readonly #byVtep = new Map<IpAddress, VtepNexthop>();
  readonly #used = new Set<number>();
  readonly #range: { readonly first: number; readonly last: number };
  #next: number;

  constructor(instance: string) {
    this.#range = nexthopRange(instance);
    this.#next = this.#range.first;
  }

  /** The group of a VTEP that was planned before; `undefined` for another. */
  groupOf(vtep: IpAddress): number | undefined {
    return this.#byVtep.get(vtep)?.group;
  }

  get vteps(): ReadonlyMap<IpAddress, VtepNexthop> {
    return this.#byVtep;
  }

  /** Whether the identifier is one of this instance's. */
  ownsId(id: number): boolean {
    return id >= this.#range.first && id <= this.#range.last;
  }

  isOwn(nexthop: Nexthop): boolean {
    return nexthop.protocol === weftProtocol && this.ownsId(nexthop.id);
  }

  /** Whether the nexthop is just what was planned for its VTEP. */
  isAsPlanned({ id, gateway, group }: Nexthop): boolean {
    for (const [vtep, planned] of this.#byVtep) {
      if (planned.id === id) return gateway === vtep;
      if (planned.group === id) return group?.length === 1 && group[0]?.id === planned.id;
    }
    return false;
  }

  /** Groups for all of `wanted`, beside those that the kernel has now. Nothing is deleted; see {@link planRemoval}. */
  planAddition(wanted: Iterable<IpAddress>, observed: readonly Nexthop[]): NexthopPlan {
    const own = observed.filter((nexthop) => this.isOwn(nexthop));
    for (const nexthop of own) this.#used.add(nexthop.id);
    this.#adopt(own);
    const present = new Set(own.filter((nexthop) => this.isAsPlanned(nexthop)).map((nexthop) => nexthop.id));
    const requests: Request[] = [];
    const renewed: IpAddress[] = [];
    for (const vtep of wanted) {
      const known = this.#byVtep.get(vtep);
      if (known !== undefined && present.has(known.id) && present.has(known.group)) continue;
      const id = known?.id ?? this.#take();
      const group = known?.group ?? this.#take();
      this.#byVtep.set(vtep, { id, group });
      renewed.push(vtep);
      requests.push(
        replaceNexthop({ id, protocol: weftProtocol, fdb: true, gateway: vtep }),
        replaceNexthop({ id: group, protocol: weftProtocol, fdb: true, group: [{ id, weight: 1 }] }),
      );
    }
    return { requests, renewed };
  }

  /** Deletes what no longer serves: after all FDB entries that referred to it are gone. */
  planRemoval(wanted: ReadonlySet<IpAddress>, observed: readonly Nexthop[]): readonly Request[] {
    const kept = new Set<number>();
    for (const [vtep, nexthop] of this.#byVtep) {
      if (wanted.has(vtep)) kept.add(nexthop.id).add(nexthop.group);
      else this.#byVtep.delete(vtep);
    }
    const surplus = observed.filter((nexthop) => this.isOwn(nexthop) && !kept.has(nexthop.id));
    for (const nexthop of surplus) this.#used.delete(nexthop.id);
    // Groups first: a nexthop that leaves takes its groups along, and their deletion would fail.
    const groupsFirst = surplus.sort((a, b) => Number(a.group === undefined) - Number(b.group === undefined));
    return groupsFirst.map((nexthop) => deleteNexthop(nexthop.id));
  }

  /** Takes up what an earlier run of the agent left in the kernel. */
  #adopt(own: readonly Nexthop[]): void {
    const gateways = new Map(own.flatMap((hop) => (hop.gateway === undefined ? [] : [[hop.id, hop.gateway] as const])));
    for (const hop of own) {
      const member = hop.group?.length === 1 ? hop.group[0]?.id : undefined;
      const vtep = member === undefined ? undefined : gateways.get(member);
      if (member !== undefined && vtep !== undefined && !this.#byVtep.has(vtep))
        this.#byVtep.set(vtep, { id: member, group: hop.id });
    }
  }

  #take(): number {
    for (let tries = this.#range.first; tries <= this.#range.last; tries++) {
      const id = this.#next;
      this.#next = id === this.#range.last ? this.#range.first : id + 1;
      if (!this.#used.has(id)) {
        this.#used.add(id);
        return id;
      }
    }
    throw new WeftError({
      code: "exhausted",
      attempted: "choose an identifier for a nexthop",
      reason: `all ${this.#range.last - this.#range.first + 1} of this instance are in use`,
    });
  }
}
