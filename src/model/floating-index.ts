import { AddressIndex } from "../base/address-index.ts";
import type { Cidr } from "../base/cidr.ts";
import type { IpAddress } from "../base/ip.ts";
import type { FloatingAddress } from "./resources.ts";

/** Floating addresses by what the rules and the endpoints that they stand for ask for, so that one is compared with few, however many there are. */
export class FloatingIndex {
  readonly #byName = new AddressIndex<FloatingAddress>();
  /** By network, and there by the address of the endpoint. */
  readonly #byNetwork = new Map<string, Map<IpAddress, FloatingAddress>>();

  get(name: IpAddress): FloatingAddress | undefined {
    return this.#byName.get(name);
  }

  /** Which one stands for the endpoint that has an address in a network. */
  at(network: string, endpoint: IpAddress): FloatingAddress | undefined {
    return this.#byNetwork.get(network)?.get(endpoint);
  }

  /** Those that stand for endpoints of a network. */
  ofNetwork(name: string): Iterable<FloatingAddress> {
    return this.#byNetwork.get(name)?.values() ?? [];
  }

  /** Those that are in a prefix themselves. */
  within(prefix: Cidr): Iterable<FloatingAddress> {
    return this.#byName.within(prefix);
  }

  /** In the place of the one of its name. */
  put(floating: FloatingAddress): void {
    const { name, network, endpoint } = floating;
    this.delete(name);
    this.#byName.set(name, floating);
    const ofNetwork = this.#byNetwork.get(network) ?? new Map<IpAddress, FloatingAddress>();
    this.#byNetwork.set(network, ofNetwork.set(endpoint, floating));
  }

  delete(name: IpAddress): void {
    const floating = this.#byName.get(name);
    if (floating === undefined) return;
    this.#byName.delete(name);
    const ofNetwork = this.#byNetwork.get(floating.network);
    // Another may have taken its place in the same commit.
    if (ofNetwork?.get(floating.endpoint) === floating) ofNetwork.delete(floating.endpoint);
    if (ofNetwork?.size === 0) this.#byNetwork.delete(floating.network);
  }
}
