import type { Clock } from "../../base/clock.ts";
import type { MacAddress } from "../../base/mac.ts";
import { isErrno } from "../../linux/index.ts";
import {
  type BridgePortSettings,
  deleteLink,
  getFdbEntry,
  getLink,
  type Link,
  lookUp,
  neighbourFlag,
} from "../../netlink/index.ts";
import type { DesiredNetwork } from "../desired.ts";
import type { Kernel } from "../kernel.ts";
import { endpointOfPort, endpointPortName, isOwnLink } from "../kernel-names.ts";
import type { KernelObject } from "../objects.ts";
import type { Objects } from "../reconcile/objects.ts";
import { ReconciledObjects } from "../reconcile/reconciled-objects.ts";
import type { Report } from "../report.ts";
import { endpointPort, isPortAs } from "./bridge-port.ts";
import { deleteTogether } from "./delete-together.ts";
import type { LinkTable } from "./link-table.ts";
import { ensureEndpointPort, isPortSettled, localFdbRequest, type PortContext } from "./port/veth.ts";
import { ReceiveBacklog } from "./receive-backlog.ts";

export interface PortsOptions {
  readonly desired: DesiredNetwork;
  readonly context: Omit<PortContext, "bridgeIndex"> & {
    readonly kernel: Kernel;
    readonly clock: Clock;
    readonly links: () => LinkTable;
  };
  readonly bridgeIndex: () => number;
  readonly objectOf: (endpoint: string) => KernelObject;
  readonly report: Report;
  readonly onAttempt: Objects<string>["onAttempt"];
  /** The port of this index is no more. */
  readonly onGone: (index: number) => void;
  /** The endpoint's port is about to go. */
  readonly onRemoving: (endpoint: string) => Promise<void>;
  /** The endpoint has no port any more. */
  readonly onRemoved: (endpoint: string) => Promise<void>;
}

/** A port in the kernel. */
export interface Port {
  readonly index: number;
  /** Of the namespace that the other end is in. */
  readonly inode: number;
  /** The MAC of the endpoint. */
  readonly mac: MacAddress;
}

/** The ports of one network's endpoints on this node, by endpoint. */
export class Ports implements Objects<string> {
  readonly objects: ReconciledObjects<string>;
  readonly onAttempt: Objects<string>["onAttempt"];
  readonly #options: PortsOptions;
  readonly #backlog: ReceiveBacklog;
  readonly #ports = new Map<string, Port>();
  readonly #byIndex = new Map<number, string>();
  /** Ports that had no carrier for a moment at least since they were looked at: the other end is down, or was. */
  readonly #withoutCarrier = new Set<string>();
  /** What is otherwise than asked for in containers, and is left so. */
  readonly #notes = new Map<string, string>();

  constructor(options: PortsOptions) {
    this.#options = options;
    this.onAttempt = options.onAttempt;
    this.objects = new ReconciledObjects(this, options.context.clock);
    this.#backlog = new ReceiveBacklog(options.desired.settings.name, options.context.kernel, options.report);
  }

  /** Those that are in the kernel. */
  get present(): Iterable<Port> {
    return this.#ports.values();
  }

  get endpoints(): Iterable<string> {
    return this.#ports.keys();
  }

  /** `undefined`: the endpoint has no port. */
  indexOf(endpoint: string): number | undefined {
    return this.#ports.get(endpoint)?.index;
  }

  /** The endpoint whose port has this index. */
  endpointAt(index: number): string | undefined {
    return this.#byIndex.get(index);
  }

  /** The endpoint that has a port here and was declared with the MAC. */
  declaredWith(mac: MacAddress): string | undefined {
    for (const [id, port] of this.#ports) if (port.mac === mac) return id;
    return undefined;
  }

  /** What is otherwise than asked for in the container of an endpoint, and is left so; empty: nothing. */
  noteOf(endpoint: string): string {
    return this.#notes.get(endpoint) ?? "";
  }

  keys(): Iterable<string> {
    return this.#options.desired.locals.keys();
  }

  isWanted(id: string): boolean {
    return this.#options.desired.local(id) !== undefined;
  }

  async ensure(id: string, isDamaged: boolean): Promise<void> {
    const { desired, context, bridgeIndex, objectOf, report } = this.#options;
    const endpoint = desired.local(id);
    if (endpoint === undefined) return;
    const object = objectOf(id);
    const here = { ...context, bridgeIndex: bridgeIndex() };
    const port = await ensureEndpointPort(endpoint, desired.settingsOfPort(id), here, context.links());
    let isRepaired = port.written && port.changes.length === 0;
    if (!desired.isElsewhere(endpoint.mac) && !(await this.#hasFdbEntry(endpoint.mac, port.index))) {
      await context.socket.execute(localFdbRequest(endpoint, port.index));
      isRepaired = true;
    }
    this.#remember(id, { index: port.index, inode: port.inode, mac: endpoint.mac });
    for (const change of port.changes) report({ level: "warning", object, ...change });
    this.#note(id, object, port.notes);
    if (isDamaged && isRepaired)
      report({ level: "warning", kind: "repaired", object, message: `restored port ${endpointPortName(id)}` });
    this.#backlog.ensure(this.#ports.size);
  }

  /** The kernel waits once for all of them. What they are joined with must be led away first. */
  async removeTogether(ids: readonly string[]): Promise<void> {
    if (ids.length < 2) return;
    const links: { index: number }[] = [];
    for (const id of ids) {
      const index = this.#ports.get(id)?.index;
      if (index === undefined) continue;
      const isFree = await this.#options.onRemoving(id).then(
        () => true,
        () => false,
      );
      if (isFree) links.push({ index });
    }
    await deleteTogether(this.#options.context.socket, links).catch((error: unknown) => {
      // Each is tried by itself, and says why.
      if (!(error instanceof Error)) throw error;
    });
  }

