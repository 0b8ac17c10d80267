import { createHash } from "node:crypto";
import { familyOf, type IpAddress, ipFromBytes, ipToBytes } from "../base/ip.ts";
import { type MacAddress, macFromBytes } from "../base/mac.ts";
import { encapsulations, encapsulationsThat, type TunnelTransport } from "../model/encapsulation.ts";
import { parseTenantName } from "../model/names.ts";
import type { Vni } from "../model/resources.ts";
import type { Link } from "../netlink/index.ts";

/**
 * The names and marks that weft gives in the kernel. What does not carry the mark is never changed or deleted.
 */

/** The namespace of a tenant: `<instance>-<tenant>`, at most 57 bytes of the 255 that a file name may have. */
export function namespaceName(instance: string, tenant: string): string {
  return `${instance}-${tenant}`;
}

/** The tenant whose namespace this is, or `undefined` when the namespace is not one of this instance. */
export function tenantOfNamespace(instance: string, namespace: string): string | undefined {
  if (!namespace.startsWith(`${instance}-`)) return undefined;
  const tenant = parseTenantName(namespace.slice(instance.length + 1));
  return tenant.ok ? tenant.value : undefined;
}

/** The bridge of an l2 network. */
export function bridgeName(vni: Vni): string {
  return `br${vni}`;
}

/**
 * The tunnel device of a network that leads to `peer`. Where one serves all VTEPs: `vx100`, and `vx100p2118` for port 8472
 * (2118 hexadecimal), so that two ports can be served beside each other. Where each VTEP takes a device: `g2s-c0000201` leads
 * to 192.0.2.1 in VNI 100 (2s in base 36); IPv6 addresses and unusual ports are in it as a hash of 41 bits. 15 bytes at most.
 */
export function tunnelName(transport: TunnelTransport, vni: Vni, peer: IpAddress): string {
  const { encapsulation, port } = transport;
  const start = tunnelNameStart(transport, vni);
  const { devices, port: usualPort } = encapsulations[encapsulation];
  if (devices === "shared") return start;
  const isPlain = familyOf(peer) === 4 && port === usualPort;
  return isPlain
    ? `${start}${Array.from(ipToBytes(peer), (byte) => byte.toString(16).padStart(2, "0")).join("")}`
    : `${start}${hash41(`${peer} ${port}`).toString(36).padStart(8, "0")}`;
}

/** The tunnel devices of a transport by name: that of the one, or what all begin with and a `*`. */
export function tunnelPattern(transport: TunnelTransport, vni: Vni): string {
  const isShared = encapsulations[transport.encapsulation].devices === "shared";
  return `${tunnelNameStart(transport, vni)}${isShared ? "" : "*"}`;
}

/** What names of a transport's devices begin with; where one device serves all VTEPs its whole name. */
function tunnelNameStart({ encapsulation, port }: TunnelTransport, vni: Vni): string {
  const { devices, devicePrefix, port: usualPort } = encapsulations[encapsulation];
  if (devices !== "shared") return `${devicePrefix}${vni.toString(36)}-`;
  return `${devicePrefix}${vni}${port === usualPort ? "" : `p${port.toString(16).padStart(4, "0")}`}`;
}

/** Whether a device of weft's is a tunnel of this network, by whatever encapsulation, port and VTEP. */
export function isTunnelOf(vni: Vni, name: string): boolean {
  return tunnelNames(`${vni}`, vni.toString(36)).test(name);
}

/** What packets of endpoints are routed by: bridges and tunnels of all networks. */
export function isRoutingDevice(name: string): boolean {
  return /^br[0-9]+$/.test(name) || tunnelNames("[0-9]+", "[0-9a-z]+").test(name);
}

/** What networks have in the namespace of their tenant: those and the ports of endpoints, and what keeps these within limits. */
export function isNetworkDevice(name: string): boolean {
  return isRoutingDevice(name) || endpointOfPort(name) !== undefined || /^(sd|rc)[0-9]+$/.test(name);
}

/** `vni`, `shortVni`: patterns of it decimal and in base 36. */
function tunnelNames(vni: string, shortVni: string): RegExp {
  const [shared, single] = (["shared", "per-vtep"] as const).map((kind) =>
    encapsulationsThat(({ devices }) => devices === kind)
      .map((each) => encapsulations[each].devicePrefix)
      .join("|"),
  );
  return new RegExp(`^((${shared})${vni}(p[0-9a-f]{4})?|(${single})${shortVni}-[0-9a-z]{8})$`);
}

/** FNV-1a of 64 bits, of which 41 fit eight digits of base 36. */
function hash41(text: string): bigint {
  let hash = 0xcbf2_9ce4_8422_2325n;
  for (const byte of new TextEncoder().encode(text))
    hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x0000_0100_0000_01b3n);
  return (hash ^ (hash >> 41n)) & ((1n << 41n) - 1n);
}

