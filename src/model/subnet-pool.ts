import type { Cidr } from "../base/cidr.ts";
import type { Duration } from "../base/duration.ts";
import type { IpAddress } from "../base/ip.ts";
import { ok, type Result } from "../base/result.ts";
import { RangePool, type ReleasedAddress } from "./range-pool.ts";
import { reservedReason } from "./subnet.ts";

/** A block that a node must own before its endpoint can have an address. */
export interface BlockNeed {
  readonly subnet: Cidr;
  /** Free now. Absent: none is. */
  readonly block?: Cidr;
  /** When the next address or block comes out of quarantine; absent: none is in it. */
  readonly freeAt?: number;
  /** A block of another node in which nobody has an address. */
  readonly empty?: Cidr;
}

/** The addresses of one subnet, and who has which. */
export interface SubnetAddresses {
  readonly subnet: Cidr;
  readonly taken: number;
  ownerOf(address: IpAddress): string | undefined;
  /** Why no endpoint gets this address: `the gateway of 10.0.0.0/24`. */
  reservedReason(address: IpAddress): string | undefined;
  /**
   * What `node` lacks for this address, or for any when none is wanted; an error says why it cannot have it. `declared`: the only blocks
   * that it may come to own; absent: any.
   */
  need(
    node: string,
    wanted: IpAddress | undefined,
    now: number,
    declared?: readonly Cidr[],
  ): Result<BlockNeed | undefined, string>;
  /** An address for an endpoint of `node`; otherwise when the next one comes free, if one is in quarantine. */
  next(node: string, now: number): Result<IpAddress, { readonly freeAt: number | undefined }>;
  /** The caller has made sure that the address is in the subnet, not reserved and not taken by another. */
  take(address: IpAddress, owner: string): void;
  /** Puts an address of `owner` into quarantine. Nothing happens when the owner does not have it. */
  release(address: IpAddress, owner: string, now: number): void;
  /** Puts an address that nobody has into quarantine, as of `releasedAt`. Reserved and taken ones are left alone. */
  quarantine(released: ReleasedAddress): void;
  /** The addresses whose quarantine has not passed. */
  quarantined(now: number): Iterable<ReleasedAddress>;
  /** Reserves another gateway, which the caller has made sure that nobody has. The old one goes into quarantine. */
  setGateway(gateway: IpAddress | undefined, now: number): void;
}

/** A subnet of an l2 network: any node's endpoint may have any address. */
export class SubnetPool implements SubnetAddresses {
  readonly subnet: Cidr;
  readonly #pool: RangePool;
  #gateway: IpAddress | undefined;

  constructor(subnet: Cidr, gateway: IpAddress | undefined, quarantine: Duration) {
    this.subnet = subnet;
    this.#gateway = gateway;
    this.#pool = new RangePool((address) => this.reservedReason(address) !== undefined, quarantine);
    this.#pool.add(subnet);
  }

  get taken(): number {
    return this.#pool.taken;
  }

  ownerOf(address: IpAddress): string | undefined {
    return this.#pool.ownerOf(address);
  }

  reservedReason(address: IpAddress): string | undefined {
    const reason = address === this.#gateway ? "the gateway" : reservedReason(this.subnet, address);
    return reason === undefined ? undefined : `${reason} of ${this.subnet}`;
  }

  need(): Result<undefined, never> {
    return ok(undefined);
  }

  next(_node: string, now: number) {
    return this.#pool.next(now);
  }

  take(address: IpAddress, owner: string): void {
    this.#pool.take(address, owner);
  }

  release(address: IpAddress, owner: string, now: number): void {
    this.#pool.release(address, owner, now);
  }

  quarantine(released: ReleasedAddress): void {
    this.#pool.quarantine(released);
  }

  quarantined(now: number): Iterable<ReleasedAddress> {
    return this.#pool.quarantined(now);
  }

  setGateway(gateway: IpAddress | undefined, now: number): void {
    const old = this.#gateway;
    if (old === gateway) return;
    this.#gateway = gateway;
    if (gateway !== undefined) this.#pool.forget(gateway);
    if (old !== undefined) this.#pool.quarantine({ address: old, releasedAt: now });
  }
}
