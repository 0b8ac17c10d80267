import { createHash } from "node:crypto";
import type { IpAddress } from "../../base/ip.ts";
import { type MacAddress, macFromBytes, zeroMac } from "../../base/mac.ts";
import type { BridgePortSettings, Link, LinkInfo } from "../../netlink/index.ts";
import { linkHeader, linkSchema, RTM_DELLINK, RTM_NEWLINK } from "../../netlink/link.ts";
import { NLM_F_CREATE } from "../../netlink/message.ts";
import type { FakeAnswer, FakeMessage, FakeRequest } from "../fake-kernel.ts";
import { attributesIn } from "./attributes.ts";
import type { Context, FakeLink } from "./context.ts";
import { errno, isDump, viewOf } from "./errno.ts";

const RTM_GETLINK = RTM_NEWLINK + 2;
const RTM_SETLINK = RTM_NEWLINK + 3;
const AF_BRIDGE = 7;
const IFF_UP = 1;
const IFF_LOOPBACK = 8;
/** linux/if_link.h: IFLA_LINKINFO, IFLA_INFO_DATA, VETH_INFO_PEER. */
const linkInfo = { attribute: 18, data: 2, peer: 1 } as const;

type LinkValues = ReturnType<typeof linkSchema.read>;

/** What a bridge does with a port that nobody told it anything of. net/bridge/br_if.c: `new_nbp` */
const newPort: BridgePortSettings = {
  learning: true,
  unicastFlood: true,
  multicastFlood: true,
  broadcastFlood: true,
  neighbourSuppress: false,
  isolated: false,
};

/** Kinds of which two with the same settings cannot be, and which settings. */
const keysOfKind: Readonly<Record<string, (info: LinkInfo) => unknown>> = {
  vxlan: ({ vxlan }) => [vxlan?.vni, vxlan?.port],
  geneve: ({ geneve }) => [geneve?.vni, geneve?.port, geneve?.remote ?? geneve?.remote6],
  gre: ({ gre }) => [gre?.remote, gre?.inputKey],
  gretap: ({ gre }) => [gre?.remote, gre?.inputKey],
  ip6gre: ({ gre }) => [gre?.remote, gre?.inputKey],
  ip6gretap: ({ gre }) => [gre?.remote, gre?.inputKey],
  ipip: ({ ipTunnel }) => [ipTunnel?.remote],
  sit: ({ ipTunnel }) => [ipTunnel?.remote],
  ip6tnl: ({ ipTunnel }) => [ipTunnel?.remote],
};
const plainKinds = new Set(["bridge", "dummy", "veth"]);
/** Devices that carry IP packets and have no MAC. */
const withoutMac = new Set(["gre", "ip6gre", "ipip", "sit", "ip6tnl"]);

/** The devices of a namespace. */
export class FakeLinks {
  readonly all = new Map<number, FakeLink>();
  readonly #namespace: Context;
  #next = 2;

  constructor(namespace: Context) {
    this.#namespace = namespace;
    const link: Link = {
      index: 1,
      name: "lo",
      mac: zeroMac,
      mtu: 65_536,
      up: false,
      carrier: false,
      loopback: true,
      group: 0,
      info: {},
    };
    this.all.set(1, { link, namespace, outer: namespace });
  }

  byName(name: string): FakeLink | undefined {
    return [...this.all.values()].find(({ link }) => link.name === name);
  }

  nameOf(index: number | undefined): string {
    return index === undefined ? "none" : (this.all.get(index)?.link.name ?? `if${index}`);
  }

