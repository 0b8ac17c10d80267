import { codes } from "./layout.ts";

/** What an IP packet carries, and the kinds of IPv6 extension header. IANA "Assigned Internet Protocol Numbers". */
export const ipProtocol = codes(8, {
  "hop-by-hop-options": 0,
  icmpv4: 1,
  igmp: 2,
  ipv4: 4,
  tcp: 6,
  udp: 17,
  ipv6: 41,
  "ipv6-routing": 43,
  "ipv6-fragment": 44,
  gre: 47,
  esp: 50,
  ah: 51,
  icmpv6: 58,
  "no-next-header": 59,
  "destination-options": 60,
});
export type IpProtocol = ReturnType<typeof ipProtocol.decode>;
