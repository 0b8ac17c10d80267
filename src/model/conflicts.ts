import { cidrFamily, cidrsOverlap } from "../base/cidr.ts";
import { WeftError } from "../base/errors.ts";
import { err, ok, type Result } from "../base/result.ts";
import type { Declared } from "./declared.ts";
import { type Encapsulation, encapsulations, encapsulationsThat, maxVni } from "./encapsulation.ts";
import { checkFloatingAddress, checkFloatingAddressesOf } from "./floating-address.ts";
import type { PlainKind, Resources } from "./kinds.ts";
import { combinationProblems } from "./network-rules.ts";
import { checkPeers } from "./peering.ts";
import { checkNewPlacement, checkPlacementChange, checkPlacementOf } from "./placement.ts";
import { isEndpointPeer, type Policy } from "./policy/index.ts";
import { formatProblem } from "./problem.ts";
import type { Block, Endpoint, FloatingAddress, Network, NetworkDraft, Pod, Tenant, Vni } from "./resources.ts";
import { isRoutedByHost, routedByHost } from "./routed-by-host.ts";

/**
 * The first VNI that the server chooses. Those below are left to operators, who like to number networks as they
 * number VLANs (1…4094).
 */
const firstChosenVni = 4096;

/** Fields that an existing network keeps: its namespace, its names and the addresses of its packets are made of them. */
const fixedFields = ["tenant", "mode", "vni", "underlay"] as const;

/**
 * The lowest free VNI of those that the encapsulation has, from {@link firstChosenVni} on, and when there is none, the lowest of all.
 * `freeFrom`: the first free one from a number on.
 */
export function chooseVni(
  freeFrom: (vni: number) => number | undefined,
  encapsulation: Encapsulation,
): Result<Vni, WeftError> {
  const { name = "VNI", first = 1, last = maxVni } = encapsulations[encapsulation].key ?? {};
  for (const from of [Math.max(first, firstChosenVni), first]) {
    const vni = freeFrom(from);
    if (vni !== undefined && vni <= last) return ok(vni as Vni);
  }
  const reason = `all ${last - first + 1} ${name}s are taken`;
  return err(
    new WeftError({ code: "exhausted", attempted: "choose a VNI", reason, hint: "delete networks that are not used" }),
  );
}

/** Of a plain kind: why one cannot be created, changed into another of its name, or deleted. */
export const plainRules: {
  readonly [Kind in PlainKind]: {
    creation(value: Resources[Kind], declared: Declared): WeftError[];
    change(before: Resources[Kind], after: Resources[Kind], declared: Declared): WeftError[];
    deletion(name: string, declared: Declared): WeftError[];
  };
} = {
  tenant: { creation: checkNewTenant, change: checkPlacementChange, deletion: checkTenantDeletion },
  policy: { creation: checkNewPolicy, change: checkPolicyChange, deletion: () => [] },
  "floating-address": {
    creation: checkNewFloatingAddress,
    change: (_before, value, declared) =>
      checkFloatingAddress(value, `change floating-address ${value.name}`, declared),
    deletion: () => [],
  },
  pod: {
    creation: ({ name }, declared) => (declared.get("pod", name) === undefined ? [] : [nameTaken("pod", name)]),
    change: checkPodChange,
    deletion: () => [],
  },
};

/** Why `before` cannot become `after`, a pod of the same name. */
function checkPodChange(before: Pod, after: Pod): WeftError[] {
  if (before.node === after.node) return [];
  const attempted = `change pod ${before.name}`;
  const reason = `it is on node ${before.node} and cannot come to ${after.node}`;
  return [new WeftError({ code: "failed-precondition", attempted, reason, hint: "delete it first" })];
}

/** Why the floating address cannot be created. */
export function checkNewFloatingAddress(value: FloatingAddress, declared: Declared): WeftError[] {
  const { name } = value;
  const taken = declared.get("floating-address", name) === undefined ? [] : [nameTaken("floating-address", name)];
  return [...taken, ...checkFloatingAddress(value, `create floating-address ${name}`, declared)];
}

