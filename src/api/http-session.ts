import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  type ClientSessionRequestOptions,
  connect as connectHttp2,
  type OutgoingHttpHeaders,
} from "node:http2";
import { isIP } from "node:net";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { seconds } from "../base/duration.ts";
import { familyOf, type IpAddress } from "../base/ip.ts";

/** TCP alone would wait for minutes when packets to the server are dropped. */
const connectTimeout = seconds(5);
/** Where packets from an address that was asked for do not come back, the connection is opened from any address soon. */
const boundConnectTimeout = seconds(2);
/** A server that has not answered a ping when the next one is due is gone: noticed within 10 s. */
const pingInterval = seconds(5);

/** What TLS needs to know of both sides; PEM. */
export interface HttpSessionTls {
  readonly host: string;
  readonly port: number;
  readonly servername: string;
  readonly ca: string;
  readonly cert?: string;
  readonly key?: string;
  /** Addresses of this host that the server should see, tried in turn; then any. Those of another family than `host` are not. */
  readonly localAddresses?: readonly IpAddress[];
}

interface Connection {
  readonly opened: Promise<ClientHttp2Session>;
  /** The session that is open, or being opened. */
  session: ClientHttp2Session | undefined;
}

/**
 * One HTTP/2 connection, opened with the first request and opened again by a request after it broke. The library's
 * own manager is not used: when a server says goodbye (GOAWAY) to an idle connection, it leaves the session's error
 * unhandled, which ends the process.
 */
export class HttpSession {
  readonly authority: string;
  readonly #tls: HttpSessionTls;
  #current: Connection | undefined;

  constructor(authority: string, tls: HttpSessionTls) {
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

  #open(): Connection {
    const { promise: opened, resolve, reject } = Promise.withResolvers<ClientHttp2Session>();
    const connection: Connection = { opened, session: undefined };
    const { host, localAddresses = [] } = this.#tls;
    const usable = localAddresses.filter((address) => isIP(host) === 0 || isIP(host) === familyOf(address));
    this.#attempt(connection, [...usable, undefined]).then(resolve, reject);
    return connection;
  }

  /** Opens it from the first of the addresses from which that is possible; undefined: any. */
  async #attempt(
    connection: Connection,
    [local, ...others]: readonly (IpAddress | undefined)[],
  ): Promise<ClientHttp2Session> {
    try {
      return await this.#openFrom(connection, local);
    } catch (error) {
      // Given up meanwhile, or nothing is left to try.
      if (this.#current !== connection) throw error;
      if (others.length > 0) return this.#attempt(connection, others);
      this.#current = undefined;
      throw error;
    }
  }

  #openFrom(connection: Connection, local: IpAddress | undefined): Promise<ClientHttp2Session> {
    const session = connectHttp2(this.authority, { createConnection: () => openSocket(this.#tls, local) });
    connection.session = session;
    const { promise: opened, resolve, reject } = Promise.withResolvers<ClientHttp2Session>();
    let isOpen = false;
    const forget = (): void => {
      if (isOpen && this.#current?.session === session) this.#current = undefined;
    };
    session.once("connect", () => {
      isOpen = true;
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
    return opened;
  }
}

function openSocket({ localAddresses, ...tls }: HttpSessionTls, local: IpAddress | undefined): TLSSocket {
  const binding = local === undefined ? {} : { localAddress: local, family: familyOf(local) };
  const socket = connectTls({ ...tls, ...binding, minVersion: "TLSv1.3", ALPNProtocols: ["h2"] });
  const onTimeout = (): unknown => socket.destroy(timedOut("the connection timed out"));
  socket.setTimeout(local === undefined ? connectTimeout : boundConnectTimeout, onTimeout);
  socket.once("connect", () => socket.setTimeout(connectTimeout));
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
