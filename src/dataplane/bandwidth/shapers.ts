import { setTimeout as pause } from "node:timers/promises";
import type { Clock } from "../../base/clock.ts";
import { WeftError } from "../../base/errors.ts";
import { isErrno } from "../../linux/index.ts";
import { type Direction, directions } from "../../model/bandwidth.ts";
import {
  changeLink,
  createLink,
  createQdisc,
  deleteFilter,
  deleteHtbClass,
  deleteLink,
  deleteQdisc,
  filterHook,
  getHtbClass,
  getLink,
  type HtbClass,
  isGone,
  isSameHtbClass,
  type Link,
  listBpfFilters,
  listHtbClasses,
  listQdiscs,
  listRedirectFilters,
  lookUp,
  qdiscParent,
  replaceBpfFilter,
  replaceHtbClass,
  replaceRedirectFilter,
  type WatchEvents,
} from "../../netlink/index.ts";
import { type DesiredNetwork, deviceMtuOf, type LocalEndpoint } from "../desired.ts";
import { type DeviceContext, isMarked, wrongKind } from "../devices/device-changes.ts";
import type { LinkTable } from "../devices/link-table.ts";
import type { Kernel } from "../kernel.ts";
import { aliasOf, shaperName, weftGroup } from "../kernel-names.ts";
import { explainMissing } from "../missing-module.ts";
import type { Objects } from "../reconcile/objects.ts";
import { ReconciledObjects } from "../reconcile/reconciled-objects.ts";
import { classProgram, classProgramName } from "./class-program.ts";
import {
  endpointClass,
  endpointLimits,
  leastRate,
  minorOf,
  networkClass,
  networkMinor,
  openClass,
  treeHandle,
  type WantedClass,
} from "./classes.ts";
import { LeafQueues } from "./leaf-queues.ts";
import { type BandwidthUse, useOf } from "./use.ts";

export interface ShapersOptions {
  readonly desired: DesiredNetwork;
  readonly context: DeviceContext & {
    readonly kernel: Kernel;
    readonly clock: Clock;
    readonly links: () => LinkTable;
  };
  /** All classes of a direction are gone: every port is to be looked at. */
  readonly onMade: () => void;
  /** What the port of an endpoint has of it was changed. */
  readonly onPortDamaged: (endpoint: string) => void;
  readonly onRepaired: (name: string, change: string) => void;
  readonly onAttempt: Objects<Direction>["onAttempt"];
}

/** The device of one direction, and what it has of each endpoint. */
interface Tree {
  readonly index: number;
  network: WantedClass;
  /** By minor number. */
  readonly classes: Map<number, { readonly endpoint: string; readonly wanted: WantedClass }>;
}

/** After that of the guard. */
const redirectPriority = 3;
const hooks = { send: filterHook.ingress, receive: filterHook.egress } as const;
const filterName = "weft";
/** Milliseconds that what waits at a limit which is taken off may take. */
const longestDrain = 200;

/**
 * What endpoints of one network send and receive, within their limits: for each direction an ifb device with a tree of htb classes,
 * the network above its endpoints. Ports lead their frames through it; it gives them back where it took them from.
 * A direction without any limit has no device, and costs nothing.
 */
export class Shapers implements Objects<Direction> {
  readonly objects: ReconciledObjects<Direction>;
  readonly onAttempt: Objects<Direction>["onAttempt"];
  readonly #options: ShapersOptions;
  readonly #trees = new Map<Direction, Tree>();
  /** Ports by endpoint, as they were last seen. */
  readonly #ports = new Map<string, number>();
  readonly #queues: LeafQueues;

  constructor(options: ShapersOptions) {
    this.#options = options;
    this.onAttempt = options.onAttempt;
    this.#queues = new LeafQueues(options.context.socket);
    this.objects = new ReconciledObjects(this, options.context.clock);
    for (const direction of directions) this.objects.mark(direction);
  }

  keys(): Iterable<Direction> {
    return directions;
  }

  isWanted(direction: Direction): boolean {
    const { settings, locals } = this.#options.desired;
    if (settings.bandwidth?.[direction]?.limit !== undefined || settings.endpointBandwidth?.[direction] !== undefined)
      return true;
    for (const { bandwidth } of locals.values()) if (bandwidth?.[direction] !== undefined) return true;
    return false;
  }

