import { type Cidr, cidr, cidrFamily, type InterfaceAddress } from "../base/cidr.ts";
import { familyOf, type IpAddress, type IpFamily, ip } from "../base/ip.ts";
import { mac } from "../base/mac.ts";
import type { DesiredNetwork, LocalEndpoint, NetworkSettings } from "../dataplane/desired.ts";
import type { NodeDataplane } from "../dataplane/node-dataplane.ts";
import {
  type Encapsulation,
  encapsulationNames,
  encapsulations,
  type NetworkMode,
  noTunnel,
  type TunnelTransport,
} from "../model/encapsulation.ts";
import { networkSettings } from "./desired.ts";
import { sceneVteps } from "./scene.ts";

/** What a network shall be, and what it becomes. */
export interface Scenario {
  readonly name: string;
  readonly first: (dataplane: NodeDataplane) => void;
  /** Changes of many kinds at once. */
  readonly later: (dataplane: NodeDataplane) => void;
}

/** A VTEP on the link of the host, by number from 2 on. */
const vtep = (family: IpFamily, number: number): IpAddress =>
  ip(family === 4 ? `192.0.2.${number}` : `2001:db8::${number}`);

const endpointId = (number: number): string => number.toString(16).padStart(12, "0");
const endpointMac = (number: number) => mac(`02:00:00:00:00:${number.toString(16).padStart(2, "0")}`);

function local(number: number, changes: Partial<LocalEndpoint> = {}): LocalEndpoint {
  return {
    id: endpointId(number),
    mac: endpointMac(number),
    addresses: [
      { address: ip(`10.0.0.${number}`), prefixLength: 24 },
      { address: ip(`fd00::${number}`), prefixLength: 64 },
    ],
    netns: `/run/netns/c${number}`,
    interface: "eth0",
    inode: 0,
    ...changes,
  };
}

function remote(network: DesiredNetwork, number: number, place: IpAddress): void {
  network.putRemote({
    id: endpointId(number),
    mac: endpointMac(number),
    ips: [ip(`10.0.0.${number}`), ip(`fd00::${number}`)],
    source: { name: "server", node: `h${number}` },
    vtep: place,
  });
}

function bridged(
  name: string,
  family: IpFamily,
  changes: Partial<NetworkSettings>,
  later: Partial<NetworkSettings> = {},
  listed: readonly IpAddress[] = [],
): Scenario {
  const settings = networkSettings({ localVtep: sceneVteps[family], ...changes });
  return {
    name,
    first(dataplane) {
      const network = dataplane.putNetwork(settings);
      network.setListed(listed);
      remote(network, 10, vtep(family, 2));
      remote(network, 11, vtep(family, 2));
      remote(network, 12, vtep(family, 3));
      network.putLocal(local(1));
      network.putLocal(local(2));
    },
    later(dataplane) {
      const network = dataplane.putNetwork({ ...settings, mtu: 1400, ...later });
      // One moves, one goes with its VTEP, one comes with another; one of this node's goes.
      remote(network, 10, vtep(family, 4));
      network.removeRemote(endpointId(12));
      remote(network, 13, vtep(family, 5));
      network.removeLocal(endpointId(2));
    },
  };
}

/** The endpoints of both ports move: the place of one is elsewhere yet, that of the other already. */
function moving(name: string, family: IpFamily, changes: Partial<NetworkSettings>): Scenario {
  const { first, later } = bridged(name, family, changes);
  return {
    name,
    first(dataplane) {
      first(dataplane);
      const network = dataplane.putNetwork(networkSettings({ localVtep: sceneVteps[family], ...changes }));
      remote(network, 1, vtep(family, 3));
      remote(network, 2, vtep(family, 2));
    },
    later(dataplane) {
      later(dataplane);
      dataplane.networks.get("blue-net")?.removeRemote(endpointId(1));
    },
  };
}

