import { cidr } from "../base/cidr.ts";
import { ip } from "../base/ip.ts";
import type { Vni } from "../model/index.ts";
import type { NetworkSettings } from "./desired.ts";

/** A layer-2 network over VXLAN as it is where nothing else is said. */
export function networkSettings(changes: Partial<NetworkSettings> = {}): NetworkSettings {
  return {
    name: "blue-net",
    tenant: "blue",
    vni: 100 as Vni,
    mode: "l2",
    subnets: [cidr("10.0.0.0/24"), cidr("fd00::/64")],
    mtu: 1450,
    transport: { encapsulation: "vxlan", port: 4789 },
    standby: [],
    localVtep: ip("192.0.2.1"),
    flood: "head-end",
    arpSuppression: true,
    learning: "control-plane",
    localLearning: false,
    vlanTags: false,
    ageing: 300,
    staticVteps: [],
    gateways: [],
    egress: false,
    egressBlocked: [],
    hostAccess: false,
    ...changes,
  };
}
