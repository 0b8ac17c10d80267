import { unwrap } from "../../src/base/result.ts";
import {
  arpOperation,
  etherType,
  geneveOptionClass,
  geneveOptions,
  ipProtocol,
  ipv6Options,
  isCriticalOption,
  type Layer,
  type LayerContent,
  type NeighbourOption,
  type TcpOption,
} from "../../src/wire/index.ts";

/** Values of one field in all layers of a frame, outermost first, by tshark's name of the field. */
export type FieldReadings = Readonly<Record<string, readonly (string | number)[]>>;

type Value = string | number | boolean;
type Header<Protocol extends Layer["protocol"]> = Extract<LayerContent, { protocol: Protocol }>["header"];
type Reader = (layer: Layer) => readonly Value[];

function on<Protocol extends Layer["protocol"]>(
  protocol: Protocol,
  read: (header: Header<Protocol>) => Value | readonly Value[] | undefined,
): Reader {
  return (layer) => {
    if (layer.protocol !== protocol) return [];
    const value = read(layer.header as Header<Protocol>);
    if (value === undefined) return [];
    return Array.isArray(value) ? value : [value as Value];
  };
}

const tcpOption = (header: Header<"tcp">, read: (option: TcpOption) => Value | undefined): Value[] =>
  header.options.map(read).filter((value) => value !== undefined);

const neighbourOption = (header: Header<"icmpv6">, read: (option: NeighbourOption) => Value | undefined): Value[] =>
  "options" in header ? header.options.map(read).filter((value) => value !== undefined) : [];

/** Of a header with such an option: the captures hold no routing header, whose data would be read as options. */
function tunnelEncapsulationLimit({ data }: Header<"ipv6-extension">): Value[] {
  return unwrap(ipv6Options.decode(data)).flatMap((option) =>
    option.type === "tunnel-encapsulation-limit" ? [option.limit] : [],
  );
}

