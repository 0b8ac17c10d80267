import { randomBytes, randomInt } from "node:crypto";
import { setImmediate as turn } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import { type Credentials, connectNode, type NodeConnection } from "../api/clients.ts";
import { type NetworkState, networkState } from "../api/convert.ts";
import type { AskedQuestion } from "../api/generated/weft/v1/diagnosis_pb.js";
import type { WatchChange, WatchResponse } from "../api/generated/weft/v1/node_pb.js";
import { certificateValidity, renewCertificate } from "../api/join.ts";
import { kinds, policyMember } from "../api/kinds.ts";
import type { Cidr } from "../base/cidr.ts";
import type { Clock } from "../base/clock.ts";
import { type Duration, milliseconds, minutes, seconds } from "../base/duration.ts";
import { messageOf, WeftError } from "../base/errors.ts";
import type { IpAddress } from "../base/ip.ts";
import type { Logger } from "../base/logger.ts";
import type { Result } from "../base/result.ts";
import type { ReplicaChange } from "./replica.ts";

/** What of the server's stream the agent acts upon. */
export type SessionChange =
  | ReplicaChange
  /** All endpoints and blocks of this network that are known are void unless they follow. */
  | { readonly kind: "network-begin"; readonly name: string }
  /** This node hosts it from now on; what is in it comes in parts. */
  | { readonly kind: "network-follows"; readonly state: NetworkState }
  /** All nodes and pods known are void unless they follow. */
  | { readonly kind: "nodes-begin" }
  /** All policies of this tenant that are known are void unless they follow, and with them, but for `resumed` ones, their members. */
  | { readonly kind: "policies-begin" | "policies-resumed"; readonly tenant: string };

/** What a node says of itself to the server. */
export interface Registration {
  readonly vtepIpv4: string;
  readonly vtepIpv6: string;
  readonly underlayMtu: number;
}

export interface SessionHandlers {
  /** What the agent holds complete, to continue from. */
  resume(): {
    readonly revision: number;
    readonly networks: readonly string[];
    readonly policyTenants: readonly string[];
  };
  /** As it is now. */
  registration(): Registration;
  /** The server knows it. */
  onRegistered(): void;
  /** The server, with which the conversation goes on, has not taken what changed; it is told again. */
  onNotRegistered(error: WeftError): void;
  /** Changes in order; the state is consistent after a call with `complete`. */
  onChanges(changes: readonly SessionChange[], revision: number, complete: boolean): void;
  /** The server speaks, for the first time or again. */
  onConnected(connection: NodeConnection): void;
  /** Not called when this side ends a conversation to begin another: to renew its certificate, or from another address. */
  onDisconnected(error: WeftError): void;
  onRenewed(credentials: Credentials): void;
  /** Another agent, at `address`, tried to speak as this node. */
  onOtherRefused(address: string): void;
  /** Somebody waits for what this node has to report. */
  onReportWanted(): void;
  /** Somebody asks this node something, by way of the server. */
  onAsked(asked: AskedQuestion): void;
}

const shortestPause = milliseconds(200);
const longestPause = seconds(5);
/** Refused for good as far as one can know: asking often helps nobody. */
const refusedPause = seconds(30);
/** A certificate that the server does not accept is renewed at once, whatever this host's clock says; again after this. */
const renewAgain = minutes(5);
const requestTimeout = seconds(10);
/** Clocks jump, and machines sleep: what is due by the wall clock is looked at this often. */
const longestTimer = minutes(1);

/**
 * The agent's side of the conversation with the server: one connection with one watch, made again when it breaks.
 * Nothing on the node depends on it being there.
 */
export class Session {
  readonly #url: string;
  readonly #handlers: SessionHandlers;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #stop = new AbortController();
  /** Tells this process from others that have the same certificate. */
  readonly #incarnation = new Uint8Array(randomBytes(16));
  /** Another agent speaks as this node, or did a moment ago. */
  #wasRefused = false;
  #credentials: Credentials;
  #renewedAt = Number.NEGATIVE_INFINITY;
  /** When the server last did not accept the certificate, and it was to be renewed for that. */
  #disputedAt = Number.NEGATIVE_INFINITY;
  #mustRenew = false;
  #connection: NodeConnection | undefined;
  /** What the server was told of this node on this connection; `undefined`: nothing yet. */
  #told: Registration | undefined;
  #isTelling = false;
  #isSpeaking = false;
  /** Of the conversation under way: aborted when this side ends it, to begin another. */
  #conversation = new AbortController();

