import { type Cidr, cidrContains, cidrFamily } from "../base/cidr.ts";
import { familyOf, type IpAddress, type Ipv4Address, ip } from "../base/ip.ts";
import { err, ok } from "../base/result.ts";
import { hostNameLabel } from "./endpoint-names.ts";
import type { TextParser } from "./names.ts";

import { type FieldProblem, fieldProblem } from "./problem.ts";

/** What a network's nodes tell its endpoints by DHCPv4, DHCPv6 and router advertisements, beside addresses, routes and the MTU. */
export interface Dhcp {
  /** Each family's to those that have an address of it. */
  readonly dns: readonly IpAddress[];
  /** The endpoints' own, in which names without a dot are looked up. */
  readonly domain?: string;
  readonly ntp: readonly IpAddress[];
  /** Seconds. An address is its endpoint's as long as that is there: after half of the time it is asked whether it still is. */
  readonly leaseTime: number;
  /** The TFTP server that IPv4 endpoints boot from. */
  readonly bootServer?: Ipv4Address;
  /** Path on it, or a URL. */
  readonly bootFile?: string;
  /** Nodes answer HTTP at {@link nodeAddress} as well: what cloud-init asks for. */
  readonly metadata: boolean;
}

/**
 * Who answers DHCPv4 where the node is no gateway of the network. Of 169.254.0.0/24, which no host gives itself (RFC 3927 §2.1):
 * clients renew by unicast, ask for it by ARP, and are answered at their port. The same in guard.c.
 */
export const serverWithoutGateway = ip("169.254.0.1") as Ipv4Address;

/** Octets: as much as clouds take. */
export const longestUserData = 16_384;

/** A day: endpoints keep their addresses while their node's agent is away for half of it. */
export const defaultLeaseTime = 86_400;
export const shortestLeaseTime = 120;
export const longestLeaseTime = 31_536_000;
/** Of one kind: so many fit into the smallest messages that clients take. */
export const maximumServers = 6;

const domainAllowed = "a domain name in lower case of at most 120 characters, such as lab.example";
const labelPattern = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

export const parseDomain: TextParser<string> = (text) =>
  text.length <= 120 && text.split(".").every((label) => labelPattern.test(label)) ? ok(text) : err(domainAllowed);

/** As it stands in the `file` field of messages. RFC 2131 §2. */
export const parseBootFile: TextParser<string> = (text) =>
  /^[\x21-\x7e]{1,127}$/.test(text) ? ok(text) : err("a path or URL of 1 to 127 printable characters without blanks");

/** Whether it can be told: who has no address of a family hears of no server of it, and the server's address is nobody's. */
export function* dhcpProblems(dhcp: Dhcp | undefined, subnets: readonly Cidr[]): Generator<FieldProblem> {
  if (dhcp === undefined) return;
  const families = new Set(subnets.map(cidrFamily));
  for (const kind of ["dns", "ntp"] as const)
    for (const [index, address] of dhcp[kind].entries()) {
      const path = ["dhcp", kind, index];
      if (!families.has(familyOf(address)))
        yield fieldProblem(path, address, `an address of a family that the network has: ${subnets.join(", ")}`);
      if (dhcp[kind].indexOf(address) < index) yield fieldProblem(path, address, "each address once");
    }
  for (const [index, subnet] of subnets.entries())
    if (cidrContains(subnet, serverWithoutGateway))
      yield fieldProblem(
        ["subnets", index],
        subnet,
        `with dhcp a prefix without ${serverWithoutGateway}, which nodes answer DHCP from where they are no gateway`,
      );
  if (dhcp.bootServer !== undefined && dhcp.bootFile === undefined)
    yield fieldProblem(["dhcp", "bootServer"], dhcp.bootServer, "a server with a file to boot, bootFile");
  if (dhcp.bootFile !== undefined && !families.has(4))
    yield fieldProblem(["dhcp", "bootFile"], dhcp.bootFile, "none but with an IPv4 subnet: it is told by DHCPv4");
}

/** What the endpoint is told as its host name: what its label `hostname` says if that is one label of RFC 1123, else its id. */
export function hostNameOf({
  id,
  labels,
}: {
  readonly id: string;
  readonly labels?: Readonly<Record<string, string>>;
}): string {
  const name = labels?.[hostNameLabel]?.toLowerCase();
  return name !== undefined && labelPattern.test(name) ? name : id;
}
