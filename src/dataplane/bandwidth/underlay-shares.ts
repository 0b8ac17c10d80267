import type { Clock } from "../../base/clock.ts";
import { isErrno } from "../../linux/index.ts";
import type { Rate } from "../../model/bandwidth.ts";
import type { Vni } from "../../model/index.ts";
import {
  changeLink,
  createLink,
  deleteFilter,
  deleteHtbClass,
  deleteLink,
  filterHook,
  getHtbClass,
  getLink,
  isGone,
  isSameHtbClass,
  type Link,
  listHtbClasses,
  listLinks,
  listRedirectFilters,
  lookUp,
  type NetlinkSocket,
  qdiscParent,
  replaceHtbClass,
  replaceQdisc,
  replaceRedirectFilter,
  type Watch,
} from "../../netlink/index.ts";
import { ensureHooks } from "../hooks.ts";
import type { KernelBpf } from "../kernel.ts";
import { aliasOf, shareDevice, weftGroup } from "../kernel-names.ts";
import { explainMissing } from "../missing-module.ts";
import type { Failure } from "../reconcile/marks.ts";
import type { Objects } from "../reconcile/objects.ts";
import { ReconciledObjects } from "../reconcile/reconciled-objects.ts";
import type { Report } from "../report.ts";
import { shareProgram, shareProgramName } from "./class-program.ts";
import {
  shareClasses,
  shareHandles,
  shareMajor,
  shareTree,
  type UnderlayShare,
  underlayClass,
  type WantedClass,
} from "./classes.ts";
import { LeafQueues } from "./leaf-queues.ts";

export interface UnderlaySharesOptions {
  readonly instance: string;
  readonly bpf: KernelBpf;
  readonly socket: NetlinkSocket;
  readonly watch: Watch;
  readonly clock: Clock;
  /** What all networks of this node together send at most; absent: they send as they come. */
  readonly rate: Rate | undefined;
  readonly report: Report;
  /** The network has another class than before. */
  readonly onMoved: (vni: Vni) => void;
  readonly onDamage: () => void;
}

const hook = filterHook.egress;
/** The letters WE. */
const filterPriority = shareMajor;
/** The one object. */
const tree = "underlay bandwidth";

/**
 * How networks share what this node sends over the underlay: an ifb with a class for each, to which a filter at the underlay
 * interface leads what tunnels sent, by the priority that their packets have of it. What else the host sends is not touched, nor is
 * the interface's own qdisc, which all packets come to afterwards.
 */
export class UnderlayShares implements Objects<typeof tree> {
  readonly objects: ReconciledObjects<typeof tree>;
  readonly #options: UnderlaySharesOptions;
  readonly #queues: LeafQueues;
  #interface: Pick<Link, "index" | "mtu"> | undefined;
  /** The interface from which packets are led to the device. */
  #led: number | undefined;
  #shares: readonly UnderlayShare[] = [];
  #handles: ReadonlyMap<Vni, number> = new Map();
  /** The device, and what each class shall be, by handle. */
  #made: { readonly index: number; readonly classes: ReadonlyMap<number, WantedClass> } | undefined;

