import type { MacAddress } from "../../base/mac.ts";
import { AttributeSchema, binary, nested, u32 } from "../../netlink/attribute.ts";
import { eventGroup } from "../../netlink/events.ts";
import {
  type BridgePortSettings,
  type Link,
  RTM_DELLINK,
  RTM_NEWLINK,
  readBridgePort,
  readLink,
} from "../../netlink/index.ts";
import { NLM_F_CREATE } from "../../netlink/message.ts";
import type { FakeAnswer, FakeMessage, FakeRequest } from "../fake-kernel.ts";
import { carriesIpv6, type Device, type DeviceHome, kinds, linkMessage, newPort, portMessage } from "./device.ts";
import { type Family, operationOf, Refusal, readAs, viewOf } from "./request.ts";

/** linux/rtnetlink.h: `struct ifinfomsg`. */
const headerLength = 16;
const indexOffset = 4;
const flagsOffset = 8;
const changeOffset = 12;
const IFF_UP = 1;

/** net/bridge/br_private.h: BR_MAX_PORTS, of which the first number is not given out. */
const mostPorts = 1023;

/** linux/if_ether.h: ETH_DATA_LEN. */
const usualMtu = 1500;

/** Where a request can say nothing, and what is read of a device as the kernel reports it cannot. */
const schema = new AttributeSchema("IFLA (of a request)", {
  mtu: u32(4),
  master: u32(10),
  group: u32(27),
  namespaceFd: u32(28),
  info: nested(
    18,
    new AttributeSchema("IFLA_INFO", { data: nested(2, new AttributeSchema("VETH", { peer: binary(1) })) }),
  ),
});

interface LinkRequest {
  readonly index: number;
  /** Absent: left as it is. */
  readonly up?: boolean;
  readonly link: Link;
  readonly mtu?: number | undefined;
  readonly master?: number | undefined;
  readonly group?: number | undefined;
  readonly namespaceFd?: number | undefined;
  readonly peer?: LinkRequest;
}

/** What devices need of what is around them. */
export interface LinksContext {
  tell(group: number, message: FakeMessage): void;
  /** The devices of another namespace, by an open descriptor of it. */
  linksOf(fd: number): Links;
  /** Those of all namespaces. */
  readonly all: Iterable<Links>;
  nextMac(): MacAddress;
}

/** Who has something of devices, and is told before the kernel tells of them: in the order in which they asked. */
export interface DeviceUser {
  onMade?(device: Device): void;
  onUp?(device: Device): void;
  onDown?(device: Device): void;
  onMac?(device: Device, before: MacAddress | undefined): void;
  /** IPv6 came to the device, or was taken off, because its MTU changed. */
  onIpv6?(device: Device): void;
  onJoined?(device: Device): void;
  onLeft?(device: Device, bridge: Device): void;
  onGone?(device: Device): void;
}

/** The devices of one namespace. */
export class Links implements Family, DeviceHome {
  readonly users: DeviceUser[] = [];
  readonly #context: LinksContext;
  readonly #byIndex = new Map<number, Device>();
  readonly #ids = new Map<DeviceHome, number>();
  #lastIndex = 0;

  constructor(context: LinksContext) {
    this.#context = context;
  }

