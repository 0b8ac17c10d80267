import { type Cidr, cidrFamily, prefixLengthOf } from "../base/cidr.ts";
import { familyOf, type IpAddress, type IpFamily, ipFromBytes } from "../base/ip.ts";
import { type Bandwidth, bitsOf, directions } from "./bandwidth.ts";
import { dhcpProblems } from "./dhcp.ts";
import { encapsulations, encapsulationsThat, noTunnel } from "./encapsulation.ts";
import { partsOfPeer } from "./names.ts";
import { nodeAddressProblems } from "./node-address.ts";
import { type FieldProblem, fieldProblem } from "./problem.ts";
import type { NetworkDraft, UnderlayFamily, Vni } from "./resources.ts";

/** IPv4 blocks of fewer addresses would hold nobody: network, gateway and broadcast address are taken. */
const smallestBlock = 4;

/** The version of the underlay as a number. */
export function underlayVersion(underlay: UnderlayFamily): IpFamily {
  return underlay === "ipv4" ? 4 : 6;
}

/** The prefix length of a block of an l3 network in one of its subnets. */
export function blockPrefixLength(subnet: Cidr, blockSize: number): number {
  return (cidrFamily(subnet) === 4 ? 32 : 128) - Math.log2(blockSize);
}

/**
 * The group that a network floods to when none is named: 239.0.0.0/8 (organization-local, RFC 2365 §6.2) or ff05::/16
 * (site-local, RFC 4291 §2.7) with the VNI in the last 24 bits, so that each network has its own.
 */
export function defaultGroup(vni: Vni, underlay: UnderlayFamily): IpAddress {
  const bytes = new Uint8Array(underlay === "ipv4" ? 4 : 16);
  bytes[0] = underlay === "ipv4" ? 239 : 0xff;
  if (underlay === "ipv6") bytes[1] = 0x05;
  bytes.set([vni >> 16, (vni >> 8) & 0xff, vni & 0xff], bytes.length - 3);
  return ipFromBytes(bytes);
}

/** Whether the address is one that a group of hosts listens to. RFC 5771 (224.0.0.0/4), RFC 4291 §2.7 (ff00::/8). */
export function isMulticast(address: IpAddress): boolean {
  const first = Number(address.split(".")[0]);
  return familyOf(address) === 4 ? first >= 224 && first <= 239 : /^ff/.test(address);
}

/** Neither "this network" (0, RFC 1122 §3.2.1.3) nor multicast, reserved or broadcast (224…255). */
export function isUnicastFirstOctet(octet: number): boolean {
  return octet >= 1 && octet <= 223;
}

/** Fields that are each well and do not go together; what is allowed says why. */
export function combinationProblems(network: NetworkDraft): FieldProblem[] {
  return [
    ...encapsulationProblems(network),
    ...discoveryProblems(network),
    ...blockProblems(network),
    ...routingProblems(network),
    ...bandwidthProblems(network),
    ...dhcpProblems(network.dhcp, network.subnets),
    ...nodeAddressProblems(network),
  ];
}

function* bandwidthProblems({ bandwidth, endpointBandwidth }: NetworkDraft): Generator<FieldProblem> {
  if (bandwidth === undefined && endpointBandwidth === undefined) return;
  yield* limitProblems(bandwidth, ["bandwidth"]);
  yield* limitProblems(endpointBandwidth, ["endpointBandwidth"]);
  const received = bandwidth?.receive?.guarantee;
  if (received !== undefined)
    yield fieldProblem(
      ["bandwidth", "receive", "guarantee"],
      received,
      "none: what comes over the underlay is shared by its senders, by their bandwidth.send.guarantee",
    );
  for (const direction of directions) {
    const guarantee = endpointBandwidth?.[direction]?.guarantee;
    const shared = bandwidth?.[direction]?.limit;
    const path = ["endpointBandwidth", direction, "guarantee"];
    if (guarantee !== undefined && shared === undefined)
      yield fieldProblem(
        path,
        guarantee,
        `a guarantee with a limit of the network, bandwidth.${direction}.limit, that it is part of`,
      );
    else if (guarantee !== undefined && shared !== undefined && bitsOf(guarantee) > bitsOf(shared))
      yield fieldProblem(path, guarantee, `at most the limit of the network, ${shared}`);
  }
}

