import { WeftError } from "../../base/errors.ts";
import { type BpfObject, isErrno } from "../../linux/index.ts";
import type { KernelBpf, KernelBpfMap, KernelBpfProgram } from "../kernel.ts";

/** Which maps a program has. */
export interface MapNames<Name extends string> {
  /** What is in them is weft's, or counted by the program in rows of weft's. */
  readonly kept: readonly Name[];
  /** The program's own, and those that who writes there knows without a copy. */
  readonly own: readonly string[];
  /** For people: what fills them, and what to do then. */
  readonly full: { readonly reason: string; readonly hint: string };
}

/**
 * The maps of a program, and what is in those that are kept: nobody else writes there, so that what was read once and written since is
 * known. They live in the kernel as long as a program that is in use has them, and so outlive the agent.
 */
export class ProgramMaps<Name extends string> {
  readonly #names: MapNames<Name>;
  readonly #maps: ReadonlyMap<string, KernelBpfMap>;
  /** Values by keys; of counters, which the program writes, that they are there. All as text. */
  readonly #present: ReadonlyMap<Name, Map<string, string>>;
  #writes = 0;

  private constructor(names: MapNames<Name>, maps: ReadonlyMap<string, KernelBpfMap>) {
    this.#names = names;
    this.#maps = maps;
    this.#present = new Map(
      names.kept.map((name) => {
        const map = this.#map(name);
        return [name, new Map(Array.from(map.rows(), ([key, value]) => [textOf(key), textOf(value)]))];
      }),
    );
  }

  static create<Name extends string>(bpf: KernelBpf, { maps }: BpfObject, names: MapNames<Name>): ProgramMaps<Name> {
    using stack = new DisposableStack();
    const made = new Map<string, KernelBpfMap>();
    for (const name of [...names.kept, ...names.own]) {
      const layout = maps.get(name);
      if (layout === undefined) throw new TypeError(`the program has no map ${name}`);
      made.set(
        name,
        stack.adopt(bpf.createMap(name, layout), (map) => map.close()),
      );
    }
    stack.move();
    return new ProgramMaps(names, made);
  }

  /** Those that a program in the kernel uses; `undefined`: it has others. */
  static of<Name extends string>(
    bpf: KernelBpf,
    program: KernelBpfProgram,
    names: MapNames<Name>,
  ): ProgramMaps<Name> | undefined {
    const found = new Map(program.mapIds.flatMap((id) => bpf.mapById(id) ?? []).map((map) => [map.name, map]));
    if ([...names.kept, ...names.own].every((name) => found.has(name))) return new ProgramMaps(names, found);
    for (const map of found.values()) map.close();
    return undefined;
  }

  get writes(): number {
    return this.#writes;
  }

  /** Writes rows of a map of the program's own, in few calls. */
  write(name: string, rows: readonly (readonly [key: Uint8Array, value: Uint8Array])[]): void {
    const done = this.#map(name).setAll(rows);
    this.#writes += done;
    for (const row of rows.slice(done)) {
      this.#set(name, ...row);
      this.#writes++;
    }
  }

  /** Takes rows out of a map of the program's own, if they are there. */
  erase(name: string, keys: readonly Uint8Array[]): void {
    const map = this.#map(name);
    const done = map.deleteAll(keys);
    for (const key of keys.slice(done)) map.delete(key);
    this.#writes += keys.length;
  }

  /** For programs. */
  get(name: string): KernelBpfMap | undefined {
    return this.#maps.get(name);
  }

  /** Whether a program uses these. */
  areOf({ mapIds }: KernelBpfProgram): boolean {
    const ids = new Set(Array.from(this.#maps.values(), ({ id }) => id));
    return mapIds.length === ids.size && mapIds.every((id) => ids.has(id));
  }

  /** Tells whether it had to be written. */
  put(name: Name, key: Uint8Array, value: Uint8Array): boolean {
    const [keyText, text] = [textOf(key), textOf(value)];
    const present = this.#rows(name);
    if (present.get(keyText) === text) return false;
    this.#set(name, key, value);
    present.set(keyText, text);
    this.#writes++;
    return true;
  }

  /** Many rows in few calls; after those that are there as they are wanted nobody is asked. */
  putAll(name: Name, rows: readonly (readonly [key: Uint8Array, value: Uint8Array])[]): void {
    const present = this.#rows(name);
    const texts = rows.map(([key, value]) => [textOf(key), textOf(value)] as const);
    const isOther = texts.map(([key, value]) => present.get(key) !== value);
    const [wanted, wantedTexts] = [rows.filter((_, at) => isOther[at]), texts.filter((_, at) => isOther[at])];
    const done = this.#map(name).setAll(wanted);
    for (const [key, value] of wantedTexts.slice(0, done)) present.set(key, value);
    this.#writes += done;
    // One by one the others may do better, or it is said why they do not.
    for (const [key, value] of wanted.slice(done)) this.put(name, key, value);
  }

  /** A counter that the program goes on with: if it is there it stays as it is. */
  putCounter(name: Name, key: Uint8Array, zero: Uint8Array): boolean {
    return !this.#rows(name).has(textOf(key)) && this.put(name, key, zero);
  }

  /** Tells whether it was there. */
  delete(name: Name, key: Uint8Array): boolean {
    if (!this.#rows(name).has(textOf(key))) return false;
    this.#map(name).delete(key);
    this.#rows(name).delete(textOf(key));
    this.#writes++;
    return true;
  }

  /** Many in few calls. */
  deleteAll(name: Name, keys: readonly Uint8Array[]): void {
    const present = this.#rows(name);
    const unwanted = keys.filter((key) => present.has(textOf(key)));
    const done = this.#map(name).deleteAll(unwanted);
    for (const key of unwanted.slice(0, done)) present.delete(textOf(key));
    this.#writes += done;
    for (const key of unwanted.slice(done)) this.delete(name, key);
  }

  /** Counters, as of {@link putCounter}. */
  putCounters(name: Name, keys: readonly Uint8Array[], zero: Uint8Array): void {
    const present = this.#rows(name);
    this.putAll(
      name,
      keys.flatMap((key) => (present.has(textOf(key)) ? [] : [[key, zero] as const])),
    );
  }

  read(name: Name, key: Uint8Array): Uint8Array | undefined {
    return this.#map(name).get(key);
  }

  /** The keys that are there; some of them may be deleted meanwhile. */
  keys(name: Name): Uint8Array[] {
    return Array.from(this.#rows(name).keys(), octetsOf);
  }

  /** Those of them that are not among these, as {@link textOf} has them. */
  keysBut(name: Name, wanted: ReadonlySet<string>): Uint8Array[] {
    const others: Uint8Array[] = [];
    for (const key of this.#rows(name).keys()) if (!wanted.has(key)) others.push(octetsOf(key));
    return others;
  }

  /** The value that is known to be there. */
  known(name: Name, key: Uint8Array): Uint8Array | undefined {
    const text = this.#rows(name).get(textOf(key));
    return text === undefined ? undefined : octetsOf(text);
  }

  close(): void {
    for (const map of this.#maps.values()) map.close();
  }

  #set(name: string, key: Uint8Array, value: Uint8Array): void {
    try {
      this.#map(name).set(key, value);
    } catch (error) {
      if (!isErrno(error, "E2BIG", "ENOSPC")) throw error;
      throw new WeftError({
        code: "exhausted",
        attempted: error.attempted,
        ...this.#names.full,
        cause: error,
      });
    }
  }

  #map(name: string): KernelBpfMap {
    const map = this.#maps.get(name);
    if (map === undefined) throw new TypeError(`the program has no map ${name}`);
    return map;
  }

  #rows(name: Name): Map<string, string> {
    const rows = this.#present.get(name);
    if (rows === undefined) throw new TypeError(`map ${name} is not kept`);
    return rows;
  }
}

export function textOf(octets: Uint8Array): string {
  return Buffer.from(octets.buffer, octets.byteOffset, octets.byteLength).toString("latin1");
}

function octetsOf(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text, "latin1"));
}