  /** An endpoint came, went or changed. */
  reconsider(): void {
    for (const direction of directions)
      if (this.isWanted(direction) !== this.#trees.has(direction)) this.objects.mark(direction);
  }

  has(index: number): boolean {
    return this.#directionOf(index) !== undefined;
  }

  get names(): readonly string[] {
    const { vni } = this.#options.desired.settings;
    return directions.filter((direction) => this.isWanted(direction)).map((direction) => shaperName(direction, vni));
  }

  async ensure(direction: Direction, isDamaged: boolean): Promise<void> {
    const { desired, context, onMade, onRepaired } = this.#options;
    const { socket } = context;
    const name = shaperName(direction, desired.settings.vni);
    const before = socket.writes;
    const link = await this.#ensureDevice(name);
    const wanted = networkClass(desired.settings, direction, link.index);
    const known = this.#trees.get(direction);
    const isNew = known?.index !== link.index;
    const isMade = await this.#ensureTree(wanted);
    if (isNew || isMade) this.#trees.set(direction, { index: link.index, network: wanted, classes: new Map() });
    else known.network = wanted;
    await this.#ensureClassifier(link.index);
    if (isNew || isMade || isDamaged) onMade();
    if (isDamaged && socket.writes > before) onRepaired(name, `restored ${name}`);
  }

  /** When no port leads to it any more. */
  async remove(direction: Direction): Promise<void> {
    const { desired, context } = this.#options;
    const name = shaperName(direction, desired.settings.vni);
    const link = await lookUp(context.socket, getLink({ name }));
    this.#trees.delete(direction);
    if (link === undefined || !isMarked(link, context.instance)) return;
    await this.#drain(link.index);
    await context.socket.execute(deleteLink({ index: link.index })).catch((error: unknown) => {
      if (!isErrno(error, "ENODEV")) throw error;
    });
  }

  /** Leads the frames of the port through its classes, or past them where nothing is limited. */
  async ensurePort(endpoint: LocalEndpoint, port: number): Promise<void> {
    const former = this.#ports.get(endpoint.id);
    if (former !== undefined && former !== port) await this.removePort(endpoint.id);
    this.#ports.set(endpoint.id, port);
    for (const direction of directions) {
      const { settings } = this.#options.desired;
      const isLimited =
        settings.bandwidth?.[direction]?.limit !== undefined ||
        endpointLimits(settings, endpoint, direction) !== undefined;
      if (isLimited) await this.#limit(direction, endpoint, port);
      else await this.#release(direction, endpoint.id, port);
    }
  }

  /** The port of the endpoint is gone. */
  async removePort(endpoint: string): Promise<void> {
    const port = this.#ports.get(endpoint);
    this.#ports.delete(endpoint);
    if (port === undefined) return;
    for (const [, tree] of this.#trees) await this.#removeClass(tree, endpoint, minorOf(port));
  }

  /** Takes away classes that are nobody's, of which an earlier run knew. */
  async prune(): Promise<void> {
    const { socket } = this.#options.context;
    for (const { index, classes } of this.#trees.values())
      for (const each of await socket.dump(listHtbClasses(index))) {
        const minor = each.handle & 0xffff;
        if (minor !== networkMinor && !classes.has(minor)) await this.#deleteClass(each);
      }
  }

  /** What passed, waited and was dropped, of the network and of each endpoint; nothing where nothing is limited. */
  async use(): Promise<readonly BandwidthUse[]> {
    const { context, desired } = this.#options;
    const { name } = desired.settings;
    const uses: BandwidthUse[] = [];
    for (const [direction, { index, classes }] of this.#trees) {
      const qdiscs = await context.socket.dump(listQdiscs({ index }));
      const queues = new Map(qdiscs.map(({ handle, statistics }) => [handle, statistics]));
      for (const { handle, leaf = 0, statistics } of await context.socket.dump(listHtbClasses(index))) {
        const minor = handle & 0xffff;
        const endpoint = classes.get(minor)?.endpoint;
        const whose = { network: name, direction };
        // What endpoints lost that are gone is the tree's.
        if (minor === networkMinor) uses.push(useOf(whose, statistics, queues.get(treeHandle)));
        else if (endpoint !== undefined) uses.push(useOf({ ...whose, endpoint }, statistics, queues.get(leaf)));
      }
    }
    return uses;
  }

  /** Something of a device of this network came, changed or went. Tells whether there is something to restore. */
  judge({ index, isGone: isAway, htbClass }: WatchEvents["trafficControl"]): boolean {
    const direction = this.#directionOf(index);
    const tree = direction === undefined ? undefined : this.#trees.get(direction);
    if (direction === undefined || tree === undefined) return false;
    if (htbClass === undefined) {
      if (isAway) this.objects.damage(direction);
      return isAway;
    }
    const minor = htbClass.handle & 0xffff;
    const known = tree.classes.get(minor);
    const wanted = minor === networkMinor ? tree.network : known?.wanted;
    if (wanted === undefined || (!isAway && isSameHtbClass(wanted, htbClass))) return false;
    if (known === undefined) this.objects.damage(direction);
    else this.#options.onPortDamaged(known.endpoint);
    return true;
  }

  /** The device is now as told, or gone (`undefined`). Tells whether there is something to restore. */
  judgeLink(index: number, link: Link | undefined): boolean {
    const direction = this.#directionOf(index);
    if (direction === undefined || !this.isWanted(direction)) return false;
    if (link?.up === true && link.alias === aliasOf(this.#options.context.instance)) return false;
    this.objects.damage(direction);
    return true;
  }

  #directionOf(index: number): Direction | undefined {
    for (const [direction, tree] of this.#trees) if (tree.index === index) return direction;
    return undefined;
  }

  async #ensureDevice(name: string): Promise<Link> {
    const { context } = this.#options;
    const { socket, instance } = context;
    const present = await lookUp(socket, getLink({ name }));
    if (present !== undefined && (present.info.kind !== "ifb" || !isMarked(present, instance)))
      throw wrongKind(name, present, "ifb", context);
    if (present === undefined)
      await socket
        .execute(createLink("ifb", { name, group: weftGroup, transmitQueueLength: 1000 }))
        .catch(explainMissing("ifb"));
    const link = present ?? (await socket.get(getLink({ name })));
    if (link.alias !== aliasOf(instance))
      await socket.execute(changeLink({ index: link.index }, { alias: aliasOf(instance) }));
    if (!link.up) await socket.execute(changeLink({ index: link.index }, { up: true, ipv6AddressGeneration: "none" }));
    return link;
  }

  /** The tree with the class of the network. Tells whether all of it is new. */
  async #ensureTree(wanted: WantedClass): Promise<boolean> {
    const { socket } = this.#options.context;
    const { index, handle } = wanted;
    const actual = await this.#classAt(index, handle);
    if (actual !== undefined && isSameHtbClass(wanted, actual)) return false;
    if (actual !== undefined) {
      await socket.execute(replaceHtbClass(wanted));
      return false;
    }
    const tree = { index, kind: "htb", handle: treeHandle, parent: qdiscParent.root, htb: {} };
    await socket.execute(deleteQdisc({ ...tree, handle: 0 })).catch((error: unknown) => {
      // The kernel's default cannot be deleted.
      if (!isErrno(error, "ENOENT", "EINVAL")) throw error;
    });
    await socket.execute(createQdisc(tree)).catch(explainMissing("sch_htb"));
    await socket.execute(replaceHtbClass(wanted));
    return true;
  }

  /** `undefined`: there is none, or another kind of qdisc. */
  async #classAt(index: number, handle: number): Promise<HtbClass | undefined> {
    try {
      return await lookUp(this.#options.context.socket, getHtbClass(index, handle));
    } catch (error) {
      if (isErrno(error, "EINVAL", "EOPNOTSUPP")) return undefined;
      throw error;
    }
  }

  async #ensureClassifier(index: number): Promise<void> {
    const { socket, kernel } = this.#options.context;
    const filter = { index, hook: treeHandle, classid: treeHandle, priority: 1, name: filterName };
    const present = (await socket.dump(listBpfFilters(index, treeHandle))).find(({ priority }) => priority === 1);
    const used = present === undefined ? undefined : kernel.bpf.programById(present.programId);
    const isRight = used?.name === classProgramName && present?.classid === treeHandle;
    used?.close();
    if (isRight) return;
    const program = kernel.bpf.loadProgram(classProgramName, classProgram, []);
    try {
      await socket.execute(replaceBpfFilter({ ...filter, descriptor: program.fd }));
    } finally {
      program.close();
    }
  }

  async #limit(direction: Direction, endpoint: LocalEndpoint, port: number): Promise<void> {
    const { desired, context } = this.#options;
    const tree = this.#trees.get(direction);
    if (tree === undefined) throw notMade(direction, endpoint, desired);
    const minor = minorOf(port);
    const other = tree.classes.get(minor)?.endpoint ?? endpoint.id;
    if (other !== endpoint.id) throw sameClass(endpoint, other);
    const wanted = endpointClass(desired.settings, endpoint, direction, { index: tree.index, port });
    const actual = await this.#classAt(wanted.index, wanted.handle);
    tree.classes.set(minor, { endpoint: endpoint.id, wanted });
    // One packet beyond the least rate is a debt of up to a minute, which a class keeps, and which would keep it from its guarantee.
    const isInDebt = actual?.rate === leastRate && wanted.rate > leastRate;
    if (isInDebt) {
      await this.#release(direction, endpoint.id, port);
      tree.classes.set(minor, { endpoint: endpoint.id, wanted });
    }
    await this.#ensureClass(wanted, isInDebt ? undefined : actual);
    const hook = hooks[direction];
    const filters = await context.socket.dump(listRedirectFilters(port, hook));
    if (filters.find(({ priority }) => priority === redirectPriority)?.to === tree.index) return;
    const redirection = { index: port, hook, priority: redirectPriority, to: tree.index };
    await context.socket.execute(replaceRedirectFilter(redirection)).catch(explainMissing("act_mirred"));
  }

  /** The class is there before anything is led to it; what waits in it stays when it changes. */
  async #ensureClass(wanted: WantedClass, actual: HtbClass | undefined): Promise<void> {
    const isSame = actual !== undefined && isSameHtbClass(wanted, actual);
    if (!isSame) await this.#options.context.socket.execute(replaceHtbClass(wanted));
    await this.#queues.ensure(wanted, actual?.leaf, deviceMtuOf(this.#options.desired.settings));
  }

