import { cidrContains } from "../../base/cidr.ts";
import { type Duration, seconds } from "../../base/duration.ts";
import { WeftError } from "../../base/errors.ts";
import type { IpAddress } from "../../base/ip.ts";
import type { KernelNamespace } from "../../dataplane/kernel.ts";
import { NetlinkSocket } from "../../netlink/index.ts";
import { realNow } from "./live/clock.ts";
import { smallestMarked } from "./live/packet.ts";
import { sendMarked } from "./live/send.ts";
import { PointWatch } from "./live/watch.ts";
import type { TraceAnswer, TraceQuestion } from "./question.ts";
import type { End, Step, WatchedStep, WatchPoint } from "./step.ts";
import type { Firewalls, TraceSubject } from "./trail.ts";
import { walk } from "./walk.ts";

/** Ways watched at a time, whoever asks, and for how long at most. */
const watchedAtMost = 32;
const watchedFor: Duration = seconds(30);
/** Traces that packets are sent for at a time. */
const sentAtMost = 4;
/** Traces whose findings are kept. */
const knownAtMost = 16;

const attempted = "follow a packet";

/** A way through this node that is watched. */
interface Watched {
  readonly from: string;
  readonly end: End;
  readonly steps: readonly { readonly step: Step; readonly watch: PointWatch | undefined }[];
  readonly cancel: () => void;
}

/** What one trace has found out here: what it asks again is not looked for again. */
interface Known {
  readonly firewalls: Firewalls;
  readonly walks: Map<number, Promise<Walked>>;
  readonly cancel: () => void;
}

interface Walked {
  readonly steps: readonly WatchedStep[];
  readonly end: End;
}

/** Answers what is asked of packets' ways through this node. Other nodes learn of ways to and from themselves alone. */
export class TraceResponder {
  readonly #node: Omit<TraceSubject, "socket">;
  readonly #vtepsOf: (node: string) => readonly IpAddress[];
  readonly #watched = new Map<string, Watched>();
  /** Of each trace what was found out so far. */
  readonly #known = new Map<bigint, Known>();
  #sending = 0;

  constructor(options: {
    readonly node: Omit<TraceSubject, "socket">;
    /** Of a node that shares networks with this one. */
    readonly vtepsOf: (node: string) => readonly IpAddress[];
  }) {
    this.#node = options.node;
    this.#vtepsOf = options.vtepsOf;
  }

  /** `from`: the node that asks; empty: somebody who may do everything. */
  async answer(from: string, question: TraceQuestion): Promise<TraceAnswer> {
    this.#check(from, question);
    switch (question.action) {
      case "look": {
        const { steps, end } = await this.#walk(question);
        return this.#told(steps.map(shown), end);
      }
      case "watch":
        return await this.#watch(from, question);
      case "send":
        return await this.#send(from, question);
      case "count":
      case "end":
        return this.#count(from, question);
    }
  }

