import { join } from "node:path";
import { type BpfObject, isErrno } from "../../linux/index.ts";
import {
  type BpfFilter,
  deleteFilter,
  filterHook,
  listBpfFilters,
  type NetlinkSocket,
  replaceBpfFilter,
} from "../../netlink/index.ts";
import { ensureHooks } from "../hooks.ts";
import type { KernelBpf, KernelBpfProgram } from "../kernel.ts";
import { explainMissing, explainMissingBpf } from "../missing-module.ts";
import { type MapNames, ProgramMaps } from "../programs/maps.ts";

/** Of the filters at a port. */
const filterName = "weft-policy";
/** After that of the guard, before frames are led to a limit. */
const priority = 2;
/** What the endpoint sends first: a port that has the filter there is known to have, or have had, the other. */
const hooks = [
  { hook: filterHook.ingress, isSent: 1 },
  { hook: filterHook.egress, isSent: 0 },
] as const;
type Hook = (typeof hooks)[number];

const mapNames = {
  kept: ["ports", "peers", "lists", "verdicts", "rules", "denied"],
  own: ["flows", "fragments"],
  full: {
    reason: "it is full: the tenant's policies, or those whom they speak of, are more than a node has room for",
    hint: "say the same with fewer rules, or divide the tenant",
  },
} as const satisfies MapNames<string>;
export type PolicyMap = (typeof mapNames)["kept"][number];
export type PolicyMaps = ProgramMaps<PolicyMap>;

/**
 * The eBPF program policy.c at the ports of one tenant that are under policies, once for each direction, and its maps, which are the
 * tenant's own: nobody else's flows take the room of its.
 */
export class PolicyPrograms {
  readonly #bpf: KernelBpf;
  readonly #socket: NetlinkSocket;
  #read: BpfObject | undefined;
  #maps: PolicyMaps | undefined;
  readonly #programs = new Map<Hook, KernelBpfProgram>();
  /** Programs in the kernel that are of this version and use these maps. */
  readonly #right = new Set<number>();
  /** Ports that have the filters, or may have some of them. */
  readonly #attached = new Set<number>();

  constructor(bpf: KernelBpf, socket: NetlinkSocket) {
    this.#bpf = bpf;
    this.#socket = socket;
  }

  /** Takes up what an earlier run left at these ports. */
  async adopt(ports: readonly number[]): Promise<void> {
    for (const index of ports) {
      const filter = await this.#filterAt(index, filterHook.ingress);
      if (filter === undefined) continue;
      this.#attached.add(index);
      this.#maps ??= this.#mapsOf(filter);
    }
  }

  /** `undefined`: no port is under policies, or was. */
  get present(): PolicyMaps | undefined {
    return this.#maps;
  }

  /** Made if there are none. */
  get maps(): PolicyMaps {
    try {
      this.#maps ??= ProgramMaps.create(this.#bpf, this.#object, mapNames);
      return this.#maps;
    } catch (error) {
      return explainMissingBpf(error);
    }
  }

  isAttached(index: number): boolean {
    return this.#attached.has(index);
  }

  /** From now on the port passes what its rows say, which are there. Tells whether it did not before. */
  async attach(index: number): Promise<boolean> {
    let isWritten = false;
    for (const place of hooks) {
      const present = await this.#filterAt(index, place.hook);
      if (present !== undefined && this.#isRight(present.programId, place)) {
        this.#attached.add(index);
        continue;
      }
      const program = this.#programs.get(place) ?? this.#load(place);
      await ensureHooks(this.#socket, index);
      const filter = { index, hook: place.hook, priority, name: filterName, descriptor: program.fd };
      this.#attached.add(index);
      await this.#socket.execute(replaceBpfFilter(filter)).catch(explainMissing("cls_bpf"));
      isWritten = true;
    }
    return isWritten;
  }

  /** The port is under no policies any more. */
  async detach(index: number): Promise<void> {
    if (!this.#attached.has(index)) return;
    for (const { hook } of hooks.toReversed())
      if ((await this.#filterAt(index, hook)) !== undefined)
        await this.#socket.execute(deleteFilter({ index, hook, priority })).catch((error: unknown) => {
          if (!isErrno(error, "ENOENT")) throw error;
        });
    this.#attached.delete(index);
  }

  /** The port's device is gone. */
  forget(index: number): void {
    this.#attached.delete(index);
  }

  /** Lets go of the kernel, which stays as it is. */
  close(): void {
    for (const program of this.#programs.values()) program.close();
    this.#programs.clear();
    this.#right.clear();
    this.#maps?.close();
    this.#maps = undefined;
  }

  /** `undefined`: there is none, or no place for one. */
  async #filterAt(index: number, hook: number): Promise<BpfFilter | undefined> {
    const filters = await this.#socket.dump(listBpfFilters(index, hook));
    return filters.find((filter) => filter.priority === priority && filter.name === filterName);
  }

  #isRight(id: number, place: Hook): boolean {
    if (this.#right.has(id)) return true;
    const program = this.#bpf.programById(id);
    if (program === undefined) return false;
    const isRight = program.name === this.#programName && this.maps.areOf(program);
    if (isRight) this.#right.add(id);
    if (isRight && !this.#programs.has(place)) this.#programs.set(place, program);
    else program.close();
    return isRight;
  }

  #load(place: Hook): KernelBpfProgram {
    const { instructions, symbols } = this.#object;
    const { maps } = this;
    const program = this.#bpf.loadProgram(
      this.#programName,
      instructions,
      symbols.map((symbol) => [symbol.offset, maps.get(symbol.name) ?? place.isSent] as const),
    );
    this.#programs.set(place, program);
    this.#right.add(program.id);
    return program;
  }

  /** Those of an earlier run of this version. */
  #mapsOf(filter: BpfFilter): PolicyMaps | undefined {
    const program = this.#bpf.programById(filter.programId);
    if (program === undefined) return undefined;
    const isOwn = program.name === this.#programName;
    const maps = isOwn ? ProgramMaps.of(this.#bpf, program, mapNames) : undefined;
    program.close();
    return maps;
  }

  get #object(): BpfObject {
    this.#read ??= this.#bpf.readObject(join(import.meta.dirname, "../programs/policy.o"));
    return this.#read;
  }

  /** Of this version's programs in the kernel. */
  get #programName(): string {
    return `weft_${this.#object.digest}`;
  }
}
