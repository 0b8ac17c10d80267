import { WeftError } from "../../base/errors.ts";
import { type BpfObject, isErrno } from "../../linux/index.ts";
import type { KernelBpf, KernelBpfMap, KernelBpfProgram } from "../kernel.ts";

const mapNames = ["ports", "addresses", "prefixes", "dropped", "storms"] as const;
export type GuardMap = (typeof mapNames)[number];

/**
 * The guard's maps, and what is in them: nobody else writes there, so that what was read once and written since is known. They live
 * in the kernel as long as a port's program uses them, and so outlive the agent.
 */
export class GuardMaps {
  readonly #maps: Readonly<Record<GuardMap, KernelBpfMap>>;
  /** Values by keys; of counters, which the program writes, that they are there. All as text. */
  readonly #present: Readonly<Record<GuardMap, Map<string, string>>>;
  #writes = 0;

  private constructor(maps: Readonly<Record<GuardMap, KernelBpfMap>>) {
    this.#maps = maps;
    this.#present = recordOf((name) => {
      const map = maps[name];
      return new Map(Array.from(map.keys(), (key) => [textOf(key), textOf(map.get(key) ?? new Uint8Array())]));
    });
  }

  static create(bpf: KernelBpf, { maps }: BpfObject): GuardMaps {
    using stack = new DisposableStack();
    const made = recordOf((name) => {
      const layout = maps.get(name);
      if (layout === undefined) throw new TypeError(`the guard has no map ${name}`);
      return stack.adopt(bpf.createMap(name, layout), (map) => map.close());
    });
    stack.move();
    return new GuardMaps(made);
  }

  /** Those that a program of this version uses. */
  static of(bpf: KernelBpf, program: KernelBpfProgram): GuardMaps | undefined {
    const found = program.mapIds.flatMap((id) => bpf.mapById(id) ?? []);
    const named = new Map(found.map((map) => [map.name, map]));
    if (mapNames.every((name) => named.has(name)))
      return new GuardMaps(recordOf((name) => named.get(name) as KernelBpfMap));
    for (const map of found) map.close();
    return undefined;
  }

  get writes(): number {
    return this.#writes;
  }

  /** For programs. */
  get(name: string): KernelBpfMap | undefined {
    return mapNames.includes(name as GuardMap) ? this.#maps[name as GuardMap] : undefined;
  }

  /** Whether a program uses these. */
  areOf({ mapIds }: KernelBpfProgram): boolean {
    const ids = new Set(mapNames.map((name) => this.#maps[name].id));
    return mapIds.length === ids.size && mapIds.every((id) => ids.has(id));
  }

  put(name: GuardMap, key: Uint8Array, value: Uint8Array): void {
    const [keyText, text] = [textOf(key), textOf(value)];
    if (this.#present[name].get(keyText) === text) return;
    try {
      this.#maps[name].set(key, value);
    } catch (error) {
      if (!isErrno(error, "E2BIG", "ENOSPC")) throw error;
      throw new WeftError({
        code: "exhausted",
        attempted: error.attempted,
        reason: "it is full: this node has more endpoints, or addresses of them, than its guard has room for",
        hint: "attach endpoints on other nodes",
        cause: error,
      });
    }
    this.#present[name].set(keyText, text);
    this.#writes++;
  }

  /** A counter that the program goes on with: if it is there it stays as it is. */
  putCounter(name: GuardMap, key: Uint8Array, zero: Uint8Array): void {
    if (!this.#present[name].has(textOf(key))) this.put(name, key, zero);
  }

  delete(name: GuardMap, key: Uint8Array): void {
    if (!this.#present[name].has(textOf(key))) return;
    this.#maps[name].delete(key);
    this.#present[name].delete(textOf(key));
    this.#writes++;
  }

  read(name: GuardMap, key: Uint8Array): Uint8Array | undefined {
    return this.#maps[name].get(key);
  }

  /** The keys that are there; some of them may be deleted meanwhile. */
  keys(name: GuardMap): Uint8Array[] {
    return Array.from(this.#present[name].keys(), octetsOf);
  }

  close(): void {
    for (const name of mapNames) this.#maps[name].close();
  }
}

function recordOf<Value>(make: (name: GuardMap) => Value): Record<GuardMap, Value> {
  return Object.fromEntries(mapNames.map((name) => [name, make(name)])) as Record<GuardMap, Value>;
}

export function textOf(octets: Uint8Array): string {
  return Buffer.from(octets.buffer, octets.byteOffset, octets.byteLength).toString("latin1");
}

function octetsOf(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text, "latin1"));
}
