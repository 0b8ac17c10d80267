import { randomBytes } from "node:crypto";
import type { NodeConnection } from "../../api/clients.ts";
import { given } from "../../api/codec.ts";
import { kinds } from "../../api/kinds.ts";
import type { Clock } from "../../base/clock.ts";
import { seconds } from "../../base/duration.ts";
import { type ErrorCode, messageOf, WeftError } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { unwrap } from "../../base/result.ts";
import type { DesiredNetwork, KernelObject, NodeDataplane, PortPlace, Problems } from "../../dataplane/index.ts";
import type { Bandwidth } from "../../model/bandwidth.ts";
import { formatProblem } from "../../model/problem.ts";
import { declaredIps, type Endpoint } from "../../model/resources.ts";
import { parseBandwidth } from "../../model/schema.ts";
import type { DesiredState } from "../desired-state.ts";
import type { EventLog } from "../event-log.ts";
import { type Attachment, isInPlace, type Replica, type ReplicaChange } from "../replica.ts";
import { isOfAll, restsOn } from "../rests-on.ts";
import { parseAllowedAddresses } from "./allowed-addresses.ts";
import { AttachmentWriter } from "./attachment-writer.ts";
import { type AttachKinds, type AttachRequest, type AttachTarget, interfaceOf, kindOf, placeText } from "./kind.ts";

export interface AttachmentsOptions {
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
}

const requestTimeout = seconds(10);
const settleAgain = seconds(5);
/** Passes of the dataplane that an attachment waits for; one does unless others are attached at the same time. */
const mostPasses = 10;

/** With these the server says that it will not have the claim as it is; with any other that it could not take it now. */
const finalRefusals: ReadonlySet<ErrorCode> = new Set(["invalid-argument", "not-found", "already-exists"]);

/** Attaches endpoints and takes them away again: whole, or not at all. */
export class Attachments {
  readonly #options: AttachmentsOptions;
  /** Keys of spots where something is being attached now. */
  readonly #busy = new Set<string>();
  readonly #writer: AttachmentWriter;
  #releasing: Promise<void> | undefined;

  constructor(options: AttachmentsOptions) {
    this.#options = options;
    this.#writer = new AttachmentWriter(options);
    const { attachments, kinds: ways } = options;
    for (const { place, ...rest } of attachments.values())
      attachments.set(rest.id, { ...rest, place: kindOf(ways, place).current(place) });
  }

  /** Resolves when packets can flow on this node. Nothing stays behind when it rejects. */
  async attach(request: AttachRequest): Promise<Endpoint> {
    const attempted = attemptOf(request);
    const { attachments } = this.#options;
    const kind = kindOf(this.#options.kinds, request.place);
    const allowedAddresses = parseAllowedAddresses(request.allowedAddresses, attempted);
    const bandwidth = bandwidthOf(request, attempted);
    const spot = await kind.find(request.place, [...attachments.values()], attempted);
    const { key } = spot;
    const connection = this.#requireConnection(attempted);
    if (this.#busy.has(key))
      throw new WeftError({ code: "already-exists", attempted, reason: "the same is being attached right now" });
    const place = spot.place([...attachments.values()]);
    this.#busy.add(key);
    const id = randomBytes(6).toString("hex");
    try {
      // On disk before the server hears of it: after a crash the claim is found and given back.
      const attachment: Attachment = {
        id,
        network: request.network,
        place,
        allowedAddresses,
        ...(bandwidth === undefined ? {} : { bandwidth }),
        state: "pending",
      };
      this.#writer.put(attachment);
      const answer = await connection.client.createEndpoint(
        {
          id,
          network: request.network,
          attachment: kind.nameOf(place),
          mac: request.mac,
          ips: [...request.ips],
          labels: { ...request.labels },
        },
        { timeoutMs: requestTimeout },
      );
      if (answer.endpoint === undefined)
        throw new WeftError({ code: "internal", attempted, reason: "the server's answer lacks the endpoint" });
      const endpoint = unwrap(kinds.endpoint.fromMessage(answer.endpoint));
      await this.#options.reached(request.network, Number(answer.revision));
      await this.#comeIntoPlace(endpoint, attempted);
      this.#writer.put({ ...attachment, state: "attached" });
      this.#options.events.add({
        level: "info",
        kind: "attached",
        object: { kind: "endpoint", network: request.network, key: id },
        message: `${endpoint.ips.join(", ")} (${endpoint.mac}) ${joinedText(place)}`,
      });
      return endpoint;
    } catch (error) {
      await this.#release(id);
      throw error;
    } finally {
      this.#busy.delete(key);
    }
  }

