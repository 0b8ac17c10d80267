import { isGroupMac, type MacAddress, zeroMac } from "../../base/mac.ts";
import { AttributeSchema, u32 } from "../../netlink/attribute.ts";
import { eventGroup } from "../../netlink/events.ts";
import {
  type FdbEntry,
  type Nexthop,
  neighbourFlag,
  neighbourState,
  RTM_DELNEIGH,
  RTM_NEWNEIGH,
  readFdbEntry,
  replaceFdbEntry,
} from "../../netlink/index.ts";
import { NLM_F_APPEND, NLM_F_EXCL, NLM_F_REPLACE } from "../../netlink/message.ts";
import { AF_BRIDGE } from "../../netlink/neighbour.ts";
import type { FakeAnswer, FakeMessage, FakeRequest } from "../fake-kernel.ts";
import type { Device, DeviceHome, TunnelEntry } from "./device.ts";
import type { DeviceUser, Links } from "./links.ts";
import { type Family, operationOf, Refusal, readAs, refuseByFlags, viewOf } from "./request.ts";

/** linux/neighbour.h: octets of `struct ndmsg`; filters of a dump. */
const headerLength = 12;
const filter = new AttributeSchema("NDA (of a dump)", { index: u32(8), master: u32(9) });

export interface FdbContext {
  readonly tell: (group: number, message: FakeMessage) => void;
  /** The nexthop of another namespace that has this number there. */
  readonly nexthopOf: (underlay: DeviceHome, id: number) => Nexthop | undefined;
}

/** The FDBs of one namespace: those of bridges, and the tunnels' own. */
export class Fdb implements Family, DeviceUser {
  readonly #links: Links;
  readonly #context: FdbContext;
  /** By bridge; each MAC is at one port. */
  readonly #ofBridges = new Map<Device, Map<MacAddress, FdbEntry>>();

  constructor(links: Links, context: FdbContext) {
    this.#links = links;
    this.#context = context;
  }

