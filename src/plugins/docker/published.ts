import { WeftError } from "../../base/errors.ts";
import { parseIp } from "../../base/ip.ts";
import {
  isEveryAddress,
  type PublishedPort,
  type PublishedProtocol,
  publishedProtocols,
} from "../../model/published-port.ts";
import type { Fields } from "./fields.ts";

/** A container's ports as Docker asks for them (libnetwork/types: `PortBinding`). Throws what weft publishes in no way. */
export function publishedOf(ports: readonly Fields[], attempted: string): readonly PublishedPort[] {
  return ports.map((port) => {
    const [number, last, to] = [port.number("HostPort"), port.number("HostPortEnd"), port.number("Port")];
    const protocol = protocolOf(port.number("Proto"));
    const refuse = (reason: string, hint: string): WeftError =>
      new WeftError({ code: "unsupported", attempted, reason, hint });
    if (protocol === undefined)
      throw refuse(`protocol ${port.number("Proto")} has no ports`, "publish tcp, udp or sctp");
    if (number === 0 || (last !== 0 && last !== number))
      throw refuse(
        `for port ${to}/${protocol} it names no single port of the host, and Docker does not hear which one a plugin chooses`,
        `name it: -p 8080:${to}`,
      );
    const address = parseIp(port.text("HostIP"));
    const isAnywhere = !address.ok || isEveryAddress(address.value);
    return { protocol, port: number, to, ...(isAnywhere ? {} : { address: address.value }) };
  });
}

function protocolOf(number: number): PublishedProtocol | undefined {
  const [found] = Object.entries(publishedProtocols).find(([, each]) => each === number) ?? [];
  return found as PublishedProtocol | undefined;
}
