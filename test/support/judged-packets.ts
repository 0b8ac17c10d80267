/** Real packets as the judge of firewalls knows them: what it is told of one, and the frame that is sent. */
import { familyOf, ipToBytes } from "../../src/base/ip.ts";
import { type MacAddress, macToBytes } from "../../src/base/mac.ts";
import type { Packet } from "../../src/diagnose/firewall/packet.ts";
import { internetChecksum, pseudoHeaderSum } from "../../src/wire/checksum.ts";

const u16 = (value: number): number[] => [value >> 8, value & 255];

/** Where the checksum is of each protocol that has one. */
const checksumAt: Readonly<Record<number, number>> = { 1: 2, 6: 16, 17: 6, 58: 2 };

/** The octets of the transport header and what follows. `identifier`: of ICMP echo. */
function transport(packet: Packet, identifier: number): Uint8Array {
  const { protocol, sourcePort = 0, destinationPort = 0, tcpFlags = 0, icmp, payload = [] } = packet;
  const octets = Array.from(payload, (octet) => octet ?? 0);
  // One of those that may be.
  const ports = [sourcePort, destinationPort].flatMap((port) => u16(port === "ephemeral" ? 40000 : port));
  if (protocol === 17) return Uint8Array.from([...ports, ...u16(8 + octets.length), 0, 0, ...octets]);
  // RFC 9293 §3.1: numbers, an offset of five words, flags, window.
  if (protocol === 6) return Uint8Array.from([...ports, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, tcpFlags, 4, 0, 0, 0, 0, 0]);
  if (icmp !== undefined) return Uint8Array.from([icmp.type, icmp.code, 0, 0, ...u16(identifier), 0, 1]);
  return Uint8Array.from(octets);
}

/** The packet, with its length, and the frame that carries it. `identifier`: of IPv4's header, and of ICMP echo. */
export function framed(
  packet: Packet,
  identifier: number,
  [from, to]: readonly [MacAddress, MacAddress],
): { readonly packet: Packet; readonly frame: Uint8Array } {
  const { source, destination, protocol } = packet;
  const data = transport(packet, identifier);
  const at = checksumAt[protocol];
  if (at !== undefined) {
    const pseudo = protocol === 1 ? 0 : pseudoHeaderSum(source, destination, protocol, data.length);
    new DataView(data.buffer, data.byteOffset).setUint16(at, internetChecksum(data, pseudo));
  }
  const addresses = [...ipToBytes(source), ...ipToBytes(destination)];
  const isIpv4 = familyOf(source) === 4;
  const header = Uint8Array.from(
    isIpv4
      ? [0x45, 0, ...u16(20 + data.length), ...u16(identifier), 0, 0, 64, protocol, 0, 0, ...addresses]
      : [0x60, 0, 0, 0, ...u16(data.length), protocol, 64, ...addresses],
  );
  if (isIpv4) new DataView(header.buffer).setUint16(10, internetChecksum(header));
  const etherType = isIpv4 ? 0x0800 : 0x86dd;
  const payload = protocol === 6 || protocol === 17 ? {} : { payload: data };
  return {
    packet: { ...packet, ...payload, length: header.length + data.length },
    frame: Uint8Array.from([...macToBytes(to), ...macToBytes(from), ...u16(etherType), ...header, ...data]),
  };
}
