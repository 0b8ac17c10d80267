import { setTimeout as pause } from "node:timers/promises";
import type { KernelNamespace } from "../../../dataplane/kernel.ts";
import type { ProbeRefusal } from "../../probe/correspondence.ts";
import { readProbe } from "../../probe/packet.ts";
import { protocolNumberOf } from "../stages/protocol.ts";
import type { TracedPacket } from "../step.ts";
import { realNow } from "./clock.ts";
import { markedPayload } from "./packet.ts";

/** Marked packets of one trace, and the milliseconds from one to the next. */
export const markedPackets = 3;
const interval = 20;
/** How long after the last one word of refusals is waited for; milliseconds. */
const aftermath = 50;

/** Sends marked packets as a program in the namespace would: by its routes, past its firewall. */
export async function sendMarked(
  namespace: KernelNamespace,
  packet: TracedPacket,
  id: bigint,
): Promise<{ readonly sentAt: number; readonly refusals: readonly ProbeRefusal[] }> {
  using socket = namespace.openDatagramSocket({
    source: packet.source,
    protocol: protocolNumberOf(packet),
    followsPathMtu: true,
    timeToLive: packet.timeToLive,
  });
  const refusals: ProbeRefusal[] = [];
  const drain = (): void => {
    for (let refusal = socket.readRefusal(); refusal !== undefined; refusal = socket.readRefusal())
      refusals.push({
        sequence: readProbe(refusal.quoted)?.sequence ?? 0,
        error: refusal.error,
        by: refusal.by ?? "",
        mtu: refusal.mtu,
      });
  };
  const sentAt = realNow();
  for (let sequence = 0; sequence < markedPackets; sequence++) {
    if (sequence > 0) await pause(interval);
    // What was said of earlier ones is told by the next call, which then sends nothing.
    const send = (): string | undefined =>
      socket.send(packet.destination, 0, markedPayload(packet, { train: id, sequence, sentAt: realNow() }));
    let error = send();
    if (error === undefined) continue;
    drain();
    error = send();
    if (error !== undefined) refusals.push({ sequence, error, by: "", mtu: 0 });
  }
  await pause(aftermath);
  drain();
  return { sentAt, refusals };
}
