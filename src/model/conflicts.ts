import { cidrsOverlap } from "../base/cidr.ts";
import { WeftError } from "../base/errors.ts";
import { err, ok, type Result } from "../base/result.ts";
import { maxVni } from "./names.ts";
import type { Endpoint, Network, Node, Tenant, Vni } from "./resources.ts";
import type { NetworkDraft, NodeDraft } from "./schema.ts";

/**
 * The first VNI that the server chooses. Those below are left to operators, who like to number networks as they
 * number VLANs (1…4094).
 */
const firstChosenVni = 4096;

/** Fields that an existing network keeps: its devices and every node's entries are made of them. */
const fixedFields = ["tenant", "mode", "encapsulation", "vni", "port", "underlay"] as const;

/** The lowest free VNI from {@link firstChosenVni} on, and when there is none, the lowest free of all. */
export function chooseVni(taken: ReadonlySet<number>): Result<Vni, WeftError> {
  for (let vni = firstChosenVni; vni <= maxVni; vni++) if (!taken.has(vni)) return ok(vni as Vni);
  for (let vni = 1; vni < firstChosenVni; vni++) if (!taken.has(vni)) return ok(vni as Vni);
  const reason = `all ${maxVni} VNIs are taken`;
  return err(
    new WeftError({ code: "exhausted", attempted: "choose a VNI", reason, hint: "delete networks that are not used" }),
  );
}

/** Why the tenant cannot be created. */
export function checkNewTenant(tenant: Tenant, tenants: Iterable<Tenant>): WeftError[] {
  for (const other of tenants) if (other.name === tenant.name) return [nameTaken("tenant", tenant.name)];
  return [];
}

/**
 * Why the network cannot be created: the tenant is missing, or the name, the VNI or a part of a subnet is taken.
 * A VNI belongs to one network, whatever the UDP ports, so that it names the network wherever it is seen.
 * Networks of different tenants may have the same subnets: each tenant has a namespace of its own.
 */
export function checkNewNetwork(
  network: NetworkDraft,
  tenants: Iterable<Tenant>,
  networks: Iterable<Network>,
): WeftError[] {
  const errors: WeftError[] = [];
  const attempted = `create network ${network.name}`;
  if (![...tenants].some((tenant) => tenant.name === network.tenant)) {
    const reason = `there is no tenant ${network.tenant}`;
    const hint = `create it first: weft tenant create ${network.tenant}`;
    errors.push(new WeftError({ code: "not-found", attempted, reason, hint }));
  }
  for (const other of networks) {
    if (other.name === network.name) {
      errors.push(nameTaken("network", network.name));
      continue;
    }
    if (other.vni === network.vni) {
      const reason = `VNI ${network.vni} is taken by network ${other.name} of tenant ${other.tenant}`;
      const hint = "choose another VNI, or none: the server chooses a free one then";
      errors.push(new WeftError({ code: "already-exists", attempted, reason, hint }));
    }
    errors.push(...overlaps(attempted, network, other));
  }
  return errors;
}

/**
 * Why `before` cannot become `after`, a network of the same name: fields that are fixed, subnets while there are
 * endpoints, a subnet or gateway that is taken. `endpoints` are those of this network. A draft without a VNI keeps it.
 */
