import { randomBytes } from "node:crypto";
import { hostPrefix } from "../../base/cidr.ts";
import { messageOf } from "../../base/errors.ts";
import type { IpAddress } from "../../base/ip.ts";
import { familyOf } from "../../base/ip.ts";
import { deviceMtuOf } from "../../dataplane/desired.ts";
import { overheadOf } from "../../model/mtu.ts";
import { getNeighbour, listLinks, lookUp, lookUpRoute, neighbourState } from "../../netlink/index.ts";
import type { FindingDraft } from "../finding.ts";
import type { Arrivals, Correspondence, Departures, Train } from "../probe/correspondence.ts";
import { described, type Journey, judgeJourney, objectOf } from "../probe/judge.ts";
import { type ProbeWay, smallestProbe } from "../probe/packet.ts";
import { sendTrain, TrainWatch, wayOf } from "../probe/train.ts";
import type { Check, ExaminedPeer, Subject } from "../subject.ts";
import { isStrict, ways } from "./underlay.ts";

/** Probes of a size that every link carries: enough that one lost in twenty is seen. */
const smallProbes = 150;
/** And of the largest that endpoints may cause. */
const largeProbes = 5;
/** Microseconds between two. */
const interval = 1_000;
/** Octets of a small probe's outer packet more than the smallest. */
const smallContent = 64;
/** Sizes that are tried at once, to find the largest that passes. */
const ladder = 40;
/** Milliseconds of a round trip from which on it is told. */
const longRoundTrip = 50;

const pathCheck: Check = {
  name: "ways to other nodes, by packets as tunnels send them",
  async *run(subject) {
    const { correspondence } = subject;
    if (subject.pathsTo === 0) return;
    if (correspondence === undefined) {
      if (subject.peers.length > 0)
        yield {
          code: "path-unexamined",
          object: { kind: "ways to other nodes" },
          expected: "their nodes help, which are asked by way of the server",
          found: "there is no connection to the server",
        };
      return;
    }
    for (const peer of subject.peers.slice(0, subject.pathsTo)) yield* toPeer(subject, correspondence, peer);
  },
};

async function* toPeer(
  subject: Subject,
  correspondence: Correspondence,
  peer: ExaminedPeer,
): AsyncGenerator<FindingDraft> {
  for (const { network, way } of sharedWays(subject, peer)) {
    const traveller = new Traveller(subject, correspondence, peer, network, way);
    try {
      yield* examineWay(traveller);
    } catch (error) {
      yield* whyUnasked(traveller);
      yield {
        code: "node-isolated",
        object: { kind: "node", key: peer.name },
        expected: "it answers what other nodes ask it by way of the server",
        found: messageOf(error),
      };
      return;
    }
  }
}

/** The different ways that networks of both nodes take, and of each a network that takes it. */
export function sharedWays(
  subject: Subject,
  peer: ExaminedPeer,
): readonly { readonly network: string; readonly way: ProbeWay }[] {
  const shared = new Map<string, { readonly network: string; readonly way: ProbeWay }>();
  for (const { vtep } of ways({ ...subject, peers: [peer] }))
    for (const network of subject.dataplane.networks.values()) {
      const way = network.peers.has(vtep) ? wayOf(subject.dataplane, network.settings.name, vtep) : undefined;
      if (way === undefined) continue;
      const key = `${way.encapsulation} ${way.port} ${way.to}`;
      if (!shared.has(key)) shared.set(key, { network: network.settings.name, way });
    }
  return [...shared.values()];
}

/** Also a node that cannot be asked may be sent to, and this host's own answers come from no further than the next hop. */
async function* whyUnasked(traveller: Traveller): AsyncGenerator<FindingDraft> {
  const { subject, way } = traveller;
  const sizes = Array<number>(largeProbes).fill(smallestProbe(way));
  await sendTrain(subject.host, way, traveller.train(sizes)).catch(() => {});
  yield* whyNotThere(traveller);
}