/** `transport`: absent where nodes share a link and there is no tunnel. */
function routed(name: string, family: IpFamily, transport: TunnelTransport | undefined): Scenario {
  const isDirect = transport === undefined;
  // Without a tunnel the gateway of a route is the VTEP, which Linux wants of the same IP version for IPv6.
  const isCarried = (each: Cidr): boolean => !isDirect || cidrFamily(each) === family;
  const isUsed = ({ address }: InterfaceAddress): boolean => !isDirect || familyOf(address) === family;
  const subnets = [cidr("10.8.0.0/16"), cidr("fd08::/48")].filter(isCarried);
  const own: readonly Cidr[] = [cidr("10.8.0.0/26"), cidr("fd08::/64")].filter(isCarried);
  const gateways = [
    { address: ip("10.8.0.1"), prefixLength: 26 },
    { address: ip("fd08::1"), prefixLength: 64 },
  ].filter(isUsed);
  const { transport: _usual, ...plain } = networkSettings({
    mode: "l3",
    localVtep: sceneVteps[family],
    subnets,
    gateways,
  });
  const settings = isDirect ? plain : { ...plain, transport };
  const addresses = [
    { address: ip("10.8.0.5"), prefixLength: 26 },
    { address: ip("fd08::5"), prefixLength: 64 },
  ].filter(isUsed);
  const put = (network: DesiredNetwork, prefix: Cidr, number: number): void => {
    if (isCarried(prefix))
      network.putBlock({
        cidr: prefix,
        source: { name: "server", node: `h${number}` },
        vtep: vtep(family, number),
        isDirect,
        isFromLink: isDirect,
      });
  };
  return {
    name,
    first(dataplane) {
      const network = dataplane.putNetwork(settings);
      network.setLocalBlocks(own.map((each) => ({ cidr: each, isDirect })));
      put(network, cidr("10.8.0.64/26"), 2);
      put(network, cidr("10.8.0.128/26"), 2);
      put(network, cidr("fd08:0:0:2::/64"), 2);
      put(network, cidr("fd08:0:0:3::/64"), 3);
      network.putLocal(local(1, { addresses, gateways: gateways.map(({ address }) => address) }));
    },
    later(dataplane) {
      const network = dataplane.putNetwork({ ...settings, mtu: 1400 });
      put(network, cidr("10.8.0.64/26"), 4);
      network.removeBlock(cidr("10.8.0.128/26"));
      network.removeBlock(cidr("fd08:0:0:3::/64"));
      put(network, cidr("fd08:0:0:5::/64"), 5);
    },
  };
}

function transportOf(encapsulation: Encapsulation): TunnelTransport | undefined {
  return encapsulation === noTunnel ? undefined : { encapsulation, port: encapsulations[encapsulation].port };
}

function ofEncapsulation(encapsulation: Encapsulation, mode: NetworkMode, family: IpFamily): Scenario {
  const name = `${encapsulation} ${mode} over IPv${family}`;
  const transport = transportOf(encapsulation);
  const vni = networkSettings().vni;
  if (mode === "l2") return bridged(name, family, { ...(transport === undefined ? {} : { transport }), vni });
  return routed(name, family, transport);
}

const gateways = [
  { address: ip("10.0.0.254"), prefixLength: 24 },
  { address: ip("fd00::fe"), prefixLength: 64 },
];
const vxlan = (port: number): TunnelTransport => ({ encapsulation: "vxlan", port });

/** Each encapsulation in each mode that it has, over both IP versions. */
export const plainScenarios: readonly Scenario[] = encapsulationNames.flatMap((encapsulation) =>
  encapsulations[encapsulation].modes.flatMap((mode) =>
    ([4, 6] as const).map((family) => ofEncapsulation(encapsulation, mode, family)),
  ),
);

/** What networks have beside. */
export const specialScenarios: readonly Scenario[] = [
  bridged(
    "gateway, egress and host access",
    4,
    { gateways, egress: true, hostAccess: true },
    { egressBlocked: [cidr("203.0.113.0/24")] },
  ),
  bridged("learning at ports, tags, no suppression", 4, { localLearning: true, vlanTags: true, arpSuppression: false }),
  bridged(
    "flood and learn with listed peers",
    4,
    { learning: "data-plane", arpSuppression: false, flood: "listed" },
    {},
    [vtep(4, 7), vtep(4, 8)],
  ),
  moving("endpoints that move, through one tunnel", 4, {}),
  moving("endpoints that move, through a mesh", 4, { transport: { encapsulation: "geneve", port: 6081 } }),
  bridged("multicast", 4, {
    learning: "data-plane",
    arpSuppression: false,
    multicast: { address: ip("239.1.1.1"), ttl: 1, interfaceIndex: 2 },
  }),
  bridged("from one port to another", 4, { standby: [vxlan(8472)] }, { transport: vxlan(8472), standby: [] }),
  bridged(
    "from a shared tunnel to a mesh",
    4,
    {},
    { transport: { encapsulation: "geneve", port: 6081 }, standby: [vxlan(4789)] },
  ),
  bridged(
    "from a mesh to a shared tunnel",
    6,
    { transport: { encapsulation: "geneve", port: 6081 } },
    { transport: vxlan(4789) },
  ),
];
