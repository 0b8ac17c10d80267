import type { ServerOptions } from "node:http";
import {
  createSecureServer,
  type Http2SecureServer,
  type Http2Session,
  type Http2Stream,
  type SecureServerOptions,
} from "node:http2";
import type { Socket } from "node:net";
import { hostname, networkInterfaces } from "node:os";
import type { TLSSocket } from "node:tls";
import { createContextValues } from "@connectrpc/connect";
import { type ConnectNodeAdapterOptions, connectNodeAdapter } from "@connectrpc/connect-node";
import type { Clock } from "../base/clock.ts";
import { seconds } from "../base/duration.ts";
import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import { Connection } from "./connection.ts";
import type { CertificateAuthority, ServerCertificate } from "./identity/certificate-authority.ts";
import { type PeerCertificate, peerCertificate } from "./identity/node-identity.ts";
import { type ListenAddress, listenTcp } from "./listeners.ts";
import { Repetition } from "./repetition.ts";
import { connectionKey, peerKey } from "./services.ts";

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

/** The wall clock may jump, and does not go on for timers while a machine sleeps: it is looked at this often. */
const certificateCheck = seconds(1);

/** Octets of the largest request. */
export const requestLimit = 4 << 20;

/** The listener for nodes. */
export interface TlsListener {
  /** The address in use. */
  readonly address: ListenAddress;
  /** Lets calls under way end, then closes all; what is left after `grace` milliseconds is cut off. */
  close(grace: number): Promise<void>;
}

/** Begins to listen: TLS 1.3, HTTP/2 (and HTTP/1.1), certificates asked for and judged call by call. */
export async function startTlsListener(options: {
  readonly listen: ListenAddress;
  readonly authority: CertificateAuthority;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly handler: Omit<ConnectNodeAdapterOptions, "contextValues">;
}): Promise<TlsListener> {
  const { authority, clock, logger } = options;
  const names = certificateNames(options.listen.host);
  const peers: Peers = new WeakMap();
  let certificate = await authority.issueServer(names);
  const secureServerOptions: SecureServerOptions & Pick<ServerOptions, "headersTimeout" | "requestTimeout"> = {
    ...contextOf(certificate, authority),
    allowHTTP1: true,
    requestCert: true,
    // Join has no certificate yet, and who has an expired one is told so instead of being cut off.
    rejectUnauthorized: false,
    handshakeTimeout: limits.handshake,
    headersTimeout: limits.headers,
    requestTimeout: limits.request,
    settings: { maxConcurrentStreams: limits.streams },
  };
  const server = createSecureServer(
    secureServerOptions,
    connectNodeAdapter({
      ...options.handler,
      contextValues: (request) => {
        const { peer, connection } = peerOf(request, peers, authority);
        return createContextValues().set(peerKey, peer).set(connectionKey, connection);
      },
    }),
  );
  server.maxConnections = limits.connections;
  server.on("secureConnection", (socket: TLSSocket) => {
    if (peerCertificate(socket, authority.publicKey) !== undefined) return;
    socket.once(
      "close",
      clock.after(limits.withoutCertificate, () => socket.destroy()),
    );
  });
  server.on("tlsClientError", (error) => logger.debug({ error: error.message }, "TLS handshake failed"));
  server.on("sessionError", (error) => logger.debug({ error: messageOf(error) }, "connection failed"));
  const calls = followCalls(server);
  const address = await listenTcp(server, options.listen);
  const renewal = new Repetition(options, certificateCheck, "renew the server's certificate", async () => {
    if (!certificate.isRenewalDue(clock.now())) return;
    certificate = await authority.issueServer(names);
    server.setSecureContext(contextOf(certificate, authority));
    logger.info({ expires: new Date(certificate.expires).toISOString() }, "the server has a new certificate");
  });
  return {
    address,
    async close(grace) {
      await renewal.stop();
      const cutOff = setTimeout(() => calls.cutOff(), grace);
      await calls.ended();
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      calls.closeSessions();
      await closed;
      clearTimeout(cutOff);
    },
  };
}

/** Follows connections and calls, so that the server can end them in order. */
function followCalls(server: Http2SecureServer) {
  const sockets = new Set<Socket>();
  const sessions = new Set<Http2Session>();
  const streams = new Set<Http2Stream>();
  let whenEnded: (() => void) | undefined;
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  server.on("session", (session) => {
    sessions.add(session);
    keepWatch(session);
    session.once("close", () => sessions.delete(session));
    session.on("stream", (stream) => {
      streams.add(stream);
      stream.once("close", () => {
        streams.delete(stream);
        if (streams.size === 0) whenEnded?.();
      });
    });
  });
  return {
    /** Resolves when no HTTP/2 call is under way. Closing a session earlier would cut the ends off its streams. */
    ended(): Promise<void> {
      return new Promise((resolve) => {
        if (streams.size === 0) resolve();
        else whenEnded = resolve;
      });
    },
    closeSessions(): void {
      for (const session of sessions) session.close();
    },
    cutOff(): void {
      for (const socket of sockets) socket.destroy();
    },
  };
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

interface Peer {
  readonly peer: PeerCertificate | undefined;
  readonly connection: Connection;
}

type Peers = WeakMap<object, Peer>;

/** A connection's certificate is read once, at its first request. */
function peerOf(request: NodeServerRequest, peers: Peers, authority: CertificateAuthority): Peer {
  const session = "stream" in request ? request.stream.session : undefined;
  const key = session ?? request.socket;
  let known = peers.get(key);
  if (known === undefined) {
    known = {
      peer: peerCertificate(request.socket as TLSSocket, authority.publicKey),
      connection: new Connection(request.socket, session),
    };
    peers.set(key, known);
  }
  return known;
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
