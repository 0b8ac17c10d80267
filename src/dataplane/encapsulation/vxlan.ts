import { familyOf, type IpAddress } from "../../base/ip.ts";
import { tunnelName } from "../../model/names.ts";
import type { BridgePortSettings, Link, LinkSettings, VxlanSettings } from "../../netlink/index.ts";
import type { NetworkSettings } from "../desired.ts";
import { networkMac } from "../ownership.ts";

/** linux/if_link.h: `enum ifla_vxlan_df`. VTEPs must not fragment: RFC 7348 §4.3. */
const VXLAN_DF_SET = 1;

/**
 * The VXLAN tunnel of a network (RFC 7348). Entries come from the control plane alone: the device does not learn.
 */
function vxlanSettings(network: NetworkSettings): VxlanSettings {
  const local: VxlanSettings =
    familyOf(network.localVtep) === 4 ? { local: network.localVtep } : { local6: network.localVtep };
  return { vni: network.vni, ...local, port: network.port, learning: false, dontFragment: VXLAN_DF_SET };
}

/** What the tunnel is made with. The bridge and the port settings follow when it exists. */
export function tunnelLink(network: NetworkSettings): LinkSettings & { readonly name: string } {
  return {
    name: tunnelName(network.vni),
    mac: networkMac(network.vni),
    mtu: network.mtu,
    info: { vxlan: vxlanSettings(network) },
  };
}

/** Fields that the kernel does not change on a device that exists: another value takes another device. */
const fixedFields = ["vni", "port", "local", "local6"] as const satisfies readonly (keyof VxlanSettings)[];

/** Why the device cannot become what the network asks for; `undefined` when it can. */
export function tunnelConflict(network: NetworkSettings, link: Link): string | undefined {
  if (link.info.kind !== "vxlan") return `it is a ${link.info.kind ?? "plain"} device`;
  const wanted = vxlanSettings(network);
  const actual = link.info.vxlan ?? {};
  for (const field of fixedFields)
    if ((actual[field] ?? undefined) !== (wanted[field] ?? undefined))
      return `its ${field} is ${actual[field] ?? "unset"}, not ${wanted[field] ?? "unset"}`;
  return undefined;
}

/** Settings that differ and can be changed on the living device. */
export function tunnelChanges(network: NetworkSettings, link: Link): VxlanSettings | undefined {
  const wanted = vxlanSettings(network);
  const actual = link.info.vxlan ?? {};
  const changes: Partial<Record<keyof VxlanSettings, unknown>> = {};
  for (const field of ["learning", "dontFragment"] as const)
    if (actual[field] !== wanted[field]) changes[field] = wanted[field];
  return Object.keys(changes).length === 0 ? undefined : (changes as VxlanSettings);
}

/**
 * The tunnel as a port of the bridge: it never learns; it answers ARP and neighbour solicitations for endpoints that
 * the control plane named; broadcast, unknown unicast and multicast pass only if the network floods.
 */
export function tunnelPort(network: NetworkSettings): BridgePortSettings {
  const flood = network.flood === "head-end";
  return {
    learning: false,
    neighbourSuppress: network.arpSuppression,
    unicastFlood: flood,
    multicastFlood: flood,
    broadcastFlood: flood,
  };
}

/** One copy of each flooded frame goes to each of these. RFC 7432 §11: ingress replication. */
export function floodList(network: NetworkSettings, remoteVteps: readonly IpAddress[]): readonly IpAddress[] {
  return network.flood === "head-end" ? remoteVteps : [];
}
