import { addressAt, type Cidr, cidrOf, cidrSize, cidrsOverlap, networkAddress, prefixLengthOf } from "../base/cidr.ts";
import { type Duration, formatDuration, milliseconds } from "../base/duration.ts";
import { type IpAddress, ipToBigInt } from "../base/ip.ts";
import { err, ok, type Result } from "../base/result.ts";
import { blockPrefixLength } from "./network-rules.ts";
import { RangePool, type ReleasedAddress } from "./range-pool.ts";
import { blockReservedReason } from "./subnet.ts";
import type { BlockNeed, SubnetAddresses } from "./subnet-pool.ts";

interface OwnedBlock {
  readonly node: string;
  /** Addresses of it that endpoints have. */
  taken: number;
}

/**
 * A subnet of an l3 network: nodes own blocks of it, and an endpoint gets an address of its node's blocks. Choosing an
 * address takes constant time, choosing a block the logarithm of those released, however many blocks there are.
 */
export class BlockPool implements SubnetAddresses {
  readonly subnet: Cidr;
  readonly #prefixLength: number;
  readonly #size: bigint;
  readonly #count: bigint;
  readonly #quarantine: Duration;
  readonly #blocks = new Map<Cidr, OwnedBlock>();
  /** The addresses of all blocks of one node, and how many blocks these are. */
  readonly #pools = new Map<string, { readonly addresses: RangePool; blocks: number }>();
  /** Owned blocks in which nobody has an address. */
  readonly #empty = new Set<Cidr>();
  /** Claims under way: who makes them. */
  readonly #claims = new Map<Cidr, string>();
  /** Blocks in quarantine, in order of release. */
  readonly #released = new Map<Cidr, { readonly node: string; readonly at: number }>();
  /** Numbers of blocks that came free again, the lowest last; also of some that were claimed since. */
  readonly #ripe: bigint[] = [];
  /** No block below this number is free, but for `#ripe`. */
  #cursor = 0n;
  #taken = 0;

  constructor(subnet: Cidr, blockSize: number, quarantine: Duration) {
    this.subnet = subnet;
    this.#prefixLength = blockPrefixLength(subnet, blockSize);
    this.#size = BigInt(blockSize);
    this.#count = cidrSize(subnet) / this.#size;
    this.#quarantine = quarantine;
  }

  get taken(): number {
    return this.#taken;
  }

