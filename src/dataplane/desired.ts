import type { InterfaceAddress } from "../base/cidr.ts";
import type { IpAddress } from "../base/ip.ts";
import type { MacAddress } from "../base/mac.ts";
import type { Vni } from "../model/index.ts";

/** What one network shall be on this node, but for its endpoints. */
export interface NetworkSettings {
  readonly name: string;
  readonly tenant: string;
  readonly vni: Vni;
  /** Octets of the largest inner packet. */
  readonly mtu: number;
  /** UDP destination port. */
  readonly port: number;
  /** This node's VTEP address. */
  readonly localVtep: IpAddress;
  readonly flood: "head-end" | "none";
  readonly arpSuppression: boolean;
}

/** An endpoint of another node. */
export interface RemoteEndpoint {
  readonly id: string;
  readonly mac: MacAddress;
  readonly ips: readonly IpAddress[];
  readonly node: string;
  readonly vtep: IpAddress;
}

/** An endpoint of this node: a veth pair from the network's bridge into a namespace. */
export interface LocalEndpoint {
  readonly id: string;
  readonly mac: MacAddress;
  readonly addresses: readonly InterfaceAddress[];
  /** Path of the namespace that the interface is put into. */
  readonly netns: string;
  readonly interface: string;
  /** The namespace that the path must mean; 0: whichever it means. */
  readonly inode: number;
}

/**
 * What one network shall be on this node. Changes mark the rows that they touch, so that the work that follows
 * grows with the change and not with the network.
 */
export class DesiredNetwork {
  settings: NetworkSettings;
  readonly #remotes = new Map<string, RemoteEndpoint>();
  readonly #byMac = new Map<MacAddress, RemoteEndpoint>();
  readonly #byIp = new Map<IpAddress, RemoteEndpoint>();
  readonly #locals = new Map<string, LocalEndpoint>();
  readonly #vteps = new Map<IpAddress, number>();
  /** Rows that must be looked at. */
  readonly changedMacs = new Set<MacAddress>();
  readonly changedIps = new Set<IpAddress>();
  readonly changedPorts = new Set<string>();
  /** The flood list, the device settings: all but rows. */
  devicesChanged = true;

  constructor(settings: NetworkSettings) {
    this.settings = settings;
  }

  setSettings(settings: NetworkSettings): void {
    this.settings = settings;
    this.devicesChanged = true;
  }

  putRemote(endpoint: RemoteEndpoint): void {
    this.removeLocal(endpoint.id);
    const before = this.#remotes.get(endpoint.id);
    if (before !== undefined) this.#forget(before);
    this.#remotes.set(endpoint.id, endpoint);
    this.#byMac.set(endpoint.mac, endpoint);
    this.changedMacs.add(endpoint.mac);
    for (const ip of endpoint.ips) {
      this.#byIp.set(ip, endpoint);
      this.changedIps.add(ip);
    }
    const users = this.#vteps.get(endpoint.vtep) ?? 0;
    this.#vteps.set(endpoint.vtep, users + 1);
    if (users === 0) this.devicesChanged = true;
  }

  putLocal(endpoint: LocalEndpoint): void {
    this.removeRemote(endpoint.id);
    this.#locals.set(endpoint.id, endpoint);
    this.changedPorts.add(endpoint.id);
  }

  /** Whichever of the two the endpoint is. */
  remove(id: string): void {
    this.removeRemote(id);
    this.removeLocal(id);
  }

  removeRemote(id: string): void {
    const endpoint = this.#remotes.get(id);
    if (endpoint === undefined) return;
    this.#remotes.delete(id);
    this.#forget(endpoint);
  }

  removeLocal(id: string): void {
    const endpoint = this.#locals.get(id);
    if (endpoint === undefined) return;
    this.#locals.delete(id);
    this.changedPorts.add(id);
  }

  remote(id: string): RemoteEndpoint | undefined {
    return this.#remotes.get(id);
  }

  local(id: string): LocalEndpoint | undefined {
    return this.#locals.get(id);
  }

  /** FDB of the tunnel: MAC → remote endpoint. */
  get remotesByMac(): ReadonlyMap<MacAddress, RemoteEndpoint> {
    return this.#byMac;
  }

  /** Neighbours of the bridge: IP → remote endpoint. */
  get remotesByIp(): ReadonlyMap<IpAddress, RemoteEndpoint> {
    return this.#byIp;
  }

  get remotes(): ReadonlyMap<string, RemoteEndpoint> {
    return this.#remotes;
  }

  get locals(): ReadonlyMap<string, LocalEndpoint> {
    return this.#locals;
  }

  /** VTEPs of the other nodes that host the network. */
  get remoteVteps(): readonly IpAddress[] {
    return [...this.#vteps.keys()];
  }

  /** Marks everything: the devices are new, or what the kernel has is not known. */
  markRows(): void {
    for (const mac of this.#byMac.keys()) this.changedMacs.add(mac);
    for (const ip of this.#byIp.keys()) this.changedIps.add(ip);
  }

  markPorts(): void {
    for (const id of this.#locals.keys()) this.changedPorts.add(id);
  }

  get hasChanges(): boolean {
    return this.devicesChanged || this.changedMacs.size > 0 || this.changedIps.size > 0 || this.changedPorts.size > 0;
  }

  /** A row whose MAC or IP another endpoint has taken over meanwhile stays with that one. */
  #forget(endpoint: RemoteEndpoint): void {
    if (this.#byMac.get(endpoint.mac) === endpoint) this.#byMac.delete(endpoint.mac);
    this.changedMacs.add(endpoint.mac);
    for (const ip of endpoint.ips) {
      if (this.#byIp.get(ip) === endpoint) this.#byIp.delete(ip);
      this.changedIps.add(ip);
    }
    const users = (this.#vteps.get(endpoint.vtep) ?? 1) - 1;
    if (users > 0) this.#vteps.set(endpoint.vtep, users);
    else {
      this.#vteps.delete(endpoint.vtep);
      this.devicesChanged = true;
    }
  }
}
