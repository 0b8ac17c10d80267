import type { Clock } from "../../base/clock.ts";
import { type Duration, seconds } from "../../base/duration.ts";
import type { TcpHeader } from "../../wire/index.ts";

/** A segment of TCP, from the endpoint or to it. */
export interface Segment {
  readonly header: Pick<TcpHeader, "sequence" | "acknowledgment" | "window" | "options"> &
    Partial<Pick<TcpHeader, "syn" | "ack" | "fin" | "rst" | "psh">>;
  readonly data: Uint8Array;
}

export interface TcpConnectionOptions {
  readonly clock: Clock;
  /** 32 bits: where this end begins to count. */
  readonly initialSequence: number;
  /** Octets of data in one segment, as far as the way there goes. */
  readonly segmentSize: number;
  /** Octets of a request, at most. */
  readonly longestRequest: number;
  /** What the octets that came so far are answered, after which the connection ends; `undefined`: more is to come. */
  readonly respond: (request: Uint8Array) => Uint8Array | undefined;
  readonly send: (segment: Segment) => void;
  /** The connection is no more. */
  readonly onEnd: () => void;
}

/** From the first segment on: who does not read what he asked for, or says only half of what he wants, is given up. */
const longestLife = seconds(10);
/** RFC 6298 §2.1. */
const firstRetry = seconds(1);
/** Segments that are on their way at once: RFC 6928. */
const mostSegments = 10;
/** Of who does not say: RFC 9293 §3.7.1. */
const defaultSegmentSize = 536;

/**
 * The server's end of a TCP connection that carries one request and one response, RFC 9293 §3.10: the request in the order of its
 * octets, the response within the peer's window, what was not acknowledged again. There are no options but the size of segments.
 */
export class TcpConnection {
  readonly #options: TcpConnectionOptions;
  /** SEG.SEQ of the peer's SYN. */
  readonly #peerInitial: number;
  readonly #segmentSize: number;
  /** RCV.NXT. */
  #expected: number;
  #request = new Uint8Array();
  #response: Uint8Array | undefined;
  /** SND.UNA, SND.NXT, and the highest that SND.NXT was, from {@link TcpConnectionOptions.initialSequence} on: 0 is the SYN, 1 the response's first octet, its end the FIN. */
  #acknowledged = 0;
  #next = 1;
  #sent = 1;
  /** SND.WND. */
  #window: number;
  #peerEnded = false;
  #retryAfter: Duration = firstRetry;
  #cancelRetry: () => void = () => {};
  readonly #cancelLife: () => void;

  /** Of the peer's SYN, which it answers. */
  constructor({ header }: Segment, options: TcpConnectionOptions) {
    this.#options = options;
    this.#peerInitial = header.sequence;
    this.#expected = (header.sequence + 1) >>> 0;
    this.#window = header.window;
    const told = header.options.find((option) => option.type === "maximum-segment-size");
    this.#segmentSize = Math.max(1, Math.min(options.segmentSize, told?.size ?? defaultSegmentSize));
    this.#cancelLife = options.clock.after(longestLife, () => this.#reset());
    this.#acceptSyn();
  }

  receive({ header, data }: Segment): void {
    const { sequence, acknowledgment, window, ack, syn, fin, rst } = header;
    if (rst) {
      if (sequence === this.#expected) this.close();
      return;
    }
    if (syn) {
      // The same again; else whoever had the port before does not know of it any more, says so, and tries again: RFC 5961 §4.2.
      if (this.#acknowledged === 0 && sequence === this.#peerInitial) this.#acceptSyn();
      else this.#acknowledge();
      return;
    }
    if (!ack) return;
    const acknowledged = (acknowledgment - this.#options.initialSequence) >>> 0;
    if (acknowledged > this.#sent) {
      if (this.#acknowledged === 0) this.#reset();
      else this.#acknowledge();
      return;
    }
    if (acknowledged > this.#acknowledged) {
      this.#acknowledged = acknowledged;
      this.#next = Math.max(this.#next, acknowledged);
      this.#retryAfter = firstRetry;
      this.#cancelRetry();
    }
    if (this.#acknowledged === 0) return;
    this.#window = window;
    const hasMore = data.length > 0 || fin === true;
    if (hasMore && sequence === this.#expected) this.#take(data, fin === true);
    const before = this.#next;
    this.#transmit();
    if (hasMore && this.#next === before) this.#acknowledge();
    if (this.#peerEnded && this.#acknowledged === this.#end) this.close();
  }

  /** Nothing more is sent. */
  close(): void {
    this.#cancelRetry();
    this.#cancelLife();
    this.#options.onEnd();
  }

  /** What {@link #acknowledged} is when the FIN has arrived. */
  get #end(): number | undefined {
    return this.#response === undefined ? undefined : this.#response.length + 2;
  }

  #take(data: Uint8Array, isLast: boolean): void {
    const { longestRequest, respond } = this.#options;
    // What comes after the request is of no interest.
    const room = this.#response === undefined ? longestRequest - this.#request.length : data.length;
    const taken = data.subarray(0, room);
    const isEnd = isLast && taken.length === data.length;
    this.#expected = (this.#expected + taken.length + (isEnd ? 1 : 0)) >>> 0;
    this.#peerEnded ||= isEnd;
    if (this.#response !== undefined) return;
    this.#request = Uint8Array.of(...this.#request, ...taken);
    this.#response = respond(this.#request);
    // There will be no more of it.
    if (this.#peerEnded) this.#response ??= new Uint8Array();
  }

  #acceptSyn(): void {
    const size = { type: "maximum-segment-size", size: this.#options.segmentSize } as const;
    this.#send(0, { syn: true, options: [size] }, new Uint8Array());
    this.#awaitAcknowledgment();
  }

  /** As much as the peer takes. */
  #transmit(): void {
    const end = this.#end;
    if (this.#response === undefined || end === undefined) return;
    const most = this.#acknowledged + Math.min(this.#window, mostSegments * this.#segmentSize);
    while (this.#next < Math.min(end, most)) {
      const from = this.#next - 1;
      const data = this.#response.subarray(from, Math.min(from + this.#segmentSize, most - 1));
      const isLast = from + data.length === this.#response.length && this.#next + data.length < most;
      this.#send(this.#next, { psh: true, fin: isLast }, data);
      this.#next += data.length + (isLast ? 1 : 0);
    }
    this.#sent = Math.max(this.#sent, this.#next);
    if (this.#next > this.#acknowledged) this.#awaitAcknowledgment();
  }

  #awaitAcknowledgment(): void {
    this.#cancelRetry();
    this.#cancelRetry = this.#options.clock.after(this.#retryAfter, () => {
      this.#retryAfter = (this.#retryAfter * 2) as Duration;
      if (this.#acknowledged === 0) return this.#acceptSyn();
      this.#next = this.#acknowledged;
      this.#transmit();
    });
  }

  #acknowledge(): void {
    this.#send(this.#next, {}, new Uint8Array());
  }

  #reset(): void {
    this.#send(this.#next, { rst: true }, new Uint8Array());
    this.close();
  }

  #send(at: number, flags: Partial<Segment["header"]>, data: Uint8Array): void {
    const { initialSequence, longestRequest, send } = this.#options;
    const header = {
      sequence: (initialSequence + at) >>> 0,
      acknowledgment: this.#expected,
      ack: true,
      window: longestRequest - this.#request.length,
      options: [],
      ...flags,
    };
    send({ header, data });
  }
}
