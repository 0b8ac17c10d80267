import type { IpAddress } from "../../base/ip.ts";
import {
  deleteNeighbour,
  getNeighbour,
  listNeighbours,
  type Neighbour,
  neighbourFlag,
  neighbourState,
  type Query,
  type Request,
  replaceNeighbour,
} from "../../netlink/index.ts";
import type { DesiredNetwork } from "../desired.ts";
import { weftProtocol } from "../kernel-names.ts";
import type { Table } from "../reconcile/table.ts";

export interface BridgeNeighboursOptions {
  readonly desired: DesiredNetwork;
  readonly bridgeIndex: () => number;
  readonly onDone: (ip: IpAddress) => void;
}

/**
 * The bridge's permanent neighbours: whom it answers for towards its ports, and where it sends to as a gateway. Endpoints
 * of other nodes in a layer-2 network; endpoints of this node where it is a gateway or suppresses requests.
 */
export class BridgeNeighbours implements Table<IpAddress, Neighbour> {
  readonly kind = "neighbour";
  readonly #desired: DesiredNetwork;
  readonly #index: () => number;
  readonly onDone: (ip: IpAddress) => void;

  constructor({ desired, bridgeIndex, onDone }: BridgeNeighboursOptions) {
    this.#desired = desired;
    this.#index = bridgeIndex;
    this.onDone = onDone;
  }

  keys(): Iterable<IpAddress> {
    return this.#desired.neighbourIps();
  }

  wanted(ip: IpAddress): Neighbour | undefined {
    const mac = this.#desired.neighbourMac(ip);
    return mac === undefined ? undefined : permanentNeighbour(this.#index(), ip, mac);
  }

  keyOf(row: Neighbour): IpAddress {
    return row.ip;
  }

  list(): readonly Query<Neighbour>[] {
    return [listNeighbours({ index: this.#index() })];
  }

  get({ index, ip }: Neighbour): readonly Query<Neighbour>[] {
    return [getNeighbour(index, ip)];
  }

  isOwn(row: Neighbour): boolean {
    return row.index === this.#index() && isMarked(row);
  }

  same(wanted: Neighbour, actual: Neighbour): boolean {
    return isSameNeighbour(wanted, actual);
  }

  put(row: Neighbour): Request {
    return replaceNeighbour(row);
  }

  remove({ index, ip }: Neighbour): Request {
    return deleteNeighbour(index, ip);
  }

  left(ip: IpAddress): readonly Neighbour[] {
    return [{ index: this.#index(), ip, state: 0, flags: 0 }];
  }

  nameOf(ip: IpAddress): string {
    return ip;
  }
}

export function permanentNeighbour(index: number, ip: IpAddress, mac: NonNullable<Neighbour["mac"]>): Neighbour {
  const { permanent } = neighbourState;
  return { index, ip, mac, state: permanent, flags: neighbourFlag.externallyLearned, protocol: weftProtocol };
}

export function isSameNeighbour(wanted: Neighbour, actual: Neighbour): boolean {
  return (
    actual.index === wanted.index &&
    actual.mac === wanted.mac &&
    isMarked(actual) &&
    (actual.state & neighbourState.permanent) !== 0
  );
}

function isMarked({ flags }: Neighbour): boolean {
  return (flags & neighbourFlag.externallyLearned) !== 0;
}
