import { addressAt, type Cidr, cidr, cidrFamily, cidrOf, prefixLengthOf } from "../base/cidr.ts";
import { familyOf, type IpAddress, type IpFamily, ip } from "../base/ip.ts";
import { mac } from "../base/mac.ts";
import type { DesiredNetwork, LocalEndpoint, NetworkSettings } from "../dataplane/desired.ts";
import type { NodeDataplane } from "../dataplane/node-dataplane.ts";
import type { RemoteEndpoint, RemotePlace } from "../dataplane/remote-endpoints.ts";
import type { Floating } from "../dataplane/uplink/request.ts";
import {
  type Encapsulation,
  encapsulationNames,
  encapsulations,
  type NetworkMode,
  noTunnel,
  type TunnelTransport,
} from "../model/encapsulation.ts";
import type { Rate, Vni } from "../model/index.ts";
import { type Policy, type PolicyMember, parsePolicy } from "../model/policy/index.ts";
import { formatProblem } from "../model/problem.ts";
import type { PublishedPort } from "../model/published-port.ts";
import { blockGateway } from "../model/subnet.ts";
import { networkSettings, placeIn } from "./desired.ts";
import { sceneDevice, sceneVteps } from "./scene.ts";

/** What a network shall be, and what it becomes. */
export interface Scenario {
  readonly name: string;
  readonly first: (dataplane: NodeDataplane) => void;
  /** Changes of many kinds at once. */
  readonly later: (dataplane: NodeDataplane) => void;
}

/** A network that has nothing but a way to be carried. */
export interface PlainScenario extends Scenario {
  readonly encapsulation: Encapsulation;
  readonly mode: NetworkMode;
  readonly family: IpFamily;
}

/** A VTEP on the link of the host, by number from 2 on. */
export const vtep = (family: IpFamily, number: number): IpAddress =>
  ip(family === 4 ? `192.0.2.${number}` : `2001:db8::${number}`);

export const endpointId = (number: number): string => number.toString(16).padStart(12, "0");
const endpointMac = (number: number) => mac(`02:00:00:00:00:${number.toString(16).padStart(2, "0")}`);

/** An endpoint of this node. */
export function local(number: number, changes: Partial<LocalEndpoint> = {}): LocalEndpoint {
  return {
    id: endpointId(number),
    mac: endpointMac(number),
    addresses: [
      { address: ip(`10.0.0.${number}`), prefixLength: 24 },
      { address: ip(`fd00::${number}`), prefixLength: 64 },
    ],
    place: placeIn(`/run/netns/c${number}`),
    ...changes,
  };
}

/** An endpoint that has its place behind a VTEP. */
export function putRemote(
  network: DesiredNetwork,
  number: number,
  place: number,
  changes: Partial<RemoteEndpoint> = {},
): void {
  network.putRemote({
    id: endpointId(number),
    mac: endpointMac(number),
    ips: [ip(`10.0.0.${number}`), ip(`fd00::${number}`)],
    ...placeAt(network, place),
    ...changes,
  });
}

/** By number. */
function placeAt({ settings }: DesiredNetwork, number: number): RemotePlace {
  return { source: { name: "server", node: `h${number}` }, vtep: vtep(familyOf(settings.localVtep), number) };
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
      putRemote(network, 10, 2);
      putRemote(network, 11, 2);
      putRemote(network, 12, 3);
      network.putLocal(local(1));
      network.putLocal(local(2));
    },
    later(dataplane) {
      const network = dataplane.putNetwork({ ...settings, mtu: 1400, ...later });
      // One moves, one goes with its VTEP, one comes with another; one of this node's goes.
      putRemote(network, 10, 4);
      network.removeRemote(endpointId(12));
      putRemote(network, 13, 5);
      network.removeLocal(endpointId(2));
    },
  };
}

