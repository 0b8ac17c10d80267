import { X509Certificate } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import type { Credentials } from "../api/clients.ts";
import type { NetworkState } from "../api/convert.ts";
import type { InPlaceProgress, WaitInPlaceRequest } from "../api/generated/weft/v1/readiness_pb.js";
import type { Clock } from "../base/clock.ts";
import { milliseconds, seconds } from "../base/duration.ts";
import { messageOf, WeftError } from "../base/errors.ts";
import type { IpAddress } from "../base/ip.ts";
import type { Logger } from "../base/logger.ts";
import { type KernelObject, NodeDataplane, nameOfObject, Problems, type Report } from "../dataplane/index.ts";
import type { Kernel, KernelNamespace } from "../dataplane/kernel.ts";
import { tenantOfNamespace } from "../dataplane/kernel-names.ts";
import { listMulticastGroups, NetworkNamespace } from "../linux/index.ts";
import type { Rate } from "../model/bandwidth.ts";
import type { Labels } from "../model/policy/index.ts";
import type { Endpoint, Network, Node } from "../model/resources.ts";
import type { UnderlaySelector } from "../model/underlay-selector.ts";
import { NetlinkSocket } from "../netlink/index.ts";
import { Attachments } from "./attach/attachments.ts";
import { DeviceAttachment } from "./attach/device.ts";
import type { AttachKinds } from "./attach/kind.ts";
import { Moves } from "./attach/moves.ts";
import { NamespaceAttachment } from "./attach/netns.ts";
import { sandboxAttachment } from "./attach/sandbox.ts";
import { CredentialsWriter } from "./credentials-writer.ts";
import { DesiredState } from "./desired-state.ts";
import { dhcpAnswers } from "./dhcp/responder.ts";
import { Diagnosis } from "./diagnosis.ts";
import { EventHistory } from "./event-history.ts";
import { EventLog } from "./event-log.ts";
import { IncomingState } from "./incoming-state.ts";
import { KeptPolicies } from "./kept-policies.ts";
import { LocalLearning } from "./learning/local-learning.ts";
import { metadataAnswers } from "./metadata/metadata-port.ts";
import { nameAnswers } from "./names/name-port.ts";
import { NetworkParts } from "./network-parts.ts";
import { Pods } from "./pods.ts";
import type { PortAnswers } from "./port-answers.ts";
import { Readiness } from "./readiness.ts";
import {
  type Attachment,
  isInPlace,
  isPodChange,
  networkOf,
  policyTenantOf,
  Replica,
  type ReplicaChange,
} from "./replica.ts";
import { agentDatabase, ReplicaWriter } from "./replica-writer.ts";
import { type Registration, Session, type SessionChange, type SessionHandlers } from "./session.ts";
import { followUnderlay, readUnderlay, type UnderlayState } from "./underlay.ts";
import { wayEvent } from "./way-events.ts";