  async #release(direction: Direction, endpoint: string, port: number): Promise<void> {
    const { socket } = this.#options.context;
    const place = { index: port, hook: hooks[direction], priority: redirectPriority };
    const filters = await socket.dump(listRedirectFilters(port, place.hook));
    const tree = this.#trees.get(direction);
    const known = tree?.classes.get(minorOf(port));
    if (known?.endpoint === endpoint) await socket.execute(replaceHtbClass(openClass(known.wanted)));
    if (filters.some(({ priority }) => priority === redirectPriority)) await socket.execute(deleteFilter(place));
    if (tree === undefined) return;
    if (known?.endpoint === endpoint) await this.#drain(tree.index);
    await this.#removeClass(tree, endpoint, minorOf(port));
  }

  async #removeClass(tree: Tree, endpoint: string, minor: number): Promise<void> {
    const known = tree.classes.get(minor);
    if (known?.endpoint !== endpoint) return;
    tree.classes.delete(minor);
    await this.#deleteClass(known.wanted);
  }

  async #deleteClass(each: Pick<HtbClass, "index" | "handle" | "parent">): Promise<void> {
    await this.#options.context.socket.execute(deleteHtbClass(each)).catch((error: unknown) => {
      if (!(error instanceof Error) || !isGone(error)) throw error;
    });
  }

  /** Waits for what waits in classes that have no limit any more. */
  async #drain(index: number): Promise<void> {
    const { socket, clock } = this.#options.context;
    const until = clock.monotonic() + longestDrain;
    for (;;) {
      const classes = await socket.dump(listHtbClasses(index));
      const waiting = classes.some(({ ceil, statistics }) => (ceil ?? 0) >= 1e12 && (statistics?.backlog ?? 0) > 0);
      if (!waiting || clock.monotonic() >= until) return;
      await pause(5);
    }
  }
}

function notMade(direction: Direction, { id }: LocalEndpoint, { settings }: DesiredNetwork): WeftError {
  return new WeftError({
    code: "failed-precondition",
    attempted: `limit what endpoint ${id} of network ${settings.name} may ${direction}`,
    reason: `device ${shaperName(direction, settings.vni)} is not there`,
    hint: "see the problem of the bandwidth of the network in weft status",
  });
}

/** Of 32,766 port numbers in a row each has a class of its own. */
function sameClass({ id }: LocalEndpoint, other: string): WeftError {
  return new WeftError({
    code: "exhausted",
    attempted: `limit the bandwidth of endpoint ${id}`,
    reason: `its port has the class of endpoint ${other}`,
    hint: "detach it and attach it again",
  });
}