  handle(request: FakeRequest): FakeAnswer | undefined {
    const { type, flags, payload } = request;
    if (type < RTM_NEWLINK || type > RTM_SETLINK) return undefined;
    const view = viewOf(payload);
    const fixed = linkHeader.read(view, 0, payload.length);
    const values = linkSchema.read(payload, view, linkHeader.length, payload.length);
    if (type === RTM_GETLINK && isDump(flags)) {
      const links = [...this.all.values()].filter(
        ({ link }) => values.master === undefined || link.master === values.master,
      );
      return { messages: links.map((link) => this.#message(RTM_NEWLINK, link.link)) };
    }
    if (type === RTM_NEWLINK && (flags & NLM_F_CREATE) !== 0) return this.#create(values, payload);
    if (type === RTM_DELLINK && fixed.index === 0 && values.name === undefined)
      return this.#removeGroup(values.group ?? 0);
    const found = fixed.index !== 0 ? this.all.get(fixed.index) : this.byName(values.name ?? "");
    if (found === undefined) return { errno: errno.ENODEV, message: "" };
    if (type === RTM_GETLINK) return { messages: [this.#message(RTM_NEWLINK, found.link)] };
    if (type === RTM_DELLINK) {
      this.remove(found);
      return {};
    }
    return this.#change(found, fixed, values);
  }

  /** As if somebody had made it: for tests that set a scene. */
  add(name: string, kind: string, settings: Partial<Link> = {}): FakeLink {
    return this.insert({ kind, link: { name, up: true, ...settings }, outer: this.#namespace });
  }

  /** As if somebody had changed it. */
  set(found: FakeLink, changes: Partial<Link>): void {
    found.link = { ...found.link, ...changes };
    this.tell(found);
  }

  /** With its peer, and with all that hangs on it. */
  remove(found: FakeLink): void {
    if (!this.all.delete(found.link.index)) return;
    const { index } = found.link;
    for (const port of this.all.values()) if (port.link.master === index) this.set(port, withoutMaster(port.link));
    this.#namespace.leave(index);
    this.#namespace.sysctls.removeDevice(found.link.name);
    this.#namespace.publish("link", this.#message(RTM_DELLINK, found.link));
    if (found.peer !== undefined) found.peer.namespace.links.remove(found.peer);
  }

  #removeGroup(group: number): FakeAnswer {
    for (const found of [...this.all.values()])
      if (found.link.group === group && found.link.index !== 1) this.remove(found);
    return {};
  }

  #create(values: LinkValues, payload: Uint8Array): FakeAnswer {
    const { machine } = this.#namespace;
    const kind = values.info?.kind ?? "";
    const keyOf = keysOfKind[kind];
    if (keyOf === undefined && !plainKinds.has(kind))
      return { errno: errno.EOPNOTSUPP, message: "Unknown device type" };
    const target = values.namespaceFd === undefined ? this.#namespace : machine.byFd(values.namespaceFd);
    if (target === undefined) return { errno: errno.EBADF };
    if (values.name === undefined || target.links.byName(values.name) !== undefined) return { errno: errno.EEXIST };
    const outer = values.linkNamespaceId === undefined ? this.#namespace : this.#namespace.byId(values.linkNamespaceId);
    if (outer === undefined) return { errno: errno.EINVAL };
    const isSame = (other: FakeLink): boolean =>
      other.link.info.kind === kind &&
      other.outer === outer &&
      JSON.stringify(keyOf?.(other.link.info)) === JSON.stringify(keyOf?.(values.info ?? {}));
    if (keyOf !== undefined && machine.devices.some(isSame)) return { errno: errno.EEXIST };
    const peerValues = kind === "veth" ? peerOf(payload) : undefined;
    const peerPlace = peerValues?.namespaceFd === undefined ? this.#namespace : machine.byFd(peerValues.namespaceFd);
    if (kind === "veth" && (peerPlace === undefined || peerPlace.links.byName(peerValues?.name ?? "") !== undefined))
      return { errno: errno.EEXIST };
    const made = target.links.insert({ kind, link: settingsOf(values), outer });
    if (peerValues !== undefined && peerPlace !== undefined) {
      const peer = peerPlace.links.insert({ kind, link: settingsOf(peerValues), outer: peerPlace });
      for (const [one, other] of [
        [made, peer],
        [peer, made],
      ] as const) {
        one.peer = other;
        const id = one.namespace === other.namespace ? undefined : one.namespace.idOf(other.namespace);
        one.link = { ...one.link, link: other.link.index, ...(id === undefined ? {} : { linkNamespaceId: id }) };
      }
    }
    for (const device of [made, made.peer]) if (device !== undefined) device.namespace.links.tell(device);
    const group = values.info?.vxlan?.group ?? values.info?.vxlan?.group6;
    if (group !== undefined) target.fdb.addGroup(made.link.index, group, values.info?.vxlan?.link);
    return {};
  }

  /** Puts a device there; nobody is told yet. */
  insert({
    kind,
    link,
    outer,
  }: {
    readonly kind: string;
    readonly link: Partial<Link>;
    readonly outer: Context;
  }): FakeLink {
    const namespace = this.#namespace;
    const index = this.#next++;
    const mac = withoutMac.has(kind) ? {} : { mac: link.mac ?? macOf(link.name ?? "") };
    const info = { ...link.info, kind };
    const made: FakeLink = {
      link: {
        name: "",
        mtu: 1500,
        up: false,
        carrier: true,
        group: 0,
        ipv6AddressGenerationMode: 0,
        ...link,
        ...mac,
        index,
        info,
      },
      namespace,
      outer,
    };
    this.all.set(index, made);
    namespace.sysctls.addDevice(made.link.name);
    return made;
  }

  #change(found: FakeLink, fixed: ReturnType<typeof linkHeader.read>, values: LinkValues): FakeAnswer {
    const { link } = found;
    if (values.name !== undefined && values.name !== link.name && this.byName(values.name) !== undefined)
      return { errno: errno.EEXIST };
    if (values.master !== undefined && values.master !== 0 && this.all.get(values.master)?.link.info.kind !== "bridge")
      return { errno: errno.EINVAL };
    const { bridgePort, portKind, kind: _kind, ...data } = values.info ?? {};
    const settings = fixed.family === AF_BRIDGE ? values.bridgePort : bridgePort;
    let next: Link = { ...link, ...settingsOf(values) };
    next = { ...next, info: merged(link.info, data) };
    if (fixed.change & IFF_UP) next = { ...next, up: (fixed.flags & IFF_UP) !== 0 };
    if (values.master === 0) next = withoutMaster(next);
    else if (values.master !== undefined && values.master !== link.master)
      next = { ...next, info: { ...next.info, portKind: "bridge", bridgePort: newPort } };
    if (settings !== undefined) {
      if (next.master === undefined) return { errno: errno.EINVAL };
      next = { ...next, info: { ...next.info, bridgePort: { ...next.info.bridgePort, ...settings } } };
    }
    const isPortChanged = JSON.stringify(next.info.bridgePort) !== JSON.stringify(link.info.bridgePort);
    if (JSON.stringify(next) === JSON.stringify(link)) return {};
    if (next.master !== link.master) this.#namespace.fdb.leaveBridge(link.index);
    if (link.up && !next.up) this.#namespace.routes.leave(link.index);
    found.link = next;
    this.tell(found);
    if (isPortChanged && next.info.bridgePort !== undefined)
      this.#namespace.publish("link", portMessage(link.index, next.info.bridgePort));
    return {};
  }

  tell(found: FakeLink): void {
    this.#namespace.publish("link", this.#message(RTM_NEWLINK, found.link));
  }

  #message(type: number, link: Link): FakeMessage {
    const { index, up, carrier: _carrier, loopback, ipv6AddressGenerationMode, ...rest } = link;
    return {
      type,
      write: (writer) => {
        const flags = (up ? IFF_UP : 0) | (loopback === true ? IFF_LOOPBACK : 0);
        linkHeader.write(writer, { index, flags });
        linkSchema.write(writer, {
          ...rest,
          ...(ipv6AddressGenerationMode === undefined
            ? {}
            : { addressFamilies: { inet6: { addressGenerationMode: ipv6AddressGenerationMode } } }),
        });
      },
    };
  }
}

/** What a request says of a device, without what says where it goes. */
function settingsOf(values: LinkValues): Partial<Link> {
  const {
    namespaceFd: _fd,
    linkNamespaceId: _id,
    extendedMask: _mask,
    bridgePort: _port,
    addressFamilies,
    info,
    ...rest
  } = values;
  const mode = addressFamilies?.inet6?.addressGenerationMode;
  const { peer: _peer, ...settings } = info ?? {};
  const link = { ...rest, ...(mode === undefined ? {} : { ipv6AddressGenerationMode: mode }), info: settings };
  return Object.fromEntries(Object.entries(link).filter(([, value]) => value !== undefined)) as Partial<Link>;
}

function merged(before: LinkInfo, changes: LinkInfo): LinkInfo {
  const info: Record<string, unknown> = { ...before };
  for (const [field, value] of Object.entries(changes))
    if (typeof value === "object" && value !== null) info[field] = { ...(info[field] as object), ...value };
  return info as LinkInfo;
}

function withoutMaster({ master: _master, ...link }: Link): Link {
  const { portKind: _kind, bridgePort: _port, ...info } = link.info;
  return { ...link, info };
}

/** The other end, as a request to make a veth pair says it. */
function peerOf(payload: Uint8Array): LinkValues | undefined {
  const view = viewOf(payload);
  const info = attributesIn(view, linkHeader.length, payload.length).get(linkInfo.attribute);
  const data = info === undefined ? undefined : attributesIn(view, ...info).get(linkInfo.data);
  const peer = data === undefined ? undefined : attributesIn(view, ...data).get(linkInfo.peer);
  return peer === undefined ? undefined : linkSchema.read(payload, view, peer[0] + linkHeader.length, peer[1]);
}

function portMessage(index: number, settings: BridgePortSettings): FakeMessage {
  return {
    type: RTM_NEWLINK,
    write: (writer) => {
      linkHeader.write(writer, { family: AF_BRIDGE, index });
      linkSchema.write(writer, { bridgePort: settings });
    },
  };
}

/** Linux takes a random one. Here a device that is made again has the same, so that texts can be compared. */
function macOf(name: string): MacAddress {
  const bytes = Uint8Array.from(createHash("sha256").update(name).digest().subarray(0, 6));
  bytes[0] = 0x02;
  return macFromBytes(bytes);
}

/** One device as `ip -d link` has it, without what follows from others. */
export function linkText(link: Link, nameOf: (index: number | undefined) => string): string {
  const { name, mac, mtu, up, master, alias, info } = link;
  const kind = info.kind ?? "loopback";
  const field = info.vxlan ?? info.geneve ?? info.gre ?? info.ipTunnel;
  const settings = Object.entries(field ?? info.bridge ?? {})
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => ` ${key} ${value as IpAddress | number | boolean}`);
  const port = Object.entries(info.bridgePort ?? {})
    .filter(([, value]) => typeof value === "boolean")
    .map(([key, value]) => ` ${key} ${value ? "on" : "off"}`);
  return [
    `link ${name} ${kind} mtu ${mtu}${mac === undefined ? "" : ` address ${mac}`} ${up ? "up" : "down"}`,
    master === undefined ? "" : ` master ${nameOf(master)}`,
    alias === undefined ? "" : ` alias ${alias}`,
    ...settings,
    ...port,
  ].join("");
}