  /** The block that an address of the subnet is in. */
  blockOf(address: IpAddress): Cidr {
    return cidrOf(address, this.#prefixLength);
  }

  /** The block is the node's from now on. */
  own(block: Cidr, node: string): void {
    this.#claims.delete(block);
    this.#released.delete(block);
    if (this.#blocks.has(block)) return;
    this.#blocks.set(block, { node, taken: 0 });
    this.#empty.add(block);
    let pool = this.#pools.get(node);
    if (pool === undefined) {
      const isReserved = (address: IpAddress) => this.reservedReason(address) !== undefined;
      pool = { addresses: new RangePool(isReserved, this.#quarantine), blocks: 0 };
      this.#pools.set(node, pool);
    }
    pool.blocks++;
    pool.addresses.add(block);
  }

  /** The block is `node`'s no more; nobody owns it until the quarantine has passed. Told in order of release. */
  disown(block: Cidr, node: string, releasedAt: number): void {
    const owned = this.#blocks.get(block);
    if (owned !== undefined) {
      this.#taken -= owned.taken;
      const pool = this.#pools.get(owned.node);
      pool?.addresses.drop(block);
      if (pool !== undefined && --pool.blocks === 0) this.#pools.delete(owned.node);
      this.#blocks.delete(block);
      this.#empty.delete(block);
    }
    this.#released.delete(block);
    this.#released.set(block, { node, at: releasedAt });
  }

  /** Keeps a free block for a claim under way, until it is owned or given back. */
  claim(block: Cidr, node: string): void {
    this.#claims.set(block, node);
  }

  /** Ends a claim; the block comes free again unless it is owned by now. */
  endClaim(block: Cidr): void {
    if (this.#claims.delete(block)) this.#addRipe(block);
  }

  /** Nobody has an address of this block, and nobody is about to. */
  isEmpty(block: Cidr): boolean {
    return (this.#blocks.get(block)?.taken ?? 0) === 0;
  }

  isInQuarantine(block: Cidr, now: number): boolean {
    const released = this.#released.get(block);
    return released !== undefined && released.at + this.#quarantine > now;
  }

  ownerOf(address: IpAddress): string | undefined {
    return this.#poolOf(address)?.ownerOf(address);
  }

  reservedReason(address: IpAddress): string | undefined {
    const block = this.blockOf(address);
    const reason = blockReservedReason(block, address);
    return reason === undefined ? undefined : `${reason} of block ${block}`;
  }

  need(
    node: string,
    wanted: IpAddress | undefined,
    now: number,
    declared?: readonly Cidr[],
  ): Result<BlockNeed | undefined, string> {
    if (wanted !== undefined) return this.#needOf(wanted, node, now, declared);
    const address = this.next(node, now);
    if (address.ok) return ok(undefined);
    if (declared !== undefined) return this.#needOfDeclared(node, now, declared);
    const block = this.#nextFree(now);
    if (block !== undefined) return ok({ subnet: this.subnet, block });
    const [oldest] = this.#released.values();
    const times = [address.error.freeAt, oldest && oldest.at + this.#quarantine].filter((time) => time !== undefined);
    const empty = this.#emptyOfOthers(node);
    return ok({
      subnet: this.subnet,
      ...(times.length === 0 ? {} : { freeAt: Math.min(...times) }),
      ...(empty === undefined ? {} : { empty }),
    });
  }

  next(node: string, now: number): Result<IpAddress, { readonly freeAt: number | undefined }> {
    return this.#pools.get(node)?.addresses.next(now) ?? err({ freeAt: undefined });
  }

  /** An address of a block that nobody owns is not taken: the store holds none. */
  take(address: IpAddress, owner: string): void {
    const block = this.blockOf(address);
    const owned = this.#blocks.get(block);
    const pool = owned === undefined ? undefined : this.#pools.get(owned.node)?.addresses;
    if (owned === undefined || pool === undefined) return;
    if (pool.ownerOf(address) === undefined) {
      owned.taken++;
      this.#taken++;
      this.#empty.delete(block);
    }
    pool.take(address, owner);
  }

  release(address: IpAddress, owner: string, now: number): void {
    const block = this.blockOf(address);
    const owned = this.#blocks.get(block);
    if (owned === undefined || this.#pools.get(owned.node)?.addresses.release(address, owner, now) !== true) return;
    owned.taken--;
    this.#taken--;
    if (owned.taken === 0) this.#empty.add(block);
  }

  quarantine(released: ReleasedAddress): void {
    this.#poolOf(released.address)?.quarantine(released);
  }

  *quarantined(now: number): Generator<ReleasedAddress> {
    for (const { addresses } of this.#pools.values()) yield* addresses.quarantined(now);
  }

  /** Each block has a gateway of its own. */
  setGateway(): void {}

  /** A node may have a wanted address of its own blocks, or of one that is free and becomes its own. */
  #needOf(
    wanted: IpAddress,
    node: string,
    now: number,
    declared: readonly Cidr[] | undefined,
  ): Result<BlockNeed | undefined, string> {
    const block = this.blockOf(wanted);
    const need = this.#needOfBlock(block, node, now);
    if (!need.ok) {
      const { node: owner, freeIn } = need.error;
      if (freeIn === undefined) return err(`it is in block ${block} of node ${owner}`);
      return err(`it is in block ${block}, which node ${owner} gave up a moment ago; it comes free in ${freeIn}`);
    }
    if (need.value !== undefined && declared?.includes(block) === false)
      return err(`it is in block ${block}, which is not declared for node ${node}`);
    return need;
  }

  /** The first of the blocks that the node can have; it has no room in those that it owns. */
  #needOfDeclared(node: string, now: number, declared: readonly Cidr[]): Result<BlockNeed | undefined, string> {
    const own = declared.filter((block) => cidrsOverlap(block, this.subnet));
    if (own.length === 0) return err(`no block of ${this.subnet} is declared for node ${node}`);
    const reasons: string[] = [];
    for (const block of own) {
      if (prefixLengthOf(block) !== this.#prefixLength) {
        reasons.push(`${block} is no block of the network, whose blockSize makes them /${this.#prefixLength}`);
        continue;
      }
      const need = this.#needOfBlock(block, node, now);
      if (!need.ok) {
        const { node: owner, freeIn } = need.error;
        reasons.push(
          freeIn === undefined
            ? `${block} is node ${owner}'s`
            : `${block} was node ${owner}'s a moment ago and comes free in ${freeIn}`,
        );
      } else if (need.value === undefined) reasons.push(`${block} is full`);
      else return need;
    }
    return err(`no block that is declared for node ${node} has room: ${reasons.join("; ")}`);
  }

  /** Whether the node owns it, or can; if not: who does, or did, and when it comes free. */
  #needOfBlock(
    block: Cidr,
    node: string,
    now: number,
  ): Result<BlockNeed | undefined, { readonly node: string; readonly freeIn?: string }> {
    const owner = this.#blocks.get(block)?.node ?? this.#claims.get(block);
    if (owner === node) return ok(this.#blocks.has(block) ? undefined : { subnet: this.subnet, block });
    if (owner !== undefined) return err({ node: owner });
    const released = this.#released.get(block);
    if (released === undefined || !this.isInQuarantine(block, now)) return ok({ subnet: this.subnet, block });
    const freeIn = formatDuration(milliseconds(released.at + this.#quarantine - now));
    return err({ node: released.node, freeIn });
  }

  /** The lowest block that may be claimed. */
  #nextFree(now: number): Cidr | undefined {
    for (const [block, { at }] of this.#released) {
      if (at + this.#quarantine > now) break;
      this.#released.delete(block);
      this.#addRipe(block);
    }
    while (this.#cursor < this.#count && !this.#isFree(this.#block(this.#cursor))) this.#cursor++;
    for (;;) {
      const lowest = this.#ripe.at(-1);
      if (lowest === undefined || lowest >= this.#cursor) break;
      const block = this.#block(lowest);
      if (this.#isFree(block)) return block;
      this.#ripe.pop();
    }
    return this.#cursor < this.#count ? this.#block(this.#cursor) : undefined;
  }

  #isFree(block: Cidr): boolean {
    return !this.#blocks.has(block) && !this.#claims.has(block) && !this.#released.has(block);
  }

  #block(number: bigint): Cidr {
    return `${addressAt(this.subnet, number * this.#size)}/${this.#prefixLength}` as Cidr;
  }

  /** Keeps the numbers in falling order. */
  #addRipe(block: Cidr): void {
    const number = (ipToBigInt(networkAddress(block)) - ipToBigInt(networkAddress(this.subnet))) / this.#size;
    let [low, high] = [0, this.#ripe.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#ripe[middle] as bigint) > number) low = middle + 1;
      else high = middle;
    }
    if (this.#ripe[low] !== number) this.#ripe.splice(low, 0, number);
  }

  #emptyOfOthers(node: string): Cidr | undefined {
    for (const block of this.#empty) if (this.#blocks.get(block)?.node !== node) return block;
    return undefined;
  }

  #poolOf(address: IpAddress): RangePool | undefined {
    const owned = this.#blocks.get(this.blockOf(address));
    return owned === undefined ? undefined : this.#pools.get(owned.node)?.addresses;
  }
}
