import { familyOf, type IpAddress } from "../../base/ip.ts";
import type { TunnelTransport } from "../../model/encapsulation.ts";
import type { GeneveSettings } from "../../netlink/index.ts";
import type { NetworkSettings } from "../desired.ts";
import { tunnelMac, tunnelName } from "../kernel-names.ts";
import { outerTos, type TunnelDevice } from "./tunnel-device.ts";

/** linux/if_link.h: `enum ifla_geneve_df`. */
const GENEVE_DF_SET = 1;

/**
 * The Geneve tunnel of a network towards one VTEP (RFC 8926). Linux has no table of VTEPs for a Geneve device: it has
 * one remote, or takes remote and VNI from each packet's metadata, and then it takes in every VNI. One for each
 * VTEP keeps networks apart, and takes packets of its VTEP alone.
 */
export function geneveTunnel(network: NetworkSettings, transport: TunnelTransport, peer: IpAddress): TunnelDevice {
  const settings: GeneveSettings = {
    vni: network.vni,
    ...(familyOf(peer) === 4 ? { remote: peer } : { remote6: peer }),
    port: transport.port,
    dontFragment: GENEVE_DF_SET,
    tos: outerTos(network),
  };
  return {
    name: tunnelName(transport, network.vni, peer),
    kind: "geneve",
    module: "geneve",
    field: "geneve",
    settings: settings as Readonly<Record<string, unknown>>,
    fixed: ["vni", "remote", "remote6", "port"],
    isSetWhole: false,
    mac: tunnelMac(network.localVtep),
    keepsMtu: false,
    byLinkNamespace: false,
  };
}
