import type { MacAddress } from "../base/mac.ts";
import { type Attribute, AttributeSchema, macAddress, nested, s32, string, u8, u32 } from "./attribute.ts";
import { FixedHeader } from "./fixed-header.ts";
import { type BridgePortSettings, type BridgeSettings, bridgePortSchema, bridgeSchema } from "./link-kinds/bridge.ts";
import { type GeneveSettings, geneveSchema } from "./link-kinds/geneve.ts";
import { type GreSettings, greSchema } from "./link-kinds/gre.ts";
import { type IpTunnelSettings, ipTunnelSchema } from "./link-kinds/ip-tunnel.ts";
import { type VxlanSettings, vxlanSchema } from "./link-kinds/vxlan.ts";
import { NLM_F_CREATE, NLM_F_EXCL } from "./message.ts";
import type { NamespaceReference } from "./namespace-id.ts";
import type { Query, Request } from "./request.ts";

/** linux/rtnetlink.h */
export const RTM_NEWLINK = 16;
export const RTM_DELLINK = 17;
const RTM_GETLINK = 18;
const RTM_SETLINK = 19;

/** linux/if.h: `enum net_device_flags`. */
const IFF_UP = 0x1;
const IFF_LOOPBACK = 0x8;
const IFF_LOWER_UP = 0x1_0000;
/** Link messages of this family are about bridge ports. */
const AF_BRIDGE = 7;
/** linux/rtnetlink.h: leave statistics out of dumps. */
const RTEXT_FILTER_SKIP_STATS = 1 << 3;

/** linux/rtnetlink.h: `struct ifinfomsg`. */
const header = new FixedHeader("ifinfomsg", [
  ["family", "u8"],
  ["pad", "pad8"],
  ["deviceType", "u16"],
  ["index", "s32"],
  ["flags", "u32"],
  ["change", "u32"],
]);

/** linux/if_link.h: `enum in6_addr_gen_mode`. */
const inet6Schema = new AttributeSchema("IFLA_INET6", {
  /** 0: link-local from the MAC, 1: none. */
  addressGenerationMode: u8(8),
});
const addressFamilySchema = new AttributeSchema("IFLA_AF_SPEC", { inet6: nested(10, inet6Schema) });

export interface LinkInfo {
  /** `vxlan`, `bridge`, `veth`, … */
  readonly kind?: string;
  readonly vxlan?: VxlanSettings;
  readonly bridge?: BridgeSettings;
  readonly geneve?: GeneveSettings;
  /** Of gre, gretap, ip6gre and ip6gretap. */
  readonly gre?: GreSettings;
  /** Of ipip, sit and ip6tnl. */
  readonly ipTunnel?: IpTunnelSettings;
  /** The other end of a veth pair, when one is made. It cannot be made up: ENOTCONN; set it up afterwards. */
  readonly peer?: LinkSettings;
  /** What the device is a port of: `bridge`. */
  readonly portKind?: string;
  readonly bridgePort?: BridgePortSettings;
}

/** Settings of a kind, by the field that they are in. */
const dataSchemas = {
  vxlan: vxlanSchema,
  bridge: bridgeSchema,
  geneve: geneveSchema,
  gre: greSchema,
  ipTunnel: ipTunnelSchema,
} as const;
type DataField = keyof typeof dataSchemas;
const dataFieldOfKind = new Map<string | undefined, DataField>([
  ["vxlan", "vxlan"],
  ["bridge", "bridge"],
  ["geneve", "geneve"],
  ["gre", "gre"],
  ["gretap", "gre"],
  ["ip6gre", "gre"],
  ["ip6gretap", "gre"],
  ["ipip", "ipTunnel"],
  ["sit", "ipTunnel"],
  ["ip6tnl", "ipTunnel"],
]);
const linkInfoCodes = { kind: 1, data: 2, portKind: 4, portData: 5 } as const;
const VETH_INFO_PEER = 1;
const NLA_F_NESTED = 0x8000;

