import type { IpAddress } from "../../base/ip.ts";
import { zeroMac } from "../../base/mac.ts";
import {
  type FdbEntry,
  neighbourFlag,
  RTM_DELNEIGH,
  RTM_NEWNEIGH,
  readFdbEntry,
  replaceFdbEntry,
} from "../../netlink/index.ts";
import { NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL } from "../../netlink/message.ts";
import type { FakeAnswer, FakeMessage, FakeRequest } from "../fake-kernel.ts";
import { attributesIn, numberAt, writeNumber } from "./attributes.ts";
import type { Context } from "./context.ts";
import { errno, isDump, viewOf } from "./errno.ts";

const RTM_GETNEIGH = RTM_NEWNEIGH + 2;
const ndmsgLength = 12;
/** linux/neighbour.h: NDA_IFINDEX, NDA_MASTER. */
const [NDA_IFINDEX, NDA_MASTER] = [8, 9];

/** FDB entries of tunnels (`self`) and of bridges, each of which says at which port a MAC is. */
export class FakeFdb {
  readonly #namespace: Context;
  /** By device, MAC and place: a MAC of zeros has many. */
  readonly #own = new Map<string, FdbEntry>();
  /** By bridge and MAC. */
  readonly #ofBridges = new Map<string, FdbEntry>();

  constructor(namespace: Context) {
    this.#namespace = namespace;
  }

