import type { FindingDraft } from "../finding.ts";
import type { Arrivals, Departures } from "./correspondence.ts";
import type { ProbeWay } from "./packet.ts";

/** One train, as both ends have seen it. */
export interface Journey {
  /** Names of nodes. */
  readonly sender: string;
  readonly receiver: string;
  readonly network: string;
  /** Octets of the largest inner packet that its devices let pass. */
  readonly innerMtu: number;
  readonly way: ProbeWay;
  /** Octets of each probe's outer IP packet. */
  readonly sizes: readonly number[];
  readonly departures: Departures;
  readonly arrivals: Arrivals;
}

/** Parts of what was sent: less is told of nobody, since a busy host may lose and swap as much by itself. */
const toldFrom = 0.01;

/** What is wrong with packets of one size on this way. Empty: nothing. */
export function judgeJourney(journey: Journey): readonly FindingDraft[] {
  const { sizes, departures, arrivals, receiver } = journey;
  const count = sizes.length;
  const left = new Set(departures.sequences);
  const atInterface = new Set(arrivals.atInterface.map(({ sequence }) => sequence));
  const atTunnel = new Set(arrivals.atTunnel.map(({ sequence }) => sequence));
  if (atTunnel.size === 0) return [blocked(journey, left.size, atInterface.size)];
  const findings: FindingDraft[] = [];
  const object = objectOf(journey);
  const changed = arrivals.atInterface.filter(({ isChanged }) => isChanged).length;
  if (changed > 0)
    findings.push({
      code: "path-corrupts",
      object,
      expected: `${described(journey)} arrive as they were sent`,
      found: `${changed} of ${arrivals.atInterface.length} arrived with other octets`,
    });
  const lost = count - atTunnel.size - arrivals.missed;
  if (lost / count > toldFrom && changed === 0)
    findings.push({
      code: "path-loss",
      object,
      expected: `all ${count} of ${described(journey)} arrive`,
      found: `${lost} were lost: ${stages(journey, left.size, atInterface.size, atTunnel.size)}`,
    });
  const swapped = swappedIn(arrivals.atInterface.map(({ sequence }) => sequence));
  if (swapped / count > toldFrom)
    findings.push({
      code: "path-reordering",
      object,
      expected: `${described(journey)} arrive in the order in which they were sent`,
      found: `${swapped} of ${count} came to node ${receiver} behind later ones`,
    });
  return findings;
}

export function described({
  way,
  network,
  sender,
  receiver,
}: Pick<Journey, "way" | "network" | "sender" | "receiver">): string {
  return `${protocolOf(way)} packets of network ${network} from node ${sender} to node ${receiver}`;
}

/** As firewalls name it: `UDP port 4789 (vxlan)`. */
function protocolOf({ encapsulation, port }: ProbeWay): string {
  return port > 0 ? `${encapsulation} (UDP port ${port})` : encapsulation;
}

export function objectOf({
  network,
  sender,
  receiver,
}: Pick<Journey, "network" | "sender" | "receiver">): FindingDraft["object"] {
  return { kind: "way", network, key: `${sender} to ${receiver}` };
}

function blocked(journey: Journey, left: number, atInterface: number): FindingDraft {
  const { sender, receiver, departures, way, sizes } = journey;
  const { from, to } = way;
  const own = departures.refusals.find(({ by }) => by === "");
  const other = departures.refusals.find(({ by }) => by !== "");
  const finding = {
    code: "path-blocked" as const,
    object: objectOf(journey),
    expected: `${described(journey)} arrive`,
    found: `none of ${sizes.length} did: ${stages(journey, left, atInterface, 0)}`,
  };
  if (left === 0) {
    const refusal = own === undefined ? "" : `, which refuses to send them: ${own.error}`;
    return {
      ...finding,
      cause: `they do not leave node ${sender}${refusal}: ${own?.error === "EPERM" || own === undefined ? "its firewall drops them on their way out" : "it has no way there"}`,
      cure: `on node ${sender}: nft list ruleset; ip route get ${to} from ${from}`,
    };
  }
  if (atInterface === 0)
    return {
      ...finding,
      cause:
        other === undefined
          ? `they leave node ${sender} and do not reach node ${receiver}: something between the two drops ${protocolOf(way)}`
          : `${other.by} refuses them: ${other.error}`,
      cure: `let ${protocolOf(way)} pass between ${from} and ${to}; mtr ${to} shows who is on the way`,
    };
  const nobodyListens = departures.refusals.some(({ by, error }) => by === to && error === "ECONNREFUSED");
  return {
    ...finding,
    cause: nobodyListens
      ? `they reach node ${receiver}, which has no tunnel that takes them`
      : `they reach node ${receiver}, whose firewall, reverse path filter or tunnel does not take them`,
    cure: `on node ${receiver}: weft doctor; nft list ruleset; ip -d link show type ${way.encapsulation}`,
  };
}

function stages({ sender, receiver, sizes }: Journey, left: number, atInterface: number, atTunnel: number): string {
  return `${left} of ${sizes.length} left node ${sender}, ${atInterface} reached node ${receiver}, ${atTunnel} came out of its tunnel`;
}

/** How many came behind one that was sent after them. */
function swappedIn(sequences: readonly number[]): number {
  let highest = -1;
  let swapped = 0;
  for (const sequence of sequences)
    if (sequence < highest) swapped++;
    else highest = sequence;
  return swapped;
}
