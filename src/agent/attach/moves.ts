import type { NodeConnection } from "../../api/clients.ts";
import { asFields } from "../../api/codec.ts";
import type { Clock } from "../../base/clock.ts";
import { seconds } from "../../base/duration.ts";
import { messageOf, WeftError } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { err } from "../../base/result.ts";
import type { NodeDataplane, Problems } from "../../dataplane/index.ts";
import { announcementFilter } from "../../linux/index.ts";
import type { Endpoint } from "../../model/resources.ts";
import type { Standby } from "../../model/standby.ts";
import type { DesiredState } from "../desired-state.ts";
import type { EventLog } from "../event-log.ts";
import { Snooper } from "../learning/snooper.ts";
import { type Attachment, isInPlace } from "../replica.ts";
import { isAnnouncement } from "./announcement.ts";
import type { Attachments } from "./attachments.ts";
import { offerOf, requestOf } from "./offered-port.ts";

export interface MovesOptions {
  readonly node: string;
  readonly attachments: Attachments;
  readonly attached: ReadonlyMap<string, Attachment>;
  readonly desired: DesiredState;
  readonly dataplane: NodeDataplane;
  readonly events: EventLog;
  /** What is not as it should be apart from the kernel. */
  readonly problems: Problems;
  readonly logger: Logger;
  readonly clock: Clock;
  /** The connection to the server, if there is one now. */
  readonly connection: () => NodeConnection | undefined;
}

const requestTimeout = seconds(10);
const tryAgain = seconds(1);

/**
 * This node's part in moves of endpoints. It follows from what the server says of them and from what is attached here, and from
 * nothing else: whatever was cut short goes on when the agent starts again, or when the server can be reached.
 */
export class Moves {
  readonly #options: MovesOptions;
  /** Endpoints for which something is under way. */
  readonly #busy = new Set<string>();
  /** Endpoints that were heard at their ports here. */
  readonly #heard = new Set<string>();
  /** By the inode of the tenant's namespace. */
  readonly #snoopers = new Map<number, Snooper>();
  #cancelRetry: (() => void) | undefined;
  #closed = false;

  constructor(options: MovesOptions) {
    this.#options = options;
  }