/** IFLA_LINKINFO: what the data mean depends on the kind beside them. */
function linkInfo(code: number): Attribute<LinkInfo> {
  return {
    code,
    nested: true,
    write(writer, value) {
      const text = (textCode: number, content: string): void => {
        const start = writer.beginAttribute(textCode);
        string(textCode).write(writer, content);
        writer.endAttribute(start);
      };
      const within = (nestedCode: number, content: () => void): void => {
        const start = writer.beginAttribute(nestedCode | NLA_F_NESTED);
        content();
        writer.endAttribute(start);
      };
      if (value.kind !== undefined) text(linkInfoCodes.kind, value.kind);
      for (const field of Object.keys(dataSchemas) as DataField[]) {
        const data = value[field];
        if (data !== undefined) within(linkInfoCodes.data, () => dataSchemas[field].write(writer, data));
      }
      const peer = value.peer;
      if (peer !== undefined)
        within(linkInfoCodes.data, () => within(VETH_INFO_PEER, () => writeLink(writer, { family: 0 }, peer)));
      if (value.portKind !== undefined) text(linkInfoCodes.portKind, value.portKind);
      if (value.bridgePort !== undefined)
        within(linkInfoCodes.portData, () => bridgePortSchema.write(writer, value.bridgePort ?? {}));
    },
    read(bytes, view, offset, length) {
      let kind: string | undefined;
      let portKind: string | undefined;
      let data: [number, number] | undefined;
      let portData: [number, number] | undefined;
      for (let position = offset; position + 4 <= offset + length; ) {
        const size = view.getUint16(position, true);
        if (size < 4 || position + size > offset + length) throw new RangeError("IFLA_LINKINFO is malformed");
        const type = view.getUint16(position + 2, true) & 0x3fff;
        if (type === linkInfoCodes.kind) kind = string(type).read(bytes, view, position + 4, size - 4);
        else if (type === linkInfoCodes.data) data = [position + 4, position + size];
        else if (type === linkInfoCodes.portKind) portKind = string(type).read(bytes, view, position + 4, size - 4);
        else if (type === linkInfoCodes.portData) portData = [position + 4, position + size];
        position += (size + 3) & ~3;
      }
      const info: { -readonly [Field in keyof LinkInfo]: LinkInfo[Field] } = {};
      if (kind !== undefined) info.kind = kind;
      if (portKind !== undefined) info.portKind = portKind;
      const field = dataFieldOfKind.get(kind);
      if (data !== undefined && field !== undefined)
        Object.assign(info, { [field]: dataSchemas[field].read(bytes, view, data[0], data[1]) });
      if (portData !== undefined && portKind === "bridge")
        info.bridgePort = bridgePortSchema.read(bytes, view, portData[0], portData[1]);
      return info;
    },
  };
}

/** linux/if_link.h: `IFLA_*`. */
const linkSchema = new AttributeSchema("IFLA", {
  mac: macAddress(1),
  name: string(3),
  mtu: u32(4),
  /** Index of the device below: the underlay interface of a tunnel, the other end of a veth pair. */
  link: u32(5),
  /** Index of the bridge that the device is a port of; 0: none. */
  master: u32(10),
  transmitQueueLength: u32(13),
  /** What a bridge says of its port, in messages of the family AF_BRIDGE. */
  bridgePort: nested(12, bridgePortSchema),
  /** RFC 2863: 0 unknown, 2 down, 6 up, … */
  operationalState: u8(16),
  info: linkInfo(18),
  /** Up to 255 octets that mean what whoever wrote them wants. */
  alias: string(20),
  addressFamilies: nested(26, addressFamilySchema),
  group: u32(27),
  /** Descriptor of the namespace to put the device into. */
  namespaceFd: u32(28),
  extendedMask: u32(29),
  promiscuity: u32(30),
  transmitQueues: u32(31),
  receiveQueues: u32(32),
  /** The namespace of `link`, if it is another one, by the id that this namespace has for it. */
  linkNamespaceId: s32(37),
  gsoMaxSegments: u32(40),
  gsoMaxSize: u32(41),
  groMaxSize: u32(58),
  tsoMaxSize: u32(59),
  tsoMaxSegments: u32(60),
  gsoIpv4MaxSize: u32(63),
  groIpv4MaxSize: u32(64),
});

