import { formatDecodeError } from "./decode-error.ts";
import type { Frame } from "./decode-frame.ts";
import { type GeneveHeader, isCriticalOption } from "./geneve.ts";
import type { GreHeader } from "./gre.ts";
import type { Icmpv4Message } from "./icmpv4.ts";
import type { Icmpv6Message } from "./icmpv6.ts";
import { ipv6Options } from "./ipv6-options.ts";
import type { Layer } from "./layers.ts";
import type { Code } from "./layout.ts";
import type { NeighbourOption } from "./neighbour-options.ts";
import type { TcpHeader, TcpOption } from "./tcp.ts";

type LayerOf<Protocol extends Layer["protocol"]> = Extract<Layer, { protocol: Protocol }>;

/**
 * A frame in one line, in the manner of tcpdump; an inner frame follows its tunnel header:
 * `IP 192.0.2.1.51234 > 192.0.2.2.4789: VXLAN, vni 100: ARP, Request who-has 10.0.0.2 tell 10.0.0.1, length 28`.
 * MAC addresses are shown only where no network address is.
 */
export function describeFrame({ layers, error }: Frame): string {
  const line = layers.map((layer, index) => describeLayer(layer, layers, index)).join("");
  return error === undefined ? line : `${line.trimEnd()} [malformed: ${formatDecodeError(error)}]`.trimStart();
}

function describeLayer(layer: Layer, layers: readonly Layer[], index: number): string {
  switch (layer.protocol) {
    case "ethernet": {
      const { source, destination, etherType } = layer.header;
      return isRead(etherType) ? "" : `${source} > ${destination}, ethertype ${etherTypeText(etherType)}`;
    }
    case "vlan": {
      const { vlanId, priority, etherType } = layer.header;
      const unnamed = isRead(etherType) ? "" : `ethertype ${etherTypeText(etherType)}`;
      return `vlan ${vlanId}, p ${priority}, ${unnamed}`;
    }
    case "arp":
      return `ARP, ${arpText(layer)}, length ${layer.length}`;
    case "ipv4":
    case "ipv6":
      return `${layer.protocol === "ipv4" ? "IP" : "IP6"} ${ipText(layer, layers, index)}`;
    // What they say stands in the line of the IPv6 header.
    case "ipv6-extension":
    case "ipv6-fragment":
      return "";
    case "udp":
      return tunnels.has(layers[index + 1]?.protocol) ? "" : `UDP, length ${layer.header.length - layer.length}`;
    case "tcp":
      return `${tcpText(layer.header)}, length ${octetsAfter(layers, index)}`;
    case "icmpv4":
      return `ICMP ${icmpv4Text(layer.header)}, length ${layer.length + octetsAfter(layers, index)}`;
    case "icmpv6":
      return `ICMP6, ${icmpv6Text(layer.header)}, length ${layer.length + octetsAfter(layers, index)}`;
    case "vxlan":
      return `VXLAN, vni ${layer.header.vni}: `;
    case "geneve":
      return `Geneve, ${geneveText(layer.header)}${carriedText(layer.header.protocolType, layers, index)}`;
    case "gre":
      return `GRE${greText(layer.header)}${carriedText(layer.header.protocolType, layers, index)}`;
    case "payload":
      return described.has(layers[index - 1]?.protocol) ? "" : `, length ${layer.length}`;
    case "trailer":
      return "";
  }
}

/** Layers whose text already says how long the data after them is. */
const described: ReadonlySet<Layer["protocol"] | undefined> = new Set(["udp", "tcp", "icmpv4", "icmpv6"]);

/** What UDP carries that says more than UDP. */
const tunnels: ReadonlySet<Layer["protocol"] | undefined> = new Set(["vxlan", "geneve"]);

/** Whether there is a codec for what has this EtherType, outside of tunnels. */
function isRead(type: Code<string>): boolean {
  return typeof type === "string" && type !== "lldp" && type !== "transparent-ethernet-bridging";
}

