import { isErrno } from "../../linux/index.ts";
import {
  type BpfFilter,
  deleteFilter,
  filterHook,
  listBpfFilters,
  type NetlinkSocket,
  replaceBpfFilter,
} from "../../netlink/index.ts";
import { ensureHooks } from "../hooks.ts";
import type { KernelBpf } from "../kernel.ts";
import { explainMissing } from "../missing-module.ts";
import { priorityProgram, priorityProgramName } from "./class-program.ts";

const hook = filterHook.egress;
const priority = 1;
const filterName = "weft-share";

/** Gives what tunnels send the priority by which it shares the underlay. */
export class TunnelPriority {
  readonly #bpf: KernelBpf;
  readonly #socket: NetlinkSocket;
  /** Tunnels that have none, as this run has seen. */
  readonly #without = new Set<number>();

  constructor(bpf: KernelBpf, socket: NetlinkSocket) {
    this.#bpf = bpf;
    this.#socket = socket;
  }

  /** `handle`: of the class; `undefined`: nothing is shared. */
  async ensure(index: number, handle: number | undefined): Promise<void> {
    if (handle === undefined && this.#without.has(index)) return;
    const present = await this.#filterAt(index);
    if (handle === undefined) {
      if (present !== undefined) await this.#socket.execute(deleteFilter({ index, hook, priority }));
      this.#without.add(index);
      return;
    }
    this.#without.delete(index);
    const name = priorityProgramName(handle);
    const used = present === undefined ? undefined : this.#bpf.programById(present.programId);
    const isRight = used?.name === name;
    used?.close();
    if (isRight) return;
    await ensureHooks(this.#socket, index);
    const program = this.#bpf.loadProgram(name, priorityProgram(handle), []);
    try {
      const filter = { index, hook, priority, name: filterName, descriptor: program.fd };
      await this.#socket.execute(replaceBpfFilter(filter)).catch(explainMissing("cls_bpf"));
    } finally {
      program.close();
    }
  }

  async #filterAt(index: number): Promise<BpfFilter | undefined> {
    const found = await this.#socket.dump(listBpfFilters(index, hook)).catch((error: unknown) => {
      // It has no clsact qdisc.
      if (isErrno(error, "EINVAL", "EOPNOTSUPP")) return [];
      throw error;
    });
    return found.find((each) => each.name === filterName);
  }
}
