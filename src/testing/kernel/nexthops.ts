import { eventGroup } from "../../netlink/events.ts";
import { type Nexthop, RTM_DELNEXTHOP, RTM_NEWNEXTHOP, readNexthop, replaceNexthop } from "../../netlink/index.ts";
import type { FakeAnswer, FakeMessage, FakeRequest } from "../fake-kernel.ts";
import { type Family, operationOf, Refusal, readAs, refuseByFlags, told } from "./request.ts";

/** The nexthops of one namespace. */
export class Nexthops implements Family {
  readonly #present = new Map<number, Nexthop>();
  readonly #tell: (group: number, message: FakeMessage) => void;
  /** FDB entries that refer to one that is gone go without a word. drivers/net/vxlan: `vxlan_fdb_nh_flush` */
  readonly #onGone: (id: number) => void;

  constructor(tell: (group: number, message: FakeMessage) => void, onGone: (id: number) => void) {
    this.#tell = tell;
    this.#onGone = onGone;
  }

  get all(): readonly Nexthop[] {
    return [...this.#present.values()].sort((a, b) => a.id - b.id);
  }

  get(id: number): Nexthop | undefined {
    return this.#present.get(id);
  }

  handle(request: FakeRequest): FakeAnswer | undefined {
    const operation = operationOf(request, RTM_NEWNEXTHOP);
    if (operation === undefined || operation === "set") return undefined;
    if (operation === "dump") return { messages: this.all.map((each) => told(RTM_NEWNEXTHOP, replaceNexthop(each))) };
    const asked = readAs(request, readNexthop);
    const present = this.#present.get(asked.id);
    switch (operation) {
      case "get":
        if (present === undefined) throw new Refusal("ENOENT");
        return { messages: [told(RTM_NEWNEXTHOP, replaceNexthop(present))] };
      case "delete":
        if (present === undefined) throw new Refusal("ENOENT");
        this.#remove(present);
        return {};
      case "new":
        refuseByFlags(request, present !== undefined);
        if (asked.group?.some(({ id }) => !this.#present.has(id))) throw new Refusal("EINVAL", "Invalid nexthop id");
        if (present !== undefined && (present.group === undefined) !== (asked.group === undefined))
          throw new Refusal("EINVAL", "Can not replace a nexthop group with a nexthop");
        this.#present.set(asked.id, asked);
        this.#tell(eventGroup.nexthop, told(RTM_NEWNEXTHOP, replaceNexthop(asked)));
        return {};
    }
  }

  /** A group goes with its last member. net/ipv4/nexthop.c: `remove_nh_grp_entry` */
  #remove(nexthop: Nexthop): void {
    this.#present.delete(nexthop.id);
    this.#onGone(nexthop.id);
    this.#tell(eventGroup.nexthop, told(RTM_DELNEXTHOP, replaceNexthop(nexthop)));
    for (const other of this.all) {
      if (!other.group?.some(({ id }) => id === nexthop.id)) continue;
      const group = other.group.filter(({ id }) => id !== nexthop.id);
      if (group.length === 0) this.#remove(other);
      else this.#present.set(other.id, { ...other, group });
    }
  }
}