  /** The endpoint that was there; `undefined` when there was none. The server is told now, or when it can be reached. */
  async detach(target: AttachTarget): Promise<string | undefined> {
    const { kinds: ways, attachments } = this.#options;
    const candidates = [...attachments.values()].filter((each) => each.network === target.network && isInPlace(each));
    const attachment = kindOf(ways, target.place).at(target.place, candidates);
    if (attachment === undefined) return undefined;
    await this.#release(attachment.id);
    this.#options.events.add({
      level: "info",
      kind: "detached",
      object: { kind: "endpoint", network: target.network, key: attachment.id },
      message: `taken out of ${placeText(attachment.place)}`,
    });
    return attachment.id;
  }

  /**
   * Tells the server of endpoints that are gone: those whose release it has not heard of, and those it believes here
   * that nothing on this node knows of. Called whenever the state is complete.
   */
  async settleWithServer(): Promise<void> {
    const { attachments, desired, logger } = this.#options;
    const released = [...attachments.values()].filter((attachment) => attachment.state === "releasing");
    // What was learned hangs on nothing; it is withdrawn by whoever learned it.
    const orphans = [...desired.own.values()]
      .filter(({ id, attachment }) => attachment !== "learned" && !attachments.has(id))
      .map(({ id }) => id);
    for (const id of orphans)
      logger.warn({ endpoint: id }, "nothing is attached here for this endpoint; giving it back");
    const connection = this.#options.connection();
    if (connection === undefined || (released.length === 0 && orphans.length === 0)) return;
    const before = this.#releasing;
    const send = async (): Promise<void> => {
      await before;
      await connection.client.deleteEndpoints(
        { ids: [...released.map((attachment) => attachment.id), ...orphans] },
        { timeoutMs: requestTimeout },
      );
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
      if (endpoint !== undefined && attachment !== undefined && isInPlace(attachment)) lost.push(endpoint);
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
      if (attachment !== undefined) this.#writer.keep({ ...attachment, state: "unclaimed" });
    }
  }

  isUnclaimed(endpoint: Endpoint): boolean {
    return this.#options.attachments.get(endpoint.id)?.state === "unclaimed";
  }

  get hasUnclaimed(): boolean {
    return [...this.#options.attachments.values()].some(({ state }) => state === "unclaimed");
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
    const { kinds: ways, attachments, desired, logger } = this.#options;
    const refused: { readonly endpoint: Endpoint; readonly reason: string }[] = [];
    for (const attachment of [...attachments.values()]) {
      const endpoint = desired.own.get(attachment.id);
      const client = this.#options.connection()?.client;
      if (attachment.state !== "unclaimed" || endpoint === undefined || client === undefined) continue;
      const { id, network, mac, labels } = endpoint;
      const claim = {
        id,
        network,
        attachment: kindOf(ways, attachment.place).nameOf(attachment.place),
        mac,
        ips: [...declaredIps(endpoint)],
        labels: { ...labels },
      };
      const error = await client.createEndpoint(claim, { timeoutMs: requestTimeout }).then(() => undefined, asError);
      if (error === undefined) {
        // It may have been detached meanwhile.
        if (attachments.get(id)?.state === "unclaimed") this.#writer.keep({ ...attachment, state: "attached" });
      } else if (error instanceof WeftError && finalRefusals.has(error.code))
        refused.push({ endpoint, reason: `the server does not know it any more and refuses it: ${error.reason}` });
      else logger.warn({ endpoint: id, error: error.message }, "could not claim an endpoint again; trying again later");
      this.#tellClaim(endpoint, error);
    }
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
          attempted: `claim endpoint ${endpoint.id} of network ${endpoint.network} again, which the server does not know any more`,
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
    const { attachments } = this.#options;
    const attachment = attachments.get(endpoint.id);
    if (attachment === undefined) return;
    this.#writer.remove(endpoint.id);
    this.#forgetClaim(attachment);
    const object = { kind: "endpoint", network: endpoint.network, key: endpoint.id };
    const message = `${endpoint.ips.join(", ")} was taken out of ${placeText(attachment.place)}: ${reason}`;
    this.#options.events.add({ level: "warning", kind: "detached", object, message });
    this.#options.logger.warn({ endpoint: endpoint.id, network: endpoint.network }, message);
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

  async #release(id: string): Promise<void> {
    const { attachments, desired, dataplane } = this.#options;
    const attachment = attachments.get(id);
    if (attachment === undefined) return;
    this.#writer.keep({ ...attachment, state: "releasing" });
    this.#forgetClaim(attachment);
    desired.attachmentChanged(id);
    await dataplane.changed(dataplane.networks.get(attachment.network)?.settings.tenant);
    await this.settleWithServer();
  }

  #requireConnection(attempted: string): NodeConnection {
    const connection = this.#options.connection();
    if (connection !== undefined) return connection;
    throw new WeftError({
      code: "unavailable",
      attempted,
      reason: "the agent has no connection to the server, which gives out addresses",
      hint: "see weft status for why; endpoints that are attached work on meanwhile",
    });
  }

  /** A kernel event that tells of a moment within a pass asks for another look at the port, which is not a failure yet. */
  async #comeIntoPlace({ id, network: name }: Endpoint, attempted: string): Promise<void> {
    const { dataplane } = this.#options;
    for (let pass = 0; pass < mostPasses; pass++) {
      const network = dataplane.networks.get(name);
      await dataplane.changed(network?.settings.tenant);
      const problem =
        dataplane.problems.get({ kind: "endpoint", network: name, key: id }) ??
        (network === undefined ? undefined : dataplane.problems.find((object) => keepsFrom(object, network)));
      if (problem !== undefined) throw problem.error;
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
  const as = place.kind === "netns" ? ` as ${interfaceOf(place)}` : "";
  return `attach ${placeText(place)} to network ${network}${as}`;
}

function joinedText(place: PortPlace): string {
  return place.kind === "netns" ? `in ${placeText(place)} as ${place.interface}` : `by ${placeText(place)}`;
}

function bandwidthOf({ bandwidth }: AttachRequest, attempted: string): Bandwidth | undefined {
  if (bandwidth === undefined) return undefined;
  const parsed = parseBandwidth(given(bandwidth));
  if (parsed.ok) return parsed.value;
  throw new WeftError({ code: "invalid-argument", attempted, reason: parsed.error.map(formatProblem).join("; ") });
}

function claimObject({ id, network }: Pick<Attachment, "id" | "network">): KernelObject {
  return { kind: "claim of endpoint", network, key: id };
}

function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(messageOf(thrown));
}
