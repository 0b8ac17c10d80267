import { textOf } from "../../wire/text.ts";

/** Octets of a request, up to the empty line: what programs send is some hundred. */
export const longestRequest = 4_096;

const reasons = {
  200: "OK",
  400: "Bad Request",
  404: "Not Found",
  405: "Method Not Allowed",
  431: "Request Header Fields Too Large",
} as const;
type Status = keyof typeof reasons;

const endOfHeader = "\r\n\r\n";
/** RFC 9112 §3. */
const requestLine = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+) (\S+) HTTP\/1\.[01]$/;

/**
 * The whole response to the octets of one connection, after which it ends; `undefined`: more of the request is to come. GET and HEAD of
 * documents below `/`, and nothing else of RFC 9110: what a request says beside its first line does not matter.
 */
export function respond(request: Uint8Array, documents: ReadonlyMap<string, () => Uint8Array>): Uint8Array | undefined {
  const text = textOf(request);
  const end = text.indexOf(endOfHeader);
  if (end < 0) return request.length < longestRequest ? undefined : response(431, "the request is too long\n");
  const [, method, target] = requestLine.exec(text.slice(0, text.indexOf("\r\n"))) ?? [];
  if (method === undefined || target === undefined) return response(400, "this is not a request of HTTP/1.1\n");
  if (method !== "GET" && method !== "HEAD") return response(405, "there is something to read, and no more\n");
  const withBody = method === "GET";
  if (target === "/") return response(200, [...documents.keys()].map((name) => `${name}\n`).join(""), withBody);
  const document = target.startsWith("/") ? documents.get(target.slice(1)) : undefined;
  return document === undefined
    ? response(404, "there is no such document\n", withBody)
    : response(200, document(), withBody);
}

function response(status: Status, content: string | Uint8Array, withBody = true): Uint8Array {
  const body = typeof content === "string" ? new TextEncoder().encode(content) : content;
  const header = [
    `HTTP/1.1 ${status} ${reasons[status]}`,
    // What users wrote may be anything.
    `Content-Type: ${typeof content === "string" ? "text/plain" : "application/octet-stream"}`,
    `Content-Length: ${body.length}`,
    ...(status === 405 ? ["Allow: GET, HEAD"] : []),
    "Connection: close",
  ].join("\r\n");
  return new Uint8Array([...new TextEncoder().encode(header + endOfHeader), ...(withBody ? body : [])]);
}
