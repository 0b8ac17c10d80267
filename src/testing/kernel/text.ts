import type { IpAddress } from "../../base/ip.ts";
import type { RowNames } from "../../dataplane/tables/row-text.ts";
import { type FdbEntry, formatTcHandle, neighbourState } from "../../netlink/index.ts";
import { type Device, type DeviceHome, kinds, newPort } from "./device.ts";
import type { FakeBpf } from "./ebpf.ts";
import { guardLines } from "./guard-text.ts";
import type { FakeNamespace } from "./namespace.ts";
import { nftLines } from "./nft-text.ts";
import { fdbText, neighbourText, nexthopText, proxyText, routeText } from "./row-text.ts";
import type { Shaping } from "./shaping.ts";

/** linux/rtnetlink.h: RTPROT_KERNEL. */
const kernelProtocol = 2;

/**
 * What namespaces hold, one object a line, in an order that does not depend on how it came about. Numbers that the kernel
 * gives (of devices, nexthops, namespaces, MACs of its own choice) stand as what they are of. What follows from the
 * rest by itself is left out: routes to addresses and links, a bridge's entries for its own ports.
 */
export function machineText(namespaces: ReadonlyMap<string, FakeNamespace>, bpf: FakeBpf): string {
  const nameOf = new Map<DeviceHome, string>([...namespaces].map(([name, { links }]) => [links, name]));
  const byInode = new Map([...namespaces].map(([name, { inode }]) => [String(inode), name]));
  const vtep = (id: number): IpAddress | undefined => {
    for (const { nexthops } of namespaces.values()) {
      const { gateway, group } = nexthops.get(id) ?? {};
      const found = gateway ?? (group?.[0] === undefined ? undefined : vtep(group[0].id));
      if (found !== undefined) return found;
    }
    return undefined;
  };
  const text = [...namespaces].flatMap(([name, namespace]) => [
    `[${name}]`,
    ...linesOf(namespace, nameOf, vtep),
    ...guardLines(namespace, bpf),
  ]);
  return text.join("\n").replace(/net:\[(\d+)\]/g, (_all, inode: string) => `net:[${byInode.get(inode) ?? "gone"}]`);
}

function linesOf(
  { links, addresses, neighbours, fdb, routes, nexthops, sysctls, shaping, nft }: FakeNamespace,
  nameOf: ReadonlyMap<DeviceHome, string>,
  vtep: RowNames["vtep"],
): string[] {
  const names: RowNames = { device: (index = 0) => nameIn(links, index), vtep };
  const entries = links.devices.flatMap((device) => [...fdb.ofPort(device), ...fdb.ofTunnel(device)]);
  const objects = [
    ...links.devices.map((device) => deviceText(device, nameOf)),
    ...addresses.all.map(
      ({ index, address, prefixLength }) => `addr ${address}/${prefixLength} dev ${names.device(index)}`,
    ),
    ...Array.from(neighbours.all, (row) => `neigh ${neighbourText(row, names)}`),
    ...Array.from(neighbours.proxies, (row) => `neigh proxy ${proxyText(row, names)}`),
    ...entries.filter((entry) => !isOfPort(entry)).map((row) => `fdb ${fdbText(row, names)}`),
    ...[...routes.all]
      .filter(({ protocol }) => protocol !== kernelProtocol)
      .map((row) => `route ${routeText(row, names)}`),
    ...nexthops.all.map((row) => `nexthop ${nexthopText(row, names)}`),
    ...shaping.all.flatMap((tree) => shapingLines(tree, names, links)),
    ...Array.from(sysctls.changes(), ([path, value]) => `sysctl ${path} = ${value}`),
  ];
  const tables = [...nft.tables].sort(([a], [b]) => (a < b ? -1 : 1));
  // Rules have an order of their own.
  return [...objects.sort(), ...tables.flatMap(([key, table]) => nftLines(key, table))];
}

/** A class has the number of a port, which stands as what it is of. */
function shapingLines({ root, classes, queues }: Shaping["all"][number], names: RowNames, links: DeviceHome): string[] {
  const device = names.device(root.index);
  const whose = (handle: number): string => links.get((handle & 0xffff) - 1)?.name ?? formatTcHandle(handle);
  return [
    `qdisc ${root.kind} dev ${device}`,
    ...Array.from(classes.values(), ({ handle, parent, rate, ceil, burst, ceilBurst, quantum }) => {
      const bursts = [burst, ceilBurst].map((octets = 0) => Math.round(octets / 10) * 10);
      return `class ${whose(handle)} below ${whose(parent)} dev ${device} rate ${rate} ceil ${ceil} bursts ${bursts.join(" ")} quantum ${quantum}`;
    }),
    ...Array.from(
      queues.values(),
      ({ kind, parent, tbf }) => `qdisc ${kind} of ${whose(parent)} dev ${device} limit ${tbf?.limit}`,
    ),
  ];
}

/** Settings that nobody has changed are left out. */
function deviceText(device: Device, nameOf: ReadonlyMap<DeviceHome, string>): string {
  const { name, kind = "", mac, mtu, up, group, alias, master, port, peer, underlay, data } = device;
  const lower = typeof data.link === "number" ? { link: nameIn(underlay, data.link) } : {};
  const words = [
    `link ${name}`,
    kind,
    ...differing({ ...data, ...lower }, kinds[kind]?.defaults ?? {}),
    `mtu ${mtu} ${up ? "up" : "down"}`,
    device.hasOwnMac ? `address ${mac}` : "",
    group === 0 ? "" : `group ${group}`,
    alias === undefined ? "" : `alias ${alias}`,
    ...differing({ gsoMaxSize: device.gsoMaxSize, gsoMaxSegments: device.gsoMaxSegments }, {}),
    peer === undefined ? "" : `peer ${peer.name} in ${nameOf.get(peer.home)}`,
    underlay === undefined ? "" : `over ${nameOf.get(underlay)}`,
    ...(master === undefined ? [] : [`master ${master.name}`, ...differing(port, newPort)]),
  ];
  return words.filter((word) => word !== "").join(" ");
}

function nameIn(home: DeviceHome | undefined, index: number): string {
  return home?.get(index)?.name ?? `if${index}`;
}

/** Settings that are otherwise than usual, by name. */
function differing(values: object, usual: object): string[] {
  const known = new Map(Object.entries(usual));
  return Object.entries(values)
    .filter(([field, value]) => value !== undefined && known.get(field) !== value)
    .map(([field, value]) => `${field} ${value}`)
    .sort();
}

/** A bridge has the MACs of its own ports. */
function isOfPort({ state, flags, master }: FdbEntry): boolean {
  return master !== undefined && flags === 0 && (state & neighbourState.permanent) !== 0;
}
