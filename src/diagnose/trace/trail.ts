import { messageOf } from "../../base/errors.ts";
import type { IpAddress } from "../../base/ip.ts";
import type { DesiredNetwork, PortPlace, ProgrammedNetwork } from "../../dataplane/index.ts";
import { answeringTable, forwardingTable, tenantOfHostTable } from "../../dataplane/kernel-names.ts";
import { type Link, NetlinkSocket } from "../../netlink/index.ts";
import type { Found } from "../firewall/condition.ts";
import { readRuleset } from "../firewall/read-ruleset.ts";
import type { Ruleset } from "../firewall/ruleset.ts";
import type { Subject } from "../subject.ts";
import { Space } from "./space.ts";
import type { End, FrameAddresses, Handover, Step, StepName, TracedPacket, WatchedStep, WatchPoint } from "./step.ts";

/** A node, as far as a packet's way through it has to do with it. */
export interface TraceSubject
  extends Pick<Subject, "node" | "instance" | "kernel" | "clock" | "host" | "socket" | "dataplane"> {
  /** Where an endpoint of this node hangs; `undefined`: it is none. */
  readonly placeOf: (endpoint: string) => PortPlace | undefined;
}

/** What the rules of one namespace are, and what its sets have. */
export interface Firewall {
  readonly ruleset: Promise<Ruleset>;
  readonly answers: Map<string, Found>;
}

/** By the inode of the namespace: read once for all that one trace asks. */
export type Firewalls = Map<number, Firewall>;

/** A network that this node carries, and the namespace of its tenant. */
export interface Carried {
  readonly name: string;
  readonly desired: DesiredNetwork;
  readonly programmed: ProgrammedNetwork;
  readonly space: Space;
}

/** Where a packet is, and in what form. */
export type Situation =
  | { readonly at: "container"; readonly network: Carried; readonly endpoint: string }
  /** A frame that came in by an endpoint's port. */
  | { readonly at: "port"; readonly network: Carried; readonly endpoint: string; readonly frame: FrameAddresses }
  /** A frame in a bridge. `by`: its port, or the bridge itself. */
  | { readonly at: "bridge"; readonly network: Carried; readonly by: Link; readonly frame: FrameAddresses }
  /** A packet that a namespace routes. `by`: the interface that it came in by; absent: it is the host's own. */
  | { readonly at: "routing"; readonly space: Space; readonly by?: Link }
  /** About to leave by a tunnel: a frame of a bridge, or a packet that was routed towards `via`. */
  | {
      readonly at: "tunnel";
      readonly network: Carried;
      readonly link: Link;
      readonly frame?: FrameAddresses;
      readonly via?: IpAddress;
    }
  | { readonly at: "underlay"; readonly handover: Handover }
  | { readonly at: "arrival"; readonly handover: Handover }
  /** About to leave by an endpoint's port. */
  | { readonly at: "delivery"; readonly network: Carried; readonly endpoint: string; readonly frame: FrameAddresses }
  | { readonly at: "end"; readonly end: End };

export const stopped: Situation = { at: "end", end: { kind: "stopped" } };

type Told = Partial<Pick<WatchedStep, "cause" | "cure" | "point">>;

/** What a packet met so far, and what became of it on the way. */
export class Trail {
  readonly subject: TraceSubject;
  readonly steps: WatchedStep[] = [];
  readonly host: Space;
  /** As it is now. */
  packet: TracedPacket;
  readonly #opened: Space[] = [];
  readonly #firewalls: Firewalls;

  constructor(subject: TraceSubject, packet: TracedPacket, firewalls: Firewalls) {
    this.subject = subject;
    this.#firewalls = firewalls;
    this.packet = packet;
    this.host = new Space(subject.host, subject.socket, "the host");
  }

  passes(name: StepName, at: string, detail: string, told: Told = {}): void {
    this.#add({ name, at, result: "passes", detail, ...told });
  }

  stops(name: StepName, at: string, detail: string, told: Told = {}): void {
    this.#add({ name, at, result: "stops", detail, ...told });
  }

  unknown(name: StepName, at: string, detail: string, told: Told = {}): void {
    this.#add({ name, at, result: "unknown", detail, ...told });
  }

  get isStopped(): boolean {
    return this.steps.some(({ result }) => result === "stops");
  }

  /** `undefined`: this node does not carry it. */
  carried(name: string): Carried | undefined {
    const { dataplane } = this.subject;
    const [desired, programmed] = [dataplane.networks.get(name), dataplane.network(name)];
    if (desired === undefined || programmed === undefined) return undefined;
    return { name, desired, programmed, space: new Space(programmed.namespace, programmed.socket) };
  }

  /** Those in one namespace. */
  carriedIn(space: Space): readonly Carried[] {
    return [...this.subject.dataplane.networks.keys()]
      .flatMap((name) => this.carried(name) ?? [])
      .filter((each) => each.space.namespace.inode === space.namespace.inode);
  }

  /** A namespace by its path; what it is said when it cannot be opened. */
  open(path: string): Space | string {
    try {
      const namespace = this.subject.kernel.open(path);
      const space = new Space(namespace, new NetlinkSocket({ channel: namespace.openChannel({}) }));
      this.#opened.push(space);
      return space;
    } catch (error) {
      return messageOf(error);
    }
  }

  /** The rules of a namespace, and what its sets were asked. */
  firewallOf({ namespace }: Space): Firewall {
    const known = this.#firewalls.get(namespace.inode) ?? {
      ruleset: readRuleset(namespace, (table) => this.#isOfUplinks(table)),
      answers: new Map(),
    };
    this.#firewalls.set(namespace.inode, known);
    return known;
  }

  /** What these do is told by what uplinks are made for. They translate, and behind that the judge would know nothing any more. */
  #isOfUplinks(table: string): boolean {
    const isOfUplink = tenantOfHostTable(this.subject.instance, table) !== undefined;
    return isOfUplink || table === forwardingTable || table === answeringTable;
  }

  close(): void {
    for (const { namespace, socket } of this.#opened.splice(0)) {
      socket[Symbol.dispose]();
      namespace.close();
    }
  }

  #add(step: Omit<Step, "node"> & { readonly point?: WatchPoint }): void {
    this.steps.push({ node: this.subject.node, ...step });
  }
}