/** Addresses of the underlay that stand for endpoints here: one comes, one goes, one changes sides. */
function floating(name: string, family: IpFamily): Scenario {
  const { first, later } = bridged(name, family, { gateways, egress: true, hostAccess: true });
  const of = (outside: string, inside: string, isAnnounced = true): Floating => ({
    outside: ip(outside),
    inside: ip(inside),
    isAnnounced,
  });
  return {
    name,
    first(dataplane) {
      first(dataplane);
      const network = dataplane.networks.get("blue-net");
      network?.setFloating(endpointId(1), [of("192.0.2.50", "10.0.0.1"), of("2001:db8::50", "fd00::1")]);
      network?.setFloating(endpointId(2), [of("192.0.2.51", "10.0.0.2"), of("198.51.100.7", "10.0.0.3", false)]);
    },
    later(dataplane) {
      later(dataplane);
      const network = dataplane.networks.get("blue-net");
      network?.setFloating(endpointId(1), [of("192.0.2.51", "10.0.0.1"), of("2001:db8::50", "fd00::1", false)]);
      network?.removeHere(endpointId(2));
    },
  };
}

/** Ports of the host that lead to endpoints here: one comes, one goes, one leads elsewhere. */
function publishing(name: string, changes: Partial<NetworkSettings>): Scenario {
  const { first, later } = bridged(name, 4, { gateways, ...changes });
  const web: PublishedPort = { protocol: "tcp", port: 8080, to: 80 };
  return {
    name,
    first(dataplane) {
      first(dataplane);
      const network = dataplane.networks.get("blue-net");
      network?.putLocal(local(1, { published: [web, { protocol: "udp", port: 53, to: 53, address: sceneVteps[4] }] }));
      network?.putLocal(local(2, { published: [{ protocol: "sctp", port: 7000, to: 7001 }] }));
    },
    later(dataplane) {
      later(dataplane);
      const published: PublishedPort[] = [
        { ...web, to: 8000 },
        { protocol: "udp", port: 53, to: 53, address: sceneVteps[6] },
      ];
      dataplane.networks.get("blue-net")?.putLocal(local(1, { published }));
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
      putRemote(network, 1, 3);
      putRemote(network, 2, 2);
    },
    later(dataplane) {
      later(dataplane);
      dataplane.networks.get("blue-net")?.removeRemote(endpointId(1));
    },
  };
}

/**
 * One endpoint stands by here and then has its place here; of two others one is about to leave and leaves, and one has left and is
 * forwarded to no more.
 */
function migrating(name: string, changes: Partial<NetworkSettings>): Scenario {
  const { first, later } = bridged(name, 4, changes);
  const [arriving, leaving, left] = [31, 32, 33] as const;
  return {
    name,
    first(dataplane) {
      first(dataplane);
      const network = dataplane.putNetwork(networkSettings({ localVtep: sceneVteps[4], ...changes }));
      putRemote(network, arriving, 3);
      network.putLocal(local(arriving, { place: placeIn("/run/netns/c1", "net1", 2), standsBy: true }));
      network.putLocal(local(leaving, { place: placeIn("/run/netns/c1", "net2", 3) }));
      network.setForwarded(endpointId(leaving), endpointMac(leaving));
      putRemote(network, left, 2);
      network.setForwarded(endpointId(left), endpointMac(left));
    },
    later(dataplane) {
      later(dataplane);
      const network = dataplane.networks.get("blue-net");
      if (network === undefined) return;
      network.removeRemote(endpointId(arriving));
      network.putLocal(local(arriving, { place: placeIn("/run/netns/c1", "net1", 2) }));
      putRemote(network, leaving, 3);
      network.removeLocal(endpointId(leaving));
      network.setForwarded(endpointId(left), undefined);
    },
  };
}

/** Endpoints send by devices of the host; one of these is given on from one endpoint to another. */
function byDevices(name: string): Scenario {
  const { first, later } = bridged(name, 4, {});
  return {
    name,
    first(dataplane) {
      first(dataplane);
      const network = dataplane.networks.get("blue-net");
      network?.putLocal(local(21, { place: { kind: "device", device: "vm21", tap: { isMultiQueue: false } } }));
      network?.putLocal(local(22, { place: { kind: "device", device: sceneDevice } }));
    },
    later(dataplane) {
      later(dataplane);
      const network = dataplane.networks.get("blue-net");
      for (const number of [21, 22]) network?.removeHere(endpointId(number));
      network?.putLocal(
        local(23, { place: { kind: "device", device: "vm23", tap: { owner: 7, isMultiQueue: true } } }),
      );
      network?.putLocal(local(24, { place: { kind: "device", device: sceneDevice } }));
    },
  };
}

