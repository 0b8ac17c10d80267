import type { BpfMapLayout } from "./bpf-object.ts";
import { closeDescriptor } from "./descriptor.ts";
import { addressOfMemory, lastErrno, libc } from "./libc.ts";
import { isErrno, SystemError } from "./system-error.ts";

/** asm/unistd.h: `__NR_bpf`. */
const systemCall = process.arch === "arm64" ? 280 : 321;
/** linux/bpf.h: `enum bpf_cmd`. */
const command = {
  createMap: 0,
  lookUpElement: 1,
  updateElement: 2,
  deleteElement: 3,
  nextKey: 4,
  loadProgram: 5,
  programById: 13,
  mapById: 14,
  info: 15,
  lookUpElements: 24,
  updateElements: 26,
  deleteElements: 27,
} as const;
/** linux/bpf.h: `BPF_PROG_TYPE_SCHED_CLS`. */
const classifierProgram = 3;
/** linux/bpf.h: `BPF_PSEUDO_MAP_FD`: the instruction's number is the descriptor of a map. */
const mapDescriptor = 1;
/** More than any command of these takes; the kernel wants what it does not know to be zero. */
const attributesSize = 128;
/** linux/bpf.h: BPF_OBJ_NAME_LEN, with the zero at its end. */
const nameSize = 16;
/** What the verifier has to say of a program that it refuses; the last lines are told. */
const logSize = 1024 * 1024;

/** Of `count` in `batch` of `union bpf_attr`. */
const batchCount = 32;
/** Rows that are read at once, or so many more as share a bucket of the kernel's. */
const batchOfRows = 4096;

type Attribute = number | bigint | Uint8Array;

/** `values`: by their octet in `union bpf_attr`: a number of 32 bits, one of 64, or where octets lie. */
function attributesOf(values: Readonly<Record<number, Attribute>>): DataView {
  const view = new DataView(new ArrayBuffer(attributesSize));
  for (const [offset, value] of Object.entries(values)) {
    if (typeof value === "number") view.setUint32(Number(offset), value, true);
    else view.setBigUint64(Number(offset), typeof value === "bigint" ? value : addressOfMemory(value), true);
  }
  return view;
}

function bpf(operation: string, of: number, values: Readonly<Record<number, Attribute>>): number {
  const attributes = new Uint8Array(attributesOf(values).buffer);
  const result = Number(libc.bpf(systemCall, of, attributes, attributesSize));
  if (result >= 0) return result;
  throw new SystemError({ operation, errno: lastErrno() });
}

function nameAttribute(name: string, offset: number): Record<number, Attribute> {
  const octets = new Uint8Array(nameSize);
  octets.set(new TextEncoder().encode(name.slice(0, nameSize - 1)));
  const view = new DataView(octets.buffer);
  return { [offset]: view.getBigUint64(0, true), [offset + 8]: view.getBigUint64(8, true) };
}

/** `struct bpf_prog_info` and `struct bpf_map_info`: as much of them as is asked for. */
function infoOf(operation: string, fd: number, into: Uint8Array): DataView {
  bpf(operation, command.info, { 0: fd, 4: into.length, 8: into });
  return new DataView(into.buffer);
}

function nameIn(info: DataView, offset: number): string {
  const octets = new Uint8Array(info.buffer, offset, nameSize);
  return Buffer.from(octets.subarray(0, octets.indexOf(0))).toString("latin1");
}

/** A map that eBPF programs and this process share. bpf(2) */
export class BpfMap {
  readonly fd: number;
  readonly id: number;
  readonly name: string;
  readonly #keySize: number;
  readonly #valueSize: number;

  private constructor(fd: number) {
    this.fd = fd;
    const info = infoOf("look at an eBPF map", fd, new Uint8Array(40));
    this.id = info.getUint32(4, true);
    this.#keySize = info.getUint32(8, true);
    this.#valueSize = info.getUint32(12, true);
    this.name = nameIn(info, 24);
  }

  /** `name`: 15 characters at most, for people and to find it again. */
  static create(name: string, { type, keySize, valueSize, maxEntries, flags }: BpfMapLayout): BpfMap {
    return new BpfMap(
      bpf(`create eBPF map ${name}`, command.createMap, {
        0: type,
        4: keySize,
        8: valueSize,
        12: maxEntries,
        16: flags,
        ...nameAttribute(name, 28),
      }),
    );
  }

  /** `undefined`: there is none. */
  static byId(id: number): BpfMap | undefined {
    const fd = descriptorById("eBPF map", command.mapById, id);
    return fd === undefined ? undefined : new BpfMap(fd);
  }