  constructor(options: UnderlaySharesOptions) {
    this.#options = options;
    this.#queues = new LeafQueues(options.socket);
    this.objects = new ReconciledObjects(this, options.clock);
    // An earlier run may have left one.
    this.objects.mark(tree);
    if (options.rate === undefined) return;
    const damaged = (): void => {
      this.objects.damage(tree);
      options.onDamage();
    };
    options.watch.subscribe("link", ({ index, link }) => {
      if (index === this.#made?.index && link?.up !== true) damaged();
    });
    options.watch.subscribe("trafficControl", ({ index, isGone: isAway, htbClass }) => {
      if (this.#made === undefined || (index !== this.#made.index && index !== this.#interface?.index)) return;
      const wanted = htbClass === undefined ? undefined : this.#made.classes.get(htbClass.handle);
      if (wanted === undefined || htbClass === undefined ? isAway : isAway || !isSameHtbClass(wanted, htbClass))
        damaged();
    });
  }

  /** The class of a network's packets; `undefined`: they have none. */
  handleOf(vni: Vni): number | undefined {
    return this.#options.rate === undefined ? undefined : this.#handles.get(vni);
  }

  /** The interface that carries tunnels. */
  setInterface(link: Pick<Link, "index" | "mtu">): void {
    if (this.#interface?.index === link.index && this.#interface.mtu === link.mtu) return;
    this.#interface = link;
    this.objects.mark(tree);
  }

  /** Makes it so. Tells what the kernel refused of that, and is tried again. */
  async share(shares: readonly UnderlayShare[]): Promise<Failure<unknown> | undefined> {
    const isSame =
      shares.length === this.#shares.length &&
      shares.every(
        ({ vni, guarantee }, at) => this.#shares[at]?.vni === vni && this.#shares[at]?.guarantee === guarantee,
      );
    if (!isSame && this.#options.rate !== undefined) this.objects.mark(tree);
    this.#shares = shares;
    const before = this.#handles;
    if (!isSame) this.#handles = shareHandles(shares.map(({ vni }) => vni));
    for (const [vni, handle] of this.#handles)
      if (before.has(vni) && before.get(vni) !== handle) this.#options.onMoved(vni);
    await this.objects.remove();
    await this.objects.ensure();
    const [failure] = this.objects.failures;
    return failure;
  }

  keys(): readonly (typeof tree)[] {
    return [tree];
  }

  isWanted(): boolean {
    return this.#options.rate !== undefined && this.#interface !== undefined;
  }

  async ensure(_key: typeof tree, isDamaged: boolean): Promise<void> {
    const { socket, rate, report, instance } = this.#options;
    if (rate === undefined || this.#interface === undefined) return;
    const writes = socket.writes;
    const index = await this.#ensureDevice();
    const all = underlayClass(rate, index);
    await this.#ensureTree(all);
    const classes = new Map([[all.handle, all]]);
    const { mtu } = this.#interface;
    for (const each of shareClasses(all, this.#shares, this.#handles, mtu)) classes.set(each.handle, each);
    this.#made = { index, classes };
    await this.#ensureClasses(index, classes, mtu);
    await this.#ensureRedirection(this.#interface.index, index);
    this.#led = this.#interface.index;
    const key = shareDevice(instance);
    if (isDamaged && socket.writes > writes)
      report({ level: "warning", kind: "repaired", object: { kind: tree, key }, message: `restored ${key}` });
  }

  /** The filters before the device: what is led to a device that is gone is lost. */
  async remove(): Promise<void> {
    const { socket, instance } = this.#options;
    const name = shareDevice(instance);
    this.#made = undefined;
    const link = await lookUp(socket, getLink({ name }));
    if (link === undefined || link.group !== weftGroup) return;
    await this.#removeRedirections(link.index, undefined);
    await socket.execute(deleteLink({ index: link.index })).catch((error: unknown) => {
      if (!isErrno(error, "ENODEV")) throw error;
    });
  }

  /** Whoever calls {@link share} hears of it. */
  onAttempt(): void {}

  async #ensureDevice(): Promise<number> {
    const { socket, instance } = this.#options;
    const name = shareDevice(instance);
    const present = await lookUp(socket, getLink({ name }));
    if (present === undefined)
      await socket
        .execute(createLink("ifb", { name, group: weftGroup, transmitQueueLength: 1000 }))
        .catch(explainMissing("ifb"));
    const link = present ?? (await socket.get(getLink({ name })));
    const alias = aliasOf(instance);
    if (link.alias !== alias) await socket.execute(changeLink({ index: link.index }, { alias }));
    if (!link.up) await socket.execute(changeLink({ index: link.index }, { up: true, ipv6AddressGeneration: "none" }));
    return link.index;
  }

  async #ensureTree(all: WantedClass): Promise<void> {
    const { socket } = this.#options;
    const actual = await lookUp(socket, getHtbClass(all.index, all.handle)).catch((error: unknown) => {
      if (isErrno(error, "EINVAL", "EOPNOTSUPP")) return undefined;
      throw error;
    });
    if (actual !== undefined && isSameHtbClass(all, actual)) return;
    if (actual === undefined) {
      const root = { index: all.index, kind: "htb", handle: shareTree, parent: qdiscParent.root, htb: {} };
      await socket.execute(replaceQdisc(root)).catch(explainMissing("sch_htb"));
    }
    await socket.execute(replaceHtbClass(all));
  }

  async #ensureClasses(index: number, wanted: ReadonlyMap<number, WantedClass>, mtu: number): Promise<void> {
    const { socket } = this.#options;
    const actual = new Map((await socket.dump(listHtbClasses(index))).map((each) => [each.handle, each]));
    for (const [handle, each] of wanted) {
      if (each.parent === shareTree) continue;
      const present = actual.get(handle);
      if (present === undefined || !isSameHtbClass(each, present)) await socket.execute(replaceHtbClass(each));
      await this.#queues.ensure(each, present?.leaf, mtu);
    }
    for (const [handle, each] of actual)
      if (!wanted.has(handle))
        await socket.execute(deleteHtbClass(each)).catch((error: unknown) => {
          if (!(error instanceof Error) || !isGone(error)) throw error;
        });
  }

  async #ensureRedirection(index: number, to: number): Promise<void> {
    const { socket, bpf } = this.#options;
    if (this.#led !== index) await this.#removeRedirections(to, index);
    const [present] = await this.#redirectionsAt(index, to);
    if (present !== undefined) return;
    await ensureHooks(socket, index);
    const program = bpf.loadProgram(shareProgramName, shareProgram, []);
    try {
      const filter = { index, hook, priority: filterPriority, to };
      await socket
        .execute(replaceRedirectFilter({ ...filter, program: { descriptor: program.fd, name: shareProgramName } }))
        .catch(explainMissing("act_mirred"));
    } finally {
      program.close();
    }
  }

  async #redirectionsAt(index: number, to: number): Promise<readonly { readonly priority: number }[]> {
    const { socket } = this.#options;
    const found = await socket.dump(listRedirectFilters(index, hook)).catch((error: unknown) => {
      // It has no clsact qdisc.
      if (isErrno(error, "EINVAL", "EOPNOTSUPP")) return [];
      throw error;
    });
    return found.filter((each) => each.priority === filterPriority && each.to === to);
  }

  /** Of all interfaces but this one. */
  async #removeRedirections(to: number, kept: number | undefined): Promise<void> {
    const { socket } = this.#options;
    for (const { index } of await socket.dump(listLinks()))
      if (index !== kept && (await this.#redirectionsAt(index, to)).length > 0)
        await socket.execute(deleteFilter({ index, hook, priority: filterPriority }));
  }
}
