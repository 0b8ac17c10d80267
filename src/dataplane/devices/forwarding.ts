import { join } from "node:path";
import { type MacAddress, macToBytes } from "../../base/mac.ts";
import { type BpfObject, isErrno } from "../../linux/index.ts";
import {
  type BpfFilter,
  deleteFilter,
  type FdbEntry,
  filterHook,
  listBpfFilters,
  type NetlinkSocket,
  neighbourFlag,
  replaceBpfFilter,
  replaceFdbEntry,
} from "../../netlink/index.ts";
import type { DesiredNetwork } from "../desired.ts";
import { ensureHooks } from "../hooks.ts";
import type { KernelBpf, KernelBpfProgram } from "../kernel.ts";
import { explainMissing, explainMissingBpf } from "../missing-module.ts";
import { type MapNames, ProgramMaps, textOf } from "../programs/maps.ts";
import type { Tunnels } from "./tunnels.ts";

const filterName = "weft-forward";
const priority = 1;
const hook = filterHook.ingress;

const mapNames = {
  kept: ["forwarded"],
  own: [],
  full: {
    reason: "it is full: more endpoints have left this node than it has room for",
    hint: "what other nodes send here still is lost until they follow: see weft network show",
  },
} as const satisfies MapNames<string>;
type ForwardedMaps = ProgramMaps<(typeof mapNames)["kept"][number]>;

export interface ForwardingOptions {
  readonly bpf: KernelBpf;
  readonly socket: NetlinkSocket;
  readonly desired: DesiredNetwork;
  readonly tunnels: Tunnels;
  /** The entries that will lead to the MAC; `undefined`: there is no way yet. */
  readonly entryOf: (mac: MacAddress) => FdbEntry | undefined;
}

/**
 * What other nodes send to endpoints that left this one goes on to where those are now: the eBPF program forward.c at the tunnels of
 * one network, from before the first of them leaves until all are followed. Its map lives in the kernel as long as a tunnel has the program.
 */
export class Forwarding {
  readonly #options: ForwardingOptions;
  #read: BpfObject | undefined;
  #maps: ForwardedMaps | undefined;
  #program: KernelBpfProgram | undefined;
  /** Tunnels that were looked at, and whether they have the program. */
  readonly #tunnels = new Map<number, boolean>();
  #isSettled = false;

  constructor(options: ForwardingOptions) {
    this.#options = options;
  }

  /** An endpoint left this node, or is forwarded to no more, or goes by another tunnel. */
  mark(): void {
    this.#isSettled = false;
  }

