import type { Clock } from "../base/clock.ts";
import { type Duration, milliseconds, minutes, seconds } from "../base/duration.ts";
import { familyOf, type IpAddress, type Ipv4Address, type Ipv6Address, ip } from "../base/ip.ts";
import { broadcastMac, type MacAddress, mac } from "../base/mac.ts";
import { buildFrame } from "../wire/index.ts";
import type { KernelNamespace } from "./kernel.ts";

/** A port of an endpoint here. */
export interface AnnouncementPort {
  readonly index: number;
  /** The MAC of the endpoint. */
  readonly mac: MacAddress;
}

type Sender = ReturnType<KernelNamespace["openPacketSender"]>;

export interface AnnouncementContext {
  readonly clock: Clock;
  readonly openSender: () => Sender;
  readonly ports: () => Iterable<AnnouncementPort>;
  /** Nothing could be sent: neighbours find out by themselves. */
  readonly onFailure: (error: Error) => void;
  /** The MAC that an address has now. */
  readonly macOf: (ip: IpAddress) => MacAddress | undefined;
}

/** Longer than neighbours hold what they do not use (Linux: net.ipv4.neigh.default.gc_stale_time, 60 s). */
const memory = minutes(10);
/** Addresses that are remembered without the MAC that they had; the oldest are forgotten. */
const memorySize = 8_192;
/** Once more, because a frame may be lost. */
const repetitionAfter = seconds(1);
/** Neighbours have probed what they hold by then, and found it wrong: Linux takes 45 s at most. */
const worthlessAfter = seconds(45);
/** Addresses that wait for one of their announcements; of more than that at once the others are left to time. */
const queueSize = 4_096;
/** Frames sent at one go, and the pause after as many: 20,000 a second at most. */
const framesPerTurn = 200;
const pauseAfterTurn = milliseconds(10);

interface Announcement {
  readonly address: IpAddress;
  readonly mac: MacAddress;
  /** When the row was programmed, in milliseconds of the monotonic clock. */
  readonly since: number;
}

/**
 * Tells the endpoints of this node that an address has another MAC than they may remember, in the name of whoever has the
 * address now, and once more a second later. Each node tells its own endpoints: what goes straight out of their ports
 * never meets a tunnel.
 */
export class Announcements {
  readonly #context: AnnouncementContext;
  /** What endpoints may remember of addresses that were not announced since: two different MACs say as much as more. */
  readonly #former = new Map<IpAddress, { readonly macs: readonly MacAddress[]; readonly until: number }>();
  readonly #first: Announcement[] = [];
  readonly #repetitions: Announcement[] = [];
  #cancel: (() => void) | undefined;
  #isClosed = false;

  constructor(context: AnnouncementContext) {
    this.#context = context;
  }

  /** These addresses lost these MACs; they may have them again by now. */
  left(former: Iterable<readonly [address: IpAddress, mac: MacAddress]>): void {
    const now = this.#context.clock.monotonic();
    for (const [address, lost] of former) {
      const known = this.#former.get(address);
      if (known === undefined && this.#context.macOf(address) === lost) continue;
      const others = known !== undefined && known.until > now ? known.macs.filter((mac) => mac !== lost) : [];
      this.#former.delete(address);
      this.#former.set(address, { macs: [lost, ...others.slice(0, 1)], until: now + memory });
    }
    for (const [address, { until }] of this.#former) {
      if (until > now && this.#former.size <= memorySize) break;
      this.#former.delete(address);
    }
  }

  /** What is sent to the address arrives now. Announces it if it has another MAC than before. */
  programmed(address: IpAddress): void {
    const former = this.#former.get(address);
    const mac = this.#context.macOf(address);
    if (former === undefined || mac === undefined) return;
    this.#former.delete(address);
    const since = this.#context.clock.monotonic();
    if (former.macs.every((each) => each === mac) || former.until <= since || this.#isClosed) return;
    if (this.#first.length + this.#repetitions.length >= queueSize) return;
    this.#first.push({ address, mac, since });
    // Otherwise the next turn is due already.
    if (this.#first.length === 1) this.#wait(milliseconds(0));
  }

  close(): void {
    this.#isClosed = true;
    this.#cancel?.();
  }

  #wait(delay: Duration): void {
    this.#cancel?.();
    this.#cancel = this.#context.clock.after(delay, () => this.#turn());
  }

  #turn(): void {
    try {
      using sender = this.#context.openSender();
      let frames = 0;
      while (frames < framesPerTurn) {
        const repetition = this.#nextRepetition();
        const next = repetition ?? this.#first.shift();
        if (next === undefined) break;
        if (repetition === undefined) this.#repetitions.push(next);
        frames += this.#announce(next, sender);
      }
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      this.#context.onFailure(error);
      this.#first.length = 0;
      this.#repetitions.length = 0;
    }
    const [repetition] = this.#repetitions;
    if (this.#first.length > 0) this.#wait(pauseAfterTurn);
    else if (repetition !== undefined) {
      const due = repetition.since + repetitionAfter - this.#context.clock.monotonic();
      this.#wait(milliseconds(Math.max(due, pauseAfterTurn)));
    }
  }

  #nextRepetition(): Announcement | undefined {
    const [next] = this.#repetitions;
    if (next === undefined || this.#context.clock.monotonic() < next.since + repetitionAfter) return undefined;
    return this.#repetitions.shift();
  }

  /** Returns how many frames that were. */
  #announce({ address, mac, since }: Announcement, sender: Sender): number {
    if (this.#context.macOf(address) !== mac || this.#context.clock.monotonic() > since + worthlessAfter) return 0;
    const frame = announcement(address, mac);
    let frames = 0;
    for (const port of this.#context.ports()) {
      // To whoever has the address it would look like another that has it, too.
      if (port.mac === mac) continue;
      sender.send(port.index, frame);
      frames++;
    }
    return frames;
  }
}

/**
 * A gratuitous ARP reply to all, or an unsolicited neighbour advertisement to all nodes (RFC 4861 §7.2.6). Linux heeds the
 * former only with the MAC as target, too (net/ipv4/arp.c, `arp_is_garp`).
 */
export function announcement(address: IpAddress, mac: MacAddress): Uint8Array {
  if (isIpv4(address))
    return buildFrame([
      { protocol: "ethernet", header: { destination: broadcastMac, source: mac, etherType: "arp" } },
      {
        protocol: "arp",
        header: { operation: "reply", senderMac: mac, senderIp: address, targetMac: mac, targetIp: address },
      },
    ]);
  const target = address as Ipv6Address;
  return buildFrame([
    { protocol: "ethernet", header: { destination: allNodesMac, source: mac, etherType: "ipv6" } },
    {
      protocol: "ipv6",
      header: {
        dscp: 0,
        ecn: 0,
        flowLabel: 0,
        nextHeader: "icmpv6",
        hopLimit: 255,
        source: target,
        destination: allNodes,
      },
    },
    {
      protocol: "icmpv6",
      header: {
        type: "neighbour-advertisement",
        code: 0,
        router: false,
        solicited: false,
        override: true,
        target,
        options: [{ type: "target-link-layer-address", address: mac }],
      },
    },
  ]);
}

function isIpv4(address: IpAddress): address is Ipv4Address {
  return familyOf(address) === 4;
}

/** RFC 4291 §2.7.1, and its group MAC: RFC 2464 §7. */
const allNodes = ip("ff02::1") as Ipv6Address;
const allNodesMac = mac("33:33:00:00:00:01");