  /** Of the bridge whose port the device is. */
  ofPort(device: Device): readonly FdbEntry[] {
    return [...this.#of(device.master).values()].filter(({ index }) => index === device.index);
  }

  /** Of the tunnel itself. */
  ofTunnel(device: Device): readonly FdbEntry[] {
    return [...device.entries].flatMap(([mac, entry]) => rowsOf(device, mac, entry));
  }

  /** Frames with this source came in by a port: what a bridge learns. */
  learn(port: Device, mac: MacAddress): void {
    const entry = { index: port.index, mac, state: neighbourState.reachable, flags: 0 };
    this.#put(port, { ...entry, master: port.master?.index ?? 0 });
  }

  /** Group and default remote are the tunnel's first entry. drivers/net/vxlan: `__vxlan_dev_create` */
  onMade(device: Device): void {
    const { group = device.data.group6, link } = device.data as {
      group?: FdbEntry["vtep"];
      group6?: FdbEntry["vtep"];
      link?: number;
    };
    if (device.kind !== "vxlan" || group === undefined) return;
    const remotes = [
      { vtep: group as NonNullable<FdbEntry["vtep"]>, ...(link === undefined ? {} : { viaIndex: link }) },
    ];
    device.entries.set(zeroMac, { state: neighbourState.permanent, flags: neighbourFlag.self, remotes });
  }

  onJoined(port: Device): void {
    if (port.mac !== undefined) this.#putLocal(port, port.mac);
  }

  onMac(device: Device, before: MacAddress | undefined): void {
    const { master, mac } = device;
    if (master === undefined || mac === undefined) return;
    const old = before === undefined ? undefined : this.#of(master).get(before);
    if (old?.index === device.index && (old.state & neighbourState.permanent) !== 0) this.#forget(master, old);
    this.#putLocal(device, mac);
  }

  onLeft(port: Device, bridge: Device): void {
    for (const entry of this.#of(bridge).values()) if (entry.index === port.index) this.#forget(bridge, entry);
  }

  onGone(device: Device): void {
    for (const [mac, entry] of device.entries)
      for (const row of rowsOf(device, mac, entry)) this.#tell(RTM_DELNEIGH, row);
    device.entries.clear();
    this.#ofBridges.delete(device);
  }

  handle(request: FakeRequest): FakeAnswer | undefined {
    const operation = operationOf(request, RTM_NEWNEIGH);
    if (operation === "dump") return this.#dump(request);
    if (operation === undefined || request.payload[0] !== AF_BRIDGE) return undefined;
    const asked = readAs(request, readFdbEntry);
    const device = this.#links.need(asked.index);
    const isOfSelf = (asked.flags & neighbourFlag.self) !== 0;
    const isOfMaster = asked.flags === 0 || (asked.flags & neighbourFlag.master) !== 0;
    switch (operation) {
      case "get": {
        const [row] = isOfMaster
          ? this.#atBridge(device, asked.mac)
          : rowsOf(device, asked.mac, device.entries.get(asked.mac));
        if (!isOfMaster && device.kind !== "vxlan")
          throw new Refusal("EOPNOTSUPP", "Fdb get operation not supported by device");
        if (row === undefined) throw new Refusal("ENOENT", "Fdb entry not found");
        return { messages: [rowMessage(RTM_NEWNEIGH, row)] };
      }
      case "new": {
        if (!isOfSelf && device.master === undefined) throw new Refusal("EOPNOTSUPP");
        if (isOfMaster && device.master !== undefined) this.#putAtBridge(request, device, device.master, asked);
        if (isOfSelf) this.#putAtTunnel(request, device, asked);
        return {};
      }
      default: {
        if (!isOfSelf && device.master === undefined) throw new Refusal("EOPNOTSUPP");
        if (isOfMaster && device.master !== undefined) {
          const present = this.#of(device.master).get(asked.mac);
          if (present?.index !== device.index) throw new Refusal("ENOENT");
          this.#forget(device.master, present);
        }
        if (isOfSelf) this.#deleteAtTunnel(device, asked);
        return {};
      }
    }
  }

  #dump(request: FakeRequest): FakeAnswer | undefined {
    const { payload } = request;
    if (payload[0] !== AF_BRIDGE) return undefined;
    const { index, master } = filter.read(payload, viewOf(payload), headerLength, payload.length);
    if (master !== undefined) this.#links.need(master);
    const devices = this.#links.devices.filter(
      (device) =>
        (index === undefined || device.index === index) && (master === undefined || device.master?.index === master),
    );
    const rows = devices.flatMap((device) => [...this.ofPort(device), ...this.ofTunnel(device)]);
    return { messages: rows.map((row) => rowMessage(RTM_NEWNEIGH, row)) };
  }