/** Why the tenant cannot be created. */
export function checkNewTenant(tenant: Tenant, declared: Declared): WeftError[] {
  const { name } = tenant;
  const taken = declared.get("tenant", name) === undefined ? [] : [nameTaken("tenant", name)];
  return [...taken, ...checkNewPlacement(tenant, declared)];
}

/** Why the policy cannot be created: the tenant is missing, the name is taken, or it names what is no network of the tenant. */
export function checkNewPolicy(policy: Policy, declared: Declared): WeftError[] {
  const errors: WeftError[] = [];
  const attempted = `create policy ${policy.name}`;
  if (declared.get("tenant", policy.tenant) === undefined) errors.push(tenantMissing(attempted, policy.tenant));
  if (declared.get("policy", policy.name) !== undefined) errors.push(nameTaken("policy", policy.name));
  return [...errors, ...strangeNetworks(attempted, policy, declared)];
}

/** Why `before` cannot become `after`, a policy of the same name. */
export function checkPolicyChange(before: Policy, after: Policy, declared: Declared): WeftError[] {
  const attempted = `change policy ${before.name}`;
  const errors = strangeNetworks(attempted, after, declared);
  if (before.tenant === after.tenant) return errors;
  const reason = `tenant is ${before.tenant} and cannot become ${after.tenant}`;
  const hint = `keep tenant: ${before.tenant}, or give the policy for the other tenant another name`;
  return [new WeftError({ code: "failed-precondition", attempted, reason, hint }), ...errors];
}

/** The networks that a policy names, each once. */
function networksOfPolicy({ networks, rules }: Policy): ReadonlySet<string> {
  const peers = rules.flatMap((rule) => rule.peers);
  return new Set([...networks, ...peers.flatMap((peer) => (isEndpointPeer(peer) ? peer.networks : []))]);
}

function strangeNetworks(attempted: string, policy: Policy, declared: Declared): WeftError[] {
  return [...networksOfPolicy(policy)].flatMap((name) => {
    const network = declared.get("network", name);
    if (network?.tenant === policy.tenant) return [];
    if (network !== undefined) {
      const reason = `network ${name} is of tenant ${network.tenant}, and the policy of tenant ${policy.tenant}`;
      const hint =
        "name networks of its own tenant; endpoints of networks that these are peers of are known by subnet alone";
      return [new WeftError({ code: "failed-precondition", attempted, reason, hint })];
    }
    const reason = `there is no network ${name}`;
    const hint = "create it first, or see the spelling: weft network list";
    return [new WeftError({ code: "not-found", attempted, reason, hint })];
  });
}

/**
 * Why the network cannot be created: the tenant is missing, the name, the VNI or a part of a subnet is taken, or nodes
 * could not tell its packets from those of another network. A VNI belongs to one network, whatever the UDP ports, so that it names the network wherever it is seen.
 * Networks of different tenants may have the same subnets: each tenant has a namespace of its own.
 */
export function checkNewNetwork(network: NetworkDraft, declared: Declared): WeftError[] {
  const errors: WeftError[] = [];
  const attempted = `create network ${network.name}`;
  if (declared.get("tenant", network.tenant) === undefined) errors.push(tenantMissing(attempted, network.tenant));
  if (declared.get("network", network.name) !== undefined) errors.push(nameTaken("network", network.name));
  for (const other of declared.rivalsOf(network)) {
    if (other.vni === network.vni) {
      const reason = `VNI ${network.vni} is taken by network ${other.name} of tenant ${other.tenant}`;
      const hint = "choose another VNI, or none: the server chooses a free one then";
      errors.push(new WeftError({ code: "already-exists", attempted, reason, hint }));
    }
    errors.push(...overlaps(attempted, network, other), ...clashes(attempted, network, other));
  }
  return [
    ...errors,
    ...checkPlacementOf(network, attempted, declared),
    ...checkPeers(network, attempted, declared),
    ...checkFloatingAddressesOf(network, attempted, declared),
  ];
}