  close(): void {
    for (const key of [...this.#watched.keys()]) this.#forget(key);
    for (const id of [...this.#known.keys()]) this.#forgetTrace(id);
  }

  /** Whoever asks for the same way to be watched is told what it was told before. */
  #walk(question: TraceQuestion): Promise<Walked> {
    const { walks, firewalls } = this.#knownOf(question.id);
    const known = walks.get(question.part) ?? this.#walkAnew(question, firewalls);
    walks.set(question.part, known);
    return known;
  }

  async #walkAnew(question: TraceQuestion, firewalls: Firewalls): Promise<Walked> {
    using socket = new NetlinkSocket({ channel: this.#node.host.openChannel({}) });
    return await walk({ ...this.#node, socket }, question, firewalls);
  }

  #knownOf(id: bigint): Known {
    const known = this.#known.get(id);
    if (known !== undefined) return known;
    const [oldest] = this.#known.keys();
    if (oldest !== undefined && this.#known.size >= knownAtMost) this.#forgetTrace(oldest);
    const cancel = this.#node.clock.after(watchedFor, () => this.#forgetTrace(id));
    const fresh: Known = { firewalls: new Map(), walks: new Map(), cancel };
    this.#known.set(id, fresh);
    return fresh;
  }

  #forgetTrace(id: bigint): void {
    this.#known.get(id)?.cancel();
    this.#known.delete(id);
  }

  async #watch(from: string, question: TraceQuestion): Promise<TraceAnswer> {
    if (this.#watched.size >= watchedAtMost)
      throw new WeftError({ code: "exhausted", attempted, reason: `${watchedAtMost} ways are watched already` });
    const { steps, end } = await this.#walk(question);
    const key = keyOf(question);
    this.#forget(key);
    using stack = new DisposableStack();
    const watched = steps.map((step) => {
      const watch = step.point === undefined ? undefined : this.#open(step.point, question);
      if (watch !== undefined) stack.use(watch);
      return { step: shown(step), watch };
    });
    stack.move();
    const cancel = this.#node.clock.after(watchedFor, () => this.#forget(key));
    this.#watched.set(key, { from, end, steps: watched, cancel });
    return this.#told(observed(watched), end);
  }

  #open(point: WatchPoint, { packet, id }: TraceQuestion): PointWatch {
    const open = (namespace: KernelNamespace): PointWatch => new PointWatch(namespace, point, packet, id);
    const { space } = point;
    if (space === "host") return open(this.#node.host);
    if ("netns" in space) {
      using namespace = this.#node.kernel.open(space.netns);
      return open(namespace);
    }
    const programmed = this.#node.dataplane.network(space.network);
    if (programmed === undefined)
      throw new WeftError({ code: "not-found", attempted, reason: `network ${space.network} is here no more` });
    return open(programmed.namespace);
  }

  async #send(from: string, { packet, start, id, network }: TraceQuestion): Promise<TraceAnswer> {
    if (packet.size < smallestMarked(packet))
      throw new WeftError({
        code: "invalid-argument",
        attempted,
        reason: `found a size of ${packet.size} octets; allowed: from ${smallestMarked(packet)}`,
      });
    if (this.#sending >= sentAtMost)
      throw new WeftError({ code: "exhausted", attempted, reason: `${sentAtMost} traces are being sent already` });
    if (from !== "" && !this.#leadsTo(packet.destination, network, this.#vtepsOf(from))) throw notTheirs(from);
    this.#sending++;
    try {
      using namespace = start.kind === "endpoint" ? this.#containerOf(network, start.address) : undefined;
      const { sentAt, refusals } = await sendMarked(namespace ?? this.#node.host, packet, id);
      return { steps: [], end: { kind: "stopped" }, clock: sentAt, refusals };
    } finally {
      this.#sending--;
    }
  }

  #containerOf(network: string, address: IpAddress): KernelNamespace {
    const locals = [...(this.#node.dataplane.networks.get(network)?.locals.values() ?? [])];
    const endpoint = locals.find(({ addresses }) => addresses.some((each) => each.address === address));
    const place = endpoint === undefined ? undefined : this.#node.placeOf(endpoint.id);
    if (place?.kind === "netns") return this.#node.kernel.open(place.netns);
    throw new WeftError({
      code: "failed-precondition",
      attempted: `send packets as ${address} of network ${network}`,
      reason: endpoint === undefined ? "this node has no such endpoint" : "it is no container of this node's",
      hint: "see what the tables say: weft trace --dry-run",
    });
  }

  #count(from: string, question: TraceQuestion): TraceAnswer {
    const key = keyOf(question);
    const watched = this.#watched.get(key);
    if (watched?.from !== from)
      throw new WeftError({
        code: "not-found",
        attempted,
        reason: "no such way is watched, or it was for too long",
      });
    const answer = this.#told(observed(watched.steps), watched.end);
    if (question.action === "end") this.#forget(key);
    return answer;
  }

  #told(steps: readonly Step[], end: End): TraceAnswer {
    return { steps, end, clock: realNow(), refusals: [] };
  }

  #forget(key: string): void {
    const watched = this.#watched.get(key);
    if (watched === undefined) return;
    this.#watched.delete(key);
    watched.cancel();
    for (const { watch } of watched.steps) watch?.[Symbol.dispose]();
  }

  /** Other nodes follow packets of a network that both host, and to or from themselves alone. */
  #check(from: string, { network, start, packet }: TraceQuestion): void {
    if (start.kind === "arrival" && start.handover.network !== network)
      throw new WeftError({ code: "permission-denied", attempted, reason: `it is not of network ${network}` });
    if (from === "") return;
    const vteps = this.#vtepsOf(from);
    const isTheirs =
      start.kind === "arrival"
        ? vteps.includes(start.handover.from)
        : start.kind === "endpoint" && this.#leadsTo(packet.destination, network, vteps);
    if (!isTheirs) throw notTheirs(from);
  }

  /** Whether an address is behind one of these VTEPs, in a network that is routed with this one. */
  #leadsTo(address: IpAddress, network: string, vteps: readonly IpAddress[]): boolean {
    const { networks } = this.#node.dataplane;
    const settings = networks.get(network)?.settings;
    const tenants = new Set([settings?.tenant, ...(settings?.peers ?? []).map(({ tenant }) => tenant)]);
    for (const { settings: other, remotesByIp, blocks } of networks.values()) {
      if (!tenants.has(other.tenant)) continue;
      const block = [...blocks.values()].find(({ cidr }) => cidrContains(cidr, address));
      const vtep = remotesByIp.get(address)?.vtep ?? block?.vtep;
      if (vtep !== undefined && vteps.includes(vtep)) return true;
    }
    return false;
  }
}

function notTheirs(from: string): WeftError {
  return new WeftError({
    code: "permission-denied",
    attempted,
    reason: `it neither comes from node ${from} nor goes there`,
    hint: "follow it from the server's host: weft trace",
  });
}

function keyOf({ id, part }: TraceQuestion): string {
  return `${id} ${part}`;
}

function shown({ point: _, ...step }: WatchedStep): Step {
  return step;
}

function observed(steps: Watched["steps"]): readonly Step[] {
  return steps.map(({ step, watch }) => (watch === undefined ? step : { ...step, observed: watch.observed }));
}
