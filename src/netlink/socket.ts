import { WeftError } from "../base/errors.ts";
import type { NetworkNamespace } from "../linux/index.ts";
import { acknowledgementError, readAcknowledgement } from "./acknowledgement.ts";
import {
  beginMessage,
  endMessage,
  type MessageHeader,
  messagesOf,
  NLM_F_ACK,
  NLM_F_DUMP,
  NLM_F_DUMP_INTR,
  NLM_F_REQUEST,
  NLMSG_DONE,
  NLMSG_ERROR,
  NLMSG_OVERRUN,
} from "./message.ts";
import type { Query, Request } from "./request.ts";
import { openKernelTransport, type Transport } from "./transport.ts";
import { MessageWriter } from "./writer.ts";

/** Measured: larger sends cost more per message, smaller ones more calls. */
const messagesPerSend = 128;
const octetsPerSend = 64 * 1024;
/** Milliseconds after which a long batch or dump lets the rest of the program run. */
const turn = 8;
/** Milliseconds without an answer after which the kernel is given up. It answers at once or not at all. */
const answerTimeout = 10_000;
/** How often a dump that the kernel says was interrupted is repeated. */
const dumpAttempts = 10;

export interface BatchFailure {
  readonly request: Request;
  readonly error: Error;
}

export interface BatchResult {
  /** Requests that the kernel carried out. */
  readonly done: number;
  readonly failures: readonly BatchFailure[];
}

export interface SocketOptions {
  /** Absent: the namespace that the process is in. */
  readonly namespace?: NetworkNamespace | undefined;
  /** Absent: the kernel of this host. */
  readonly transport?: Transport;
}

/** The dump stayed inconsistent however often it was repeated: the table changes all the time. */
export class DumpInterruptedError extends WeftError {
  constructor(operation: string) {
    super({
      code: "unavailable",
      attempted: operation,
      reason: `the table changed during each of ${dumpAttempts} dumps`,
      hint: "try again when less is changing",
    });
  }
}

/**
 * A routing-netlink socket for requests. One operation at a time is under way; others wait in order.
 * Requests are matched with answers by sequence number; an answer to anything else is dropped.
 */
export class NetlinkSocket {
  readonly #transport: Transport;
  readonly #writer = new MessageWriter(octetsPerSend);
  #sequence = 0;
  #tail: Promise<unknown> = Promise.resolve();
  #closed = false;
  /** Messages sent that change the kernel. */
  writes = 0;

  constructor(options: SocketOptions = {}) {
    this.#transport =
      options.transport ?? openKernelTransport({ namespace: options.namespace, receiveBuffer: 8 * 1024 * 1024 });
  }

