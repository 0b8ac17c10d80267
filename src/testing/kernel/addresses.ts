import { familyOf, type IpAddress } from "../../base/ip.ts";
import { linkLocalOf } from "../../base/link-local.ts";
import { eventGroup } from "../../netlink/events.ts";
import {
  deleteAddress,
  type InterfaceAddressEntry,
  RTM_DELADDR,
  RTM_NEWADDR,
  readAddress,
  replaceAddress,
} from "../../netlink/index.ts";
import type { FakeAnswer, FakeMessage, FakeRequest } from "../fake-kernel.ts";
import type { Device } from "./device.ts";
import type { DeviceUser, Links } from "./links.ts";
import { type Family, operationOf, Refusal, readAs, told, viewOf } from "./request.ts";
import type { Routes } from "./routes.ts";

/** Where `struct ifaddrmsg` has the index of the device. linux/if_addr.h */
const indexOffset = 4;

/** What an address is: the rest of it can be changed. */
export type Address = Pick<InterfaceAddressEntry, "index" | "address" | "prefixLength">;

/** The addresses of one namespace. */
export class Addresses implements Family, DeviceUser {
  readonly #links: Links;
  readonly #routes: Routes;
  readonly #tell: (group: number, message: FakeMessage) => void;
  readonly #present: Address[] = [];

  constructor(links: Links, routes: Routes, tell: (group: number, message: FakeMessage) => void) {
    this.#links = links;
    this.#routes = routes;
    this.#tell = tell;
  }

  get all(): readonly Address[] {
    return this.#present;
  }

  of(device: Device): readonly Address[] {
    return this.#present.filter(({ index }) => index === device.index);
  }

  add(device: Device, address: IpAddress, prefixLength: number): void {
    if (familyOf(address) === 6) {
      if (device.settings[6].size === 0) throw new Refusal("EINVAL");
      if (device.settings[6].get("disable_ipv6") === "1")
        throw new Refusal("EACCES", "IPv6 is disabled on this device");
    }
    const entry = { index: device.index, address, prefixLength };
    if (!this.#present.some((present) => isSame(present, entry))) {
      this.#present.push(entry);
      if (device.up) this.#routes.addOf(device, entry);
    }
    this.#tell(groupOf(entry), told(RTM_NEWADDR, replaceAddress(entry)));
  }

  onUp(device: Device): void {
    this.#addLinkLocal(device);
    for (const entry of this.of(device)) this.#routes.addOf(device, entry);
  }

  /** Those of IPv6 go: net.ipv6.conf.*.keep_addr_on_down is 0. */
  onDown(device: Device): void {
    for (const entry of this.of(device)) if (familyOf(entry.address) === 6) this.#remove(entry);
  }

  /** net/ipv6/addrconf.c: `addrconf_notify`, for an MTU that changes and for disable_ipv6. */
  onIpv6(device: Device): void {
    this.onDown(device);
    if (device.up) this.#addLinkLocal(device);
  }

  onGone(device: Device): void {
    for (const entry of this.of(device)) this.#remove(entry);
  }

  handle(request: FakeRequest): FakeAnswer | undefined {
    switch (operationOf(request, RTM_NEWADDR)) {
      case "dump": {
        const index = viewOf(request.payload).getUint32(indexOffset, true);
        const shown = this.#present.filter((entry) => index === 0 || entry.index === index);
        return { messages: shown.map((entry) => told(RTM_NEWADDR, replaceAddress(entry))) };
      }
      case "new": {
        const { index, address, prefixLength } = readAs(request, readAddress);
        this.add(this.#links.need(index), address, prefixLength);
        return {};
      }
      case "delete": {
        const asked = readAs(request, readAddress);
        this.#links.need(asked.index);
        const present = this.#present.find((entry) => isSame(entry, asked));
        if (present === undefined) throw new Refusal("EADDRNOTAVAIL", "Address not found");
        this.#remove(present);
        return {};
      }
      default:
        return undefined;
    }
  }

  #addLinkLocal(device: Device): void {
    const settings = device.settings[6];
    const isWanted = settings.get("addr_gen_mode") === "0" && settings.get("disable_ipv6") === "0";
    if (device.mac !== undefined && isWanted) this.add(device, linkLocalOf(device.mac), 64);
  }

  #remove(entry: Address): void {
    this.#present.splice(this.#present.indexOf(entry), 1);
    this.#tell(groupOf(entry), told(RTM_DELADDR, deleteAddress(entry)));
    this.#routes.removeOf(entry, this.#present);
  }
}

function isSame(a: Address, b: Address): boolean {
  return a.index === b.index && a.address === b.address && a.prefixLength === b.prefixLength;
}

function groupOf({ address }: Address): number {
  return familyOf(address) === 4 ? eventGroup.ipv4Address : eventGroup.ipv6Address;
}