/**
 * Why `before` cannot become `after`, a network of the same name: fields that are fixed, subnets while there are
 * endpoints or blocks, a subnet or gateway that is taken, and what {@link checkNewNetwork} refuses. `endpoints` and
 * `blocks` are those of this network. A draft without a VNI keeps it.
 */
export function checkNetworkChange(
  before: Network,
  after: NetworkDraft,
  declared: Declared,
  endpoints: Iterable<Pick<Endpoint, "id" | "ips">>,
  blocks: Iterable<Pick<Block, "node" | "cidr">>,
): WeftError[] {
  const errors: WeftError[] = [];
  const attempted = `change network ${before.name}`;
  const { vni } = before;
  // The draft was checked without a VNI when it had none.
  for (const problem of combinationProblems({ ...after, vni }))
    errors.push(new WeftError({ code: "invalid-argument", attempted, reason: formatProblem(problem) }));
  for (const field of fixedFields) {
    if (after[field] === before[field] || after[field] === undefined) continue;
    const reason = `${field} is ${before[field]} and cannot become ${after[field]}`;
    const hint = `keep ${field}: ${before[field]}, or create another network and move the endpoints there`;
    errors.push(new WeftError({ code: "failed-precondition", attempted, reason, hint }));
  }
  const holdings = [...endpoints];
  const owned = [...blocks];
  const hasOtherSubnets = !sameMembers(before.subnets, after.subnets);
  if (hasOtherSubnets && holdings.length > 0) {
    const reason = `subnets are ${before.subnets.join(", ")} and cannot become ${after.subnets.join(", ")} while there are endpoints (${holdings.length})`;
    const hint = "detach the endpoints first, or create another network";
    errors.push(new WeftError({ code: "failed-precondition", attempted, reason, hint }));
  }
  const hasOtherBlocks = before.mode === "l3" && (hasOtherSubnets || before.blockSize !== after.blockSize);
  const isAssignedOtherwise = before.mode === "l3" && before.blockAssignment !== after.blockAssignment;
  if ((hasOtherBlocks || isAssignedOtherwise) && owned.length > 0) {
    const field = hasOtherSubnets ? "subnets" : hasOtherBlocks ? "blockSize" : "blockAssignment";
    const listedBlocks = listed(owned.map(({ cidr, node }) => `${cidr} of ${node}`));
    const reason = `${field} cannot change while nodes own blocks: ${listedBlocks}`;
    const hint = "create another network and move the endpoints there";
    errors.push(new WeftError({ code: "failed-precondition", attempted, reason, hint }));
  }
  for (const other of declared.rivalsOf(after)) {
    if (hasOtherSubnets) errors.push(...overlaps(attempted, after, other));
    errors.push(...clashes(attempted, after, other));
  }
  for (const { id, ips } of holdings) {
    const taken = after.gateways.find((gateway) => ips.includes(gateway));
    if (taken === undefined) continue;
    const reason = `endpoint ${id} has the address of gateway ${taken}`;
    const hint = "choose another gateway, or detach that endpoint first";
    errors.push(new WeftError({ code: "already-exists", attempted, reason, hint }));
  }
  return [
    ...errors,
    ...checkPlacementOf(after, attempted, declared),
    ...checkPeers(after, attempted, declared),
    ...checkFloatingAddressesOf(after, attempted, declared),
  ];
}

/** Why the tenant cannot be deleted. */
export function checkTenantDeletion(name: string, declared: Declared): WeftError[] {
  const networks = [...new Set(Array.from(declared.networksOf(name), (network) => network.name))];
  const policies = Array.from(declared.policiesOf(name), (policy) => policy.name);
  return Object.entries({ networks, policies }).flatMap(([what, own]) => {
    if (own.length === 0) return [];
    const reason = `it has ${what}: ${listed(own)}`;
    const hint = "delete them first";
    return [new WeftError({ code: "failed-precondition", attempted: `delete tenant ${name}`, reason, hint })];
  });
}

