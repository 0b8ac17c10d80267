import { endpointMinors, shareMajor } from "./classes.ts";

/** linux/bpf.h, `struct __sk_buff`: where the fields are. */
const priority = 32;
const ingressInterface = 36;
const classMinor = 72;

/** One `struct bpf_insn` of linux/bpf.h. */
function instruction(code: number, registers: number, offset: number, operand: number): Uint8Array {
  const octets = new Uint8Array(8);
  const view = new DataView(octets.buffer);
  view.setUint8(0, code);
  view.setUint8(1, registers);
  view.setInt16(2, offset, true);
  view.setInt32(4, operand, true);
  return octets;
}

/** To be found again: another program gets another name. */
export const classProgramName = "weft_class2";

/**
 * Chooses the class of a packet by the port that it came by, as `minorOf` of `classes.ts`:
 *
 *     r2 = skb->ingress_ifindex; r2 %= 32766; r2 += 1; skb->tc_classid = r2; return TC_ACT_OK
 */
export const classProgram = Buffer.concat([
  instruction(0x61, 0x12, ingressInterface, 0),
  instruction(0x97, 0x02, 0, endpointMinors),
  instruction(0x07, 0x02, 0, 1),
  instruction(0x63, 0x21, classMinor, 0),
  instruction(0xb7, 0x00, 0, 0),
  instruction(0x95, 0x00, 0, 0),
]);

/** Its name tells which class it is; of more than 15 octets the kernel keeps none. */
export function priorityProgramName(classHandle: number): string {
  return `weft_p${classHandle.toString(16)}`;
}

/**
 * Gives each packet the class that it shall wait in as its priority, which stays with it through tunnels, and which htb knows:
 *
 *     skb->priority = classHandle; return TC_ACT_UNSPEC
 */
export function priorityProgram(classHandle: number): Uint8Array {
  return Buffer.concat([
    instruction(0xb4, 0x02, 0, classHandle),
    instruction(0x63, 0x21, priority, 0),
    instruction(0xb7, 0x00, 0, -1),
    instruction(0x95, 0x00, 0, 0),
  ]);
}

export const shareProgramName = "weft_share1";

/**
 * Whether a packet has such a priority, and with it a share of the underlay:
 *
 *     r2 = skb->priority >> 16; return r2 == shareMajor ? -1 : 0
 */
export const shareProgram = Buffer.concat([
  instruction(0x61, 0x12, priority, 0),
  instruction(0x77, 0x02, 0, 16),
  instruction(0xb7, 0x00, 0, 0),
  instruction(0x55, 0x02, 1, shareMajor),
  instruction(0xb7, 0x00, 0, -1),
  instruction(0x95, 0x00, 0, 0),
]);
