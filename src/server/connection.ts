import type { Http2Session } from "node:http2";
import type { Socket } from "node:net";
import type { Duration } from "../base/duration.ts";
import { type IpAddress, parseIp } from "../base/ip.ts";

/** A connection to the server, as far as its services look at it. */
export class Connection {
  /** The peer's IP address, an IPv4 one always as such; `undefined`: unknown, or of a link alone. */
  readonly source: IpAddress | undefined;
  /** {@link source} for people, with its link. */
  readonly address: string;
  readonly #session: Http2Session | undefined;
  readonly #socket: Socket;
  #asked: Promise<boolean> | undefined;

  /** `session`: none with HTTP/1.1. */
  constructor(socket: Socket, session: Http2Session | undefined) {
    const { remoteAddress = "" } = session?.socket ?? socket;
    this.source = parseSource(remoteAddress);
    this.address = this.source ?? remoteAddress;
    this.#socket = socket;
    this.#session = session;
  }

  get isClosed(): boolean {
    return this.#session?.destroyed ?? this.#socket.destroyed;
  }

  onClosed(action: () => void): void {
    (this.#session ?? this.#socket).once("close", action);
  }

  end(): void {
    (this.#session ?? this.#socket).destroy();
  }

  /**
   * Whether the peer's program answers a ping (RFC 9113 §6.7) within `limit`. By HTTP/1.1, which agents do not speak,
   * nobody does. All who ask at a time share one ping: HTTP/2 peers may take many for an attack.
   */
  answers(limit: Duration): Promise<boolean> {
    this.#asked ??= this.#ping(limit).finally(() => {
      this.#asked = undefined;
    });
    return this.#asked;
  }

  #ping(limit: Duration): Promise<boolean> {
    const session = this.#session;
    return new Promise((resolve) => {
      if (session === undefined || session.destroyed) return resolve(false);
      const gone = (): void => settle(false);
      const timer = setTimeout(gone, limit);
      const settle = (answered: boolean): void => {
        clearTimeout(timer);
        session.off("close", gone);
        resolve(answered);
      };
      session.once("close", gone);
      session.ping((error) => settle(error === null));
    });
  }
}

/** The address as a socket names it: of an IPv4 peer of an IPv6 socket the IPv4 address. */
export function parseSource(text: string): IpAddress | undefined {
  const address = parseIp(text.replace(/^::ffff:(?=\d+\.\d+\.\d+\.\d+$)/i, ""));
  return address.ok ? address.value : undefined;
}
