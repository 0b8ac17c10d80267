import { familyOf, type IpAddress } from "../../base/ip.ts";
import type { Judgement } from "./judge.ts";
import { fromHost, type Hook, type Packet, tcpFlag, throughHost, toHost } from "./packet.ts";
import { protocols } from "./protocols.ts";
import type { Ruleset } from "./ruleset.ts";
import { type Truth, truth } from "./truth.ts";
import { asObject } from "./value.ts";

/** `judgeIn` of a namespace and its rules. */
export type Judge = (packet: Packet, hooks: readonly Hook[]) => Promise<Judgement>;

/** A packet that should get through, and what becomes of it. */
export interface Judged {
  /** What it is, in words. */
  readonly what: string;
  readonly packet: Packet;
  readonly judgement: Judgement;
  /** It is dropped until connection tracking has seen the other side, and accepted from then on. */
  readonly isAcceptedOnceEstablished?: boolean;
}

/** A tunnel between two VTEPs, as the host sees it. */
export interface TunnelEnds {
  readonly local: IpAddress;
  readonly remote: IpAddress;
  /** By which the outer IP header names it. */
  readonly protocol: number;
  /** The UDP port that it goes to, if it runs over UDP. */
  readonly port?: number;
  readonly vni?: number;
  /** The host's interface that leads to the other VTEP. */
  readonly interfaceName?: string;
}

/** What becomes of a tunnel's packets on this host, sent and received. */
export function judgeTunnel(judge: Judge, ends: TunnelEnds): Promise<Judged[]> {
  const [sent, received] = tunnelPackets(ends);
  return inTurn([
    () => judgeFirst(judge, `${tunnelWords(ends)} to ${ends.remote}`, sent, fromHost),
    () => judgeFirst(judge, `${tunnelWords(ends)} from ${ends.remote}`, received, toHost),
  ]);
}

const tunnelWords = ({ protocol, port }: TunnelEnds): string =>
  port === undefined ? `packets of IP protocol ${protocol}` : `UDP to port ${port}`;

/**
 * Each is the first of a connection: source ports over UDP follow from the inner packet (RFC 7348 §5), so that what the other side
 * sends answers none of them.
 */
function tunnelPackets(ends: TunnelEnds): [sent: Packet, received: Packet] {
  const { local, remote, protocol, port, vni, interfaceName } = ends;
  const common: Partial<Packet> = {
    protocol,
    mark: 0,
    conntrack: "new",
    ...(port === undefined ? {} : { sourcePort: "ephemeral", destinationPort: port }),
    ...(vni === undefined || port === undefined ? {} : { payload: payloadOf(vni) }),
  };
  const by = (key: "in" | "out"): Partial<Packet> => (interfaceName === undefined ? {} : { [key]: interfaceName });
  return [
    { protocol, ...common, ...by("out"), source: local, destination: remote },
    { protocol, ...common, ...by("in"), source: remote, destination: local, isForHost: true },
  ];
}

/** Behind the UDP header the VNI is in octets 4 to 6, of either encapsulation that has one there: RFC 7348 §5, RFC 8926 §3.4. */
const payloadOf = (vni: number): (number | undefined)[] => [
  ...new Array<undefined>(4),
  vni >> 16,
  (vni >> 8) & 255,
  vni & 255,
];

/** Without a port both directions are one connection, which may be let through once it has begun. */
async function judgeFirst(judge: Judge, what: string, packet: Packet, hooks: readonly Hook[]): Promise<Judged> {
  const judgement = await judge(packet, hooks);
  if (judgement.verdict === "accept" || packet.destinationPort !== undefined) return { what, packet, judgement };
  const later = await judge({ ...packet, conntrack: "established" }, hooks);
  return { what, packet, judgement, isAcceptedOnceEstablished: later.verdict === "accept" };
}

/** Whether connection tracking follows a tunnel, which costs for each flow, and what is dropped when it goes wrong. */
export interface Tracking {
  readonly isTracked: Truth;
  /** What becomes of a packet that connection tracking cannot place: when its table is full, or answers take another way. */
  readonly invalid: Judged;
}

export async function judgeTracking(judge: Judge, ruleset: Ruleset, ends: TunnelEnds): Promise<Tracking> {
  const [, received] = tunnelPackets(ends);
  const { isUntracked } = await judge(received, toHost);
  const invalid: Packet = { ...received, conntrack: "invalid" };
  return {
    isTracked: isUntracked === "no" ? truth(tracksConnections(ruleset)) : isUntracked === "yes" ? "no" : "unknown",
    invalid: {
      what: `${tunnelWords(ends)} from ${ends.remote} that connection tracking cannot place`,
      packet: invalid,
      judgement: await judge(invalid, toHost),
    },
  };
}

