import { join } from "node:path";
import type { IpAddress } from "../../base/ip.ts";
import { type MacAddress, mac } from "../../base/mac.ts";
import type { BpfObject } from "../../linux/index.ts";
import type { Vni } from "../../model/index.ts";
import {
  type BpfFilter,
  filterHook,
  listBpfFilters,
  type NetlinkSocket,
  replaceBpfFilter,
} from "../../netlink/index.ts";
import { ensureHooks } from "../hooks.ts";
import type { KernelBpf, KernelBpfProgram } from "../kernel.ts";
import { explainMissing, explainMissingBpf } from "../missing-module.ts";
import { type MapNames, ProgramMaps, textOf } from "../programs/maps.ts";
import {
  addressKind,
  type Dropped,
  type DropReason,
  type MacRow,
  macKey,
  macValue,
  networkBit,
  noStorm,
  nothingDropped,
  ownKey,
  type PortPlace,
  type PortRows,
  portKey,
  prefixKeyOf,
  presentValue,
  readDropped,
  readMac,
  readPortFlags,
  readPortMac,
  readTaken,
  stormKeyOfNetwork,
  takenKey,
  tunnelPortKey,
  wholeKey,
} from "./rows.ts";

/** What of a packet the guard looks at. */
export interface SentPacket {
  readonly mac: MacAddress;
  readonly ip: IpAddress;
  /** The destination; absent: it is not UDP. */
  readonly udpPort?: number;
}

/** Of the filter at a port. */
const filterName = "weft";
const priority = 1;

const mapNames = {
  kept: ["ports", "addresses", "prefixes", "dropped", "storms"],
  own: ["macs", "stations"],
  full: {
    reason: "it is full: there are more endpoints, or addresses of them, than this node's guard has room for",
    hint: "attach endpoints of other networks on other nodes",
  },
} as const satisfies MapNames<string>;
type GuardMaps = ProgramMaps<(typeof mapNames)["kept"][number]>;

/**
 * What the endpoints of this node may send: the eBPF program guard.c at the ingress of each port, and its maps, which all
 * tenants of the node share. A tenant is known by the inode of its namespace, which stands in the program.
 *
 * Nothing of it is netfilter's: whoever flushes all rules opens nothing.
 */
export class Guard {
  readonly #bpf: KernelBpf;
  #read: BpfObject | undefined;
  #maps: GuardMaps | undefined;
  /** By tenant. */
  readonly #programs = new Map<number, KernelBpfProgram>();
  /** Programs in the kernel that are of this version and use these maps. */
  readonly #right = new Set<number>();
  /** Keys of addresses and prefixes that are a port's, by the key of the port. */
  readonly #ofPort = new Map<string, { readonly addresses: Set<string>; readonly prefixes: Set<string> }>();
  /** Of ports that are gone. */
  readonly #droppedBefore: Dropped = {};
  readonly #goneTenants = new Set<number>();
  /** MACs of networks as an earlier run left them, by tenant and network. */
  readonly #leftMacs = new Map<string, LeftMacs>();
  /** Networks that have a row of all their MACs. */
  readonly #wholeNetworks = new Set<string>();
  #tunnelPorts: readonly number[] = [];
  #writesOfClosed = 0;

  constructor(bpf: KernelBpf) {
    this.#bpf = bpf;
  }

  /** Writes to maps. */
  get writes(): number {
    return this.#writesOfClosed + (this.#maps?.writes ?? 0);
  }

