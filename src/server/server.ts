import type { Server as HttpServer } from "node:http";
import { join } from "node:path";
import { type ConnectNodeAdapterOptions, connectNodeAdapter } from "@connectrpc/connect-node";
import { closeHttpServer, createHttpServer, listenUnix } from "../api/local-server.ts";
import { refuseMalformed } from "../api/malformed.ts";
import { weftVersion } from "../api/version.ts";
import type { Cidr } from "../base/cidr.ts";
import { type Clock, systemClock } from "../base/clock.ts";
import { seconds } from "../base/duration.ts";
import type { Logger } from "../base/logger.ts";
import { preparePrivateDirectory } from "../linux/private-files.ts";
import { SqliteStore } from "../store/index.ts";
import type { Store } from "../store/store.ts";
import { adminRoutes } from "./admin-service.ts";
import { Administration } from "./administration.ts";
import { Blocks } from "./blocks.ts";
import { Changes } from "./changes.ts";
import { Conversations } from "./conversations.ts";
import { Endpoints } from "./endpoints.ts";
import { notFound, observabilityHandler } from "./http.ts";
import { Identities } from "./identities.ts";
import { CertificateAuthority } from "./identity/certificate-authority.ts";
import { Learned } from "./learned.ts";
import { Ledger } from "./ledger.ts";
import { formatListenAddress, listenTcp, requireListenAddress } from "./listeners.ts";
import { Metrics } from "./metrics.ts";
import { Migrations } from "./migrations.ts";
import { Nodes } from "./nodes.ts";
import { Questions } from "./questions.ts";
import { Repetition } from "./repetition.ts";
import { type Control, nodeRoutes, observe } from "./services.ts";
import { requestLimit, startTlsListener } from "./tls-listener.ts";
import type { Voucher } from "./voucher.ts";

export interface ServerOptions {
  /** Where nodes reach the server: `ADDR:PORT`, `[ADDR6]:PORT`; port 0: any. */
  readonly listen: string;
  /** Holds the CA, the database and the admin socket; made when there is none. */
  readonly dataDir: string;
  /** Default: the SQLite file `weft.db` in the data directory. A store that is given is not closed with the server. */
  readonly store?: Store;
  /** `ADDR:PORT` for /metrics, /healthz and /readyz without TLS. Default: on the admin socket only. */
  readonly metrics?: string;
  /** Where VTEP addresses of nodes must lie. Default: each must be proved by the node's connection, or approved. */
  readonly vtepPrefixes?: readonly Cidr[];
  /** Who else says which node is which. Default: nobody. */
  readonly voucher?: Voucher;
  readonly clock?: Clock;
  readonly logger: Logger;
  /** Called once when the store fails and nothing can be served any more. */
  readonly onFailure?: (error: unknown) => void;
}

export interface RunningServer {
  /** The address in use: `ADDR:PORT`. */
  readonly address: string;
  /** The path of the admin socket. */
  readonly adminSocket: string;
  /** The address of the metrics in use, if they were asked for. */
  readonly metricsAddress: string | undefined;
  /** Ends all streams and lets calls under way end, within 2 s. */
  close(): Promise<void>;
}

/** Calls under way get this long, in milliseconds, when the server stops. */
const closeGrace = 1_500;

/** How often the server looks whether its store's files are in their place, apart from each write. */
const storeCheckInterval = seconds(10);

