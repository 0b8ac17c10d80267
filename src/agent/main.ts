import { join } from "node:path";
import { pino } from "pino";
import { generatePrivateKey } from "../api/certificate-request.ts";
import { joinServer } from "../api/join.ts";
import { closeHttpServer } from "../api/local-server.ts";
import { type Credentials, parseServerUrl } from "../api/transport.ts";
import { systemClock } from "../base/clock.ts";
import { milliseconds, seconds } from "../base/duration.ts";
import { WeftError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import { parseInstanceName, parseNodeName } from "../model/names.ts";
import type { UnderlaySelector } from "../model/underlay-selector.ts";
import { NetlinkSocket } from "../netlink/index.ts";
import { Agent } from "./agent.ts";
import { defaultVtep } from "./default-vtep.ts";
import {
  loadCredentials,
  loadPrivateKey,
  prepareDirectory,
  saveCredentials,
  savePrivateKey,
} from "./identity-files.ts";
import { serveAgent } from "./socket.ts";
import { readUnderlay, type UnderlayState } from "./underlay.ts";

export interface RunAgentOptions {
  /** `https://ADDRESS:PORT`. */
  readonly server: string;
  /** Needed once; a node that has joined ignores it. */
  readonly token?: string;
  readonly name: string;
  /** VTEP addresses. None: see {@link defaultVtep}. */
  readonly underlay: readonly UnderlaySelector[];
  readonly dataDir: string;
  readonly runDir: string;
  readonly instance: string;
}

/** Duplicate address detection takes up to two seconds (RFC 4862 §5.1, §5.4.2); a link that comes up may take some more. */
const detectionTimeout = seconds(8);
const detectionPause = milliseconds(200);

/**
 * Runs the node agent until SIGTERM or SIGINT; logs JSON lines on standard error. The kernel stays as it is when the
 * agent ends. Resolves with the exit status. Throws {@link WeftError} when it cannot start.
 */
export async function runAgent(options: RunAgentOptions): Promise<number> {
  if (process.getuid?.() !== 0)
    throw new WeftError({
      code: "permission-denied",
      attempted: "run the agent",
      reason: "it programs the kernel, which root alone may do",
      hint: "run it as root",
    });
  const destination = pino.destination({ fd: 2, sync: true });
  // A log that cannot be written (a full disk) is no reason to stop keeping the network up.
  destination.on("error", () => {});
  const logger = pino({ base: null, timestamp: pino.stdTimeFunctions.isoTime }, destination);
  check("--instance", options.instance, parseInstanceName);
  check("--name", options.name, parseNodeName);
  const { selectors, vteps } = await requireVteps(options);
  prepareDirectory(options.dataDir);
  prepareDirectory(options.runDir);
  const credentials = loadCredentials(options.dataDir) ?? (await joinFirst(options, logger));
  const agent = await Agent.start({
    server: options.server,
    credentials,
    node: options.name,
    instance: options.instance,
    underlay: selectors,
    dataDirectory: options.dataDir,
    clock: systemClock,
    logger,
  });
  const socketPath = join(options.runDir, "agent.sock");
  const { promise: stopped, resolve: stop } = Promise.withResolvers<number>();
  let server: Awaited<ReturnType<typeof serveAgent>>;
  try {
    server = await serveAgent(agent, socketPath);
  } catch (error) {
    await agent.close();
    throw error;
  }
  logger.info({ node: options.name, socket: socketPath, vteps }, "the agent runs");
  for (const signal of ["SIGTERM", "SIGINT"] as const)
    process.once(signal, () => {
      logger.info({ signal }, "stopping; the dataplane stays as it is");
      stop(0);
    });
  const status = await stopped;
  await closeHttpServer(server, 500);
  await agent.close();
  return status;
}

/** The first certificate. The key is on disk before it is asked for, so that a join whose answer is lost can be repeated. */
async function joinFirst(options: RunAgentOptions, logger: Logger): Promise<Credentials> {
  if (options.token === undefined || options.token === "")
    throw new WeftError({
      code: "unauthenticated",
      attempted: `join ${options.server} as node ${options.name}`,
      reason: "this node has not joined yet and there is no token",
      hint: "make one on the server with: weft token create; then give it by --token",
    });
  const privateKey = loadPrivateKey(options.dataDir) ?? (await generatePrivateKey());
  savePrivateKey(options.dataDir, privateKey);
  const credentials = await joinServer({ url: options.server, token: options.token, node: options.name, privateKey });
  saveCredentials(options.dataDir, credentials);
  logger.info({ node: options.name, server: options.server }, "joined");
  return credentials;
}

/** Before a token is spent on a node that could not run. */
async function requireVteps({
  underlay,
  server,
}: RunAgentOptions): Promise<Pick<UnderlayState, "vteps"> & { readonly selectors: readonly UnderlaySelector[] }> {
  using socket = new NetlinkSocket();
  const selectors: readonly UnderlaySelector[] =
    underlay.length > 0
      ? underlay
      : [{ kind: "address", address: await defaultVtep(socket, parseServerUrl(server).host) }];
  const { vteps } = await withDetection(() => readUnderlay(socket, { selectors }));
  return { selectors, vteps };
}

/** Waits for duplicate address detection, which a host that just came up has not ended. */
async function withDetection(read: () => Promise<UnderlayState>): Promise<UnderlayState> {
  const deadline = systemClock.monotonic() + detectionTimeout;
  for (;;) {
    const isLate = systemClock.monotonic() >= deadline;
    try {
      const state = await read();
      if (!state.isAwaited || isLate) return state;
    } catch (error) {
      if (isLate || !(error instanceof WeftError) || error.code !== "unavailable") throw error;
    }
    await new Promise<void>((resolve) => systemClock.after(detectionPause, resolve));
  }
}

function check(
  option: string,
  text: string,
  parse: (text: string) => { readonly ok: boolean; readonly error?: string },
): void {
  const result = parse(text);
  if (result.ok) return;
  throw new WeftError({
    code: "invalid-argument",
    attempted: `read ${option}`,
    reason: `found "${text}"; allowed: ${result.error}`,
  });
}