  get devices(): readonly Device[] {
    return [...this.#byIndex.values()];
  }

  get(index: number): Device | undefined {
    return this.#byIndex.get(index);
  }

  find(name: string): Device | undefined {
    return this.devices.find((device) => device.name === name);
  }

  /** The device that a request is about. */
  need(index: number): Device {
    const device = this.#byIndex.get(index);
    if (device === undefined) throw new Refusal("ENODEV");
    return device;
  }

  /** The devices of a namespace that a request names. */
  linksOf(fd: number): Links {
    return this.#context.linksOf(fd);
  }

  idOf(other: DeviceHome): number {
    const id = this.#ids.get(other) ?? this.#ids.size;
    this.#ids.set(other, id);
    return id;
  }

  /** `undefined`: it has none. */
  knownIdOf(other: DeviceHome): number | undefined {
    return this.#ids.get(other);
  }

  /** Makes a device, as hardware that is plugged in does. */
  add(settings: Pick<Device, "name"> & Partial<Device>): Device {
    const { kind } = settings;
    const hasMac = kind === undefined ? settings.name !== "lo" : kinds[kind]?.hasMac === true;
    const device: Device = {
      mtu: usualMtu,
      up: false,
      group: 0,
      data: {},
      keepsMtu: false,
      port: newPort,
      hasOwnMac: settings.mac !== undefined,
      entries: new Map(),
      settings: { 4: new Map(), 6: new Map() },
      ...(hasMac ? { mac: this.#context.nextMac() } : {}),
      ...settings,
      home: this,
      index: ++this.#lastIndex,
    };
    this.#byIndex.set(device.index, device);
    for (const user of this.users) user.onMade?.(device);
    this.#tell(device);
    return device;
  }

  /** Takes a device away with all that goes with it. */
  remove(device: Device): void {
    if (!this.#byIndex.has(device.index)) return;
    this.setUp(device, false);
    for (const port of this.portsOf(device)) this.#setMaster(port, undefined);
    this.#leave(device);
    this.#byIndex.delete(device.index);
    for (const user of this.users) user.onGone?.(device);
    this.#context.tell(eventGroup.link, linkMessage(RTM_DELLINK, device));
    const { peer } = device;
    if (peer !== undefined) {
      delete device.peer;
      delete peer.peer;
      peer.home.remove(peer);
    }
    for (const links of this.#context.all)
      for (const above of links.devices)
        if (above.underlay === this && above.data.link === device.index) links.remove(above);
  }

  portsOf(bridge: Device): readonly Device[] {
    return this.devices.filter(({ master }) => master === bridge);
  }

  setUp(device: Device, up: boolean): void {
    if (device.up === up) return;
    device.up = up;
    for (const user of this.users) (up ? user.onUp : user.onDown)?.call(user, device);
    this.#tell(device);
    if (device.master !== undefined) this.#context.tell(eventGroup.link, portMessage(RTM_NEWLINK, device));
  }

  handle(request: FakeRequest): FakeAnswer | undefined {
    const operation = operationOf(request, RTM_NEWLINK);
    if (operation === undefined) return undefined;
    if (operation === "set") return this.#changePort(readAs(request, readBridgePort));
    const asked = parse(request.payload, request.type);
    switch (operation) {
      case "dump": {
        const shown = this.devices.filter(({ master }) => asked.master === undefined || master?.index === asked.master);
        return { messages: shown.map((device) => linkMessage(RTM_NEWLINK, device)) };
      }
      case "get":
        return { messages: [linkMessage(RTM_NEWLINK, this.#meant(asked))] };
      case "delete":
        if (asked.index === 0 && asked.link.name === "" && asked.group !== undefined) this.#removeGroup(asked.group);
        else {
          const device = this.#meant(asked);
          if (device.kind === undefined) throw new Refusal("EOPNOTSUPP");
          this.remove(device);
        }
        return {};
      case "new":
        if ((request.flags & NLM_F_CREATE) === 0) this.#change(this.#meant(asked), asked);
        else this.#create(asked);
        return {};
    }
  }

  /** net/core/rtnetlink.c: `rtnl_group_dellink` */
  #removeGroup(number: number): void {
    const meant = this.devices.filter(({ group }) => group === number);
    if (meant.length === 0) throw new Refusal("ENODEV");
    if (meant.some(({ kind }) => kind === undefined)) throw new Refusal("EOPNOTSUPP");
    // Bridges lose their ports before any device goes.
    for (const device of meant) for (const port of this.portsOf(device)) this.#setMaster(port, undefined);
    for (const device of meant) this.remove(device);
  }

  #meant({ index, link }: LinkRequest): Device {
    const device = index !== 0 ? this.get(index) : this.find(link.name);
    if (device === undefined) throw new Refusal("ENODEV");
    return device;
  }

  #create(asked: LinkRequest): void {
    const { name, info, linkNamespaceId, gsoMaxSize, gsoMaxSegments } = asked.link;
    const target = asked.namespaceFd === undefined ? this : this.linksOf(asked.namespaceFd);
    const kind = info.kind === undefined ? undefined : kinds[info.kind];
    if (kind === undefined || info.kind === undefined) throw new Refusal("EOPNOTSUPP", "Unknown device type");
    if (target.find(name) !== undefined) throw new Refusal("EEXIST");
    const given = kind.field === undefined ? {} : { ...info[kind.field] };
    const data: Record<string, unknown> = { ...kind.defaults, ...given };
    // net/vxlan: no ageing is the usual one.
    if (info.kind === "vxlan" && data.ageing === 0) data.ageing = kind.defaults?.ageing;
    let underlay: Links | undefined;
    if (kind.key !== undefined) {
      underlay = linkNamespaceId === undefined ? (kind.isOfSocket ? this : target) : this.#byId(linkNamespaceId);
      underlay.#refuseSecond(info.kind, kind.key, data);
      if (typeof data.link === "number" && data.link !== 0) underlay.need(data.link);
    }
    const other = asked.peer === undefined ? undefined : this.#placeOf(asked.peer);
    if (asked.peer !== undefined && other?.find(asked.peer.link.name) !== undefined) throw new Refusal("EEXIST");
    const device = target.add({
      name,
      kind: info.kind,
      data,
      mtu: asked.mtu ?? usualMtu,
      group: asked.group ?? 0,
      ...(asked.link.mac === undefined ? {} : { mac: asked.link.mac }),
      ...(gsoMaxSize === undefined ? {} : { gsoMaxSize }),
      ...(gsoMaxSegments === undefined ? {} : { gsoMaxSegments }),
      ...(underlay === undefined ? {} : { underlay }),
    });
    if (info.kind === "veth") {
      const { link, mtu = usualMtu, group = 0 } = asked.peer ?? {};
      const { name: otherName = `veth${device.index}`, mac } = link ?? {};
      device.peer = (other ?? target).add({
        name: otherName,
        kind: "veth",
        mtu,
        group,
        peer: device,
        ...(mac === undefined ? {} : { mac }),
      });
    }
    if (asked.master !== undefined && asked.master !== 0) target.#setMaster(device, target.need(asked.master));
    if (asked.up === true) target.setUp(device, true);
  }

  #placeOf({ namespaceFd }: LinkRequest): Links {
    return namespaceFd === undefined ? this : this.linksOf(namespaceFd);
  }

  #byId(id: number): Links {
    for (const links of this.#context.all) if (this.#ids.get(links) === id) return links;
    throw new Refusal("EINVAL", "Unknown network namespace id");
  }

  /** Of all tunnels over this underlay. */
  #refuseSecond(kind: string, key: readonly string[], data: Readonly<Record<string, unknown>>): void {
    for (const links of this.#context.all)
      for (const device of links.devices)
        if (
          device.underlay === this &&
          device.kind === kind &&
          key.every((field) => device.data[field] === data[field])
        )
          throw kind === "vxlan"
            ? new Refusal("EEXIST", "A VXLAN device with the specified VNI already exists")
            : new Refusal(kind === "geneve" ? "EBUSY" : "EEXIST");
  }

  /** In the order of the kernel's `do_setlink` (net/core/rtnetlink.c), which tells of devices that are down of some changes alone. */
  #change(device: Device, asked: LinkRequest): void {
    const { link } = asked;
    const kind = device.kind === undefined ? undefined : kinds[device.kind];
    let isToBeTold = device.up;
    const given = kind?.field === undefined ? undefined : link.info[kind.field];
    if (given !== undefined && kind !== undefined) {
      const values: Readonly<Record<string, unknown>> = { ...given };
      const refused = kind.fixed?.find((field) => values[field] !== undefined && values[field] !== device.data[field]);
      if (refused !== undefined) throw new Refusal("EOPNOTSUPP", `Cannot change ${refused}`);
      device.data = { ...(kind.isSetWhole ? kind.defaults : device.data), ...values };
    }
    if (link.mac !== undefined && link.mac !== device.mac) {
      const before = device.mac;
      device.mac = link.mac;
      device.hasOwnMac = true;
      for (const user of this.users) user.onMac?.(device, before);
      isToBeTold = true;
    }
    if (asked.mtu !== undefined) {
      if (device.kind === "bridge") device.keepsMtu = true;
      isToBeTold = this.#setMtu(device, asked.mtu) || isToBeTold;
    }
    if (asked.group !== undefined) device.group = asked.group;
    if (link.name !== "" && link.name !== device.name) {
      if (this.find(link.name) !== undefined) throw new Refusal("EEXIST");
      device.name = link.name;
      isToBeTold = true;
    }
    if (link.alias !== undefined) device.alias = link.alias;
    if (link.ipv6AddressGenerationMode !== undefined)
      device.settings[6].set("addr_gen_mode", String(link.ipv6AddressGenerationMode));
    if (asked.master !== undefined) {
      this.#setMaster(device, asked.master === 0 ? undefined : this.need(asked.master));
      isToBeTold = true;
    }
    if (link.info.bridgePort !== undefined) {
      if (device.master === undefined) throw new Refusal("EINVAL");
      device.port = { ...device.port, ...link.info.bridgePort };
      if (device.up) this.#context.tell(eventGroup.link, portMessage(RTM_NEWLINK, device));
    }
    if (isToBeTold) this.#tell(device);
    if (asked.up !== undefined) this.setUp(device, asked.up);
  }

  /** net/bridge/br_netlink.c: `br_setlink` tells of it also while the device is down. */
  #changePort({ index, settings }: { readonly index: number; readonly settings: BridgePortSettings }): FakeAnswer {
    const device = this.need(index);
    if (device.master === undefined) throw new Refusal("EOPNOTSUPP");
    device.port = { ...device.port, ...settings };
    this.#context.tell(eventGroup.link, portMessage(RTM_NEWLINK, device));
    return {};
  }

  #setMtu(device: Device, mtu: number): boolean {
    if (device.mtu === mtu) return false;
    const isOther = carriesIpv6(device.mtu) !== carriesIpv6(mtu);
    device.mtu = mtu;
    if (isOther) for (const user of this.users) user.onIpv6?.(device);
    if (device.master !== undefined) this.#followPorts(device.master);
    return true;
  }

  #setMaster(device: Device, master: Device | undefined): void {
    if (device.master === master) return;
    this.#leave(device);
    if (master !== undefined) {
      if (master.kind !== "bridge") throw new Refusal("EOPNOTSUPP");
      if (device.mac === undefined) throw new Refusal("EINVAL", "Can not enslave a non-Ethernet device");
      if (this.portsOf(master).length >= mostPorts) throw new Refusal("EXFULL");
      device.master = master;
      device.port = newPort;
      for (const user of this.users) user.onJoined?.(device);
      this.#context.tell(eventGroup.link, portMessage(RTM_NEWLINK, device));
      this.#followPorts(master);
    }
    this.#tell(device);
  }