function octetsAfter(layers: readonly Layer[], index: number): number {
  const next = layers[index + 1];
  return next?.protocol === "payload" ? next.length : 0;
}

function codeText(code: Code<string>): string {
  return typeof code === "string" ? code.replaceAll("-", " ") : String(code.unknown);
}

function etherTypeText(type: Code<string>): string {
  if (typeof type === "string") return type.toUpperCase();
  return `0x${type.unknown.toString(16).padStart(4, "0")}`;
}

/** What follows the text of a tunnel header: the inner packet, or the number of what is not read. */
function carriedText(type: Code<string>, layers: readonly Layer[], index: number): string {
  const next = layers[index + 1];
  return next === undefined || next.protocol === "payload" ? `, ethertype ${etherTypeText(type)}` : ": ";
}

function greText({ key, sequence }: GreHeader): string {
  const keyText = key === undefined ? "" : `, key 0x${key.toString(16)}`;
  return `${keyText}${sequence === undefined ? "" : `, seq ${sequence}`}`;
}

function geneveText({ control, criticalOptions, vni, options }: GeneveHeader): string {
  const flags = `${control ? "O" : ""}${criticalOptions ? "C" : ""}`;
  const optionTexts = options.map(({ optionClass, type, data }) => {
    const named =
      typeof optionClass === "string" ? optionClass : `0x${optionClass.unknown.toString(16).padStart(4, "0")}`;
    return `${named} 0x${type.toString(16).padStart(2, "0")}${isCriticalOption({ type }) ? " critical" : ""} ${data.length} octets`;
  });
  const listed = optionTexts.length === 0 ? "" : `, options [${optionTexts.join(", ")}]`;
  return `${flags === "" ? "" : `Flags [${flags}], `}vni ${vni}${listed}`;
}

function arpText({ header }: LayerOf<"arp">): string {
  switch (header.operation) {
    case "request":
      return `Request who-has ${header.targetIp} tell ${header.senderIp}`;
    case "reply":
      return `Reply ${header.senderIp} is-at ${header.senderMac}`;
    default:
      return `operation ${codeText(header.operation)} ${header.senderMac} > ${header.targetMac}`;
  }
}

/** Addresses, with the ports of the transport header where there is one, and the protocol where it is not read. */
function ipText({ header }: LayerOf<"ipv4" | "ipv6">, layers: readonly Layer[], index: number): string {
  let carried = "protocol" in header ? header.protocol : header.nextHeader;
  let fragment = "totalLength" in header ? fragmentText(header) : "";
  let tunnelLimit = "";
  let next = layers[index + 1];
  for (let after = index + 2; next?.protocol === "ipv6-extension" || next?.protocol === "ipv6-fragment"; after++) {
    if (next.protocol === "ipv6-fragment") fragment = fragmentText(next.header);
    if (next.protocol === "ipv6-extension" && carried === "destination-options")
      tunnelLimit = tunnelLimitText(next.header.data);
    carried = next.header.nextHeader;
    next = layers[after];
  }
  const ports = next?.protocol === "udp" || next?.protocol === "tcp" ? next.header : undefined;
  const from = ports === undefined ? header.source : `${header.source}.${ports.sourcePort}`;
  const to = ports === undefined ? header.destination : `${header.destination}.${ports.destinationPort}`;
  const unread = next === undefined || next.protocol === "payload" ? codeText(carried) : "";
  return `${from} > ${to}: ${fragment}${tunnelLimit}${unread}`;
}

/** How many more tunnels are allowed around the packet (RFC 2473 §4.1.1), where the destination options say it. */
function tunnelLimitText(data: Uint8Array): string {
  const options = ipv6Options.decode(data);
  const limit = options.ok ? options.value.find((option) => option.type === "tunnel-encapsulation-limit") : undefined;
  return limit === undefined ? "" : `encaplimit ${limit.limit}, `;
}

/** In octets; `+` says that more follow. */
function fragmentText(header: { readonly fragmentOffset: number; readonly moreFragments: boolean }): string {
  if (header.fragmentOffset === 0 && !header.moreFragments) return "";
  return `frag ${header.fragmentOffset * 8}${header.moreFragments ? "+" : ""}, `;
}

