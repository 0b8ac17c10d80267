import { execFile } from "node:child_process";
import { WeftError } from "../../base/errors.ts";
import {
  type BpfInstruction,
  encodeBpf,
  type KnownOfPacket,
  longestProgram,
  packetTypeOffset,
  parseBpf,
  runBpf,
} from "./bpf.ts";
import type { Link } from "./packet.ts";

/** A filter in pcap's syntax, pcap-filter(7), compiled for packets that begin with a header of this kind. */
export interface Filter {
  readonly text: string;
  readonly program: readonly BpfInstruction[];
  /** No packet can be so. */
  readonly isImpossible: boolean;
}

/** Names of link types as tcpdump has them. */
const linkTypeNames: Readonly<Record<Link, string>> = { ethernet: "EN10MB", ip: "RAW" };

/** What tcpdump says of such a filter. */
const impossible = "expression rejects all packets";

/** The longest that a command line takes on each kernel. linux/binfmts.h: MAX_ARG_STRLEN. */
const longestText = 131_071;

/** Compiles by tcpdump, whose syntax it is. Empty text is a filter that everything passes. */
export async function compileFilter(text: string, link: Link): Promise<Filter> {
  const attempted = `read the filter "${text.length > 200 ? `${text.slice(0, 200)}…` : text}"`;
  if (text.length > longestText || text.includes("\0"))
    throw new WeftError({
      code: "invalid-argument",
      attempted,
      reason: `it has ${text.length} characters; allowed: ${longestText}, none of them NUL`,
    });
  const { output, complaints, failure } = await runTcpdump(["-y", linkTypeNames[link], "-ddd", "--", text]);
  if (failure?.code === "ENOENT")
    throw new WeftError({
      code: "failed-precondition",
      attempted,
      reason: "the program tcpdump is not installed",
      hint: "install the Debian package tcpdump",
    });
  const reason = failure === undefined ? undefined : (reasonOf(complaints) ?? failure.message);
  if (reason === impossible) return { text, program: [step(returnOperand, 0)], isImpossible: true };
  if (reason !== undefined)
    throw new WeftError({
      code: "invalid-argument",
      attempted,
      reason,
      hint: "its syntax is that of pcap-filter(7)",
    });
  const program = parseBpf(output);
  if (!program.ok) throw new WeftError({ code: "internal", attempted, reason: program.error });
  if (program.value.some(({ code, operand }) => code === jump && operand >= longestProgram))
    throw new WeftError({
      code: "invalid-argument",
      attempted,
      reason: "it goes through headers one by one, which the kernel's filters cannot",
      hint: "name the header at its place, for example ip6[40] = 47, in place of protochain",
    });
  return { text, program: program.value, isImpossible: false };
}

/** Whether a packet passes; as if it had been filtered on the wire. */
export function passes({ program }: Filter, packet: Uint8Array, known?: KnownOfPacket): boolean {
  return runBpf(program, packet, known) > 0;
}

/** Whether it asks which way a packet goes, which nobody knows of what is in a tunnel. */
export function asksDirection({ program }: Filter): boolean {
  return program.some(({ operand }) => operand === packetTypeOffset);
}

/** All of these hold. Those that are empty hold always. */
export function allOf(...texts: readonly string[]): string {
  const present = texts.filter((text) => text.trim() !== "");
  return present.length < 2 ? (present[0] ?? "") : present.map((text) => `(${text})`).join(" and ");
}

/** One of these holds. */
export function oneOf(texts: readonly string[]): string {
  return texts.length < 2 ? (texts[0] ?? "") : texts.map((text) => `(${text})`).join(" or ");
}

/** linux/filter.h: `SKF_AD_OFF + SKF_AD_IFINDEX` and `SKF_AD_VLAN_TAG_PRESENT`, loaded as a word. */
const interfaceIndexOffset = 0xffff_f000 + 8;
const vlanTagOffset = 0xffff_f000 + 48;
const loadWord = 0x20;
const jumpEqual = 0x15;
const jump = 0x05;
const returnOperand = 0x06;
/** More than any packet has. */
const wholePacket = 0xffff_ffff;

/**
 * What a socket's own filter is: of the interfaces alone, `undefined`: of all, and of packets that the filter lets through so many octets. A
 * packet whose VLAN tag the kernel has taken out passes, as the program would look for the tag where it is not any more: such packets
 * are judged when they are whole again, and come whole for that.
 */
export function socketProgram(
  filter: Filter,
  snapLength: number,
  interfaces: readonly number[] | undefined,
): Uint8Array {
  const body = [
    step(loadWord, vlanTagOffset),
    step(jumpEqual, 1, 0, 1),
    step(returnOperand, wholePacket),
    ...filter.program.map((each) =>
      each.code === returnOperand && each.operand > 0 ? { ...each, operand: snapLength } : each,
    ),
  ];
  const room = longestProgram - body.length - 2;
  // Each interface takes two steps. Where they are too many for a program, whoever reads the socket leaves out the others' packets.
  if (interfaces === undefined || interfaces.length * 2 > room) return encodeBpf(body);
  const chosen = interfaces.flatMap((index, position) => [
    step(jumpEqual, index, 0, 1),
    step(jump, 2 * (interfaces.length - position) - 1),
  ]);
  return encodeBpf([step(loadWord, interfaceIndexOffset), ...chosen, step(returnOperand, 0), ...body]);
}

function step(code: number, operand: number, ifTrue = 0, ifFalse = 0): BpfInstruction {
  return { code, operand, ifTrue, ifFalse };
}

/** The last line: others warn that root runs it. */
function reasonOf(complaints: string): string | undefined {
  const last = complaints.trim().split("\n").at(-1);
  return last === "" ? undefined : last?.replace(/^tcpdump: /, "");
}

function runTcpdump(words: readonly string[]): Promise<{
  readonly output: string;
  readonly complaints: string;
  readonly failure?: NodeJS.ErrnoException;
}> {
  return new Promise((resolve) => {
    // Names that are looked up by DNS may take their time; a filter that takes longer is not compiled at all.
    const options = { encoding: "utf8", timeout: 30_000, maxBuffer: 1 << 20 } as const;
    execFile("tcpdump", words, options, (error, output, complaints) =>
      resolve({ output, complaints, ...(error === null ? {} : { failure: error as NodeJS.ErrnoException }) }),
    );
  });
}
