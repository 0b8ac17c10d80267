import { createSecureServer, type Http2SecureServer, type Http2Session } from "node:http2";
import { hostname, networkInterfaces } from "node:os";
import type { TLSSocket } from "node:tls";
import { createContextValues } from "@connectrpc/connect";
import { type ConnectNodeAdapterOptions, connectNodeAdapter } from "@connectrpc/connect-node";
import type { Clock } from "../base/clock.ts";
import { milliseconds, seconds } from "../base/duration.ts";
import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import {
  type CertificateAuthority,
  type ServerCertificate,
  serverCertificateLifetime,
} from "./identity/certificate-authority.ts";
import { type PeerCertificate, peerCertificate } from "./identity/node-identity.ts";
import { type ListenAddress, listenTcp } from "./listeners.ts";
import { peerKey } from "./services.ts";

/** Against slow and hostile peers. */
const limits = {
  connections: 10_000,
  /** Calls at a time on one connection. */
  streams: 128,
  handshake: seconds(10),
  /** For an HTTP/1.1 peer to send the headers, and all, of a request. */
  headers: seconds(10),
  request: seconds(30),
  /** How long a peer without a certificate may stay: it can only join. */
  withoutCertificate: seconds(30),
  /** A peer that does not answer a ping until the next one is gone. */
  pingInterval: seconds(10),
} as const;

/** Octets of the largest request. */
export const requestLimit = 4 << 20;

/** The listener for nodes: TLS 1.3, HTTP/2 (and HTTP/1.1), certificates asked for and judged call by call. */
export class TlsListener {
  readonly address: ListenAddress;
  readonly #server: Http2SecureServer;
  readonly #sockets: Set<TLSSocket>;
  readonly #sessions: Set<Http2Session>;
  readonly #cancelRenewal: { cancel: () => void };

  private constructor(
    address: ListenAddress,
    server: Http2SecureServer,
    sockets: Set<TLSSocket>,
    sessions: Set<Http2Session>,
    renewal: { cancel: () => void },
  ) {
    this.address = address;
    this.#server = server;
    this.#sockets = sockets;
    this.#sessions = sessions;
    this.#cancelRenewal = renewal;
  }

  static async start(options: {
    readonly listen: ListenAddress;
    readonly authority: CertificateAuthority;
    readonly clock: Clock;
    readonly logger: Logger;
    readonly handler: Omit<ConnectNodeAdapterOptions, "contextValues">;
  }): Promise<TlsListener> {
    const { listen, authority, clock, logger } = options;
    const names = certificateNames(listen.host);
    const certificate = await authority.issueServer(names);
    const peers = new WeakMap<object, { readonly peer: PeerCertificate | undefined }>();
    const server = createSecureServer(
      {
        ...contextOf(certificate, authority),
        allowHTTP1: true,
        requestCert: true,
        // Join has no certificate yet, and who has an expired one is told so instead of being cut off.
        rejectUnauthorized: false,
        handshakeTimeout: limits.handshake,
        headersTimeout: limits.headers,
        requestTimeout: limits.request,
        settings: { maxConcurrentStreams: limits.streams },
      } as Parameters<typeof createSecureServer>[0],
      connectNodeAdapter({
        ...options.handler,
        contextValues: (request) => createContextValues().set(peerKey, peerOf(request, peers)),
      }),
    );
    server.maxConnections = limits.connections;
    const sockets = new Set<TLSSocket>();
    const sessions = new Set<Http2Session>();
    server.on("secureConnection", (socket: TLSSocket) => {
      sockets.add(socket);
      const cancel =
        peerCertificate(socket) === undefined
          ? clock.after(limits.withoutCertificate, () => socket.destroy())
          : () => {};
      socket.once("close", () => {
        cancel();
        sockets.delete(socket);
      });
    });
    server.on("session", (session) => {
      sessions.add(session);
      keepWatch(session);
      session.once("close", () => sessions.delete(session));
    });
    server.on("tlsClientError", (error) => logger.debug({ error: error.message }, "TLS handshake failed"));
    server.on("sessionError", (error) => logger.debug({ error: messageOf(error) }, "connection failed"));
    const renewal = { cancel: () => {} };
    const scheduleRenewal = (): void => {
      renewal.cancel = clock.after(milliseconds((serverCertificateLifetime * 2) / 3), () => {
        authority
          .issueServer(names)
          .then((next) => server.setSecureContext(contextOf(next, authority)))
          .catch((error: unknown) => logger.error({ error: messageOf(error) }, "renewing the certificate failed"))
          .finally(scheduleRenewal);
      });
    };
    const address = await listenTcp(server, listen);
    scheduleRenewal();
    return new TlsListener(address, server, sockets, sessions, renewal);
  }

  /** Takes no new connections and lets calls under way end; what is left after `grace` is cut off. */
  async close(grace: number): Promise<void> {
    this.#cancelRenewal.cancel();
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const session of this.#sessions) session.close();
    const timer = setTimeout(() => {
      for (const socket of this.#sockets) socket.destroy();
    }, grace);
    await closed;
    clearTimeout(timer);
  }
}

function contextOf(certificate: ServerCertificate, authority: CertificateAuthority) {
  return {
    key: certificate.privateKey,
    cert: certificate.chain,
    ca: authority.certificate,
    minVersion: "TLSv1.3",
  } as const;
}

type NodeServerRequest = Parameters<NonNullable<ConnectNodeAdapterOptions["contextValues"]>>[0];

/** A connection's certificate is read once, at its first request. */
function peerOf(
  request: NodeServerRequest,
  peers: WeakMap<object, { readonly peer: PeerCertificate | undefined }>,
): PeerCertificate | undefined {
  const connection = ("stream" in request ? request.stream.session : undefined) ?? request.socket;
  let known = peers.get(connection);
  if (known === undefined) {
    known = { peer: peerCertificate(request.socket as TLSSocket) };
    peers.set(connection, known);
  }
  return known.peer;
}

/** Ends a session whose peer is gone without a word: pulled cable, crashed host. */
function keepWatch(session: Http2Session): void {
  let answered = true;
  const timer = setInterval(() => {
    if (!answered || session.destroyed) return session.destroy();
    answered = false;
    session.ping(() => {
      answered = true;
    });
  }, limits.pingInterval);
  timer.unref();
  session.once("close", () => clearInterval(timer));
}

/** What clients other than nodes, such as curl, may call the server. */
function certificateNames(host: string): string[] {
  if (host !== "0.0.0.0" && host !== "::") return [host, hostname()];
  const addresses = Object.values(networkInterfaces())
    .flat()
    .filter((address) => address !== undefined && !address.address.startsWith("fe80:"))
    .map((address) => address?.address ?? "");
  return [...addresses.slice(0, 100), hostname()];
}
