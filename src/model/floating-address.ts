import { cidrContains, hostPrefix } from "../base/cidr.ts";
import { WeftError } from "../base/errors.ts";
import { familyOf, type IpAddress } from "../base/ip.ts";
import { hasAnycastGateway } from "./anycast-gateway.ts";
import type { Declared } from "./declared.ts";
import type { FloatingAddress, Network, NetworkDraft } from "./resources.ts";
import { isRoutedByHost, routedByHost } from "./routed-by-host.ts";
import { reservedReason } from "./subnet.ts";

/** Why the floating address cannot be so, beside what else is declared and where nodes are. */
export function checkFloatingAddress(floating: FloatingAddress, attempted: string, declared: Declared): WeftError[] {
  const { name, endpoint } = floating;
  const network = declared.get("network", floating.network);
  if (network === undefined) {
    const reason = `there is no network ${floating.network}`;
    return [new WeftError({ code: "not-found", attempted, reason, hint: "list the networks with: weft network list" })];
  }
  const errors = [...placeObstacles(floating, network, attempted)];
  if (declared.get("tenant", network.tenant)?.placement === "host")
    errors.push(
      new WeftError({
        code: "failed-precondition",
        attempted,
        reason: `network ${network.name} is of tenant ${network.tenant}, whose networks are in the host's own namespace`,
        hint: "let rules of the host lead there, as those of service load balancers do",
      }),
    );
  const taken = (reason: string, hint: string): void => {
    errors.push(new WeftError({ code: "already-exists", attempted, reason, hint }));
  };
  const other = declared.floatingAt(network.name, endpoint);
  if (other !== undefined && other.name !== name)
    taken(
      `${endpoint} of network ${network.name} has the floating address ${other.name}`,
      `an endpoint has one of each family; delete that one first: weft floating-address delete ${other.name}`,
    );
  const own = new Set(declared.overlappingIn(network.tenant, [hostPrefix(name)]));
  for (const each of own) taken(inTenant(name, each), "choose an address that the tenant's networks do not use");
  for (const each of new Set(declared.routedTo(name)))
    if (!own.has(each)) taken(inRouted(name, each), "choose an address of the underlay that no network uses");
  const node = declared.nodeAt(name);
  if (node !== undefined) taken(`${name} is the VTEP address of node ${node.name}`, anotherAddress);
  for (const each of declared.withVtep(name)) taken(listedVtep(name, each), anotherAddress);
  return errors;
}

/** Why the network cannot be so, because of floating addresses that there are. */
export function checkFloatingAddressesOf(network: NetworkDraft, attempted: string, declared: Declared): WeftError[] {
  const errors: WeftError[] = [];
  const refuse = (reason: string, other: string, name: string): void => {
    const hint = `choose another ${other}, or delete it: weft floating-address delete ${name}`;
    errors.push(new WeftError({ code: "already-exists", attempted, reason, hint }));
  };
  for (const floating of declared.floatingOf(network.name))
    errors.push(...placeObstacles(floating, network, attempted));
  for (const { name, network: of } of declared.floatingWithin(network.subnets)) {
    const isOfTenant = declared.get("network", of)?.tenant === network.tenant;
    if (isOfTenant) refuse(inTenant(name, network), "subnet", name);
    else if (isRoutedByHost(network)) refuse(inRouted(name, network), "subnet", name);
  }
  for (const vtep of network.vteps)
    if (declared.get("floating-address", vtep) !== undefined) refuse(listedVtep(vtep, network), "VTEP", vtep);
  return errors;
}

/** What keeps the endpoint's address from being reached from outside the network. */
function* placeObstacles(
  { name, endpoint }: FloatingAddress,
  network: NetworkDraft,
  attempted: string,
): Generator<WeftError> {
  const subnet = network.subnets.find((each) => cidrContains(each, endpoint));
  const reserved = subnet === undefined ? undefined : reservedReason(subnet, endpoint);
  const isGateway = network.gateways.includes(endpoint);
  const unusable =
    subnet === undefined ? `in none of its subnets ${network.subnets.join(", ")}` : isGateway ? "a gateway" : reserved;
  if (unusable !== undefined)
    yield new WeftError({
      code: "failed-precondition",
      attempted,
      reason: `${endpoint}, which the floating address ${name} stands for in network ${network.name}, is ${unusable}`,
      hint: "name an address that an endpoint of the network has, or can have",
    });
  if (!hasAnycastGateway(network))
    yield new WeftError({
      code: "failed-precondition",
      attempted,
      reason: `nodes are no gateway of network ${network.name}, so that endpoints could not answer under the floating address ${name}`,
      hint: `let them be: weft network set ${network.name} --gateway distributed, or with a way out --egress --gateway ADDRESS, one in each subnet`,
    });
}

const anotherAddress = "choose an address that no host has";

function subnetWith(address: IpAddress, { subnets }: Pick<Network, "subnets">): string {
  return subnets.find((subnet) => cidrContains(subnet, address)) ?? `IPv${familyOf(address)}`;
}

function inTenant(address: IpAddress, network: Pick<Network, "name" | "tenant" | "subnets">): string {
  return `the floating address ${address} is in subnet ${subnetWith(address, network)} of network ${network.name}, and tenant ${network.tenant} would look for it there`;
}

function inRouted(address: IpAddress, network: Pick<Network, "name" | "tenant" | "subnets">): string {
  return `the floating address ${address} is in subnet ${subnetWith(address, network)} of network ${network.name} of tenant ${network.tenant}, which hosts route themselves (${routedByHost})`;
}

function listedVtep(address: IpAddress, network: Pick<Network, "name" | "tenant">): string {
  return `the floating address ${address} is a VTEP that network ${network.name} of tenant ${network.tenant} lists`;
}
