import type { Client } from "@connectrpc/connect";
import type { NetworkState } from "../api/convert.ts";
import type { NodeService } from "../api/generated/weft/v1/node_pb.js";
import type { Clock } from "../base/clock.ts";
import { type Duration, milliseconds, seconds } from "../base/duration.ts";
import { messageOf, WeftError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import { type NodeDataplane, nameOfObject, removalKind } from "../dataplane/index.ts";
import { peersInForce } from "../model/peering.ts";
import type { Network } from "../model/resources.ts";
import type { DesiredState } from "./desired-state.ts";
import type { ReplicaChange } from "./replica.ts";
import { restsOn } from "./rests-on.ts";

type Reporter = Pick<Client<typeof NodeService>, "reportInPlace">;

interface Report {
  /** The kernel is as the state of this revision asks for; 0: not yet, or not any more. */
  readonly revision: number;
  readonly problem: string;
}

interface Progress {
  /** The last revision that the server told something of this network with. */
  told: number;
  /** What was told when the pass for the host that is under way began. */
  atHost: number;
  /** What the host has: all that was told when the last pass for it that has ended began. */
  onHost: number;
  /** What the host had when the pass of the tenant that is under way began. */
  atStart: number;
  /** What a pass has put into the kernel. */
  inPlace: number;
  /** Something failed that the whole network needs: as long as it does, nothing of it counts as in place. */
  isBlocked: boolean;
  problem: string;
  /** What the server has been told on this connection. */
  reported: Report | undefined;
  /** The phase of the network's change that was told last, and the revision that told it, for which all others wait; 0: none did. */
  phase: string;
  phaseRevision: number;
}

const nothingYet: Omit<Progress, "told" | "phase"> = {
  atHost: 0,
  onHost: 0,
  atStart: 0,
  inPlace: 0,
  isBlocked: false,
  problem: "",
  reported: undefined,
  phaseRevision: 0,
};

interface Pause {
  readonly duration: Duration;
  /** The server wished it, so that it does not hear from all nodes at once; a failure's is not cut short. */
  readonly canEnd: boolean;
}

const requestTimeout = seconds(10);
const retryPause = seconds(1);
/** Networks in one report. */
const mostNetworks = 1_000;

/**
 * Tells the server up to which revision each network of this node is in the kernel, and what failed: one call at a
 * time, and what changes meanwhile goes with the next. Nothing on the node waits for it.
 */
export class Readiness {
  readonly #desired: DesiredState;
  readonly #dataplane: NodeDataplane;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #client: () => Reporter | undefined;
  readonly #networks = new Map<string, Progress>();
  #reporting = false;
  /** There may be more to report than what is under way. */
  #isAsked = false;
  #closed = false;
  /** The server is of a version that takes no reports. */
  #refused = false;
  #connections = 0;
  /** While this node pauses, as the server wished. */
  #endPause: (() => void) | undefined;

  constructor(options: {
    readonly desired: DesiredState;
    readonly dataplane: NodeDataplane;
    readonly clock: Clock;
    readonly logger: Logger;
    /** Of the connection to the server, if there is one now. */
    readonly client: () => Reporter | undefined;
  }) {
    this.#desired = options.desired;
    this.#dataplane = options.dataplane;
    this.#clock = options.clock;
    this.#logger = options.logger;
    this.#client = options.client;
  }

  /** A new conversation with the server: whichever it is now, it knows nothing, and will tell of each network first. */
  connected(): void {
    this.#networks.clear();
    this.#refused = false;
    this.#connections++;
    this.hasten();
  }

  /** Nobody need wait for what there is to report any longer. */
  hasten(): void {
    this.#endPause?.();
  }

  /** The desired state is complete as of `revision`, with these changes. To be called before the dataplane begins with them. */
  told(changes: readonly ReplicaChange[], revision: number): void {
    for (const change of changes)
      switch (change.kind) {
        case "network":
          this.#touch(change.state.network.name, revision, change.state);
          this.#touchPeers(change.state.network, revision);
          break;
        case "network-removed":
          this.#networks.delete(change.name);
          break;
        case "endpoint":
          this.#touch(change.endpoint.network, revision);
          break;
        case "block":
          this.#touch(change.block.network, revision);
          break;
        case "endpoint-removed":
        case "block-removed":
          if (this.#networks.has(change.network)) this.#touch(change.network, revision);
          break;
        case "policy":
          this.#touchTenant(change.policy.tenant, revision);
          break;
        case "policy-removed":
        case "policies-removed":
          this.#touchTenant(change.tenant, revision);
          break;
        case "policy-member":
          if (this.#networks.has(change.member.network)) this.#touch(change.member.network, revision);
          break;
        case "policy-member-removed":
          if (this.#networks.has(change.network)) this.#touch(change.network, revision);
          break;
        case "node":
          // It may have moved, and with it rows of each network that it shares with this one.
          for (const name of this.#networks.keys()) this.#touch(name, revision);
          break;
      }
  }

  /** A pass of the dataplane: of what tenants need on the host (`undefined`), or of one tenant. */
  onPass(moment: "began" | "ended", tenant: string | undefined): void {
    if (moment === "began" && tenant === undefined)
      for (const progress of this.#networks.values()) progress.atHost = progress.told;
    const hasProblems = this.#dataplane.problems.size > 0;
    for (const [name, progress] of this.#networks) {
      if (this.#dataplane.networks.get(name)?.settings.tenant !== tenant) continue;
      if (moment === "began") progress.atStart = progress.onHost;
      else if (progress.inPlace < progress.told || hasProblems || progress.problem !== "") this.#judge(name, progress);
    }
    if (moment === "began") return;
    if (tenant === undefined) for (const progress of this.#networks.values()) progress.onHost = progress.atHost;
    void this.#report();
  }

  /** A problem came or went that no pass of the dataplane has found. */
  problemsChanged(): void {
    const hasProblems = this.#dataplane.problems.size > 0;
    for (const [name, progress] of this.#networks)
      if (hasProblems || progress.problem !== "") this.#judgeProblems(name, progress);
    void this.#report();
  }

  close(): void {
    this.#closed = true;
  }

  #touch(name: string, revision: number, state = this.#desired.networks.get(name)): void {
    const phase = phaseOf(state);
    const progress = this.#networks.get(name);
    if (progress === undefined) {
      this.#networks.set(name, { told: revision, ...nothingYet, phase });
      return;
    }
    progress.told = Math.max(progress.told, revision);
    if (progress.phase !== phase) progress.phaseRevision = revision;
    progress.phase = phase;
  }

  /** What a network is to its peers is theirs to make, each at its tenant's end; one that is yet to come whole brings that with it. */
  #touchPeers(network: Network, revision: number): void {
    const find = (name: string): Network | undefined => this.#desired.networks.get(name)?.network;
    for (const { name } of peersInForce(network, find)) if (this.#networks.has(name)) this.#touch(name, revision);
  }

  /** Policies are for all networks of their tenant. */
  #touchTenant(tenant: string, revision: number): void {
    for (const name of this.#networks.keys())
      if (this.#desired.networks.get(name)?.network.tenant === tenant) this.#touch(name, revision);
  }

  #judgeProblems(name: string, progress: Progress): void {
    const { blocking, problem } = this.#problemsOf(name);
    progress.problem = problem;
    progress.isBlocked = blocking;
  }

  #judge(name: string, progress: Progress): void {
    this.#judgeProblems(name, progress);
    const { dataplane: network, isJoined } = this.#dataplane.network(name) ?? {};
    if (progress.isBlocked || network === undefined || network.desired !== this.#dataplane.networks.get(name)) return;
    // What is left to do without anything having failed came during the pass: what it began with is done.
    const isDone = network.isCarried && isJoined === true && this.#portsAreDone(name);
    if (isDone || progress.atStart < progress.told) progress.inPlace = Math.max(progress.inPlace, progress.atStart);
  }

  /** Ports that fail hold back nothing else: a container may be gone for good. */
  #portsAreDone(name: string): boolean {
    const { objects } = this.#dataplane.network(name)?.dataplane.ports ?? {};
    return objects?.pending.every((id) => objects.hasFailed(id)) === true;
  }

  /** `blocking`: more failed than single endpoints, or an MTU that was asked for. */
  #problemsOf(name: string): { readonly blocking: boolean; readonly problem: string } {
    const state = this.#desired.networks.get(name);
    const desired = this.#dataplane.networks.get(name);
    if (state === undefined || desired === undefined) {
      const family = state?.network.underlay ?? "";
      return {
        blocking: true,
        problem: `the node has no place for it: no ${family} VTEP address, or no multicast interface`,
      };
    }
    const texts: string[] = [];
    let blocking = false;
    for (const { object, error } of this.#dataplane.problems.list()) {
      // What leaves is another network, whatever its name; where it is in the way, that is a problem of this one.
      const isOwn = object.network === name && object.kind !== removalKind;
      if (!isOwn && !(object.network === undefined && restsOn(desired, object))) continue;
      blocking ||= !isOwn || !(object.kind === "endpoint" || object.kind === "MTU");
      texts.push(`${nameOfObject(object)}: ${error.message}`);
    }
    const more = texts.length > 3 ? `; and ${texts.length - 3} more` : "";
    return { blocking, problem: texts.slice(0, 3).join("; ") + more };
  }

  async #report(): Promise<void> {
    this.#isAsked = true;
    if (this.#endPause !== undefined && this.#isUrgent) this.hasten();
    if (this.#reporting || this.#closed) return;
    this.#reporting = true;
    try {
      for (;;) {
        this.#isAsked = false;
        const client = this.#client();
        if (client === undefined || this.#refused || this.#closed) return;
        const pause = await this.#reportOnce(client);
        if (pause === undefined && this.#isAsked) continue;
        if (pause === undefined) return;
        if (!pause.canEnd || !this.#isUrgent) await this.#pause(pause);
      }
    } finally {
      this.#reporting = false;
    }
  }

  get #isUrgent(): boolean {
    return [...this.#networks.values()].some(isUrgent);
  }

  async #pause({ duration, canEnd }: Pause): Promise<void> {
    await new Promise<void>((resolve) => {
      const cancel = this.#clock.after(duration, resolve);
      if (!canEnd) return;
      this.#endPause = () => {
        cancel();
        resolve();
      };
    });
    this.#endPause = undefined;
  }

  /** When to report again; `undefined`: when there is something to report. */
  async #reportOnce(client: Reporter): Promise<Pause | undefined> {
    const connection = this.#connections;
    const news = [...this.#networks].filter(([, progress]) => isNews(progress)).slice(0, mostNetworks);
    if (news.length === 0) return undefined;
    const sent = news.map(([network, progress]) => ({ network, progress, report: reportOf(progress) }));
    try {
      const { pause } = await client.reportInPlace(
        {
          networks: sent.map(({ network, report: { revision, problem } }) => ({
            network,
            revision: BigInt(revision),
            problem,
          })),
        },
        { timeoutMs: requestTimeout },
      );
      if (connection === this.#connections) for (const { progress, report } of sent) progress.reported = report;
      return { duration: milliseconds(pause), canEnd: true };
    } catch (error) {
      if (connection !== this.#connections) return { duration: milliseconds(0), canEnd: true };
      if (error instanceof WeftError && error.code === "unsupported") {
        this.#refused = true;
        this.#logger.info({}, "the server is of a version that does not ask what is in place");
        return undefined;
      }
      this.#logger.debug({ error: messageOf(error) }, "could not report what is in place; trying again");
      return { duration: retryPause, canEnd: false };
    }
  }
}

function reportOf({ inPlace, isBlocked, problem }: Progress): Report {
  return { revision: isBlocked ? 0 : inPlace, problem };
}

/** Of the change that is under way, if one is: others begin with the same phase. */
function phaseOf(state: NetworkState | undefined): string {
  const change = state?.change;
  return change === undefined ? "" : `${change.phase} ${change.since}`;
}

/** The server leads the change on when it has heard it. Once for each phase: however many nodes there are, none has more than one call under way. */
function isUrgent(progress: Progress): boolean {
  const { phaseRevision, reported } = progress;
  const { revision } = reportOf(progress);
  return (reported?.revision ?? 0) < phaseRevision && phaseRevision <= revision;
}

/** That a network is not in place yet goes without saying, unless something failed. */
function isNews(progress: Progress): boolean {
  const { revision, problem } = reportOf(progress);
  const { reported } = progress;
  return revision !== (reported?.revision ?? 0) || problem !== (reported?.problem ?? "");
}