  /** There is such a tunnel. */
  found(index: number): void {
    if (!this.#tunnels.has(index)) this.#isSettled = false;
  }

  /** Of a tunnel filters were taken away. Tells whether there is something to restore. */
  judge(index: number): boolean {
    if (this.#tunnels.get(index) !== true) return false;
    this.#tunnels.delete(index);
    this.#isSettled = false;
    return true;
  }

  distrust(): void {
    this.#tunnels.clear();
    this.#isSettled = false;
  }

  get isSettled(): boolean {
    return this.#isSettled;
  }

  /**
   * Called before the rows of the network follow: for a moment frames from tunnels go to where the endpoint is, and those of this
   * node's ports to where it was, and none is lost between both.
   */
  async ensure(): Promise<void> {
    const { tunnels } = this.#options;
    for (const index of tunnels.indexes) if (!this.#tunnels.has(index)) await this.#look(index);
    for (const index of this.#tunnels.keys()) if (!tunnels.has(index)) this.#tunnels.delete(index);
    if (this.#options.desired.forwarded.size === 0) await this.#end();
    else await this.#forward(this.#rows());
    this.#isSettled = true;
  }

  /** Lets go of the kernel, which stays as it is. */
  close(): void {
    this.#program?.close();
    this.#program = undefined;
    this.#maps?.close();
    this.#maps = undefined;
  }

  async #forward(rows: ReadonlyMap<MacAddress, number>): Promise<void> {
    const { bpf } = this.#options;
    try {
      this.#maps ??= ProgramMaps.create(bpf, this.#object, mapNames);
    } catch (error) {
      explainMissingBpf(error);
    }
    const maps = this.#maps as ForwardedMaps;
    for (const [mac, index] of rows) {
      if (maps.known("forwarded", keyOf(mac)) === undefined) await this.#leadTunnel(mac);
      maps.put("forwarded", keyOf(mac), octetsOf(index));
    }
    const kept = new Set(Array.from(rows.keys(), (mac) => textOf(keyOf(mac))));
    for (const key of maps.keys("forwarded")) if (!kept.has(textOf(key))) maps.delete("forwarded", key);
    for (const [index, hasProgram] of this.#tunnels) if (!hasProgram) await this.#attach(index, maps);
  }

  /** A tunnel that serves all VTEPs must know which the frames are for. The bridge is told with all other rows. */
  async #leadTunnel(mac: MacAddress): Promise<void> {
    const entry = this.#options.entryOf(mac);
    if (entry === undefined || (entry.flags & neighbourFlag.self) === 0) return;
    const flags = entry.flags & ~neighbourFlag.master;
    await this.#options.socket.execute(replaceFdbEntry({ ...entry, flags }));
  }

  async #end(): Promise<void> {
    const { socket } = this.#options;
    for (const [index, hasProgram] of this.#tunnels) {
      if (!hasProgram) continue;
      await socket.execute(deleteFilter({ index, hook, priority })).catch((error: unknown) => {
        if (!isErrno(error, "ENOENT", "ENODEV", "EINVAL")) throw error;
      });
      this.#tunnels.set(index, false);
    }
    this.close();
  }

  async #attach(index: number, maps: ForwardedMaps): Promise<void> {
    const { bpf, socket } = this.#options;
    const { instructions, symbols } = this.#object;
    this.#program ??= bpf.loadProgram(
      this.#programName,
      instructions,
      symbols.flatMap(({ offset, name }) => {
        const map = maps.get(name);
        return map === undefined ? [] : [[offset, map] as const];
      }),
    );
    await ensureHooks(socket, index);
    const filter = { index, hook, priority, name: filterName, descriptor: this.#program.fd };
    await socket.execute(replaceBpfFilter(filter)).catch(explainMissing("cls_bpf"));
    this.#tunnels.set(index, true);
  }

  /** Takes up what is there, if it is of this version; another version's is replaced, or ended. */
  async #look(index: number): Promise<void> {
    const { bpf } = this.#options;
    const filter = await this.#filterAt(index);
    const program = filter === undefined ? undefined : bpf.programById(filter.programId);
    const isOfThisVersion = program?.name === this.#programName;
    if (program !== undefined && isOfThisVersion) this.#maps ??= ProgramMaps.of(bpf, program, mapNames);
    const isRight = program !== undefined && isOfThisVersion && this.#maps?.areOf(program) === true;
    program?.close();
    // One of another version is there all the same: it counts when all of them are to end.
    this.#tunnels.set(index, isRight || (filter !== undefined && this.#options.desired.forwarded.size === 0));
  }

  /** `undefined`: there is none, or no place for one. */
  async #filterAt(index: number): Promise<BpfFilter | undefined> {
    const found = await this.#options.socket.dump(listBpfFilters(index, hook)).catch((error: unknown) => {
      if (isErrno(error, "EINVAL", "EOPNOTSUPP", "ENODEV")) return [];
      throw error;
    });
    return found.find((each) => each.name === filterName);
  }

  /** The tunnel that leads to each endpoint that left, by its MAC. */
  #rows(): ReadonlyMap<MacAddress, number> {
    const { desired, tunnels } = this.#options;
    const rows = new Map<MacAddress, number>();
    for (const [id, mac] of desired.forwarded) {
      const place = desired.remote(id);
      const tunnel = place === undefined ? undefined : tunnels.towards(place.vtep);
      if (tunnel !== undefined) rows.set(mac, tunnel.index);
    }
    return rows;
  }

  get #object(): BpfObject {
    this.#read ??= this.#options.bpf.readObject(join(import.meta.dirname, "../programs/forward.o"));
    return this.#read;
  }

  /** Of this version's programs in the kernel. */
  get #programName(): string {
    return `weft_${this.#object.digest}`;
  }
}

/** forward.c, `struct forwarded_key`. */
function keyOf(mac: MacAddress): Uint8Array {
  const key = new Uint8Array(8);
  key.set(macToBytes(mac));
  return key;
}

function octetsOf(index: number): Uint8Array {
  const value = new Uint8Array(4);
  new DataView(value.buffer).setUint32(0, index, true);
  return value;
}