/** Limits of one direction that do not go together; `path`: of the field that has both directions. */
export function* limitProblems(bandwidth: Bandwidth | undefined, path: readonly string[]): Generator<FieldProblem> {
  for (const direction of directions) {
    const { guarantee, limit, burst } = bandwidth?.[direction] ?? {};
    const at = [...path, direction];
    if (burst !== undefined && limit === undefined)
      yield fieldProblem([...at, "burst"], String(burst), "a burst with a limit");
    else if (burst !== undefined && limit !== undefined && burst * 8 > bitsOf(limit) * longestBurst)
      yield fieldProblem([...at, "burst"], String(burst), `what ${limit} lets through in ${longestBurst} s at most`);
    if (guarantee !== undefined && limit !== undefined && bitsOf(guarantee) > bitsOf(limit))
      yield fieldProblem([...at, "guarantee"], guarantee, `at most the limit, ${limit}`);
  }
}

/** Seconds: htb counts no longer silences. net/sched/sch_htb.c: `mbuffer` */
const longestBurst = 60;

function* encapsulationProblems({ mode, encapsulation, vni, port }: NetworkDraft): Generator<FieldProblem> {
  const { modes, carriesEthernet, port: usualPort, key } = encapsulations[encapsulation];
  if (!modes.includes(mode)) {
    const carries = carriesEthernet ? "Ethernet frames" : "IP packets alone";
    const able = encapsulationsThat((each) => each.modes.includes(mode)).join(", ");
    yield fieldProblem(["encapsulation"], `${encapsulation}, which carries ${carries}`, `${able} with mode ${mode}`);
  }
  if (usualPort === 0 && port !== 0)
    yield fieldProblem(["port"], String(port), `none: ${encapsulation} does not run over UDP`);
  if (usualPort !== 0 && port === 0) yield fieldProblem(["port"], "0", "a UDP port, 1 to 65535");
  if (key !== undefined && vni !== undefined && (vni < key.first || vni > key.last)) {
    const { name, first, last, source } = key;
    yield fieldProblem(["vni"], String(vni), `a ${name}, ${first} to ${last}, with ${encapsulation} (${source})`);
  }
}

function* discoveryProblems(network: NetworkDraft): Generator<FieldProblem> {
  const { mode, encapsulation, discovery, learning, multicast, vteps, underlay } = network;
  const version = underlayVersion(underlay);
  if (discovery === "multicast" && (mode !== "l2" || !encapsulations[encapsulation].joinsGroups)) {
    const able = encapsulationsThat(({ joinsGroups }) => joinsGroups).join(", ");
    yield fieldProblem(["discovery"], "multicast", `multicast with mode l2 and encapsulation ${able} alone`);
  }
  if (discovery === "static" && mode !== "l2")
    yield fieldProblem(["discovery"], "static", "control-plane with mode l3: the server gives out the blocks");
  if (discovery !== "control-plane" && learning === "control-plane")
    yield fieldProblem(
      ["learning"],
      "control-plane",
      `data-plane with ${discovery} discovery: hosts without weft tell the server nothing`,
    );
  if (learning === "data-plane" && mode === "l3")
    yield fieldProblem(["learning"], "data-plane", "control-plane with mode l3, in which no MAC addresses are learned");
  if (learning === "data-plane" && network.arpSuppression)
    yield fieldProblem(
      ["arpSuppression"],
      "true",
      "false with data-plane learning: nodes do not know what they would have to answer",
    );
  if (learning === "data-plane" && network.flood !== "head-end")
    yield fieldProblem(
      ["flood"],
      network.flood,
      "head-end with data-plane learning, which learns from what is flooded",
    );
  if (multicast !== undefined && discovery !== "multicast")
    yield fieldProblem(["multicast"], "settings", "none with discovery other than multicast");
  if (multicast?.group !== undefined && (!isMulticast(multicast.group) || familyOf(multicast.group) !== version))
    yield fieldProblem(["multicast", "group"], multicast.group, `an ${nameOf(version)} multicast address`);
  if (discovery === "static" && vteps.length === 0)
    yield fieldProblem(["vteps"], "none", "one VTEP at least with static discovery");
  if (discovery !== "static" && vteps.length > 0)
    yield fieldProblem(["vteps"], "a list", "none with discovery other than static");
  for (const [index, vtep] of vteps.entries()) {
    if (familyOf(vtep) !== version)
      yield fieldProblem(["vteps", index], vtep, `an ${nameOf(version)} address, as the underlay is`);
    if (vteps.indexOf(vtep) < index) yield fieldProblem(["vteps", index], vtep, "each VTEP once");
  }
  if (network.learningLimit > 0 && (mode === "l3" || learning === "data-plane"))
    yield fieldProblem(
      ["learningLimit"],
      String(network.learningLimit),
      "0 but with mode l2 and control-plane learning, which publishes what nodes learn",
    );
}

