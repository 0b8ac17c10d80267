import { isIP, type Server } from "node:net";
import { WeftError } from "../base/errors.ts";
import { err, ok, type Result } from "../base/result.ts";

/** Where to listen for TCP connections. */
export interface ListenAddress {
  /** An IP address; `0.0.0.0` or `::`: all. */
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
}

/** Text such as `192.0.2.1:7473` or `[::]:7473`. */
export function parseListenAddress(text: string): Result<ListenAddress, string> {
  const match = /^(?:\[([^\]]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2] ?? "";
  const port = Number(match?.[3]);
  if (match === null || isIP(host) === 0 || (match[1] !== undefined) !== (isIP(host) === 6) || port > 65_535)
    return err(`"${text}" is not an address and port such as 192.0.2.1:7473 or [::]:7473`);
  return ok({ host, port });
}

export function formatListenAddress({ host, port }: ListenAddress): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** The address that `text` says, or a {@link WeftError} that names the option. */
export function requireListenAddress(text: string, option: string): ListenAddress {
  const address = parseListenAddress(text);
  if (address.ok) return address.value;
  throw new WeftError({ code: "invalid-argument", attempted: `read ${option}`, reason: address.error });
}

/** Begins to listen; resolves with the address in use. */
export async function listenTcp(server: Server, address: ListenAddress): Promise<ListenAddress> {
  const attempted = `listen on ${formatListenAddress(address)}`;
  await listening(server, attempted, () => server.listen({ host: address.host, port: address.port }));
  const bound = server.address();
  return typeof bound === "object" && bound !== null ? { host: address.host, port: bound.port } : address;
}

function listening(server: Server, attempted: string, listen: () => void): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", (error) => reject(explain(error, attempted)));
    server.once("listening", resolve);
    listen();
  });
}

function explain(error: Error, attempted: string): WeftError {
  const code = "code" in error ? error.code : undefined;
  const make = (reason: string, hint: string): WeftError =>
    new WeftError({ code: "failed-precondition", attempted, reason, hint, cause: error });
  switch (code) {
    case "EADDRINUSE":
      return make("the address is in use", "stop the program that listens there, or choose another port");
    case "EADDRNOTAVAIL":
      return make("this host has no such address", "choose an address of this host, or 0.0.0.0 or [::] for all");
    case "EACCES":
      return make("permission denied", "run the server as root, or choose a port of 1024 or more");
    default:
      return make(error.message, "see the server's options --listen and --data-dir");
  }
}