  /** Sends one request that changes something and waits for its acknowledgement. */
  execute(request: Request): Promise<void> {
    return this.#exclusively(async () => {
      const { failures } = await this.#batch([request]);
      if (failures[0] !== undefined) throw failures[0].error;
    });
  }

  /**
   * Sends many requests that change something, in order, many to a send. A failed one does not stop the others.
   * The iterable is read as fast as the kernel works, never ahead of it.
   */
  batch(requests: Iterable<Request>): Promise<BatchResult> {
    return this.#exclusively(() => this.#batch(requests));
  }

  /** Asks for one object. Rejects with a SystemError (ENODEV, ENOENT) when there is none. */
  get<Value>(query: Query<Value>): Promise<Value> {
    return this.#exclusively(async () => {
      const values: Value[] = [];
      await this.#ask(query, NLM_F_ACK, values);
      const value = values[0];
      if (value === undefined)
        throw new WeftError({ code: "internal", attempted: query.describe(), reason: "the kernel's answer was empty" });
      return value;
    });
  }

  /** Asks for all objects of a table, again if the table changed meanwhile. */
  dump<Value>(query: Query<Value>): Promise<Value[]> {
    return this.#exclusively(async () => {
      for (let attempt = 0; attempt < dumpAttempts; attempt++) {
        const values: Value[] = [];
        if (await this.#ask(query, NLM_F_DUMP, values)) return values;
      }
      throw new DumpInterruptedError(query.describe());
    });
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#transport.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #exclusively<Value>(operation: () => Promise<Value>): Promise<Value> {
    const result = this.#tail.then(() => {
      if (this.#closed)
        throw new WeftError({ code: "internal", attempted: "use a netlink socket", reason: "it is closed" });
      return operation();
    });
    this.#tail = result.catch(() => {});
    return result;
  }

  async #batch(requests: Iterable<Request>): Promise<BatchResult> {
    let done = 0;
    const failures: BatchFailure[] = [];
    let turnEnds = performance.now() + turn;
    const pending: Request[] = [];
    const flush = async (): Promise<void> => {
      const first = this.#sequence - pending.length + 1;
      const failed = await this.#settle(pending, first);
      failures.push(...failed);
      done += pending.length - failed.length;
      pending.length = 0;
      this.#writer.reset();
      if (performance.now() > turnEnds) {
        await new Promise((resolve) => setImmediate(resolve));
        turnEnds = performance.now() + turn;
      }
    };
    this.#writer.reset();
    let lastStart = 0;
    const sendPending = async (): Promise<void> => {
      // One acknowledgement, of the last, tells that all were carried out; failures answer for themselves.
      const flags = this.#writer.view.getUint16(lastStart + 6, true);
      this.#writer.view.setUint16(lastStart + 6, flags | NLM_F_ACK, true);
      this.#transport.send(this.#writer.written());
      this.writes += pending.length;
      await flush();
    };
    for (const request of requests) {
      lastStart = beginMessage(this.#writer, request.type, request.flags | NLM_F_REQUEST, ++this.#sequence >>> 0);
      request.write(this.#writer);
      endMessage(this.#writer, lastStart);
      pending.push(request);
      if (pending.length >= messagesPerSend || this.#writer.position >= octetsPerSend) await sendPending();
    }
    if (pending.length > 0) await sendPending();
    return { done, failures };
  }

  /** Reads answers until the acknowledgement of the last of `pending`, whose sequence numbers start at `first`. */
  async #settle(pending: readonly Request[], first: number): Promise<BatchFailure[]> {
    const failures: BatchFailure[] = [];
    const last = (first + pending.length - 1) >>> 0;
    for (;;) {
      const datagram =
        this.#transport.receive() ?? (await this.#nextDatagram(() => (pending[0] as Request).describe()));
      const view = new DataView(datagram.buffer, datagram.byteOffset, datagram.byteLength);
      let finished = false;
      for (const header of messagesOf(datagram, view)) {
        if (!this.#isForUs(header) || header.type !== NLMSG_ERROR) continue;
        const request = pending[(header.sequence - first) >>> 0];
        if (request === undefined) continue;
        const acknowledgement = readAcknowledgement(datagram, view, header);
        if (acknowledgement.errno !== 0)
          failures.push({ request, error: acknowledgementError(request.describe(), acknowledgement) });
        if (header.sequence === last) finished = true;
      }
      if (finished) return failures;
    }
  }

  /** Collects the answer to a query; false when the kernel says that the dump was interrupted. */
  async #ask<Value>(query: Query<Value>, flags: number, values: Value[]): Promise<boolean> {
    const sequence = ++this.#sequence >>> 0;
    this.#writer.reset();
    const start = beginMessage(this.#writer, query.type, query.flags | flags | NLM_F_REQUEST, sequence);
    query.write(this.#writer);
    endMessage(this.#writer, start);
    this.#transport.send(this.#writer.written());
    let consistent = true;
    let turnEnds = performance.now() + turn;
    for (;;) {
      const datagram = this.#transport.receive() ?? (await this.#nextDatagram(query.describe));
      const view = new DataView(datagram.buffer, datagram.byteOffset, datagram.byteLength);
      for (const header of messagesOf(datagram, view)) {
        if (!this.#isForUs(header) || header.sequence !== sequence) continue;
        if ((header.flags & NLM_F_DUMP_INTR) !== 0) consistent = false;
        if (header.type === NLMSG_DONE || header.type === NLMSG_ERROR) {
          const acknowledgement = readAcknowledgement(datagram, view, header);
          if (acknowledgement.errno !== 0) throw acknowledgementError(query.describe(), acknowledgement);
          return consistent;
        }
        if (header.type === NLMSG_OVERRUN) consistent = false;
        else {
          const value = query.read(datagram, view, header.start, header.end, header.type);
          if (value !== undefined) values.push(value);
        }
      }
      if (performance.now() > turnEnds) {
        await new Promise((resolve) => setImmediate(resolve));
        turnEnds = performance.now() + turn;
      }
    }
  }

  #isForUs(header: MessageHeader): boolean {
    return header.portId === this.#transport.portId;
  }

  #nextDatagram(describe: () => string): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      const finish = (settle: () => void): void => {
        clearTimeout(timer);
        stop();
        settle();
      };
      const timer = setTimeout(
        () =>
          finish(() =>
            reject(
              new WeftError({
                code: "unavailable",
                attempted: describe(),
                reason: `no answer from the kernel within ${answerTimeout / 1000} s`,
              }),
            ),
          ),
        answerTimeout,
      );
      const stop = this.#transport.onReadable(() => {
        try {
          const datagram = this.#transport.receive();
          if (datagram !== undefined) finish(() => resolve(datagram));
        } catch (error) {
          finish(() => reject(error as Error));
        }
      });
    });
  }
}
