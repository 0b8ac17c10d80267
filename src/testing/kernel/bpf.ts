import { viewOf } from "./request.ts";

/** linux/bpf_common.h: codes of the instructions that this project writes; see `assembleBpf`. */
const LOAD_WORD = 0x20;
const LOAD_HALF = 0x28;
const LOAD_OCTET = 0x30;
const LOAD_LENGTH = 0x80;
const JUMP_EQUAL = 0x15;
const JUMP_SET = 0x45;
const RETURN = 0x06;
/** Octets of `struct sock_filter`. linux/filter.h */
const instructionLength = 8;

/** Whether a classic BPF program lets the packet through. */
export function isLetThrough(program: Uint8Array, packet: Uint8Array): boolean {
  const code = viewOf(program);
  const data = viewOf(packet);
  const loaders: Readonly<Record<number, readonly [octets: number, load: (at: number) => number]>> = {
    [LOAD_WORD]: [4, (at) => data.getUint32(at)],
    [LOAD_HALF]: [2, (at) => data.getUint16(at)],
    [LOAD_OCTET]: [1, (at) => data.getUint8(at)],
    [LOAD_LENGTH]: [0, () => packet.length],
  };
  let loaded = 0;
  for (let at = 0; at < program.length; at += instructionLength) {
    const instruction = code.getUint16(at, true);
    const operand = code.getUint32(at + 4, true);
    const loader = loaders[instruction];
    if (loader !== undefined) {
      // A packet that is too short is dropped.
      if (loader[0] > 0 && operand + loader[0] > packet.length) return false;
      loaded = loader[1](operand);
    } else if (instruction === RETURN) return operand !== 0;
    else if (instruction === JUMP_EQUAL || instruction === JUMP_SET) {
      const isTrue = instruction === JUMP_EQUAL ? loaded === operand : (loaded & operand) !== 0;
      at += code.getUint8(at + (isTrue ? 2 : 3)) * instructionLength;
    } else throw new RangeError(`BPF instruction ${instruction} is not known here`);
  }
  throw new RangeError("the BPF program does not end");
}
