import { cidrFamily } from "../base/cidr.ts";
import { WeftError } from "../base/errors.ts";
import type { IpFamily } from "../base/ip.ts";
import { err, ok, type Result } from "../base/result.ts";
import { encapsulations } from "./encapsulation.ts";
import type { Network, Node, UnderlayFamily } from "./resources.ts";

/** Octets that every link must carry in one IP packet: RFC 791 §3.2 (IPv4), RFC 8200 §5 (IPv6). */
export const minimumMtu: Readonly<Record<IpFamily, number>> = { 4: 68, 6: 1280 };
/** Octets of the largest IPv4 packet (RFC 791 §3.1), and the highest MTU that a bridge takes. */
export const maximumMtu = 65_535;

/** Octets of the outer IP header without options (RFC 791 §3.1) or extension headers (RFC 8200 §3). */
const outerIp: Readonly<Record<UnderlayFamily, number>> = { ipv4: 20, ipv6: 40 };
/** Destination, source and type of the inner frame, without a VLAN tag. */
const innerEthernet = 14;

/** What underlay packets hold beside the inner packet. */
export interface Overhead {
  readonly octets: number;
  /** What takes how much of it, for people: `50 octets of vxlan over ipv4`. */
  readonly text: string;
}

/** All that an underlay packet holds beside the inner packet, part by part from the underlay's link inwards. */
export function overheadOf({ encapsulation, underlay }: Pick<Network, "encapsulation" | "underlay">): Overhead {
  const { header, carriesEthernet, devices } = encapsulations[encapsulation];
  const tunnel = devices === "none" ? 0 : outerIp[underlay] + header + (carriesEthernet ? innerEthernet : 0);
  const parts = [{ of: `${encapsulation} over ${underlay}`, octets: tunnel }];
  return {
    octets: parts.reduce((sum, { octets }) => sum + octets, 0),
    text: parts.map(({ of, octets }) => `${octets} octets of ${of}`).join(" and "),
  };
}

/**
 * Octets of the largest inner IP packet that one underlay packet can carry.
 * Fails when that is less than an inner IP version needs.
 */
export function innerMtu(
  underlayMtu: number,
  overhead: Overhead,
  innerFamilies: readonly IpFamily[],
): Result<number, string> {
  const mtu = Math.min(underlayMtu - overhead.octets, maximumMtu);
  const needed = Math.max(...innerFamilies.map((family) => minimumMtu[family]));
  if (mtu >= needed) return ok(mtu);
  const version = needed === minimumMtu[6] ? "IPv6" : "IPv4";
  return err(`an underlay MTU of ${underlayMtu} less ${overhead.text} leaves ${mtu}, and ${version} needs ${needed}`);
}

/** The part of a network that decides its MTU. */
export type MtuNetwork = Pick<Network, "name" | "encapsulation" | "underlay" | "subnets" | "mtu">;

/**
 * Octets of the largest inner IP packet that every node can send: the network's own `mtu` when it has one, else
 * what the smallest underlay MTU leaves. Fails when a node cannot carry it, naming the node with the smallest
 * underlay MTU, and when the MTU must be computed and there is no node yet.
 */
export function effectiveMtu(
  network: MtuNetwork,
  nodes: Iterable<Pick<Node, "name" | "underlayMtu">>,
): Result<number, WeftError> {
  const attempted = `compute the MTU of network ${network.name}`;
  const smallest = smallestOf(nodes);
  if (smallest === undefined) {
    if (network.mtu !== undefined) return ok(network.mtu);
    const reason = "no node has joined, so no underlay MTU is known";
    return err(new WeftError({ code: "failed-precondition", attempted, reason, hint: "let a node join, or set mtu" }));
  }
  const overhead = overheadOf(network);
  const available = innerMtu(smallest.underlayMtu, overhead, network.subnets.map(cidrFamily));
  if (!available.ok) {
    const reason = `node ${smallest.name}: ${available.error}`;
    const hint = `raise the MTU of the underlay interface of node ${smallest.name}`;
    return err(new WeftError({ code: "failed-precondition", attempted, reason, hint }));
  }
  if (network.mtu === undefined || network.mtu <= available.value) return ok(network.mtu ?? available.value);
  const reason =
    `node ${smallest.name} has an underlay MTU of ${smallest.underlayMtu}; ` +
    `less ${overhead.text} that is ${available.value}, and the network asks for ${network.mtu}`;
  const hint = `set the network's mtu to ${available.value} or less, or raise the underlay MTU of node ${smallest.name} to ${network.mtu + overhead.octets}`;
  return err(new WeftError({ code: "failed-precondition", attempted, reason, hint }));
}

/**
 * Octets of the largest inner IP packet that a network is set to, whatever its nodes can carry: where that is less than
 * what is asked for, what they can, so that everything that fits arrives; but never less than its IP versions need. Why
 * it is less, {@link effectiveMtu} says.
 */
export function usableMtu(network: MtuNetwork, nodes: Iterable<Pick<Node, "name" | "underlayMtu">>): number {
  const least = Math.max(...network.subnets.map((subnet) => minimumMtu[cidrFamily(subnet)]));
  const smallest = smallestOf(nodes);
  if (smallest === undefined) return network.mtu ?? least;
  const available = innerMtu(smallest.underlayMtu, overheadOf(network), network.subnets.map(cidrFamily));
  return available.ok ? Math.min(network.mtu ?? maximumMtu, available.value) : least;
}

function smallestOf<Each extends Pick<Node, "underlayMtu">>(nodes: Iterable<Each>): Each | undefined {
  let smallest: Each | undefined;
  for (const node of nodes) if (smallest === undefined || node.underlayMtu < smallest.underlayMtu) smallest = node;
  return smallest;
}
