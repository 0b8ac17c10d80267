import { type Cidr, cidrContains, cidrFamily, networkAddress } from "../base/cidr.ts";
import { type Duration, formatDuration, milliseconds, seconds } from "../base/duration.ts";
import { type ErrorCode, WeftError } from "../base/errors.ts";
import type { IpAddress } from "../base/ip.ts";
import type { MacAddress } from "../base/mac.ts";
import { err, ok, type Result } from "../base/result.ts";
import { BlockPool } from "./block-pool.ts";
import { addressMac, type Hash, isUnicastMac, networkMac, type RandomBytes, randomMac } from "./endpoint-mac.ts";
import type { ReleasedAddress } from "./range-pool.ts";
import type { Endpoint, Network, Vni } from "./resources.ts";
import { type BlockNeed, type SubnetAddresses, SubnetPool } from "./subnet-pool.ts";

/**
 * How long a released address is not given out by itself: longer than other hosts of the tenant hold the MAC
 * of the endpoint that had it (Linux: at most 45 s until a stale neighbour is probed, base_reachable_time).
 */
const defaultQuarantine: Duration = seconds(60);

/** With 2^46 MACs and some thousand taken, even one collision is a rarity; so many in a row are a broken generator. */
const maximumMacTries = 16;

/** What an endpoint holds of its network's addresses. */
export type Holding = Pick<Endpoint, "id" | "mac" | "ips">;

/** What an endpoint wants: the MAC and addresses that are absent are chosen. */
export interface HoldingRequest extends Pick<Endpoint, "id" | "ips"> {
  readonly mac?: MacAddress;
  /** Whose blocks the addresses are of, in an l3 network. */
  readonly node: string;
  /** The only blocks that the node may come to own. Absent: any. */
  readonly blocks?: readonly Cidr[];
}

/** The part of a network that decides its addresses. */
export type Addressing = Pick<Network, "name" | "vni" | "mode" | "subnets" | "gateways" | "blockSize">;

export interface AddressPoolOptions {
  readonly random: RandomBytes;
  readonly hash: Hash;
  /** Default 60 s. */
  readonly quarantine?: Duration;
}

/**
 * Who has which MAC and IP address in one network. Not persistent: whoever starts it hands it what the store has
 * by {@link adopt} and {@link quarantine}. Every `now` is in milliseconds of one clock that never goes back.
 */
export class AddressPool {
  readonly #network: string;
  readonly #vni: Vni;
  readonly #subnets: readonly SubnetAddresses[];
  /** The subnets of an l3 network. */
  readonly #blockPools: readonly BlockPool[];
  readonly #macs = new Map<MacAddress, string>();
  readonly #random: RandomBytes;
  readonly #hash: Hash;

  constructor(network: Addressing, options: AddressPoolOptions) {
    const { quarantine = defaultQuarantine } = options;
    this.#network = network.name;
    this.#vni = network.vni;
    this.#random = options.random;
    this.#hash = options.hash;
    const { subnets, gateways, blockSize } = network;
    this.#blockPools =
      network.mode === "l2" ? [] : subnets.map((subnet) => new BlockPool(subnet, blockSize, quarantine));
    const gatewayOf = (subnet: Cidr) => gateways.find((address) => cidrContains(subnet, address));
    this.#subnets =
      network.mode === "l3"
        ? this.#blockPools
        : subnets.map((subnet) => new SubnetPool(subnet, gatewayOf(subnet), quarantine));
  }

  /** What is known of the blocks around an address or prefix; undefined in an l2 network, and outside of the subnets. */
  blocksAt(place: IpAddress | Cidr): BlockPool | undefined {
    const address = (place.includes("/") ? networkAddress(place as Cidr) : place) as IpAddress;
    return this.#blockPools.find((pool) => cidrContains(pool.subnet, address));
  }

  /** The id of the endpoint that has the MAC. */
  ownerOfMac(mac: MacAddress): string | undefined {
    return this.#macs.get(mac);
  }

  /** Why no endpoint gets this address: it is in none of the subnets, or reserved. */
  unusableReason(address: IpAddress): string | undefined {
    const pool = this.#subnetOf(address);
    if (pool !== undefined) return pool.reservedReason(address);
    return `outside the network's subnets ${this.#subnets.map((other) => other.subnet).join(" and ")}`;
  }

  /**
   * The block that the node has to own before {@link allocate} can give its endpoint what it wants; undefined: none.
   * Fails when it cannot have it at all.
   */
  need(request: HoldingRequest, now: number): Result<BlockNeed | undefined, WeftError> {
    const wanted = this.#checkWanted(request);
    if (!wanted.ok) return wanted;
    return this.#needOf(request, wanted.value, now);
  }

