import { join } from "node:path";
import type { Credentials } from "../api/clients.ts";
import { messageOf, WeftError } from "../base/errors.ts";
import { writeFileDurably } from "../linux/durable-file.ts";
import { readPrivateFile } from "../linux/private-files.ts";

const files = { certificate: "node.crt", privateKey: "node.key", caCertificate: "ca.crt" } as const;

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
    return readPrivateFile(path);
  } catch (error) {
    if (error instanceof WeftError) throw error;
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
