import { attachFilter } from "./bpf.ts";
import { checked, closeDescriptor } from "./descriptor.ts";
import { libc, viewMemory } from "./libc.ts";
import type { NetworkNamespace } from "./namespace.ts";
import { bindToInterface, openPacketDescriptor } from "./packet-socket.ts";
import { type StopWatching, watchReadable } from "./readiness.ts";

/** asm-generic/socket.h */
const SOL_SOCKET = 1;
const SO_ERROR = 4;
/** linux/if_packet.h */
const SOL_PACKET = 263;
const PACKET_RX_RING = 5;
const PACKET_STATISTICS = 6;
const PACKET_VERSION = 10;
const TPACKET_V3 = 2;
/** sys/mman.h */
const PROT_READ_WRITE = 1 | 2;
const MAP_SHARED = 1;

/** linux/if_packet.h: `tp_status` of a packet, and of a block that the program may read. */
const TP_STATUS_USER = 1 << 0;
/** Of a block: packets were lost before it. */
const TP_STATUS_LOSING = 1 << 2;
const TP_STATUS_CSUMNOTREADY = 1 << 3;
const TP_STATUS_VLAN_VALID = 1 << 4;
const TP_STATUS_VLAN_TPID_VALID = 1 << 6;
const TP_STATUS_CSUM_VALID = 1 << 7;
const TP_STATUS_GSO_TCP = 1 << 8;

/** Octets of a block. The largest packet that is usual between a host's own interfaces, of 64 KiB, fits; more of one is cut. */
const blockLength = 128 * 1024;
/** The kernel wants to know of frames, and then has them as long as they are. */
const frameLength = 2048;
/** A block is handed over when it is full or has had its first packet for so long, in milliseconds. */
const retireTimeout = 20;

/** linux/if_packet.h: `struct tpacket_block_desc` with `struct tpacket_hdr_v1`. */
const blockStatus = 8;
const blockPackets = 12;
const blockFirstPacket = 16;
/** `struct tpacket3_hdr`, and `struct sockaddr_ll` behind it. */
const packetHeader = { next: 0, seconds: 4, nanoseconds: 8, length: 12, original: 16, status: 20, mac: 24 } as const;
const packetVlan = { tci: 32, tpid: 36 } as const;
const packetAddress = { interfaceIndex: 52, hardwareType: 56, packetType: 58 } as const;

/** linux/if_arp.h: what an interface sends has an Ethernet header, also on the loopback interface. */
const ARPHRD_ETHER = 1;
const ARPHRD_LOOPBACK = 772;
/** linux/if_ether.h */
const ETH_P_ALL = 0x0003;
const ETH_P_8021Q = 0x8100;
/** Octets of the addresses, behind which VLAN tags stand. */
const tagOffset = 12;
const tagLength = 4;

/** A packet as it was at an interface. */
export interface CapturedFrame {
  /** Nanoseconds since 1970 (UTC) by this machine's clock. */
  readonly time: bigint;
  readonly interfaceIndex: number;
  /** One of `packetType`. */
  readonly packetType: number;
  /** From the Ethernet header on with all VLAN tags, or from the IP header on where the interface has no Ethernet. */
  readonly bytes: Uint8Array;
  /** Octets that it had before it was cut. */
  readonly originalLength: number;
  readonly link: "ethernet" | "ip";
  /** Its first VLAN tag, which is in `bytes`, was not there when the filter looked. */
  readonly isTagged: boolean;
  /** `not-ready`: the innermost checksum is to be computed yet. `valid`: the kernel has looked. */
  readonly checksum?: "not-ready" | "valid";
  /** Its TCP segments were put together, or are to be cut yet; kernels before 6.4 never say so. */
  readonly isSegmented: boolean;
}

export interface CaptureSocketOptions {
  readonly namespace: NetworkNamespace;
  /** Absent: all interfaces of the namespace, also those that come later. */
  readonly interfaceIndex?: number;
  /** A classic BPF program that says how many octets of each packet are kept; it sees packets without their first VLAN tag. */
  readonly filter: Uint8Array;
  /** Octets of packets that wait to be read, with some about them; what comes when there is no room is lost, and counted. */
  readonly room: number;
}

