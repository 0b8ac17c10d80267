import { closeSync, constants, openSync } from "node:fs";
import { WeftError } from "../base/errors.ts";
import { checked } from "./descriptor.ts";
import { libc } from "./libc.ts";
import type { NetworkNamespace } from "./namespace.ts";
import { isErrno } from "./system-error.ts";

/** linux/if_tun.h */
const TUNSETIFF = 0x4004_54ca;
const TUNSETPERSIST = 0x4004_54cb;
const TUNSETOWNER = 0x4004_54cc;
const TUNSETGROUP = 0x4004_54ce;
const IFF_TAP = 0x0002;
const IFF_MULTI_QUEUE = 0x0100;
const IFF_NO_PI = 0x1000;
const IFF_VNET_HDR = 0x4000;
/** EBUSY where there is such a device: nobody else's is taken. */
const IFF_TUN_EXCL = 0x8000;

/** linux/if.h: `struct ifreq`. */
const requestLength = 40;
const nameLength = 16;

const device = "/dev/net/tun";

export interface TapSettings {
  /** User that may open it beside root, by number; absent: none. */
  readonly owner?: number;
  /** The same for a group. */
  readonly group?: number;
  /** Whoever opens it must ask for several queues, too: a tap is opened as it was made. */
  readonly isMultiQueue: boolean;
}

/** A tap device that was just made. It goes when this is closed, unless it was told to stay. */
export interface NewTap {
  /** From now on it stays, whoever has it open. */
  persist(): void;
  close(): void;
}

/** Makes a tap device that takes packets with virtio's header (virtio_net.h), so that they need not be cut. EBUSY: the name is taken. */
export function makeTap(namespace: NetworkNamespace, name: string, settings: TapSettings): NewTap {
  const attempted = `make tap ${name} in ${namespace.label}`;
  const fd = namespace.run(() => openDevice(attempted));
  try {
    const request = new Uint8Array(requestLength);
    request.set(new TextEncoder().encode(name));
    const flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_TUN_EXCL | (settings.isMultiQueue ? IFF_MULTI_QUEUE : 0);
    new DataView(request.buffer).setUint16(nameLength, flags, true);
    checked(libc.ioctlOn(fd, TUNSETIFF, request), attempted);
    if (settings.owner !== undefined) checked(libc.ioctlWith(fd, TUNSETOWNER, settings.owner), attempted);
    if (settings.group !== undefined) checked(libc.ioctlWith(fd, TUNSETGROUP, settings.group), attempted);
  } catch (error) {
    closeSync(fd);
    if (!isErrno(error, "EBUSY")) throw error;
    throw error.with({ hint: `somebody made an interface ${name}; choose another name` });
  }
  return {
    persist: () => void checked(libc.ioctlWith(fd, TUNSETPERSIST, 1), attempted),
    close: () => closeSync(fd),
  };
}

function openDevice(attempted: string): number {
  try {
    return openSync(device, constants.O_RDWR);
  } catch (error) {
    throw new WeftError({
      code: "failed-precondition",
      attempted,
      reason: `${device}: ${(error as NodeJS.ErrnoException).code ?? String(error)}`,
      hint: "load the module: modprobe tun",
      cause: error,
    });
  }
}
