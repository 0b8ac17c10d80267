import { randomBytes, randomInt } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import { messageOf, WeftError } from "../../base/errors.ts";
import type { IpAddress } from "../../base/ip.ts";
import type { ProbeRefusal } from "../probe/correspondence.ts";
import { realNow } from "./live/clock.ts";
import { smallestMarked } from "./live/packet.ts";
import { markedPackets } from "./live/send.ts";
import { describeParty, findParties, type Party, type TraceDirectory } from "./parties.ts";
import type { AskNode, TraceAction, TraceAnswer, TraceQuestion } from "./question.ts";
import { type Start, type TracedPacket, type TracedProtocol, tracedProtocols } from "./step.ts";
import { judgeAnswers, judgeSeen, judgeTables, type Leg, untilMissed, untilStop, type Verdict } from "./verdict.ts";

/** What packet is to be followed. */
export interface TraceWish {
  readonly from: string;
  readonly to: string;
  /** Empty: icmp, or tcp where a port is named. */
  readonly protocol: string;
  readonly port?: number | undefined;
  /** 0: not said. */
  readonly size: number;
  readonly timeToLive: number;
  readonly dryRun: boolean;
}

/** One way of a packet, as the nodes on it told. */
export interface Journey extends Verdict {
  readonly from: string;
  readonly to: string;
  readonly packet: TracedPacket;
  readonly legs: readonly Leg[];
  /** Marked packets; 0: none. */
  readonly sent: number;
  /** When the first was sent, by the sender's clock in microseconds since 1970. */
  readonly sentAt: number;
}

const defaults = { size: 84, timeToLive: 64, ports: { icmp: 0, udp: 33_434, tcp: 80 } } as const;
/** RFC 6335 §6. */
const ephemeral = { first: 49_152, last: 65_535 } as const;
/** Nodes on one way, at most: of its ends, and one that forwards what has moved. */
const legsAtMost = 4;

/** Follows a packet there and back: by what tables say, and unless it shall not be, by packets that are sent. */
export async function trace(wish: TraceWish, directory: TraceDirectory, ask: AskNode): Promise<readonly Journey[]> {
  const { from, to, source, destination } = findParties(directory, wish.from, wish.to);
  const packet = { ...packetOf(wish, source), source, destination, isAnswer: false };
  const ways = [{ from, to, packet }, ...(to.node === undefined ? [] : [back(from, to, packet)])];
  const id = randomBytes(8).readBigUInt64BE();
  const plans: Plan[] = [];
  for (const way of ways) plans.push(await plan(way, id, plans.length, directory, ask));
  if (wish.dryRun) return plans.map(byTables);
  // Nobody marks answers but those to echoes.
  const watched = packet.protocol === "icmp" ? plans : plans.slice(0, 1);
  return [...(await observe(watched, ask)), ...plans.slice(watched.length).map(byTables)];
}

function byTables({ way, legs }: Plan): Journey {
  const told = untilStop(legs.map(({ leg }) => leg));
  return journeyOf(way, told, judgeTables(told), 0, 0);
}

interface Way {
  readonly from: Party;
  readonly to: Party;
  readonly packet: TracedPacket;
}

function back(from: Party, to: Party, packet: TracedPacket): Way {
  const { source, destination, sourcePort, destinationPort } = packet;
  return {
    from: to,
    to: from,
    packet: {
      ...packet,
      source: destination,
      destination: source,
      sourcePort: destinationPort,
      destinationPort: sourcePort,
      timeToLive: defaults.timeToLive,
      isAnswer: true,
    },
  };
}

function packetOf(
  { protocol: text, port, size, timeToLive, ...wish }: TraceWish,
  source: IpAddress,
): Omit<TracedPacket, "source" | "destination" | "isAnswer"> {
  const attempted = `follow a packet from ${wish.from} to ${wish.to}`;
  const refusal = (reason: string): WeftError => new WeftError({ code: "invalid-argument", attempted, reason });
  const protocol = (text === "" ? (port === undefined ? "icmp" : "tcp") : text) as TracedProtocol;
  if (!tracedProtocols.includes(protocol))
    throw refusal(`protocol: found ${JSON.stringify(text)}; allowed: ${tracedProtocols.join(", ")}`);
  if (protocol === "icmp" && port !== undefined) throw refusal("port: icmp has none");
  if (port !== undefined && (port < 1 || port > 65_535)) throw refusal(`port: found ${port}; allowed: 1 to 65535`);
  const smallestSize = smallestMarked({ source, protocol });
  if (size !== 0 && (size < smallestSize || size > 65_535))
    throw refusal(`size: found ${size}; allowed: ${smallestSize} to 65535`);
  if (timeToLive > 255) throw refusal(`time to live: found ${timeToLive}; allowed: 1 to 255`);
  const sourcePort = randomInt(ephemeral.first, ephemeral.last + 1);
  return {
    protocol,
    sourcePort,
    destinationPort: protocol === "icmp" ? sourcePort : (port ?? defaults.ports[protocol]),
    size: size === 0 ? Math.max(defaults.size, smallestSize) : size,
    timeToLive: timeToLive === 0 ? defaults.timeToLive : timeToLive,
  };
}

interface Plan {
  readonly way: Way;
  readonly legs: readonly PlannedLeg[];
}

/** What a node told, and what it was asked. */
interface PlannedLeg {
  readonly leg: Leg;
  readonly question: TraceQuestion;
}

