import { type Neighbour, RTM_DELNEIGH, RTM_NEWNEIGH, readNeighbour, replaceNeighbour } from "../../netlink/index.ts";
import type { FakeAnswer, FakeMessage, FakeRequest } from "../fake-kernel.ts";
import { attributesIn, numberAt } from "./attributes.ts";
import type { Context } from "./context.ts";
import { errno, isDump, viewOf } from "./errno.ts";

const RTM_GETNEIGH = RTM_NEWNEIGH + 2;
const AF_BRIDGE = 7;
const ndmsgLength = 12;
/** linux/neighbour.h: NDA_IFINDEX. */
const NDA_IFINDEX = 8;

/** Neighbours of a namespace's devices; what is about FDB entries goes on to these. */
export class FakeNeighbours {
  readonly #namespace: Context;
  readonly #all = new Map<string, Neighbour>();

  constructor(namespace: Context) {
    this.#namespace = namespace;
  }

  get all(): Neighbour[] {
    return [...this.#all.values()];
  }

  handle(request: FakeRequest): FakeAnswer | undefined {
    const { type, flags, payload } = request;
    if (type < RTM_NEWNEIGH || type > RTM_GETNEIGH) return undefined;
    if (payload[0] === AF_BRIDGE) return this.#namespace.fdb.handle(request);
    const view = viewOf(payload);
    if (type === RTM_GETNEIGH && isDump(flags)) {
      const index = numberAt(view, attributesIn(view, ndmsgLength, payload.length), NDA_IFINDEX);
      const shown = this.all.filter((each) => index === undefined || each.index === index);
      return { messages: shown.map((each) => message(RTM_NEWNEIGH, each)) };
    }
    const neighbour = readNeighbour(payload, view, 0, payload.length);
    if (neighbour === undefined) return { errno: errno.EINVAL };
    if (this.#namespace.links.all.get(neighbour.index) === undefined) return { errno: errno.ENODEV };
    const key = `${neighbour.index} ${neighbour.ip}`;
    const present = this.#all.get(key);
    if (type === RTM_NEWNEIGH) {
      this.set(neighbour);
      return {};
    }
    if (present === undefined) return { errno: errno.ENOENT };
    if (type === RTM_GETNEIGH) return { messages: [message(RTM_NEWNEIGH, present)] };
    this.delete(present);
    return {};
  }

  /** As if somebody, or traffic, had made it so. */
  set(neighbour: Neighbour): void {
    const key = `${neighbour.index} ${neighbour.ip}`;
    if (JSON.stringify(this.#all.get(key)) === JSON.stringify(neighbour)) return;
    this.#all.set(key, neighbour);
    this.#namespace.publish("neighbour", message(RTM_NEWNEIGH, neighbour), neighbour.flags);
  }

  delete(neighbour: Neighbour): void {
    this.#all.delete(`${neighbour.index} ${neighbour.ip}`);
    this.#namespace.publish("neighbour", message(RTM_DELNEIGH, neighbour));
  }

  /** The device has gone. */
  leave(index: number): void {
    for (const neighbour of this.all) if (neighbour.index === index) this.delete(neighbour);
  }
}

function message(type: number, neighbour: Neighbour): FakeMessage {
  return { type, write: replaceNeighbour(neighbour).write };
}
