import { type Cidr, networkAddress } from "../base/cidr.ts";
import type { Duration } from "../base/duration.ts";
import { type IpAddress, ipFromBytes, ipToBytes } from "../base/ip.ts";
import { err, ok, type Result } from "../base/result.ts";
import { lastAddress, reservedReason } from "./subnet.ts";

/** An address that was released and that nobody has taken since. */
export interface ReleasedAddress {
  readonly address: IpAddress;
  /** Milliseconds of the clock that the pool is used with. */
  readonly releasedAt: number;
}

/**
 * So many released addresses wait before the oldest is used again although there are unused ones left. Bounds the
 * memory of a pool over a subnet, such as an IPv6 /64, that never runs out of unused addresses.
 */
const maximumWaiting = 4096;

/**
 * The addresses of one subnet. Unused ones are given out in ascending order; after them, the one that was released
 * longest ago. Each operation takes constant time, amortised: the cursor passes an address once, and released
 * addresses wait in a queue. Memory follows the addresses in use, not the size of the subnet.
 */
export class SubnetPool {
  readonly subnet: Cidr;
  readonly #quarantine: Duration;
  readonly #last: IpAddress;
  readonly #owners = new Map<IpAddress, string>();
  /** In order of release. */
  readonly #released = new Map<IpAddress, ReleasedAddress>();
  /** Walks `#released`; a new one from the start would visit all that was ever deleted there. */
  readonly #queue = this.#released.values();
  #oldest: ReleasedAddress | undefined;
  #gateway: IpAddress | undefined;
  /** Every address below the cursor is reserved, owned or released. `undefined`: so is the whole subnet. */
  #cursor: IpAddress | undefined;
  readonly #cursorBytes: Uint8Array;

  constructor(subnet: Cidr, gateway: IpAddress | undefined, quarantine: Duration) {
    this.subnet = subnet;
    this.#gateway = gateway;
    this.#quarantine = quarantine;
    this.#last = lastAddress(subnet);
    this.#cursor = networkAddress(subnet);
    this.#cursorBytes = ipToBytes(this.#cursor);
  }

  ownerOf(address: IpAddress): string | undefined {
    return this.#owners.get(address);
  }

  get taken(): number {
    return this.#owners.size;
  }

  /** Why no endpoint gets this address. */
  reservedReason(address: IpAddress): string | undefined {
    return address === this.#gateway ? "the gateway" : reservedReason(this.subnet, address);
  }

  /** An address that may be taken now; otherwise when the next one comes free, if one is in quarantine. */
  next(now: number): Result<IpAddress, { readonly freeAt: number | undefined }> {
    const oldest = this.#oldestReleased();
    const isRipe = oldest !== undefined && oldest.releasedAt + this.#quarantine <= now;
    if (isRipe && this.#released.size >= maximumWaiting) return ok(oldest.address);
    const unused = this.#nextUnused();
    if (unused !== undefined) return ok(unused);
    if (isRipe) return ok(oldest.address);
    return err({ freeAt: oldest === undefined ? undefined : oldest.releasedAt + this.#quarantine });
  }

  /** The caller has made sure that the address is in the subnet, not reserved and not taken. */
  take(address: IpAddress, owner: string): void {
    this.#released.delete(address);
    this.#owners.set(address, owner);
  }

  /** Puts an address of `owner` into quarantine. Nothing happens when the owner does not have it. */
  release(address: IpAddress, owner: string, now: number): void {
    if (this.#owners.get(address) !== owner) return;
    this.#owners.delete(address);
    this.#wait(address, now);
  }

  /** Puts an address that nobody has into quarantine, as of `releasedAt`. Reserved and taken ones are left alone. */
  quarantine({ address, releasedAt }: ReleasedAddress): void {
    if (!this.#owners.has(address) && this.reservedReason(address) === undefined) this.#wait(address, releasedAt);
  }

  /** Reserves another gateway, which the caller has made sure that nobody has. The old one goes into quarantine. */
  setGateway(gateway: IpAddress | undefined, now: number): void {
    const old = this.#gateway;
    if (old === gateway) return;
    this.#gateway = gateway;
    if (gateway !== undefined) this.#released.delete(gateway);
    if (old !== undefined) this.#wait(old, now);
  }

  /** The addresses whose quarantine has not passed, in order of release. */
  *quarantined(now: number): Generator<ReleasedAddress> {
    for (const released of this.#released.values()) if (released.releasedAt + this.#quarantine > now) yield released;
  }

  #wait(address: IpAddress, releasedAt: number): void {
    this.#released.delete(address);
    this.#released.set(address, { address, releasedAt });
  }

  /** Every entry that the queue has passed, but the last, is gone; so while there are entries, it has not ended. */
  #oldestReleased(): ReleasedAddress | undefined {
    while (this.#oldest === undefined || this.#released.get(this.#oldest.address) !== this.#oldest) {
      // An iterator that has once ended would not see entries added later.
      if (this.#released.size === 0) return undefined;
      this.#oldest = this.#queue.next().value;
    }
    return this.#oldest;
  }

  #nextUnused(): IpAddress | undefined {
    while (this.#cursor !== undefined && !this.#isUnused(this.#cursor)) {
      if (this.#cursor === this.#last) {
        this.#cursor = undefined;
        break;
      }
      increment(this.#cursorBytes);
      this.#cursor = ipFromBytes(this.#cursorBytes);
    }
    return this.#cursor;
  }

  #isUnused(address: IpAddress): boolean {
    return !this.#owners.has(address) && !this.#released.has(address) && this.reservedReason(address) === undefined;
  }
}

/** Adds one to a number in network byte order. */
function increment(bytes: Uint8Array): void {
  for (let index = bytes.length - 1; index >= 0; index--) {
    const value = ((bytes[index] as number) + 1) & 0xff;
    bytes[index] = value;
    if (value !== 0) return;
  }
}
