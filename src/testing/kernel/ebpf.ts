import { constants } from "node:os";
import type { KernelBpf, KernelBpfMap, KernelBpfProgram } from "../../dataplane/kernel.ts";
import { readBpfObject, SystemError } from "../../linux/index.ts";

/** eBPF maps and programs of a machine; nothing runs. What nobody holds and no filter uses stays, and does no harm. */
export class FakeBpf implements KernelBpf {
  readonly #maps = new Map<number, FakeMap>();
  readonly #programs = new Map<number, KernelBpfProgram>();
  readonly #onCall: (operation: string) => void;
  #lastId = 0;
  #lastDescriptor = 10_000;

  /** `onCall`: something that changes is asked for; it throws what goes wrong. */
  constructor(onCall: (operation: string) => void) {
    this.#onCall = onCall;
  }

  readonly readObject = readBpfObject;

  createMap(name: string): KernelBpfMap {
    this.#onCall(`open a new eBPF map ${name}`);
    const map = new FakeMap(++this.#lastId, ++this.#lastDescriptor, name, this.#onCall);
    this.#maps.set(map.id, map);
    return map;
  }

  mapById(id: number): KernelBpfMap | undefined {
    return this.#maps.get(id);
  }

  loadProgram(
    name: string,
    _instructions: Uint8Array,
    symbols: Iterable<readonly [offset: number, of: KernelBpfMap | number]>,
  ): KernelBpfProgram {
    this.#onCall(`open a new eBPF program ${name}`);
    const mapIds = new Set<number>();
    for (const [, of] of symbols) if (typeof of !== "number") mapIds.add(of.id);
    const program = { fd: ++this.#lastDescriptor, id: ++this.#lastId, name, mapIds: [...mapIds], close() {} };
    this.#programs.set(program.id, program);
    return program;
  }

  programById(id: number): KernelBpfProgram | undefined {
    return this.#programs.get(id);
  }

  /** The program of a descriptor. */
  programAt(fd: number): KernelBpfProgram | undefined {
    for (const program of this.#programs.values()) if (program.fd === fd) return program;
    return undefined;
  }

  /** What the maps of a program hold, by the map's name. */
  contentOf({ mapIds }: KernelBpfProgram): Map<string, ReadonlyMap<string, Uint8Array>> {
    const maps = mapIds.flatMap((id) => this.#maps.get(id) ?? []);
    return new Map(maps.map(({ name, content }) => [name, content]));
  }
}

class FakeMap implements KernelBpfMap {
  readonly id: number;
  readonly fd: number;
  readonly name: string;
  readonly content = new Map<string, Uint8Array>();
  readonly #onCall: (operation: string) => void;

  constructor(id: number, fd: number, name: string, onCall: (operation: string) => void) {
    this.id = id;
    this.fd = fd;
    this.name = name;
    this.#onCall = onCall;
  }

  get(key: Uint8Array): Uint8Array | undefined {
    return this.content.get(hexOf(key));
  }

  set(key: Uint8Array, value: Uint8Array): void {
    this.#onCall(`write to eBPF map ${this.name}`);
    this.content.set(hexOf(key), value.slice());
  }

  setAll(rows: readonly (readonly [key: Uint8Array, value: Uint8Array])[]): number {
    return untilRefused(rows, ([key, value]) => this.set(key, value));
  }

  deleteAll(keys: readonly Uint8Array[]): number {
    return untilRefused(keys, (key) => {
      if (!this.content.has(hexOf(key))) throw new SystemError({ operation: "delete", errno: constants.errno.ENOENT });
      this.delete(key);
    });
  }

  delete(key: Uint8Array): void {
    this.#onCall(`delete from eBPF map ${this.name}`);
    this.content.delete(hexOf(key));
  }

  *keys(): Iterable<Uint8Array> {
    for (const key of this.content.keys()) yield Uint8Array.from(Buffer.from(key, "hex"));
  }

  *rows(): Iterable<readonly [key: Uint8Array, value: Uint8Array]> {
    for (const [key, value] of this.content) yield [Uint8Array.from(Buffer.from(key, "hex")), value.slice()];
  }

  close(): void {}
}

/** How many were done. */
function untilRefused<Item>(items: readonly Item[], act: (item: Item) => void): number {
  for (const [index, item] of items.entries())
    try {
      act(item);
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      return index;
    }
  return items.length;
}

function hexOf(octets: Uint8Array): string {
  return Buffer.from(octets).toString("hex");
}
