import { SystemError } from "../linux/index.ts";
import type { Channel } from "../netlink/channel.ts";
import {
  beginMessage,
  endMessage,
  messageHeaderLength,
  messagesOf,
  NLM_F_ACK,
  NLM_F_ACK_TLVS,
  NLM_F_CAPPED,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_DUMP_INTR,
  NLM_F_EXCL,
  NLM_F_MULTI,
  NLMSG_DONE,
  NLMSG_ERROR,
} from "../netlink/message.ts";
import type { Query } from "../netlink/request.ts";
import { MessageWriter } from "../netlink/writer.ts";

/** A request as the fake kernel received it. */
export interface FakeRequest {
  /** RTM_* of linux/rtnetlink.h. */
  readonly type: number;
  /** NLM_F_*. */
  readonly flags: number;
  readonly sequence: number;
  /** What follows the message header: the fixed header of the family and its attributes. */
  readonly payload: Uint8Array;
}

/** A message from the kernel. A request of this library serves as one: `replaceNeighbour(…)` writes what a dump of neighbours says. */
export interface FakeMessage {
  readonly type: number;
  readonly write: (writer: MessageWriter) => void;
  /** Of an event that names who asked for the change: his port. */
  readonly portId?: number;
}

/** What the kernel answers: objects, or an error. Nothing but success: `{}`. */
export interface FakeAnswer {
  readonly messages?: readonly FakeMessage[];
  /** A positive number of asm-generic/errno.h. */
  readonly errno?: number;
  /** The words of the extended acknowledgement. */
  readonly message?: string;
  /** Where in the request the offending attribute starts, counted from its message header. */
  readonly offset?: number;
}

/** Answers the requests of some types; `undefined` leaves the request to the next handler. */
export type FakeHandler = (request: FakeRequest) => FakeAnswer | undefined;

/** Something that goes wrong with the answer to one request. */
export type Fault =
  /** The kernel refuses, with or without an extended acknowledgement. The request is not carried out. */
  | ({ readonly kind: "error"; readonly errno: number } & FakeAnswer)
  /** The table changed during the dump: NLM_F_DUMP_INTR. */
  | { readonly kind: "interrupted" }
  /** The first datagram of the answer ends in the middle of a message. */
  | { readonly kind: "truncated" }
  /** A message of the answer claims to be longer than its datagram, or shorter than its own header. */
  | { readonly kind: "malformed"; readonly length: number }
  /** The request is carried out; instead of its answer comes ENOBUFS, once. */
  | { readonly kind: "lost" }
  /** Before the answer comes a copy of it with another sequence number. */
  | { readonly kind: "wrong-sequence" }
  /** Before the answer comes a refusal (EPERM) of the same sequence number that is addressed to another port. */
  | { readonly kind: "wrong-port" }
  /** The answer is held back until {@link FakeKernel.release}. */
  | { readonly kind: "late" }
  /** The request is carried out and never answered. */
  | { readonly kind: "silent" };

export interface FakeKernelOptions {
  /** Asked in order; what none answers is refused with EOPNOTSUPP. Absent: everything succeeds, every dump is empty. */
  readonly handlers?: readonly FakeHandler[];
  /** The port of the socket: events of nftables tell who asked for a change by it. Default 4711. */
  readonly portId?: number;
  /** Messages in one datagram of a dump. */
  readonly messagesPerDatagram?: number;
  /** Asked of each request for something that is to go wrong with it, beside what {@link FakeKernel.inject} asks for. */
  readonly faultOf?: (request: FakeRequest) => Fault | undefined;
  /** Whether the socket queues an event. Absent: it queues all. */
  readonly isQueued?: ((datagram: Uint8Array) => boolean) | undefined;
  readonly onClosed?: () => void;
}

const EPERM = 1;
const ENOENT = 2;
const EEXIST = 17;
const EOPNOTSUPP = 95;
const ENOBUFS = 105;

type Delivery = Uint8Array | "lost";

/**
 * A kernel for tests: a {@link Channel} that answers from handler functions or simple tables, remembers what it was
 * asked, and misbehaves on demand in each way that netlink can.
 */
export class FakeKernel implements Channel {
  readonly portId: number;
  /** All requests so far. */
  readonly requests: FakeRequest[] = [];
  /** Datagrams sent to the kernel so far. */
  sends = 0;
  closed = false;
  readonly #handlers: readonly FakeHandler[];
  readonly #messagesPerDatagram: number;
  readonly #options: FakeKernelOptions;
  readonly #writer = new MessageWriter();
  readonly #queue: Delivery[] = [];
  #heldBack: Delivery[] = [];
  readonly #faults: { readonly fault: Fault; wait: number; times: number }[] = [];
  #handedOut: Uint8Array | undefined;
  #onReadable: (() => void) | undefined;
  #scheduled = false;

  constructor(options: FakeKernelOptions = {}) {
    this.portId = options.portId ?? 4711;
    this.#handlers = options.handlers ?? [() => ({})];
    this.#messagesPerDatagram = options.messagesPerDatagram ?? 50;
    this.#options = options;
  }