export function checkNetworkChange(
  before: Network,
  after: NetworkDraft,
  networks: Iterable<Network>,
  endpoints: Iterable<Pick<Endpoint, "id" | "ips">>,
): WeftError[] {
  const errors: WeftError[] = [];
  const attempted = `change network ${before.name}`;
  for (const field of fixedFields) {
    if (after[field] === before[field] || after[field] === undefined) continue;
    const reason = `${field} is ${before[field]} and cannot become ${after[field]}`;
    const hint = `keep ${field}: ${before[field]}, or create another network and move the endpoints there`;
    errors.push(new WeftError({ code: "failed-precondition", attempted, reason, hint }));
  }
  const holdings = [...endpoints];
  const hasOtherSubnets = !sameMembers(before.subnets, after.subnets);
  if (hasOtherSubnets && holdings.length > 0) {
    const reason = `subnets are ${before.subnets.join(", ")} and cannot become ${after.subnets.join(", ")} while there are endpoints (${holdings.length})`;
    const hint = "detach the endpoints first, or create another network";
    errors.push(new WeftError({ code: "failed-precondition", attempted, reason, hint }));
  }
  if (hasOtherSubnets)
    for (const other of networks) if (other.name !== before.name) errors.push(...overlaps(attempted, after, other));
  for (const { id, ips } of holdings) {
    const taken = after.gateways.find((gateway) => ips.includes(gateway));
    if (taken === undefined) continue;
    const reason = `endpoint ${id} has the address of gateway ${taken}`;
    const hint = "choose another gateway, or detach that endpoint first";
    errors.push(new WeftError({ code: "already-exists", attempted, reason, hint }));
  }
  return errors;
}

/** Why the tenant cannot be deleted. */
export function checkTenantDeletion(name: string, networks: Iterable<Network>): WeftError[] {
  const own = [...networks].filter((network) => network.tenant === name).map((network) => network.name);
  if (own.length === 0) return [];
  const reason = `it has networks: ${listed(own)}`;
  const hint = "delete them first";
  return [new WeftError({ code: "failed-precondition", attempted: `delete tenant ${name}`, reason, hint })];
}

/** Why the network cannot be deleted. `endpoints` are those of this network. */
export function checkNetworkDeletion(name: string, endpoints: Iterable<Pick<Endpoint, "id" | "node">>): WeftError[] {
  const left = Array.from(endpoints, ({ id, node }) => `${id} on ${node}`);
  if (left.length === 0) return [];
  const reason = `it has endpoints: ${listed(left)}`;
  const hint = "detach them first";
  return [new WeftError({ code: "failed-precondition", attempted: `delete network ${name}`, reason, hint })];
}

/** Why the node cannot be as it says: two nodes with one VTEP address would get each other's packets. */
export function checkNodeRegistration(node: NodeDraft, nodes: Iterable<Node>): WeftError[] {
  const errors: WeftError[] = [];
  for (const other of nodes) {
    if (other.name === node.name) continue;
    for (const family of ["ipv4", "ipv6"] as const) {
      const address = node.vtepAddresses[family];
      if (address === undefined || address !== other.vtepAddresses[family]) continue;
      const reason = `node ${other.name} has the VTEP address ${address}`;
      const hint = `give each node an underlay address of its own, or delete node ${other.name} when it is gone`;
      errors.push(new WeftError({ code: "already-exists", attempted: `register node ${node.name}`, reason, hint }));
    }
  }
  return errors;
}

function overlaps(attempted: string, network: NetworkDraft, other: Network): WeftError[] {
  if (other.tenant !== network.tenant) return [];
  const errors: WeftError[] = [];
  for (const subnet of network.subnets) {
    const overlapping = other.subnets.find((prefix) => cidrsOverlap(prefix, subnet));
    if (overlapping === undefined) continue;
    const reason = `subnet ${subnet} overlaps ${overlapping} of network ${other.name} of the same tenant ${other.tenant}`;
    const hint = "choose a prefix that the tenant does not use, or another tenant";
    errors.push(new WeftError({ code: "already-exists", attempted, reason, hint }));
  }
  return errors;
}

function nameTaken(kind: string, name: string): WeftError {
  const attempted = `create ${kind} ${name}`;
  const reason = `a ${kind} of this name exists`;
  const hint = `choose another name, or use the existing one: weft ${kind} show ${name}`;
  return new WeftError({ code: "already-exists", attempted, reason, hint });
}

function sameMembers(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((member) => b.includes(member));
}

/** The first few, and how many more. */
function listed(names: readonly string[]): string {
  const shown = names.slice(0, 5).join(", ");
  return names.length > 5 ? `${shown} and ${names.length - 5} more` : shown;
}
