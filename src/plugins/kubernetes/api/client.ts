import type { IncomingMessage } from "node:http";
import { Agent, request } from "node:https";
import { json } from "node:stream/consumers";
import { z } from "zod";
import { seconds } from "../../../base/duration.ts";
import { messageOf } from "../../../base/errors.ts";
import type { ApiAccess } from "./access.ts";

/** Why the API server did not answer as it was asked. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  /** Of HTTP; 0: it said nothing. */
  readonly status: number;

  constructor(attempted: string, reason: string, status: number, cause?: unknown) {
    super(`${attempted}: ${reason}`, cause === undefined ? undefined : { cause });
    this.status = status;
  }
}

/** What the resource version that was asked for is too old for: only a list helps. */
export function isGone(error: unknown): boolean {
  return error instanceof ApiError && error.status === 410;
}

/** All objects of a collection as of one version. */
export interface Listed {
  readonly items: readonly unknown[];
  readonly resourceVersion: string;
}

export interface WatchEvent {
  readonly type: "ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK";
  readonly object: unknown;
  readonly resourceVersion: string;
}

const listSchema = z.object({
  metadata: z.object({ resourceVersion: z.string(), continue: z.string().optional() }),
  items: z.array(z.unknown()).nullish(),
});
const eventSchema = z.discriminatedUnion("type", [
  z.object({
    type: z.enum(["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]),
    object: z.looseObject({ metadata: z.looseObject({ resourceVersion: z.string() }) }),
  }),
  z.object({ type: z.literal("ERROR"), object: z.looseObject({ code: z.number(), message: z.string().default("") }) }),
]);
const statusSchema = z.object({ message: z.string() });

/** A connection whose other end is gone without a word ends after some 25 s: libuv asks ten times, a second apart. */
const keepAlive = seconds(15);
/** An answer begins within this time. */
const answerTimeout = seconds(30);
/** A watch is ended by the server after so long, and begun anew from where it was. */
const watchTime = seconds(300);
/** A server that does not keep to that is not there any more. */
const watchPatience = seconds(330);
/** Objects in one answer to a list. */
const pageSize = 500;

/** Lists and watches collections of an API server, and speaks of single objects. */
export class ApiClient {
  readonly #access: ApiAccess;
  readonly #agent: Agent;

  constructor(access: ApiAccess) {
    this.#access = access;
    const { ca, certificate, privateKey, serverName } = access;
    this.#agent = new Agent({
      keepAlive: true,
      ...(ca === undefined ? {} : { ca }),
      ...(certificate === undefined ? {} : { cert: certificate }),
      ...(privateKey === undefined ? {} : { key: privateKey }),
      ...(serverName === undefined ? {} : { servername: serverName }),
    });
  }

  close(): void {
    this.#agent.destroy();
  }

  /** `path`: of the collection, `/api/v1/pods`. `parameters`: which of its objects. */
  async list(path: string, parameters: Readonly<Record<string, string>>, signal: AbortSignal): Promise<Listed> {
    const items: unknown[] = [];
    let next = "";
    for (;;) {
      const page = { ...parameters, limit: `${pageSize}`, ...(next === "" ? {} : { continue: next }) };
      const attempted = `list ${path}`;
      const response = await this.#get(path, page, attempted, signal);
      const body = await json(response).catch((error: unknown) => {
        throw new ApiError(attempted, messageOf(error), 0, error);
      });
      const read = listSchema.safeParse(body);
      if (!read.success) throw new ApiError(attempted, "the answer is no list", 0, read.error);
      for (const item of read.data.items ?? []) items.push(item);
      const { resourceVersion, continue: more = "" } = read.data.metadata;
      if (more === "") return { items, resourceVersion };
      next = more;
    }
  }

  /** What changes after a version, until the server ends it. */
  async *watch(
    path: string,
    parameters: Readonly<Record<string, string>>,
    resourceVersion: string,
    signal: AbortSignal,
  ): AsyncGenerator<WatchEvent> {
    const attempted = `watch ${path}`;
    const patience = AbortSignal.any([signal, AbortSignal.timeout(watchPatience)]);
    const asked = { ...parameters, watch: "1", allowWatchBookmarks: "true", timeoutSeconds: `${watchTime / 1_000}` };
    const response = await this.#get(path, { ...asked, resourceVersion }, attempted, patience);
    try {
      for await (const line of linesOf(response)) yield eventOf(line, attempted);
    } catch (error) {
      if (error instanceof ApiError) throw error;
      throw new ApiError(attempted, messageOf(error), 0, error);
    } finally {
      response.destroy();
    }
  }

  /** An object. */
  async get(path: string, signal: AbortSignal): Promise<unknown> {
    return json(await this.#get(path, {}, `get ${path}`, signal));
  }

  /** Makes an object, and answers what became of it. */
  async create(path: string, object: unknown, signal: AbortSignal): Promise<unknown> {
    const sent = { method: "POST", type: "application/json", body: JSON.stringify(object) };
    return json(await this.#send(path, {}, `create at ${path}`, signal, sent));
  }

  /** Changes these fields of an object. RFC 7386. */
  async merge(path: string, fields: unknown, signal: AbortSignal): Promise<void> {
    const sent = { method: "PATCH", type: "application/merge-patch+json", body: JSON.stringify(fields) };
    await json(await this.#send(path, {}, `change ${path}`, signal, sent));
  }

  #get(
    path: string,
    parameters: Readonly<Record<string, string>>,
    attempted: string,
    signal: AbortSignal,
  ): Promise<IncomingMessage> {
    return this.#send(path, parameters, attempted, signal, { method: "GET" });
  }

  async #send(
    path: string,
    parameters: Readonly<Record<string, string>>,
    attempted: string,
    signal: AbortSignal,
    { method, type, body }: { readonly method: string; readonly type?: string; readonly body?: string },
  ): Promise<IncomingMessage> {
    const url = new URL(this.#access.url);
    url.pathname = `${url.pathname.replace(/\/$/, "")}${path}`;
    url.search = `${new URLSearchParams(parameters)}`;
    const token = await this.#access.token?.();
    const headers = {
      accept: "application/json",
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      ...(type === undefined ? {} : { "content-type": type }),
    };
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      const sent = request(url, { agent: this.#agent, method, headers, signal }, resolve);
      sent.setTimeout(answerTimeout, () => sent.destroy(new Error(`no answer within ${answerTimeout / 1_000} s`)));
      sent.once("socket", (socket) => socket.setKeepAlive(true, keepAlive));
      sent.once("error", reject);
      sent.end(body);
    }).catch((error: unknown) => {
      throw new ApiError(`${attempted} at ${this.#access.url.host}`, messageOf(error), 0, error);
    });
    // From here on a watch may be silent.
    response.socket.setTimeout(0);
    const { statusCode = 0 } = response;
    if (statusCode === 200 || statusCode === 201) return response;
    const status = statusSchema.safeParse(await json(response).catch(() => undefined));
    const reason = status.success ? status.data.message : (response.statusMessage ?? "");
    throw new ApiError(attempted, `the API server answers ${statusCode}: ${reason}`, statusCode);
  }
}

function eventOf(line: string, attempted: string): WatchEvent {
  const read = eventSchema.safeParse(JSON.parse(line));
  if (!read.success) throw new ApiError(attempted, "what the server sent is no event", 0, read.error);
  const { data } = read;
  if (data.type === "ERROR") throw new ApiError(attempted, data.object.message, data.object.code);
  return { type: data.type, object: data.object, resourceVersion: data.object.metadata.resourceVersion };
}

async function* linesOf(chunks: AsyncIterable<Buffer>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of chunks) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    yield* lines.filter((line) => line !== "");
  }
}
