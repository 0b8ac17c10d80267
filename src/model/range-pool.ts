import { type Cidr, cidrContains, networkAddress } from "../base/cidr.ts";
import type { Duration } from "../base/duration.ts";
import { type IpAddress, ipFromBytes, ipToBytes } from "../base/ip.ts";
import { err, ok, type Result } from "../base/result.ts";
import { lastAddress } from "./subnet.ts";

/** An address that was released and that nobody has taken since. */
export interface ReleasedAddress {
  readonly address: IpAddress;
  /** Milliseconds of the clock that the pool is used with. */
  readonly releasedAt: number;
}

/**
 * So many released addresses wait before the oldest is used again although there are unused ones left. Bounds the
 * memory of a pool over a range, such as an IPv6 /64, that never runs out of unused addresses.
 */
const maximumWaiting = 4096;

/**
 * The addresses of some prefixes. Unused ones are given out in ascending order within a prefix, the prefix that was
 * added first before the others; after them, the one that was released longest ago. Each operation takes constant
 * time, amortised: the cursor passes an address once, and released addresses wait in a queue. Memory follows the
 * addresses in use, not the size of the prefixes.
 */
export class RangePool {
  readonly #isReserved: (address: IpAddress) => boolean;
  readonly #quarantine: Duration;
  readonly #owners = new Map<IpAddress, string>();
  /** In order of release. */
  readonly #released = new Map<IpAddress, ReleasedAddress>();
  /** Walks `#released`; a new one from the start would visit all that was ever deleted there. */
  readonly #queue = this.#released.values();
  #oldest: ReleasedAddress | undefined;
  /** Prefixes that the cursor has not passed; it is in the first. */
  readonly #ranges: Cidr[] = [];
  /** Every address of the first range below the cursor is reserved, owned or released. `undefined`: not begun yet. */
  #cursor: IpAddress | undefined;
  #cursorBytes: Uint8Array = new Uint8Array();
  /** The last address of the first range. */
  #last: IpAddress | undefined;

  constructor(isReserved: (address: IpAddress) => boolean, quarantine: Duration) {
    this.#isReserved = isReserved;
    this.#quarantine = quarantine;
  }

  /** The addresses of this prefix are the pool's from now on. */
  add(range: Cidr): void {
    this.#ranges.push(range);
  }

  /** The addresses of this prefix are not the pool's any more; nobody has one of them. */
  drop(range: Cidr): void {
    const index = this.#ranges.indexOf(range);
    if (index === 0) this.#cursor = undefined;
    if (index >= 0) this.#ranges.splice(index, 1);
    for (const address of this.#released.keys()) if (cidrContains(range, address)) this.#released.delete(address);
  }

  ownerOf(address: IpAddress): string | undefined {
    return this.#owners.get(address);
  }

  get taken(): number {
    return this.#owners.size;
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

  /** The caller has made sure that the address is the pool's, not reserved and not taken by another. */
  take(address: IpAddress, owner: string): void {
    this.#released.delete(address);
    this.#owners.set(address, owner);
  }

  /** Puts an address of `owner` into quarantine; false, and nothing happens, when the owner does not have it. */
  release(address: IpAddress, owner: string, now: number): boolean {
    if (this.#owners.get(address) !== owner) return false;
    this.#owners.delete(address);
    this.#wait(address, now);
    return true;
  }

  /** Puts an address that nobody has into quarantine, as of `releasedAt`. Reserved and taken ones are left alone. */
  quarantine({ address, releasedAt }: ReleasedAddress): void {
    if (!this.#owners.has(address) && !this.#isReserved(address)) this.#wait(address, releasedAt);
  }

  /** The address has been reserved. */
  forget(address: IpAddress): void {
    this.#released.delete(address);
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
    for (;;) {
      const [range] = this.#ranges;
      if (range === undefined) return undefined;
      if (this.#cursor === undefined) {
        this.#cursor = networkAddress(range);
        this.#cursorBytes = ipToBytes(this.#cursor);
        this.#last = lastAddress(range);
      }
      while (!this.#isUnused(this.#cursor)) {
        if (this.#cursor === this.#last) break;
        increment(this.#cursorBytes);
        this.#cursor = ipFromBytes(this.#cursorBytes);
      }
      if (this.#isUnused(this.#cursor)) return this.#cursor;
      this.#ranges.shift();
      this.#cursor = undefined;
    }
  }

  #isUnused(address: IpAddress): boolean {
    return !this.#owners.has(address) && !this.#released.has(address) && !this.#isReserved(address);
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