/** What a device is told to be. Absent means "leave it". */
export interface LinkSettings {
  readonly name?: string;
  readonly mac?: MacAddress;
  /** Octets of the largest packet above the device's own header. */
  readonly mtu?: number;
  readonly master?: number;
  /** Up to 255 octets that mean what whoever wrote them wants. Not at creation: the kernel ignores it there. */
  readonly alias?: string;
  readonly group?: number;
  readonly info?: LinkInfo;
  /** The namespace that the device is created in, or moved to. */
  readonly namespace?: NamespaceReference;
  /**
   * At creation: the namespace that a tunnel's outer packets travel in, by the id that the namespace of the device has
   * for it (see `namespaceIdOf`). Absent: for gre, ipip, sit and ip6tnl that of the device, for vxlan and geneve that
   * of the socket. Before Linux 6.15 the device is made there and then moved: its name must be free there too, and it
   * arrives down, whatever `up` says.
   */
  readonly linkNamespaceId?: number;
  readonly up?: boolean;
  readonly transmitQueueLength?: number;
  readonly gsoMaxSize?: number;
  readonly gsoMaxSegments?: number;
  readonly gsoIpv4MaxSize?: number;
  /** `none`: no link-local address appears by itself. Not at creation: the kernel looks at it only afterwards. */
  readonly ipv6AddressGeneration?: "link-local" | "none";
}

/** A network device as the kernel reports it. */
export interface Link {
  readonly index: number;
  readonly name: string;
  /** Absent for devices without a 48-bit address. */
  readonly mac?: MacAddress;
  readonly mtu: number;
  /** Administratively up. */
  readonly up: boolean;
  readonly carrier: boolean;
  /** What is sent through it comes back to this host. */
  readonly loopback?: boolean;
  readonly master?: number;
  readonly link?: number;
  readonly linkNamespaceId?: number;
  readonly alias?: string;
  readonly group: number;
  readonly info: LinkInfo;
  readonly transmitQueueLength?: number;
  readonly gsoMaxSize?: number;
  readonly gsoMaxSegments?: number;
  readonly gsoIpv4MaxSize?: number;
  /** 0: link-local addresses appear by themselves, 1: none does. */
  readonly ipv6AddressGenerationMode?: number;
}

export type LinkReference = { readonly index: number } | { readonly name: string };

/** Makes a device. EEXIST if the name is taken. */
export function createLink(kind: string, settings: LinkSettings): Request {
  return {
    type: RTM_NEWLINK,
    flags: NLM_F_CREATE | NLM_F_EXCL,
    describe: () =>
      `create ${kind} ${settings.name ?? ""}${settings.namespace ? ` in ${settings.namespace.label}` : ""}`,
    write: (writer) => writeLink(writer, {}, { ...settings, info: { ...settings.info, kind } }),
  };
}

/** Changes a device. To rename one refer to it by index: by name the kernel would look for the new name. */
export function changeLink(reference: LinkReference, settings: LinkSettings): Request {
  return {
    type: RTM_NEWLINK,
    flags: 0,
    describe: () => `change link ${labelOf(reference)} (${Object.keys(settings).join(", ")})`,
    write: (writer) => {
      if ("name" in reference && settings.name !== undefined && settings.name !== reference.name)
        throw new RangeError("a device that is to be renamed is referred to by index");
      writeLink(writer, reference, settings);
    },
  };
}

/** Changes what a bridge does with one of its ports. */
export function changeBridgePort(index: number, settings: BridgePortSettings): Request {
  return {
    type: RTM_SETLINK,
    flags: 0,
    describe: () => `change bridge port ${index} (${Object.keys(settings).join(", ")})`,
    write(writer) {
      header.write(writer, { family: AF_BRIDGE, index });
      const start = writer.beginAttribute(12 | NLA_F_NESTED); // IFLA_PROTINFO
      bridgePortSchema.write(writer, settings);
      writer.endAttribute(start);
    },
  };
}

export function deleteLink(reference: LinkReference): Request {
  return {
    type: RTM_DELLINK,
    flags: 0,
    describe: () => `delete link ${labelOf(reference)}`,
    write: (writer) => writeLink(writer, reference, {}),
  };
}

/**
 * Deletes all devices of a group at once. What the kernel waits for after each deletion, it waits for once; but for bridges, each of
 * which waits by itself (net/bridge/br_multicast.c, `br_multicast_dev_del`). Fails with ENODEV when there are none.
 */
export function deleteLinkGroup(group: number): Request {
  return {
    type: RTM_DELLINK,
    flags: 0,
    describe: () => `delete all links of group ${group}`,
    write(writer) {
      header.write(writer, {});
      linkSchema.write(writer, { group });
    },
  };
}

export function getLink(reference: LinkReference): Query<Link> {
  return {
    type: RTM_GETLINK,
    flags: 0,
    describe: () => `look up link ${labelOf(reference)}`,
    write(writer) {
      header.write(writer, "index" in reference ? { index: reference.index } : {});
      linkSchema.write(writer, {
        ...("name" in reference ? { name: reference.name } : {}),
        extendedMask: RTEXT_FILTER_SKIP_STATS,
      });
    },
    read: (bytes, view, start, end) => readLink(bytes, view, start, end),
  };
}

