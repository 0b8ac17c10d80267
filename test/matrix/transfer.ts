/** Octets over one TCP connection from one namespace to another, and whether they are the same at both ends. */
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:net";
import type { NetworkNamespace } from "../../src/linux/index.ts";
import { patience } from "../support/patience.ts";

const port = 7007;

export interface Transfer {
  readonly octets: number;
  readonly sentHash: string;
  readonly receivedHash: string;
}

/** Sends `octets` random octets; the hashes are SHA-256, each of what that end has seen. Rejects when it breaks. */
export async function transfer(
  from: NetworkNamespace,
  to: NetworkNamespace,
  address: string,
  octets: number,
): Promise<Transfer> {
  const content = randomBytes(octets);
  const received = createHash("sha256");
  let count = 0;
  const server = createServer();
  try {
    const arrived = new Promise<void>((resolve, reject) => {
      server.once("connection", (socket) => {
        socket.on("data", (chunk) => {
          received.update(chunk);
          count += chunk.length;
        });
        socket.once("end", resolve).once("error", reject);
      });
    });
    // Without an address the socket is bound before `listen` returns, and stays in the namespace.
    const listening = once(server, "listening");
    to.run(() => server.listen(port));
    await listening;
    await Promise.all([arrived, send(from, address, content)]);
  } finally {
    server.close();
  }
  if (count !== octets) throw new Error(`${count} of ${octets} octets arrived`);
  return {
    octets,
    sentHash: createHash("sha256").update(content).digest("hex"),
    receivedHash: received.digest("hex"),
  };
}

/**
 * By the shell: whoever connects must be a process that begins in the namespace. What stands in ~/.bashrc, which bash
 * reads where its input is a socket, has no part in it.
 */
async function send(from: NetworkNamespace, address: string, content: Buffer): Promise<void> {
  const sender = from.spawn("bash", ["--norc", "-c", `cat >/dev/tcp/${address}/${port}`], {
    stdio: ["pipe", "ignore", "pipe"],
  });
  let complaints = "";
  sender.stderr?.on("data", (chunk: Buffer) => {
    complaints += chunk;
  });
  sender.stdin?.on("error", () => {}).end(content);
  const limit = setTimeout(() => sender.kill("SIGKILL"), patience);
  const [status] = await once(sender, "close");
  clearTimeout(limit);
  if (status === null) throw new Error(`not done after ${patience / 1000} s`);
  if (status !== 0) throw new Error(complaints.trim());
}
