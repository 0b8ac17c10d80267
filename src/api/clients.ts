import { existsSync } from "node:fs";
import type { DescService } from "@bufbuild/protobuf";
import { type CallOptions, type Client, Code, ConnectError, createClient, type Transport } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { type Duration, formatDuration, milliseconds, seconds } from "../base/duration.ts";
import { WeftError } from "../base/errors.ts";
import type { IpAddress } from "../base/ip.ts";
import { fromConnectError } from "./errors.ts";
import { AdminService } from "./generated/weft/v1/admin_pb.js";
import { AgentService } from "./generated/weft/v1/agent_pb.js";
import { ErrorDetailSchema } from "./generated/weft/v1/errors_pb.js";
import { NodeService } from "./generated/weft/v1/node_pb.js";
import { HttpSession, type HttpSessionTls } from "./http-session.ts";

/**
 * The DNS name in the certificate of every control server. Clients ask for it whatever address they dial: the CA
 * belongs to one installation and gives this name to its servers alone, so addresses may change freely.
 */
export const serverName = "server.weft";

/** Octets of the largest message that a client accepts. A watch batch of 1,000 endpoints is about 150 kB. */
const readMaxBytes = 64 << 20;

/** A call that gets no answer for so long has failed, unless its caller says otherwise. A process that is stopped holds its socket open and never answers. */
const answerTimeout = seconds(30);
const answerTimeouts: Readonly<Record<string, Duration>> = {
  // Needs nothing but the process itself.
  GetStatus: seconds(10),
  // Waits for the server, the kernel and a container.
  Attach: seconds(60),
  Detach: seconds(60),
  // Thousands of resources in one transaction.
  Apply: seconds(60),
};

/** The control server's admin API on its root-only Unix socket `server.sock`. All methods throw {@link WeftError} only. */
export function serverClient(socketPath: string): Client<typeof AdminService> {
  if (socketPath.includes("://"))
    throw new WeftError({
      code: "unsupported",
      attempted: `connect to the server at ${socketPath}`,
      reason: "admin commands are answered on the server's Unix socket only",
      hint: "run the command on the server's host and give the path of server.sock in its data directory",
    });
  return unixClient(AdminService, socketPath, "server");
}

/** A node's agent on its root-only Unix socket `agent.sock`. All methods throw {@link WeftError} only. */
export function agentClient(socketPath: string): Client<typeof AgentService> {
  return unixClient(AgentService, socketPath, "agent");
}

/** What a node proves its identity with; PEM. */
export interface Credentials {
  readonly certificate: string;
  readonly privateKey: string;
  readonly caCertificate: string;
}

/** One connection to the control server as a node; opened with the first call, and again by a call after it broke. */
export interface NodeConnection {
  /** All methods throw {@link WeftError} only. */
  readonly client: Client<typeof NodeService>;
  /** Ends the connection and all calls on it. */
  close(): void;
}

/**
 * The control server's node API over mutual TLS and HTTP/2. A dead server is noticed within about 10 s, also in
 * the middle of a silent watch. After a renewal of the certificate make a new connection.
 */
export function connectNode(options: {
  /** `https://ADDRESS:PORT`. */
  readonly url: string;
  readonly credentials: Credentials;
  /** The node's VTEP addresses: the connection comes from one of them if that is possible, which proves that it has it. */
  readonly localAddresses?: readonly IpAddress[];
}): NodeConnection {
  return tlsConnection(options.url, {
    ca: options.credentials.caCertificate,
    cert: options.credentials.certificate,
    key: options.credentials.privateKey,
    localAddresses: options.localAddresses ?? [],
  });
}

/** As {@link connectNode}, with what TLS needs given directly; without `cert` the connection can only join. */
export function tlsConnection(
  url: string,
  tls: Pick<HttpSessionTls, "ca" | "cert" | "key" | "localAddresses">,
): NodeConnection {
  const session = new HttpSession(url, { ...tls, ...parseServerUrl(url), servername: serverName });
  const transport = createConnectTransport({ httpVersion: "2", baseUrl: url, sessionManager: session, readMaxBytes });
  return {
    client: withWeftErrors(NodeService, transport, (method, error) => explainTls(url, method, error)),
    close: () => session.close(),
  };
}

/** The URL of a control server. Throws {@link WeftError} `invalid-argument` when it is none. */
export function parseServerUrl(text: string): { readonly host: string; readonly port: number } {
  const url = URL.parse(text);
  if (url === null || url.protocol !== "https:" || url.pathname !== "/" || url.hostname === "")
    throw new WeftError({
      code: "invalid-argument",
      attempted: "connect to the server",
      reason: `"${text}" is not the URL of a server`,
      hint: "give it as https://ADDRESS:PORT",
    });
  return { host: url.hostname.replace(/^\[|\]$/g, ""), port: url.port === "" ? 443 : Number(url.port) };
}

function unixClient<Service extends DescService>(service: Service, socketPath: string, who: "server" | "agent") {
  const transport = createConnectTransport({
    httpVersion: "1.1",
    baseUrl: "http://localhost",
    nodeOptions: { socketPath },
    readMaxBytes,
  });
  return withWeftErrors(service, transport, (method, error) => explainUnix(socketPath, who, method, error));
}