  /** What the server says changed, or what is attached, or the connection was made. */
  look(): void {
    if (this.#closed) return;
    const { moving } = this.#options.desired;
    // While its port opens the endpoint is this node's own, and may have to be heard of once more.
    for (const id of this.#heard) if (!moving.has(id) && !this.#busy.has(id)) this.#heard.delete(id);
    for (const endpoint of [...moving.values()]) {
      if (this.#busy.has(endpoint.id)) continue;
      const step = this.#stepOf(endpoint);
      if (step !== undefined) void this.#take(endpoint, step);
    }
    this.#listen();
  }

  close(): void {
    this.#closed = true;
    this.#cancelRetry?.();
    for (const snooper of this.#snoopers.values()) snooper.close();
    this.#snoopers.clear();
  }

  /** What this node is to do next. */
  #stepOf(endpoint: Endpoint): (() => Promise<void>) | undefined {
    const { node: self, attached, attachments } = this.#options;
    const { id, node, standby } = endpoint;
    const attachment = attached.get(id);
    const isAttached = attachment !== undefined && isInPlace(attachment);
    const standsHere = standby?.node === self && node !== self;
    if (node === self)
      return standby?.when === "ready" && standby.port === undefined ? () => this.#offer(endpoint) : undefined;
    if (!standsHere) return isAttached ? () => this.#leave(endpoint) : undefined;
    if (isAttached)
      return standby.when === "ready" || this.#heard.has(id) ? () => this.#takeOver(endpoint, attachment) : undefined;
    // Something of it is on its way: being attached, or given up.
    if (attachment !== undefined || attachments.isPreparing) return undefined;
    if (standby.when === "announced") return undefined;
    if (standby.port !== undefined) return () => this.#attach(endpoint, standby);
    return standby.fromDead === true ? () => this.#decline(endpoint, "nothing is attached for it") : undefined;
  }

  /** One step at a time for each endpoint; what failed is tried again. */
  async #take({ id, network }: Endpoint, step: () => Promise<void>): Promise<void> {
    const { problems } = this.#options;
    const object = { kind: "move of endpoint", network, key: id };
    this.#busy.add(id);
    try {
      await step();
      problems.cleared(object);
    } catch (error) {
      // That the server is away is known.
      if (!(error instanceof WeftError) || error.code !== "unavailable")
        problems.failed(object, error instanceof Error ? error : new Error(messageOf(error)));
      this.#options.logger.warn(
        { endpoint: id, network, error: messageOf(error) },
        "a move does not go on; trying again",
      );
      if (this.#closed) return;
      this.#cancelRetry?.();
      this.#cancelRetry = this.#options.clock.after(tryAgain, () => this.look());
      return;
    } finally {
      this.#busy.delete(id);
    }
    this.look();
  }

  async #offer(endpoint: Endpoint): Promise<void> {
    const { id } = endpoint;
    const offer = await this.#offerOf(id);
    const said = offer.ok ? { id, port: asFields(offer.value) } : { id, reason: offer.error };
    await this.#client(endpoint).offerPort(said, { timeoutMs: requestTimeout });
    await this.#told(endpoint);
  }

  async #offerOf(id: string): Promise<ReturnType<typeof offerOf>> {
    const attachment = this.#options.attached.get(id);
    const offer = offerOf(attachment);
    const { tap } = offer.ok ? offer.value : {};
    // The tap would go from under it.
    if (tap === undefined || attachment?.place.kind !== "device") return offer;
    const { device } = attachment.place;
    if (!(await this.#options.dataplane.isOpen(device))) return offer;
    return err(
      `a machine has its tap ${device} open: power it off, or let its manager move it, after weft attach --standby on the other node`,
    );
  }

  async #attach(endpoint: Endpoint, standby: Standby): Promise<void> {
    const request = requestOf(endpoint, standby);
    if (!request.ok) return this.#decline(endpoint, request.error);
    await this.#options.attachments.attachPrepared(request.value, endpoint, (error) =>
      this.#decline(endpoint, error instanceof WeftError ? error.message : messageOf(error)),
    );
  }

