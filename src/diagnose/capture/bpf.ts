import { err, ok, type Result } from "../../base/result.ts";

/** One step of a classic BPF program. linux/filter.h: `struct sock_filter`. */
export interface BpfInstruction {
  readonly code: number;
  /** Instructions that are left out where a comparison holds, and where it does not. */
  readonly ifTrue: number;
  readonly ifFalse: number;
  readonly operand: number;
}

/** The kernel takes no longer ones. linux/bpf_common.h */
export const longestProgram = 4096;
/** Octets of `struct sock_filter`. */
const instructionLength = 8;

/** linux/bpf_common.h: of a code, the class in the lowest three bits, then the size, mode, operation or source of the operand. */
const classMask = 0x07;
const instructionClass = { ld: 0, ldx: 1, st: 2, stx: 3, alu: 4, jmp: 5, ret: 6, misc: 7 } as const;
const sizeMask = 0x18;
const size = { word: 0x00, half: 0x08, byte: 0x10 } as const;
const modeMask = 0xe0;
const mode = { immediate: 0x00, absolute: 0x20, indirect: 0x40, memory: 0x60, length: 0x80, header: 0xa0 } as const;
const operationMask = 0xf0;
/** BPF_X: the operand is in the index register. */
const fromIndex = 0x08;
/** BPF_A: what is returned is in the accumulator. */
const fromAccumulator = 0x10;
/** BPF_TXA: from index to accumulator. */
const toAccumulator = 0x80;
const jumpAlways = 0x00;
/** Where the kernel has whom a packet is for, as the interface sees it. linux/filter.h: `SKF_AD_OFF + SKF_AD_PKTTYPE`. */
export const packetTypeOffset = 0xffff_f000 + 4;

/** Words of scratch memory. linux/filter.h: BPF_MEMWORDS. */
const memoryWords = 16;

/** A program as `tcpdump -ddd` writes it: the number of instructions, then one on each line in decimal. */
export function parseBpf(text: string): Result<readonly BpfInstruction[], string> {
  const [first = "", ...lines] = text.trim().split("\n");
  const program = lines.map((line) => {
    const [code = Number.NaN, ifTrue = Number.NaN, ifFalse = Number.NaN, operand = Number.NaN] = line
      .split(" ")
      .map(Number);
    return { code, ifTrue, ifFalse, operand };
  });
  const isWhole = program.every((each) => Object.values(each).every(Number.isInteger));
  if (!isWhole || program.length === 0 || Number(first) !== program.length)
    return err(`"${text.slice(0, 60)}" is no BPF program`);
  return ok(program);
}

/** As the kernel takes it. */
export function encodeBpf(program: readonly BpfInstruction[]): Uint8Array {
  const octets = new Uint8Array(program.length * instructionLength);
  const view = new DataView(octets.buffer);
  program.forEach(({ code, ifTrue, ifFalse, operand }, index) => {
    const offset = index * instructionLength;
    view.setUint16(offset, code, true);
    view.setUint8(offset + 2, ifTrue);
    view.setUint8(offset + 3, ifFalse);
    view.setUint32(offset + 4, operand, true);
  });
  return octets;
}

/** What is known of a packet beside its octets. */
export interface KnownOfPacket {
  /** Octets that it had before it was cut. */
  readonly originalLength?: number;
  /** As linux/if_packet.h has it: 4 goes out. Absent: nobody knows, and a program that asks for it keeps nothing. */
  readonly packetType?: number;
}

/**
 * How many octets of the packet the program keeps; 0: it is not meant. Does what the kernel does: a load from outside of the packet and a
 * division by zero end it with 0.
 */
export function runBpf(program: readonly BpfInstruction[], packet: Uint8Array, known: KnownOfPacket = {}): number {
  const view = new DataView(packet.buffer, packet.byteOffset, packet.length);
  const memory = new Uint32Array(memoryWords);
  let accumulator = 0;
  let index = 0;
  for (let at = 0; at < program.length; at++) {
    const { code, ifTrue, ifFalse, operand } = program[at] as BpfInstruction;
    switch (code & classMask) {
      case instructionClass.ld: {
        const loaded = load(view, known, code, operand, index, memory);
        if (loaded === undefined) return 0;
        accumulator = loaded;
        break;
      }
      case instructionClass.ldx: {
        // The length of an IPv4 header is loaded like this alone: BPF_MSH.
        const loaded =
          (code & modeMask) === mode.header ? shifted(view, operand) : load(view, known, code, operand, index, memory);
        if (loaded === undefined) return 0;
        index = loaded;
        break;
      }
      case instructionClass.st:
        memory[operand] = accumulator;
        break;
      case instructionClass.stx:
        memory[operand] = index;
        break;
      case instructionClass.alu: {
        const result = compute(code & operationMask, accumulator, (code & fromIndex) === 0 ? operand : index);
        if (result === undefined) return 0;
        accumulator = result;
        break;
      }
      case instructionClass.jmp:
        if ((code & operationMask) === jumpAlways) at += operand;
        else {
          const other = (code & fromIndex) === 0 ? operand : index;
          at += compare(code & operationMask, accumulator, other) ? ifTrue : ifFalse;
        }
        break;
      case instructionClass.ret:
        return (code & fromAccumulator) === 0 ? operand : accumulator;
      default:
        if ((code & toAccumulator) === 0) index = accumulator;
        else accumulator = index;
    }
  }
  return 0;
}

function load(
  view: DataView,
  known: KnownOfPacket,
  code: number,
  operand: number,
  index: number,
  memory: Uint32Array,
): number | undefined {
  switch (code & modeMask) {
    case mode.immediate:
      return operand;
    case mode.absolute:
      return operand === packetTypeOffset ? known.packetType : read(view, code & sizeMask, operand);
    case mode.indirect:
      return read(view, code & sizeMask, (index + operand) >>> 0);
    case mode.memory:
      return memory[operand];
    case mode.length:
      return known.originalLength ?? view.byteLength;
    default:
      return undefined;
  }
}

function read(view: DataView, width: number, offset: number): number | undefined {
  const octets = width === size.word ? 4 : width === size.half ? 2 : 1;
  if (offset + octets > view.byteLength) return undefined;
  return octets === 4 ? view.getUint32(offset) : octets === 2 ? view.getUint16(offset) : view.getUint8(offset);
}

/** Four times the lower half of an octet. */
function shifted(view: DataView, offset: number): number | undefined {
  const octet = read(view, size.byte, offset);
  return octet === undefined ? undefined : (octet & 0xf) << 2;
}

function compute(operation: number, a: number, b: number): number | undefined {
  switch (operation) {
    case 0x00:
      return (a + b) >>> 0;
    case 0x10:
      return (a - b) >>> 0;
    case 0x20:
      return Math.imul(a, b) >>> 0;
    case 0x30:
      return b === 0 ? undefined : Math.floor(a / b);
    case 0x40:
      return (a | b) >>> 0;
    case 0x50:
      return (a & b) >>> 0;
    case 0x60:
      return b > 31 ? 0 : (a << b) >>> 0;
    case 0x70:
      return b > 31 ? 0 : a >>> b;
    case 0x80:
      return -a >>> 0;
    case 0x90:
      return b === 0 ? undefined : a % b;
    case 0xa0:
      return (a ^ b) >>> 0;
    default:
      return undefined;
  }
}

function compare(operation: number, a: number, b: number): boolean {
  switch (operation) {
    case 0x10:
      return a === b;
    case 0x20:
      return a > b;
    case 0x30:
      return a >= b;
    default:
      return (a & b) !== 0;
  }
}
