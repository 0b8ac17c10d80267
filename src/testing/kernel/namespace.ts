import type { IpAddress } from "../../base/ip.ts";
import { fdbText, neighbourText, nexthopText, type RowNames, routeText } from "../../dataplane/tables/row-text.ts";
import { SystemError } from "../../linux/index.ts";
import { eventGroup, neighbourFlag, RTM_NEWNEIGH, type TransportOptions } from "../../netlink/index.ts";
import { type FakeAnswer, FakeKernel, type FakeMessage, type FakeRequest, type Fault } from "../fake-kernel.ts";
import { FakeAddresses } from "./addresses.ts";
import { attributesIn, numberAt, writeNumber } from "./attributes.ts";
import type { Context, Group } from "./context.ts";
import { errno, viewOf } from "./errno.ts";
import { FakeFdb } from "./fdb.ts";
import { FakeLinks, linkText } from "./links.ts";
import { FakeNeighbours } from "./neighbours.ts";
import { FakeNexthops } from "./nexthops.ts";
import { FakeNft, isBatchEdge } from "./nft.ts";
import { FakeRoutes } from "./routes.ts";
import { FakeSysctls } from "./sysctls.ts";

/** linux/rtnetlink.h; linux/net_namespace.h: NETNSA_NSID, NETNSA_FD. */
const [RTM_NEWNSID, RTM_GETNSID] = [88, 90];
const [NETNSA_NSID, NETNSA_FD] = [1, 3];
/** linux/netfilter/nfnetlink.h: NFNLGRP_NFTABLES. Groups of another protocol, whose numbers mean something else in routing. */
const nftablesGroup = 7;
const netfilter = 12;

/** What a namespace knows of its machine. */
export interface MachineOfNamespaces {
  readonly devices: Context["machine"]["devices"];
  readonly namespaces: readonly FakeNamespace[];
  byFd(fd: number): FakeNamespace | undefined;
  /** The VTEP that a nexthop or a group of one leads to, wherever it is. */
  gatewayOf(id: number): IpAddress | undefined;
  faultOfRequest(): Fault | undefined;
  lossOfEvent(): "told" | "silent" | undefined;
}

/** A network namespace of a machine: all that a kernel keeps for one. */
export class FakeNamespace implements Context {
  readonly machine: MachineOfNamespaces;
  readonly inode: number;
  readonly sysctls: FakeSysctls;
  readonly links: FakeLinks;
  readonly addresses: FakeAddresses;
  readonly neighbours: FakeNeighbours;
  readonly fdb: FakeFdb;
  readonly routes: FakeRoutes;
  readonly nexthops: FakeNexthops;
  readonly nft: FakeNft;
  /** Frames that were sent out of devices, by index. */
  readonly sent: { readonly index: number; readonly frame: Uint8Array }[] = [];
  readonly #listeners = new Map<FakeKernel, Omit<TransportOptions, "namespace">>();
  readonly #ids: Context[] = [];
  #ports = 0;

  constructor(machine: MachineOfNamespaces, inode: number) {
    this.machine = machine;
    this.inode = inode;
    this.addresses = new FakeAddresses(this);
    this.neighbours = new FakeNeighbours(this);
    this.fdb = new FakeFdb(this);
    this.routes = new FakeRoutes(this);
    this.nexthops = new FakeNexthops(this);
    this.nft = new FakeNft(this);
    this.links = new FakeLinks(this);
    this.sysctls = new FakeSysctls(this);
  }

