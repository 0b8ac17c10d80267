import { type Cidr, cidrFamily } from "../../base/cidr.ts";
import { familyOf, type IpAddress, type IpFamily } from "../../base/ip.ts";
import type { PublishedProtocol } from "../../model/published-port.ts";

/** Host → endpoints. */
export interface HostAccess {
  /** What the host reaches through the tenant. */
  readonly prefix: Cidr;
  /**
   * An address of the tenant's bridge, of the prefix' family: what comes from the host has it as its source, so that
   * answers come back the same way.
   */
  readonly source: IpAddress;
}

/** A block of another node that is reached without a tunnel. */
export interface DirectBlock {
  readonly prefix: Cidr;
  /** The next hop, on a link of this node. For an IPv4 block it may be an IPv6 address. */
  readonly vtep: IpAddress;
}

/** What endpoints of one prefix do not reach, although they have egress. */
export interface EgressBlock {
  readonly source: Cidr;
  readonly destinations: readonly Cidr[];
}

/** An address of the underlay that stands for one endpoint. */
export interface Floating {
  readonly outside: IpAddress;
  /** The endpoint's own. */
  readonly inside: IpAddress;
  /** This node answers for it on the link that it is on; others have it from whoever routes it here. */
  readonly isAnnounced: boolean;
}

/** A port of the host that leads to one of an endpoint here, for addresses of one family. */
export interface Published {
  readonly protocol: PublishedProtocol;
  /** Absent: at all addresses of the host. */
  readonly outside?: IpAddress;
  readonly port: number;
  /** The endpoint's own. */
  readonly inside: IpAddress;
  readonly to: number;
}

/** What the networks of one tenant ask of the host. Nothing: no uplink. */
export interface UplinkRequest {
  readonly hostAccess: readonly HostAccess[];
  /** Prefixes whose endpoints may reach the outside behind the host's address (SNAT). */
  readonly egress: readonly Cidr[];
  readonly egressBlocked: readonly EgressBlock[];
  readonly direct: readonly DirectBlock[];
  /** Own blocks that other nodes reach without a tunnel: from the `direct` blocks, without NAT. */
  readonly directInward: readonly Cidr[];
  /** Of endpoints here. */
  readonly floating: readonly Floating[];
  readonly published: readonly Published[];
}

export const families = [4, 6] as const satisfies readonly IpFamily[];

export function isEmptyRequest(request: UplinkRequest): boolean {
  const { hostAccess, egress, direct, directInward, floating, published } = request;
  return [hostAccess, egress, direct, directInward, floating, published].every(({ length }) => length === 0);
}

/** Whether packets of this family pass through the host; those of hostAccess alone begin and end there. */
export function passesHost(request: UplinkRequest, family: IpFamily): boolean {
  const { egress, direct, directInward, floating, published } = request;
  return (
    published.some(({ inside }) => familyOf(inside) === family) ||
    floating.some(({ outside }) => familyOf(outside) === family) ||
    [...egress, ...directInward, ...direct.map(({ prefix }) => prefix)].some((prefix) => cidrFamily(prefix) === family)
  );
}

/** Whether the tenant has a way out for this family: to send, or to answer whatever address the host asks from. */
export function needsDefaultRoute(request: UplinkRequest, family: IpFamily): boolean {
  return (
    request.egress.some((prefix) => cidrFamily(prefix) === family) ||
    request.floating.some(({ outside }) => familyOf(outside) === family) ||
    request.published.some(({ inside }) => familyOf(inside) === family) ||
    request.hostAccess.some(({ source }) => familyOf(source) === family)
  );
}