  async #decline(endpoint: Endpoint, reason: string): Promise<void> {
    const { node } = this.#options;
    const { id } = endpoint;
    await this.#client(endpoint).declineEndpoint(
      { id, reason: `node ${node}: ${reason}` },
      { timeoutMs: requestTimeout },
    );
    await this.#told(endpoint);
  }

  async #takeOver(endpoint: Endpoint, { place }: Attachment): Promise<void> {
    const { dataplane, events, attachments } = this.#options;
    const { standby, ...rest } = endpoint;
    const { id, network, ips, node } = rest;
    // After a restart it may have to come into place first.
    if (!dataplane.isPortInPlace(network, id))
      await dataplane.changed(dataplane.networks.get(network)?.settings.tenant);
    if (!dataplane.isPortInPlace(network, id))
      throw new WeftError({
        code: "failed-precondition",
        attempted: `take over endpoint ${id} of network ${network}`,
        reason: "its port here is not in place",
        hint: "see weft status",
      });
    const client = this.#client(endpoint);
    if (standby?.when === "ready") await client.awaitStandby({ id }, { timeoutMs: requestTimeout });
    const takeOver = client.takeOverEndpoint.bind(
      client,
      { id, attachment: attachments.kindNameOf(place) },
      { timeoutMs: requestTimeout },
    );
    // Its floating addresses come with the server's word: who answers for them last is believed outside.
    const { floatingAddresses: _, ...opened } = rest;
    await this.#open(endpoint, { ...opened, node: this.#options.node }, takeOver);
    const why = standby?.when === "announced" ? "it announced itself here" : "somebody asked for it";
    events.add({
      level: "info",
      kind: "moved",
      object: { kind: "endpoint", network, key: id },
      message: `${ips.join(", ")} came from node ${node}: ${why}`,
    });
  }

  /**
   * The port is open when the server hears that it is: from the commit on others may send here. A machine that was heard is nowhere
   * else any more: nothing is lost by asking meanwhile. Nobody is told otherwise until then; if it does not come to that, the port
   * stands by again.
   */
  async #open(standing: Endpoint, opened: Endpoint, takeOver: () => Promise<unknown>): Promise<void> {
    const { desired, dataplane } = this.#options;
    const tenant = dataplane.networks.get(standing.network)?.settings.tenant;
    desired.apply({ kind: "endpoint", endpoint: opened });
    const open = dataplane.changed(tenant);
    try {
      if (standing.standby?.when === "ready") await open;
      await Promise.all([open, takeOver()]);
    } catch (error) {
      // What the server has said meanwhile holds.
      if (desired.own.get(opened.id) === opened) desired.apply({ kind: "endpoint", endpoint: standing });
      await dataplane.changed(tenant);
      throw error;
    }
  }

  /** It is on another node now, or this one shall not have it after all. What leads there is in place before its port here goes. */
  async #leave(endpoint: Endpoint): Promise<void> {
    const { attachments, dataplane } = this.#options;
    const { network } = endpoint;
    await dataplane.changed(dataplane.networks.get(network)?.settings.tenant);
    const { moving } = this.#options.desired;
    if (moving.get(endpoint.id) === endpoint) attachments.leave(endpoint);
  }

  /** What was asked for is heard of by the watch, if it has not been yet. */
  async #told(endpoint: Endpoint): Promise<void> {
    const { clock, desired } = this.#options;
    const isAsBefore = (): boolean => desired.moving.get(endpoint.id) === endpoint;
    for (let waited = 0; waited < 100 && !this.#closed && isAsBefore(); waited++)
      await new Promise<void>((resolve) => clock.after(seconds(0.05), resolve));
  }

  #client({ id, network }: Endpoint): NodeConnection["client"] {
    const connection = this.#options.connection();
    if (connection !== undefined) return connection.client;
    throw new WeftError({
      code: "unavailable",
      attempted: `move endpoint ${id} of network ${network}`,
      reason: "the agent has no connection to the server",
      hint: "it goes on when there is one; see weft status",
    });
  }

  /** Hears endpoints that are expected at ports here. */
  #listen(): void {
    const { desired, dataplane, clock, node, logger } = this.#options;
    const wanted = new Set<number>();
    for (const { id, network, standby } of desired.moving.values()) {
      if (standby?.node !== node || standby.when !== "announced" || this.#heard.has(id)) continue;
      const place = dataplane.network(network);
      if (place === undefined) continue;
      const { namespace } = place;
      wanted.add(namespace.inode);
      if (this.#snoopers.has(namespace.inode)) continue;
      try {
        const onFrame = (index: number, frame: Uint8Array): void => this.#onFrame(namespace.inode, index, frame);
        const filter = announcementFilter();
        this.#snoopers.set(namespace.inode, new Snooper({ namespace, clock, filter, onFrame }));
      } catch (error) {
        logger.error(
          { namespace: namespace.label, error: messageOf(error) },
          "cannot hear announcements; trying again",
        );
        this.#cancelRetry?.();
        this.#cancelRetry = clock.after(tryAgain, () => this.look());
      }
    }
    for (const [inode, snooper] of this.#snoopers) {
      if (wanted.has(inode)) continue;
      snooper.close();
      this.#snoopers.delete(inode);
    }
  }

  #onFrame(inode: number, index: number, frame: Uint8Array): void {
    const { desired, dataplane, node } = this.#options;
    for (const { id, network, mac, standby } of desired.moving.values()) {
      if (standby?.node !== node) continue;
      const place = dataplane.network(network);
      if (place?.namespace.inode !== inode || place.dataplane.ports.indexOf(id) !== index) continue;
      if (!isAnnouncement(frame, mac)) return;
      this.#heard.add(id);
      this.look();
      return;
    }
  }
}