async function* examineWay(traveller: Traveller): AsyncGenerator<FindingDraft> {
  const { way } = traveller;
  const small = Array<number>(smallProbes).fill(smallestProbe(way) + smallContent);
  const there = await traveller.go(small);
  const back = await traveller.come(small);
  const wrongThere = await confirmed(there, () => traveller.go(small));
  const wrongBack = await confirmed(back, () => traveller.come(small));
  yield* wrongThere;
  yield* wrongBack;
  const isThere = there.arrivals.atTunnel.length > 0;
  const isBack = back.arrivals.atTunnel.length > 0;
  if (!isThere) yield* whyNotThere(traveller);
  if (!isBack) yield* whyNotTaken(traveller);
  const large = Array<number>(largeProbes).fill(traveller.largest);
  // Where small ones are lost, large ones say nothing of sizes.
  for (const [isOpen, travel] of [
    [isThere && wrongThere.length === 0, (sizes: readonly number[]) => traveller.go(sizes)],
    [isBack && wrongBack.length === 0, (sizes: readonly number[]) => traveller.come(sizes)],
  ] as const) {
    if (!isOpen || (await travel(large)).arrivals.atTunnel.length > 0) continue;
    yield* tooLarge(travel, smallestProbe(way), traveller.largest);
  }
  if (isThere && isBack) yield* roundTrip(traveller, there, back);
}

/** What one train alone says may be chance: loss, order and change are told when a second one says the same. */
async function confirmed(first: Journey, again: () => Promise<Journey>): Promise<readonly FindingDraft[]> {
  const findings = judgeJourney(first);
  if (findings.length === 0) return [];
  const codes = new Set(judgeJourney(await again()).map(({ code }) => code));
  return findings.filter(({ code }) => codes.has(code));
}

/** Packets that came in by another interface than the way back leads by, and went no further. */
async function* whyNotTaken({ subject, way, peer, arrivedBy }: Traveller): AsyncGenerator<FindingDraft> {
  const { socket, host } = subject;
  const links = new Map((await socket.dump(listLinks())).map((link) => [link.index, link.name]));
  const route = await lookUp(socket, lookUpRoute(hostPrefix(way.to), way.from)).catch(() => undefined);
  for (const index of arrivedBy) {
    const name = links.get(index);
    if (name === undefined || route?.nexthops.some((hop) => hop.index === index) === true) continue;
    if (!isStrict(host, name)) continue;
    yield {
      code: "rp-filter-strict",
      object: { kind: "interface", key: name },
      expected: `what node ${peer.name} sends is taken by whichever interface it comes in`,
      found: `rp_filter 1, and the way back to ${way.to} is ${links.get(route?.nexthops[0]?.index ?? 0) ?? "another"}`,
      cure: `sysctl -w net.ipv4.conf.${name}.rp_filter=2`,
    };
  }
}

/** What of this host keeps packets from the other, as far as the kernel says so. */
async function* whyNotThere({ subject, way, peer }: Traveller): AsyncGenerator<FindingDraft> {
  const { socket } = subject;
  const route = await lookUp(socket, lookUpRoute(hostPrefix(way.to), way.from)).catch(() => undefined);
  for (const { index = 0, gateway } of route?.nexthops ?? []) {
    const hop: IpAddress = gateway ?? way.to;
    const neighbour = await lookUp(socket, getNeighbour(index, hop));
    const unanswered = neighbourState.failed | neighbourState.incomplete;
    if (neighbour === undefined || (neighbour.state & unanswered) === 0) continue;
    yield {
      code: "underlay-neighbour-failed",
      object: { kind: "neighbour", key: hop },
      expected: `${hop}, ${hop === way.to ? `node ${peer.name} itself` : `the router to node ${peer.name}`}, answers ${familyOf(hop) === 4 ? "ARP" : "neighbour solicitations"}`,
      found: "it does not",
    };
  }
}

