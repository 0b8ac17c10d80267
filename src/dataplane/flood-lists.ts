import type { IpAddress } from "../base/ip.ts";
import { zeroMac } from "../base/mac.ts";
import { isErrno } from "../linux/index.ts";
import {
  appendFdbEntry,
  deleteFdbEntry,
  type FdbEntry,
  listFdbEntries,
  type NetlinkSocket,
  neighbourFlag,
  neighbourState,
  type Request,
} from "../netlink/index.ts";
import type { DesiredNetwork } from "./desired.ts";
import type { Report } from "./report.ts";

/**
 * The flood list of each VXLAN tunnel of a network: who gets a copy of each flooded frame (head-end replication, RFC 7432
 * §11). Tunnels on standby have theirs already, so that nothing is missed in the moment of change.
 */
export class FloodLists {
  readonly #desired: DesiredNetwork;
  readonly #socket: NetlinkSocket;
  readonly #report: Report;
  /** What the kernel has, by the index of the tunnel. */
  readonly #present = new Map<number, Set<IpAddress>>();
  readonly #damaged = new Set<IpAddress>();

  constructor(desired: DesiredNetwork, socket: NetlinkSocket, report: Report) {
    this.#desired = desired;
    this.#socket = socket;
    this.#report = report;
  }

  /** The tunnel was made just now: its list is empty, but for the group that it was made with. */
  begin(tunnel: number): void {
    const group = this.#desired.settings.multicast?.address;
    this.#present.set(tunnel, new Set(group === undefined ? [] : [group]));
  }

  /** What the kernel has is not known any more. */
  distrust(): void {
    this.#present.clear();
  }

  /** An entry went away; tells whether it must be put back. */
  onDeleted({ index, vtep }: FdbEntry): boolean {
    if (vtep === undefined || this.#present.get(index)?.delete(vtep) !== true) return false;
    if (!this.#desired.floodList.includes(vtep)) return false;
    this.#damaged.add(vtep);
    return true;
  }

  /** Makes the lists of these tunnels equal to the network's. */
  async program(tunnels: readonly number[]): Promise<void> {
    for (const index of this.#present.keys()) if (!tunnels.includes(index)) this.#present.delete(index);
    for (const index of tunnels) await this.#programOne(index);
    this.#damaged.clear();
  }

  async #programOne(index: number): Promise<void> {
    const present = this.#present.get(index) ?? (await this.#read(index));
    this.#present.set(index, present);
    const wanted = new Set(this.#desired.floodList);
    const missing = [...wanted].filter((vtep) => !present.has(vtep));
    const surplus = [...present].filter((vtep) => !wanted.has(vtep));
    const additions = missing.map((vtep) => appendFdbEntry(this.#entry(index, vtep)));
    const removals = surplus.map((vtep) => deleteFdbEntry(this.#entry(index, vtep)));
    const { failures } = await this.#socket.batch([...additions, ...removals]);
    const failed = failures.filter(({ error }) => !isErrno(error, "EEXIST") && !isErrno(error, "ENOENT"));
    const hasFailed = (request: Request): boolean => failed.some((failure) => failure.request === request);
    missing.forEach((vtep, position) => {
      if (!hasFailed(additions[position] as Request)) present.add(vtep);
    });
    surplus.forEach((vtep, position) => {
      if (!hasFailed(removals[position] as Request)) present.delete(vtep);
    });
    if (failed[0] !== undefined) throw failed[0].error;
    const restored = missing.filter((vtep) => this.#damaged.has(vtep));
    if (restored.length > 0)
      this.#report({
        level: "warning",
        kind: "repaired",
        object: `flood list of network ${this.#desired.settings.name}`,
        message: `${restored.join(", ")} had been removed; added again`,
      });
  }

  async #read(index: number): Promise<Set<IpAddress>> {
    const present = new Set<IpAddress>();
    for (const entry of await this.#socket.dump(listFdbEntries({ index })))
      if (entry.index === index && entry.mac === zeroMac && entry.vtep !== undefined) present.add(entry.vtep);
    return present;
  }

  #entry(index: number, vtep: IpAddress): FdbEntry {
    const { multicast } = this.#desired.settings;
    return {
      index,
      mac: zeroMac,
      state: neighbourState.permanent,
      flags: neighbourFlag.self | neighbourFlag.externallyLearned,
      vtep,
      ...(multicast?.address === vtep ? { viaIndex: multicast.interfaceIndex } : {}),
    };
  }
}
