import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Credentials } from "../api/transport.ts";
import { messageOf, WeftError } from "../base/errors.ts";
import { writeFileDurably } from "../linux/durable-file.ts";

const files = { certificate: "node.crt", privateKey: "node.key", caCertificate: "ca.crt" } as const;

/** Makes the agent's directories, for root alone. */
export function prepareDirectory(path: string): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw new WeftError({
      code: "failed-precondition",
      attempted: `make the directory ${path}`,
      reason: messageOf(error),
      hint: "give directories that root may write to, by --data-dir and --run-dir",
      cause: error,
    });
  }
}

/** The private key that a join was begun with, so that a join whose answer was lost can be repeated; `undefined`: none. */
export function loadPrivateKey(directory: string): string | undefined {
  return read(join(directory, files.privateKey));
}

export function savePrivateKey(directory: string, privateKey: string): void {
  write(join(directory, files.privateKey), privateKey);
}

/** The node's identity; `undefined` as long as it has not joined. */
export function loadCredentials(directory: string): Credentials | undefined {
  const certificate = read(join(directory, files.certificate));
  const privateKey = read(join(directory, files.privateKey));
  const caCertificate = read(join(directory, files.caCertificate));
  if (certificate === undefined || privateKey === undefined || caCertificate === undefined) return undefined;
  return { certificate, privateKey, caCertificate };
}

/** The certificate last: it says that the others are there. */
export function saveCredentials(directory: string, credentials: Credentials): void {
  write(join(directory, files.privateKey), credentials.privateKey);
  write(join(directory, files.caCertificate), credentials.caCertificate);
  write(join(directory, files.certificate), credentials.certificate);
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new WeftError({
      code: "failed-precondition",
      attempted: `read ${path}`,
      reason: messageOf(error),
      cause: error,
    });
  }
}

function write(path: string, content: string): void {
  try {
    writeFileDurably(path, content);
  } catch (error) {
    throw new WeftError({
      code: "failed-precondition",
      attempted: `write ${path}`,
      reason: messageOf(error),
      hint: "see whether the disk is full or read-only",
      cause: error,
    });
  }
}
