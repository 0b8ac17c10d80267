import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { WeftError } from "../base/errors.ts";

/** The layout of a map. linux/bpf.h: `enum bpf_map_type`, `BPF_F_*`. */
export interface BpfMapLayout {
  readonly type: number;
  /** Octets. */
  readonly keySize: number;
  /** Octets. */
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly flags: number;
}

/** What an object file of the compiler says: its maps by name, and its one program. */
export interface BpfObject {
  /** Tells it from others: of the file's SHA-256 the first 32 bits, in hexadecimal digits. */
  readonly digest: string;
  readonly maps: ReadonlyMap<string, BpfMapLayout>;
  /** `struct bpf_insn` one after the other. */
  readonly instructions: Uint8Array;
  /** Instructions that name a map, or a number that whoever loads the program puts in: by their octet in {@link instructions}. */
  readonly symbols: readonly { readonly offset: number; readonly name: string }[];
}

/** elf.h: `Elf64_Ehdr`, `Elf64_Shdr`, `Elf64_Sym`, `Elf64_Rel`; the machine is EM_BPF, which is 64 bits and here little-endian. */
const sectionTable = { offsetAt: 0x28, sizeAt: 0x3a, countAt: 0x3c, namesAt: 0x3e };
const symbolSize = 24;
const relocationSize = 16;
const undefinedSection = 0;

interface Section {
  readonly name: string;
  readonly start: number;
  readonly size: number;
  /** The section that relocations are for. */
  readonly target: number;
}

/**
 * Reads an object file that `clang -target bpf` made: one program in the section `classifier`, the layouts of maps in the
 * section `maps`, five numbers of 32 bits each. Other sections are for debuggers.
 */
export function readBpfObject(path: string): BpfObject {
  const file = Uint8Array.from(readFileSync(path));
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const malformed = (reason: string): WeftError =>
    new WeftError({ code: "internal", attempted: `read the eBPF object file ${path}`, reason });
  const text = (start: number): string => {
    const end = file.indexOf(0, start);
    return Buffer.from(file.subarray(start, end)).toString("latin1");
  };
  const long = (offset: number): number => Number(view.getBigUint64(offset, true));

  const headers = Array.from({ length: view.getUint16(sectionTable.countAt, true) }, (_, index) => {
    return long(sectionTable.offsetAt) + index * view.getUint16(sectionTable.sizeAt, true);
  });
  const namesHeader = headers[view.getUint16(sectionTable.namesAt, true)];
  if (namesHeader === undefined) throw malformed("it has no names of sections");
  const names = long(namesHeader + 0x18);
  const sections = headers.map(
    (header): Section => ({
      name: text(names + view.getUint32(header, true)),
      start: long(header + 0x18),
      size: long(header + 0x20),
      target: view.getUint32(header + 0x2c, true),
    }),
  );
  const section = (name: string): Section => {
    const found = sections.find((each) => each.name === name);
    if (found === undefined) throw malformed(`it has no section ${name}`);
    return found;
  };

  const program = section("classifier");
  const layouts = section("maps");
  const symbolTable = section(".symtab");
  const symbolNames = section(".strtab");
  const symbol = (index: number): { name: string; section: number; value: number } => {
    const start = symbolTable.start + index * symbolSize;
    return {
      name: text(symbolNames.start + view.getUint32(start, true)),
      section: view.getUint16(start + 6, true),
      value: long(start + 8),
    };
  };
  const symbols = Array.from({ length: symbolTable.size / symbolSize }, (_, index) => symbol(index));

  const maps = new Map<string, BpfMapLayout>();
  for (const { name, section: at, value } of symbols) {
    if (sections[at] !== layouts || name === "" || name === layouts.name) continue;
    const [type = 0, keySize = 0, valueSize = 0, maxEntries = 0, flags = 0] = Array.from({ length: 5 }, (_, field) =>
      view.getUint32(layouts.start + value + field * 4, true),
    );
    maps.set(name, { type, keySize, valueSize, maxEntries, flags });
  }

  const relocations = sections.find(({ name, target }) => name.startsWith(".rel") && sections[target] === program);
  const references = Array.from({ length: (relocations?.size ?? 0) / relocationSize }, (_, index) => {
    const start = (relocations?.start ?? 0) + index * relocationSize;
    const { name, section: at } = symbol(view.getUint32(start + 12, true));
    if (sections[at] !== layouts && at !== undefinedSection) throw malformed(`it refers to ${name}, which is no map`);
    return { offset: long(start), name };
  });
  const instructions = file.slice(program.start, program.start + program.size);
  const digest = createHash("sha256").update(file).digest("hex").slice(0, 8);
  return { digest, maps, instructions, symbols: references };
}
