import { familyOf, type IpAddress } from "../../base/ip.ts";
import type { TunnelTransport } from "../../model/encapsulation.ts";
import type { VxlanSettings } from "../../netlink/index.ts";
import type { NetworkSettings } from "../desired.ts";
import { tunnelMac, tunnelName } from "../kernel-names.ts";
import { outerTos, type TunnelDevice } from "./tunnel-device.ts";

/** linux/if_link.h: `enum ifla_vxlan_df`. VTEPs must not fragment: RFC 7348 §4.3. */
const VXLAN_DF_SET = 1;

/** The kernel's own default of IFLA_VXLAN_AGEING where learning is off and nothing ages. */
const unusedAgeing = 300;

/**
 * The VXLAN tunnel of a network (RFC 7348). Entries come from the control plane alone, unless the network asks for
 * flood-and-learn; a multicast group is the kernel's default destination, which the underlay interface joins.
 */
export function vxlanTunnel(network: NetworkSettings, transport: TunnelTransport, peer: IpAddress): TunnelDevice {
  const isIpv4 = familyOf(network.localVtep) === 4;
  const learns = network.learning === "data-plane";
  const { multicast } = network;
  const settings: VxlanSettings = {
    vni: network.vni,
    ...(isIpv4 ? { local: network.localVtep } : { local6: network.localVtep }),
    port: transport.port,
    learning: learns,
    ageing: learns ? network.ageing : unusedAgeing,
    dontFragment: VXLAN_DF_SET,
    tos: outerTos(network),
    ...(multicast === undefined
      ? {}
      : {
          ...(isIpv4 ? { group: multicast.address } : { group6: multicast.address }),
          link: multicast.interfaceIndex,
          // 0: one hop to a group, and what the route says to a VTEP.
          ttl: multicast.ttl === 1 ? 0 : multicast.ttl,
        }),
  };
  return {
    name: tunnelName(transport, network.vni, peer),
    kind: "vxlan",
    module: "vxlan",
    field: "vxlan",
    settings: settings as Readonly<Record<string, unknown>>,
    fixed: ["vni", "port", "group", "group6", "link"],
    isSetWhole: false,
    mac: tunnelMac(network.localVtep),
    keepsMtu: true,
    byLinkNamespace: false,
  };
}