  /** Makes the next request go wrong, or the `times` requests that follow when `after` others have gone well. */
  inject(fault: Fault, options: { readonly after?: number; readonly times?: number } = {}): void {
    this.#faults.push({ fault, wait: options.after ?? 0, times: options.times ?? 1 });
  }

  /** Delivers the answers that were held back by the fault `late`. */
  release(): void {
    const deliveries = this.#heldBack;
    this.#heldBack = [];
    this.#deliver(deliveries);
  }

  /** Delivers an event: a message that answers no request. */
  publish(...messages: readonly FakeMessage[]): void {
    const writer = this.#emptyWriter();
    for (const message of messages) this.#write(writer, message, 0, 0, message.portId ?? 0);
    const datagram = writer.written().slice();
    if (this.#options.isQueued?.(datagram) !== false) this.#deliver([datagram]);
  }

  /** Delivers a datagram as it is. */
  publishBytes(datagram: Uint8Array): void {
    this.#deliver([datagram]);
  }

  /** What a socket sees whose receive buffer was full: datagrams are lost, and ENOBUFS says so once. */
  publishOverrun(): void {
    this.#deliver(["lost"]);
  }

  send(bytes: Uint8Array): void {
    if (this.closed) throw new SystemError({ operation: "send to the kernel", errno: 9 });
    this.sends++;
    const copy = bytes.slice();
    const view = new DataView(copy.buffer);
    for (const { type, flags, sequence, start, end } of messagesOf(copy, view))
      this.#answer({ type, flags, sequence, payload: copy.subarray(start, end) });
  }

  receive(): Uint8Array | undefined {
    // Whoever still reads the datagram before this one is to notice.
    this.#handedOut?.fill(0xaa);
    const delivery = this.#queue.shift();
    if (delivery === "lost") throw new SystemError({ operation: "receive from the kernel", errno: ENOBUFS });
    this.#handedOut = delivery;
    return delivery;
  }

  onReadable(callback: () => void): () => void {
    this.#onReadable = callback;
    this.#schedule();
    return () => {
      if (this.#onReadable === callback) this.#onReadable = undefined;
    };
  }

  close(): void {
    this.closed = true;
    this.#options.onClosed?.();
  }

  #answer(request: FakeRequest): void {
    this.requests.push(request);
    const fault = this.#options.faultOf?.(request) ?? this.#nextFault();
    const answer = fault?.kind === "error" ? fault : this.#handle(request);
    const deliveries: Delivery[] = this.#encode(request, answer, {
      interrupted: fault?.kind === "interrupted",
      sequence: request.sequence,
      portId: this.portId,
    });
    switch (fault?.kind) {
      case "truncated": {
        const first = deliveries[0];
        if (first instanceof Uint8Array) deliveries[0] = first.slice(0, first.length - 2);
        break;
      }
      case "malformed": {
        const first = deliveries[0];
        if (first instanceof Uint8Array) new DataView(first.buffer).setUint32(0, fault.length, true);
        break;
      }
      case "wrong-sequence":
        deliveries.unshift(
          ...this.#encode(request, answer, {
            interrupted: false,
            sequence: (request.sequence + 0x1000) >>> 0,
            portId: this.portId,
          }),
        );
        break;
      case "wrong-port":
        deliveries.unshift(
          ...this.#encode(
            request,
            { errno: EPERM },
            { interrupted: false, sequence: request.sequence, portId: this.portId + 1 },
          ),
        );
        break;
    }
    if (fault?.kind === "silent") return;
    if (fault?.kind === "late") this.#heldBack.push(...deliveries);
    else this.#deliver(fault?.kind === "lost" ? ["lost"] : deliveries);
  }

  #handle(request: FakeRequest): FakeAnswer {
    for (const handler of this.#handlers) {
      const answer = handler(request);
      if (answer !== undefined) return answer;
    }
    return { errno: EOPNOTSUPP };
  }

  #nextFault(): Fault | undefined {
    const next = this.#faults[0];
    if (next === undefined) return undefined;
    if (next.wait > 0) {
      next.wait--;
      return undefined;
    }
    next.times--;
    if (next.times <= 0) this.#faults.shift();
    return next.fault;
  }

  #encode(
    request: FakeRequest,
    answer: FakeAnswer,
    how: { readonly interrupted: boolean; readonly sequence: number; readonly portId: number },
  ): Uint8Array[] {
    const isDump = isDumpRequest(request);
    const failed = answer.errno !== undefined && answer.errno !== 0;
    const datagrams: Uint8Array[] = [];
    const flags = (isDump ? NLM_F_MULTI : 0) | (how.interrupted ? NLM_F_DUMP_INTR : 0);
    const messages = failed ? [] : (answer.messages ?? []);
    for (let index = 0; index < messages.length; index += this.#messagesPerDatagram) {
      const writer = this.#emptyWriter();
      for (const message of messages.slice(index, index + this.#messagesPerDatagram))
        this.#write(writer, message, flags, how.sequence, how.portId);
      datagrams.push(writer.written().slice());
    }
    if (isDump && !failed) {
      const writer = this.#emptyWriter();
      const done = { type: NLMSG_DONE, write: (target: MessageWriter) => void target.reserve(4) };
      this.#write(writer, done, flags, how.sequence, how.portId);
      datagrams.push(writer.written().slice());
    } else if (failed || (request.flags & NLM_F_ACK) !== 0) {
      const writer = this.#emptyWriter();
      const hasText = answer.message !== undefined || answer.offset !== undefined;
      this.#write(
        writer,
        { type: NLMSG_ERROR, write: (target) => writeAcknowledgement(target, request, answer) },
        NLM_F_CAPPED | (hasText ? NLM_F_ACK_TLVS : 0),
        how.sequence,
        how.portId,
      );
      datagrams.push(writer.written().slice());
    }
    return datagrams;
  }

  /** One for all: what it held was copied. */
  #emptyWriter(): MessageWriter {
    this.#writer.reset();
    return this.#writer;
  }

  #write(writer: MessageWriter, message: FakeMessage, flags: number, sequence: number, portId: number): void {
    const start = beginMessage(writer, message.type, flags, sequence);
    writer.view.setUint32(start + 12, portId, true);
    message.write(writer);
    endMessage(writer, start);
  }

  #deliver(deliveries: readonly Delivery[]): void {
    this.#queue.push(...deliveries);
    this.#schedule();
  }

  /** Level-triggered, as a watched descriptor is. */
  #schedule(): void {
    if (this.#scheduled || this.#onReadable === undefined || this.#queue.length === 0) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      if (this.#queue.length > 0) this.#onReadable?.();
      this.#schedule();
    });
  }
}

