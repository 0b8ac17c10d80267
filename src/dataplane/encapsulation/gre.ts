import { familyOf, type IpAddress } from "../../base/ip.ts";
import { networkMac } from "../../model/endpoint-mac.ts";
import { peerTunnelName, type Transport } from "../../model/names.ts";
import { type GreSettings, greFlag, ip6TunnelFlag } from "../../netlink/index.ts";
import type { NetworkSettings } from "../desired.ts";
import { outerTtl, type TunnelDevice } from "./tunnel-device.ts";

/** RFC 7637 §3.2: the key is the VSID and eight bits of FlowID, 0 where the sender does not tell flows apart. */
const nvgreKeyShift = 8;

/** The tunnel of a layer-3 network towards one VTEP by GRE with a key (RFC 2784, RFC 2890): the network's VNI. */
export function greTunnel(network: NetworkSettings, transport: Transport, peer: IpAddress): TunnelDevice {
  return keyedTunnel(network, transport, peer, network.vni, { ipv4: "gre", ipv6: "ip6gre" });
}

/** The tunnel of a layer-2 network towards one VTEP by NVGRE (RFC 7637): GRE for Ethernet frames whose key is the VSID. */
export function nvgreTunnel(network: NetworkSettings, transport: Transport, peer: IpAddress): TunnelDevice {
  const key = (network.vni << nvgreKeyShift) >>> 0;
  const device = keyedTunnel(network, transport, peer, key, { ipv4: "gretap", ipv6: "ip6gretap" });
  return { ...device, mac: networkMac(network.vni) };
}

function keyedTunnel(
  network: NetworkSettings,
  transport: Transport,
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
    // The encapsulation limit of RFC 2473 §4.1.1 would take 8 octets of each packet.
    ...(isIpv4 ? { pathMtuDiscovery: true } : { flags: ip6TunnelFlag.ignoreEncapsulationLimit }),
  };
  return {
    name: peerTunnelName(transport, network.vni, peer),
    kind: isIpv4 ? kinds.ipv4 : kinds.ipv6,
    field: "gre",
    settings: settings as Readonly<Record<string, unknown>>,
    fixed: ["inputKey", "outputKey", "remote"],
    changedWith: Object.keys(settings),
    keepsMtu: false,
    byLinkNamespace: true,
  };
}