/** Asks the nodes on a way for what their tables say, one after the other. */
async function plan(way: Way, id: bigint, first: number, directory: TraceDirectory, ask: AskNode): Promise<Plan> {
  const legs: PlannedLeg[] = [];
  let next = beginning(way);
  for (let count = 0; count < legsAtMost; count++) {
    const { node, network, start, packet } = next;
    const question = { network, packet, start, action: "look", id, part: first * legsAtMost + count } as const;
    const told = await askLeg(ask, node, question);
    legs.push({ leg: told, question });
    const { end } = told;
    if (end?.kind !== "handover") break;
    const other = directory.nodeWith(end.handover.to);
    if (other === undefined) break;
    next = {
      node: other,
      network: end.handover.network,
      start: { kind: "arrival", handover: end.handover },
      packet: { ...packet, timeToLive: end.handover.timeToLive },
    };
  }
  return { way, legs };
}

interface Beginning {
  readonly node: string;
  readonly network: string;
  readonly start: Start;
  readonly packet: TracedPacket;
}

function beginning({ from, to, packet }: Way): Beginning {
  const attempted = `follow a packet from ${packet.source} to ${packet.destination}`;
  if (from.network !== undefined) {
    if (from.node === undefined)
      throw new WeftError({
        code: "not-found",
        attempted,
        reason: `no endpoint of network ${from.network.name} that is known here has ${packet.source}`,
        hint: `list its endpoints with: weft endpoint list --network ${from.network.name}`,
      });
    return { node: from.node, network: from.network.name, start: { kind: "endpoint", address: packet.source }, packet };
  }
  if (to.node === undefined || to.network === undefined)
    throw new WeftError({ code: "not-found", attempted, reason: `nobody has ${packet.destination}` });
  return { node: to.node, network: to.network.name, start: { kind: "host" }, packet };
}

async function askLeg(ask: AskNode, node: string, question: TraceQuestion): Promise<Leg> {
  const asked = realNow();
  try {
    const answer = await ask(node, question);
    return legOf(node, answer, asked, realNow());
  } catch (error) {
    return { node, failure: messageOf(error), steps: [], clockOffset: 0, clockUncertainty: 0 };
  }
}

/** As RFC 5905 §8 has it, of one exchange. */
function legOf(node: string, { steps, end, clock }: TraceAnswer, asked: number, answered: number): Leg {
  const middle = (asked + answered) / 2;
  return { node, steps, end, clockOffset: clock - middle, clockUncertainty: (answered - asked) / 2 };
}

/** Milliseconds between two counts, and after which what has not come by is given up. */
const pauseBetweenCounts = 100;
const countedFor = 2_000;

/** Watches the ways, sends packets on the first, and tells what was seen of them and of the answers to them. */
async function observe(plans: readonly Plan[], ask: AskNode): Promise<Journey[]> {
  const [first] = plans;
  const sender = first?.legs[0];
  if (first === undefined || sender === undefined) return [];
  const askAll = async (action: TraceAction): Promise<readonly (readonly Leg[])[]> =>
    await Promise.all(
      plans.map(async ({ legs }) =>
        Promise.all(legs.map(({ leg, question }) => askLeg(ask, leg.node, { ...question, action }))),
      ),
    );
  const exchanges: Leg[] = [];
  const watched = await askAll("watch");
  const sent = await ask(sender.leg.node, { ...sender.question, action: "send" });
  let seen = watched;
  for (const began = performance.now(); performance.now() - began < countedFor && !seen.every(isWhole); ) {
    await pause(pauseBetweenCounts);
    seen = await askAll("count");
    exchanges.push(...seen.flat());
  }
  seen = await askAll("end");
  exchanges.push(...watched.flat(), ...seen.flat());
  const timed = seen.map((legs) => legs.map((leg) => withClock(leg, exchanges)));
  const offset = timed[0]?.[0]?.clockOffset ?? 0;
  const [there = [], ...others] = timed;
  const judged = judgeSeen(there, markedPackets);
  const verdicts = [
    { ...judged, reason: `${judged.reason}${refusalText(sent.refusals)}` },
    ...others.map((legs) => judgeAnswers(legs, markedPackets, judged)),
  ];
  return plans.map(({ way }, at) => {
    const verdict = verdicts[at] ?? judged;
    const legs = timed[at] ?? [];
    const shown = verdict.verdict === "stops" ? untilMissed(legs) : legs;
    return journeyOf(way, shown, verdict, markedPackets, sent.clock - offset);
  });
}

/** The clock of a node is known best from the exchange with it that took the least time. */
function withClock(leg: Leg, exchanges: readonly Leg[]): Leg {
  const best = exchanges
    .filter(({ node, failure }) => node === leg.node && failure === undefined)
    .reduce((least, each) => (each.clockUncertainty < least.clockUncertainty ? each : least), leg);
  return { ...leg, clockOffset: best.clockOffset, clockUncertainty: best.clockUncertainty };
}

/** Whether all have come by at all places. */
function isWhole(legs: readonly Leg[]): boolean {
  const places = legs.flatMap(({ steps }) => steps.flatMap(({ observed }) => observed ?? []));
  return places.every(({ seen }) => seen === markedPackets);
}

/** Who said what of packets that were not let through. */
function refusalText(refusals: readonly ProbeRefusal[]): string {
  const texts = refusals.map(({ by, error, mtu }) => {
    const who = by === "" ? "the sender's kernel" : by;
    return `${who} refuses them: ${error}${mtu > 0 ? `, no more than ${mtu} octets pass` : ""}`;
  });
  return [...new Set(texts)].map((text) => `; ${text}`).join("");
}

function journeyOf(
  { from, to, packet }: Way,
  legs: readonly Leg[],
  verdict: Verdict,
  sent: number,
  sentAt: number,
): Journey {
  return { from: describeParty(from), to: describeParty(to), packet, legs, ...verdict, sent, sentAt };
}