/** Why the network cannot be deleted. `endpoints` are those of this network. */
export function checkNetworkDeletion(
  name: string,
  endpoints: Iterable<Pick<Endpoint, "id" | "node">>,
  declared: Pick<Declared, "floatingOf">,
): WeftError[] {
  const errors: WeftError[] = [];
  const refuse = (reason: string, hint: string): void => {
    errors.push(new WeftError({ code: "failed-precondition", attempted: `delete network ${name}`, reason, hint }));
  };
  const left = Array.from(endpoints, ({ id, node }) => `${id} on ${node}`);
  if (left.length > 0) refuse(`it has endpoints: ${listed(left)}`, "detach them first");
  const floating = [...declared.floatingOf(name)];
  if (floating.length > 0)
    refuse(`it has floating addresses: ${listed(floating.map((each) => each.name))}`, "delete them first");
  return errors;
}

/** The same for what rests on its name. `policies` are those of its tenant. */
export function checkNetworkUnnamed(name: string, policies: Iterable<Policy>): WeftError[] {
  const naming = [...policies].filter((policy) => networksOfPolicy(policy).has(name));
  if (naming.length === 0) return [];
  const reason = `policies name it: ${listed(naming.map((policy) => policy.name))}`;
  const hint = "let them name others, or delete them first: weft policy delete NAME";
  return [new WeftError({ code: "failed-precondition", attempted: `delete network ${name}`, reason, hint })];
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

/** What two networks cannot both have, whatever their tenants, because it is told apart by nothing but this. */
function clashes(attempted: string, network: NetworkDraft, other: Network): WeftError[] {
  const errors: WeftError[] = [];
  const refuse = (reason: string, hint: string): void => {
    errors.push(new WeftError({ code: "already-exists", attempted, reason, hint }));
  };
  const owner = `network ${other.name} of tenant ${other.tenant}`;
  const { key, devices, carriesEthernet } = encapsulations[network.encapsulation];
  const isToldByVtep = key === undefined && devices === "per-vtep";
  const alike = encapsulationsThat((each) => each.key !== undefined && each.carriesEthernet === carriesEthernet);
  if (isToldByVtep && network.encapsulation === other.encapsulation && network.underlay === other.underlay)
    for (const family of network.subnets.map(cidrFamily))
      if (other.subnets.some((subnet) => cidrFamily(subnet) === family))
        refuse(
          `${owner} carries IPv${family} by ${network.encapsulation} over ${other.underlay}: such packets say nothing about their network`,
          `use another encapsulation, such as ${alike.join(", ")}`,
        );
  if (isRoutedByHost(network) && isRoutedByHost(other))
    for (const subnet of network.tenant === other.tenant ? [] : network.subnets) {
      const overlapping = other.subnets.find((prefix) => cidrsOverlap(prefix, subnet));
      if (overlapping === undefined) continue;
      refuse(
        `subnet ${subnet} overlaps ${overlapping} of ${owner}, and hosts route both themselves (${routedByHost})`,
        "choose a prefix that no such network uses, or do without in one of them",
      );
    }
  if (network.port !== 0 && network.port === other.port) {
    if (network.encapsulation !== other.encapsulation && network.underlay === other.underlay)
      refuse(
        `UDP port ${network.port} over ${network.underlay} is that of ${owner}, for ${other.encapsulation}: a port takes one encapsulation`,
        "choose another port, or none: each encapsulation has its own",
      );
    if ((network.discovery === "multicast") !== (other.discovery === "multicast"))
      refuse(
        `UDP port ${network.port} is that of ${owner}, with ${other.discovery} discovery: with multicast a port is open to all senders`,
        "choose another port",
      );
  }
  return errors;
}

function tenantMissing(attempted: string, tenant: string): WeftError {
  const reason = `there is no tenant ${tenant}`;
  const hint = `create it first: weft tenant create ${tenant}`;
  return new WeftError({ code: "not-found", attempted, reason, hint });
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