  constructor(options: {
    readonly url: string;
    readonly credentials: Credentials;
    readonly handlers: SessionHandlers;
    readonly clock: Clock;
    readonly logger: Logger;
  }) {
    this.#url = options.url;
    this.#credentials = options.credentials;
    this.#handlers = options.handlers;
    this.#clock = options.clock;
    this.#logger = options.logger;
  }

  /** The connection, if there is one now. */
  get connection(): NodeConnection | undefined {
    return this.#connection;
  }

  get credentials(): Credentials {
    return this.#credentials;
  }

  /** Whether the server has spoken in the conversation that is under way. */
  get isSpeaking(): boolean {
    return this.#isSpeaking;
  }

  /** What this node says of itself may have changed: the server is told until it knows, or its next conversation begins with it. */
  registrationChanged(): void {
    void this.#tell();
  }

  /** Begins the conversation anew, from the address that this host has now: the old one's connection would hang until it times out. */
  reconnect(): void {
    if (this.#connection === undefined) return;
    this.#conversation.abort();
    this.#connection.close();
  }

  /** Keeps the conversation up until {@link close}. */
  async run(): Promise<void> {
    let pause: Duration = shortestPause;
    while (!this.#stop.signal.aborted) {
      const began = this.#clock.monotonic();
      const conversation = new AbortController();
      this.#conversation = conversation;
      const failure = await this.#converse(conversation).catch(failureOf(`speak with ${this.#url}`));
      this.#connection?.close();
      this.#connection = undefined;
      this.#told = undefined;
      this.#isSpeaking = false;
      if (this.#stop.signal.aborted) return;
      if (conversation.signal.aborted) continue;
      this.#handlers.onDisconnected(failure);
      if (this.#clock.monotonic() - began > longestPause) pause = shortestPause;
      this.#wasRefused ||= failure.code === "in-use";
      const refused = failure.code === "permission-denied" || (failure.code === "unauthenticated" && !this.#disputed());
      // Spread out, so that a server that comes back is not met by all nodes at once.
      await this.#sleep(((refused ? refusedPause : pause) * (0.5 + randomInt(1_000) / 1_000)) as Duration);
      pause = Math.min(pause * 2, longestPause) as Duration;
    }
  }

  close(): void {
    this.#stop.abort();
    this.#conversation.abort();
    this.#connection?.close();
  }

  /** Returns, or throws, why it ended. */
  async #converse(conversation: AbortController): Promise<WeftError> {
    await this.#renewIfDue();
    const { vtepIpv4, vtepIpv6 } = this.#handlers.registration();
    const localAddresses = [vtepIpv4, vtepIpv6].filter((address) => address !== "") as IpAddress[];
    const connection = connectNode({ url: this.#url, credentials: this.#credentials, localAddresses });
    this.#connection = connection;
    await this.#register(connection);
    // What changed meanwhile.
    void this.#tell();
    const cancelRenewal = this.#scheduleRenewal(conversation);
    try {
      const { revision, networks, policyTenants } = this.#handlers.resume();
      const stream = connection.client.watch(
        {
          revision: BigInt(revision),
          networks: [...networks],
          policyTenants: [...policyTenants],
          reports: true,
          inParts: true,
          incarnation: this.#incarnation,
          wasRefused: this.#wasRefused,
        },
        { signal: conversation.signal },
      );
      let connected = false;
      for await (const message of stream) {
        if (!connected) {
          connected = true;
          this.#isSpeaking = true;
          this.#wasRefused = false;
          this.#handlers.onConnected(connection);
        }
        this.#actUpon(message);
        // Many messages may wait, and others with them.
        await turn();
      }
    } finally {
      cancelRenewal();
    }
    return new WeftError({
      code: "unavailable",
      attempted: `watch ${this.#url}`,
      reason: "the server ended the stream",
    });
  }

  /** Throws what goes wrong on this side as such. */
  #actUpon({ changes, revision, complete }: WatchResponse): void {
    try {
      const read = this.#readAll(changes);
      // An empty message tells a revision.
      if (changes.length > 0 && changes.every(isAside)) return;
      this.#handlers.onChanges(read, Number(revision), complete);
    } catch (error) {
      throw failureOf(`act upon what ${this.#url} told`)(error);
    }
  }

  /** What is next of a network that was announced, and whether that was all. */
  async networkPart(network: string): Promise<{ readonly changes: SessionChange[]; readonly complete: boolean }> {
    const { connection } = this;
    if (connection === undefined) throw closedError(`get a part of network ${network}`);
    const { changes, complete } = await connection.client.getNetworkPart({ network }, { timeoutMs: requestTimeout });
    return { changes: this.#readAll(changes), complete };
  }

  async #register(connection: NodeConnection): Promise<void> {
    const registration = this.#handlers.registration();
    const agent = { incarnation: this.#incarnation, wasRefused: this.#wasRefused };
    await connection.client.register({ ...registration, ...agent }, { timeoutMs: requestTimeout });
    if (this.#connection !== connection) return;
    this.#told = registration;
    this.#handlers.onRegistered();
  }

  /** Until the server of the conversation under way knows what this node is now. */
  async #tell(): Promise<void> {
    if (this.#isTelling) return;
    this.#isTelling = true;
    let pause: Duration = shortestPause;
    for (;;) {
      const connection = this.#connection;
      const { signal } = this.#conversation;
      const isToldAll = this.#told === undefined || isDeepStrictEqual(this.#told, this.#handlers.registration());
      if (connection === undefined || isToldAll || signal.aborted) break;
      const error = await this.#register(connection).then(() => undefined, failureOf(`register at ${this.#url}`));
      if (error === undefined) continue;
      await this.#sleep(pause);
      pause = Math.min(pause * 2, longestPause) as Duration;
      // With the connection gone it is no failure by itself: the next one begins with it.
      if (this.#connection === connection && !signal.aborted) this.#handlers.onNotRegistered(error);
    }
    this.#isTelling = false;
  }

  /** Whether the certificate, which the server does not accept, is renewed for that at once: it was not lately. */
  #disputed(): boolean {
    const now = this.#clock.monotonic();
    if (now - this.#disputedAt < renewAgain) return false;
    this.#disputedAt = now;
    this.#mustRenew = true;
    return true;
  }

  /** A certificate is renewed when two thirds of its life are over; the connection is then made anew with it. */
  #scheduleRenewal(conversation: AbortController): () => void {
    const wait = (): (() => void) =>
      this.#clock.after(Math.min(Math.max(this.#untilRenewal(), 1_000), longestTimer) as Duration, () => {
        if (this.#untilRenewal() > 0) {
          cancel = wait();
          return;
        }
        conversation.abort();
      });
    let cancel = wait();
    return () => cancel();
  }

  /** Milliseconds. A host whose clock is ahead finds each new certificate old: it is renewed twelve times in its life at most. */
  #untilRenewal(): number {
    const { from, until } = certificateValidity(this.#credentials.certificate);
    const byWallClock = from + ((until - from) * 2) / 3 - this.#clock.now();
    return Math.max(byWallClock, this.#renewedAt + (until - from) / 24 - this.#clock.monotonic());
  }

  async #renewIfDue(): Promise<void> {
    if (!this.#mustRenew && this.#untilRenewal() > 0) return;
    this.#mustRenew = false;
    const connection = connectNode({ url: this.#url, credentials: this.#credentials });
    try {
      this.#credentials = await renewCertificate(connection.client, this.#credentials);
      this.#renewedAt = this.#clock.monotonic();
      this.#handlers.onRenewed(this.#credentials);
    } finally {
      connection.close();
    }
  }

  #readAll(changes: readonly WatchChange[]): SessionChange[] {
    return changes.flatMap((change) => this.#read(change));
  }

  #read(message: WatchChange): SessionChange[] {
    const { change } = message;
    switch (change.case) {
      case "networkBegin":
        return this.#accept(networkState.fromMessage(change.value), (state): SessionChange[] => [
          { kind: "network-begin", name: state.network.name },
          { kind: "network", state },
        ]);
      case "networkFollows":
        return this.#accept(networkState.fromMessage(change.value), (state): SessionChange[] => [
          { kind: "network-follows", state },
        ]);
      case "network":
        return this.#accept(networkState.fromMessage(change.value), (state) => [{ kind: "network", state }]);
      case "networkRemoved":
        return [{ kind: "network-removed", name: change.value }];
      case "endpoint":
        return this.#accept(kinds.endpoint.fromMessage(change.value), (endpoint) => [{ kind: "endpoint", endpoint }]);
      case "endpointRemoved":
        return [{ kind: "endpoint-removed", network: change.value.network, id: change.value.id }];
      case "block":
        return this.#accept(kinds.block.fromMessage(change.value), (block) => [{ kind: "block", block }]);
      case "blockRemoved":
        return [{ kind: "block-removed", network: change.value.network, cidr: change.value.cidr as Cidr }];
      case "node":
        return this.#accept(kinds.node.fromMessage(change.value), (node) => [{ kind: "node", node }]);
      case "nodeRemoved":
        return [{ kind: "node-removed", name: change.value }];
      case "nodesBegin":
        return [{ kind: "nodes-begin" }];
      case "policiesBegin":
        return [{ kind: "policies-begin", tenant: change.value }];
      case "policiesResumed":
        return [{ kind: "policies-resumed", tenant: change.value }];
      case "policiesRemoved":
        return [{ kind: "policies-removed", tenant: change.value }];
      case "policy":
        return this.#accept(kinds.policy.fromMessage(change.value), (policy) => [{ kind: "policy", policy }]);
      case "policyRemoved":
        return [{ kind: "policy-removed", tenant: change.value.tenant, name: change.value.name }];
      case "policyMember":
        return this.#accept(policyMember.fromMessage(change.value), (member) => [{ kind: "policy-member", member }]);
      case "policyMemberRemoved": {
        const { tenant, network, id } = change.value;
        return [{ kind: "policy-member-removed", tenant, network, id }];
      }
      case "pod":
        return this.#accept(kinds.pod.fromMessage(change.value), (pod) => [{ kind: "pod", pod }]);
      case "podRemoved":
        return [{ kind: "pod-removed", name: change.value }];
      case "agentRefused":
        this.#handlers.onOtherRefused(change.value);
        return [];
      case "reportNow":
        this.#handlers.onReportWanted();
        return [];
      case "asked":
        this.#handlers.onAsked(change.value);
        return [];
      default:
        return [];
    }
  }

  /** One thing that this version cannot read does not keep the rest from being done. */
  #accept<Value>(result: Result<Value, WeftError>, use: (value: Value) => SessionChange[]): SessionChange[] {
    if (result.ok) return use(result.value);
    this.#logger.error({ error: result.error.message }, "the server sent what this agent cannot read");
    return [];
  }

  #sleep(duration: Duration): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        cancel();
        this.#stop.signal.removeEventListener("abort", wake);
        resolve();
      };
      const cancel = this.#clock.after(duration, wake);
      this.#stop.signal.addEventListener("abort", wake, { once: true });
    });
  }
}

/** Says nothing of the state, and makes no revision of it. */
function isAside({ change }: WatchChange): boolean {
  return change.case === "agentRefused" || change.case === "reportNow" || change.case === "asked";
}

function closedError(attempted: string): WeftError {
  return new WeftError({ code: "unavailable", attempted, reason: "the connection to the server has ended" });
}

/** As a {@link WeftError}, which most are. */
function failureOf(attempted: string): (error: unknown) => WeftError {
  return (error) =>
    error instanceof WeftError
      ? error
      : new WeftError({ code: "internal", attempted, reason: messageOf(error), cause: error });
}