/** Engines are to move the interfaces of endpoints into sandboxes of theirs: of one that goes, one that stays and one that comes. */
function forEngines(name: string): Scenario {
  const { first, later } = bridged(name, 4, {});
  return {
    name,
    first(dataplane) {
      first(dataplane);
      const network = dataplane.networks.get("blue-net");
      for (const number of [21, 22]) network?.putLocal(local(number, { place: { kind: "sandbox", netns: "" } }));
    },
    later(dataplane) {
      later(dataplane);
      const network = dataplane.networks.get("blue-net");
      network?.removeHere(endpointId(21));
      for (const number of [22, 23])
        network?.putLocal(local(number, { place: { kind: "sandbox", netns: "/run/docker/netns/a" } }));
    },
  };
}

/** Nodes route into the network from others: one that has nothing in it, one that loses what it has, and one that comes. */
function besideRouters(name: string, transport: TunnelTransport): Scenario {
  const { first, later } = bridged(name, 4, { transport, gateways });
  const route = (dataplane: NodeDataplane, number: number, routes: boolean): void =>
    dataplane.networks.get("blue-net")?.setRouter(vtep(4, number), routes);
  return {
    name,
    first(dataplane) {
      first(dataplane);
      for (const number of [3, 6]) route(dataplane, number, true);
    },
    later(dataplane) {
      later(dataplane);
      route(dataplane, 6, false);
      for (const number of [4, 7]) route(dataplane, number, true);
    },
  };
}

/**
 * Networks of three tenants: of the first one a layer-2 network with peers of the two others, and a layer-3 network with one of these. Later one
 * peering ends, one begins, and a peer has other subnets.
 */
function peered(name: string): Scenario {
  const { first, later } = bridged(name, 4, { gateways });
  const pods = networkSettings({
    name: "blue-pods",
    vni: 101 as Vni,
    mode: "l3",
    subnets: [cidr("10.8.0.0/16"), cidr("fd08::/48")],
  });
  const red = networkSettings({
    name: "red-net",
    tenant: "red",
    vni: 200 as Vni,
    subnets: [cidr("10.20.0.0/24"), cidr("fd20::/64")],
    gateways: [
      { address: ip("10.20.0.254"), prefixLength: 24 },
      { address: ip("fd20::fe"), prefixLength: 64 },
    ],
  });
  const green = networkSettings({
    name: "green-net",
    tenant: "green",
    vni: 300 as Vni,
    mode: "l3",
    subnets: [cidr("10.30.0.0/24")],
  });
  const greenLater = { ...green, subnets: [cidr("10.31.0.0/24"), cidr("fd31::/64")] };
  const asPeer = ({ name, tenant, subnets }: NetworkSettings) => ({ network: name, tenant, subnets });
  const put = (dataplane: NodeDataplane, settings: NetworkSettings, ...peers: readonly NetworkSettings[]) =>
    dataplane.putNetwork({ ...settings, peers: peers.map(asPeer) });
  const blue = (dataplane: NodeDataplane): NetworkSettings =>
    dataplane.networks.get("blue-net")?.settings ?? networkSettings();
  return {
    name,
    first(dataplane) {
      first(dataplane);
      const front = blue(dataplane);
      put(dataplane, front, green, red);
      putBlock(put(dataplane, pods, red), "10.8.0.64/26", 2);
      putRemote(put(dataplane, red, pods, front), 30, 3, { ips: [ip("10.20.0.30"), ip("fd20::30")] });
      putBlock(put(dataplane, green, front), "10.30.0.64/26", 2);
    },
    later(dataplane) {
      later(dataplane);
      const front = blue(dataplane);
      put(dataplane, front, greenLater);
      put(dataplane, pods, greenLater, red);
      put(dataplane, red, pods);
      dataplane.networks.get("green-net")?.removeBlock(cidr("10.30.0.64/26"));
      putBlock(put(dataplane, greenLater, front, pods), "10.31.0.64/26", 2);
    },
  };
}

