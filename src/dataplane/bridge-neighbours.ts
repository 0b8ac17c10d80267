import type { IpAddress } from "../base/ip.ts";
import type { MacAddress } from "../base/mac.ts";
import { isErrno, SystemError } from "../linux/index.ts";
import {
  deleteNeighbour,
  getNeighbour,
  listNeighbours,
  type Neighbour,
  type NetlinkSocket,
  neighbourFlag,
  neighbourState,
  replaceNeighbour,
} from "../netlink/index.ts";
import type { DesiredNetwork } from "./desired.ts";
import { weftProtocol } from "./ownership.ts";
import type { Report } from "./report.ts";
import { consumed } from "./rows.ts";

export interface NeighbourPlace {
  readonly socket: NetlinkSocket;
  readonly bridgeIndex: () => number;
  readonly report: Report;
}

/**
 * The endpoints of this node as permanent neighbours of the bridge of a layer-3 network: this node is their gateway, and
 * nobody else tells it where to send what is for them.
 */
export class LocalNeighbours {
  readonly #desired: DesiredNetwork;
  readonly #place: NeighbourPlace;
  /** What somebody else took away or changed: its repair is worth an event. */
  readonly #damaged = new Set<IpAddress>();

  constructor(desired: DesiredNetwork, place: NeighbourPlace) {
    this.#desired = desired;
    this.#place = place;
  }

  /** Leaves only addresses marked whose neighbours differ, and takes away what an earlier run left. */
  async compare(): Promise<void> {
    const { socket } = this.#place;
    const bridge = this.#place.bridgeIndex();
    const { changedIps, localsByIp } = this.#desired;
    changedIps.clear();
    const surplus: IpAddress[] = [];
    await socket.dump(
      consumed(listNeighbours({ index: bridge }), ({ index, ip, flags }) => {
        const isOwn = index === bridge && (flags & neighbourFlag.externallyLearned) !== 0;
        if (isOwn && !localsByIp.has(ip)) surplus.push(ip);
      }),
    );
    for (const ip of localsByIp.keys()) if (!(await this.#has(ip))) changedIps.add(ip);
    await socket.batch(surplus.map((ip) => deleteNeighbour(bridge, ip)));
  }

  /** Writes what is marked; what fails stays marked, and the first failure is told. */
  async program(): Promise<Error | undefined> {
    const { changedIps, settings } = this.#desired;
    if (changedIps.size === 0) return undefined;
    const { socket, report } = this.#place;
    const bridge = this.#place.bridgeIndex();
    for (const ip of await wholeAgain(this.#desired, this.#damaged, (each) => this.#has(each)))
      this.#damaged.delete(ip);
    const requests = Array.from(changedIps, (ip) => {
      const mac = this.#desired.neighbourMac(ip);
      const request = mac === undefined ? deleteNeighbour(bridge, ip) : replaceNeighbour(neighbourOf(bridge, ip, mac));
      return Object.assign(request, { ip, isDeletion: mac === undefined });
    });
    changedIps.clear();
    const { failures } = await socket.batch(requests);
    const real = failures.filter(({ request, error }) => {
      const { isDeletion } = request as (typeof requests)[number];
      return !(isDeletion ? isErrno(error, "ENOENT") : isWithoutIpv6(error));
    });
    for (const { request } of real) changedIps.add((request as (typeof requests)[number]).ip);
    for (const ip of this.#damaged)
      report({
        level: "warning",
        kind: "repaired",
        object: `neighbour ${ip} of network ${settings.name}`,
        message: "had been changed or removed; set again",
      });
    this.#damaged.clear();
    return real[0]?.error;
  }

  /** Somebody wrote or took away a neighbour. Tells whether it must be written again. */
  onChanged({ index, ip }: Neighbour): boolean {
    if (index !== this.#place.bridgeIndex() || this.#desired.neighbourMac(ip) === undefined) return false;
    this.#desired.changedIps.add(ip);
    this.#damaged.add(ip);
    return true;
  }

  #has(ip: IpAddress): Promise<boolean> {
    return hasNeighbour(this.#place.socket, this.#place.bridgeIndex(), ip, this.#desired.neighbourMac(ip));
  }
}

/** The bridge has no IPv6, as where its MTU is below 1280 octets (RFC 8200 §5): nobody is asked for a neighbour there. */
export function isWithoutIpv6(error: Error): boolean {
  return error instanceof SystemError && error.kernelMessage?.includes("IPv6 is disabled on this device") === true;
}

/**
 * Which of this node's own `damaged` addresses are as they shall be by now; they are marked no more. An endpoint that
 * speaks before its neighbour is written has the kernel make one by itself, which is no damage.
 */
export async function wholeAgain(
  { localsByIp, changedIps }: DesiredNetwork,
  damaged: ReadonlySet<IpAddress>,
  isWhole: (ip: IpAddress) => Promise<boolean>,
): Promise<readonly IpAddress[]> {
  const whole: IpAddress[] = [];
  for (const ip of [...damaged]) if (localsByIp.has(ip) && (await isWhole(ip))) whole.push(ip);
  for (const ip of whole) changedIps.delete(ip);
  return whole;
}

/** Whether the device has the neighbour, with weft's mark. */
export async function hasNeighbour(
  socket: NetlinkSocket,
  index: number,
  ip: IpAddress,
  mac: MacAddress | undefined,
): Promise<boolean> {
  const entry = await confirmed(() => socket.get(getNeighbour(index, ip)));
  return entry?.mac !== undefined && entry.mac === mac && (entry.flags & neighbourFlag.externallyLearned) !== 0;
}

export function neighbourOf(index: number, ip: IpAddress, mac: MacAddress): Neighbour {
  return {
    index,
    ip,
    mac,
    state: neighbourState.permanent,
    flags: neighbourFlag.externallyLearned,
    protocol: weftProtocol,
  };
}

/** The object, or `undefined` when there is none. */
export async function confirmed<Value>(look: () => Promise<Value>): Promise<Value | undefined> {
  try {
    return await look();
  } catch (error) {
    if (isErrno(error, "ENOENT") || isErrno(error, "ENODEV")) return undefined;
    throw error;
  }
}