/** Starts the control server. Throws {@link WeftError} when an address or the data directory cannot be used. */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const { dataDir, logger, clock = systemClock } = options;
  const listen = requireListenAddress(options.listen, "--listen");
  const metricsListen = options.metrics === undefined ? undefined : requireListenAddress(options.metrics, "--metrics");
  preparePrivateDirectory(dataDir, "the data directory", "give a directory that the server's user may write to");
  // What has been opened is closed in reverse, whether the server stops or its start fails.
  const cleanup: (() => Promise<unknown>)[] = [];
  const close = async (): Promise<void> => {
    for (const action of cleanup.splice(0).reverse()) await action();
  };
  try {
    const adminSocket = join(dataDir, "server.sock");
    let isRunning = true;
    const authority = await CertificateAuthority.open(dataDir, clock);
    const store = options.store ?? new SqliteStore(join(dataDir, "weft.db"));
    if (options.store === undefined) cleanup.push(() => store.close());
    const ledger = await Ledger.open({ store, clock, logger });
    cleanup.push(() => ledger.close());
    ledger.onFailure = (error) => {
      isRunning = false;
      options.onFailure?.(error);
    };
    const isReady = (): boolean => isRunning && store.failure === undefined;
    let isToldOf = false;
    const storeCheck = new Repetition(ledger, storeCheckInterval, "look after the store", async () => {
      const { failure } = store;
      if (failure === undefined || isToldOf) return;
      isToldOf = true;
      logger.error({ error: failure.message, hint: failure.hint }, "the store is lost; nothing is changed any more");
    });
    cleanup.push(() => storeCheck.stop());
    const identities = new Identities(ledger, authority, options.voucher);
    cleanup.push(() => identities.close());
    const blocks = new Blocks(ledger, identities);
    cleanup.push(() => blocks.close());
    const endpoints = new Endpoints(ledger, identities, blocks);
    cleanup.push(() => endpoints.close());
    const nodes = new Nodes(ledger, identities, endpoints, blocks, options.vtepPrefixes ?? []);
    const learned = new Learned(ledger, identities);
    const migrations = new Migrations(ledger, identities, endpoints);
    cleanup.push(() => migrations.close());
    const conversations = new Conversations(ledger, (node, address) =>
      ledger.fanout.tell(node, { change: { case: "agentRefused", value: address } }),
    );
    const questions = new Questions(ledger);
    cleanup.push(async () => questions.close());
    const control: Control = { ledger, identities, conversations, endpoints, learned, migrations, nodes, questions };
    const administration = new Administration(ledger, endpoints, nodes);
    const changes = new Changes(ledger);
    cleanup.push(async () => changes.close());
    const metrics = new Metrics(ledger, conversations);
    const adapter: Omit<ConnectNodeAdapterOptions, "routes"> = {
      interceptors: [observe({ metrics, logger, clock })],
      readMaxBytes: requestLimit,
    };

    const onMalformed = (method: string, error: string): void =>
      logger.info({ method, error }, "malformed request refused");

    // All listeners close at the same time: each may take the whole grace.
    const listeners: (() => Promise<void>)[] = [];
    cleanup.push(() => Promise.all(listeners.map((closeListener) => closeListener())));
    const listenHttp = (server: HttpServer): void => {
      listeners.push(() => closeHttpServer(server, closeGrace));
    };
    const admin = createHttpServer(
      observabilityHandler(
        metrics,
        isReady,
        connectNodeAdapter({
          ...adapter,
          routes: (router) => {
            adminRoutes(router, { ...control, administration, version: weftVersion() });
            refuseMalformed(router, onMalformed);
          },
        }),
      ),
    );
    await listenUnix(admin, adminSocket, "server");
    listenHttp(admin);

    let metricsAddress: string | undefined;
    if (metricsListen !== undefined) {
      const server = createHttpServer(observabilityHandler(metrics, isReady, notFound));
      metricsAddress = formatListenAddress(await listenTcp(server, metricsListen));
      listenHttp(server);
    }

    const listener = await startTlsListener({
      listen,
      authority,
      clock,
      logger,
      handler: {
        ...adapter,
        routes: (router) => {
          nodeRoutes(router, control);
          refuseMalformed(router, onMalformed);
        },
      },
    });
    listeners.push(() => {
      ledger.fanout.closeAll();
      return listener.close(closeGrace);
    });
    const address = formatListenAddress(listener.address);
    const stopping = new AbortController();
    cleanup.push(async () => stopping.abort());
    void options.voucher?.announce(authority.fingerprint, stopping.signal);
    logger.info({ address, dataDir, revision: ledger.state.revision }, "server started");
    return { address, adminSocket, metricsAddress, close };
  } catch (error) {
    await close();
    throw error;
  }
}
