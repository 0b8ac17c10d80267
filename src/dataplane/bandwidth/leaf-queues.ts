import { isErrno } from "../../linux/index.ts";
import {
  deleteQdisc,
  getQdisc,
  type HtbClass,
  lookUp,
  type NetlinkSocket,
  type Qdisc,
  replaceQdisc,
  tcHandle,
} from "../../netlink/index.ts";
import { explainMissing } from "../missing-module.ts";
import { frameOf, segmentedBelow, unlimited, type WantedClass } from "./classes.ts";

/** Of the fair queue below the queue of a class: the handles of those have it not set. */
const fairQueue = 0x8000;
/** Octets of the largest packet of segmentation offload. linux/netdevice.h: GSO_MAX_SIZE. */
const largestPacket = 8 * 65_536;

/**
 * What waits for its turn in htb classes: a tbf that has no limit and takes packets of segmentation offload apart, because a class is
 * charged for 64 KiB at once, half a second at 1 Mbit/s, and loses them all at once; below it a fair queue, where the kernel has one.
 */
export class LeafQueues {
  readonly #socket: NetlinkSocket;
  /** Whether the kernel has fq_codel; `undefined`: not known. */
  #hasFairQueue: boolean | undefined;

  constructor(socket: NetlinkSocket) {
    this.#socket = socket;
  }

  /** The queue of a class that is there, `leaf` being what hangs on it. `mtu`: of what is sent. What waits stays. */
  async ensure({ index, handle: parent, ceil }: WantedClass, leaf: HtbClass["leaf"], mtu: number): Promise<void> {
    const socket = this.#socket;
    const minor = parent & 0xffff;
    const frame = frameOf(mtu);
    const burst = ceil < segmentedBelow ? frame : largestPacket;
    const queue = { index, handle: tcHandle(minor), parent };
    const limit = queueLimit(ceil, frame);
    const present = leaf === queue.handle ? await lookUp(socket, getQdisc(index, queue.handle)) : undefined;
    // The kernel changes the settings of a qdisc, and not its kind.
    if (present !== undefined && present.kind !== "tbf") await socket.execute(deleteQdisc(present));
    const isThere = present?.kind === "tbf";
    if (!isThere || present.tbf?.limit !== limit)
      await socket
        .execute(replaceQdisc({ ...queue, kind: "tbf", tbf: { rate: unlimited, burst, limit } }))
        .catch(explainMissing("sch_tbf"));
    await this.#ensureFair(queue, isThere);
  }

  /** Below a queue that an earlier run left there is one if the kernel has it. */
  async #ensureFair({ index, handle }: Pick<Qdisc, "index" | "handle">, isThere: boolean): Promise<void> {
    if (this.#hasFairQueue === false) return;
    const socket = this.#socket;
    const below = { index, kind: "fq_codel", handle: handle | (fairQueue << 16), parent: handle + 1 };
    const fair = { ...below, handle: below.handle >>> 0 };
    const hasOne = (await lookUp(socket, getQdisc(index, fair.handle))) !== undefined;
    if (hasOne) this.#hasFairQueue = true;
    if (hasOne || (isThere && this.#hasFairQueue === undefined)) return;
    try {
      await socket.execute(replaceQdisc(fair));
      this.#hasFairQueue = true;
    } catch (error) {
      if (!isErrno(error, "ENOENT")) throw error;
      this.#hasFairQueue = false;
    }
  }
}

/** Octets that wait at most: 50 ms of the rate, and 20 frames, so that many connections find room at small rates. */
function queueLimit(ceil: number, frame: number): number {
  return Math.min(32_000_000, Math.round((ceil / 8) * 0.05)) + 20 * frame;
}
