import { type Duration, formatDuration, seconds } from "../base/duration.ts";
import { messageOf, WeftError } from "../base/errors.ts";
import { isErrno, type NetworkNamespace, SystemError } from "../linux/index.ts";
import { acknowledgementError, readAcknowledgement } from "./acknowledgement.ts";
import { type Channel, openKernelChannel } from "./channel.ts";
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
import { NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END, writeBatchHeader } from "./nft/message.ts";
import type { Query, Request } from "./request.ts";
import { MessageWriter } from "./writer.ts";

/** Measured: larger sends cost more per message, smaller ones more calls. */
const messagesPerSend = 128;
const octetsPerSend = 64 * 1024;
/** Milliseconds after which a long batch or dump lets the rest of the program run. */
const turn = 4;
/** Message types below this belong to netlink itself. linux/netlink.h: NLMSG_MIN_TYPE. */
const firstTypeOfFamilies = 0x10;
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
  readonly channel?: Channel;
  /** Without an answer for so long the kernel is given up. Default 10 s: it answers at once or not at all. */
  readonly answerTimeout?: Duration;
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
  readonly #channel: Channel;
  readonly #writer = new MessageWriter(octetsPerSend);
  #sequence = 0;
  #tail: Promise<unknown> = Promise.resolve();
  #closed = false;
  /** Ends the wait for a datagram that is under way. */
  #abandonWait: (() => void) | undefined;
  readonly #answerTimeout: Duration;
  /** Messages sent that change the kernel. */
  writes = 0;

  constructor(options: SocketOptions = {}) {
    this.#channel = options.channel ?? openKernelChannel({ namespace: options.namespace });
    this.#answerTimeout = options.answerTimeout ?? seconds(10);
  }

  /** The port that the kernel names in events of what this socket changed, where it names one: in those of nftables. */
  get portId(): number {
    return this.#channel.portId;
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
   * The iterable is read as fast as the kernel works, never ahead of it. A request whose fields cannot be written
   * fails like one that the kernel refuses. Rejects when it is not known what the kernel did: answers were lost
   * (ENOBUFS), could not be read, or did not come; the requests before may have been carried out.
   */
  batch(requests: Iterable<Request>): Promise<BatchResult> {
    return this.#exclusively(() => this.#batch(requests));
  }

  /**
   * Has nftables carry out all of the requests at once, or none if it refuses one: each that it refuses is among the failures. All
   * must fit into one send: some thousand elements. Rejects as {@link batch} does. Of a socket for `netlinkProtocol.netfilter`.
   */
  transaction(requests: readonly Request[]): Promise<BatchResult> {
    return this.#exclusively(() => this.#transaction(requests));
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

  /** What is under way or waits is rejected. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#abandonWait?.();
    this.#channel.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #exclusively<Value>(operation: () => Promise<Value>): Promise<Value> {
    const result = this.#tail.then(() => {
      this.#refuseIfClosed();
      return operation();
    });
    this.#tail = result.catch(() => {});
    return result;
  }

  #refuseIfClosed(): void {
    if (this.#closed) throw closedError("use a netlink socket");
  }

  async #batch(requests: Iterable<Request>): Promise<BatchResult> {
    let done = 0;
    const failures: BatchFailure[] = [];
    const pending: Request[] = [];
    const writer = this.#writer;
    let lastStart = 0;
    let turnEnds = performance.now() + turn;
    const sendPending = async (): Promise<void> => {
      // One acknowledgement, of the last, tells that all were carried out; failures answer for themselves.
      const flags = writer.view.getUint16(lastStart + 6, true);
      writer.view.setUint16(lastStart + 6, flags | NLM_F_ACK, true);
      this.#channel.send(writer.written());
      this.writes += pending.length;
      const failed = await this.#settle(pending, this.#sequence - pending.length + 1);
      failures.push(...failed);
      done += pending.length - failed.length;
      pending.length = 0;
      writer.reset();
      if (performance.now() > turnEnds) turnEnds = await this.#letOthersRun();
    };
    writer.reset();
    for (const request of requests) {
      const start = writer.position;
      try {
        beginMessage(writer, request.type, request.flags | NLM_F_REQUEST, (this.#sequence + 1) >>> 0);
        request.write(writer);
        endMessage(writer, start);
      } catch (error) {
        writer.truncate(start);
        failures.push({ request, error: unwritable(request, error) });
        continue;
      }
      this.#sequence++;
      lastStart = start;
      pending.push(request);
      if (pending.length >= messagesPerSend || writer.position >= octetsPerSend) await sendPending();
    }
    if (pending.length > 0) await sendPending();
    return { done, failures };
  }

  async #transaction(requests: readonly Request[]): Promise<BatchResult> {
    const [first, ...others] = requests;
    if (first === undefined) return { done: 0, failures: [] };
    const edge = (type: number): Request => ({
      type,
      flags: 0,
      describe: () => `${first.describe()}${others.length === 0 ? "" : ` and ${others.length} more`}`,
      write: writeBatchHeader,
    });
    const messages = [edge(NFNL_MSG_BATCH_BEGIN), ...requests];
    const writer = this.#writer;
    writer.reset();
    for (const [index, request] of [...messages, edge(NFNL_MSG_BATCH_END)].entries()) {
      const flags = NLM_F_REQUEST | (index === requests.length ? NLM_F_ACK : 0);
      try {
        const start = beginMessage(writer, request.type, request.flags | flags, (this.#sequence + 1 + index) >>> 0);
        request.write(writer);
        endMessage(writer, start);
      } catch (error) {
        return { done: 0, failures: [{ request, error: unwritable(request, error) }] };
      }
    }
    const sequence = this.#sequence + 1;
    this.#sequence += messages.length + 1;
    this.#channel.send(writer.written());
    this.writes += requests.length;
    const failures = await this.#settle(messages, sequence, true);
    if (failures.length === 0) return { done: requests.length, failures };
    this.writes -= requests.length;
    return { done: 0, failures };
  }

  /**
   * Reads answers until the acknowledgement of the last of `pending`, whose sequence numbers start at `first`. A transaction that
   * is refused as a whole is answered at its first alone.
   */
  async #settle(pending: readonly Request[], first: number, isTransaction = false): Promise<BatchFailure[]> {
    const failures: BatchFailure[] = [];
    const last = (first + pending.length - 1) >>> 0;
    const describe = (): string =>
      pending.length === 1
        ? (pending[0] as Request).describe()
        : `${(pending[0] as Request).describe()} and ${pending.length - 1} more`;
    const deadline = this.#deadline();
    for (;;) {
      const datagram = await this.#read(describe, deadline);
      const view = new DataView(datagram.buffer, datagram.byteOffset, datagram.byteLength);
      try {
        let finished = false;
        for (const header of messagesOf(datagram, view)) {
          if (!this.#isForUs(header) || header.type !== NLMSG_ERROR) continue;
          const request = pending[(header.sequence - first) >>> 0];
          if (request === undefined) continue;
          const acknowledgement = readAcknowledgement(datagram, view, header);
          if (acknowledgement.errno !== 0)
            failures.push({ request, error: acknowledgementError(request.describe(), acknowledgement) });
          if (header.sequence === last || (isTransaction && request === pending[0])) finished = true;
        }
        if (finished) return failures;
      } catch (error) {
        throw unreadable(describe(), error);
      }
    }
  }

  /** Collects the answer to a query; false when the kernel says that the dump was interrupted. */
  async #ask<Value>(query: Query<Value>, flags: number, values: Value[]): Promise<boolean> {
    const sequence = ++this.#sequence >>> 0;
    const writer = this.#writer;
    writer.reset();
    try {
      const start = beginMessage(writer, query.type, query.flags | flags | NLM_F_REQUEST, sequence);
      query.write(writer);
      endMessage(writer, start);
    } catch (error) {
      throw unwritable(query, error);
    }
    this.#channel.send(writer.written());
    try {
      return await this.#collect(query, sequence, values);
    } catch (error) {
      // The kernel dumps as it is read from, and refuses another dump until this one has been read to its end.
      if (!this.#closed) await this.#discard();
      throw error;
    }
  }

  async #collect<Value>(query: Query<Value>, sequence: number, values: Value[]): Promise<boolean> {
    let consistent = true;
    let turnEnds = performance.now() + turn;
    let deadline = this.#deadline();
    for (;;) {
      const datagram = await this.#read(query.describe, deadline);
      const view = new DataView(datagram.buffer, datagram.byteOffset, datagram.byteLength);
      try {
        for (const header of messagesOf(datagram, view)) {
          if (!this.#isForUs(header) || header.sequence !== sequence) continue;
          deadline = this.#deadline();
          if ((header.flags & NLM_F_DUMP_INTR) !== 0) consistent = false;
          if (header.type === NLMSG_DONE || header.type === NLMSG_ERROR) {
            const acknowledgement = readAcknowledgement(datagram, view, header);
            if (acknowledgement.errno !== 0) throw acknowledgementError(query.describe(), acknowledgement);
            return consistent;
          }
          if (header.type === NLMSG_OVERRUN) consistent = false;
          if (header.type < firstTypeOfFamilies) continue;
          const value = query.read(datagram, view, header.start, header.end, header.type);
          if (value !== undefined) values.push(value);
        }
      } catch (error) {
        throw unreadable(query.describe(), error);
      }
      if (performance.now() > turnEnds) turnEnds = await this.#letOthersRun();
    }
  }

  /** Reads away what is left of an answer that nobody wants any more. */
  async #discard(): Promise<void> {
    let turnEnds = performance.now() + turn;
    for (let errors = 0; errors < 2; ) {
      try {
        if (this.#channel.receive() === undefined) return;
      } catch {
        errors++;
      }
      if (performance.now() > turnEnds) turnEnds = await this.#letOthersRun();
    }
  }

  /** Returns when the next turn ends. */
  async #letOthersRun(): Promise<number> {
    await new Promise((resolve) => setImmediate(resolve));
    this.#refuseIfClosed();
    return performance.now() + turn;
  }

  #isForUs(header: MessageHeader): boolean {
    return header.portId === this.#channel.portId;
  }

  #deadline(): number {
    return performance.now() + this.#answerTimeout;
  }

  /** The next datagram: there already, as a rule, since the kernel works while it is sent to. */
  #read(describe: () => string, deadline: number): Uint8Array | Promise<Uint8Array> {
    try {
      return this.#channel.receive() ?? this.#nextDatagram(describe, deadline);
    } catch (error) {
      throw lostAnswers(describe(), error);
    }
  }

  #nextDatagram(describe: () => string, deadline: number): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      const finish = (settle: () => void): void => {
        clearTimeout(timer);
        stop();
        this.#abandonWait = undefined;
        settle();
      };
      const giveUp = (): void =>
        finish(() =>
          reject(
            new WeftError({
              code: "unavailable",
              attempted: describe(),
              reason: `no answer from the kernel within ${formatDuration(this.#answerTimeout)}`,
              hint: "it is not known whether it was done: look at the state before trying again",
            }),
          ),
        );
      const timer = setTimeout(giveUp, Math.max(0, deadline - performance.now()));
      const stop = this.#channel.onReadable(() => {
        try {
          const datagram = this.#channel.receive();
          if (datagram !== undefined) finish(() => resolve(datagram));
        } catch (error) {
          finish(() => reject(lostAnswers(describe(), error)));
        }
      });
      this.#abandonWait = () => finish(() => reject(closedError(describe())));
    });
  }
}

function closedError(attempted: string): WeftError {
  return new WeftError({ code: "internal", attempted, reason: "the netlink socket is closed" });
}

/** A request whose fields do not fit their attributes. */
function unwritable(request: Request, cause: unknown): WeftError {
  return new WeftError({
    code: "invalid-argument",
    attempted: request.describe(),
    reason: `the request cannot be written: ${messageOf(cause)}`,
    cause,
  });
}

/** An answer that does not parse; errors that the kernel sent pass as they are. */
function unreadable(attempted: string, cause: unknown): unknown {
  if (!(cause instanceof RangeError)) return cause;
  return new WeftError({
    code: "internal",
    attempted,
    reason: `the kernel's answer cannot be read: ${cause.message}`,
    cause,
  });
}

function lostAnswers(attempted: string, cause: unknown): unknown {
  if (!isErrno(cause, "ENOBUFS")) return cause;
  return new SystemError({
    operation: attempted,
    errno: cause.errno,
    kernelMessage: "answers of the kernel were lost",
    hint: "it is not known what was done: look at the state before trying again",
  });
}
