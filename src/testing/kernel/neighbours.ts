import { isDeepStrictEqual } from "node:util";
import { familyOf } from "../../base/ip.ts";
import { AttributeSchema, u32 } from "../../netlink/attribute.ts";
import { eventGroup } from "../../netlink/events.ts";
import {
  type Neighbour,
  neighbourFlag,
  type ProxyNeighbour,
  RTM_DELNEIGH,
  RTM_NEWNEIGH,
  readNeighbour,
  replaceNeighbour,
  replaceProxyNeighbour,
} from "../../netlink/index.ts";
import { AF_BRIDGE } from "../../netlink/neighbour.ts";
import type { FakeAnswer, FakeMessage, FakeRequest } from "../fake-kernel.ts";
import type { Device } from "./device.ts";
import type { DeviceUser, Links } from "./links.ts";
import { type Family, operationOf, Refusal, readAs, refuseByFlags, told, viewOf } from "./request.ts";

/** linux/neighbour.h: octets of `struct ndmsg`; filters of a dump. */
const headerLength = 12;
const flagsOffset = 10;
const filter = new AttributeSchema("NDA (of a dump)", { index: u32(8) });

/** The neighbours of one namespace. */
export class Neighbours implements Family, DeviceUser {
  readonly #links: Links;
  readonly #tell: (group: number, message: FakeMessage) => void;
  readonly #present = new Map<string, Neighbour>();
  readonly #proxies = new Map<string, ProxyNeighbour>();

  constructor(links: Links, tell: (group: number, message: FakeMessage) => void) {
    this.#links = links;
    this.#tell = tell;
  }

  get all(): Iterable<Neighbour> {
    return this.#present.values();
  }

  /** Addresses that are answered for in place of others. */
  get proxies(): Iterable<ProxyNeighbour> {
    return this.#proxies.values();
  }

  /** Even permanent ones. net/core/neighbour.c: `neigh_ifdown`, `neigh_changeaddr` */
  onDown(device: Device): void {
    this.onMac(device);
    for (const [key, { index }] of this.#proxies) if (index === device.index) this.#proxies.delete(key);
  }

  onMac({ index }: Device): void {
    for (const entry of this.#present.values()) if (entry.index === index) this.#remove(entry);
  }

  handle(request: FakeRequest): FakeAnswer | undefined {
    const operation = operationOf(request, RTM_NEWNEIGH);
    if (operation === undefined || request.payload[0] === AF_BRIDGE) return undefined;
    if (operation === "dump" && request.payload[flagsOffset] === neighbourFlag.proxy)
      return {
        messages: Array.from(this.#proxies.values(), (entry) => told(RTM_NEWNEIGH, replaceProxyNeighbour(entry))),
      };
    if (operation === "dump") {
      const { payload } = request;
      const { index } = filter.read(payload, viewOf(payload), headerLength, payload.length);
      const shown = [...this.#present.values()].filter((entry) => index === undefined || entry.index === index);
      return { messages: shown.map((entry) => told(RTM_NEWNEIGH, replaceNeighbour(entry))) };
    }
    const asked = readAs(request, readNeighbour);
    const device = this.#links.need(asked.index);
    if (asked.flags === neighbourFlag.proxy) return this.#handleProxy(operation === "new", asked);
    const present = this.#present.get(keyOf(asked));
    switch (operation) {
      case "new":
        if (familyOf(asked.ip) === 6 && device.settings[6].size === 0)
          throw new Refusal("EINVAL", "IPv6 is disabled on this device");
        refuseByFlags(request, present !== undefined);
        this.#present.set(keyOf(asked), asked);
        if (!isDeepStrictEqual(present, asked))
          this.#tell(eventGroup.neighbour, told(RTM_NEWNEIGH, replaceNeighbour(asked)));
        return {};
      case "get":
        if (present === undefined) throw new Refusal("ENOENT", "Neighbour entry not found");
        return { messages: [told(RTM_NEWNEIGH, replaceNeighbour(present))] };
      default:
        if (present === undefined) throw new Refusal("ENOENT");
        this.#remove(present);
        return {};
    }
  }

  /** Nobody is told of these. */
  #handleProxy(isNew: boolean, { index, ip, protocol }: Neighbour): FakeAnswer {
    const key = keyOf({ index, ip });
    if (isNew) this.#proxies.set(key, { index, ip, ...(protocol === undefined ? {} : { protocol }) });
    else if (!this.#proxies.delete(key)) throw new Refusal("ENOENT");
    return {};
  }

  #remove(entry: Neighbour): void {
    this.#present.delete(keyOf(entry));
    this.#tell(eventGroup.neighbour, told(RTM_DELNEIGH, replaceNeighbour(entry)));
  }
}

function keyOf({ index, ip }: ProxyNeighbour): string {
  return `${index} ${ip}`;
}