/** The fields that our reading is compared in, by tshark's names. */
const readers: Readonly<Record<string, Reader>> = {
  "eth.dst": on("ethernet", (header) => header.destination),
  "eth.src": on("ethernet", (header) => header.source),
  "arp.opcode": on("arp", (header) => arpOperation.encode(header.operation)),
  "arp.src.hw_mac": on("arp", (header) => header.senderMac),
  "arp.src.proto_ipv4": on("arp", (header) => header.senderIp),
  "arp.dst.hw_mac": on("arp", (header) => header.targetMac),
  "arp.dst.proto_ipv4": on("arp", (header) => header.targetIp),
  "ip.dsfield.dscp": on("ipv4", (header) => header.dscp),
  "ip.dsfield.ecn": on("ipv4", (header) => header.ecn),
  "ip.hdr_len": on("ipv4", (header) => 20 + header.options.length),
  "ip.len": on("ipv4", (header) => header.totalLength),
  "ip.id": on("ipv4", (header) => header.identification),
  "ip.flags.df": on("ipv4", (header) => header.dontFragment),
  "ip.flags.mf": on("ipv4", (header) => header.moreFragments),
  "ip.ttl": on("ipv4", (header) => header.timeToLive),
  "ip.proto": on("ipv4", (header) => ipProtocol.encode(header.protocol)),
  "ip.checksum": on("ipv4", (header) => header.checksum),
  "ip.src": on("ipv4", (header) => header.source),
  "ip.dst": on("ipv4", (header) => header.destination),
  "ipv6.flow": on("ipv6", (header) => header.flowLabel),
  "ipv6.plen": on("ipv6", (header) => header.payloadLength),
  "ipv6.hlim": on("ipv6", (header) => header.hopLimit),
  "ipv6.src": on("ipv6", (header) => header.source),
  "ipv6.dst": on("ipv6", (header) => header.destination),
  "ipv6.fraghdr.offset": on("ipv6-fragment", (header) => header.fragmentOffset),
  "ipv6.fraghdr.more": on("ipv6-fragment", (header) => header.moreFragments),
  "ipv6.fraghdr.ident": on("ipv6-fragment", (header) => header.identification),
  "icmp.code": on("icmpv4", (header) => (typeof header.code === "number" ? header.code : undefined)),
  "icmp.checksum": on("icmpv4", (header) => header.checksum),
  "icmp.ident": on("icmpv4", (header) => ("identifier" in header ? header.identifier : undefined)),
  "icmp.seq": on("icmpv4", (header) => ("sequence" in header ? header.sequence : undefined)),
  "icmp.mtu": on("icmpv4", (header) =>
    header.type === "destination-unreachable" && header.code === "fragmentation-needed" ? header.nextHopMtu : undefined,
  ),
  "icmpv6.checksum": on("icmpv6", (header) => header.checksum),
  "icmpv6.mtu": on("icmpv6", (header) => ("mtu" in header ? header.mtu : undefined)),
  "icmpv6.echo.identifier": on("icmpv6", (header) => ("identifier" in header ? header.identifier : undefined)),
  "icmpv6.nd.ns.target_address": on("icmpv6", (header) =>
    header.type === "neighbour-solicitation" ? header.target : undefined,
  ),
  "icmpv6.nd.na.target_address": on("icmpv6", (header) =>
    header.type === "neighbour-advertisement" ? header.target : undefined,
  ),
  "icmpv6.nd.na.flag.s": on("icmpv6", (header) => ("solicited" in header ? header.solicited : undefined)),
  "icmpv6.nd.na.flag.o": on("icmpv6", (header) => ("override" in header ? header.override : undefined)),
  "icmpv6.nd.ra.router_lifetime": on("icmpv6", (header) =>
    "routerLifetime" in header ? header.routerLifetime : undefined,
  ),
  "icmpv6.nd.ra.reachable_time": on("icmpv6", (header) =>
    "reachableTime" in header ? header.reachableTime : undefined,
  ),
  "icmpv6.opt.linkaddr": on("icmpv6", (header) =>
    neighbourOption(header, (option) => ("address" in option ? option.address : undefined)),
  ),
  "icmpv6.opt.prefix": on("icmpv6", (header) =>
    neighbourOption(header, (option) => ("prefix" in option ? option.prefix : undefined)),
  ),
  "icmpv6.opt.prefix.valid_lifetime": on("icmpv6", (header) =>
    neighbourOption(header, (option) => ("validLifetime" in option ? option.validLifetime : undefined)),
  ),
  "icmpv6.opt.mtu": on("icmpv6", (header) =>
    neighbourOption(header, (option) => ("mtu" in option ? option.mtu : undefined)),
  ),
  "udp.srcport": on("udp", (header) => header.sourcePort),
  "udp.dstport": on("udp", (header) => header.destinationPort),
  "udp.length": on("udp", (header) => header.length),
  "udp.checksum": on("udp", (header) => header.checksum),
  "tcp.srcport": on("tcp", (header) => header.sourcePort),
  "tcp.dstport": on("tcp", (header) => header.destinationPort),
  "tcp.seq_raw": on("tcp", (header) => header.sequence),
  "tcp.ack_raw": on("tcp", (header) => header.acknowledgment),
  "tcp.flags.syn": on("tcp", (header) => header.syn),
  "tcp.flags.ack": on("tcp", (header) => header.ack),
  "tcp.flags.fin": on("tcp", (header) => header.fin),
  "tcp.flags.push": on("tcp", (header) => header.psh),
  "tcp.window_size_value": on("tcp", (header) => header.window),
  "tcp.checksum": on("tcp", (header) => header.checksum),
  "tcp.options.mss_val": on("tcp", (header) =>
    tcpOption(header, (option) => ("size" in option ? option.size : undefined)),
  ),
  "tcp.options.wscale.shift": on("tcp", (header) =>
    tcpOption(header, (option) => ("shift" in option ? option.shift : undefined)),
  ),
  "tcp.options.timestamp.tsval": on("tcp", (header) =>
    tcpOption(header, (option) => ("echo" in option ? option.value : undefined)),
  ),
  "tcp.options.timestamp.tsecr": on("tcp", (header) =>
    tcpOption(header, (option) => ("echo" in option ? option.echo : undefined)),
  ),
  // To tshark the outer of two tags is another protocol.
  "ieee8021ad.id": on("vlan", (header) => (header.etherType === "vlan" ? header.vlanId : undefined)),
  "vlan.id": on("vlan", (header) => (header.etherType === "vlan" ? undefined : header.vlanId)),
  "vlan.priority": on("vlan", (header) => (header.etherType === "vlan" ? undefined : header.priority)),
  "vlan.dei": on("vlan", (header) => (header.etherType === "vlan" ? undefined : header.dropEligible)),
  "gre.proto": on("gre", (header) => etherType.encode(header.protocolType)),
  "gre.flags.checksum": on("gre", (header) => header.checksum !== undefined),
  "gre.flags.key": on("gre", (header) => header.key !== undefined),
  "gre.flags.sequence_number": on("gre", (header) => header.sequence !== undefined),
  "gre.checksum": on("gre", (header) => header.checksum),
  "gre.key": on("gre", (header) => header.key),
  "gre.sequence_number": on("gre", (header) => header.sequence),
  "ipv6.opt.tel": on("ipv6-extension", tunnelEncapsulationLimit),
  "geneve.flags.oam": on("geneve", (header) => header.control),
  "geneve.flags.critical": on("geneve", (header) => header.criticalOptions),
  "geneve.proto_type": on("geneve", (header) => etherType.encode(header.protocolType)),
  "geneve.vni": on("geneve", (header) => header.vni),
  "geneve.option.class": on("geneve", (header) =>
    header.options.map(({ optionClass }) => geneveOptionClass.encode(optionClass)),
  ),
  "geneve.option.type": on("geneve", (header) => header.options.map(({ type }) => type)),
  "geneve.option.type.critical": on("geneve", (header) => header.options.map(isCriticalOption)),
  // The first is the length of all options with their leads, which tshark shows by the same name.
  "geneve.option.length": on("geneve", ({ options }) => [
    geneveOptions.lengthOf(options),
    ...options.map(({ data }) => 4 + data.length),
  ]),
  "vxlan.vni": on("vxlan", (header) => header.vni),
};

export const tsharkFields: readonly string[] = Object.keys(readers);

/** The same fields as tshark's, from our layers; fields without a value are left out. */
export function readFields(layers: readonly Layer[]): FieldReadings {
  return Object.fromEntries(
    Object.entries(readers)
      .map(([field, read]) => [field, layers.flatMap(read).map(plain)] as const)
      .filter(([, values]) => values.length > 0),
  );
}

/** Numbers in any notation and truth values become numbers, so that both sides write them alike. */
export function plain(value: Value): string | number {
  const text = String(value);
  if (text === "true" || text === "True") return 1;
  if (text === "false" || text === "False") return 0;
  return /^(\d+|0x[0-9a-f]+)$/.test(text) ? Number(text) : text;
}
