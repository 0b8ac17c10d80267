import { cidrOf } from "../../base/cidr.ts";
import { familyOf } from "../../base/ip.ts";
import {
  type InterfaceAddressEntry,
  RTM_DELADDR,
  RTM_NEWADDR,
  readAddress,
  replaceAddress,
} from "../../netlink/index.ts";
import type { FakeAnswer, FakeMessage, FakeRequest } from "../fake-kernel.ts";
import type { Context } from "./context.ts";
import { errno, isDump, viewOf } from "./errno.ts";

const RTM_GETADDR = RTM_NEWADDR + 2;
/** linux/rtnetlink.h: RTPROT_KERNEL. */
const kernelProtocol = 2;

/** Addresses of a namespace's devices, each with the route to its prefix. */
export class FakeAddresses {
  readonly #namespace: Context;
  readonly #all = new Map<string, InterfaceAddressEntry>();

  constructor(namespace: Context) {
    this.#namespace = namespace;
  }

  get all(): InterfaceAddressEntry[] {
    return [...this.#all.values()];
  }

  handle({ type, flags, payload }: FakeRequest): FakeAnswer | undefined {
    if (type < RTM_NEWADDR || type > RTM_GETADDR) return undefined;
    const view = viewOf(payload);
    if (type === RTM_GETADDR) {
      const index = isDump(flags) && payload.length >= 8 ? view.getUint32(4, true) : 0;
      const shown = this.all.filter((each) => index === 0 || each.index === index);
      return { messages: shown.map((each) => message(RTM_NEWADDR, each)) };
    }
    const address = readAddress(payload, view, 0, payload.length);
    if (address === undefined) return { errno: errno.EINVAL };
    if (this.#namespace.links.all.get(address.index) === undefined) return { errno: errno.ENODEV };
    if (type === RTM_NEWADDR) this.set(address);
    else if (!this.delete(address)) return { errno: errno.EINVAL };
    return {};
  }

  set(address: InterfaceAddressEntry): void {
    this.#all.set(keyOf(address), { ...address, permanent: true });
    this.#namespace.publish(
      familyOf(address.address) === 4 ? "ipv4Address" : "ipv6Address",
      message(RTM_NEWADDR, address),
    );
    this.#namespace.routes.set({
      destination: cidrOf(address.address, address.prefixLength),
      table: 254,
      protocol: kernelProtocol,
      nexthops: [{ index: address.index }],
      ...(familyOf(address.address) === 6 ? { priority: 256 } : {}),
    });
  }

  delete(address: InterfaceAddressEntry): boolean {
    if (!this.#all.delete(keyOf(address))) return false;
    const { index, prefixLength } = address;
    this.#namespace.routes.forget(
      (route) =>
        route.protocol === kernelProtocol &&
        route.nexthops[0]?.index === index &&
        route.destination === cidrOf(address.address, prefixLength),
    );
    this.#namespace.publish(
      familyOf(address.address) === 4 ? "ipv4Address" : "ipv6Address",
      message(RTM_DELADDR, address),
    );
    return true;
  }

  /** The device has gone. */
  leave(index: number): void {
    for (const address of this.all) if (address.index === index) this.delete(address);
  }
}

function keyOf({ index, address, prefixLength }: InterfaceAddressEntry): string {
  return `${index} ${address}/${prefixLength}`;
}

function message(type: number, address: InterfaceAddressEntry): FakeMessage {
  return { type, write: replaceAddress(address).write };
}
