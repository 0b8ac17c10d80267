import {
  type Encapsulation,
  encapsulationNames,
  encapsulations,
  encapsulationsThat,
  type TunnelEncapsulation,
  type TunnelTransport,
} from "../../model/encapsulation.ts";
import { allOf, oneOf } from "./filter.ts";
import type { Link } from "./packet.ts";
import type { NetworkView } from "./view.ts";

/** Filters in pcap's syntax for what weft sends: pcap-filter(7). */

/** RFC 2473 §4.1.1, §5.1: destination options, which say how many more tunnels may be around the packet. */
const destinationOptions = 60;
const ipv6HeaderLength = 40;
/** Octets of that extension header with the one option. */
const limitLength = 8;

/** `NAME:PORT` or `NAME`, as the agent tells how a network's packets travel; `undefined`: in no tunnel. */
export function wayOf(text: string): TunnelTransport | undefined {
  const [name = "", port = "0"] = text.split(" ")[0]?.split(":") ?? [];
  if (!encapsulationNames.includes(name as Encapsulation) || encapsulations[name as Encapsulation].devices === "none")
    return undefined;
  return { encapsulation: name as TunnelEncapsulation, port: Number(port) };
}

/** The tunnels that a network's packets are in: those that it sends by, and those that it receives on beside. */
export function transportsOf({ encapsulation, port, standby }: NetworkView): readonly TunnelTransport[] {
  const texts = [`${encapsulation}:${port}`, ...standby];
  return texts.map(wayOf).filter((way) => way !== undefined);
}

/** Whatever is a tunnel packet here: of these networks, and of all encapsulations at the ports that IANA gave them. */
export function tunnelText(networks: readonly NetworkView[]): string {
  const usual = encapsulationsThat(({ devices }) => devices !== "none").map((encapsulation) => ({
    encapsulation: encapsulation as TunnelEncapsulation,
    port: encapsulations[encapsulation].port,
  }));
  const texts = [...usual, ...networks.flatMap(transportsOf)].map((transport) => headerText(transport));
  return oneOf([...new Set(texts)]);
}

/** Packets of one network on the underlay. */
export function carriedText(network: NetworkView): string {
  const transports = transportsOf(network);
  if (transports.length === 0) return oneOf(network.subnets.map((subnet) => `net ${subnet}`));
  return oneOf([...new Set(transports.map((transport) => headerText(transport, network.vni)))]);
}

/** What one of these addresses sends or gets. */
export function ofHosts(addresses: readonly string[]): string {
  return oneOf(addresses.map((address) => `host ${address}`));
}

/** What an endpoint sends and gets. On Ethernet also what has its MAC alone, such as ARP and what is routed on. */
export function ofAddresses(
  { mac, ips }: { readonly mac: string; readonly ips: readonly string[] },
  link: Link,
): string {
  return oneOf([...(link === "ethernet" ? [`ether host ${mac}`] : []), ...ips.map((ip) => `host ${ip}`)]);
}

/** Packets in a tunnel, and of one network where packets say which they are of. */
function headerText({ encapsulation, port }: TunnelTransport, vni?: number): string {
  const { ipProtocols, key } = encapsulations[encapsulation];
  const header =
    port > 0
      ? `udp dst port ${port}`
      : oneOf(
          ipProtocols.flatMap((protocol) => [
            `ip proto ${protocol}`,
            `ip6 proto ${protocol}`,
            `ip6[6] = ${destinationOptions} and ip6[${ipv6HeaderLength}] = ${protocol}`,
          ]),
        );
  if (vni === undefined || key === undefined) return header;
  const mask = (0xffff_ffff << key.shift) >>> 0;
  const isKey = (at: string): string => `${at} & 0x${mask.toString(16)} = 0x${((vni << key.shift) >>> 0).toString(16)}`;
  const places = [
    isKey(`ip[((ip[0] & 0xf) << 2) + ${key.word} : 4]`),
    isKey(`ip6[${ipv6HeaderLength + key.word} : 4]`),
    ...(port > 0 ? [] : [isKey(`ip6[${ipv6HeaderLength + limitLength + key.word} : 4]`)]),
  ];
  return allOf(header, oneOf(places));
}