export interface AgentOptions {
  readonly kernel: Kernel;
  readonly server: string;
  readonly credentials: Credentials;
  readonly node: string;
  readonly instance: string;
  readonly underlay: readonly UnderlaySelector[];
  /** What networks share of the underlay; absent: they send as they come. */
  readonly underlayBandwidth?: Rate;
  readonly dataDirectory: string;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** How long an attachment waits for the server's state to arrive. */
const arrivalTimeout = seconds(15);
const claimLater = seconds(5);
const firstWordPatience = seconds(5);
const lookInterval = seconds(10);
/** Changes of the underlay come in groups. */
const shortestUnderlayPause = milliseconds(200);

/** Who waits for the state of a revision, and for all of a network. */
interface Waiting {
  readonly network: string;
  readonly revision: number;
  readonly resolve: () => void;
  readonly onProgress: () => void;
}

/** The node agent: keeps the kernel of this node as the server says, and as it last said while it cannot be reached. */
export class Agent {
  readonly options: AgentOptions;
  readonly events: EventLog;
  readonly dataplane: NodeDataplane;
  /** What is not as it should be apart from the kernel. */
  readonly problems: Problems;
  readonly desired: DesiredState;
  readonly attachments: Attachments;
  readonly moves: Moves;
  readonly learning: LocalLearning;
  /** What endpoints are answered at their ports. */
  readonly answers: readonly PortAnswers[];
  readonly readiness: Readiness;
  readonly diagnosis: Diagnosis;
  readonly pods = new Pods();
  readonly attached = new Map<string, Attachment>();
  /** By the clock that never goes back. */
  readonly startedAt: number;
  readonly #report: Report;
  readonly #history: EventHistory;
  readonly #replica: Replica;
  readonly #writer: ReplicaWriter;
  readonly #credentialsWriter: CredentialsWriter;
  readonly #underlayNamespace: KernelNamespace;
  readonly #underlaySocket: NetlinkSocket;
  readonly #session: Session;
  #underlay: UnderlayState;
  #serverError: WeftError | undefined;
  #connected = false;
  readonly #incoming = new IncomingState();
  /** Networks that the server let go and this node did not, because endpoints here are unclaimed. */
  readonly #keptNetworks = new Set<string>();
  readonly #keptPolicies = new KeptPolicies();
  #claiming = false;
  /** A state arrived during a round of claims. */
  #claimsWanted = false;
  #cancelLook: () => void = () => {};
  readonly #waiting = new Set<Waiting>();
  readonly #parts = new NetworkParts({
    next: (network) => this.#session.networkPart(network),
    isFollowing: (following) => !this.#closed && this.#incoming.isFollowing(following),
    onPart: (following, changes, complete) =>
      this.#apply(this.#incoming.part(following, changes, complete), this.revision),
    onLost: (network, error) => {
      this.options.logger.warn({ network, error: messageOf(error) }, "a part of a network was lost; watching anew");
      this.#session.reconnect();
    },
  });
  #underlayCheck: Promise<void> | undefined;
  /** Something changed that the check under way may not have seen. */
  #underlayCheckWanted = false;
  #underlayPause = shortestUnderlayPause;
  #cancelUnderlayRetry: () => void = () => {};
  #closed = false;
  #onFirstWord: () => void = () => {};

  private constructor(
    options: AgentOptions,
    parts: {
      readonly replica: Replica;
      readonly namespace: KernelNamespace;
      readonly socket: NetlinkSocket;
      readonly underlay: UnderlayState;
    },
  ) {
    this.options = options;
    this.startedAt = options.clock.monotonic();
    this.#history = new EventHistory(options.dataDirectory);
    this.events = new EventLog(options.clock, this.#history);
    this.#replica = parts.replica;
    this.#underlayNamespace = parts.namespace;
    this.#underlaySocket = parts.socket;
    this.#underlay = parts.underlay;
    for (const attachment of parts.replica.attachments()) this.attached.set(attachment.id, attachment);
    this.#report = (event) => {
      this.events.add(event);
      options.logger[event.level === "error" ? "error" : event.level === "warning" ? "warn" : "info"](
        { object: nameOfObject(event.object), kind: event.kind },
        event.message,
      );
    };
    this.problems = new Problems(this.#report, options.clock);
    this.dataplane = new NodeDataplane({
      kernel: options.kernel,
      instance: options.instance,
      underlay: parts.namespace,
      ...(options.underlayBandwidth === undefined ? {} : { underlayBandwidth: options.underlayBandwidth }),
      clock: options.clock,
      report: this.#report,
      onTraffic: (event) => this.learning.onTraffic(event),
      onTrafficMissed: () => this.learning.onTrafficMissed(),
      onPass: (moment, tenant) => {
        this.readiness.onPass(moment, tenant);
        if (moment === "ended" && tenant !== undefined) for (const each of this.answers) each.portsChanged(tenant);
      },
    });
    this.#writer = new ReplicaWriter(parts.replica, this.dataplane.problems, options.clock);
    const { dataDirectory: directory, node, clock } = options;
    this.#credentialsWriter = new CredentialsWriter({ directory, node, problems: this.problems, clock });
    const kinds: AttachKinds = {
      netns: new NamespaceAttachment({
        kernel: options.kernel,
        isOwnNamespace: (inode) => this.dataplane.isOwnNamespace(inode),
      }),
      device: new DeviceAttachment(parts.namespace),
      sandbox: sandboxAttachment,
    };
    this.desired = new DesiredState({
      node: options.node,
      dataplane: this.dataplane,
      attachments: this.attached,
    });
    this.readiness = new Readiness({
      desired: this.desired,
      dataplane: this.dataplane,
      clock: options.clock,
      logger: options.logger,
      client: () => (this.#connected ? this.#session.connection?.client : undefined),
    });
    this.#session = new Session({
      url: options.server,
      credentials: options.credentials,
      clock: options.clock,
      logger: options.logger,
      handlers: {
        resume: () => this.#resume(),
        registration: () => this.#registration(),
        onRegistered: () => this.problems.cleared(this.#registrationObject),
        onNotRegistered: (error) => this.#onNotRegistered(error),
        onChanges: (changes, revision, complete) => this.#onChanges(changes, revision, complete),
        onConnected: () => this.#onConnected(),
        onDisconnected: (error) => this.#onDisconnected(error),
        onRenewed: (renewed) => this.#credentialsWriter.save(renewed),
        onOtherRefused: (address) => this.#onOtherRefused(address),
        onReportWanted: () => this.readiness.hasten(),
        onAsked: (asked) => this.diagnosis.asked(asked),
      },
    });
    this.attachments = new Attachments({
      node,
      kinds,
      replica: parts.replica,
      attachments: this.attached,
      desired: this.desired,
      dataplane: this.dataplane,
      problems: this.problems,
      events: this.events,
      logger: options.logger,
      clock: options.clock,
      connection: () => (this.#connected ? this.#session.connection : undefined),
      reached: (network, revision) => this.#reached(network, revision),
      // What becomes of the attachment is written after it, and durable.
      apply: (change) => this.#apply([change], this.revision, false),
      claimSoon: () => {
        if (this.#connected) void this.#claimAgain();
      },
    });
    this.moves = new Moves({
      node,
      attachments: this.attachments,
      attached: this.attached,
      desired: this.desired,
      dataplane: this.dataplane,
      events: this.events,
      problems: this.problems,
      logger: options.logger,
      clock: options.clock,
      connection: () => (this.#connected ? this.#session.connection : undefined),
    });
    this.learning = new LocalLearning({
      desired: this.desired,
      dataplane: this.dataplane,
      clock: options.clock,
      logger: options.logger,
      report: (event) => {
        this.events.add(event);
        options.logger.info({ object: nameOfObject(event.object), kind: event.kind }, event.message);
      },
      connection: () => (this.#connected ? this.#session.connection : undefined),
      revision: () => this.revision,
    });
    const ports = { desired: this.desired, dataplane: this.dataplane, problems: this.problems, clock: options.clock };
    this.answers = [
      dhcpAnswers({ ...ports, random: Math.random, report: this.#report }),
      metadataAnswers({ ...ports, random: Math.random, userDataOf: (id) => this.attached.get(id)?.userData }),
      nameAnswers({ ...ports, names: this.desired.names, random: Math.random }),
    ];
    this.diagnosis = new Diagnosis({
      agent: this,
      host: parts.namespace,
      connection: () => (this.#connected ? this.#session.connection : undefined),
    });
    parts.replica.onRewritten = () =>
      this.#report({
        level: "warning",
        kind: "repaired",
        object: agentDatabase,
        message: "its file was deleted while the agent ran, and has been written anew",
      });
    followUnderlay(this.dataplane.underlayWatch, () => this.#underlayChanged());
  }

  /**
   * Brings this node up from what is on disk, then speaks with the server. Throws when the VTEP address is not on this
   * host or another agent holds the data directory.
   */
  static async start(options: AgentOptions): Promise<Agent> {
    const namespace = options.kernel.current();
    const socket = new NetlinkSocket({ channel: namespace.openChannel({}) });
    let replica: Replica | undefined;
    try {
      replica = new Replica(options.dataDirectory);
      replica.requireOwner({
        node: options.node,
        authority: new X509Certificate(options.credentials.caCertificate).fingerprint256,
        instance: options.instance,
      });
      const networks = [...replica.networks()].map(({ network }) => network);
      const peers = peersOf(options.node, replica.nodes(), networks);
      const underlay = await readUnderlay(socket, { selectors: options.underlay, peers });
      const agent = new Agent(options, { replica, namespace, socket, underlay });
      await agent.#begin();
      return agent;
    } catch (error) {
      replica?.close();
      socket.close();
      namespace.close();
      throw error;
    }
  }

  get underlay(): UnderlayState {
    return this.#underlay;
  }

  /** Multicast groups that this host's interfaces have joined. */
  joinedGroups(): ReturnType<typeof listMulticastGroups> {
    using own = NetworkNamespace.current();
    return listMulticastGroups(own);
  }

  /** Of the server's state that is held complete. */
  get revision(): number {
    return this.#writer.revision;
  }

  /** Whether the kernel has all that is wanted, and what is wanted is known whole. */
  get inSync(): boolean {
    return this.dataplane.inSync && this.#incoming.partial.size === 0;
  }

  get credentials(): Credentials {
    return this.#session.credentials;
  }

  /** `connecting`: this side began a new conversation, and the server has yet to speak. */
  get serverState(): { readonly state: "connected" | "connecting" | "disconnected"; readonly error: string } {
    if (!this.#connected) return { state: "disconnected", error: textOf(this.#serverError) };
    return { state: this.#session.isSpeaking ? "connected" : "connecting", error: "" };
  }

  /** What the server says of the nodes that share networks with this one. */
  waitInPlace(
    { networks, revision }: Pick<WaitInPlaceRequest, "networks" | "revision">,
    signal: AbortSignal,
  ): AsyncIterable<InPlaceProgress> {
    const { connection } = this.#session;
    if (this.#connected && connection !== undefined)
      return connection.client.waitInPlace({ networks, revision }, { signal });
    throw new WeftError({
      code: "unavailable",
      attempted: `wait for ${networks.join(", ")} to be in place on all nodes`,
      reason: "the agent has no connection to the server, which knows",
      hint: "see weft status for why",
    });
  }

  /** What policies know an endpoint of this node by, in place of what they did. */
  async setLabels(id: string, labels: Labels): Promise<void> {
    const { connection } = this.#session;
    if (this.#connected && connection !== undefined) await connection.client.setLabels({ id, labels });
    else
      throw new WeftError({
        code: "unavailable",
        attempted: `set labels of endpoint ${id}`,
        reason: "the agent has no connection to the server",
        hint: "see weft status for why",
      });
  }

  /** The kernel stays as it is. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#session.close();
    this.#writer.close();
    this.#cancelLook();
    this.#credentialsWriter.close();
    this.#cancelUnderlayRetry();
    this.moves.close();
    this.learning.close();
    for (const each of this.answers) each.close();
    this.diagnosis.close();
    this.readiness.close();
    await this.dataplane.close();
    this.attachments.close();
    this.#replica.close();
    this.#underlaySocket.close();
    this.#underlayNamespace.close();
    this.#history.close();
  }

  async #begin(): Promise<void> {
    await this.#useUnderlay(this.#underlay);
    this.#tellRemarks();
    this.attachments.abandonPending();
    this.#writer.forgetPartial();
    const isKnown = this.#replica.revision > 0 && this.#load();
    void this.#session.run();
    if (isKnown) {
      const isAnythingAttached = [...this.attached.values()].some(isInPlace);
      if (isAnythingAttached && !(await this.#hasAnything())) await this.#firstWord();
      this.learning.desiredChanged();
      this.#dataplaneChanged(this.dataplane.start());
    }
    this.#lookAfterDatabase();
  }

  /** Whether the kernel has anything of this node's. After a start of the host it has not. */
  async #hasAnything(): Promise<boolean> {
    const { kernel, instance } = this.options;
    return (await kernel.listNamed()).some((name) => tenantOfNamespace(instance, name) !== undefined);
  }

  /**
   * Where nothing answers for this node's endpoints yet, they may be others' by now: the server has a moment to say so. It is not
   * waited for longer, since it may be a container here.
   */
  async #firstWord(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#onFirstWord = resolve;
    const cancel = this.options.clock.after(firstWordPatience, resolve);
    // Nothing else keeps the process alive yet: timers of the clock do not.
    const alive = setInterval(() => {}, lookInterval);
    await promise;
    clearInterval(alive);
    cancel();
  }

  /** Somebody may delete the file while nothing is written. */
  #lookAfterDatabase(): void {
    this.#cancelLook = this.options.clock.after(lookInterval, () => {
      if (!this.#replica.isInPlace) this.#writer.write();
      this.#lookAfterDatabase();
    });
  }

  /** Takes up the last state that the server told, if it is whole. */
  #load(): boolean {
    for (const change of this.#replica.state()) {
      if (change.kind === "network") this.#requireVtepFor(change.state.network);
      if (isPodChange(change)) this.pods.apply(change);
      else this.desired.apply(change);
    }
    if (this.#replica.damagedRows === 0) return true;
    // What is missing must not be taken for what is not wanted: the kernel stays as it is until the server has spoken.
    this.options.logger.error(
      { rows: this.#replica.damagedRows },
      "the state on disk is damaged; waiting for the server",
    );
    this.#writer.distrust();
    return false;
  }

  #requireVtepFor({ name, underlay }: Network): void {
    if (this.#underlay.vteps[underlay] !== undefined) return;
    throw new WeftError({
      code: "failed-precondition",
      attempted: "start the agent",
      reason: `network ${name}, which has endpoints on this node, runs over ${underlay}, and --underlay has no such address`,
      hint: "give an address of that family, too: --underlay IPV4,IPV6",
    });
  }

  #resume(): ReturnType<SessionHandlers["resume"]> {
    this.#incoming.begin();
    const whole = [...this.desired.networks.keys()].filter((name) => !this.#incoming.partial.has(name));
    const policyTenants = [...this.desired.policyTenants];
    return { revision: this.revision, networks: this.revision > 0 ? whole : [], policyTenants };
  }

  #registration(): Registration {
    const { vteps, mtu } = this.#underlay;
    return { vtepIpv4: vteps.ipv4 ?? "", vtepIpv6: vteps.ipv6 ?? "", underlayMtu: mtu };
  }

  #onChanges(received: readonly SessionChange[], revision: number, complete: boolean): void {
    this.#incoming.add(received);
    if (!complete) return;
    this.#parts.follow(this.#incoming.following);
    const told = this.#incoming.complete({
      endpointIdsOf: (network) => this.#replica.endpointIdsOf(network),
      blockCidrsOf: (network) => this.#replica.blockCidrsOf(network),
      nodeNames: () => this.desired.nodes.keys(),
      podNames: () => this.pods.names,
      policiesOf: (tenant) => this.desired.policiesOf(tenant),
    });
    const changes = this.#keptPolicies.settle(told);
    const lost = this.attachments.lostBy(changes);
    // A server whose revision went back was restored from an older copy: it did not release, it forgot.
    const forgotten = lost.filter((endpoint) => revision < this.revision || this.attachments.isUnclaimed(endpoint));
    if (forgotten.length === 0) this.#apply(changes, revision);
    else this.#keep(forgotten, changes, revision);
    for (const endpoint of lost)
      if (!forgotten.includes(endpoint)) this.attachments.forget(endpoint, "the server released it");
    this.#onFirstWord();
    this.attachments
      .settleWithServer()
      .then(() => this.#claimAgain())
      .then(() => this.moves.look())
      .catch((error: unknown) =>
        this.options.logger.error({ error: messageOf(error) }, "settling with the server failed"),
      );
  }

  /** The endpoints stay as they are, and so do their networks, until the server has accepted or refused them. */
  #keep(forgotten: readonly Endpoint[], changes: readonly ReplicaChange[], revision: number): void {
    const ids = new Set(forgotten.map((endpoint) => endpoint.id));
    const networks = new Set(forgotten.map((endpoint) => endpoint.network));
    this.options.logger.warn(
      { endpoints: [...ids] },
      "the server does not know endpoints of this node; claiming them again",
    );
    this.attachments.markUnclaimed(forgotten);
    const tenants = new Set(
      forgotten.flatMap(({ network }) => this.desired.networks.get(network)?.network.tenant ?? []),
    );
    const applied = this.#keptPolicies.keep(changes, tenants).filter((change) => {
      if (change.kind === "endpoint-removed") return !ids.has(change.id);
      if (change.kind !== "network-removed" || !networks.has(change.name)) return true;
      this.#keptNetworks.add(change.name);
      return false;
    });
    this.#apply(applied, revision);
  }

  /** One round at a time: each claim that is accepted brings a new state, and with it the wish for another round. */
  async #claimAgain(): Promise<void> {
    if (this.#claiming) {
      this.#claimsWanted = true;
      return;
    }
    this.#claiming = true;
    try {
      do {
        this.#claimsWanted = false;
        await this.#claimOnce();
      } while (this.#claimsWanted);
    } finally {
      this.#claiming = false;
    }
    // A broken connection begins the next round when it is made again; a request that failed by itself does not.
    if (this.#connected && this.attachments.hasUnclaimed)
      this.options.clock.after(claimLater, () => void this.#claimAgain());
  }

  async #claimOnce(): Promise<void> {
    const refused = await this.attachments.claimAgain();
    const gone: ReplicaChange[] = refused.map(({ endpoint: { network, id } }) => ({
      kind: "endpoint-removed",
      network,
      id,
    }));
    if (gone.length > 0) this.#apply(gone, this.revision);
    for (const { endpoint, reason } of refused) this.attachments.forget(endpoint, reason);
    for (const name of this.#keptNetworks) {
      if (this.attachments.hasAny(name)) continue;
      this.#keptNetworks.delete(name);
      const tenant = this.desired.networks.get(name)?.network.tenant ?? "";
      const others = [...this.desired.networks.values()].filter(({ network }) => network.name !== name);
      const isLast = others.every(({ network }) => network.tenant !== tenant);
      const policies = isLast ? this.#keptPolicies.gone(tenant) : [];
      this.#apply([{ kind: "network-removed", name }, ...policies], this.revision);
    }
  }

  /** `isDurable`: also without what is written next. */
  #apply(changes: readonly ReplicaChange[], revision: number, isDurable = true): void {
    for (const change of changes) {
      if (change.kind === "network") this.#noteWay(change.state);
      if (isPodChange(change)) this.pods.apply(change);
      else this.desired.apply(change);
    }
    const { partial } = this.#incoming;
    const isWhole = (change: ReplicaChange): boolean => !partial.has(networkOf(change) ?? "");
    this.readiness.told(changes.filter(isWhole), revision);
    // The ways to nodes that came, or went, decide the MTU, too.
    if (changes.some(({ kind }) => kind.startsWith("node") || kind === "network")) this.#underlayChanged();
    // Whole it is only once the server has said so: what this node gives out by itself starts nothing.
    const isFirst = this.revision === 0 && revision > 0;
    const isOfPods = changes.length > 0 && changes.every(isPodChange);
    const kernel = isFirst
      ? this.dataplane.start()
      : isOfPods
        ? Promise.resolve()
        : this.dataplane.changed(this.#onlyTenantOf(changes.filter((change) => !isPodChange(change))));
    // The kernel is under way; the disk follows in the same turn. Whoever starts again holds what has a network there.
    const saved = changes.filter((change) => change.kind !== "network" || isWhole(change));
    this.#writer.save(saved, revision, isDurable && (saved.length === 0 || saved.some(isWhole)));
    this.learning.desiredChanged();
    for (const waiting of this.#waiting)
      if (waiting.revision <= revision && !partial.has(waiting.network)) {
        this.#waiting.delete(waiting);
        waiting.resolve();
      } else waiting.onProgress();
    this.#dataplaneChanged(kernel);
  }

  /** The tenant whose endpoints, blocks and policies alone these changes are of; `undefined`: there is more to them. */
  #onlyTenantOf(changes: readonly ReplicaChange[]): string | undefined {
    if (changes.some(({ kind }) => kind.startsWith("network") || kind.startsWith("node"))) return undefined;
    const tenants = new Set(
      changes.map(
        (change) => policyTenantOf(change) ?? this.desired.networks.get(networkOf(change) ?? "")?.network.tenant,
      ),
    );
    return tenants.size === 1 ? [...tenants][0] : undefined;
  }

  #noteWay(state: NetworkState): void {
    const event = wayEvent(this.desired.networks.get(state.network.name), state);
    if (event !== undefined) this.events.add(event);
  }

  #dataplaneChanged(pass: Promise<void>): void {
    pass
      .then(() => {
        this.learning.dataplaneChanged();
        this.moves.look();
      })
      .catch((error: unknown) => this.options.logger.error({ error: messageOf(error) }, "the dataplane failed"));
  }

  #onConnected(): void {
    // A conversation that this side began anew was no loss of the connection.
    if (!this.#connected) {
      const message = `connected to ${this.options.server}`;
      this.events.add({ level: "info", kind: "connected", object: { kind: "server" }, message });
      this.options.logger.info({ server: this.options.server }, "connected");
    }
    this.#connected = true;
    this.#serverError = undefined;
    this.problems.cleared(this.#identityObject);
    this.learning.connected();
    this.readiness.connected();
  }

  /** Something that the operator should know and nothing needs to be done about. */
  notice(object: KernelObject, message: string): void {
    this.#report({ level: "warning", kind: "adjusted", object, message });
  }

  get #identityObject(): KernelObject {
    return { kind: "identity of node", key: this.options.node };
  }

  get #registrationObject(): KernelObject {
    return { kind: "registration of node", key: this.options.node };
  }

  #onNotRegistered({ code, reason, hint }: WeftError): void {
    const { vtepIpv4, vtepIpv6, underlayMtu } = this.#registration();
    const vteps = [vtepIpv4, vtepIpv6].filter((address) => address !== "").join(", ");
    const attempted = `tell the server that node ${this.options.node} has VTEP ${vteps} and underlay MTU ${underlayMtu}`;
    const again = "it is told again until it knows; networks keep the MTU of before";
    this.problems.failed(
      this.#registrationObject,
      new WeftError({ code, attempted, reason: `${reason}; ${again}`, hint: hint ?? "see the server's log" }),
    );
  }

  #onOtherRefused(address: string): void {
    const message = `another host, ${address}, tried to be node ${this.options.node} and was refused: it has a copy of this node's data directory`;
    this.events.add({ level: "error", kind: "refused", object: this.#identityObject, message });
    this.options.logger.error({ address, object: nameOfObject(this.#identityObject) }, message);
  }

  #onDisconnected(error: WeftError): void {
    const isNews = this.#connected || this.#serverError?.message !== error.message;
    this.#connected = false;
    this.#serverError = error;
    // What only somebody can mend is a problem; that the server is away is none.
    if (error.code === "in-use")
      this.problems.failed(this.#identityObject, new Error(`${error.message}; try: ${error.hint}`));
    if (!isNews) return;
    this.events.add({ level: "warning", kind: "disconnected", object: { kind: "server" }, message: textOf(error) });
    this.options.logger.warn(
      { server: this.options.server, error: textOf(error) },
      "not connected; the dataplane stays as it is",
    );
  }

  /** The state of at least this revision is complete here, and so is the network. Gives up when nothing comes any more. */
  async #reached(network: string, revision: number): Promise<void> {
    if (this.revision >= revision && !this.#incoming.partial.has(network)) return;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const giveUp = (): void =>
      reject(
        new WeftError({
          code: "unavailable",
          attempted: `wait for revision ${revision}`,
          reason: `the server's state did not arrive within ${arrivalTimeout / 1000} s`,
          hint: "see weft status for the connection to the server",
        }),
      );
    const arm = (): (() => void) => this.options.clock.after(arrivalTimeout, giveUp);
    let cancel = arm();
    const onProgress = (): void => {
      cancel();
      cancel = arm();
    };
    const waiting: Waiting = { network, revision, resolve, onProgress };
    this.#waiting.add(waiting);
    try {
      await promise;
    } finally {
      cancel();
      this.#waiting.delete(waiting);
    }
  }

  async #useUnderlay(underlay: UnderlayState): Promise<void> {
    const addresses = [underlay.vteps.ipv4, underlay.vteps.ipv6].filter((address) => address !== undefined);
    await this.dataplane.setUnderlay(addresses, underlay.interfaceIndex);
    // What failed before is a difference to the next check still.
    this.#underlay = underlay;
    this.desired.setUnderlay(underlay);
  }

  /** An interface, an address, a route or a node changed: the MTU may have, and with it everyone's. */
  #underlayChanged(): void {
    if (this.#underlayCheck !== undefined) {
      this.#underlayCheckWanted = true;
      return;
    }
    this.#underlayCheckWanted = false;
    this.#underlayCheck = this.#checkUnderlay()
      .then(() => this.dataplane.problems.cleared(vtepAddress))
      .catch((error: unknown) => {
        this.dataplane.problems.failed(vtepAddress, error instanceof Error ? error : new Error(messageOf(error)));
        // What it failed for need not be something that the kernel tells of.
        this.#cancelUnderlayRetry();
        if (this.#closed) return;
        this.#cancelUnderlayRetry = this.options.clock.after(lookInterval, () => this.#underlayChanged());
      })
      .finally(() => {
        this.readiness.problemsChanged();
        this.#underlayCheck = undefined;
        if (this.#underlayCheckWanted && !this.#closed) this.#underlayChanged();
      });
  }

  async #checkUnderlay(): Promise<void> {
    const { clock } = this.options;
    await new Promise<void>((resolve) => clock.after(this.#underlayPause, resolve));
    if (this.#closed) return;
    // What changes from here on is looked at once more.
    this.#underlayCheckWanted = false;
    const began = clock.monotonic();
    const before = this.#underlay;
    const peers = peersOf(
      this.options.node,
      this.desired.nodes.values(),
      Array.from(this.desired.networks.values(), ({ network }) => network),
    );
    const underlay = await readUnderlay(this.#underlaySocket, { selectors: this.options.underlay, peers, before });
    // A routing daemon may change thousands of routes each second: looking at them takes a small part of the time.
    const cost = clock.monotonic() - began;
    this.#underlayPause = milliseconds(Math.max(shortestUnderlayPause, cost * 20));
    if (this.#closed || isDeepStrictEqual(underlay, before)) return;
    const { vteps, mtu, interfaceName } = underlay;
    if (isDeepStrictEqual(placeOf(underlay), placeOf(before))) {
      // Some device of the host came or went that carries no tunnel, or a VTEP came onto a link or left it.
      this.#underlay = underlay;
      this.desired.setUnderlay(underlay);
    } else {
      this.options.logger.info({ vteps, mtu, interface: interfaceName }, "the underlay changed");
      await this.#useUnderlay(underlay);
    }
    this.#tellRemarks(before.remarks);
    this.#dataplaneChanged(this.dataplane.changed());
    // Each conversation begins with what this node is; one that goes on is told.
    if (!isDeepStrictEqual(vteps, before.vteps)) this.#session.reconnect();
    else this.#session.registrationChanged();
  }

  /** What speaks against VTEP addresses that are used all the same, unless it was told `before`. */
  #tellRemarks(before: readonly string[] = []): void {
    for (const message of this.#underlay.remarks) {
      if (before.includes(message)) continue;
      this.events.add({ level: "warning", kind: "adjusted", object: vtepAddress, message });
      this.options.logger.warn({ object: nameOfObject(vtepAddress) }, message);
    }
  }
}

const vtepAddress: KernelObject = { kind: "VTEP address" };

/** What of the underlay the dataplane itself rests on. */
function placeOf({ vteps, mtu, interfaceIndex, interfaceName }: UnderlayState): object {
  return { vteps, mtu, interfaceIndex, interfaceName };
}

/** The VTEP addresses that this node sends to, or may. */
export function peersOf(
  self: string,
  nodes: Iterable<Node>,
  networks: readonly Pick<Network, "vteps">[],
): Set<IpAddress> {
  const peers = new Set<IpAddress>(networks.flatMap(({ vteps }) => vteps));
  for (const { name, vtepAddresses } of nodes) {
    if (name === self) continue;
    for (const address of [vtepAddresses.ipv4, vtepAddresses.ipv6]) if (address !== undefined) peers.add(address);
  }
  return peers;
}

/** The error with what to do next: whoever reads it has no other place to find that. */
function textOf(error: WeftError | undefined): string {
  return error === undefined ? "" : `${error.message}${error.hint === undefined ? "" : `; try: ${error.hint}`}`;
}
