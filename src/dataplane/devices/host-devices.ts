import { WeftError } from "../../base/errors.ts";
import { isErrno, type TapSettings } from "../../linux/index.ts";
import {
  changeLink,
  clsactQdisc,
  deleteFilter,
  deleteLink,
  deleteQdisc,
  filterHook,
  getLink,
  type Link,
  listFilterPriorities,
  listLinks,
  listRedirectFilters,
  lookUp,
  type NetlinkSocket,
  type RedirectFilter,
  replaceRedirectFilter,
  type Watch,
} from "../../netlink/index.ts";
import { ensureHooks } from "../hooks.ts";
import type { KernelNamespace } from "../kernel.ts";
import {
  aliasOf,
  endpointOfHostEnd,
  endpointOfTap,
  hostEndName,
  isOwnLink,
  tapAliasOf,
  weftGroup,
} from "../kernel-names.ts";
import { explainMissing } from "../missing-module.ts";
import { makeMute } from "./mute.ts";

/** The mark of the filters that join devices, which have a number and no name. The letters WE. */
const joinPriority = 0x5745;

export interface HostDevicesOptions {
  readonly instance: string;
  /** The host's own. */
  readonly namespace: KernelNamespace;
  readonly socket: NetlinkSocket;
  readonly watch: Watch;
}

/** A device of the host, and the end of a port that it shall be joined with. */
export interface JoinWish {
  readonly endpoint: string;
  /** Its name. */
  readonly device: string;
  /** weft makes it; absent: it is somebody else's. */
  readonly tap?: TapSettings;
  /** Octets of the largest packet that passes. */
  readonly mtu: number;
  /** Index of the end of the port that is in the host's namespace. */
  readonly end: number;
}

interface Joined {
  readonly wish: JoinWish;
  /** Index of the device; `undefined`: it is not there. */
  readonly index: number | undefined;
  readonly onDamage: () => void;
}

/**
 * Devices of the host's own namespace that endpoints send and receive by, as virtual machines do by their taps: each joined with
 * the end of its port by two filters, so that what one of both receives the other sends (tc-mirred(8)). A bridge between both would
 * learn, answer and flood; a device that moved to the tenant's namespace could not be opened by its name any more.
 *
 * Taps that weft made bear its group and alias, filters of its their priority: the kernel is the record.
 */
export class HostDevices {
  readonly #options: HostDevicesOptions;
  readonly #joined = new Map<string, Joined>();
  /** What is left of earlier runs, or of what went wrong, has been looked for. */
  #isPruned = false;