  /** Takes up what an earlier run left in the kernel, as the programs at these ports of a tenant lead to it. */
  async adopt(tenant: number, ports: readonly number[], socket: NetlinkSocket): Promise<void> {
    // The kernel gives the numbers of namespaces that are gone to new ones.
    if (this.#goneTenants.has(tenant)) this.sweepTenants();
    for (const index of ports) {
      if (this.#maps !== undefined) break;
      const [filter] = (await socket.dump(listBpfFilters(index, filterHook.ingress))).filter(isGuard);
      this.#maps ??= this.#adoptMaps(filter);
    }
    this.keepPorts(tenant, ports);
  }

  /** What is there of other ports of the tenant is left over. */
  keepPorts(tenant: number, ports: readonly number[]): void {
    const kept = new Set(ports);
    for (const key of this.#maps?.keys("dropped") ?? []) {
      const view = new DataView(key.buffer);
      const place = { tenant: view.getUint32(0, true), index: view.getUint32(4, true) };
      if (place.tenant === tenant && !kept.has(place.index)) this.removePort(place);
    }
  }

  /** What is there of other networks of the tenant is left over. */
  keepNetworks(tenant: number, vnis: ReadonlySet<Vni>): void {
    const maps = this.#maps;
    for (const key of maps?.keys("storms") ?? []) {
      const view = new DataView(key.buffer);
      const vni = (view.getUint32(4, true) - networkBit) as Vni;
      if (view.getUint32(0, true) === tenant && vni > 0 && !vnis.has(vni)) this.forgetNetwork(tenant, vni);
    }
    for (const left of this.#leftMacs.values())
      if (left.tenant === tenant && !vnis.has(left.vni)) this.#removeLeftMacs(left);
  }

  /** Lets the port send what these rows say, and nothing else. Tells whether anything of the port had to be written for that. */
  async ensurePort(place: PortPlace, rows: PortRows, socket: NetlinkSocket): Promise<boolean> {
    const [present] = (await socket.dump(listBpfFilters(place.index, filterHook.ingress))).filter(isGuard);
    this.#maps ??= this.#adoptMaps(present) ?? this.#createMaps();
    const isWritten = this.#putRows(this.#maps, place, rows);
    if (present !== undefined && this.#isRight(place.tenant, present.programId, this.#maps)) return isWritten;
    const program = this.#programs.get(place.tenant) ?? this.#load(place.tenant, this.#maps);
    await ensureHooks(socket, place.index);
    const { index } = place;
    const hook = filterHook.ingress;
    const filter = { index, hook, priority, name: filterName, descriptor: program.fd };
    await socket.execute(replaceBpfFilter(filter)).catch(explainMissing("cls_bpf"));
    return true;
  }

  /** The port's device is gone. */
  removePort(place: PortPlace): void {
    const maps = this.#maps;
    if (maps === undefined) return;
    const key = portKey(place);
    addTo(this.#droppedBefore, this.droppedOf(place) ?? {});
    this.#putAddresses(maps, key, [], []);
    this.#ofPort.delete(textOf(key));
    for (const name of ["ports", "storms", "dropped"] as const) maps.delete(name, key);
  }

  /** What of the port's frames was dropped since it is there; `undefined`: it is not guarded. */
  droppedOf(place: PortPlace): Dropped | undefined {
    const value = this.#maps?.read("dropped", portKey(place));
    return value === undefined ? undefined : readDropped(value);
  }

  /** Why the kernel drops a packet that the port sends; `undefined`: it does not, by what its maps have. As guard.c judges. */
  reasonToDrop(place: PortPlace, vni: Vni, sent: SentPacket): DropReason | undefined {
    const maps = this.#maps;
    const port = maps?.read("ports", portKey(place));
    if (maps === undefined || port === undefined) return "malformed";
    const { isTrusted, isLearned, hasPrefixes } = readPortFlags(port);
    if (isTrusted) return undefined;
    const has = (key: Uint8Array): boolean => maps.read("addresses", key) !== undefined;
    const { mac, ip, udpPort } = sent;
    const isNobodys = (of: IpAddress): boolean => isLearned && !has(takenKey(place.tenant, vni, of));
    const declared = maps.get("macs")?.get(macKey(place.tenant, vni, mac));
    const isNobodysMac =
      isLearned && (declared === undefined || !readMac(macKey(place.tenant, vni, mac), declared).isDeclared);
    if (mac !== readPortMac(port) && !has(ownKey(place, mac)) && !isNobodysMac) return "mac";
    const isInPrefix = hasPrefixes && maps.read("prefixes", prefixKeyOf(place, ip)) !== undefined;
    if (!has(ownKey(place, ip)) && !isInPrefix && !isNobodys(ip)) return "ip";
    return udpPort !== undefined && has(tunnelPortKey(udpPort)) ? "tunnel" : undefined;
  }

  /** Whether the kernel asks the guard at the port. */
  async isAt(index: number, socket: NetlinkSocket): Promise<boolean> {
    return (await socket.dump(listBpfFilters(index, filterHook.ingress))).some(isGuard);
  }

  /** What was dropped of all ports since this run began to look, of those that are gone as well. */
  get dropped(): Dropped {
    const sum: Dropped = {};
    addTo(sum, this.#droppedBefore);
    for (const key of this.#maps?.keys("dropped") ?? [])
      addTo(sum, readDropped(this.#maps?.read("dropped", key) ?? nothingDropped));
    return sum;
  }

  /** Whether somebody has the address in the network, so that ports that may have what nobody has may not send with it. */
  setTaken(tenant: number, vni: Vni, of: IpAddress, isTaken: boolean): void {
    const key = takenKey(tenant, vni, of);
    if (isTaken) {
      this.#maps ??= this.#createMaps();
      this.#maps.put("addresses", key, presentValue);
    } else this.#maps?.delete("addresses", key);
  }

  /** Of the addresses that are taken in the network those stay that are to be kept. */
  forgetTaken(tenant: number, vni: Vni, isKept: (of: IpAddress) => boolean): void {
    for (const key of this.#maps?.keys("addresses") ?? [])
      if (isOfNetwork(key, tenant, vni) && !isKept(readTaken(key))) this.#maps?.delete("addresses", key);
  }

  /** Rows of MACs that somebody in the network has. */
  putMacs(tenant: number, vni: Vni, rows: readonly MacRow[]): void {
    if (rows.length === 0) return;
    this.#maps ??= this.#createMaps();
    this.#maps.write(
      "macs",
      rows.map((row) => [macKey(tenant, vni, row.mac), macValue(row)]),
    );
  }

  removeMacs(tenant: number, vni: Vni, macs: readonly MacAddress[]): void {
    if (macs.length > 0)
      this.#maps?.erase(
        "macs",
        macs.map((mac) => macKey(tenant, vni, mac)),
      );
  }

  /** Whether all MACs of the network have their rows, so that what goes to others is counted. */
  setWhole(tenant: number, vni: Vni, isWhole: boolean): void {
    const key = wholeKey(tenant, vni);
    if (this.#maps === undefined || this.#wholeNetworks.has(textOf(key)) === isWhole) return;
    if (isWhole) {
      this.#maps.write("macs", [[key, presentValue]]);
      this.#wholeNetworks.add(textOf(key));
    } else {
      this.#maps.erase("macs", [key]);
      this.#wholeNetworks.delete(textOf(key));
    }
  }

  /** Those that an earlier run left, for who sees to them from now on. */
  takeMacs(tenant: number, vni: Vni): MacRow[] {
    const name = textOf(wholeKey(tenant, vni));
    const left = this.#leftMacs.get(name);
    this.#leftMacs.delete(name);
    return left === undefined ? [] : left.packed.map(unpacked);
  }

  /** The UDP ports of this node's tunnels: no endpoint sends to them. */
  setTunnelPorts(ports: readonly number[]): void {
    this.#tunnelPorts = ports;
    if (this.#maps !== undefined) this.#putTunnelPorts(this.#maps);
  }

  /** The network has left the tenant's namespace. */
  forgetNetwork(tenant: number, vni: Vni): void {
    this.#maps?.delete("storms", stormKeyOfNetwork(tenant, vni));
    this.setWhole(tenant, vni, false);
    this.forgetTaken(tenant, vni, () => false);
  }

  /** The namespace is gone. */
  tenantGone(tenant: number): void {
    this.#programs.get(tenant)?.close();
    this.#programs.delete(tenant);
    this.#goneTenants.add(tenant);
  }

  /** Removes the rows of tenants that are gone. */
  sweepTenants(): void {
    if (this.#goneTenants.size > 0) this.#removeMacsOfGone();
    for (const tenant of this.#goneTenants) {
      this.keepPorts(tenant, []);
      this.keepNetworks(tenant, new Set());
      this.#goneTenants.delete(tenant);
    }
  }

  /** Lets go of the kernel, which stays as it is. */
  close(): void {
    for (const program of this.#programs.values()) program.close();
    this.#programs.clear();
    this.#right.clear();
    this.#writesOfClosed = this.writes;
    this.#maps?.close();
    this.#maps = undefined;
    this.#ofPort.clear();
    this.#leftMacs.clear();
    this.#wholeNetworks.clear();
  }

  /** Tells whether any of the port's own rows had to be written. */
  #putRows(maps: GuardMaps, place: PortPlace, { port, addresses, prefixes, network }: PortRows): boolean {
    const key = portKey(place);
    maps.putCounter("storms", network, noStorm);
    const written = [
      maps.putCounter("dropped", key, nothingDropped),
      maps.putCounter("storms", key, noStorm),
      this.#putAddresses(maps, key, addresses, prefixes),
      maps.put("ports", key, port),
    ];
    return written.includes(true);
  }

  /** What comes is there before what goes. */
  #putAddresses(
    maps: GuardMaps,
    key: Uint8Array,
    addresses: readonly Uint8Array[],
    prefixes: readonly Uint8Array[],
  ): boolean {
    const port = textOf(key);
    const before = this.#ofPort.get(port);
    const after = { addresses: new Set(addresses.map(textOf)), prefixes: new Set(prefixes.map(textOf)) };
    let isWritten = false;
    for (const name of ["addresses", "prefixes"] as const) {
      for (const each of name === "addresses" ? addresses : prefixes)
        isWritten = maps.put(name, each, presentValue) || isWritten;
      for (const gone of before?.[name].difference(after[name]) ?? [])
        isWritten = maps.delete(name, Buffer.from(gone, "latin1")) || isWritten;
    }
    this.#ofPort.set(port, after);
    return isWritten;
  }

  #putTunnelPorts(maps: GuardMaps): void {
    const wanted = this.#tunnelPorts.map(tunnelPortKey);
    for (const key of wanted) maps.put("addresses", key, presentValue);
    const texts = new Set(wanted.map(textOf));
    for (const key of maps.keys("addresses"))
      if (kindOf(key) === addressKind.tunnelPort && !texts.has(textOf(key))) maps.delete("addresses", key);
  }

  #isRight(tenant: number, id: number, maps: GuardMaps): boolean {
    if (this.#right.has(id)) return true;
    const program = this.#bpf.programById(id);
    if (program === undefined) return false;
    const isRight = program.name === this.#programName && maps.areOf(program);
    if (isRight) this.#right.add(id);
    if (isRight && !this.#programs.has(tenant)) this.#programs.set(tenant, program);
    else program.close();
    return isRight;
  }

  #load(tenant: number, maps: GuardMaps): KernelBpfProgram {
    const { instructions, symbols } = this.#object;
    const program = this.#bpf.loadProgram(
      this.#programName,
      instructions,
      symbols.map((symbol) => [symbol.offset, maps.get(symbol.name) ?? tenant] as const),
    );
    this.#programs.set(tenant, program);
    this.#right.add(program.id);
    return program;
  }

  get #object(): BpfObject {
    this.#read ??= this.#bpf.readObject(join(import.meta.dirname, "../programs/guard.o"));
    return this.#read;
  }

  /** Of this version's programs in the kernel. */
  get #programName(): string {
    return `weft_${this.#object.digest}`;
  }

  /** Those of an earlier run of this version. */
  #adoptMaps(filter: BpfFilter | undefined): GuardMaps | undefined {
    const program = filter === undefined ? undefined : this.#bpf.programById(filter.programId);
    if (program === undefined) return undefined;
    const maps = program.name === this.#programName ? ProgramMaps.of(this.#bpf, program, mapNames) : undefined;
    program.close();
    if (maps === undefined) return undefined;
    this.#rememberPorts(maps);
    this.#rememberMacs(maps);
    this.#putTunnelPorts(maps);
    return maps;
  }

  #createMaps(): GuardMaps {
    try {
      const maps = ProgramMaps.create(this.#bpf, this.#object, mapNames);
      this.#putTunnelPorts(maps);
      return maps;
    } catch (error) {
      return explainMissingBpf(error);
    }
  }

  #rememberPorts(maps: GuardMaps): void {
    const of = (key: Uint8Array): { addresses: Set<string>; prefixes: Set<string> } => {
      const port = textOf(key);
      const known = this.#ofPort.get(port) ?? { addresses: new Set(), prefixes: new Set() };
      this.#ofPort.set(port, known);
      return known;
    };
    for (const key of maps.keys("addresses")) if (isOwn(key)) of(key.subarray(0, 8)).addresses.add(textOf(key));
    for (const key of maps.keys("prefixes")) of(key.subarray(4, 12)).prefixes.add(textOf(key));
  }

  #rememberMacs(maps: GuardMaps): void {
    for (const [key, value] of maps.get("macs")?.rows() ?? []) {
      const { tenant, vni, isWhole, ...row } = readMac(key, value);
      const name = textOf(wholeKey(tenant, vni));
      const left = this.#leftMacs.get(name) ?? { tenant, vni, packed: [] };
      this.#leftMacs.set(name, left);
      if (isWhole) this.#wholeNetworks.add(name);
      else left.packed.push(packed(row));
    }
  }

  #removeLeftMacs({ tenant, vni, packed }: LeftMacs): void {
    this.setWhole(tenant, vni, false);
    const macs = packed.map((row) => unpacked(row).mac);
    this.removeMacs(tenant, vni, macs);
    this.#leftMacs.delete(textOf(wholeKey(tenant, vni)));
  }

  #removeMacsOfGone(): void {
    const keys = Array.from(this.#maps?.get("macs")?.rows() ?? [], ([key]) => key);
    const gone = keys.filter((key) =>
      this.#goneTenants.has(new DataView(key.buffer, key.byteOffset).getUint32(0, true)),
    );
    if (gone.length > 0) this.#maps?.erase("macs", gone);
    for (const key of gone) {
      this.#wholeNetworks.delete(textOf(key));
      this.#leftMacs.delete(textOf(key));
    }
  }
}

/** Rows of MACs as they are kept for a while, however many. */
interface LeftMacs {
  readonly tenant: number;
  readonly vni: Vni;
  readonly packed: number[];
}

/** 49 bits: the MAC, then whether it is declared. */
function packed({ mac, isDeclared }: MacRow): number {
  return Number.parseInt(mac.replaceAll(":", ""), 16) * 2 + (isDeclared ? 1 : 0);
}

function unpacked(row: number): MacRow {
  const hex = Math.floor(row / 2)
    .toString(16)
    .padStart(12, "0");
  return { mac: mac((hex.match(/../g) ?? []).join(":")), isDeclared: row % 2 === 1 };
}

function addTo(sum: Dropped, more: Dropped): void {
  for (const [reason, frames] of Object.entries(more) as [keyof Dropped, number][])
    sum[reason] = (sum[reason] ?? 0) + frames;
}

const isGuard = (filter: BpfFilter): boolean => filter.name === filterName && filter.priority === priority;

function kindOf(key: Uint8Array): number {
  return new DataView(key.buffer, key.byteOffset).getUint32(8, true);
}

function isOwn(key: Uint8Array): boolean {
  return [addressKind.ownMac, addressKind.ownIpv4, addressKind.ownIpv6].includes(kindOf(key) as 1 | 4 | 6);
}

/** A row of the addresses that are taken in the network. */
function isOfNetwork(key: Uint8Array, tenant: number, vni: Vni): boolean {
  if (key.length < 28 || isOwn(key) || kindOf(key) === addressKind.tunnelPort) return false;
  const view = new DataView(key.buffer, key.byteOffset);
  return view.getUint32(0, true) === tenant && view.getUint32(4, true) === vni;
}