/** Connections are followed where a rule asks for them or translates: the kernel begins with the first such rule. */
export function tracksConnections({ chains }: Ruleset): boolean {
  return chains.some(
    ({ base, rules }) => base?.type === "nat" || rules.some(({ expressions }) => asksForConnections(expressions)),
  );
}

function asksForConnections(value: unknown): boolean {
  if (Array.isArray(value)) return value.some(asksForConnections);
  const fields = Object.entries(asObject(value));
  return fields.some(
    ([name, content]) => /^(ct|ct count|ct helper|synproxy)$/.test(name) || asksForConnections(content),
  );
}

/** Two places on both sides of a host that forwards between them. */
export interface Forwarded {
  readonly from: IpAddress;
  readonly to: IpAddress;
  readonly in: string;
  readonly out: string;
}

/** What becomes of connections that a host forwards: what begins them, and what answers. */
export function judgeForwarding(judge: Judge, { from, to, ...by }: Forwarded): Promise<Judged[]> {
  return inTurn(
    kinds(from).flatMap(({ name, first, answer }) => [
      async () => {
        const packet: Packet = { ...first, mark: 0, conntrack: "new", source: from, destination: to, ...by };
        return { what: `${name} from ${from} to ${to}`, packet, judgement: await judge(packet, throughHost) };
      },
      async () => {
        const packet: Packet = {
          ...{ ...answer, mark: 0, conntrack: "established", source: to, destination: from },
          ...{ in: by.out, out: by.in },
        };
        return {
          what: `answers to ${name} from ${from} to ${to}`,
          packet,
          judgement: await judge(packet, throughHost),
        };
      },
    ]),
  );
}

/** A container and another endpoint of its network. */
export interface Contained {
  readonly own: IpAddress;
  readonly other: IpAddress;
  readonly interfaceName: string;
  /** TCP port that it is asked at. */
  readonly port?: number;
}

/** What the rules of a container's own namespace do when it is asked, and when it asks. */
export function judgeContainer(judge: Judge, { own, other, interfaceName, port }: Contained): Promise<Judged[]> {
  const received = { source: other, destination: own, in: interfaceName, isForHost: true } as const;
  const sent = { source: own, destination: other, out: interfaceName };
  const one = (what: string, packet: Packet, hooks: readonly Hook[]) => async (): Promise<Judged> => ({
    what,
    packet,
    judgement: await judge(packet, hooks),
  });
  const [first, established] = [{ mark: 0, conntrack: "new" } as const, { mark: 0, conntrack: "established" } as const];
  return inTurn(
    kinds(own, port)
      .filter(({ isOfContainers }) => isOfContainers)
      .flatMap(({ name, first: request, answer }) => [
        one(`${name} from ${other}`, { ...request, ...first, ...received }, toHost),
        one(`answers to ${name} from ${other}`, { ...answer, ...established, ...sent }, fromHost),
        one(`${name} to ${other}`, { ...request, ...first, ...sent }, fromHost),
        one(`answers to ${name} to ${other}`, { ...answer, ...established, ...received }, toHost),
      ]),
  );
}

interface Kind {
  readonly name: string;
  readonly isOfContainers: boolean;
  readonly first: Pick<Packet, "protocol" | "icmp" | "sourcePort" | "destinationPort" | "tcpFlags">;
  readonly answer: Pick<Packet, "protocol" | "icmp" | "sourcePort" | "destinationPort" | "tcpFlags">;
}

/** What one tries whether two can talk with: RFC 792, RFC 4443 §4. */
function kinds(address: IpAddress, port?: number): Kind[] {
  const isIpv4 = familyOf(address) === 4;
  const protocol = isIpv4 ? protocols.icmp : protocols.icmpv6;
  const [request, reply] = isIpv4 ? [8, 0] : [128, 129];
  const { tcp, udp } = protocols;
  const asked = { sourcePort: "ephemeral", ...(port === undefined ? {} : { destinationPort: port }) } as const;
  const answered = { destinationPort: "ephemeral", ...(port === undefined ? {} : { sourcePort: port }) } as const;
  return [
    {
      name: "ping",
      isOfContainers: true,
      first: { protocol, icmp: { type: request, code: 0 } },
      answer: { protocol, icmp: { type: reply, code: 0 } },
    },
    {
      name: port === undefined ? "TCP" : `TCP to port ${port}`,
      isOfContainers: port !== undefined,
      first: { protocol: tcp, tcpFlags: tcpFlag.syn, ...asked },
      answer: { protocol: tcp, tcpFlags: tcpFlag.syn | tcpFlag.ack, ...answered },
    },
    {
      name: "UDP",
      isOfContainers: false,
      first: { protocol: udp, ...asked },
      answer: { protocol: udp, ...answered },
    },
  ];
}

/** One after the other: each may ask the kernel. */
async function inTurn(all: readonly (() => Promise<Judged>)[]): Promise<Judged[]> {
  const results: Judged[] = [];
  for (const one of all) results.push(await one());
  return results;
}