  get all(): FdbEntry[] {
    return [...this.#own.values(), ...this.#ofBridges.values()];
  }

  /** `undefined`: it is about a neighbour. */
  handle(request: FakeRequest): FakeAnswer | undefined {
    const { type, flags, payload } = request;
    const view = viewOf(payload);
    const attributes = attributesIn(view, ndmsgLength, payload.length);
    if (type === RTM_GETNEIGH && isDump(flags)) {
      const [index, master] = [NDA_IFINDEX, NDA_MASTER].map((code) => numberAt(view, attributes, code));
      const shown = this.all.filter(
        (entry) => (index === undefined || entry.index === index) && (master === undefined || entry.master === master),
      );
      return { messages: shown.map((entry) => message(RTM_NEWNEIGH, entry)) };
    }
    const entry = readFdbEntry(payload, view, 0, payload.length);
    if (entry === undefined) return { errno: errno.EINVAL };
    if (this.#namespace.links.all.get(entry.index) === undefined) return { errno: errno.ENODEV };
    if (type === RTM_GETNEIGH) return this.#get(entry);
    return type === RTM_NEWNEIGH ? this.#put(entry, flags) : this.#remove(entry);
  }

  /** The entry that a tunnel is made with: frames to nobody known go to the group. */
  addGroup(index: number, vtep: IpAddress, viaIndex: number | undefined): void {
    const entry = { index, mac: zeroMac, state: 0x80, flags: neighbourFlag.self, vtep };
    this.#own.set(keyOf(entry), viaIndex === undefined ? entry : { ...entry, viaIndex });
  }

  /** As if a frame with this MAC had come in by a port. */
  learn(index: number, mac: FdbEntry["mac"]): void {
    const master = this.#namespace.links.all.get(index)?.link.master;
    if (master === undefined) return;
    this.#set(this.#ofBridges, `${master} ${mac}`, { index, mac, state: 0x02, flags: 0, master });
  }

  /** The device has gone. */
  leave(index: number): void {
    for (const [key, entry] of this.#own) if (entry.index === index) this.#delete(this.#own, key);
    for (const [key, entry] of this.#ofBridges)
      if (entry.index === index || entry.master === index) this.#delete(this.#ofBridges, key);
  }

  /** The device is no port any more, or another bridge's. */
  leaveBridge(index: number): void {
    for (const [key, entry] of this.#ofBridges) if (entry.index === index) this.#delete(this.#ofBridges, key);
  }

  /** The nexthop group has gone, and with it what refers to it. */
  leaveNexthop(id: number): void {
    for (const [key, entry] of this.#own) if (entry.nexthop === id) this.#delete(this.#own, key);
  }

  #get({ index, mac, flags }: FdbEntry): FakeAnswer {
    const { link } = this.#namespace.links.all.get(index) ?? {};
    const own = [...this.#own.values()].find((entry) => entry.index === index && entry.mac === mac);
    const bridge = link?.info.kind === "bridge" ? index : link?.master;
    const inBridge = this.#ofBridges.get(`${bridge} ${mac}`);
    const isOfDevice = (flags & neighbourFlag.self) !== 0 && link?.info.kind !== "bridge";
    const found = isOfDevice ? own : inBridge;
    return found === undefined ? { errno: errno.ENOENT } : { messages: [message(RTM_NEWNEIGH, found)] };
  }

  #put(entry: FdbEntry, requestFlags: number): FakeAnswer {
    const { link, outer } = this.#namespace.links.all.get(entry.index) ?? {};
    const { self, master } = neighbourFlag;
    const isSelf = (entry.flags & self) !== 0 || (entry.flags & master) === 0;
    if (isSelf && link?.info.kind !== "vxlan") return { errno: errno.EOPNOTSUPP };
    if ((entry.flags & master) !== 0 && link?.master === undefined) return { errno: errno.EINVAL };
    if (entry.nexthop !== undefined && outer?.nexthops.all.get(entry.nexthop)?.group === undefined)
      return { errno: errno.EINVAL, message: "Nexthop id does not exist" };
    const marks = entry.flags & ~(self | master);
    if (isSelf) {
      const others = [...this.#own].filter(([, { index, mac }]) => index === entry.index && mac === entry.mac);
      if ((requestFlags & NLM_F_EXCL) !== 0 && others.length > 0) return { errno: errno.EEXIST };
      if ((requestFlags & NLM_F_CREATE) === 0 && others.length === 0) return { errno: errno.ENOENT };
      const own = { ...entry, flags: marks | self };
      // One more of the same changes nothing. drivers/net/vxlan/vxlan_core.c: `vxlan_fdb_append`
      if ((requestFlags & NLM_F_APPEND) !== 0 && this.#own.has(keyOf(own))) return {};
      if ((requestFlags & NLM_F_APPEND) === 0)
        for (const [key] of others) if (key !== keyOf(own)) this.#own.delete(key);
      this.#set(this.#own, keyOf(own), own);
    }
    if ((entry.flags & master) !== 0 && link?.master !== undefined) {
      const { index, mac, state } = entry;
      this.#set(this.#ofBridges, `${link.master} ${mac}`, { index, mac, state, flags: marks, master: link.master });
    }
    return {};
  }

  #remove(entry: FdbEntry): FakeAnswer {
    const { self, master } = neighbourFlag;
    const bridge = this.#namespace.links.all.get(entry.index)?.link.master;
    let found = 0;
    if ((entry.flags & self) !== 0 || (entry.flags & master) === 0)
      for (const [key, { index, mac, vtep }] of this.#own)
        if (index === entry.index && mac === entry.mac && (entry.vtep === undefined || entry.vtep === vtep)) {
          found++;
          this.#delete(this.#own, key);
        }
    const key = `${bridge} ${entry.mac}`;
    if ((entry.flags & master) !== 0 && this.#ofBridges.get(key)?.index === entry.index) {
      found++;
      this.#delete(this.#ofBridges, key);
    }
    return found === 0 ? { errno: errno.ENOENT } : {};
  }

  #set(table: Map<string, FdbEntry>, key: string, entry: FdbEntry): void {
    if (JSON.stringify(table.get(key)) === JSON.stringify(entry)) return;
    table.set(key, entry);
    this.#namespace.publish("neighbour", message(RTM_NEWNEIGH, entry), entry.flags);
  }

  #delete(table: Map<string, FdbEntry>, key: string): void {
    const entry = table.get(key);
    if (entry === undefined) return;
    table.delete(key);
    this.#namespace.publish("neighbour", message(RTM_DELNEIGH, entry));
  }
}

function keyOf({ index, mac, vtep, nexthop }: FdbEntry): string {
  return `${index} ${mac} ${mac === zeroMac ? (vtep ?? nexthop) : ""}`;
}

function message(type: number, entry: FdbEntry): FakeMessage {
  return {
    type,
    write: (writer) => {
      replaceFdbEntry(entry).write(writer);
      if (entry.master !== undefined) writeNumber(writer, NDA_MASTER, entry.master);
    },
  };
}