  /** The id of the endpoint that has the address. */
  ownerOf(address: IpAddress): string | undefined {
    return this.#subnetOf(address)?.ownerOf(address);
  }

  /**
   * Gives an endpoint what it wants and one address of each other subnet; all or nothing. A wanted address may be
   * in quarantine, because the operator moves it on purpose; a chosen one never is. An endpoint that holds
   * something already gets more, so a request that may be a repetition is compared with the endpoint first.
   */
  allocate(request: HoldingRequest, now: number): Result<Holding, WeftError> {
    const wanted = this.#checkWanted(request);
    if (!wanted.ok) return wanted;
    const need = this.#needOf(request, wanted.value, now);
    if (!need.ok) return need;
    if (need.value !== undefined)
      return this.#refuse(
        "failed-precondition",
        `choose an address for endpoint ${request.id}`,
        `node ${request.node} has no block of ${need.value.subnet} with room`,
        "claim one first",
      );
    const ips: IpAddress[] = [];
    for (const pool of this.#subnets) {
      const chosen = this.#chooseAddress(pool, wanted.value.get(pool), request, now);
      if (!chosen.ok) return chosen;
      ips.push(chosen.value);
    }
    const mac = request.mac === undefined ? this.#chooseMac(request.id, ips) : ok(request.mac);
    if (!mac.ok) return mac;
    const holding = { id: request.id, mac: mac.value, ips };
    this.#take(holding);
    return ok(holding);
  }

  /**
   * Enters what an endpoint has already, from the store; one that was learned may have several addresses of a subnet.
   * Fails, and enters nothing, when another one has it.
   */
  adopt(holding: Holding): Result<void, WeftError> {
    const attempted = `enter endpoint ${holding.id}`;
    const strangers = holding.ips.map((address) => this.ownerOf(address));
    for (const owner of [this.#macs.get(holding.mac), ...strangers])
      if (owner !== undefined && owner !== holding.id)
        return this.#refuse("already-exists", attempted, `endpoint ${owner} has a part of it`, "release that first");
    for (const address of holding.ips) {
      const reason = this.unusableReason(address);
      if (reason !== undefined)
        return this.#refuse("invalid-argument", attempted, `${address} is ${reason}`, "check the store");
    }
    this.#take(holding);
    return ok(undefined);
  }

  /**
   * Frees the MAC, and the addresses after the quarantine. What the endpoint does not have stays as it is, so that
   * a repetition does no harm. Also undoes an allocation that was not committed.
   */
  release(holding: Holding, now: number): void {
    if (this.#macs.get(holding.mac) === holding.id) this.#macs.delete(holding.mac);
    for (const address of holding.ips) this.#subnetOf(address)?.release(address, holding.id, now);
  }

  /** Enters addresses released before the pool was made, in order of release. Those taken or reserved are left out. */
  quarantine(released: Iterable<ReleasedAddress>): void {
    for (const entry of released) this.#subnetOf(entry.address)?.quarantine(entry);
  }

  /** The addresses whose quarantine has not passed, in order of release within a subnet. */
  *quarantined(now: number): Generator<ReleasedAddress> {
    for (const pool of this.#subnets) yield* pool.quarantined(now);
  }

  /**
   * Reserves these gateways from now on; former ones go into quarantine.
   * Fails, and changes nothing, when an endpoint has one of the addresses.
   */
  setGateways(gateways: readonly IpAddress[], now: number): Result<void, WeftError> {
    for (const gateway of gateways) {
      const owner = this.ownerOf(gateway);
      if (owner !== undefined)
        return this.#refuse(
          "already-exists",
          `reserve gateway ${gateway}`,
          `endpoint ${owner} has it`,
          "choose another address, or detach that endpoint first",
        );
    }
    for (const pool of this.#subnets)
      pool.setGateway(
        gateways.find((address) => cidrContains(pool.subnet, address)),
        now,
      );
    return ok(undefined);
  }

  /** What was asked for by name: may the endpoint have it? */
  #checkWanted({ id, mac, ips }: HoldingRequest): Result<Map<SubnetAddresses, IpAddress>, WeftError> {
    if (mac !== undefined) {
      const attempted = `give MAC ${mac} to endpoint ${id}`;
      if (!isUnicastMac(mac))
        return this.#refuse("invalid-argument", attempted, "it is no unicast address", "choose another MAC, or none");
      if (mac === networkMac(this.#vni))
        return this.#refuse(
          "invalid-argument",
          attempted,
          "the network's bridges have it",
          "choose another MAC, or none",
        );
      const owner = this.#macs.get(mac);
      if (owner !== undefined)
        return this.#refuse("already-exists", attempted, `endpoint ${owner} has it`, "choose another MAC, or none");
    }
    const wanted = new Map<SubnetAddresses, IpAddress>();
    for (const address of ips) {
      const attempted = `give ${address} to endpoint ${id}`;
      const pool = this.#subnetOf(address);
      if (pool === undefined) {
        const subnets = this.#subnets.map((other) => other.subnet).join(" and ");
        return this.#refuse(
          "invalid-argument",
          attempted,
          `it is outside the network's subnets ${subnets}`,
          "choose an address inside them, or none",
        );
      }
      const reserved = pool.reservedReason(address);
      if (reserved !== undefined)
        return this.#refuse("invalid-argument", attempted, `it is ${reserved}`, "choose another address, or none");
      const owner = pool.ownerOf(address);
      if (owner !== undefined)
        return this.#refuse(
          "already-exists",
          attempted,
          `endpoint ${owner} has it`,
          "choose another address, or detach that endpoint first",
        );
      if (wanted.has(pool))
        return this.#refuse(
          "invalid-argument",
          attempted,
          `it is the second one of ${pool.subnet}`,
          "choose one address of each subnet",
        );
      wanted.set(pool, address);
    }
    return ok(wanted);
  }

  #needOf(
    { id, node, blocks }: HoldingRequest,
    wanted: ReadonlyMap<SubnetAddresses, IpAddress>,
    now: number,
  ): Result<BlockNeed | undefined, WeftError> {
    for (const pool of this.#subnets) {
      const address = wanted.get(pool);
      const need = pool.need(node, address, now, blocks);
      if (!need.ok && address === undefined)
        return this.#refuse(
          "failed-precondition",
          `give an address of ${pool.subnet} to endpoint ${id} on node ${node}`,
          need.error,
          `declare one: weft node set ${node} --block PREFIX; of nodes of Kubernetes spec.podCIDR says it`,
        );
      if (!need.ok)
        return this.#refuse(
          "already-exists",
          `give ${address} to endpoint ${id} on node ${node}`,
          need.error,
          "choose an address of a block of this node, or none",
        );
      if (need.value !== undefined) return need;
    }
    return ok(undefined);
  }

  #chooseAddress(
    pool: SubnetAddresses,
    wanted: IpAddress | undefined,
    { id, node }: HoldingRequest,
    now: number,
  ): Result<IpAddress, WeftError> {
    if (wanted !== undefined) return ok(wanted);
    const next = pool.next(node, now);
    if (next.ok) return next;
    const { freeAt } = next.error;
    const attempted = `choose an IPv${cidrFamily(pool.subnet)} address of ${pool.subnet} for endpoint ${id}`;
    if (freeAt === undefined)
      return this.#refuse(
        "exhausted",
        attempted,
        `all ${pool.taken} addresses are taken`,
        "detach endpoints, or use a network with a larger subnet",
      );
    const wait = formatDuration(milliseconds(freeAt - now));
    return this.#refuse(
      "exhausted",
      attempted,
      `none is free (${pool.taken} taken, the others released a moment ago); the next comes free in ${wait}`,
      `try again in ${wait}, or ask for one of them by its address`,
    );
  }

  /** The first address's own, if it is free: others of the network may remember the address with it. */
  #chooseMac(id: string, [first]: readonly IpAddress[]): Result<MacAddress, WeftError> {
    const isFree = (mac: MacAddress) => !this.#macs.has(mac) && mac !== networkMac(this.#vni);
    const own = first === undefined ? undefined : addressMac(this.#vni, first, this.#hash);
    if (own !== undefined && isFree(own)) return ok(own);
    for (let tries = 0; tries < maximumMacTries; tries++) {
      const mac = randomMac(this.#random);
      if (isFree(mac)) return ok(mac);
    }
    return this.#refuse(
      "internal",
      `choose a MAC for endpoint ${id}`,
      `${maximumMacTries} random MACs in a row were taken`,
      "the random generator is broken: report it, and choose a MAC yourself until then",
    );
  }

  #take({ id, mac, ips }: Holding): void {
    this.#macs.set(mac, id);
    for (const address of ips) this.#subnetOf(address)?.take(address, id);
  }

  #subnetOf(address: IpAddress): SubnetAddresses | undefined {
    return this.#subnets.find((pool) => cidrContains(pool.subnet, address));
  }

  #refuse(code: ErrorCode, attempted: string, reason: string, hint: string) {
    return err(new WeftError({ code, attempted: `${attempted} in network ${this.#network}`, reason, hint }));
  }
}
