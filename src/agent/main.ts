import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { pino } from "pino";
import { generatePrivateKey } from "../api/certificate-request.ts";
import { type Credentials, parseServerUrl } from "../api/clients.ts";
import { joinServer } from "../api/join.ts";
import { closeHttpServer } from "../api/local-server.ts";
import { nodeOfCertificateText } from "../api/node-uri.ts";
import { systemClock } from "../base/clock.ts";
import { milliseconds, seconds } from "../base/duration.ts";
import { messageOf, WeftError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import { linuxKernel } from "../dataplane/linux-kernel.ts";
import { preparePrivateDirectory, readPrivateFile } from "../linux/private-files.ts";
import type { Rate } from "../model/bandwidth.ts";
import { parseInstanceName, parseNodeName } from "../model/names.ts";
import type { UnderlaySelector } from "../model/underlay-selector.ts";
import { NetlinkSocket } from "../netlink/index.ts";
import { Agent } from "./agent.ts";
import { defaultVtep } from "./default-vtep.ts";
import { loadCredentials, loadPrivateKey, saveCredentials, savePrivateKey } from "./identity-files.ts";
import type { AgentPlugin, MakeAgentPlugin } from "./plugin.ts";
import { rememberRun } from "./run.ts";
import { serveAgent } from "./socket.ts";
import { readUnderlay, type UnderlayState } from "./underlay.ts";

export interface RunAgentOptions {
  /** `https://ADDRESS:PORT`. */
  readonly server: string;
  /** Needed once; a node that has joined ignores it. */
  readonly token?: string;
  /** A file that holds the token, `-`: standard input; read when it is needed. */
  readonly tokenFile?: string;
  /** The token stood on the command line, where every user of the host can read it. */
  readonly isTokenExposed: boolean;
  /** The node's name as the operator wants it; absent: {@link defaultName}. A node that has joined has that of its certificate. */
  readonly name?: string;
  /** By the host's name. Throws when that cannot be a node's. */
  readonly defaultName: () => string;
  /** VTEP addresses. None: see {@link defaultVtep}. */
  readonly underlay: readonly UnderlaySelector[];
  /** What networks share of the underlay; absent: they send as they come. */
  readonly underlayBandwidth?: Rate;
  readonly dataDir: string;
  readonly runDir: string;
  readonly instance: string;
  readonly plugins: readonly MakeAgentPlugin[];
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
  if (options.isTokenExposed)
    logger.warn(
      {},
      "a token given by --token can be read by every user of this host in the list of processes; give it by --token-file or WEFT_TOKEN",
    );
  if (options.name !== undefined) check("--name", options.name, parseNodeName);
  const hint = "give directories that root may write to, by --data-dir and --run-dir";
  preparePrivateDirectory(options.dataDir, "the data directory", hint);
  preparePrivateDirectory(options.runDir, "the run directory", hint);
  const known = loadCredentials(options.dataDir);
  const joined = known === undefined ? undefined : requireName(known, options);
  const { selectors, vteps } = await requireVteps(options);
  const name = joined ?? options.name ?? options.defaultName();
  const credentials = known ?? (await joinFirst({ ...options, name }, logger));
  const agent = await Agent.start({
    kernel: linuxKernel,
    server: options.server,
    credentials,
    node: name,
    instance: options.instance,
    underlay: selectors,
    ...(options.underlayBandwidth === undefined ? {} : { underlayBandwidth: options.underlayBandwidth }),
    dataDirectory: options.dataDir,
    clock: systemClock,
    logger,
  });
  const socketPath = join(options.runDir, "agent.sock");
  rememberRun(options.runDir, {
    process: process.pid,
    node: name,
    instance: options.instance,
    server: options.server,
    dataDirectory: resolve(options.dataDir),
    underlay: selectors,
  });
  const { promise: stopped, resolve: stop } = Promise.withResolvers<number>();
  let server: Awaited<ReturnType<typeof serveAgent>>;
  let plugins: readonly AgentPlugin[] = [];
  try {
    plugins = options.plugins.map((make) => make(agent, options.runDir));
    for (const plugin of plugins) await plugin.begin();
    server = await serveAgent(agent, socketPath, plugins);
  } catch (error) {
    await agent.close();
    throw error;
  }
  if (joined !== undefined && options.name === undefined) noticeHostName(agent, joined, options.defaultName);
  logger.info({ node: name, socket: socketPath, vteps }, "the agent runs");
  for (const signal of ["SIGTERM", "SIGINT"] as const)
    process.once(signal, () => {
      logger.info({ signal }, "stopping; the dataplane stays as it is");
      stop(0);
    });
  const status = await stopped;
  await closeHttpServer(server, 500);
  for (const plugin of plugins) plugin.close?.();
  await agent.close();
  return status;
}

/** The first certificate. The key is on disk before it is asked for, so that a join whose answer is lost can be repeated. */
async function joinFirst(options: RunAgentOptions & { readonly name: string }, logger: Logger): Promise<Credentials> {
  const token = options.tokenFile === undefined ? options.token : readToken(options.tokenFile);
  if (token === undefined || token === "")
    throw new WeftError({
      code: "unauthenticated",
      attempted: `join ${options.server} as node ${options.name}`,
      reason: "this node has not joined yet and there is no token",
      hint: "make one on the server with: weft token create; then give it by --token-file or WEFT_TOKEN",
    });
  const privateKey = loadPrivateKey(options.dataDir) ?? (await generatePrivateKey());
  savePrivateKey(options.dataDir, privateKey);
  const credentials = await joinServer({ url: options.server, token, node: options.name, privateKey });
  saveCredentials(options.dataDir, credentials);
  logger.info({ node: options.name, server: options.server }, "joined");
  return credentials;
}

function readToken(path: string): string {
  const attempted = `read the token from ${path}`;
  try {
    const text = path === "-" ? readFileSync(0, "utf8") : readPrivateFile(path);
    if (text !== undefined) return text.trim();
  } catch (error) {
    if (error instanceof WeftError) throw error;
    throw new WeftError({ code: "failed-precondition", attempted, reason: messageOf(error), cause: error });
  }
  throw new WeftError({
    code: "not-found",
    attempted,
    reason: "there is no such file",
    hint: "make one on the server with: ( umask 077; weft token create > FILE )",
  });
}

/**
 * The name that the node has joined with. Under another one it would take its own endpoints for another node's, and
 * remove them from its containers.
 */
function requireName({ certificate }: Credentials, { name, dataDir }: RunAgentOptions): string {
  const joined = nodeOfCertificateText(certificate)?.name;
  const file = join(dataDir, "node.crt");
  if (joined === undefined)
    throw new WeftError({
      code: "failed-precondition",
      attempted: `read ${file}`,
      reason: "it is no certificate of a node",
      hint: `remove it, and start the agent with a new token from: weft token create`,
    });
  if (name !== undefined && name !== joined)
    throw new WeftError({
      code: "failed-precondition",
      attempted: `run the agent as node ${name}`,
      reason: `${dataDir} is that of node ${joined}, which this host has joined as`,
      hint: `start it with --name ${joined} (WEFT_NODE) or without a name; to join as ${name} instead, detach the endpoints of this node, stop the agent, delete ${dataDir} and give it a new token`,
    });
  return joined;
}

/** A host that was given another name stays the node that it is: nothing depends on the two being the same. */
function noticeHostName(agent: Agent, joined: string, defaultName: () => string): void {
  let host: string;
  try {
    host = defaultName();
  } catch {
    return;
  }
  if (host !== joined)
    agent.notice(
      { kind: "node", key: joined },
      `this host's name is ${host}; it has joined as node ${joined} and goes on as that one`,
    );
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
