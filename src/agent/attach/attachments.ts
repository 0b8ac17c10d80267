import { randomBytes } from "node:crypto";
import type { NodeConnection } from "../../api/clients.ts";
import { given } from "../../api/codec.ts";
import { kinds } from "../../api/kinds.ts";
import type { Cidr } from "../../base/cidr.ts";
import type { Clock } from "../../base/clock.ts";
import { seconds } from "../../base/duration.ts";
import { type ErrorCode, messageOf, WeftError } from "../../base/errors.ts";
import type { IpAddress } from "../../base/ip.ts";
import type { Logger } from "../../base/logger.ts";
import { unwrap } from "../../base/result.ts";
import type { DesiredNetwork, KernelObject, NodeDataplane, Problems } from "../../dataplane/index.ts";
import type { Bandwidth } from "../../model/bandwidth.ts";
import { longestUserData } from "../../model/dhcp.ts";
import { formatProblem } from "../../model/problem.ts";
import { type PublishedPort, publishedPortText } from "../../model/published-port.ts";
import { declaredIps, type Endpoint } from "../../model/resources.ts";
import { parseBandwidth } from "../../model/schema.ts";
import type { DesiredState } from "../desired-state.ts";
import type { EventLog } from "../event-log.ts";
import {
  type Attachment,
  type AttachmentPlace,
  type ExternalPlace,
  hasPort,
  isInPlace,
  type Replica,
  type ReplicaChange,
} from "../replica.ts";
import { isOfAll, restsOn } from "../rests-on.ts";
import { parseAllowedAddresses } from "./allowed-addresses.ts";
import { AttachmentWriter } from "./attachment-writer.ts";
import { claimFromBlocks } from "./claim-from-blocks.ts";
import {
  type AttachKinds,
  type AttachRequest,
  type AttachTarget,
  type HoldRequest,
  interfaceOf,
  kindOf,
  placeText,
} from "./kind.ts";
import { parsePublished, requireFree, requirePublishable } from "./published.ts";
import { TurnTaking } from "./turn-taking.ts";

export interface AttachmentsOptions {
  /** This node. */
  readonly node: string;
  readonly kinds: AttachKinds;
  readonly replica: Replica;
  readonly attachments: Map<string, Attachment>;
  readonly desired: DesiredState;
  readonly dataplane: NodeDataplane;
  /** What is not as it should be apart from the kernel. */
  readonly problems: Problems;
  readonly events: EventLog;
  readonly logger: Logger;
  readonly clock: Clock;
  /** The connection to the server, if there is one now. */
  readonly connection: () => NodeConnection | undefined;
  /** Resolves when the state of at least this revision is complete here, and all of the network with it. */
  readonly reached: (network: string, revision: number) => Promise<void>;
  /** Takes over, in memory and on disk, what holds on this node though the server has not said it. */
  readonly apply: (change: ReplicaChange) => void;
  /** Lets the server hear soon of endpoints that it does not know. */
  readonly claimSoon: () => void;
}

const requestTimeout = seconds(10);
const settleAgain = seconds(5);
const claimsAtOnce = 32;
/** Who asks for a release by its owner's name, such as a container runtime, waits no longer than this for the server. */
const releasePatience = seconds(1);
/** Passes of the dataplane that an attachment waits for; one does unless others are attached at the same time. */
const mostPasses = 10;

/** What is to be attached, once its place has been found fit. */
interface Claim
  extends Pick<AttachRequest, "network" | "mac" | "ips" | "labels" | "movable" | "owner" | "patience" | "signal">,
    Pick<Attachment, "place" | "allowedAddresses" | "bandwidth" | "userData" | "published">,
    Pick<Endpoint, "attachment"> {
  readonly attempted: string;
  /** The endpoint is on another node, and this one stands by for it. */
  readonly prepared?: Endpoint;
}

/** With these the server says that it will not have the claim as it is; with any other that it could not take it now. */
const finalRefusals: ReadonlySet<ErrorCode> = new Set(["invalid-argument", "not-found", "already-exists"]);