  async remove(id: string): Promise<void> {
    const { socket } = this.#options.context;
    const name = endpointPortName(id);
    await this.#options.onRemoving(id);
    // Of an earlier run's it is not known yet.
    const index = this.#ports.get(id)?.index ?? (await lookUp(socket, getLink({ name })))?.index;
    this.#forget(id);
    this.#notes.delete(id);
    await socket.execute(deleteLink({ name })).catch((error: unknown) => {
      if (!isErrno(error, "ENODEV")) throw error;
    });
    if (index !== undefined) this.#options.onGone(index);
    await this.#options.onRemoved(id);
  }

  /** Of the devices there are, marks ports of an earlier run whose endpoints left before this one had come to them. */
  markLeftovers(links: readonly Link[]): void {
    const bridge = this.#options.bridgeIndex();
    for (const link of links) {
      const id = link.master === bridge && isOwnLink(link) ? endpointOfPort(link.name) : undefined;
      if (id !== undefined && !this.isWanted(id)) this.objects.mark(id);
    }
  }

  /** A port is, or was for a moment, as told. */
  noteCarrier(id: string, { carrier }: Link): void {
    if (!carrier) this.#withoutCarrier.add(id);
  }

  /**
   * A port is now as told, or gone (`undefined`). Tells whether there is something to restore: an end that was down has lost its IPv6
   * addresses and its routes.
   */
  judgeLink(id: string, link: Link | undefined): boolean {
    const cameBack = link?.carrier === true && this.#withoutCarrier.delete(id);
    const { desired, context, bridgeIndex } = this.#options;
    const here = {
      instance: context.instance,
      isOnHost: context.isOnHost,
      bridgeIndex: bridgeIndex(),
      inode: this.#ports.get(id)?.inode ?? 0,
      standsBy: desired.local(id)?.standsBy === true,
    };
    if (!cameBack && link !== undefined && isPortSettled(link, desired.settingsOfPort(id), here)) return false;
    if (!this.isWanted(id)) return false;
    this.objects.damage(id);
    return true;
  }

  /** What judges the frames of a port was taken away. */
  judgeGuard(id: string): boolean {
    if (!this.isWanted(id)) return false;
    this.objects.damage(id);
    return true;
  }

  /** The bridge now treats a port so. Tells whether there is something to restore. */
  judgeSettings(id: string, settings: BridgePortSettings): boolean {
    const { desired, context } = this.#options;
    const { isOnHost } = context;
    const standsBy = desired.local(id)?.standsBy === true;
    if (isPortAs(endpointPort(desired.settingsOfPort(id), { standsBy, isOnHost }), settings)) return false;
    this.objects.damage(id);
    return true;
  }

  async #hasFdbEntry(mac: MacAddress, index: number): Promise<boolean> {
    const entry = await lookUp(this.#options.context.socket, getFdbEntry(index, mac, "master"));
    return entry !== undefined && entry.index === index && (entry.flags & neighbourFlag.externallyLearned) !== 0;
  }

  #remember(id: string, port: Port): void {
    const before = this.#ports.get(id)?.index;
    if (before !== undefined && before !== port.index) this.#options.onGone(before);
    this.#forget(id);
    this.#ports.set(id, port);
    this.#byIndex.set(port.index, id);
  }

  #forget(id: string): void {
    const port = this.#ports.get(id);
    if (port !== undefined) this.#byIndex.delete(port.index);
    this.#ports.delete(id);
    this.#withoutCarrier.delete(id);
  }

  /** Told once, and again when it changes. */
  #note(id: string, object: KernelObject, notes: readonly string[]): void {
    const note = notes.join("; ");
    const before = this.noteOf(id);
    if (note === before) return;
    this.#notes.set(id, note);
    const { report } = this.#options;
    if (note !== "") report({ level: "warning", kind: "adjusted", object, message: note });
    else report({ level: "info", kind: "recovered", object, message: `no more: ${before}` });
  }
}