  get(key: Uint8Array): Uint8Array | undefined {
    const value = new Uint8Array(this.#valueSize);
    try {
      bpf(`look into eBPF map ${this.name}`, command.lookUpElement, { 0: this.fd, 8: key, 16: value });
      return value;
    } catch (error) {
      if (isErrno(error, "ENOENT")) return undefined;
      throw error;
    }
  }

  /** E2BIG: it is full. */
  set(key: Uint8Array, value: Uint8Array): void {
    const attributes = { 0: this.fd, 8: key, 16: value };
    // The kernel refills its stock of elements behind what is taken from it: kernel/bpf/memalloc.c, `unit_alloc`.
    again("ENOMEM", () => bpf(`write to eBPF map ${this.name}`, command.updateElement, attributes));
  }

  /** No such key is success. */
  delete(key: Uint8Array): void {
    try {
      bpf(`delete from eBPF map ${this.name}`, command.deleteElement, { 0: this.fd, 8: key });
    } catch (error) {
      if (!isErrno(error, "ENOENT")) throw error;
    }
  }

  /**
   * Writes these rows, one after the other, in one call. Returns how many: the one behind them was refused, and {@link set} writes it, or
   * says why not. The kernel's stock of elements may run out within a call, and some kernels write only one row at a time.
   */
  setAll(rows: readonly (readonly [key: Uint8Array, value: Uint8Array])[]): number {
    const keys = joined(rows, ([key]) => key, this.#keySize);
    const values = joined(rows, ([, value]) => value, this.#valueSize);
    return this.#batch(command.updateElements, rows.length, { 16: keys, 24: values });
  }

  /** Deletes these in one call. Returns how many: the one behind them was not there, or refused, as of {@link setAll}. */
  deleteAll(keys: readonly Uint8Array[]): number {
    return this.#batch(command.deleteElements, keys.length, { 16: joined(keys, (key) => key, this.#keySize) });
  }

  /** linux/bpf.h: `batch` in `union bpf_attr`, whose count the kernel sets to what it has done. */
  #batch(of: number, count: number, octets: Readonly<Record<number, Uint8Array>>): number {
    const attributes = attributesOf({ ...octets, [batchCount]: count, 36: this.fd });
    if (Number(libc.bpf(systemCall, of, new Uint8Array(attributes.buffer), attributesSize)) >= 0) return count;
    const done = attributes.getUint32(batchCount, true);
    // Refused as a whole it is as it was.
    return done < count ? done : 0;
  }

  /** The keys that are there. Nobody else may delete meanwhile, or some come twice. */
  *keys(): Iterable<Uint8Array> {
    let key: Uint8Array | undefined;
    for (;;) {
      const next = new Uint8Array(this.#keySize);
      try {
        const before = key ?? 0n;
        bpf(`list eBPF map ${this.name}`, command.nextKey, { 0: this.fd, 8: before, 16: next });
      } catch (error) {
        if (isErrno(error, "ENOENT")) return;
        throw error;
      }
      yield next;
      key = next;
    }
  }

  /** What is there. Nobody else may write meanwhile, or some come twice. */
  *rows(): Iterable<readonly [key: Uint8Array, value: Uint8Array]> {
    let before: Uint8Array | undefined;
    for (let most = batchOfRows; ; ) {
      const { rows, next, refusal } = this.#rowsBehind(before, most);
      const isLast = isErrno(refusal, "ENOENT");
      if (isErrno(refusal, "ENOSPC")) most *= 2;
      else if (refusal === undefined || isLast) {
        yield* rows;
        before = next;
      } else if (before !== undefined) throw refusal;
      else {
        // Linux before 5.6 reads one by one.
        for (const key of this.keys()) yield [key, this.get(key) ?? new Uint8Array(this.#valueSize)];
        return;
      }
      if (isLast) return;
    }
  }

  /** linux/bpf.h: `BPF_MAP_LOOKUP_BATCH`. ENOENT: there are no more; ENOSPC: the next come together, and are more than `most`. */
  #rowsBehind(before: Uint8Array | undefined, most: number) {
    const [keySize, valueSize] = [this.#keySize, this.#valueSize];
    const next = new Uint8Array(Math.max(keySize, 4));
    const [keys, values] = [new Uint8Array(most * keySize), new Uint8Array(most * valueSize)];
    const octets = { 0: before ?? 0n, 8: next, 16: keys, 24: values };
    const attributes = attributesOf({ ...octets, [batchCount]: most, 36: this.fd });
    const result = libc.bpf(systemCall, command.lookUpElements, new Uint8Array(attributes.buffer), attributesSize);
    const operation = `read eBPF map ${this.name}`;
    const refusal = Number(result) < 0 ? new SystemError({ operation, errno: lastErrno() }) : undefined;
    const rows = Array.from(
      { length: attributes.getUint32(batchCount, true) },
      (_, row) =>
        [
          keys.subarray(row * keySize, (row + 1) * keySize),
          values.subarray(row * valueSize, (row + 1) * valueSize),
        ] as const,
    );
    return { rows, next, refusal };
  }

  close(): void {
    closeDescriptor(this.fd);
  }
}

/** A program in the kernel, of the kind that judges what a device receives and sends. bpf(2) */
export class BpfProgram {
  readonly fd: number;
  readonly id: number;
  readonly name: string;
  /** {@link BpfMap.id} of those that it uses. */
  readonly mapIds: readonly number[];

  private constructor(fd: number) {
    this.fd = fd;
    const ids = new Uint32Array(64);
    const asked = new Uint8Array(80);
    new DataView(asked.buffer).setUint32(52, ids.length, true);
    new DataView(asked.buffer).setBigUint64(56, addressOfMemory(new Uint8Array(ids.buffer)), true);
    const info = infoOf("look at an eBPF program", fd, asked);
    this.id = info.getUint32(4, true);
    this.name = nameIn(info, 64);
    this.mapIds = [...ids.subarray(0, info.getUint32(52, true))];
  }

  /** Has the kernel verify and keep it. `symbols`: the maps and numbers that its instructions name, by their octets. */
  static load(
    name: string,
    instructions: Uint8Array,
    symbols: Iterable<readonly [offset: number, of: Pick<BpfMap, "fd"> | number]>,
  ): BpfProgram {
    const program = Uint8Array.from(instructions);
    const view = new DataView(program.buffer);
    for (const [offset, of] of symbols) {
      const isMap = typeof of !== "number";
      // linux/bpf.h, `struct bpf_insn`: the source register says what the number means.
      if (isMap) view.setUint8(offset + 1, (view.getUint8(offset + 1) & 0x0f) | (mapDescriptor << 4));
      view.setInt32(offset + 4, (isMap ? of.fd : of) | 0, true);
    }
    const license = new TextEncoder().encode("GPL\0");
    const operation = `load eBPF program ${name}`;
    const attributes = {
      0: classifierProgram,
      4: program.length / 8,
      8: program,
      16: license,
      ...nameAttribute(name, 48),
    };
    try {
      // Whatever signal comes ends the verifier's work: kernel/bpf/verifier.c, `do_check`.
      return new BpfProgram(again("EAGAIN", () => bpf(operation, command.loadProgram, attributes)));
    } catch (error) {
      if (!isErrno(error, "EINVAL", "EACCES")) throw error;
      throw error.with({ operation, hint: verifierWords(operation, attributes) });
    }
  }

  /** `undefined`: there is none. */
  static byId(id: number): BpfProgram | undefined {
    const fd = descriptorById("eBPF program", command.programById, id);
    return fd === undefined ? undefined : new BpfProgram(fd);
  }

  close(): void {
    closeDescriptor(this.fd);
  }
}

function joined<Item>(items: readonly Item[], octetsOf: (item: Item) => Uint8Array, size: number): Uint8Array {
  const all = new Uint8Array(items.length * size);
  for (const [index, item] of items.entries()) all.set(octetsOf(item), index * size);
  return all;
}

/** Attempts, and milliseconds between two: as long as the kernel takes for a moment's trouble. */
const attempts = 20;
const pause = 1;
const never = new Int32Array(new SharedArrayBuffer(4));

/** What the kernel refuses in this way it does a moment later. */
function again<Value>(refusal: string, attempt: () => Value): Value {
  for (let left = attempts; ; left--) {
    try {
      return attempt();
    } catch (error) {
      if (left === 0 || !isErrno(error, refusal)) throw error;
    }
    Atomics.wait(never, 0, 0, pause);
  }
}

function descriptorById(what: string, of: number, id: number): number | undefined {
  try {
    return bpf(`open ${what} ${id}`, of, { 0: id });
  } catch (error) {
    if (isErrno(error, "ENOENT")) return undefined;
    throw error;
  }
}

/** What the verifier does not like of a program. */
function verifierWords(operation: string, attributes: Readonly<Record<number, Attribute>>): string {
  const log = new Uint8Array(logSize);
  try {
    closeDescriptor(bpf(operation, command.loadProgram, { ...attributes, 24: 1, 28: log.length, 32: log }));
  } catch {
    // It is refused for the same reason; the log says which.
  }
  const text = Buffer.from(log.subarray(0, log.indexOf(0))).toString("latin1");
  return `the kernel's verifier says: ${text.trim().split("\n").slice(-3).join("; ")}`;
}
