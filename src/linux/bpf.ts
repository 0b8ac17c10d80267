import { checked } from "./descriptor.ts";
import { addressOfMemory, libc } from "./libc.ts";

/** bits/socket.h */
const SOL_SOCKET = 1;
const SO_ATTACH_FILTER = 26;

/** linux/bpf_common.h: codes of instructions, each with an operand in the instruction itself. */
const loadCodes = { 1: 0x30, 2: 0x28, 4: 0x20 } as const;
const LOAD_LENGTH = 0x80;
const JUMP_EQUAL = 0x15;
const JUMP_SET = 0x45;
const RETURN = 0x06;
/** Octets of `struct sock_filter`. linux/filter.h */
const instructionLength = 8;
/** More than any packet has: all of it. */
const wholePacket = 0xffff_ffff;

/** Where to look for what is not in the packet but known of it. linux/filter.h: `SKF_AD_OFF + SKF_AD_…`. */
export const packetProperty = {
  /** One of {@link packetType}. */
  type: 0xffff_f000 + 4,
  /** 1: a VLAN tag, which the kernel has taken out of the packet already. */
  vlanTagPresent: 0xffff_f000 + 48,
} as const;

/** A step of a filter. What is not told where to go on goes on with the next step. */
export type BpfStep =
  /** Loads so many octets, in network byte order, from so far into the packet; a packet that is too short is dropped. */
  | { readonly load: 1 | 2 | 4; readonly at: number }
  /** Loads how many octets the packet has. */
  | { readonly load: "length" }
  /** Is what was loaded this? Goes on at the label `yes` or `no`. */
  | { readonly equals: number; readonly yes?: string; readonly no?: string }
  /** Is any of these bits set in it? */
  | { readonly anyBit: number; readonly yes?: string; readonly no?: string }
  | { readonly label: string }
  /** The end: the packet is queued, or dropped. */
  | { readonly accept: boolean };

/**
 * A classic BPF program, which says of each packet whether a socket queues it. linux/filter.h:
 * `struct sock_filter` one after the other. Labels lie behind the steps that lead to them, 255 steps at most.
 */
export function assembleBpf(steps: readonly BpfStep[]): Uint8Array {
  const labels = new Map<string, number>();
  const instructions: Exclude<BpfStep, { label: string }>[] = [];
  for (const step of steps)
    if ("label" in step) labels.set(step.label, instructions.length);
    else instructions.push(step);

  const program = new Uint8Array(instructions.length * instructionLength);
  const view = new DataView(program.buffer);
  instructions.forEach((step, index) => {
    const [code, operand, ifTrue, ifFalse] = encode(step, (label) => distance(labels, label, index));
    const offset = index * instructionLength;
    view.setUint16(offset, code, true);
    view.setUint8(offset + 2, ifTrue);
    view.setUint8(offset + 3, ifFalse);
    view.setUint32(offset + 4, operand, true);
  });
  return program;
}

type Encoded = readonly [code: number, operand: number, ifTrue: number, ifFalse: number];

function encode(step: Exclude<BpfStep, { label: string }>, to: (label: string | undefined) => number): Encoded {
  if ("load" in step) return step.load === "length" ? [LOAD_LENGTH, 0, 0, 0] : [loadCodes[step.load], step.at, 0, 0];
  if ("accept" in step) return [RETURN, step.accept ? wholePacket : 0, 0, 0];
  if ("equals" in step) return [JUMP_EQUAL, step.equals, to(step.yes), to(step.no)];
  return [JUMP_SET, step.anyBit, to(step.yes), to(step.no)];
}

/** Instructions to leave out, from the one at `index`. */
function distance(labels: ReadonlyMap<string, number>, label: string | undefined, index: number): number {
  if (label === undefined) return 0;
  const target = labels.get(label);
  if (target === undefined) throw new RangeError(`a BPF program has no label "${label}"`);
  const skipped = target - index - 1;
  if (skipped < 0 || skipped > 255) throw new RangeError(`the label "${label}" is ${skipped} BPF instructions away`);
  return skipped;
}

/** From now on the socket queues only what the program lets through. */
export function attachFilter(fd: number, program: Uint8Array, operation: string): void {
  /** linux/filter.h: `struct sock_fprog`. */
  const descriptor = new Uint8Array(16);
  const view = new DataView(descriptor.buffer);
  view.setUint16(0, program.length / instructionLength, true);
  view.setBigUint64(8, addressOfMemory(program), true);
  checked(libc.setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, descriptor, descriptor.length), operation);
}
