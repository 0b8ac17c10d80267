import type { IpAddress } from "../../base/ip.ts";
import type { MacAddress } from "../../base/mac.ts";
import { type BridgePortSettings, changeBridgePort, changeLink, type LinkInfo } from "../../netlink/index.ts";
import type { FakeMessage } from "../fake-kernel.ts";

/** linux/if.h: `enum net_device_flags`. */
const IFF_UP = 0x1;
const IFF_LOOPBACK = 0x8;
const IFF_LOWER_UP = 0x1_0000;
/** Where `struct ifinfomsg` has its flags. linux/rtnetlink.h */
const flagsOffset = 8;

/** RFC 8200 §5: Linux takes IPv6 off devices of a smaller MTU. */
const smallestIpv6Mtu = 1280;

type DataField = "vxlan" | "bridge" | "geneve" | "gre" | "ipTunnel";

/** What the fake knows of a kind of device. */
interface Kind {
  /** The part of {@link LinkInfo} with its settings, and what these are where nothing is said. */
  readonly field?: DataField;
  readonly defaults?: Readonly<Record<string, unknown>>;
  readonly hasMac: boolean;
  /** A tunnel. No two over one underlay have all of these settings alike. */
  readonly key?: readonly string[];
  /** Its outer packets travel where the socket is that asked for it, and not in the namespace of the device. */
  readonly isOfSocket?: boolean;
  /** Refused on a device that exists. */
  readonly fixed?: readonly string[];
  /** A change says all settings: what it leaves out becomes the default. */
  readonly isSetWhole?: boolean;
}

const keyed: Kind = {
  field: "gre",
  defaults: { ttl: 0 },
  hasMac: false,
  key: ["local", "remote", "inputKey", "link"],
  isSetWhole: true,
};
const plain: Kind = {
  field: "ipTunnel",
  defaults: { ttl: 0, protocol: 0 },
  hasMac: false,
  key: ["local", "remote", "link"],
  isSetWhole: true,
};

export const kinds: Readonly<Record<string, Kind>> = {
  dummy: { hasMac: true },
  ifb: { hasMac: true },
  tun: { hasMac: true },
  veth: { hasMac: true },
  bridge: {
    field: "bridge",
    defaults: { ageingTime: 30_000, multicastSnooping: true, vlanDefaultPvid: 1 },
    hasMac: true,
  },
  vxlan: {
    field: "vxlan",
    defaults: { ttl: 0, learning: true, ageing: 300, port: 8472, dontFragment: 0 },
    hasMac: true,
    key: ["vni", "port", "link"],
    isOfSocket: true,
    fixed: ["vni", "port", "group", "group6", "link"],
  },
  geneve: {
    field: "geneve",
    defaults: { ttl: 0, port: 6081, dontFragment: 0 },
    hasMac: true,
    key: ["vni", "port", "remote", "remote6"],
    isOfSocket: true,
    fixed: ["vni", "port", "remote", "remote6"],
  },
  gre: keyed,
  ip6gre: keyed,
  gretap: { ...keyed, hasMac: true },
  ip6gretap: { ...keyed, hasMac: true },
  ipip: plain,
  sit: plain,
  ip6tnl: plain,
};

/** A bridge's port before anybody has said how it is to be treated. net/bridge/br_if.c: `new_nbp` */
export const newPort: BridgePortSettings = {
  state: 3,
  hairpin: false,
  learning: true,
  unicastFlood: true,
  multicastFlood: true,
  broadcastFlood: true,
  neighbourSuppress: false,
  isolated: false,
  locked: false,
};

/** Where a tunnel sends frames for a MAC. */
export interface TunnelEntry {
  readonly state: number;
  readonly flags: number;
  readonly nexthop?: number;
  readonly remotes: readonly { readonly vtep: IpAddress; readonly viaIndex?: number }[];
}

/** The namespace of a device, as far as other devices have to do with it. */
export interface DeviceHome {
  /** The number that it has for another namespace, given to it now if it has none. */
  idOf(other: DeviceHome): number;
  get(index: number): Device | undefined;
  remove(device: Device): void;
}

/** A network device. */
export interface Device {
  readonly home: DeviceHome;
  readonly index: number;
  name: string;
  /** Absent: of hardware. */
  readonly kind?: string;
  mac?: MacAddress;
  /** Somebody chose the MAC, not the kernel. */
  hasOwnMac: boolean;
  mtu: number;
  /** Of a bridge: somebody chose the MTU since it was made; until then it follows the ports. */
  keepsMtu: boolean;
  up: boolean;
  group: number;
  alias?: string;
  gsoMaxSize?: number;
  gsoMaxSegments?: number;
  /** Settings of the kind. */
  data: Readonly<Record<string, unknown>>;
  /** The bridge that it is a port of. */
  master?: Device;
  port: BridgePortSettings;
  /** The other end of a veth pair. */
  peer?: Device;
  /** Of a tunnel: where its outer packets travel. */
  readonly underlay?: DeviceHome;
  /** A tunnel's own FDB. */
  readonly entries: Map<MacAddress, TunnelEntry>;
  /** Settings below net/ipv4/conf and net/ipv6/conf. */
  readonly settings: Record<4 | 6, Map<string, string>>;
}

export function carriesIpv6(mtu: number): boolean {
  return mtu >= smallestIpv6Mtu;
}

/** What RTM_NEWLINK and RTM_DELLINK say of a device. */
export function linkMessage(type: number, device: Device): FakeMessage {
  const { home, index, name, mac, mtu, group, alias, gsoMaxSize, gsoMaxSegments, master, peer, underlay } = device;
  const other = peer?.home ?? underlay;
  const info: LinkInfo = {
    ...(device.kind === undefined ? {} : { kind: device.kind }),
    ...dataOf(device),
    ...(master === undefined ? {} : { portKind: "bridge", bridgePort: device.port }),
  };
  const settings = {
    name,
    mtu,
    group,
    info,
    ...(mac === undefined ? {} : { mac }),
    ...(alias === undefined ? {} : { alias }),
    ...(gsoMaxSize === undefined ? {} : { gsoMaxSize }),
    ...(gsoMaxSegments === undefined ? {} : { gsoMaxSegments }),
    ...(master === undefined ? {} : { master: master.index }),
    ...(peer === undefined ? {} : { link: peer.index }),
    ...(other === undefined || other === home ? {} : { linkNamespaceId: home.idOf(other) }),
    ...(device.settings[6].size === 0 ? {} : { ipv6AddressGeneration: generation(device) }),
  };
  const flags =
    (device.up ? IFF_UP | IFF_LOWER_UP : 0) | (name === "lo" && device.kind === undefined ? IFF_LOOPBACK : 0);
  return {
    type,
    write(writer) {
      const start = writer.position;
      changeLink({ index }, settings).write(writer);
      writer.view.setUint32(start + flagsOffset, flags, true);
    },
  };
}

/** What a bridge tells of one of its ports. */
export function portMessage(type: number, { index, port }: Device): FakeMessage {
  return { type, write: (writer) => changeBridgePort(index, port).write(writer) };
}

function dataOf({ kind = "", data }: Device): LinkInfo {
  const field = kinds[kind]?.field;
  return field === undefined ? {} : { [field]: data };
}

function generation(device: Device): "link-local" | "none" {
  return device.settings[6].get("addr_gen_mode") === "1" ? "none" : "link-local";
}
