import { type Nexthop, RTM_DELNEXTHOP, RTM_NEWNEXTHOP, readNexthop, replaceNexthop } from "../../netlink/index.ts";
import type { FakeAnswer, FakeMessage, FakeRequest } from "../fake-kernel.ts";
import type { Context } from "./context.ts";
import { errno, viewOf } from "./errno.ts";

const RTM_GETNEXTHOP = RTM_NEWNEXTHOP + 2;

/** Nexthops of a namespace, which FDB entries of tunnels refer to whose outer packets travel there. */
export class FakeNexthops {
  readonly #namespace: Context;
  readonly all = new Map<number, Nexthop>();

  constructor(namespace: Context) {
    this.#namespace = namespace;
  }

  handle({ type, payload }: FakeRequest): FakeAnswer | undefined {
    if (type < RTM_NEWNEXTHOP || type > RTM_GETNEXTHOP) return undefined;
    if (type === RTM_GETNEXTHOP)
      return { messages: [...this.all.values()].map((each) => message(RTM_NEWNEXTHOP, each)) };
    const nexthop = readNexthop(payload, viewOf(payload), 0, payload.length);
    if (nexthop === undefined) return { errno: errno.EINVAL };
    if (type === RTM_DELNEXTHOP) return this.delete(nexthop.id) ? {} : { errno: errno.ENOENT };
    if (nexthop.group?.some(({ id }) => !this.all.has(id)) === true) return { errno: errno.EINVAL };
    const present = this.all.get(nexthop.id);
    if (present !== undefined && (present.group === undefined) !== (nexthop.group === undefined))
      return { errno: errno.EINVAL };
    this.all.set(nexthop.id, nexthop);
    this.#namespace.publish("nexthop", message(RTM_NEWNEXTHOP, nexthop));
    return {};
  }

  /** With groups that have no other member, and FDB entries that use these. */
  delete(id: number): boolean {
    const nexthop = this.all.get(id);
    if (nexthop === undefined) return false;
    this.all.delete(id);
    for (const namespace of this.#namespace.machine.namespaces) namespace.fdb.leaveNexthop(id);
    for (const group of [...this.all.values()])
      if (group.group?.every((member) => member.id === id) === true) this.delete(group.id);
    this.#namespace.publish("nexthop", message(RTM_DELNEXTHOP, nexthop));
    return true;
  }
}

function message(type: number, nexthop: Nexthop): FakeMessage {
  return { type, write: replaceNexthop(nexthop).write };
}