/** Attaches endpoints and takes them away again: whole, or not at all. */
export class Attachments {
  readonly #options: AttachmentsOptions;
  /** The addresses that were last chosen here, by subnet. */
  readonly #lastChosen = new Map<Cidr, IpAddress>();
  readonly #turns = new TurnTaking();
  /** Keys of spots where something is being attached now. */
  readonly #busy = new Set<string>();
  /** Endpoints that are being attached with addresses of this node's blocks: the server has not heard of them. */
  readonly #claimedHere = new Set<string>();
  /** Endpoints of other nodes that are being made ready for, and not attached yet. */
  #preparing = 0;
  readonly #writer: AttachmentWriter;
  #releasing: Promise<void> | undefined;

  constructor(options: AttachmentsOptions) {
    this.#options = options;
    this.#writer = new AttachmentWriter(options);
    const { attachments, kinds: ways } = options;
    for (const attachment of attachments.values())
      if (hasPort(attachment)) {
        const { id, place } = attachment;
        attachments.set(id, { ...attachment, place: kindOf(ways, place).current(place) });
      }
  }

  /**
   * Resolves when packets can flow on this node, or could as soon as it takes the endpoint over. Nothing stays behind when it
   * rejects.
   */
  async attach(request: AttachRequest): Promise<Endpoint> {
    const { standby = "" } = request;
    if (standby === "") return this.#attach(request);
    const attempted = attemptOf(request);
    if (request.mac !== "" || request.ips.length > 0 || Object.keys(request.labels).length > 0)
      throw new WeftError({
        code: "invalid-argument",
        attempted,
        reason: "an endpoint that is taken over keeps its MAC, addresses and labels; found one of them beside it",
        hint: "name the endpoint alone",
      });
    // What cannot be attached is not made ready for.
    await kindOf(this.#options.kinds, request.place).find(
      request.place,
      [...this.#options.attachments.values()],
      attempted,
    );
    this.#preparing++;
    try {
      const prepared = await this.#prepare(request, standby, attempted);
      const endpoint = await this.#attach(request, prepared, () => this.#unprepare(prepared));
      // From here on what it sends is welcome to others.
      await this.#connection(attempted)
        .client.awaitStandby({ id: endpoint.id }, { timeoutMs: requestTimeout })
        .catch((error: unknown) =>
          this.#options.logger.warn({ endpoint: endpoint.id, error: messageOf(error) }, "not all nodes may know yet"),
        );
      return endpoint;
    } finally {
      this.#preparing--;
    }
  }

  /** As {@link attach}, of an endpoint that this node stands by for already. `onFailed` is called before anything is given back. */
  async attachPrepared(
    request: AttachRequest,
    endpoint: Endpoint,
    onFailed: (error: unknown) => Promise<void>,
  ): Promise<void> {
    await this.#attach(request, endpoint, onFailed).catch(() => {});
  }

  /** What an administrator has said stays said. */
  async #unprepare({ id, movable }: Endpoint): Promise<void> {
    if (movable === true)
      await this.#options.connection()?.client.declineEndpoint({ id }, { timeoutMs: requestTimeout });
  }

  /** Whether something that was made ready may be about to be attached. */
  get isPreparing(): boolean {
    return this.#preparing > 0;
  }

  /** What the server is told of such a place. */
  kindNameOf(place: AttachmentPlace): Exclude<Endpoint["attachment"], "learned"> {
    return place.kind === "external" ? place.kind : kindOf(this.#options.kinds, place).nameOf(place);
  }

  async #prepare({ network, signal }: AttachRequest, name: string, attempted: string): Promise<Endpoint> {
    const { endpoint: message, revision } = await this.#connection(attempted).client.prepareEndpoint(
      { network, endpoint: name },
      { timeoutMs: requestTimeout, ...(signal === undefined ? {} : { signal }) },
    );
    if (message === undefined)
      throw new WeftError({ code: "internal", attempted, reason: "the server's answer lacks the endpoint" });
    await unlessAborted(this.#options.reached(network, Number(revision)), signal);
    return unwrap(kinds.endpoint.fromMessage(message));
  }