function isDumpRequest(request: FakeRequest): boolean {
  return (request.flags & NLM_F_DUMP) === NLM_F_DUMP;
}

/** linux/netlink.h: `struct nlmsgerr`, the quoted request capped to its header, and the extended acknowledgement. */
function writeAcknowledgement(writer: MessageWriter, request: FakeRequest, answer: FakeAnswer): void {
  const start = writer.reserve(4 + messageHeaderLength);
  writer.view.setInt32(start, -(answer.errno ?? 0), true);
  writer.view.setUint32(start + 4, messageHeaderLength + request.payload.length, true);
  writer.view.setUint16(start + 8, request.type, true);
  writer.view.setUint16(start + 10, request.flags, true);
  writer.view.setUint32(start + 12, request.sequence, true);
  if (answer.message !== undefined) {
    const text = new TextEncoder().encode(answer.message);
    const attribute = writer.beginAttribute(1); // NLMSGERR_ATTR_MSG
    const position = writer.reserve(text.length + 1);
    writer.bytes.set(text, position);
    writer.endAttribute(attribute);
  }
  if (answer.offset !== undefined) {
    const attribute = writer.beginAttribute(2); // NLMSGERR_ATTR_OFFS
    const position = writer.reserve(4);
    writer.view.setUint32(position, answer.offset, true);
    writer.endAttribute(attribute);
  }
}

export interface FakeTableOptions<Value> {
  /** RTM_NEW*, RTM_DEL*, RTM_GET* of the family: three numbers that follow each other, the first of them. */
  readonly newType: number;
  /** Reads a payload of the family, as `readNeighbour` and its likes do. */
  readonly read: Query<Value>["read"];
  /** What makes two payloads speak of the same object. */
  readonly key: (value: Value) => string;
}

/**
 * An in-memory table of the objects of one family: creates, replaces, deletes, gets and dumps them, refusing with
 * EEXIST and ENOENT as the kernel does. What it is told is what it reports.
 */
export class FakeTable<Value> {
  readonly #objects = new Map<string, { readonly value: Value; readonly payload: Uint8Array }>();
  readonly #options: FakeTableOptions<Value>;

  constructor(options: FakeTableOptions<Value>) {
    this.#options = options;
  }

  /** The objects in the order in which they were made. */
  get values(): Value[] {
    return [...this.#objects.values()].map(({ value }) => value);
  }

  /** For {@link FakeKernelOptions.handlers}. */
  readonly handler: FakeHandler = (request) => {
    const { newType, read, key } = this.#options;
    const operation = request.type - newType;
    if (operation < 0 || operation > 2) return undefined;
    const message = (payload: Uint8Array): FakeMessage => ({
      type: newType,
      write: (writer) => {
        const position = writer.reserve(payload.length);
        writer.bytes.set(payload, position);
      },
    });
    if (isDumpRequest(request)) return { messages: [...this.#objects.values()].map(({ payload }) => message(payload)) };
    const { payload } = request;
    const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
    const value = read(payload, view, 0, payload.length, request.type);
    if (value === undefined) return undefined;
    const name = key(value);
    const present = this.#objects.get(name);
    if (operation === 0) {
      if (present !== undefined && (request.flags & NLM_F_EXCL) !== 0) return { errno: EEXIST };
      if (present === undefined && (request.flags & NLM_F_CREATE) === 0) return { errno: ENOENT };
      this.#objects.set(name, { value, payload });
      return {};
    }
    if (present === undefined) return { errno: ENOENT };
    if (operation === 2) return { messages: [message(present.payload)] };
    this.#objects.delete(name);
    return {};
  };
}