/** Policies of the tenant, some of which change while endpoints come and go. */
function policed(name: string): Scenario {
  const { first, later } = bridged(name, 4, {});
  const member = (number: number, app: string): PolicyMember => ({
    id: endpointId(number),
    tenant: "blue",
    network: "blue-net",
    ips: [ip(`10.0.0.${number}`), ip(`fd00::${number}`)],
    labels: { app },
  });
  const allows = (peer: object, port: number): object => ({
    direction: "ingress",
    action: "allow",
    peers: [peer],
    ports: [{ protocol: "tcp", ports: [port] }],
  });
  const web = (...rules: object[]): Policy => policy({ name: "web", tenant: "blue", endpoints: "app=web", rules });
  return {
    name,
    first(dataplane) {
      first(dataplane);
      const network = dataplane.networks.get("blue-net");
      network?.putLocal(local(1, { labels: { app: "web" } }));
      for (const [number, app] of [
        [1, "web"],
        [2, "db"],
        [10, "front"],
        [12, "web"],
      ] as const)
        dataplane.policies.putMember(member(number, app));
      dataplane.policies.put(web(allows({ endpoints: "app=front" }, 80), allows({ subnet: "192.0.2.0/24" }, 443)));
      dataplane.policies.put(
        policy({
          name: "quiet",
          tenant: "blue",
          endpoints: "app=db",
          rules: [{ direction: "egress", action: "deny", peers: [{ endpoints: "app=web" }] }],
        }),
      );
    },
    later(dataplane) {
      later(dataplane);
      dataplane.policies.put(web(allows({ endpoints: "app=new" }, 80), allows({ endpoints: "app=front" }, 81)));
      dataplane.policies.remove("quiet");
      dataplane.policies.removeMember(endpointId(12));
      dataplane.policies.removeMember(endpointId(2));
      dataplane.policies.putMember(member(13, "new"));
      dataplane.policies.putMember(member(10, "other"));
    },
  };
}

function policy(draft: object): Policy {
  const parsed = parsePolicy(draft);
  if (!parsed.ok) throw new TypeError(parsed.error.map(formatProblem).join("; "));
  return parsed.value;
}

/** `transport`: absent where nodes share a link and there is no tunnel. */
function routed(
  name: string,
  family: IpFamily,
  transport: TunnelTransport | undefined,
  changes: Partial<NetworkSettings> = {},
  changed: Partial<NetworkSettings> = {},
): Scenario {
  const { transport: _usual, ...plain } = networkSettings({
    mode: "l3",
    localVtep: sceneVteps[family],
    subnets: [],
    ...changes,
  });
  const settings = transport === undefined ? plain : { ...plain, transport };
  return {
    name,
    first(dataplane) {
      const network = dataplane.putNetwork(settings);
      setSubnets(network, "10.8.0.0/16", "fd08::/48");
      setOwnBlocks(network, "10.8.0.0/26", "fd08::/64");
      putBlock(network, "10.8.0.64/26", 2);
      putBlock(network, "10.8.0.128/26", 2);
      putBlock(network, "fd08:0:0:2::/64", 2);
      putBlock(network, "fd08:0:0:3::/64", 3);
      network.putLocal(localInBlocks(network, 1));
    },
    later(dataplane) {
      const network = dataplane.networks.get("blue-net") as DesiredNetwork;
      set(network, { mtu: 1400, ...changed });
      putBlock(network, "10.8.0.64/26", 4);
      network.removeBlock(cidr("10.8.0.128/26"));
      network.removeBlock(cidr("fd08:0:0:3::/64"));
      putBlock(network, "fd08:0:0:5::/64", 5);
    },
  };
}

/** Those of the prefixes that the network can carry. */
function carriedBy({ settings: { transport, localVtep } }: DesiredNetwork, prefixes: readonly string[]): Cidr[] {
  const all = prefixes.map((prefix) => cidr(prefix));
  // Without a tunnel the gateway of a route is the VTEP, which Linux wants of the same IP version for IPv6.
  return transport === undefined ? all.filter((each) => cidrFamily(each) === familyOf(localVtep)) : all;
}

export function set(network: DesiredNetwork, changes: Partial<NetworkSettings>): void {
  network.setSettings({ ...network.settings, ...changes });
}

export function setSubnets(network: DesiredNetwork, ...prefixes: readonly string[]): void {
  set(network, { subnets: carriedBy(network, prefixes) });
}

