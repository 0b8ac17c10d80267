import { WeftError } from "../base/errors.ts";
import type { Kernel, KernelNamespace } from "../dataplane/kernel.ts";
import { netlinkProtocol } from "../linux/index.ts";
import type { Channel, ChannelOptions } from "../netlink/index.ts";

/** asm-generic/errno-base.h: what is refused is refused as on a file system that is read alone. */
const EROFS = 30;

/** A kernel that shows all and lets nothing be changed: whoever would make it as it should be is told what it is that differs. */
export function readOnly(kernel: Kernel): Kernel {
  const refuse = (attempted: string) => (): never => {
    throw new WeftError({ code: "failed-precondition", attempted, reason: "it is looked at alone, and not changed" });
  };
  return {
    current: () => readOnlyNamespace(kernel.current()),
    open: (path) => readOnlyNamespace(kernel.open(path)),
    openNamed: (name) => readOnlyNamespace(kernel.openNamed(name)),
    inodeAt: (path) => kernel.inodeAt(path),
    listNamed: () => kernel.listNamed(),
    namedExists: (name) => kernel.namedExists(name),
    createNamed: (name) => refuse(`create network namespace ${name}`)(),
    deleteNamed: (name) => refuse(`delete network namespace ${name}`)(),
    name: (_namespace, name) => refuse(`name a network namespace ${name}`)(),
    watchNamed: () => ({ close() {} }),
    bpf: {
      readObject: (path) => kernel.bpf.readObject(path),
      mapById: (id) => kernel.bpf.mapById(id),
      programById: (id) => kernel.bpf.programById(id),
      createMap: (name) => refuse(`create eBPF map ${name}`)(),
      loadProgram: (name) => refuse(`load eBPF program ${name}`)(),
    },
    readMachineSysctl: (key) => kernel.readMachineSysctl(key),
    writeMachineSysctl: (key) => refuse(`set sysctl net.${key.replaceAll("/", ".")}`)(),
  };
}

function readOnlyNamespace(namespace: KernelNamespace): KernelNamespace {
  const { label, inode, fd } = namespace;
  const refusal = (attempted: string): WeftError =>
    new WeftError({
      code: "failed-precondition",
      attempted: `${attempted} in ${label}`,
      reason: "it is looked at alone, and not changed",
    });
  return {
    label,
    inode,
    fd,
    openChannel: (options) => new ReadOnlyChannel(namespace.openChannel(options), options),
    readSysctl: (key) => namespace.readSysctl(key),
    writeSysctl(key, value) {
      throw refusal(`set sysctl net.${key.replaceAll("/", ".")} = ${value}, which is ${namespace.readSysctl(key)},`);
    },
    async nft(attempted, parameters, input) {
      const asks = parameters.some((word) => word === "list" || word === "get");
      if (asks && input === "") return namespace.nft(attempted, parameters, input);
      throw refusal(attempted);
    },
    readLegacyIptables: (family) => namespace.readLegacyIptables(family),
    makeTap(name) {
      throw refusal(`make tap ${name}`);
    },
    openPacketSender() {
      throw refusal("send frames");
    },
    openPacketSocket: (options) => namespace.openPacketSocket(options),
    openDatagramSocket() {
      throw refusal("send datagrams");
    },
    close: () => namespace.close(),
    [Symbol.dispose]: () => namespace.close(),
  };
}

/** linux/netlink.h: header, error and the header that it quotes. */
const headerLength = 16;
const refusalLength = headerLength + 4 + headerLength;
const NLMSG_ERROR = 2;
const NLM_F_CAPPED = 0x100;
/** linux/netfilter/nf_tables.h: messages that ask for something, by their number within nftables. */
const nftGets: ReadonlySet<number> = new Set([1, 4, 7, 10, 13, 16, 19, 20, 21]);

/** Passes questions on, and answers everything else itself: refused. */
class ReadOnlyChannel implements Channel {
  readonly #channel: Channel;
  readonly #isOfNetfilter: boolean;
  readonly #refusals: Uint8Array[] = [];
  #onReadable: (() => void) | undefined;

  constructor(channel: Channel, options: Omit<ChannelOptions, "namespace">) {
    this.#channel = channel;
    this.#isOfNetfilter = options.protocol === netlinkProtocol.netfilter;
  }

  get portId(): number {
    return this.#channel.portId;
  }

  /** What is sent at once is one question, or changes alone. */
  send(bytes: Uint8Array): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const asks = this.#asks(view.getUint16(4, true));
    if (asks) {
      this.#channel.send(bytes);
      return;
    }
    for (let offset = 0; offset + headerLength <= bytes.length; ) {
      this.#refusals.push(this.#refusalOf(view, offset));
      offset += (view.getUint32(offset, true) + 3) & ~3;
    }
    setImmediate(() => this.#onReadable?.());
  }

  receive(): Uint8Array | undefined {
    return this.#refusals.shift() ?? this.#channel.receive();
  }

  onReadable(callback: () => void): () => void {
    this.#onReadable = callback;
    if (this.#refusals.length > 0) setImmediate(() => this.#onReadable?.());
    const stop = this.#channel.onReadable(callback);
    return () => {
      this.#onReadable = undefined;
      stop();
    };
  }

  close(): void {
    this.#channel.close();
  }

  /** linux/rtnetlink.h: of the four messages of each kind of object the third asks. */
  #asks(type: number): boolean {
    return this.#isOfNetfilter ? type >= 256 && nftGets.has(type & 0xff) : type >= 16 && type % 4 === 2;
  }

  #refusalOf(request: DataView, offset: number): Uint8Array {
    const refusal = new Uint8Array(refusalLength);
    const view = new DataView(refusal.buffer);
    view.setUint32(0, refusalLength, true);
    view.setUint16(4, NLMSG_ERROR, true);
    view.setUint16(6, NLM_F_CAPPED, true);
    view.setUint32(8, request.getUint32(offset + 8, true), true);
    view.setUint32(12, this.portId, true);
    view.setInt32(headerLength, -EROFS, true);
    for (let octet = 0; octet < headerLength; octet++)
      view.setUint8(headerLength + 4 + octet, request.getUint8(offset + octet));
    return refusal;
  }
}
