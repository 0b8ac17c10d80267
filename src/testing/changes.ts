import { cidr } from "../base/cidr.ts";
import { familyOf, type IpAddress, ip } from "../base/ip.ts";
import { mac } from "../base/mac.ts";
import type { DesiredNetwork, NetworkSettings, RemoteBlock } from "../dataplane/desired.ts";
import {
  defaultEncapsulation,
  type Encapsulation,
  encapsulations,
  encapsulationsThat,
  type NetworkMode,
  noTunnel,
} from "../model/encapsulation.ts";
import { placeIn } from "./desired.ts";
import {
  endpointId,
  gateways,
  local,
  localInBlocks,
  type PlainScenario,
  putBlock,
  putRemote,
  set,
  setOwnBlocks,
  setSubnets,
  transportOf,
  vtep,
} from "./scenarios.ts";

type Change = (network: DesiredNetwork) => void;
/** Single changes by what they are, each after the one before. */
export type Changes = Readonly<Record<string, Change>>;

const setting =
  (changes: Partial<NetworkSettings>): Change =>
  (network) =>
    set(network, changes);

/** Devices let pass what endpoints send, and no more. */
const oneMtu =
  (mtu: number): Change =>
  (network) => {
    const { deviceMtu: _, ...rest } = network.settings;
    network.setSettings({ ...rest, mtu });
  };

/**
 * What the network of a scenario goes through after its first state; unless `isAll`, what has nothing to do with VTEPs and
 * tunnels is left to the encapsulations that are used most.
 */
export function changesOf(scenario: PlainScenario, isAll: boolean): Changes {
  const isWhole = isAll || commonEncapsulations.includes(scenario.encapsulation);
  const { joinsGroups } = encapsulations[scenario.encapsulation];
  if (scenario.mode === "l2")
    return {
      ...ofEndpoints,
      ...(isWhole ? ofBridges : {}),
      ...(joinsGroups ? ofGroups(scenario) : {}),
      ...ofTransports(scenario),
    };
  return { ...ofBlocks, ...(isWhole ? ofUplink : {}), ...ofTransports(scenario), ...(isWhole ? ofSubnets : {}) };
}

const commonEncapsulations: readonly Encapsulation[] = [defaultEncapsulation, noTunnel];

const ofEndpoints: Changes = {
  "an endpoint more": (network) => putRemote(network, 13, 3),
  "an endpoint moves": (network) => putRemote(network, 10, 3),
  "an endpoint moves to another node": (network) => putRemote(network, 11, 4),
  "an endpoint has other addresses": (network) => putRemote(network, 11, 4, { ips: [ip("10.0.0.99")] }),
  "an endpoint has another MAC": (network) => putRemote(network, 11, 4, { mac: mac("02:00:00:00:00:99") }),
  "an endpoint has the address of another": (network) => {
    putRemote(network, 14, 4, { ips: [ip("10.0.0.13")] });
    network.removeRemote(endpointId(13));
  },
  "an endpoint has a port here, too": (network) =>
    network.putLocal(local(12, { place: placeIn("/run/netns/c2", "eth1") })),
  "an endpoint is here": (network) => network.removeRemote(endpointId(12)),
  "an endpoint is elsewhere, too": (network) => putRemote(network, 2, 4),
  "an endpoint is elsewhere": (network) => network.removeLocal(endpointId(2)),
  "endpoints leave": (network) => {
    for (const number of [11, 14]) network.remove(endpointId(number));
  },
};

const ofBridges: Changes = {
  "a smaller MTU": setting({ mtu: 1300 }),
  "an MTU too small for IPv6": setting({ mtu: 1000 }),
  "an MTU as before": setting({ mtu: 1450 }),
  "a larger MTU passes": setting({ deviceMtu: 1480 }),
  "the node is a gateway": setting({ gateways }),
  "the larger MTU is sent": oneMtu(1480),
  "a way out": setting({ egress: true }),
  "a way out, but for some": setting({ egressBlocked: [cidr("203.0.113.0/24")] }),
  "the host reaches endpoints": setting({ hostAccess: true }),
  "less is sent than passes": setting({ mtu: 1450, deviceMtu: 1480 }),
  "an endpoint more, where there is a gateway": (network) => network.putLocal(local(2)),
  "no more passes than is sent": oneMtu(1450),
  "nothing is flooded": setting({ flood: "none" }),
  "no suppression": setting({ flood: "head-end", arpSuppression: false }),
  "what is for nobody is dropped": setting({ floodsUnknown: false }),
  "learning at ports": setting({ localLearning: true }),
  "any addresses": setting({ antiSpoof: false }),
  "any number of frames to groups and to nobody": setting({ stormControl: { port: 0, network: 0 } }),
  "own addresses, and those that nobody has": setting({ antiSpoof: true }),
  "nothing is learned": setting({ localLearning: false }),
  "a limit again": setting({ floodsUnknown: true, stormControl: { port: 0, network: 7 } }),
  "tags, and faster ageing": setting({ vlanTags: true, ageing: 60 }),
  "the node answers DHCP": setting({ answersDhcp: true }),
  "the node answers at its own address, too": setting({ answersAtNodeAddress: true }),
  "listed VTEPs": (network) => network.setListed(placesOf(network, 3, 9)),
  "only those get what is flooded": setting({ flood: "listed" }),
  "other listed VTEPs": (network) => network.setListed(placesOf(network, 8, 9)),
  "nodes route into it": (network) => {
    for (const vtep of placesOf(network, 2, 8, 10)) network.setRouter(vtep, true);
  },
  "a node routes into it no more": (network) => {
    for (const vtep of placesOf(network, 8, 10)) network.setRouter(vtep, false);
  },
  "no gateway": setting({ egress: false, hostAccess: false, gateways: [] }),
  "suppression and no learning": setting({ localLearning: false, arpSuppression: true }),
};