function* blockProblems(network: NetworkDraft): Generator<FieldProblem> {
  const { mode, blockSize, blockAssignment, subnets, gateways } = network;
  if (mode === "l2") {
    if (blockAssignment === "declared")
      yield fieldProblem(["blockAssignment"], blockAssignment, "automatic with mode l2, which has no blocks");
    return;
  }
  if (gateways.length > 0)
    yield fieldProblem(["gateways"], gateways.join(", "), "none with mode l3: each block has a gateway of its own");
  if (!Number.isInteger(Math.log2(blockSize)) || blockSize < smallestBlock)
    yield fieldProblem(["blockSize"], String(blockSize), "a power of two, 4 to 65536");
  else
    for (const [index, subnet] of subnets.entries())
      if (prefixLengthOf(subnet) > blockPrefixLength(subnet, blockSize))
        yield fieldProblem(["subnets", index], subnet, `a prefix with room for a block of ${blockSize} addresses`);
}

function* routingProblems(network: NetworkDraft): Generator<FieldProblem> {
  const { mode, encapsulation, subnets, gateways, underlay, crossSubnet } = network;
  if (network.vlanTags && mode === "l3")
    yield fieldProblem(["vlanTags"], "true", "false with mode l3, which routes packets and carries no frames");
  if (crossSubnet && (mode !== "l3" || encapsulation === noTunnel))
    yield fieldProblem(["crossSubnet"], "true", "false but with mode l3 and an encapsulation for the other nodes");
  if (encapsulation === noTunnel || crossSubnet)
    for (const [index, subnet] of subnets.entries())
      if (cidrFamily(subnet) === 6 && underlay === "ipv4")
        yield fieldProblem(
          ["subnets", index],
          `${subnet} over an IPv4 underlay`,
          "IPv4 prefixes: Linux routes IPv6 to no IPv4 next hop; use underlay ipv6, or an encapsulation",
        );
  if (network.gateway !== undefined) yield* gatewayProblems(network);
  yield* peerProblems(network);
  if (mode === "l2" && (network.egress || network.hostAccess))
    for (const subnet of subnets)
      if (!gateways.some((gateway) => familyOf(gateway) === cidrFamily(subnet)))
        yield fieldProblem(
          ["gateways"],
          gateways.length === 0 ? "none" : gateways.join(", "),
          `an address of ${subnet}, too, for the node to answer for: egress and hostAccess need it`,
        );
}

/** What a router on each node does not go with. */
function* gatewayProblems(network: NetworkDraft): Generator<FieldProblem> {
  const { discovery, learning, encapsulation, crossSubnet, nodeSelector } = network;
  const refuse = (found: string, allowed: string): FieldProblem =>
    fieldProblem(["gateway"], `distributed with ${found}`, allowed);
  if (learning === "data-plane")
    yield refuse(
      discovery === "control-plane" ? "data-plane learning" : `${discovery} discovery`,
      "control-plane discovery and learning: every node has the gateway's MAC address, and the answer to what one of them asks ends at another",
    );
  if (encapsulation === noTunnel || crossSubnet)
    yield refuse(
      encapsulation === noTunnel ? `encapsulation ${noTunnel}` : "crossSubnet",
      "a tunnel between all nodes: hosts know no way back to what other networks would send over their link",
    );
  if (nodeSelector !== undefined)
    yield refuse(
      "nodeSelector",
      "that of the tenant: a node that hosts one of its routed networks routes to all of them",
    );
}

function* peerProblems({ tenant, peers, gateway }: NetworkDraft): Generator<FieldProblem> {
  for (const [index, peer] of peers.entries()) {
    const path = ["peers", index];
    if (gateway === undefined)
      yield fieldProblem(path, peer, "none without gateway: distributed, which routes to them");
    if (partsOfPeer(peer).tenant === tenant)
      yield fieldProblem(
        path,
        `${peer}, of its own tenant`,
        "networks of other tenants: those of one with gateway: distributed are routed with each other without that",
      );
    if (peers.indexOf(peer) < index) yield fieldProblem(path, peer, "each network once");
  }
}

function nameOf(version: IpFamily): string {
  return version === 4 ? "IPv4" : "IPv6";
}
