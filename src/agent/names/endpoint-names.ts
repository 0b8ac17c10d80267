import type { IpAddress } from "../../base/ip.ts";
import { namesOf } from "../../model/endpoint-names.ts";
import type { Endpoint } from "../../model/resources.ts";

/** An endpoint that has names. */
interface Named {
  readonly names: readonly string[];
  readonly ips: readonly IpAddress[];
}

/** What endpoints of one network are called. */
class NetworkNames {
  readonly endpoints = new Map<string, Named>();
  /** Ids by name: several may have the same. */
  readonly #ids = new Map<string, Set<string>>();
  /** The id by address. */
  readonly #ofIp = new Map<IpAddress, string>();

  put(id: string, named: Named): void {
    this.remove(id);
    this.endpoints.set(id, named);
    for (const name of named.names) {
      const ids = this.#ids.get(name) ?? new Set();
      this.#ids.set(name, ids.add(id));
    }
    for (const ip of named.ips) this.#ofIp.set(ip, id);
  }

  remove(id: string): void {
    const known = this.endpoints.get(id);
    if (known === undefined) return;
    this.endpoints.delete(id);
    for (const name of known.names) {
      const ids = this.#ids.get(name);
      ids?.delete(id);
      if (ids?.size === 0) this.#ids.delete(name);
    }
    // Another may have it by now.
    for (const ip of known.ips) if (this.#ofIp.get(ip) === id) this.#ofIp.delete(ip);
  }

  addressesOf(name: string): readonly IpAddress[] | undefined {
    const ids = this.#ids.get(name);
    return ids && [...ids].flatMap((id) => this.endpoints.get(id)?.ips ?? []);
  }

  nameOf(ip: IpAddress): string | undefined {
    return this.endpoints.get(this.#ofIp.get(ip) ?? "")?.names[0];
  }
}

/** What endpoints are called, by network, wherever they are: as their labels say. */
export class EndpointNames {
  readonly #networks = new Map<string, NetworkNames>();

  put({ id, network, ips, labels }: Pick<Endpoint, "id" | "network" | "ips" | "labels">): void {
    const names = namesOf(labels);
    if (names.length === 0) {
      this.remove(network, id);
      return;
    }
    const ofNetwork = this.#networks.get(network) ?? new NetworkNames();
    this.#networks.set(network, ofNetwork);
    ofNetwork.put(id, { names, ips });
  }

  remove(network: string, id: string): void {
    const ofNetwork = this.#networks.get(network);
    ofNetwork?.remove(id);
    if (ofNetwork?.endpoints.size === 0) this.#networks.delete(network);
  }

  removeNetwork(network: string): void {
    this.#networks.delete(network);
  }

  /** Of all endpoints of the network that are called so; `undefined`: none is. */
  addressesOf(network: string, name: string): readonly IpAddress[] | undefined {
    return this.#networks.get(network)?.addressesOf(name);
  }

  /** What the endpoint with the address calls itself, or is called first. */
  nameOf(network: string, ip: IpAddress): string | undefined {
    return this.#networks.get(network)?.nameOf(ip);
  }
}