/** The letters of tcpdump, in its order. */
const tcpFlags = [
  ["fin", "F"],
  ["syn", "S"],
  ["rst", "R"],
  ["psh", "P"],
  ["ack", "."],
  ["urg", "U"],
  ["ece", "E"],
  ["cwr", "W"],
] as const;

function tcpText(header: TcpHeader): string {
  const flags = tcpFlags.map(([name, letter]) => (header[name] ? letter : "")).join("");
  const parts = [`Flags [${flags || "none"}]`, `seq ${header.sequence}`];
  if (header.ack) parts.push(`ack ${header.acknowledgment}`);
  parts.push(`win ${header.window}`);
  if (header.options.length > 0) parts.push(`options [${header.options.map(tcpOptionText).join(",")}]`);
  return parts.join(", ");
}

function tcpOptionText(option: TcpOption): string {
  switch (option.type) {
    case "maximum-segment-size":
      return `mss ${option.size}`;
    case "window-scale":
      return `wscale ${option.shift}`;
    case "sack-permitted":
      return "sackOK";
    case "timestamps":
      return `TS val ${option.value} ecr ${option.echo}`;
    case "no-operation":
      return "nop";
    case "end-of-list":
      return "eol";
    default:
      return `option ${option.type.unknown}`;
  }
}

function icmpv4Text(message: Icmpv4Message): string {
  switch (message.type) {
    case "echo-request":
    case "echo-reply":
      return `${codeText(message.type)}, id ${message.identifier}, seq ${message.sequence}`;
    case "destination-unreachable":
      return message.code === "fragmentation-needed"
        ? `unreachable - need to frag (mtu ${message.nextHopMtu})`
        : `unreachable - ${codeText(message.code)}`;
    default:
      return `${typeof message.type === "string" ? codeText(message.type) : `type ${message.type.unknown}`}, code ${message.code}`;
  }
}

function icmpv6Text(message: Icmpv6Message): string {
  switch (message.type) {
    case "echo-request":
    case "echo-reply":
      return `${codeText(message.type)}, id ${message.identifier}, seq ${message.sequence}`;
    case "destination-unreachable":
      return `unreachable - ${codeText(message.code)}`;
    case "packet-too-big":
      return `packet too big, mtu ${message.mtu}`;
    case "router-solicitation":
      return `router solicitation${neighbourOptionsText(message.options)}`;
    case "router-advertisement":
      return `router advertisement, lifetime ${message.routerLifetime} s${neighbourOptionsText(message.options)}`;
    case "neighbour-solicitation":
      return `neighbour solicitation, who has ${message.target}${neighbourOptionsText(message.options)}`;
    case "neighbour-advertisement": {
      const flags = [message.router && "router", message.solicited && "solicited", message.override && "override"];
      const named = flags.filter((flag) => flag !== false).join(" ");
      return `neighbour advertisement, tgt is ${message.target}, Flags [${named}]${neighbourOptionsText(message.options)}`;
    }
    default:
      return `${typeof message.type === "string" ? codeText(message.type) : `type ${message.type.unknown}`}, code ${message.code}`;
  }
}

function neighbourOptionsText(options: readonly NeighbourOption[]): string {
  return options.map((option) => `, ${neighbourOptionText(option)}`).join("");
}

function neighbourOptionText(option: NeighbourOption): string {
  switch (option.type) {
    case "source-link-layer-address":
      return `source ${option.address}`;
    case "target-link-layer-address":
      return `target ${option.address}`;
    case "prefix-information":
      return `prefix ${option.prefix}/${option.prefixLength}`;
    case "mtu":
      return `mtu ${option.mtu}`;
    case "recursive-dns-servers":
      return `dns ${option.addresses.join(" ")}`;
    case "dns-search-list":
      return `search ${option.domains.join(" ")}`;
    default:
      return `option ${option.type.unknown}`;
  }
}
