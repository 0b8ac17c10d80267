import type { IpAddress } from "../../base/ip.ts";
import type { TunnelTransport } from "../../model/encapsulation.ts";
import type { NetworkSettings } from "../desired.ts";
import { tunnelMac } from "../kernel-names.ts";
import { keyedTunnel } from "./gre.ts";
import type { TunnelDevice } from "./tunnel-device.ts";

/** RFC 7637 §3.2: the key is the VSID and eight bits of FlowID, 0 where the sender does not tell flows apart. */
const keyShift = 8;

/** The tunnel of a layer-2 network towards one VTEP by NVGRE (RFC 7637): GRE for Ethernet frames whose key is the VSID. */
export function nvgreTunnel(network: NetworkSettings, transport: TunnelTransport, peer: IpAddress): TunnelDevice {
  const key = (network.vni << keyShift) >>> 0;
  const device = keyedTunnel(network, transport, peer, key, { ipv4: "gretap", ipv6: "ip6gretap" });
  return { ...device, mac: tunnelMac(network.localVtep) };
}
