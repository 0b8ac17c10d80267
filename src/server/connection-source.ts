import { createContextKey } from "@connectrpc/connect";
import { type IpAddress, parseIp } from "../base/ip.ts";

/** Where the connection of a request comes from; undefined: unknown. */
export const sourceKey = createContextKey<IpAddress | undefined>(undefined);

/** The address as a socket names it: of an IPv4 peer of an IPv6 socket the IPv4 address, without a zone. */
export function parseSource(text = ""): IpAddress | undefined {
  const address = parseIp(text.replace(/^::ffff:(?=\d+\.\d+\.\d+\.\d+$)/i, ""));
  return address.ok ? address.value : undefined;
}
