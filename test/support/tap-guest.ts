import { closeSync, constants, openSync, readSync, writeSync } from "node:fs";
import { checked } from "../../src/linux/descriptor.ts";
import { type NetworkNamespace, watchReadable } from "../../src/linux/index.ts";
import { libc } from "../../src/linux/libc.ts";

/** linux/if_tun.h */
const TUNSETIFF = 0x4004_54ca;
const IFF_TAP = 0x0002;
const IFF_MULTI_QUEUE = 0x0100;
const IFF_NO_PI = 0x1000;

/** linux/if_tun.h: a frame, and what a segment may be. */
const largestFrame = 65_600;

export interface TapOptions {
  readonly isMultiQueue?: boolean;
}

interface Tap extends TapOptions {
  readonly namespace: NetworkNamespace;
  /** Its name. */
  readonly tap: string;
}

/**
 * What QEMU is to a virtual machine: it has the host's tap open, and hands each frame on to a network card of another kernel,
 * which is a tap again, in a namespace. So the guest's network stack is Linux's own.
 */
export class TapGuest {
  /** Open descriptors. */
  readonly #ends: number[];
  readonly #stops: readonly (() => void)[];

  /** Opens the host's tap by name, as QEMU does, and gives the guest a card, which is there until this is closed. */
  constructor(host: Tap, card: Tap) {
    const ends = [openTap(host), openTap(card)] as const;
    this.#ends = [...ends];
    const buffer = new Uint8Array(largestFrame);
    this.#stops = ends.map((from, index) => {
      const to = ends[index === 0 ? 1 : 0];
      const stop = watchReadable(
        from,
        () => {
          if (!pass(from, to, buffer)) stop();
        },
        true,
      );
      return stop;
    });
  }

  close(): void {
    for (const stop of this.#stops) stop();
    for (const end of this.#ends.splice(0)) closeSync(end);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** asm-generic/errno.h: the device is gone. Node has no name for it. */
const EBADFD = -77;

/** Tells whether there is anything to expect. */
function pass(from: number, to: number, buffer: Uint8Array): boolean {
  try {
    for (;;) {
      const length = readSync(from, buffer);
      writeSync(to, buffer, 0, length);
    }
  } catch (error) {
    const { code, errno } = error as NodeJS.ErrnoException;
    // Nothing more to read, or the other end is down: a card without a cable drops the frame.
    if (code === "EAGAIN" || code === "EIO") return true;
    if (errno === EBADFD) return false;
    throw error;
  }
}

function openTap({ namespace, tap, isMultiQueue = false }: Tap): number {
  const fd = namespace.run(() => openSync("/dev/net/tun", constants.O_RDWR | constants.O_NONBLOCK));
  const request = new Uint8Array(40);
  request.set(new TextEncoder().encode(tap));
  new DataView(request.buffer).setUint16(16, IFF_TAP | IFF_NO_PI | (isMultiQueue ? IFF_MULTI_QUEUE : 0), true);
  checked(libc.ioctlOn(fd, TUNSETIFF, request), `open tap ${tap} in ${namespace.label}`);
  return fd;
}
