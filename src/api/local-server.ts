import { lstatSync, unlinkSync } from "node:fs";
import { createServer, type RequestListener, type Server } from "node:http";
import { connect } from "node:net";
import { WeftError } from "../base/errors.ts";

/**
 * A connection without a request under way is kept for longer than a client pauses between two, on however slow a machine: one that is
 * closed in the moment in which a request is sent cannot say whether that was heard.
 */
const keepAliveTimeout = 120_000;

export function createHttpServer(handler: RequestListener): Server {
  return createServer({ headersTimeout: 10_000, requestTimeout: 30_000, keepAliveTimeout }, handler);
}

/**
 * Begins to listen on a Unix socket that root alone may use. A socket that nobody answers, left by a crash, is
 * replaced; a live one belongs to another process: `who` is already running.
 */
export async function listenUnix(server: Server, path: string, who: "server" | "agent"): Promise<void> {
  const attempted = `listen on ${path}`;
  // What connecting would follow, or removing destroy.
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found !== undefined && !found.isSocket())
    throw new WeftError({
      code: "failed-precondition",
      attempted,
      reason: found.isSymbolicLink() ? "a symbolic link is there" : "a file that is no socket is there",
      hint: "see what it is, and move it away",
    });
  if (await isAnswered(path, attempted))
    throw new WeftError({
      code: "already-exists",
      attempted,
      reason: `another ${who} answers there`,
      hint:
        who === "server"
          ? "stop it first, or give this one another --data-dir"
          : "stop it first, or give this one another --run-dir, --data-dir and --instance",
    });
  // The socket is bound within listen(), so that it never exists with wider permissions.
  const before = process.umask(0o177);
  try {
    await new Promise<void>((resolve, reject) => {
      server.once("error", (error) => reject(explain(error, attempted)));
      server.once("listening", resolve);
      server.listen(path);
    });
  } finally {
    process.umask(before);
  }
}

/** Takes no new connections and lets calls under way end; what is left after `grace` milliseconds is cut off. */
export async function closeHttpServer(server: Server, grace: number): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  server.closeIdleConnections();
  const timer = setTimeout(() => server.closeAllConnections(), grace);
  await closed;
  clearTimeout(timer);
}

function explain(error: Error, attempted: string): WeftError {
  return new WeftError({
    code: "failed-precondition",
    attempted,
    reason: error.message,
    hint: "see whether the directory exists and this user may write to it",
    cause: error,
  });
}

function isAnswered(path: string, attempted: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return resolve(false);
      if (error.code !== "ECONNREFUSED") return reject(explain(error, attempted));
      unlinkSync(path);
      resolve(false);
    });
  });
}
