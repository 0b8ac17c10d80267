import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  type ClientSessionRequestOptions,
  connect as connectHttp2,
  type OutgoingHttpHeaders,
} from "node:http2";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { seconds } from "../base/duration.ts";

/** TCP alone would wait for minutes when packets to the server are dropped. */
const connectTimeout = seconds(5);
/** A server that has not answered a ping when the next one is due is gone: noticed within 10 s. */
const pingInterval = seconds(5);

/** What TLS needs to know of both sides; PEM. */
export interface SessionTls {
  readonly host: string;
  readonly port: number;
  readonly servername: string;
  readonly ca: string;
  readonly cert?: string;
  readonly key?: string;
}

/**
 * One HTTP/2 connection, opened with the first request and opened again by a request after it broke. The library's
 * own manager is not used: when a server says goodbye (GOAWAY) to an idle connection, it leaves the session's error
 * unhandled, which ends the process.
 */
export class Session {
  readonly authority: string;
  readonly #tls: SessionTls;
  #current: { readonly session: ClientHttp2Session; readonly opened: Promise<ClientHttp2Session> } | undefined;

  constructor(authority: string, tls: SessionTls) {
    this.authority = authority;
    this.#tls = tls;
  }

  /** Called by the transport for each request. */
  async request(
    method: string,
    path: string,
    headers: OutgoingHttpHeaders,
    options: Omit<ClientSessionRequestOptions, "signal">,
  ): Promise<ClientHttp2Stream> {
    this.#current ??= this.#open();
    const session = await this.#current.opened;
    return session.request({ ...headers, ":method": method, ":path": path }, options);
  }

  /** Called by the transport for each read; pings go out all the same. */
  notifyResponseByteRead(): void {}

  /** Ends the connection, also one that is being opened; requests on it fail at once. */
  close(): void {
    const session = this.#current?.session;
    this.#current = undefined;
    // Without an error, requests under way would be told nothing, and wait for their time limit.
    session?.destroy(Object.assign(new Error("the connection was given up"), { code: "ECONNABORTED" }));
  }

  #open(): { readonly session: ClientHttp2Session; readonly opened: Promise<ClientHttp2Session> } {
    const session = connectHttp2(this.authority, { createConnection: () => openSocket(this.#tls) });
    const { promise: opened, resolve, reject } = Promise.withResolvers<ClientHttp2Session>();
    const forget = (): void => {
      if (this.#current?.session === session) this.#current = undefined;
    };
    session.once("connect", () => {
      keepAlive(session);
      resolve(session);
    });
    session.on("error", (error) => {
      forget();
      reject(error);
    });
    session.once("goaway", forget);
    session.once("close", () => {
      forget();
      reject(Object.assign(new Error("the connection was closed"), { code: "ECONNRESET" }));
    });
    return { session, opened };
  }
}

function openSocket(tls: SessionTls): TLSSocket {
  const socket = connectTls({ ...tls, minVersion: "TLSv1.3", ALPNProtocols: ["h2"] });
  socket.setTimeout(connectTimeout, () => socket.destroy(timedOut("the connection timed out")));
  socket.once("secureConnect", () => socket.setTimeout(0));
  return socket;
}

function keepAlive(session: ClientHttp2Session): void {
  let answered = true;
  const timer = setInterval(() => {
    if (!answered) session.destroy(timedOut("the server does not answer any more"));
    if (session.destroyed) return;
    answered = false;
    session.ping(() => {
      answered = true;
    });
  }, pingInterval);
  timer.unref();
  session.once("close", () => clearInterval(timer));
}

function timedOut(message: string): Error {
  return Object.assign(new Error(message), { code: "ETIMEDOUT" });
}
