import { messageOf } from "../../../base/errors.ts";
import { familyOf } from "../../../base/ip.ts";
import { sourceFilterName } from "../../../dataplane/kernel-names.ts";
import { encapsulations } from "../../../model/encapsulation.ts";
import type { Vni } from "../../../model/index.ts";
import type { Judgement } from "../../firewall/judge.ts";
import { type Hook, type Packet, tcpFlag } from "../../firewall/packet.ts";
import { judgeIn } from "../../firewall/read-ruleset.ts";
import { causeWords, remediesFor } from "../../firewall/remedies.ts";
import type { Ruleset } from "../../firewall/ruleset.ts";
import type { Space } from "../space.ts";
import type { Handover, StepName, TracedPacket } from "../step.ts";
import type { Trail } from "../trail.ts";
import { icmpTypeOf, protocolNumberOf } from "./protocol.ts";

type FirewallStep = Extract<StepName, "container-firewall" | "tenant-firewall" | "host-firewall">;

interface Passing {
  readonly space: Space;
  readonly packet: Packet;
  readonly hooks: readonly Hook[];
}

/** What the rules of a namespace do to a packet. Of one without rules nothing is told. */
export async function passFirewall(trail: Trail, name: FirewallStep, { space, packet, hooks }: Passing): Promise<void> {
  const at = `${space.place}, ${hooks.join(", ")}`;
  try {
    const { ruleset: read, answers } = trail.firewallOf(space);
    const ruleset = await read;
    if (ruleset.chains.length === 0 && ruleset.unread.length === 0) return;
    const judgement = await judgeIn(space.namespace, ruleset, packet, hooks, answers);
    tell(trail, name, at, { ruleset, packet, judgement });
  } catch (error) {
    trail.unknown(name, at, `its rules cannot be read: ${messageOf(error)}`);
  }
}

interface Judged {
  readonly ruleset: Ruleset;
  readonly packet: Packet;
  readonly judgement: Judgement;
}

function tell(trail: Trail, name: FirewallStep, at: string, { ruleset, packet, judgement }: Judged): void {
  const { verdict, by, maybe } = judgement;
  const [possible] = maybe;
  if (by !== undefined && (verdict === "drop" || verdict === "reject")) {
    const { precede, manager } = remediesFor(ruleset, by, packet);
    const isOwn = by.chain.table === sourceFilterName(trail.subject.instance) && name === "host-firewall";
    trail.stops(isOwn ? "source-filter" : name, at, causeWords(by), {
      cause: isOwn ? "it does not come from a node that sends packets of this network" : `it ${verdict}s such packets`,
      cure: isOwn ? "weft status, on both nodes" : (manager?.command ?? precede),
    });
  } else if (possible !== undefined) trail.unknown(name, at, `may drop it: ${causeWords(possible)}`);
  else if (ruleset.unread.length > 0) trail.unknown(name, at, `cannot be read: ${ruleset.unread.join("; ")}`);
  else trail.passes(name, at, "lets it pass");
}

/** The packet of an endpoint, as rules see it. */
export function innerPacket(packet: TracedPacket): Packet {
  const { source, destination, protocol, sourcePort, destinationPort, size, isAnswer } = packet;
  const answers = isAnswer ? tcpFlag.syn | tcpFlag.ack : tcpFlag.syn;
  return {
    source,
    destination,
    protocol: protocolNumberOf(packet),
    mark: 0,
    conntrack: isAnswer ? "established" : "new",
    length: size,
    ...(protocol === "icmp" ? { icmp: { type: icmpTypeOf(packet), code: 0 } } : { sourcePort, destinationPort }),
    ...(protocol === "tcp" ? { tcpFlags: answers } : {}),
  };
}

/** Behind the UDP header the VNI is in octets 4 to 6: RFC 7348 §5, RFC 8926 §3.4. */
const vniOctets = (vni: Vni): readonly (number | undefined)[] => [
  ...new Array<undefined>(4),
  vni >> 16,
  (vni >> 8) & 255,
  vni & 255,
];

/** The packet of a tunnel, as rules of a host see it. */
export function outerPacket(
  { from, to, tunnel }: Handover & { readonly tunnel: NonNullable<Handover["tunnel"]> },
  inner: TracedPacket,
  vni: Vni,
  size: number,
): Packet {
  const { encapsulation, port } = tunnel;
  const [first, second = first] = encapsulations[encapsulation].ipProtocols;
  const numbers = port > 0 ? udp : familyOf(inner.source) === 4 ? first : second;
  return {
    source: from,
    destination: to,
    protocol: numbers ?? udp,
    mark: 0,
    conntrack: "new",
    length: size,
    ...(port > 0 ? { sourcePort: "ephemeral", destinationPort: port, payload: vniOctets(vni) } : {}),
  };
}

/** IANA's number. */
const udp = 17;