  #of(bridge: Device | undefined): Map<MacAddress, FdbEntry> {
    if (bridge === undefined) return new Map();
    const entries = this.#ofBridges.get(bridge) ?? new Map<MacAddress, FdbEntry>();
    this.#ofBridges.set(bridge, entries);
    return entries;
  }

  #atBridge(device: Device, mac: MacAddress): readonly FdbEntry[] {
    if (device.master === undefined) throw new Refusal("EINVAL", "Device is not a bridge port");
    const entry = this.#of(device.master).get(mac);
    return entry === undefined ? [] : [entry];
  }

  #putAtBridge(request: FakeRequest, port: Device, bridge: Device, { mac, state, flags }: FdbEntry): void {
    const present = this.#of(bridge).get(mac);
    refuseByFlags(request, present !== undefined);
    const isTold = (flags & neighbourFlag.externallyLearned) !== 0;
    // What a control plane says never ages, and is shown as what was heard of a moment ago.
    const entry: FdbEntry = {
      index: port.index,
      mac,
      state: isTold ? neighbourState.reachable : state,
      flags: flags & ~(neighbourFlag.self | neighbourFlag.master),
      master: bridge.index,
    };
    if (present?.index !== entry.index || present.flags !== entry.flags || present.state !== entry.state)
      this.#put(port, entry);
  }

  #putAtTunnel(request: FakeRequest, device: Device, asked: FdbEntry): void {
    if (device.kind !== "vxlan") {
      if ((asked.state & neighbourState.permanent) === 0) throw new Refusal("EINVAL");
      return;
    }
    const { mac, state, nexthop, vtep, viaIndex } = asked;
    const present = device.entries.get(mac);
    const isSpecial = mac === zeroMac || isGroupMac(mac);
    const isAppended = (request.flags & NLM_F_APPEND) !== 0 && isSpecial;
    if (!isAppended || (request.flags & NLM_F_EXCL) !== 0) refuseByFlags(request, present !== undefined);
    if (nexthop !== undefined) this.#refuseNexthop(device, nexthop, present);
    if ((request.flags & NLM_F_REPLACE) !== 0 && present !== undefined && isSpecial)
      throw new Refusal("EOPNOTSUPP", "Cannot replace non-unicast fdb entries");
    const flags = neighbourFlag.self | (asked.flags & neighbourFlag.externallyLearned);
    const remote = vtep === undefined ? [] : [{ vtep, ...(viaIndex === undefined ? {} : { viaIndex }) }];
    const remotes = isAppended ? [...(present?.remotes ?? [])] : [];
    if (remotes.some((known) => known.vtep === vtep)) return;
    const entry: TunnelEntry = {
      state,
      flags,
      remotes: [...remotes, ...remote],
      ...(nexthop === undefined ? {} : { nexthop }),
    };
    const isSame = JSON.stringify(present) === JSON.stringify(entry);
    device.entries.set(mac, entry);
    const row = rowsOf(device, mac, entry).at(-1);
    if (row !== undefined && !isSame) this.#tell(RTM_NEWNEIGH, row);
  }

  #refuseNexthop(device: Device, id: number, present: TunnelEntry | undefined): void {
    const nexthop = device.underlay === undefined ? undefined : this.#context.nexthopOf(device.underlay, id);
    if (nexthop === undefined) throw new Refusal("EINVAL", "Nexthop id does not exist");
    if (nexthop.group === undefined || nexthop.fdb !== true) throw new Refusal("EINVAL", "Nexthop is not a group");
    if (present !== undefined && present.nexthop === undefined)
      throw new Refusal("EOPNOTSUPP", "Cannot replace an existing non nexthop fdb with a nexthop");
  }

  #deleteAtTunnel(device: Device, { mac, vtep }: FdbEntry): void {
    const present = device.entries.get(mac);
    if (present === undefined) throw new Refusal("ENOENT");
    const left = present.remotes.filter((remote) => remote.vtep !== vtep);
    const gone =
      vtep === undefined ? present : { ...present, remotes: present.remotes.filter((remote) => remote.vtep === vtep) };
    if (vtep !== undefined && left.length > 0) device.entries.set(mac, { ...present, remotes: left });
    else device.entries.delete(mac);
    for (const row of rowsOf(device, mac, gone)) this.#tell(RTM_DELNEIGH, row);
  }

  /** A bridge has the MACs of its own ports. */
  #putLocal(port: Device, mac: MacAddress): void {
    if (port.master === undefined || this.#of(port.master).has(mac)) return;
    this.#put(port, { index: port.index, mac, state: neighbourState.permanent, flags: 0, master: port.master.index });
  }

  #put(port: Device, entry: FdbEntry): void {
    this.#of(port.master).set(entry.mac, entry);
    this.#tell(RTM_NEWNEIGH, entry);
  }

  #forget(bridge: Device, entry: FdbEntry): void {
    this.#of(bridge).delete(entry.mac);
    this.#tell(RTM_DELNEIGH, entry);
  }

  #tell(type: number, row: FdbEntry): void {
    this.#context.tell(eventGroup.neighbour, rowMessage(type, row));
  }
}

/** As the kernel tells of a row: with the bridge whose it is, which no request says. */
function rowMessage(type: number, row: FdbEntry): FakeMessage {
  return {
    type,
    write(writer) {
      replaceFdbEntry(row).write(writer);
      filter.write(writer, { master: row.master });
    },
  };
}

function rowsOf(device: Device, mac: MacAddress, entry: TunnelEntry | undefined): FdbEntry[] {
  if (entry === undefined) return [];
  const { state, flags, nexthop, remotes } = entry;
  const row = { index: device.index, mac, state, flags };
  return nexthop !== undefined ? [{ ...row, nexthop }] : remotes.map((remote) => ({ ...row, ...remote }));
}
