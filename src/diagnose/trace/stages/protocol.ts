import { familyOf } from "../../../base/ip.ts";
import type { TracedPacket } from "../step.ts";

const numbers = { icmp: { 4: 1, 6: 58 }, udp: { 4: 17, 6: 17 }, tcp: { 4: 6, 6: 6 } } as const;
const echoRequest = { 4: 8, 6: 128 } as const;
const echoReply = { 4: 0, 6: 129 } as const;

/** IANA's number. */
export function protocolNumberOf({ protocol, source }: Pick<TracedPacket, "protocol" | "source">): number {
  return numbers[protocol][familyOf(source)];
}

/** Of an echo. */
export function icmpTypeOf({ isAnswer, source }: Pick<TracedPacket, "isAnswer" | "source">): number {
  return (isAnswer ? echoReply : echoRequest)[familyOf(source)];
}
