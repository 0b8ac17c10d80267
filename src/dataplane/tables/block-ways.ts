import { type Cidr, cidrFamily, networkAddress } from "../../base/cidr.ts";
import type { IpAddress, IpFamily } from "../../base/ip.ts";
import { linkLocalOf } from "../../base/link-local.ts";
import type { MacAddress } from "../../base/mac.ts";
import { encapsulations } from "../../model/encapsulation.ts";
import type { DesiredNetwork } from "../desired.ts";
import type { Tunnels } from "../devices/tunnels.ts";
import { tunnelMac } from "../kernel-names.ts";
import { notYet } from "../reconcile/table.ts";

export interface BlockWaysOptions {
  readonly desired: DesiredNetwork;
  readonly tunnels: Tunnels;
  /** The FDB nexthop group of a VTEP. */
  readonly groupOf: (vtep: IpAddress) => number | undefined;
  /** The way to the host, for blocks that are reached without a tunnel; `undefined` while there is none. */
  readonly uplink: (family: IpFamily) => { readonly index: number; readonly gateway: IpAddress } | undefined;
}

/** Another node's tunnel as the next hop of routes. */
export interface Router {
  readonly vtep: IpAddress;
  readonly mac: MacAddress;
}

/** How a block is reached. */
export interface BlockWay {
  /** The device that its route leads to. */
  readonly index: number;
  readonly gateway?: IpAddress;
  /** Whose MAC the gateway has; absent: the device carries no Ethernet frames, or leads to the host. */
  readonly router?: Router;
  /** One tunnel serves all VTEPs, and its FDB says where the router is. */
  readonly isShared: boolean;
}

/** How the blocks of other nodes are reached, from what is desired and the devices that there are. */
export class BlockWays {
  readonly #options: BlockWaysOptions;
  readonly #routers = new Map<IpAddress, Router>();

  constructor(options: BlockWaysOptions) {
    this.#options = options;
  }

  /** The way to a block; `undefined`: no other node has it. */
  to(cidr: Cidr): BlockWay | typeof notYet | undefined {
    const { desired, tunnels, uplink } = this.#options;
    const block = desired.blocks.get(cidr);
    if (block === undefined) return undefined;
    const family = cidrFamily(cidr);
    if (block.isDirect) {
      const nexthop = uplink(family);
      return nexthop === undefined ? notYet : { ...nexthop, isShared: false };
    }
    const tunnel = tunnels.towards(block.vtep);
    if (tunnel === undefined) return notYet;
    const isShared = tunnel === tunnels.shared;
    const { index } = tunnel;
    if (!encapsulations[tunnel.transport.encapsulation].carriesEthernet) return { index, isShared };
    const router = this.#routerAt(block.vtep);
    // An IPv6 next hop inside the block would not do: the kernel refuses one that another route leads to, as the block's
    // own does while it moves to another tunnel.
    const gateway = family === 4 ? networkAddress(cidr) : linkLocalOf(router.mac);
    return { index, gateway, router, isShared };
  }

  /** The nexthop group of a router's VTEP. */
  groupOf({ vtep }: Router): number | undefined {
    return this.#options.groupOf(vtep);
  }

  /** Its MAC is a hash, which need not be made for each block. */
  #routerAt(vtep: IpAddress): Router {
    let router = this.#routers.get(vtep);
    if (router === undefined) {
      router = { vtep, mac: tunnelMac(vtep) };
      this.#routers.set(vtep, router);
    }
    return router;
  }
}