/** Finds the largest packet that passes, to the octet. */
async function* tooLarge(
  travel: (sizes: readonly number[]) => Promise<Journey>,
  smallest: number,
  largest: number,
): AsyncGenerator<FindingDraft> {
  let passing = smallest;
  let failing = largest;
  let journey: Journey | undefined;
  let hop: Journey["departures"]["refusals"][number] | undefined;
  while (failing - passing > 1) {
    const step = Math.max(1, Math.ceil((failing - passing) / ladder));
    const sizes: number[] = [];
    for (let size = passing + step; size < failing; size += step) sizes.push(size);
    if (sizes.length === 0) break;
    // Each size twice, so that one lost by chance is no limit.
    journey = await travel(sizes.flatMap((size) => [size, size]));
    hop ??= journey.departures.refusals.find(({ error, by }) => error === "EMSGSIZE" && by !== "");
    const arrived = new Set(journey.arrivals.atTunnel.map(({ sequence }) => sizes[Math.floor(sequence / 2)] ?? 0));
    const best = Math.max(passing, ...arrived);
    failing = Math.min(failing, ...sizes.filter((size) => size > best));
    if (best === passing && failing - passing <= step) {
      if (step === 1) break;
      continue;
    }
    passing = best;
  }
  if (journey === undefined) return;
  const where = hop === undefined ? "nobody on the way says so" : `${hop.by} says that ${hop.mtu} octets pass there`;
  yield {
    code: "path-mtu",
    object: objectOf(journey),
    expected: `${described(journey)} with ${largest} octets in the outer IP packet arrive`,
    found: `${passing} octets do, ${failing} and more do not; ${where}`,
    cure: `weft network set ${journey.network} --mtu ${passing - (largest - journey.innerMtu)}; or let packets of ${largest} octets pass between ${journey.way.from} and ${journey.way.to}`,
  };
}

function* roundTrip(traveller: Traveller, there: Journey, back: Journey): Generator<FindingDraft> {
  // What the two clocks differ by is in one with the other sign.
  const shortest = ({ arrivals }: Journey): number => Math.min(...arrivals.atInterface.map(({ delay }) => delay));
  const milliseconds = (shortest(there) + shortest(back)) / 1_000;
  if (milliseconds < longRoundTrip) return;
  yield {
    code: "path-delay",
    object: objectOf(there),
    expected: `a round trip between nodes ${there.sender} and ${there.receiver} within ${longRoundTrip} ms`,
    found: `the shortest of ${there.arrivals.atInterface.length} took ${milliseconds.toFixed(1)} ms`,
    cure: `mtr ${traveller.way.to} shows where the time is spent`,
  };
}

/** Sends trains to a node, and has it send them here. */
class Traveller {
  readonly subject: Subject;
  readonly peer: ExaminedPeer;
  readonly way: ProbeWay;
  /** Octets of the largest outer IP packet that endpoints of the network cause. */
  readonly largest: number;
  /** Indexes of the interfaces that the last train came in by. */
  arrivedBy: ReadonlySet<number> = new Set();
  readonly #innerMtu: number;
  readonly #network: string;
  readonly #correspondence: Correspondence;

  constructor(subject: Subject, correspondence: Correspondence, peer: ExaminedPeer, network: string, way: ProbeWay) {
    this.subject = subject;
    this.peer = peer;
    this.way = way;
    this.#network = network;
    this.#correspondence = correspondence;
    const settings = subject.dataplane.networks.get(network)?.settings;
    this.#innerMtu = settings === undefined ? 0 : deviceMtuOf(settings);
    const underlay = familyOf(way.to) === 4 ? "ipv4" : "ipv6";
    this.largest = this.#innerMtu + overheadOf({ encapsulation: way.encapsulation, underlay }).octets;
  }

  async go(sizes: readonly number[]): Promise<Journey> {
    const { subject, peer, way } = this;
    const train = this.train(sizes);
    await this.#correspondence.expectTrain(peer.name, train);
    const departures = await sendTrain(subject.host, way, train);
    const arrivals = await this.#correspondence.countTrain(peer.name, train.id);
    return this.#journey(subject.node, peer.name, way, sizes, departures, arrivals);
  }

  async come(sizes: readonly number[]): Promise<Journey> {
    const { subject, peer, way } = this;
    const train = this.train(sizes);
    using watch = new TrainWatch(subject.host, subject.dataplane, train, way.to);
    const departures = await this.#correspondence.sendTrain(peer.name, train);
    this.arrivedBy = watch.interfaces;
    const reversed = { ...way, from: way.to, to: way.from };
    return this.#journey(peer.name, subject.node, reversed, sizes, departures, watch.count());
  }

  train(sizes: readonly number[]): Train {
    return { id: randomBytes(8).readBigUInt64BE(), network: this.#network, sizes, interval };
  }

  #journey(
    sender: string,
    receiver: string,
    way: ProbeWay,
    sizes: readonly number[],
    departures: Departures,
    arrivals: Arrivals,
  ): Journey {
    return { sender, receiver, network: this.#network, innerMtu: this.#innerMtu, way, sizes, departures, arrivals };
  }
}

export const pathChecks: readonly Check[] = [pathCheck];