/** Blocks of this node, each with its gateway. */
export function setOwnBlocks(network: DesiredNetwork, ...prefixes: readonly string[]): void {
  const blocks = carriedBy(network, prefixes);
  const isDirect = network.settings.transport === undefined;
  set(network, {
    gateways: blocks.map((each) => ({ address: blockGateway(each), prefixLength: prefixLengthOf(each) })),
  });
  network.setLocalBlocks(blocks.map((each) => ({ cidr: each, isDirect })));
}

/** A block that has its place behind a VTEP. */
export function putBlock(network: DesiredNetwork, prefix: string, place: number): void {
  const isDirect = network.settings.transport === undefined;
  const common = { ...placeAt(network, place), isDirect, isFromLink: isDirect };
  for (const each of carriedBy(network, [prefix])) network.putBlock({ cidr: each, ...common });
}

/** An endpoint of this node with an address of each block. */
export function localInBlocks({ settings: { gateways } }: DesiredNetwork, number: number): LocalEndpoint {
  const addresses = gateways.map(({ address, prefixLength }) => ({
    address: addressAt(cidrOf(address, prefixLength), BigInt(number + 4)),
    prefixLength,
  }));
  return local(number, { addresses, gateways: gateways.map(({ address }) => address) });
}

/** Absent where there is no tunnel. */
export function transportOf(encapsulation: Encapsulation): TunnelTransport | undefined {
  return encapsulation === noTunnel ? undefined : { encapsulation, port: encapsulations[encapsulation].port };
}

function ofEncapsulation(encapsulation: Encapsulation, mode: NetworkMode, family: IpFamily): PlainScenario {
  const name = `${encapsulation} ${mode} over IPv${family}`;
  const transport = transportOf(encapsulation);
  const way = { encapsulation, mode, family };
  if (mode === "l3" || transport === undefined) return { ...routed(name, family, transport), ...way };
  return { ...bridged(name, family, { transport }), ...way };
}

export const gateways = [
  { address: ip("10.0.0.254"), prefixLength: 24 },
  { address: ip("fd00::fe"), prefixLength: 64 },
];
const rate = (text: string): Rate => text as Rate;
const vxlan = (port: number): TunnelTransport => ({ encapsulation: "vxlan", port });

/** Each encapsulation in each mode that it has, over both IP versions. */
export const plainScenarios: readonly PlainScenario[] = encapsulationNames.flatMap((encapsulation) =>
  encapsulations[encapsulation].modes.flatMap((mode) =>
    ([4, 6] as const).map((family) => ofEncapsulation(encapsulation, mode, family)),
  ),
);

/** What networks have beside. */
export const specialScenarios: readonly Scenario[] = [
  bridged(
    "bandwidth of network and endpoints",
    4,
    {
      bandwidth: { send: { limit: rate("100Mbit") } },
      endpointBandwidth: { send: { limit: rate("20Mbit") }, receive: { limit: rate("30Mbit") } },
    },
    {
      bandwidth: { send: { limit: rate("1Gbit") } },
      endpointBandwidth: { send: { limit: rate("20Mbit"), guarantee: rate("10Mbit") } },
    },
  ),
  bridged(
    "gateway, egress and host access",
    4,
    { gateways, egress: true, hostAccess: true },
    { egressBlocked: [cidr("203.0.113.0/24")] },
  ),
  ...(["vxlan", "gre"] as const).map((encapsulation) =>
    routed(
      `in the host's own namespace, by ${encapsulation}`,
      4,
      transportOf(encapsulation),
      { placement: "host", egress: true, hostAccess: true },
      { egressBlocked: [cidr("203.0.113.0/24")] },
    ),
  ),
  floating("floating addresses", 4),
  publishing("published ports", {}),
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
  migrating("endpoints that are moved, through one tunnel", {}),
  migrating("endpoints that are moved, through a mesh", { transport: { encapsulation: "geneve", port: 6081 } }),
  byDevices("taps and interfaces of the host"),
  forEngines("interfaces that engines move"),
  peered("peers of other tenants"),
  policed("policies"),
  besideRouters("nodes that route into it, through one tunnel", vxlan(4789)),
  besideRouters("nodes that route into it, through a mesh", { encapsulation: "geneve", port: 6081 }),
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