  constructor(options: HostDevicesOptions) {
    this.#options = options;
    const { watch } = options;
    watch.subscribe("link", ({ index, link }) => this.#onLink(index, link));
    watch.subscribe("trafficControl", ({ index, isGone }) => {
      if (isGone) this.#damage(({ wish, index: own }) => index === own || index === wish.end);
    });
    watch.subscribe("overrun", () => this.#damage(() => true));
  }

  /** Joins the device with the port's end, or finds them joined. `onDamage`: somebody changed that since. */
  async join(
    wish: JoinWish,
    onDamage: () => void,
  ): Promise<{ readonly isWritten: boolean; readonly notes: readonly string[] }> {
    const { socket } = this.#options;
    const { endpoint, device, tap, mtu, end } = wish;
    this.#joined.set(endpoint, { wish, onDamage, index: undefined });
    const present = await lookUp(socket, getLink({ name: device }));
    const unfit = present === undefined ? undefined : this.#unfitness(present, wish);
    if (unfit !== undefined) throw refusal(wish, "failed-precondition", unfit);
    if (present === undefined && tap === undefined)
      throw refusal(wish, "not-found", "the host has no such interface; it is joined as soon as there is one");
    const link = present ?? (await this.#makeTap(wish));
    this.#joined.set(endpoint, { wish, onDamage, index: link.index });
    // Whoever opens the tap speaks to the host until its frames are led away.
    const written = [
      present === undefined,
      await this.#lead(end, link.index),
      await this.#lead(link.index, end),
      tap !== undefined && (await this.#settleTap(link, mtu)),
    ];
    return { isWritten: written.includes(true), notes: tap === undefined ? notesOn(link, mtu) : [] };
  }

  /** Whether somebody has the tap of this name open, as QEMU has while its machine runs. */
  async isOpen(device: string): Promise<boolean> {
    return (await lookUp(this.#options.socket, getLink({ name: device })))?.carrier === true;
  }

  /** Takes the device of an endpoint, if it has one, from its port: a tap of weft's goes, anybody else's stays as it was found. */
  async part(endpoint: string): Promise<void> {
    const joined = this.#joined.get(endpoint);
    const link = joined === undefined ? await this.#leftBy(endpoint) : await this.#joinedBy(joined.wish);
    if (link !== undefined) await this.#leave(link, this.#isTapOf(link, endpoint));
    this.#joined.delete(endpoint);
  }

  /** What is left over may be there again: {@link prune} looks once more. */
  distrust(): void {
    this.#isPruned = false;
  }

  get isPruned(): boolean {
    return this.#isPruned;
  }

  /** Removes what is left of endpoints that are not kept. */
  async prune(isKept: (endpoint: string) => boolean): Promise<void> {
    const { socket, instance } = this.#options;
    this.#isPruned = true;
    try {
      for (const link of await socket.dump(listLinks())) {
        const endpoint = link.group === weftGroup ? endpointOfTap(instance, link.alias) : undefined;
        if (endpoint !== undefined) {
          if (!isKept(endpoint)) await this.#leave(link, true);
        } else if (!isOwnLink(link) && (await this.#isLeftOver(link, isKept))) await this.#leave(link, false);
      }
    } catch (error) {
      this.#isPruned = false;
      throw error;
    }
  }

  /** Whether it is joined with an end of an endpoint that is not kept, or with one that is gone. */
  async #isLeftOver({ index }: Link, isKept: (endpoint: string) => boolean): Promise<boolean> {
    const { socket, instance } = this.#options;
    for (const { to } of await this.#joinOf(index)) {
      // The kernel forgets the number of a device that is gone.
      const end = to === 0 ? undefined : await lookUp(socket, getLink({ index: to }));
      if (end === undefined) return true;
      const endpoint = end.alias === aliasOf(instance) ? endpointOfHostEnd(end.name) : undefined;
      if (endpoint !== undefined && !isKept(endpoint)) return true;
    }
    return false;
  }

  /** The device that is this endpoint's: the next one may have it by now. */
  async #joinedBy({ device, tap, endpoint, end }: JoinWish): Promise<Link | undefined> {
    const link = await lookUp(this.#options.socket, getLink({ name: device }));
    if (link === undefined) return undefined;
    const isOwn =
      tap === undefined ? (await this.#joinOf(link.index)).some(({ to }) => to === end) : this.#isTapOf(link, endpoint);
    return isOwn ? link : undefined;
  }

  /** The device that an earlier run joined with the endpoint's port, which this one has not come to. */
  async #leftBy(endpoint: string): Promise<Link | undefined> {
    const { socket } = this.#options;
    const end = await lookUp(socket, getLink({ name: hostEndName(endpoint) }));
    if (end === undefined || !isOwnLink(end)) return undefined;
    const [join] = await this.#joinOf(end.index);
    return join === undefined || join.to === 0 ? undefined : lookUp(socket, getLink({ index: join.to }));
  }

  #isTapOf({ group, alias }: Link, endpoint: string): boolean {
    return group === weftGroup && alias === tapAliasOf(this.#options.instance, endpoint);
  }

  /** Why the device cannot be what the wish says; `undefined`: it can. */
  #unfitness(link: Link, { endpoint, tap }: JoinWish): string | undefined {
    if (tap === undefined) return unfitAsEndpoint(link);
    return this.#isTapOf(link, endpoint) ? undefined : "an interface of this name is there, and weft did not make it";
  }

  /** It is known as weft's before it is there to stay. */
  async #makeTap({ endpoint, device, tap, mtu }: JoinWish): Promise<Link> {
    const { namespace, socket, instance } = this.#options;
    const made = namespace.makeTap(device, tap ?? { isMultiQueue: false });
    try {
      const alias = tapAliasOf(instance, endpoint);
      await socket.execute(changeLink({ name: device }, { group: weftGroup, alias, mtu }));
      made.persist();
    } finally {
      made.close();
    }
    return socket.get(getLink({ name: device }));
  }

  /** Tells whether anything had to be written. */
  async #settleTap({ index, name, mtu, up }: Link, wanted: number): Promise<boolean> {
    makeMute(this.#options.namespace, name);
    if (mtu === wanted && up) return false;
    await this.#options.socket.execute(changeLink({ index }, { mtu: wanted, up: true }));
    return true;
  }

  /** What the device receives the other one sends. Tells whether that had to be written. */
  async #lead(from: number, to: number): Promise<boolean> {
    const { socket } = this.#options;
    if ((await this.#joinOf(from)).some((filter) => filter.to === to)) return false;
    await ensureHooks(socket, from);
    await socket.execute(replaceRedirectFilter({ ...joinAt(from), to })).catch(explainMissing("act_mirred"));
    return true;
  }

  async #leave({ index }: Link, isOwnTap: boolean): Promise<void> {
    const { socket } = this.#options;
    const ignoreGone = (error: unknown): void => {
      if (!isErrno(error, "ENODEV", "ENOENT", "EINVAL")) throw error;
    };
    if (isOwnTap) return socket.execute(deleteLink({ index })).catch(ignoreGone);
    await socket.execute(deleteFilter(joinAt(index))).catch(ignoreGone);
    const hooks = Object.values(filterHook);
    // What others have there, of whatever kind, would go with the hooks.
    const others = await Promise.all(
      hooks.map((hook) => socket.dump(listFilterPriorities(index, hook)).catch(noneWithoutClsact)),
    );
    if (others.flat().length === 0) await socket.execute(deleteQdisc(clsactQdisc(index))).catch(ignoreGone);
  }

  async #joinOf(index: number): Promise<readonly RedirectFilter[]> {
    const { socket } = this.#options;
    const filters = await socket.dump(listRedirectFilters(index, filterHook.ingress)).catch(noneWithoutClsact);
    return filters.filter(({ priority }) => priority === joinPriority);
  }

  #onLink(index: number, link: Link | undefined): void {
    this.#damage(({ wish, index: own }) => {
      if (index === wish.end) return link?.up === false || (link !== undefined && link.mtu !== wish.mtu);
      if (index === own) return link === undefined || link.name !== wish.device || !isAsLeft(link, wish);
      return link?.name === wish.device;
    });
  }

  #damage(isConcerned: (joined: Joined) => boolean): void {
    for (const joined of this.#joined.values()) if (isConcerned(joined)) joined.onDamage();
  }
}

const joinAt = (index: number): { index: number; hook: number; priority: number } => ({
  index,
  hook: filterHook.ingress,
  priority: joinPriority,
});

/** Why an interface of somebody else's cannot be an endpoint's; `undefined`: it can. */
export function unfitAsEndpoint(link: Link): string | undefined {
  if (isOwnLink(link)) return "weft made it for something else";
  if (link.mac === undefined || link.name === "lo") return "it carries no Ethernet frames";
  if (link.master !== undefined) return "it is a port of a bridge or bond, which would get nothing any more";
  return undefined;
}

function isAsLeft(link: Link, { tap, mtu }: JoinWish): boolean {
  if (tap === undefined) return unfitAsEndpoint(link) === undefined;
  return link.up && link.mtu === mtu;
}

function notesOn({ name, up, mtu }: Link, wanted: number): string[] {
  const notes: string[] = [];
  if (!up) notes.push(`${name} is down; whoever has it sets it up: ip link set ${name} up`);
  if (mtu < wanted) notes.push(`${name} takes ${mtu} octets, less than the ${wanted} of the network`);
  return notes;
}

function refusal({ device }: JoinWish, code: "failed-precondition" | "not-found", reason: string): WeftError {
  return new WeftError({ code, attempted: `join an endpoint's port with interface ${device} of the host`, reason });
}

/** Where a device has no such hooks the kernel says EINVAL. */
function noneWithoutClsact(error: unknown): never[] {
  if (isErrno(error, "EINVAL", "ENODEV")) return [];
  throw error;
}
