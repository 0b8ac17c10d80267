import type { IpFamily } from "../base/ip.ts";
import type {
  BpfMap,
  BpfMapLayout,
  BpfObject,
  BpfProgram,
  DatagramSocket,
  DatagramSocketOptions,
  NewTap,
  PacketSender,
  PacketSocket,
  PacketSocketOptions,
  TapSettings,
} from "../linux/index.ts";
import type { Channel, ChannelOptions } from "../netlink/index.ts";

/** A network namespace of a kernel, held open, and what is done in it. */
export interface KernelNamespace {
  /** How the operator knows it: its name, or its path. */
  readonly label: string;
  /** Two namespaces are the same if theirs are equal. */
  readonly inode: number;
  /** The descriptor by which requests name it: IFLA_NET_NS_FD. */
  readonly fd: number;
  /** A netlink socket in it. */
  openChannel(options: Omit<ChannelOptions, "namespace">): Channel;
  /** A setting below /proc/sys/net, for example `ipv6/conf/eth0/accept_ra`; `undefined`: this kernel has none. */
  readSysctl(key: string): string | undefined;
  writeSysctl(key: string, value: string): void;
  /** Runs nft(8) in it and resolves to what it printed; rejects with what it complained of. */
  nft(attempted: string, parameters: readonly string[], input: string): Promise<string>;
  /**
   * The tables that iptables-legacy or ip6tables-legacy has in it, which nft(8) does not show, and what `iptables-legacy-save`
   * prints of them; `undefined`: there are none, or that program is not installed.
   */
  readLegacyIptables(
    family: IpFamily,
  ): Promise<{ readonly tables: readonly string[]; readonly saved: string | undefined }>;
  /** {@link makeTap} */
  makeTap(name: string, settings: TapSettings): NewTap;
  openPacketSender(): Pick<PacketSender, "send" | typeof Symbol.dispose>;
  openPacketSocket(
    options: Omit<PacketSocketOptions, "namespace">,
  ): Pick<PacketSocket, "receive" | "readLost" | "send" | "onReadable" | "pause" | "close">;
  openDatagramSocket(
    options: Omit<DatagramSocketOptions, "namespace">,
  ): Pick<DatagramSocket, "send" | "readRefusal" | typeof Symbol.dispose>;
  close(): void;
  [Symbol.dispose](): void;
}

/** {@link BpfMap} */
export type KernelBpfMap = Pick<
  BpfMap,
  "fd" | "id" | "name" | "get" | "set" | "setAll" | "delete" | "deleteAll" | "keys" | "rows" | "close"
>;

/** {@link BpfProgram} */
export type KernelBpfProgram = Pick<BpfProgram, "fd" | "id" | "name" | "mapIds" | "close">;

/** eBPF maps and programs of a machine. */
export interface KernelBpf {
  /** Reads what a compiler made. */
  readObject(path: string): BpfObject;
  createMap(name: string, layout: BpfMapLayout): KernelBpfMap;
  mapById(id: number): KernelBpfMap | undefined;
  loadProgram(
    name: string,
    instructions: Uint8Array,
    symbols: Iterable<readonly [offset: number, of: KernelBpfMap | number]>,
  ): KernelBpfProgram;
  programById(id: number): KernelBpfProgram | undefined;
}

/** The kernel of a machine: its network namespaces by name and path. */
export interface Kernel {
  /** The namespace that this process is in. */
  current(): KernelNamespace;
  /** A namespace by path: `/run/netns/NAME`, `/proc/PID/ns/net`. */
  open(path: string): KernelNamespace;
  openNamed(name: string): KernelNamespace;
  /** The {@link KernelNamespace.inode} of the namespace that a path means now; `undefined`: none. */
  inodeAt(path: string): number | undefined;
  /** In no order. */
  listNamed(): Promise<readonly string[]>;
  namedExists(name: string): boolean;
  /** EEXIST if the name is taken. */
  createNamed(name: string): void;
  /** No such name is success. */
  deleteNamed(name: string): void;
  /** Gives a namespace that is held open a name (again). EEXIST if it is taken. */
  name(namespace: KernelNamespace, name: string): void;
  /** Calls back with each name that appears or vanishes; `onFailure`: there will be no calls any more, nor were there any. */
  watchNamed(onChange: (name: string) => void, onFailure: (error: Error) => void): { close(): void };
  readonly bpf: KernelBpf;
  /** A setting of the whole machine below /proc/sys/net, which no other namespace shows. */
  readMachineSysctl(key: string): string | undefined;
  writeMachineSysctl(key: string, value: string): void;
}
