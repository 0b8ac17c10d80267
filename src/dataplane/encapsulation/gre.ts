import { familyOf, type IpAddress } from "../../base/ip.ts";
import type { TunnelTransport } from "../../model/encapsulation.ts";
import { type GreSettings, greFlag } from "../../netlink/index.ts";
import type { NetworkSettings } from "../desired.ts";
import { tunnelName } from "../kernel-names.ts";
import { outerIpv6, outerTos, outerTtl, type TunnelDevice } from "./tunnel-device.ts";

/** The tunnel of a layer-3 network towards one VTEP by GRE with a key (RFC 2784, RFC 2890): the network's VNI. */
export function greTunnel(network: NetworkSettings, transport: TunnelTransport, peer: IpAddress): TunnelDevice {
  return keyedTunnel(network, transport, peer, network.vni, { ipv4: "gre", ipv6: "ip6gre" });
}

/** A tunnel by GRE with this key, of the kind for the underlay. */
export function keyedTunnel(
  network: NetworkSettings,
  transport: TunnelTransport,
  peer: IpAddress,
  key: number,
  kinds: { readonly ipv4: string; readonly ipv6: string },
): TunnelDevice {
  const isIpv4 = familyOf(peer) === 4;
  const settings: GreSettings = {
    inputFlags: greFlag.key,
    outputFlags: greFlag.key,
    inputKey: key,
    outputKey: key,
    local: network.localVtep,
    remote: peer,
    ttl: outerTtl,
    ...(isIpv4 ? { pathMtuDiscovery: true, tos: outerTos(network) } : outerIpv6(network)),
  };
  return {
    name: tunnelName(transport, network.vni, peer),
    kind: isIpv4 ? kinds.ipv4 : kinds.ipv6,
    module: isIpv4 ? "ip_gre" : "ip6_gre",
    field: "gre",
    settings: settings as Readonly<Record<string, unknown>>,
    fixed: ["inputKey", "outputKey", "remote"],
    isSetWhole: true,
    keepsMtu: false,
    byLinkNamespace: true,
  };
}