/** The node's end of an endpoint's veth pair: 14 bytes of the 15 that the kernel allows. */
export function endpointPortName(endpoint: string): string {
  return `ve${endpoint}`;
}

/** The endpoint whose port has the name; `undefined`: it is no port's. */
export function endpointOfPort(name: string): string | undefined {
  return /^ve([0-9a-f]{12})$/.exec(name)?.[1];
}

/** The other end of such a pair where it is in the host's own namespace. */
export function hostEndName(endpoint: string): string {
  return `vi${endpoint}`;
}

/** The endpoint whose {@link hostEndName} it is; `undefined`: nobody's. */
export function endpointOfHostEnd(name: string): string | undefined {
  return /^vi([0-9a-f]{12})$/.exec(name)?.[1];
}

/** The device that what a network's endpoints send, or receive, is led through to keep it within limits: 10 bytes at most. */
export function shaperName(direction: "send" | "receive", vni: Vni): string {
  return `${direction === "send" ? "sd" : "rc"}${vni}`;
}

/** The device that networks share the underlay by, in its namespace, where other instances may have theirs: 14 bytes. */
export function shareDevice(instance: string): string {
  return `sh${createHash("sha256").update(`share ${instance}`).digest("hex").slice(0, 12)}`;
}

/** The route protocol number (RTPROT_*, NDA_PROTOCOL) of weft. Values from 4 on mean nothing to the kernel. */
export const weftProtocol = 119;

/**
 * The group (IFLA_GROUP) of each device: set in the message that makes it, so that there is no moment in which a
 * device of weft's is not known as such. The letters WEFT.
 */
export const weftGroup = 0x5745_4654;

/** The group that devices of a tenant are put into before they are deleted together: theirs, too, is weft's. The letters WEFU. */
export const leavingGroup = weftGroup + 1;

export function isOwnLink(link: Link): boolean {
  return link.group === weftGroup || link.group === leavingGroup;
}

/** The alias of each device, and the mark of a tenant's namespace on its loopback device: for people, and by instance. */
export function aliasOf(instance: string): string {
  return `weft:${instance}`;
}

/** The alias of a tap that was made for an endpoint. */
export function tapAliasOf(instance: string, endpoint: string): string {
  return `${aliasOf(instance)} tap of ${endpoint}`;
}

/** The endpoint that a tap of this instance with the alias was made for. */
export function endpointOfTap(instance: string, alias: string | undefined): string | undefined {
  const start = tapAliasOf(instance, "");
  return alias?.startsWith(start) === true ? alias.slice(start.length) : undefined;
}

/** Whether an alias is one that this instance gives; one may have been taken off. */
export function isAliasOf(instance: string, alias: string | undefined): boolean {
  return alias === undefined || alias === aliasOf(instance) || alias.startsWith(`${aliasOf(instance)} `);
}

/** The alias of an endpoint's port: also of which namespace, by its inode number, the other end was put into. */
export function portAliasOf(instance: string, inode: number): string {
  return `${aliasOf(instance)} net:[${inode}]`;
}

/**
 * The MAC of a node's tunnels, by its VTEP address: every node can tell it of every other. It is not the bridge's, since
 * a tunnel takes no frames from its own MAC (drivers/net/vxlan/vxlan_core.c, `vxlan_set_mac`; drivers/net/geneve.c, `geneve_rx`),
 * and other nodes' gateways send with that of their bridge, which is the same everywhere. Locally administered; 46 bits of a hash,
 * so that the addresses of 5,000 nodes share one with a chance of 2 in 10 million.
 */
export function tunnelMac(vtep: IpAddress): MacAddress {
  return localMac(createHash("sha256").update(vtep).digest());
}

/** Locally administered unicast, of the first octets. IEEE 802-2014 §8.2.2. */
function localMac(octets: Uint8Array): MacAddress {
  const bytes = Uint8Array.from(octets.subarray(0, 6));
  bytes[0] = ((bytes[0] ?? 0) & 0xfc) | 0x02;
  return macFromBytes(bytes);
}

/**
 * Nexthop identifiers are shared by all who use a namespace. Those of an instance begin with 18 bits that follow
 * from its name; 14 bits number its nexthops.
 */
export function nexthopRange(instance: string): { readonly first: number; readonly last: number } {
  let hash = 0x811c9dc5;
  for (const character of instance) hash = Math.imul(hash ^ (character.codePointAt(0) ?? 0), 0x0100_0193) >>> 0;
  const first = (0x4000_0000 | ((hash & 0xffff) << 14)) >>> 0;
  return { first, last: first + 0x3fff };
}

