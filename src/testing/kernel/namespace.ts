import { WeftError } from "../../base/errors.ts";
import type { MacAddress } from "../../base/mac.ts";
import type { KernelNamespace } from "../../dataplane/kernel.ts";
import { type NewTap, netlinkProtocol, SystemError } from "../../linux/index.ts";
import type { Channel, ChannelOptions, Nexthop } from "../../netlink/index.ts";
import { type FakeAnswer, FakeKernel, type FakeMessage, type FakeRequest } from "../fake-kernel.ts";
import { Addresses } from "./addresses.ts";
import { isLetThrough } from "./bpf.ts";
import type { DeviceHome } from "./device.ts";
import type { FakeBpf } from "./ebpf.ts";
import { Fdb } from "./fdb.ts";
import { Filters } from "./filters.ts";
import { Links } from "./links.ts";
import { NamespaceIds } from "./namespace-ids.ts";
import { Neighbours } from "./neighbours.ts";
import { Nexthops } from "./nexthops.ts";
import { FakeNft, isBatchEdge } from "./nft.ts";
import { errnoOf, type Family, Refusal } from "./request.ts";
import { Routes } from "./routes.ts";
import { Rules } from "./rules.ts";
import { Shaping } from "./shaping.ts";
import { Sysctls } from "./sysctls.ts";

/** linux/netfilter/nfnetlink.h */
const NFNLGRP_NFTABLES = 7;

/**
 * What goes wrong with one call of the kernel, whichever it is. `answer lost`: it is done, and nobody hears so. `namespace
 * gone`: just before it somebody takes away all names of the namespace that is asked; what nobody holds any more ends.
 */
export type MachineFault = { readonly errno: number } | "answer lost" | "namespace gone";

/** A frame that was sent out of a device. */
export interface SentFrame {
  readonly device: string;
  readonly frame: Uint8Array;
}

/** What a namespace needs of its machine. */
export interface NamespaceContext {
  /** Those of all namespaces. */
  readonly allLinks: Iterable<Links>;
  readonly bpf: FakeBpf;
  linksOf(fd: number): Links;
  nexthopOf(underlay: DeviceHome, id: number): Nexthop | undefined;
  nextMac(): MacAddress;
  /** Something is asked of the namespace. Says what goes wrong with it. */
  faultOf(namespace: FakeNamespace): MachineFault | undefined;
  /** Something is told. Says whether it gets lost, and whether the listener hears that something did. */
  lossOf(): "silent" | "told" | undefined;
  openDescriptor(namespace: FakeNamespace): number;
  closeDescriptor(fd: number): void;
  onSocketClosed(): void;
}

/** One network namespace of a {@link FakeMachine}. */
export class FakeNamespace {
  readonly inode: number;
  readonly links: Links;
  readonly addresses: Addresses;
  readonly neighbours: Neighbours;
  readonly fdb: Fdb;
  readonly routes: Routes;
  readonly rules: Rules;
  readonly nexthops: Nexthops;
  readonly sysctls: Sysctls;
  readonly filters: Filters;
  readonly shaping: Shaping;
  readonly nft: FakeNft;
  readonly sent: SentFrame[] = [];
  readonly #context: NamespaceContext;
  readonly #families: readonly Family[];
  readonly #sockets = new Map<FakeKernel, Omit<ChannelOptions, "namespace">>();
  #lastPort = 0;