  openTransport(options: Omit<TransportOptions, "namespace">): FakeKernel {
    const isFilter = options.protocol === netfilter;
    const portId = ++this.#ports;
    const transport = new FakeKernel({
      portId,
      handlers: [isFilter ? this.nft.handlerOf(portId) : (request) => this.#handle(request)],
      // A transaction fails by what is in it.
      faultOf: ({ type }) => (isFilter && isBatchEdge(type) ? undefined : this.machine.faultOfRequest()),
    });
    if (options.groups !== undefined) this.#listeners.set(transport, options);
    return transport;
  }

  /** Tells all who listen. `marks`: of a neighbour or FDB entry that is new. */
  publish(group: Group, message: FakeMessage, marks = 0): void {
    const isFilter = group === "nftables";
    for (const [transport, { groups = [], protocol, filter }] of this.#listeners) {
      if (transport.closed) this.#listeners.delete(transport);
      if (transport.closed || (protocol === netfilter) !== isFilter) continue;
      if (!groups.includes(isFilter ? nftablesGroup : eventGroup[group])) continue;
      // What the filter program of `withoutNewNeighbours` keeps back.
      const isOwn = message.type === RTM_NEWNEIGH && (marks & neighbourFlag.externallyLearned) !== 0;
      if (filter !== undefined && isOwn) continue;
      const loss = this.machine.lossOfEvent();
      if (loss === undefined) transport.publish(message);
      else if (loss === "told") transport.publishOverrun();
    }
  }

  /** The number by which this namespace knows another, given to it now if it has none. */
  idOf(other: Context): number {
    if (!this.#ids.includes(other)) this.#ids.push(other);
    return this.#ids.indexOf(other);
  }

  byId(id: number): Context | undefined {
    return this.#ids[id];
  }

  /** The device has gone, and all that hung on it. */
  leave(index: number): void {
    this.fdb.leave(index);
    this.neighbours.leave(index);
    this.addresses.leave(index);
    this.routes.leave(index);
  }

  /** It ends: its devices go. */
  end(): void {
    for (const device of [...this.links.all.values()]) if (device.link.index !== 1) this.links.remove(device);
  }

  text(): string[] {
    const nameOf = (index: number | undefined): string => this.links.nameOf(index);
    const links = [...this.links.all.values()].map(({ link }) => linkText(link, nameOf));
    const addresses = this.addresses.all.map(
      ({ index, address, prefixLength }) => `addr ${address}/${prefixLength} dev ${nameOf(index)}`,
    );
    const names: RowNames = { device: nameOf, vtep: (id) => this.machine.gatewayOf(id) };
    const neighbours = this.neighbours.all.map((row) => `neigh ${neighbourText(row, names)}`);
    const fdb = this.fdb.all.map((row) => `fdb ${fdbText(row, names)}`);
    const routes = this.routes.all.map((row) => `route ${routeText(row, names)}`);
    const nexthops = [...this.nexthops.all.values()].map((row) => `nexthop ${nexthopText(row, names)}`);
    // Rules have an order of their own.
    const sysctls = this.sysctls.text();
    return [
      ...[...links, ...addresses, ...neighbours, ...fdb, ...routes, ...nexthops, ...sysctls].sort(),
      ...this.nft.text(),
    ];
  }

  #handle(request: FakeRequest): FakeAnswer {
    return (
      this.links.handle(request) ??
      this.addresses.handle(request) ??
      this.neighbours.handle(request) ??
      this.routes.handle(request) ??
      this.nexthops.handle(request) ??
      this.#handleId(request) ?? { errno: errno.EOPNOTSUPP }
    );
  }

  #handleId({ type, payload }: FakeRequest): FakeAnswer | undefined {
    if (type !== RTM_NEWNSID && type !== RTM_GETNSID) return undefined;
    const view = viewOf(payload);
    const other = this.machine.byFd(numberAt(view, attributesIn(view, 4, payload.length), NETNSA_FD) ?? -1);
    if (other === undefined) return { errno: errno.EBADF };
    if (type === RTM_NEWNSID) {
      this.idOf(other);
      return {};
    }
    const id = this.#ids.indexOf(other);
    return {
      messages: [
        {
          type: RTM_NEWNSID,
          write: (writer) => {
            writer.reserve(4);
            writeNumber(writer, NETNSA_NSID, id);
          },
        },
      ],
    };
  }
}

/** What a call that is no netlink request fails with when it is made to. */
export function refusal(operation: string, number: number): SystemError {
  return new SystemError({ operation, errno: number });
}