/** Nothing passes. `BPF_RET` with 0. */
const nothing = Uint8Array.of(6, 0, 0, 0, 0, 0, 0, 0);

/**
 * What crosses interfaces, in both directions, before anybody has it or after everybody had: an AF_PACKET socket whose ring is in
 * memory that kernel and program share, so that reading a packet takes no system call. packet(7), Documentation/networking/packet_mmap.rst.
 */
export class CaptureSocket {
  readonly #fd: number;
  readonly #address: bigint;
  readonly #length: number;
  #view: DataView | undefined;
  #status: Int32Array | undefined;
  #block = 0;
  #stopWatching: StopWatching | undefined;
  #received = 0;
  #passed = 0;
  #dropped = 0;

  constructor(options: CaptureSocketOptions) {
    const { namespace, interfaceIndex = 0, filter, room } = options;
    const operation = `capture in ${namespace.label}${interfaceIndex === 0 ? "" : ` on interface ${interfaceIndex}`}`;
    const blocks = Math.max(2, Math.ceil(room / blockLength));
    this.#length = blocks * blockLength;
    this.#fd = openPacketDescriptor(namespace, operation);
    try {
      attachFilter(this.#fd, filter, operation);
      checked(libc.setsockopt(this.#fd, SOL_PACKET, PACKET_VERSION, Int32Array.of(TPACKET_V3), 4), operation);
      /** `struct tpacket_req3`. */
      const ring = Uint32Array.of(blockLength, blocks, frameLength, this.#length / frameLength, retireTimeout, 0, 0);
      checked(libc.setsockopt(this.#fd, SOL_PACKET, PACKET_RX_RING, ring, ring.byteLength), operation);
      const mapped = libc.mmap(null, this.#length, PROT_READ_WRITE, MAP_SHARED, this.#fd, 0);
      checked(mapped, operation);
      this.#address = BigInt(mapped as number | bigint);
      const memory = viewMemory(this.#address, this.#length);
      this.#view = new DataView(memory);
      this.#status = new Int32Array(memory);
      bindToInterface(this.#fd, interfaceIndex, ETH_P_ALL, operation);
    } catch (error) {
      closeDescriptor(this.#fd);
      throw error;
    }
  }

  /** Packets in the order in which they came, some at a time; none: nothing waits now. */
  read(): CapturedFrame[] {
    const view = this.#view;
    const status = this.#status;
    if (view === undefined || status === undefined) return [];
    const block = this.#block * blockLength;
    // Not before the kernel has given the block away may anything in it be read, and not after it was given back.
    const blockState = Atomics.load(status, (block + blockStatus) / 4);
    if ((blockState & TP_STATUS_USER) === 0) return [];
    if ((blockState & TP_STATUS_LOSING) !== 0) this.#readStatistics();
    const frames: CapturedFrame[] = [];
    let offset = block + view.getUint32(block + blockFirstPacket, true);
    for (let left = view.getUint32(block + blockPackets, true); left > 0; left--) {
      frames.push(readFrame(view, offset));
      offset += view.getUint32(offset + packetHeader.next, true);
    }
    Atomics.store(status, (block + blockStatus) / 4, 0);
    this.#block = (this.#block + 1) % (this.#length / blockLength);
    this.#received += frames.length;
    return frames;
  }

  /** Calls back from the event loop whenever there is something to {@link read} or {@link takeError}, until {@link pause} or {@link close}. */
  onReadable(callback: () => void): void {
    if (this.#isClosed) throw new TypeError("the capture socket is closed");
    this.pause();
    this.#stopWatching = watchReadable(this.#fd, callback, true);
  }

  pause(): void {
    this.#stopWatching?.();
    this.#stopWatching = undefined;
  }

  /** The number of an error that the kernel has for the socket, once; 0: none. ENETDOWN: its interface went down or away. */
  takeError(): number {
    if (this.#isClosed) return 0;
    const error = new Int32Array(1);
    checked(libc.getsockopt(this.#fd, SOL_SOCKET, SO_ERROR, error, [4]), "look for an error of a packet socket");
    return error[0] ?? 0;
  }

  /** From now on nothing new comes; what waits can be read. */
  stop(): void {
    if (!this.#isClosed) attachFilter(this.#fd, nothing, "end a capture");
  }

  /** Whether all that passed the filter was read, but for what was lost; a closed socket has nothing more. */
  get isDrained(): boolean {
    if (this.#isClosed) return true;
    this.#readStatistics();
    return this.#received >= this.#passed - this.#dropped;
  }

  /** Packets that were read. */
  get received(): number {
    return this.#received;
  }

  /** Packets that there was no room for: known to be missing before the last that was read, or at the end when it {@link isDrained}. */
  get dropped(): number {
    return this.#dropped;
  }

  #readStatistics(): void {
    /** `struct tpacket_stats_v3`; reading begins it anew. */
    const counts = new Uint32Array(3);
    const attempted = "read what a packet socket counted";
    checked(libc.getsockopt(this.#fd, SOL_PACKET, PACKET_STATISTICS, counts, [counts.byteLength]), attempted);
    this.#passed += counts[0] ?? 0;
    this.#dropped += counts[1] ?? 0;
  }

  /** Its descriptor may be somebody else's by now. */
  get #isClosed(): boolean {
    return this.#view === undefined;
  }

  close(): void {
    if (this.#isClosed) return;
    this.pause();
    this.#view = undefined;
    this.#status = undefined;
    libc.munmap(this.#address, this.#length);
    closeDescriptor(this.#fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

function readFrame(view: DataView, at: number): CapturedFrame {
  const status = view.getUint32(at + packetHeader.status, true);
  const length = view.getUint32(at + packetHeader.length, true);
  const start = at + view.getUint16(at + packetHeader.mac, true);
  const hardwareType = view.getUint16(at + packetAddress.hardwareType, true);
  const isEthernet = hardwareType === ARPHRD_ETHER || hardwareType === ARPHRD_LOOPBACK;
  const captured = new Uint8Array(view.buffer, start, length);
  const isTagged = isEthernet && (status & TP_STATUS_VLAN_VALID) !== 0 && length >= tagOffset;
  const hasType = (status & TP_STATUS_VLAN_TPID_VALID) !== 0;
  const seconds = BigInt(view.getUint32(at + packetHeader.seconds, true));
  const notReady = (status & TP_STATUS_CSUMNOTREADY) !== 0;
  const valid = (status & TP_STATUS_CSUM_VALID) !== 0;
  return {
    time: seconds * 1_000_000_000n + BigInt(view.getUint32(at + packetHeader.nanoseconds, true)),
    interfaceIndex: view.getInt32(at + packetAddress.interfaceIndex, true),
    packetType: view.getUint8(at + packetAddress.packetType),
    bytes: isTagged
      ? withTag(
          captured,
          hasType ? view.getUint16(at + packetVlan.tpid, true) : ETH_P_8021Q,
          view.getUint16(at + packetVlan.tci, true),
        )
      : captured.slice(),
    originalLength: view.getUint32(at + packetHeader.original, true) + (isTagged ? tagLength : 0),
    link: isEthernet ? "ethernet" : "ip",
    isTagged,
    ...(notReady ? { checksum: "not-ready" } : valid ? { checksum: "valid" } : {}),
    isSegmented: (status & TP_STATUS_GSO_TCP) !== 0,
  };
}

/** The frame with the VLAN tag that the kernel had taken out of it. */
function withTag(frame: Uint8Array, type: number, control: number): Uint8Array {
  const tagged = new Uint8Array(frame.length + tagLength);
  tagged.set(frame.subarray(0, tagOffset));
  const view = new DataView(tagged.buffer);
  view.setUint16(tagOffset, type);
  view.setUint16(tagOffset + 2, control);
  tagged.set(frame.subarray(tagOffset), tagOffset + tagLength);
  return tagged;
}
