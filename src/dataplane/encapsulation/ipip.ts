import { cidrFamily } from "../../base/cidr.ts";
import { familyOf, type IpAddress } from "../../base/ip.ts";
import type { TunnelTransport } from "../../model/encapsulation.ts";
import { type IpTunnelSettings, ipTunnelProtocol } from "../../netlink/index.ts";
import type { NetworkSettings } from "../desired.ts";
import { tunnelName } from "../kernel-names.ts";
import { outerIpv6, outerTos, outerTtl, type TunnelDevice } from "./tunnel-device.ts";

/**
 * The tunnel of a layer-3 network towards one VTEP by IP in IP: RFC 2003 (IPv4 in IPv4), RFC 4213 (IPv6 in IPv4) and
 * RFC 2473 (both in IPv6). Packets say nothing of their network: a pair of VTEPs has one such tunnel for each inner
 * version. Over IPv4 the kernel has a kind for each inner version, of which sit can be told to take both.
 */
export function ipipTunnel(network: NetworkSettings, transport: TunnelTransport, peer: IpAddress): TunnelDevice {
  const carries = new Set(network.subnets.map(cidrFamily));
  const isIpv4 = familyOf(peer) === 4;
  const settings: IpTunnelSettings = {
    local: network.localVtep,
    remote: peer,
    ttl: outerTtl,
    protocol:
      carries.size === 2 ? ipTunnelProtocol.any : carries.has(4) ? ipTunnelProtocol.ipv4 : ipTunnelProtocol.ipv6,
    ...(isIpv4 ? { pathMtuDiscovery: true, tos: outerTos(network) } : outerIpv6(network)),
  };
  const kind = isIpv4 ? (carries.has(6) ? "sit" : "ipip") : "ip6tnl";
  return {
    name: tunnelName(transport, network.vni, peer),
    kind,
    module: isIpv4 ? kind : "ip6_tunnel",
    field: "ipTunnel",
    settings: settings as Readonly<Record<string, unknown>>,
    fixed: ["remote", "protocol"],
    isSetWhole: true,
    keepsMtu: false,
    byLinkNamespace: true,
  };
}