  /** The device leaves its bridge, if it is a port. */
  #leave(device: Device): void {
    const { master } = device;
    if (master === undefined) return;
    delete device.master;
    for (const user of this.users) user.onLeft?.(device, master);
    this.#context.tell(eventGroup.link, portMessage(RTM_DELLINK, device));
    this.#followPorts(master);
  }

  /** net/bridge/br_if.c: `br_mtu_auto_adjust` */
  #followPorts(bridge: Device): void {
    if (bridge.keepsMtu) return;
    const ports = this.portsOf(bridge);
    const mtu = ports.length === 0 ? usualMtu : Math.min(...ports.map((port) => port.mtu));
    if (this.#setMtu(bridge, mtu)) this.#tell(bridge);
  }

  #tell(device: Device): void {
    this.#context.tell(eventGroup.link, linkMessage(RTM_NEWLINK, device));
  }
}

function parse(payload: Uint8Array, type: number): LinkRequest {
  const view = viewOf(payload);
  const link = readLink(payload, view, 0, payload.length);
  if (link === undefined) throw new Refusal("EOPNOTSUPP", `a message of type ${type} about bridge ports`);
  const { info, ...values } = schema.read(payload, view, headerLength, payload.length);
  const peer = link.info.kind === "veth" ? info?.data?.peer : undefined;
  const isUpTold = (view.getUint32(changeOffset, true) & IFF_UP) !== 0;
  return {
    ...values,
    index: view.getInt32(indexOffset, true),
    link,
    ...(isUpTold ? { up: (view.getUint32(flagsOffset, true) & IFF_UP) !== 0 } : {}),
    ...(peer === undefined ? {} : { peer: parse(peer, type) }),
  };
}
