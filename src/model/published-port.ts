import { familyOf, type IpAddress, parseIp } from "../base/ip.ts";
import { err, ok, type Result } from "../base/result.ts";

/** IANA protocol numbers of what has ports. */
export const publishedProtocols = { tcp: 6, udp: 17, sctp: 132 } as const;
export type PublishedProtocol = keyof typeof publishedProtocols;

/** A port of a node's own addresses that leads to one of an endpoint on it. */
export interface PublishedPort {
  readonly protocol: PublishedProtocol;
  /** The node's address; absent: all that it has. */
  readonly address?: IpAddress;
  /** The node's. */
  readonly port: number;
  /** The endpoint's. */
  readonly to: number;
}

/** Reads `8080`, `8080:80`, `192.0.2.1:8080:80/udp`, `[2001:db8::1]:53:53/udp`; else what is allowed. */
export function parsePublishedPort(text: string): Result<PublishedPort, string> {
  const allowed = err("[ADDRESS:]PORT[:PORT][/tcp|udp|sctp], such as 8080:80 or [2001:db8::1]:53:53/udp");
  const [, place = "", protocol = "tcp"] = /^([^/]*)(?:\/([a-z]+))?$/.exec(text) ?? [];
  const [, bracketed, plain, port = "", to = port] =
    /^(?:\[([0-9a-f:.]+)\]:|([0-9.]+\.[0-9]+):)?([0-9]{1,5})(?::([0-9]{1,5}))?$/i.exec(place) ?? [];
  if (!Object.hasOwn(publishedProtocols, protocol) || !isPort(port) || !isPort(to)) return allowed;
  const ports = { protocol: protocol as PublishedProtocol, port: Number(port), to: Number(to) };
  const written = bracketed ?? plain;
  if (written === undefined) return ok(ports);
  const address = parseIp(written);
  return address.ok ? ok({ ...ports, address: address.value }) : allowed;
}

/** Whether who publishes at this address means all that the node has. */
export function isEveryAddress(address: IpAddress): boolean {
  return address === "0.0.0.0" || address === "::";
}

function isPort(text: string): boolean {
  return text !== "" && Number(text) >= 1 && Number(text) <= 65_535;
}

/** As {@link parsePublishedPort} reads it. */
export function publishedPortText({ protocol, address, port, to }: PublishedPort): string {
  const at = address === undefined ? "" : familyOf(address) === 4 ? `${address}:` : `[${address}]:`;
  return `${at}${port}:${to}/${protocol}`;
}