function explainUnix(socketPath: string, who: "server" | "agent", method: string, thrown: unknown): WeftError {
  const attempted = `${method}: connect to the ${who} at ${socketPath}`;
  const option = who === "server" ? "--server or WEFT_SERVER" : "--agent or WEFT_AGENT";
  const unavailable = (reason: string, hint: string): WeftError =>
    new WeftError({ code: "unavailable", attempted, reason, hint, cause: thrown });
  if (isTimeout(thrown))
    return unavailable(
      thrown.rawMessage,
      `the ${who} runs and does not answer: it is stopped, hangs or is overloaded; see its log, and restart it`,
    );
  switch (systemErrorCode(thrown)) {
    case "ENOENT":
      return unavailable(
        "no such socket",
        who === "server"
          ? `run the command on the server's host; start the server there, or name its socket by ${option}`
          : `start the agent of this node, or name its socket by ${option}`,
      );
    case "ECONNREFUSED":
      return unavailable("nobody listens there", `the ${who} was stopped or has crashed: start it again`);
    case "EACCES":
    case "EPERM":
      return unavailable("permission denied", "run the command as root");
    case "ECONNRESET":
    case "EPIPE":
      return unavailable(
        existsSync(socketPath) ? `the ${who} closed the connection` : `the ${who} was stopped`,
        `see whether the ${who} is running, and repeat the command`,
      );
    default:
      return fromConnectError(thrown, `${method} at ${socketPath}`);
  }
}

/** What a failed call over TLS means to the operator. */
export function explainTls(url: string, method: string, thrown: unknown): WeftError {
  const attempted = `${method}: connect to the server at ${url}`;
  if (isTimeout(thrown))
    return new WeftError({
      code: "unavailable",
      attempted,
      reason: thrown.rawMessage,
      hint: "see whether the server is stopped or overloaded, and the network between",
      cause: thrown,
    });
  const code = systemErrorCode(thrown);
  const make = (kind: "unavailable" | "unauthenticated", reason: string, hint: string): WeftError =>
    new WeftError({ code: kind, attempted, reason, hint, cause: thrown });
  switch (code) {
    case "ECONNREFUSED":
      return make("unavailable", "nobody listens there", "see whether the server is running and the port is right");
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return make("unavailable", "the name cannot be resolved", "see whether the name is right and DNS answers");
    case "ETIMEDOUT":
    case "EHOSTUNREACH":
    case "ENETUNREACH":
      return make("unavailable", `no answer (${code})`, "see whether the server's host is up and no filter is between");
    case "ECONNABORTED":
      return make("unavailable", "this side gave the connection up, for a new one or for good", "try again");
    case "ECONNRESET":
    case "EPIPE":
    case "ERR_STREAM_PREMATURE_CLOSE":
    case "ERR_HTTP2_ERROR":
    case "ERR_HTTP2_GOAWAY_SESSION":
    case "ERR_HTTP2_SESSION_ERROR":
      return make("unavailable", "the server closed the connection", "see the server's log; trying again may help");
    case "CERT_HAS_EXPIRED":
    case "CERT_NOT_YET_VALID":
      return make("unauthenticated", "the server's certificate is not valid now", clockHint());
    case undefined:
      return fromConnectError(thrown, `${method} at ${url}`);
    default:
      if (/CERT|SIGNATURE|ISSUER|PURPOSE|TLS|SSL/.test(code))
        return make(
          "unauthenticated",
          `the server did not prove that it is one of this installation (${code})`,
          "see whether the address is right, or join again with a new token if the server was set up anew",
        );
      return fromConnectError(thrown, attempted);
  }
}

function clockHint(): string {
  return `compare the clocks of both hosts: this one's says ${new Date().toISOString()}`;
}

/** The `code` of the error of the operating system, TLS or HTTP/2 below `thrown`; undefined when the peer answered. */
function systemErrorCode(thrown: unknown): string | undefined {
  for (let error = thrown; error instanceof Error; error = error.cause)
    if ("code" in error && typeof error.code === "string") return error.code;
  return undefined;
}

function isTimeout(thrown: unknown): thrown is ConnectError {
  return (
    thrown instanceof ConnectError &&
    thrown.code === Code.DeadlineExceeded &&
    thrown.findDetails(ErrorDetailSchema).length === 0
  );
}

/** How long was waited is what the caller wants to know. */
function withTime(thrown: unknown, waited: Duration): unknown {
  return isTimeout(thrown)
    ? new ConnectError(
        `no answer within ${formatDuration(waited)}`,
        Code.DeadlineExceeded,
        undefined,
        undefined,
        thrown,
      )
    : thrown;
}

type Explain = (method: string, thrown: unknown) => WeftError;

/** A client whose methods throw nothing but the errors that `explain` makes of what was thrown. */
function withWeftErrors<Service extends DescService>(
  service: Service,
  transport: Transport,
  explain: Explain,
): Client<Service> {
  const client = createClient(service, transport) as Record<string, (input: object, options?: CallOptions) => unknown>;
  const wrapped: typeof client = {};
  for (const method of service.methods) {
    const call = client[method.localName];
    if (call === undefined) continue;
    wrapped[method.localName] =
      method.methodKind === "unary"
        ? (input, options) => {
            const timeoutMs = options?.timeoutMs ?? answerTimeouts[method.name] ?? answerTimeout;
            return (call(input, { ...options, timeoutMs }) as Promise<unknown>).catch((error) => {
              throw explain(method.name, withTime(error, milliseconds(timeoutMs)));
            });
          }
        : (input, options) =>
            explainedStream(call(input, options) as AsyncIterable<unknown>, (error) => explain(method.name, error));
  }
  return wrapped as Client<Service>;
}

async function* explainedStream<Item>(
  stream: AsyncIterable<Item>,
  explain: (thrown: unknown) => WeftError,
): AsyncGenerator<Item> {
  try {
    yield* stream;
  } catch (error) {
    throw explain(error);
  }
}