  async #attach(
    request: AttachRequest,
    prepared?: Endpoint,
    onFailed: (error: unknown) => Promise<void> = async () => {},
  ): Promise<Endpoint> {
    try {
      return await this.#attachAt(request, prepared);
    } catch (error) {
      await onFailed(error).catch((failure: unknown) =>
        this.#options.logger.warn(
          { error: messageOf(failure) },
          "the server was not told that an endpoint cannot be taken over",
        ),
      );
      if (prepared !== undefined) await this.#release(prepared.id, false);
      throw error;
    }
  }

  async #attachAt(request: AttachRequest, prepared: Endpoint | undefined): Promise<Endpoint> {
    const attempted = attemptOf(request);
    const { attachments } = this.#options;
    const kind = kindOf(this.#options.kinds, request.place);
    const allowedAddresses = parseAllowedAddresses(request.allowedAddresses, attempted);
    const bandwidth = bandwidthOf(request, attempted);
    const userData = userDataOf(request, attempted);
    const published = parsePublished(request.published ?? [], attempted);
    await requireFree(published, attempted);
    const spot = await kind.find(request.place, [...attachments.values()], attempted);
    const found = (): Pick<Claim, "place" | "attachment"> => {
      const place = spot.place([...attachments.values()]);
      return { place, attachment: kind.nameOf(place) };
    };
    const { network, mac, ips, labels, movable = false, owner, patience, signal } = request;
    return this.#make(spot.key, attempted, () => ({
      ...{ network, mac, ips, labels, movable, attempted, allowedAddresses, ...found() },
      ...(bandwidth === undefined ? {} : { bandwidth }),
      ...(userData === undefined ? {} : { userData }),
      ...(published.length === 0 ? {} : { published }),
      ...(owner === undefined ? {} : { owner }),
      ...(patience === undefined ? {} : { patience }),
      ...(signal === undefined ? {} : { signal }),
      ...(prepared === undefined ? {} : { prepared }),
    }));
  }

  /** Claims addresses for an interface that is not weft's, and keeps them until {@link releaseOwned}. Changes nothing in the kernel. */
  async hold({ interface: name, ...request }: HoldRequest): Promise<Endpoint> {
    const attempted = `hold addresses of network ${request.network} for ${request.owner}`;
    const place: ExternalPlace = { kind: "external", interface: name };
    return this.#make(request.owner, attempted, () => ({
      ...request,
      attempted,
      place,
      attachment: "external",
      allowedAddresses: [],
    }));
  }

  /** `key`: those that want the same place have the same. */
  async #make(key: string, attempted: string, claimOf: () => Claim): Promise<Endpoint> {
    if (this.#busy.has(key))
      throw new WeftError({ code: "already-exists", attempted, reason: "the same is being attached right now" });
    const request = claimOf();
    const { network, place, allowedAddresses, bandwidth, owner, userData, published, signal } = request;
    this.#busy.add(key);
    const { prepared } = request;
    const id = prepared?.id ?? randomBytes(6).toString("hex");
    if (this.#options.attachments.has(id)) {
      this.#busy.delete(key);
      throw new WeftError({
        code: "already-exists",
        attempted,
        reason: `endpoint ${id} is attached on this node already`,
      });
    }
    const attachment: Attachment = {
      id,
      network,
      place,
      allowedAddresses,
      ...(bandwidth === undefined ? {} : { bandwidth }),
      ...(owner === undefined ? {} : { owner }),
      ...(userData === undefined ? {} : { userData }),
      ...(published === undefined ? {} : { published }),
      state: "pending",
    };
    let here: Endpoint | undefined;
    try {
      this.#requirePublishable(attachment, attempted);
      here = prepared === undefined ? this.#claimHere(request, attachment) : undefined;
      if (prepared !== undefined) {
        this.#writer.put(attachment);
        this.#options.desired.attachmentChanged(id);
      }
      const endpoint = prepared ?? here ?? (await this.#claim(request, attachment));
      if (userData !== undefined) this.#requireMetadata(network, attempted);
      // Of one that the node did not carry nothing was known before.
      this.#requirePublishable(attachment, attempted);
      if (hasPort(attachment)) await this.#comeIntoPlace(endpoint, request);
      await this.#leadPorts(attachment, attempted);
      signal?.throwIfAborted();
      // It may have been released meanwhile.
      if (this.#options.attachments.get(id)?.state !== "pending")
        throw new WeftError({ code: "unavailable", attempted, reason: "it was released while it was being attached" });
      this.#writer.put({ ...attachment, state: here === undefined ? "attached" : "unclaimed" });
      if (here !== undefined) this.#options.claimSoon();
      this.#options.events.add({
        level: "info",
        kind: "attached",
        object: { kind: "endpoint", network, key: id },
        message: `${endpoint.ips.join(", ")} (${endpoint.mac}) ${joinedText(place)}`,
      });
      return endpoint;
    } catch (error) {
      // Who is in a hurry does not wait for the server to take back what it gave.
      const late = request.patience === undefined ? undefined : Promise.resolve();
      // Of what was made ready for the server is told first why it is given up.
      if (prepared === undefined) await this.#release(id, here !== undefined, late);
      throw error;
    } finally {
      this.#busy.delete(key);
      this.#claimedHere.delete(id);
      this.#turns.changed();
    }
  }

  #requirePublishable({ id, network, published = [] }: Attachment, attempted: string): void {
    const { attachments, desired } = this.#options;
    requirePublishable(published, desired.networks.get(network)?.network, id, attachments.values(), attempted);
  }

  /** Throws what keeps published ports from leading to the endpoint. An event of the kernel within a pass asks for another look. */
  async #leadPorts({ network, published = [] }: Attachment, attempted: string): Promise<void> {
    const { dataplane } = this.#options;
    for (let pass = 0; pass < mostPasses; pass++) {
      if (published.length === 0 || dataplane.leadsPorts(network)) return;
      const tenant = dataplane.networks.get(network)?.settings.tenant;
      await dataplane.changed(tenant);
      const problem = tenant === undefined ? undefined : dataplane.problems.get({ kind: "uplink", tenant });
      if (problem !== undefined && !dataplane.leadsPorts(network)) throw problem.error;
    }
    throw new WeftError({
      code: "internal",
      attempted,
      reason: "its ports did not come into place in time",
      hint: "see weft status for what is wrong on this node",
    });
  }

  /** Lets these ports of the node, and no others, lead to an endpoint that is attached here. Leaves all as it was when it rejects. */
  async publish(id: string, published: readonly PublishedPort[], attempted: string): Promise<void> {
    const { attachments, desired, dataplane } = this.#options;
    const before = attachments.get(id);
    if (before === undefined || !hasPort(before))
      throw new WeftError({ code: "not-found", attempted, reason: `endpoint ${id} is not attached on this node` });
    const { published: former, ...rest } = before;
    const ofFormer = new Set(former?.map(publishedPortText));
    await requireFree(
      published.filter((each) => !ofFormer.has(publishedPortText(each))),
      attempted,
    );
    const put = async (attachment: Attachment): Promise<void> => {
      this.#writer.put(attachment);
      desired.attachmentChanged(id);
      await dataplane.changed(dataplane.networks.get(attachment.network)?.settings.tenant);
    };
    const after = published.length === 0 ? rest : { ...rest, published };
    this.#requirePublishable(after, attempted);
    try {
      await put(after);
      await this.#leadPorts(after, attempted);
    } catch (error) {
      if (attachments.has(id)) await put(before);
      throw error;
    }
  }

  /** What nobody can read is not what its giver wanted. */
  #requireMetadata(network: string, attempted: string): void {
    if (this.#options.desired.networks.get(network)?.network.dhcp?.metadata === true) return;
    throw new WeftError({
      code: "failed-precondition",
      attempted,
      reason: "it has user data, and nodes of this network do not answer for metadata",
      hint: `weft network set ${network} --metadata`,
    });
  }

  #connection(attempted: string): NodeConnection {
    const connection = this.#options.connection();
    if (connection !== undefined) return connection;
    throw new WeftError({
      code: "unavailable",
      attempted,
      reason: "the agent has no connection to the server, which gives out addresses",
      hint: "see weft status for why; endpoints that are attached work on meanwhile",
    });
  }

  async #claim(request: Claim, attachment: Attachment): Promise<Endpoint> {
    const { mac, ips, labels, attempted, patience, signal } = request;
    const { id, network } = attachment;
    const answer = await this.#inServersTurn(request, () => {
      const connection = this.#connection(attempted);
      // On disk before the server hears of it: after a crash the claim is found and given back.
      this.#writer.put(attachment);
      return connection.client.createEndpoint(
        {
          id,
          network,
          attachment: request.attachment,
          mac,
          ips: [...ips],
          labels: { ...labels },
          movable: request.movable === true,
        },
        { timeoutMs: patience ?? requestTimeout, ...(signal === undefined ? {} : { signal }) },
      );
    });
    if (answer.endpoint === undefined)
      throw new WeftError({ code: "internal", attempted, reason: "the server's answer lacks the endpoint" });
    await unlessAborted(this.#options.reached(network, Number(answer.revision)), signal);
    return unwrap(kinds.endpoint.fromMessage(answer.endpoint));
  }

  /** Asks when the server has heard of all that has addresses of the network here. */
  async #inServersTurn<Answer>(
    { network, attempted, patience, signal }: Claim,
    ask: () => Promise<Answer>,
  ): Promise<Answer> {
    const { attachments, clock, claimSoon } = this.#options;
    this.#connection(attempted);
    const isUnheard = (each: Attachment): boolean =>
      each.network === network && (each.state === "unclaimed" || this.#claimedHere.has(each.id));
    const hasHeard = (): boolean => !attachments.values().some(isUnheard);
    if (!hasHeard()) claimSoon();
    let isLate = false;
    const end = (): void => {
      isLate = true;
      this.#turns.changed();
    };
    const cancel = clock.after(patience ?? requestTimeout, end);
    signal?.addEventListener("abort", end, { once: true });
    try {
      return await this.#turns.ask(
        network,
        () => isLate || hasHeard(),
        () => {
          signal?.throwIfAborted();
          if (hasHeard()) return ask();
          throw new WeftError({
            code: "unavailable",
            attempted,
            reason:
              "the server, which has to choose an address, has not heard yet of all that this node gave out by itself",
            hint: "try again; see weft status for why it takes so long",
          });
        },
      );
    } finally {
      cancel();
      signal?.removeEventListener("abort", end);
    }
  }

  /**
   * With addresses of blocks that this node has, which the server hears of later: for container runtimes, which wait, and for
   * everybody while the server cannot be asked. `undefined`: the server has to choose. Nothing is on disk of it before it is in
   * place: until then there is nobody to give back to.
   */
  #claimHere(request: Claim, attachment: Attachment): Endpoint | undefined {
    const { attachments, desired, node, apply } = this.#options;
    const isAlone = this.#options.connection() === undefined;
    const network = desired.networks.get(request.network)?.network;
    if (network?.mode !== "l3" || (request.owner === undefined && !isAlone)) return undefined;
    if (!isAlone && !this.#turns.isOwn(network.name)) return undefined;
    const part = {
      node,
      network,
      blocks: desired.ownBlocks(network.name),
      own: desired.own.values(),
      lastChosen: this.#lastChosen,
      isAlone,
    };
    const claim = claimFromBlocks({ ...request, id: attachment.id }, part, request.attempted);
    if (!claim.ok && isAlone) throw claim.error;
    if (!claim.ok) return undefined;
    attachments.set(attachment.id, attachment);
    this.#claimedHere.add(attachment.id);
    apply({ kind: "endpoint", endpoint: claim.value });
    return claim.value;
  }

  /**
   * Keeps what its owner says of an attachment: its own words, and of a sandbox where that is. Throws, and leaves all as it was, where
   * the disk does not take it.
   */
  amend(id: string, { owner, netns }: { readonly owner: string; readonly netns?: string }): void {
    const attachment = this.#options.attachments.get(id);
    if (attachment === undefined) return;
    const { place } = attachment;
    const moved = place.kind === "sandbox" && netns !== undefined ? { place: { ...place, netns } } : {};
    this.#writer.put({ ...attachment, owner, ...moved });
    this.#options.desired.attachmentChanged(id);
  }

  /** The endpoint that was there; `undefined` when there was none. The server is told now, or when it can be reached. */
  async detach(target: AttachTarget): Promise<string | undefined> {
    const { kinds: ways, attachments } = this.#options;
    const candidates = [...attachments.values()].filter((each) => each.network === target.network && isInPlace(each));
    const attachment = kindOf(ways, target.place).at(target.place, candidates);
    if (attachment === undefined) return undefined;
    await this.#release(attachment.id, attachment.state === "unclaimed");
    this.#options.events.add({
      level: "info",
      kind: "detached",
      object: { kind: "endpoint", network: target.network, key: attachment.id },
      message: `taken out of ${placeText(attachment.place)}`,
    });
    return attachment.id;
  }

  /**
   * Takes away what an owner attached, in whatever state that is. It is gone from this node then; the server has been told, or
   * will be when it answers again.
   */
  async releaseOwned({ id, network, place }: Attachment): Promise<void> {
    const { attachments, events, clock } = this.#options;
    const attachment = attachments.get(id);
    if (attachment === undefined || attachment.state === "releasing") return;
    const object = { kind: "endpoint", network, key: id };
    events.add({
      level: "info",
      kind: "detached",
      object,
      message: `${interfaceOf(place)} taken out of ${placeText(place)}`.trimStart(),
    });
    const { promise: late, resolve } = Promise.withResolvers<void>();
    const cancel = clock.after(releasePatience, resolve);
    await this.#release(id, attachment.state === "unclaimed", late);
    cancel();
  }

  /**
   * Tells the server of endpoints that are gone: those whose release it has not heard of, and those it believes here
   * that nothing on this node knows of. Called whenever the state is complete.
   */
  async settleWithServer(): Promise<void> {
    const { attachments, desired, logger } = this.#options;
    const hasReleased = attachments.values().some(({ state }) => state === "releasing");
    // What was learned hangs on nothing; it is withdrawn by whoever learned it.
    const orphans = [...desired.own.values()]
      .filter(({ id, attachment }) => attachment !== "learned" && !attachments.has(id))
      .map(({ id }) => id);
    for (const id of orphans)
      logger.warn({ endpoint: id }, "nothing is attached here for this endpoint; giving it back");
    const connection = this.#options.connection();
    if (connection === undefined || (!hasReleased && orphans.length === 0)) return;
    const before = this.#releasing;
    const send = async (): Promise<void> => {
      await before;
      // Those for which the one before was too early: many that are released at once take two requests.
      const released = [...attachments.values()].filter(({ state }) => state === "releasing");
      if (released.length === 0 && orphans.length === 0) return;
      await connection.client.deleteEndpoints(
        { ids: [...released.map((attachment) => attachment.id), ...orphans] },
        { timeoutMs: requestTimeout },
      );
      // Of those that it did not know it will not say that they are gone.
      for (const id of orphans) {
        const network = desired.own.get(id)?.network;
        if (network !== undefined && !attachments.has(id))
          this.#options.apply({ kind: "endpoint-removed", network, id });
      }
      for (const { id } of released) this.#writer.remove(id);
    };
    this.#releasing = send().catch((error: unknown) => {
      logger.warn({ error: messageOf(error) }, "the server was not told of released endpoints; trying again later");
      this.#options.clock.after(settleAgain, () => void this.settleWithServer());
    });
    await this.#releasing;
  }

  /** Attached endpoints that go with these changes. */
  lostBy(changes: readonly ReplicaChange[]): readonly Endpoint[] {
    const { attachments, desired } = this.#options;
    const lost: Endpoint[] = [];
    const look = (endpoint: Endpoint | undefined): void => {
      const attachment = endpoint === undefined ? undefined : attachments.get(endpoint.id);
      if (endpoint === undefined || attachment === undefined) return;
      if (isInPlace(attachment) || this.#claimedHere.has(endpoint.id)) lost.push(endpoint);
    };
    for (const change of changes) {
      if (change.kind === "endpoint-removed") look(desired.own.get(change.id));
      else if (change.kind === "network-removed")
        for (const endpoint of desired.own.values()) if (endpoint.network === change.name) look(endpoint);
    }
    return lost;
  }

  /** The server does not know these endpoints, and they stay: they are claimed again until it accepts or refuses. */
  markUnclaimed(endpoints: readonly Endpoint[]): void {
    for (const { id } of endpoints) {
      const attachment = this.#options.attachments.get(id);
      // Of what is being attached the end of that says so.
      if (attachment !== undefined && !this.#claimedHere.has(id))
        this.#writer.keep({ ...attachment, state: "unclaimed" });
    }
  }

  isUnclaimed(endpoint: Endpoint): boolean {
    return this.#claimedHere.has(endpoint.id) || this.#options.attachments.get(endpoint.id)?.state === "unclaimed";
  }

  get hasUnclaimed(): boolean {
    return [...this.#options.attachments.values()].some(({ state }) => state === "unclaimed");
  }

  /** What keeps every endpoint of the network from coming into place on this node; `undefined`: nothing that is known. */
  obstacle(name: string): Error | undefined {
    const { networks, problems } = this.#options.dataplane;
    const network = networks.get(name);
    return network === undefined ? undefined : problems.find((object) => keepsFrom(object, network))?.error;
  }

  /** Whether anything of the network hangs on this node. */
  hasAny(network: string): boolean {
    return [...this.#options.attachments.values()].some((each) => each.network === network && isInPlace(each));
  }

  /**
   * Claims the unclaimed endpoints with the id, MAC and addresses that they have; tells which the server refuses.
   * Those that it could not be asked about stay unclaimed.
   */
  async claimAgain(): Promise<readonly { readonly endpoint: Endpoint; readonly reason: string }[]> {
    const { attachments, desired, logger } = this.#options;
    const refused: { readonly endpoint: Endpoint; readonly reason: string }[] = [];
    // One of them may want the address that one before gave up.
    await this.#releasing;
    const claim = async (attachment: Attachment): Promise<void> => {
      const endpoint = desired.own.get(attachment.id);
      const client = this.#options.connection()?.client;
      if (endpoint === undefined || client === undefined || attachments.get(attachment.id) !== attachment) return;
      const { id, network, mac, labels } = endpoint;
      const wanted = {
        id,
        network,
        attachment: endpoint.attachment,
        mac,
        ips: [...declaredIps(endpoint)],
        labels: { ...labels },
        movable: endpoint.movable === true,
      };
      // A state of before the claim, which lacks the endpoint, may still be on its way.
      const error = await client
        .createEndpoint(wanted, { timeoutMs: requestTimeout })
        .then(({ revision }) => this.#options.reached(network, Number(revision)))
        .then(() => undefined, asError);
      // It may have been detached or amended meanwhile.
      const current = attachments.get(id);
      if (current?.state !== "unclaimed") return;
      if (error === undefined) this.#writer.keep({ ...current, state: "attached" });
      else if (error instanceof WeftError && finalRefusals.has(error.code))
        refused.push({ endpoint, reason: `the server does not know it and refuses it: ${error.reason}` });
      else logger.warn({ endpoint: id, error: error.message }, "could not claim an endpoint; trying again later");
      this.#tellClaim(endpoint, error);
      this.#turns.changed();
    };
    const unclaimed = [...attachments.values()].filter(({ state }) => state === "unclaimed");
    for (let first = 0; first < unclaimed.length; first += claimsAtOnce)
      await Promise.all(unclaimed.slice(first, first + claimsAtOnce).map(claim));
    return refused;
  }

  /** That the server is away is no problem of the endpoint's; that it does not take the claim may stay so until somebody does something. */
  #tellClaim(endpoint: Endpoint, error: Error | undefined): void {
    const { problems } = this.#options;
    if (error === undefined) problems.cleared(claimObject(endpoint));
    else if (error instanceof WeftError && error.code !== "unavailable")
      problems.failed(
        claimObject(endpoint),
        new WeftError({
          code: error.code,
          attempted: `claim endpoint ${endpoint.id} of network ${endpoint.network}, which the server does not know`,
          reason: `${error.reason}; it works on and is claimed until the server accepts or refuses it`,
          hint: error.hint ?? "see the server's log",
          cause: error,
        }),
      );
  }

  #forgetClaim(attachment: Attachment): void {
    const { kind } = claimObject(attachment);
    this.#options.problems.forget((object) => object.kind === kind && object.key === attachment.id);
  }

  /** The endpoint was taken from this node without anybody here having detached it. */
  forget(endpoint: Endpoint, reason: string): void {
    const attachment = this.#options.attachments.get(endpoint.id);
    if (attachment === undefined) return;
    this.#writer.remove(endpoint.id);
    this.#turns.changed();
    this.#forgetClaim(attachment);
    const object = { kind: "endpoint", network: endpoint.network, key: endpoint.id };
    const message = `${endpoint.ips.join(", ")} was taken out of ${placeText(attachment.place)}: ${reason}`;
    this.#options.events.add({ level: "warning", kind: "detached", object, message });
    this.#options.logger.warn({ endpoint: endpoint.id, network: endpoint.network }, message);
  }

  /** The endpoint is on another node now, or stays there: what is attached of it here goes, and the server need not be told. */
  leave({ id, network, node, ips }: Endpoint): void {
    const attachment = this.#options.attachments.get(id);
    if (attachment === undefined) return;
    this.#writer.remove(id);
    this.#turns.changed();
    this.#forgetClaim(attachment);
    this.#options.desired.attachmentChanged(id);
    void this.#options.dataplane.changed(this.#options.dataplane.networks.get(network)?.settings.tenant);
    const message = `${ips.join(", ")} is on node ${node}; taken out of ${placeText(attachment.place)}`;
    this.#options.events.add({ level: "info", kind: "moved", object: { kind: "endpoint", network, key: id }, message });
  }

  /** Attachments that no caller was told of, left by a crash, are given back. */
  abandonPending(): void {
    for (const attachment of this.#options.attachments.values())
      if (attachment.state === "pending") this.#writer.keep({ ...attachment, state: "releasing" });
  }

  /** The agent ends; what is attached stays. */
  close(): void {
    this.#writer.close();
  }

  /** `isUnknown`: to the server. `late`: when to wait for it no longer. */
  async #release(id: string, isUnknown: boolean, late?: Promise<void>): Promise<void> {
    const { attachments, desired, dataplane, apply } = this.#options;
    const attachment = attachments.get(id);
    if (attachment === undefined) return;
    this.#writer.keep({ ...attachment, state: "releasing" });
    this.#turns.changed();
    this.#forgetClaim(attachment);
    // What the server does not know it will never say to be gone. Of what it knows the addresses stay taken until it says so.
    if (isUnknown && desired.own.has(id)) apply({ kind: "endpoint-removed", network: attachment.network, id });
    else desired.attachmentChanged(id);
    await dataplane.changed(dataplane.networks.get(attachment.network)?.settings.tenant);
    const settled = this.settleWithServer();
    await (late === undefined ? settled : Promise.race([settled, late]));
  }

  /** A kernel event that tells of a moment within a pass asks for another look at the port, which is not a failure yet. */
  async #comeIntoPlace({ id, network: name }: Endpoint, { attempted, signal }: Claim): Promise<void> {
    const { dataplane } = this.#options;
    for (let pass = 0; pass < mostPasses; pass++) {
      signal?.throwIfAborted();
      await dataplane.changed(dataplane.networks.get(name)?.settings.tenant);
      const problem = dataplane.problems.get({ kind: "endpoint", network: name, key: id });
      const obstacle = problem?.error ?? this.obstacle(name);
      if (obstacle !== undefined) throw obstacle;
      if (dataplane.isPortInPlace(name, id)) return;
    }
    throw new WeftError({
      code: "internal",
      attempted,
      reason: "the endpoint did not come into place in time",
      hint: "see weft status for what is wrong on this node",
    });
  }
}

/** Whether no endpoint of the network can be attached while the object is not as it should be. */
function keepsFrom(object: KernelObject, network: DesiredNetwork): boolean {
  if (object.network !== undefined) return object.network === network.settings.name && isOfAll(network, object);
  return (object.kind === "underlay" || object.kind === "tenant") && restsOn(network, object);
}

function attemptOf({ network, place }: AttachTarget): string {
  if (place.kind === "sandbox") return `attach the interface with MAC ${place.key} to network ${network}`;
  const as = place.kind === "netns" ? ` as ${interfaceOf(place)}` : "";
  return `attach ${placeText(place)} to network ${network}${as}`;
}

function joinedText(place: AttachmentPlace): string {
  switch (place.kind) {
    case "netns":
      return `in ${placeText(place)} as ${place.interface}`;
    case "device":
      return `by ${placeText(place)}`;
    case "sandbox":
      return `for ${placeText(place)}`;
    case "external":
      return `held for ${place.interface}, which is not weft's`;
  }
}

function bandwidthOf({ bandwidth }: AttachRequest, attempted: string): Bandwidth | undefined {
  if (bandwidth === undefined) return undefined;
  const parsed = parseBandwidth(given(bandwidth));
  if (parsed.ok) return parsed.value;
  throw new WeftError({ code: "invalid-argument", attempted, reason: parsed.error.map(formatProblem).join("; ") });
}

function userDataOf({ userData }: AttachRequest, attempted: string): Uint8Array | undefined {
  if (userData === undefined || userData.length === 0) return undefined;
  if (userData.length <= longestUserData) return userData;
  throw new WeftError({
    code: "invalid-argument",
    attempted,
    reason: `its user data has ${userData.length} octets; allowed: at most ${longestUserData}`,
    hint: "compress it with gzip, which cloud-init reads, or let it fetch the rest: #include URL",
  });
}

function claimObject({ id, network }: Pick<Attachment, "id" | "network">): KernelObject {
  return { kind: "claim of endpoint", network, key: id };
}

function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(messageOf(thrown));
}

async function unlessAborted<Value>(promise: Promise<Value>, signal: AbortSignal | undefined): Promise<Value> {
  if (signal === undefined) return promise;
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const abort = (): void => reject(signal.reason);
  signal.addEventListener("abort", abort, { once: true });
  try {
    signal.throwIfAborted();
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}
