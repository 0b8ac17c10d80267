import { ipProtocol } from "../../wire/index.ts";

/** IANA protocol numbers of which a packet shows more than its addresses. */
export const protocols = { icmp: 1, tcp: 6, udp: 17, icmpv6: 58 } as const;

/** As /etc/protocols has them, where that is not the name in {@link ipProtocol}. */
const alsoNamed: Readonly<Record<string, number>> = {
  icmp: protocols.icmp,
  ipencap: 4,
  dccp: 33,
  "ipv6-icmp": protocols.icmpv6,
  comp: 108,
  sctp: 132,
  udplite: 136,
};

const numbers = new Map(Object.entries(alsoNamed));
for (let number = 0; number < 256; number++) {
  const name = ipProtocol.decode(number);
  if (typeof name === "string") numbers.set(name, number);
}

/** The number of a protocol by the name that programs print; `undefined`: there is none of this name. */
export const protocolNumber = (name: string): number | undefined =>
  /^\d+$/.test(name) ? Number(name) : numbers.get(name);
