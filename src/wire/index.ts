/**
 * Packet codecs: bytes to values and back, one file per header. Pure, no I/O. Untrusted bytes give a
 * `Result` with a `DecodeError`; a value that does not fit its field throws RangeError when it is encoded.
 */
export { arp, arpOperation } from "./arp.ts";
export { buildFrame, type LayerDraft } from "./build-frame.ts";
export {
  type ChecksumStatus,
  checksumStatus,
  internetChecksum,
  onesComplementSum,
  pseudoHeaderSum,
} from "./checksum.ts";
export { type ClasslessRoute, classlessRoutes } from "./classless-routes.ts";
export { type Codec, octets, type ValueOf } from "./codec.ts";
export { type DecodeError, formatDecodeError } from "./decode-error.ts";
export { type DecodeFrameOptions, decodeFrame, type Frame, maximumLayers, tunnelPorts } from "./decode-frame.ts";
export { describeFrame } from "./describe-frame.ts";
export {
  type Dhcpv4Message,
  type Dhcpv4Option,
  dhcpv4,
  dhcpv4MessageType,
  dhcpv4Options,
  dhcpv4Port,
} from "./dhcpv4.ts";
export {
  type Dhcpv6AssociationOption,
  type Dhcpv6Message,
  type Dhcpv6Option,
  dhcpv6,
  dhcpv6MessageType,
  dhcpv6Options,
  dhcpv6Port,
  dhcpv6Status,
} from "./dhcpv6.ts";
export {
  type DnsQuestion,
  type DnsRecord,
  dnsHeader,
  dnsPort,
  readDnsQuestion,
  writeDnsResponse,
} from "./dns.ts";
export { ethernet, etherType } from "./ethernet.ts";
export { type LayerChecksum, verifyChecksums } from "./frame-checksums.ts";
export {
  type GeneveHeader,
  type GeneveOption,
  geneve,
  geneveOptionClass,
  geneveOptions,
  genevePort,
  isCriticalOption,
} from "./geneve.ts";
export { type GreHeader, gre } from "./gre.ts";
export { type Icmpv4Message, icmpv4, icmpv4Type, icmpv4UnreachableCode } from "./icmpv4.ts";
export { type Icmpv6Message, icmpv6, icmpv6Type, icmpv6UnreachableCode } from "./icmpv6.ts";
export { type IpProtocol, ipProtocol } from "./ip-protocol.ts";
export { type Ipv4Header, ipv4 } from "./ipv4.ts";
export { ipv6 } from "./ipv6.ts";
export { type Ipv6Extension, ipv6Extension, ipv6Fragment } from "./ipv6-extension.ts";
export { type Ipv6Option, ipv6Options } from "./ipv6-options.ts";
export { encodeFrame, type Layer, type LayerContent } from "./layers.ts";
export {
  bytes,
  type Code,
  type CodeField,
  codes,
  defineHeader,
  type FieldValues,
  fixed,
  flag,
  type Header,
  ipv4Address,
  ipv6Address,
  macAddress,
  reserved,
  tail,
  uint,
} from "./layout.ts";
export { type NeighbourOption, neighbourOptions } from "./neighbour-options.ts";
export { type NvgreKey, nvgreHeader, nvgreKey, readNvgreKey } from "./nvgre.ts";
export {
  linkTypeEthernet,
  linkTypeIp,
  type Pcap,
  type PcapPacket,
  pcapFileHeader,
  pcapRecord,
  readPcap,
  writePcap,
} from "./pcap.ts";
export {
  type PcapngInterface,
  type PcapngPacket,
  type PcapngSection,
  type PcapngStatistics,
  pcapngInterface,
  pcapngPacket,
  pcapngSection,
  pcapngStatistics,
} from "./pcapng.ts";
export { type TcpHeader, type TcpOption, tcp, tcpOptions } from "./tcp.ts";
export { type Tunnelled, tunnelledPacket } from "./tunnelled.ts";
export { udp } from "./udp.ts";
export { vlan } from "./vlan.ts";
export { vxlan, vxlanPort } from "./vxlan.ts";