  constructor(inode: number, context: NamespaceContext) {
    this.inode = inode;
    this.#context = context;
    const tell = (group: number, message: FakeMessage): void => this.#tell(netlinkProtocol.route, group, message);
    this.links = new Links({
      tell,
      linksOf: (fd) => context.linksOf(fd),
      get all() {
        return context.allLinks;
      },
      nextMac: () => context.nextMac(),
    });
    this.rules = new Rules(tell);
    this.routes = new Routes(this.links, this.rules, tell);
    this.addresses = new Addresses(this.links, this.routes, tell);
    this.neighbours = new Neighbours(this.links, tell);
    this.fdb = new Fdb(this.links, { tell, nexthopOf: (underlay, id) => context.nexthopOf(underlay, id) });
    this.nexthops = new Nexthops(tell, (id) => this.#forgetEntries(id));
    this.sysctls = new Sysctls(this.links, tell);
    this.nft = new FakeNft((...messages) => this.#tell(netlinkProtocol.netfilter, NFNLGRP_NFTABLES, ...messages));
    const ids = new NamespaceIds(this.links);
    this.shaping = new Shaping(this.links, tell);
    this.filters = new Filters(this.links, this.shaping, tell, (fd) => context.bpf.programAt(fd));
    this.links.users.push(this.sysctls, this.addresses, this.routes, this.neighbours, this.fdb);
    this.#families = [
      this.links,
      this.addresses,
      this.neighbours,
      this.fdb,
      this.routes,
      this.rules,
      this.nexthops,
      this.filters,
      this.shaping,
      ids,
    ];
    this.links.add({ name: "lo", mtu: 65_536 });
  }

  /** Somebody has a socket in it. */
  get isListenedTo(): boolean {
    return this.#sockets.size > 0;
  }

  /** Holds it open, as {@link Kernel.open} does. */
  open(label: string): KernelNamespace {
    const context = this.#context;
    const fd = context.openDescriptor(this);
    const close = (): void => context.closeDescriptor(fd);
    return {
      label,
      inode: this.inode,
      fd,
      openChannel: (options) => this.#openChannel(options),
      readSysctl: (key) => this.sysctls.read(key),
      writeSysctl: (key, value) => {
        const attempted = `set sysctl net.${key.replaceAll("/", ".")} = ${value} in ${label}`;
        this.#do(attempted, () => {
          if (!this.sysctls.write(key, value)) throw new WeftError({ code: "internal", attempted, reason: "ENOENT" });
        });
      },
      nft: async (attempted, parameters, input) =>
        this.#do(attempted, () => {
          try {
            return this.nft.run(parameters, input);
          } catch (error) {
            throw new WeftError({ code: "internal", attempted: `${attempted} in ${label}`, reason: String(error) });
          }
        }),
      readLegacyIptables: async () => ({ tables: [], saved: undefined }),
      makeTap: (name) => this.#do(`open a tap ${name} that is new in ${label}`, () => this.#makeTap(name)),
      openPacketSender: () => this.#do("open a packet socket", () => this.#packetSender()),
      openPacketSocket: () =>
        this.#do("open a packet socket", () => ({
          receive: () => undefined,
          readLost: () => 0,
          send() {},
          onReadable: () => () => {},
          pause() {},
          close() {},
        })),
      openDatagramSocket: () =>
        this.#do("open a datagram socket", () => ({
          send: () => undefined,
          readRefusal: () => undefined,
          [Symbol.dispose]() {},
        })),
      close,
      [Symbol.dispose]: close,
    };
  }

  #openChannel(options: Omit<ChannelOptions, "namespace">): Channel {
    const { filter, protocol } = options;
    const isOfFilters = protocol === netlinkProtocol.netfilter;
    return this.#do("open a netlink socket", () => {
      const portId = ++this.#lastPort;
      const socket = new FakeKernel({
        portId,
        handlers: [isOfFilters ? this.nft.handlerOf(portId) : (request) => this.#handle(request)],
        faultOf: ({ type }) => {
          // A transaction fails by what is in it.
          if (isOfFilters && isBatchEdge(type)) return undefined;
          const fault = this.#context.faultOf(this);
          if (fault === "answer lost") return { kind: "lost" };
          return typeof fault === "object" ? { kind: "error", ...fault } : undefined;
        },
        isQueued: filter && ((datagram) => isLetThrough(filter, datagram)),
        onClosed: () => {
          this.#sockets.delete(socket);
          this.#context.onSocketClosed();
        },
      });
      this.#sockets.set(socket, options);
      return socket;
    });
  }

  #handle(request: FakeRequest): FakeAnswer {
    try {
      for (const family of this.#families) {
        const answer = family.handle(request);
        if (answer !== undefined) return answer;
      }
    } catch (error) {
      if (error instanceof Refusal) return error.answer;
      throw error;
    }
    return { errno: errnoOf("EOPNOTSUPP"), message: `message type ${request.type} is not known here` };
  }

  /** What is asked otherwise than by netlink. */
  #do<Value>(attempted: string, action: () => Value): Value {
    return withFault(this.#context.faultOf(this), attempted, action);
  }

  #makeTap(name: string): NewTap {
    if (this.links.find(name) !== undefined)
      throw new SystemError({ operation: `make tap ${name}`, errno: errnoOf("EBUSY") });
    const device = this.links.add({ name, kind: "tun" });
    let stays = false;
    return {
      persist: () =>
        this.#do(`keep tap ${name}`, () => {
          stays = true;
        }),
      close: () => {
        if (!stays && this.links.get(device.index) === device) this.links.remove(device);
      },
    };
  }

  #packetSender(): ReturnType<KernelNamespace["openPacketSender"]> {
    return {
      send: (index, frame) => {
        const device = this.links.get(index);
        if (device !== undefined) this.sent.push({ device: device.name, frame: frame.slice() });
      },
      [Symbol.dispose]() {},
    };
  }

  #tell(protocol: number, group: number, ...messages: readonly FakeMessage[]): void {
    const listeners = [...this.#sockets].flatMap(([socket, { protocol: own = netlinkProtocol.route, groups = [] }]) =>
      own === protocol && groups.includes(group) ? [socket] : [],
    );
    if (listeners.length === 0) return;
    const loss = this.#context.lossOf();
    for (const socket of listeners)
      if (loss === "told") socket.publishOverrun();
      else if (loss === undefined) socket.publish(...messages);
  }

  #forgetEntries(nexthop: number): void {
    for (const links of this.#context.allLinks)
      for (const device of links.devices)
        if (device.underlay === this.links)
          for (const [mac, entry] of device.entries) if (entry.nexthop === nexthop) device.entries.delete(mac);
  }
}

/** Does it, as far as what goes wrong leaves it to be done. What opens something answers or has not opened it. */
export function withFault<Value>(fault: MachineFault | undefined, operation: string, action: () => Value): Value {
  if (typeof fault === "object") throw new SystemError({ operation, ...fault });
  const value = action();
  if (operation.startsWith("open ")) return value;
  if (fault === "answer lost") throw new SystemError({ operation, errno: errnoOf("ENOBUFS") });
  return value;
}