/** All devices of the namespace, or the ports of one bridge. */
export function listLinks(filter: { readonly master?: number } = {}): Query<Link> {
  return {
    type: RTM_GETLINK,
    flags: 0,
    describe: () => "list links",
    write(writer) {
      header.write(writer, {});
      linkSchema.write(writer, { ...filter, extendedMask: RTEXT_FILTER_SKIP_STATS });
    },
    read: (bytes, view, start, end) => readLink(bytes, view, start, end),
  };
}

/** Reads the payload of RTM_NEWLINK or RTM_DELLINK; `undefined` for the bridge's own messages about its ports. */
export function readLink(bytes: Uint8Array, view: DataView, start: number, end: number): Link | undefined {
  const fixed = header.read(view, start, end);
  if (fixed.family === AF_BRIDGE) return undefined;
  const values = linkSchema.read(bytes, view, start + header.length, end);
  const { mac, alias, addressFamilies, info, ...rest } = values;
  const mode = addressFamilies?.inet6?.addressGenerationMode;
  return {
    ...pick(rest, linkFields),
    index: fixed.index,
    name: values.name ?? "",
    mtu: values.mtu ?? 0,
    group: values.group ?? 0,
    up: (fixed.flags & IFF_UP) !== 0,
    carrier: (fixed.flags & IFF_LOWER_UP) !== 0,
    ...((fixed.flags & IFF_LOOPBACK) === 0 ? {} : { loopback: true }),
    info: info ?? {},
    ...(mac === undefined ? {} : { mac }),
    ...(alias === undefined ? {} : { alias }),
    ...(mode === undefined ? {} : { ipv6AddressGenerationMode: mode }),
  };
}

/** Reads the payload of RTM_NEWLINK in which a bridge tells how it treats a port; `undefined` for messages of the device itself. */
export function readBridgePort(
  bytes: Uint8Array,
  view: DataView,
  start: number,
  end: number,
): { readonly index: number; readonly settings: BridgePortSettings } | undefined {
  const fixed = header.read(view, start, end);
  if (fixed.family !== AF_BRIDGE) return undefined;
  const { bridgePort } = linkSchema.read(bytes, view, start + header.length, end);
  return bridgePort === undefined ? undefined : { index: fixed.index, settings: bridgePort };
}

/** Index and family of a link message, without reading its attributes. */
export function readLinkHeader(
  view: DataView,
  start: number,
  end: number,
): { readonly index: number; readonly isBridgePort: boolean } {
  const fixed = header.read(view, start, end);
  return { index: fixed.index, isBridgePort: fixed.family === AF_BRIDGE };
}

const linkFields = [
  "master",
  "link",
  "linkNamespaceId",
  "transmitQueueLength",
  "gsoMaxSize",
  "gsoMaxSegments",
  "gsoIpv4MaxSize",
] as const;

/** The fields that have a value. */
function pick<Source extends object, Field extends keyof Source>(
  source: Source,
  fields: readonly Field[],
): { [Name in Field]?: Exclude<Source[Name], undefined> } {
  const picked: { [Name in Field]?: Exclude<Source[Name], undefined> } = {};
  for (const field of fields)
    if (source[field] !== undefined) picked[field] = source[field] as Exclude<Source[Field], undefined>;
  return picked;
}

function labelOf(reference: LinkReference): string {
  return "name" in reference ? reference.name : `${reference.index}`;
}

function writeLink(
  writer: Parameters<Request["write"]>[0],
  reference: Partial<LinkReference> & { family?: number },
  settings: LinkSettings,
): void {
  const { namespace, up, ipv6AddressGeneration, ...rest } = settings;
  header.write(writer, {
    ...("index" in reference ? { index: reference.index } : {}),
    ...(up === undefined ? {} : { flags: up ? IFF_UP : 0, change: IFF_UP }),
  });
  linkSchema.write(writer, {
    ...("name" in reference ? { name: reference.name } : {}),
    ...rest,
    ...(namespace === undefined ? {} : { namespaceFd: namespace.fd }),
    ...(ipv6AddressGeneration === undefined
      ? {}
      : { addressFamilies: { inet6: { addressGenerationMode: ipv6AddressGeneration === "none" ? 1 : 0 } } }),
  });
}
