import { Code, ConnectError, type ConnectRouter } from "@connectrpc/connect";
import {
  createAsyncIterable,
  readAllBytes,
  type UniversalHandlerFn,
  type UniversalServerResponse,
} from "@connectrpc/connect/protocol";

/** How the protocol's library begins the message of bytes that are no Protocol Buffers; it takes them for its own fault. */
const unreadable = "parse binary: ";
/** Octets of an answer that says why a request cannot be read, at most. */
const longestError = 1 << 16;

/** A request that nobody can read is the caller's fault. */
export function isMalformed(error: ConnectError): boolean {
  return error.code === Code.Internal && error.rawMessage.startsWith(unreadable);
}

export function malformedError(error: ConnectError): ConnectError {
  return new ConnectError(error.rawMessage, Code.InvalidArgument, undefined, undefined, error);
}

/**
 * Has all methods of the router answer unreadable requests with `invalid_argument`, HTTP status 400, and tells of them. Such
 * a request never comes as far as an interceptor.
 */
export function refuseMalformed(router: ConnectRouter, onRefused: (method: string, reason: string) => void): void {
  for (const [index, handler] of router.handlers.entries()) {
    const answer: UniversalHandlerFn = async (request) => {
      const response = await handler(request);
      if (request.header.get("content-type")?.startsWith("application/grpc"))
        return withRightStatus(response, (reason) => onRefused(handler.method.name, reason));
      const refusal = await refusalOf(response);
      if (refusal === undefined) return response;
      const { bytes, error } = refusal;
      const { code, message = "", details } = error;
      const isBinary = code === "internal" && message.startsWith(unreadable);
      // What the services refuse themselves has details, and was told of already.
      if (!isBinary && (code !== "invalid_argument" || details !== undefined))
        return { ...response, body: createAsyncIterable([bytes]) };
      onRefused(handler.method.name, message);
      const body = new TextEncoder().encode(JSON.stringify({ code: "invalid_argument", message }));
      response.header?.set("content-length", String(body.length));
      return { ...response, status: 400, body: createAsyncIterable([body]) };
    };
    router.handlers[index] = Object.assign(answer, handler);
  }
}

/** gRPC tells errors in trailers, which are there when the body has been sent. */
function withRightStatus(
  response: UniversalServerResponse,
  onRefused: (reason: string) => void,
): UniversalServerResponse {
  const { body, trailer } = response;
  if (body === undefined || trailer === undefined) return response;
  async function* sent(chunks: AsyncIterable<Uint8Array>, after: Headers): AsyncGenerator<Uint8Array> {
    yield* chunks;
    const message = decodeURIComponent(after.get("grpc-message") ?? "");
    if (after.get("grpc-status") !== String(Code.Internal) || !message.startsWith(unreadable)) return;
    after.set("grpc-status", String(Code.InvalidArgument));
    onRefused(message);
  }
  return { ...response, body: sent(body, trailer) };
}

interface ErrorBody {
  readonly code?: string;
  readonly message?: string;
  readonly details?: unknown;
}

/** The error in an answer of Connect's unary protocol; `undefined`: it is none, and was not touched. */
async function refusalOf({
  status,
  header,
  body,
}: UniversalServerResponse): Promise<{ readonly bytes: Uint8Array; readonly error: ErrorBody } | undefined> {
  if ((status !== 400 && status !== 500) || body === undefined) return undefined;
  if (header?.get("content-type") !== "application/json" || header.has("content-encoding")) return undefined;
  const bytes = await readAllBytes(body, longestError);
  return { bytes, error: JSON.parse(new TextDecoder().decode(bytes)) as ErrorBody };
}