function placesOf({ settings }: DesiredNetwork, ...numbers: readonly number[]): IpAddress[] {
  return numbers.map((number) => vtep(familyOf(settings.localVtep), number));
}

function alter(network: DesiredNetwork, prefix: string, changes: Partial<RemoteBlock>): void {
  const block = network.blocks.get(cidr(prefix));
  // Where there is no tunnel, there is no other way.
  if (block !== undefined && network.settings.transport !== undefined) network.putBlock({ ...block, ...changes });
}

const moving = "10.8.0.64/26";

const ofBlocks: Changes = {
  "a block more": (network) => putBlock(network, "10.8.1.0/26", 3),
  "a block moves": (network) => putBlock(network, moving, 3),
  "a block moves to another node": (network) => putBlock(network, moving, 4),
  "nodes route into it": (network) => {
    for (const vtep of placesOf(network, 2, 9)) network.setRouter(vtep, true);
  },
  "a block goes": (network) => network.removeBlock(cidr("10.8.0.128/26")),
  "a block is reached without the tunnel": (network) => alter(network, moving, { isDirect: true, isFromLink: true }),
  "packets from it may come so yet": (network) => alter(network, moving, { isDirect: false }),
  // Before the uplink has IPv6: forwarding of that would stay on until the last uplink goes (host-forwarding.ts).
  "nothing goes without the tunnel": (network) => alter(network, moving, { isFromLink: false }),
  "an endpoint more": (network) => network.putLocal(localInBlocks(network, 2)),
  "an own block more": (network) => setOwnBlocks(network, "10.8.0.0/26", "fd08::/64", "10.8.2.0/26"),
  "an own block less": (network) => setOwnBlocks(network, "10.8.0.0/26", "fd08::/64"),
};

const ofUplink: Changes = {
  "a way out": setting({ egress: true }),
  "a way out, but for some": setting({ egressBlocked: [cidr("203.0.113.0/24")] }),
  "the host reaches endpoints": setting({ hostAccess: true }),
  "a smaller MTU is sent": setting({ mtu: 1300, deviceMtu: 1450 }),
  "an endpoint comes meanwhile": (network) =>
    network.putLocal({ ...localInBlocks(network, 3), place: placeIn("/run/netns/c2", "eth3") }),
  "no more passes than the smaller MTU": oneMtu(1300),
  "a larger MTU passes": setting({ deviceMtu: 1450 }),
  "it is sent": oneMtu(1450),
  "no uplink": setting({ egress: false, hostAccess: false }),
};

/** The server lets subnets be others once nobody has a block. */
const ofSubnets: Changes = {
  "a block comes here": (network) => {
    network.removeBlock(cidr(moving));
    setOwnBlocks(network, "10.8.0.0/26", "fd08::/64", moving);
  },
  "nothing is here": (network) => {
    for (const id of [...network.locals.keys()]) network.removeLocal(id);
    setOwnBlocks(network);
  },
  "nothing is anywhere": (network) => {
    for (const prefix of [...network.blocks.keys()]) network.removeBlock(prefix);
  },
  "other subnets": (network) => setSubnets(network, "10.8.0.0/16", "10.7.0.0/16"),
  "a subnet is one block of another node": (network) => putBlock(network, "10.7.0.0/16", 3),
  "that block moves": (network) => putBlock(network, "10.7.0.0/16", 2),
  "that block goes": (network) => network.removeBlock(cidr("10.7.0.0/16")),
  "a subnet is one block of this node": (network) => setOwnBlocks(network, "10.7.0.0/16"),
};

/** What the kernel learns and floods itself. */
function ofGroups({ family }: PlainScenario): Changes {
  const group = { ttl: 1, interfaceIndex: 2 };
  return {
    "the kernel learns": setting({ learning: "data-plane", arpSuppression: false, flood: "head-end" }),
    "a group gets what is flooded": setting({ multicast: { ...group, address: groups[family][0] } }),
    "further away": setting({ multicast: { ...group, address: groups[family][0], ttl: 4 } }),
    "another group": setting({ multicast: { ...group, address: groups[family][1] } }),
    "no group": (network) => {
      const { multicast: _, ...rest } = network.settings;
      network.setSettings(rest);
    },
    "the kernel is told again": setting({ learning: "control-plane", arpSuppression: true }),
  };
}

const groups = {
  4: [ip("239.1.1.1"), ip("239.1.1.2")],
  6: [ip("ff05::1"), ip("ff05::2")],
} as const;

/** Other nodes send in another way, this one too, and the first way ends; and back at once. Then the VTEP of this node. */
function ofTransports({ encapsulation, mode, family }: PlainScenario): Changes {
  const before = transportOf(encapsulation);
  const after = transportOf(nextOf(encapsulation, mode));
  if (before === undefined || after === undefined) return {};
  return {
    [`${after.encapsulation} is received, too`]: setting({ standby: [after] }),
    [`${after.encapsulation} is sent`]: setting({ transport: after, standby: [before] }),
    [`${after.encapsulation} is all there is`]: setting({ standby: [] }),
    [`${before.encapsulation} at once`]: setting({ transport: before }),
    ...(before.port === 0 ? {} : { "another port": setting({ transport: { ...before, port: 8472 } }) }),
    "another VTEP of this node": setting({ localVtep: vtep(family, 99) }),
  };
}

/** The tunnel encapsulation after one, of those that have the mode. */
function nextOf(encapsulation: Encapsulation, mode: NetworkMode): Encapsulation {
  const all = encapsulationsThat(({ modes, devices }) => modes.includes(mode) && devices !== "none");
  return all[(all.indexOf(encapsulation) + 1) % all.length] ?? encapsulation;
}