/**
 * The device that leads from a tenant's namespace to that of another tenant whose networks its own are peers of: 14 bytes of the 15 that the
 * kernel allows. The namespaces are weft's own, so the name needs no instance.
 */
export function peeringDevice(peer: string): string {
  return `pr${peeringHash("device", peer).toString("hex", 0, 6)}`;
}

/** The MAC of the end in the tenant's namespace: each side can tell it of the other. */
export function peeringMac(tenant: string, peer: string): MacAddress {
  return localMac(peeringHash("mac", tenant, peer));
}

/**
 * The address of the end in the tenant's namespace, under which it tells senders of errors where it has no other. Nobody sends to it. RFC 4193:
 * locally assigned, 120 bits of a hash.
 */
export function peeringAddress(tenant: string, peer: string): IpAddress {
  const bytes = Uint8Array.from(peeringHash("address", tenant, peer).subarray(0, 16));
  bytes[0] = 0xfd;
  return ipFromBytes(bytes);
}

function peeringHash(purpose: string, ...tenants: readonly string[]): Buffer {
  return createHash("sha256")
    .update(`peering ${purpose} ${tenants.join(" ")}`)
    .digest();
}

/** Whose uplink: what tells it from others in the underlay's namespace, which tenants and instances share. */
export interface UplinkIdentity {
  readonly instance: string;
  readonly tenant: string;
}

/** The tenant's end of the pair. */
export const tenantDevice = "uplink";

/** The host's end of the pair: 14 bytes of the 15 that the kernel allows. */
export function hostDevice(identity: UplinkIdentity): string {
  return `up${digest(identity, "device").toString("hex", 0, 6)}`;
}

/** Names that {@link hostDevice} gives. */
export const hostDevicePattern = /^up[0-9a-f]{12}$/;

const tablePrefix = (instance: string): string => `weft-uplink-${instance}-`;

/** The host's filter. Instances have no hyphen in their names, so that it can be read back in one way only. */
export function hostTable({ instance, tenant }: UplinkIdentity): string {
  return `${tablePrefix(instance)}${tenant}`;
}

/** The tenant whose filter this is, or `undefined` when the table is no uplink's of this instance. */
export function tenantOfHostTable(instance: string, table: string): string | undefined {
  const prefix = tablePrefix(instance);
  return table.startsWith(prefix) ? table.slice(prefix.length) : undefined;
}

/**
 * The metric of this uplink's routes on the host; together with the protocol number it says whose they are. It is part of
 * a route's key, so the kernel keeps it for as long as the route, whatever becomes of devices and processes, and two uplinks
 * never replace each other's routes. Devices would not do: routes to blocks of other nodes lead through the host's own.
 * In the upper half of 32 bits, so that any route that somebody else makes to the same prefix comes first.
 */
export function routeMetric(identity: UplinkIdentity): number {
  return (digest(identity, "metric").readUInt32BE(0) | 0x8000_0000) >>> 0;
}

/** Whether a route with this metric on the host may be an uplink's. */
export function isMetricOfUplink(metric = 0): boolean {
  return metric >= 0x8000_0000;
}

const onHostPrefix = (instance: string): string => `weft-tenant-${instance}-`;

/** The filter of a tenant whose networks are in the host's own namespace, and by its name the record that they are. */
export function onHostTable({ instance, tenant }: UplinkIdentity): string {
  return `${onHostPrefix(instance)}${tenant}`;
}

/** The tenant whose filter this is, or `undefined` when the table is none of this instance. */
export function tenantOfOnHostTable(instance: string, table: string): string | undefined {
  const prefix = onHostPrefix(instance);
  return table.startsWith(prefix) ? table.slice(prefix.length) : undefined;
}

/** 40 bits that are this uplink's. */
export function addressSeed(identity: UplinkIdentity): bigint {
  return BigInt(`0x${digest(identity, "addresses").toString("hex", 0, 5)}`);
}

function digest({ instance, tenant }: UplinkIdentity, purpose: string): Buffer {
  return createHash("sha256").update(`${purpose} ${instance} ${tenant}`).digest();
}

/** `weft` for the usual instance, `weft-INSTANCE` for another. */
export function sourceFilterName(instance: string): string {
  return instance === "weft" ? "weft" : `weft-${instance}`;
}

/** The tenant's namespace is weft's own, so the name needs no instance. */
export const routingFilterName = "weft-routing";

/** The tenant's namespace is weft's own, so the name needs no instance. */
export const suppressionFilterName = "weft";

/** The tenant's namespace is weft's own, so the name needs no instance. The bridges' filter is of another family. */
export const tenantTable = "weft";

/** The guard of the host's forwarding, of all instances together. */
export const forwardingTable = "weft-forwarding";

/** Also in the host's namespace, and without rules: which settings of devices weft changed to answer for floating addresses. */
export const answeringTable = "weft-answering";
