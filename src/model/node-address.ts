import { type Cidr, cidrContains, cidrFamily } from "../base/cidr.ts";
import { type Ipv4Address, ip } from "../base/ip.ts";
import { type FieldProblem, fieldProblem } from "./problem.ts";
import type { NetworkDraft } from "./resources.ts";

/**
 * Where nodes answer endpoints for metadata and names, as clouds do: of 169.254.0.0/16, which nobody routes. The same in guard.c.
 */
export const nodeAddress = ip("169.254.169.254") as Ipv4Address;

/** Routes to it lead to the interface itself. */
export const toNodeAddress = `${nodeAddress}/32` as Cidr;

/** Whether nodes answer endpoints of the network there. */
export function isAnsweredThere({ dhcp, names }: Pick<NetworkDraft, "dhcp" | "names">): boolean {
  return names || dhcp?.metadata === true;
}

/** Whether endpoints can ask there, and nobody else has the address. */
export function* nodeAddressProblems({
  dhcp,
  names,
  subnets,
}: Pick<NetworkDraft, "dhcp" | "names" | "subnets">): Generator<FieldProblem> {
  const fields = [...(dhcp?.metadata === true ? ["dhcp.metadata"] : []), ...(names ? ["names"] : [])];
  for (const field of fields) {
    for (const [index, subnet] of subnets.entries())
      if (cidrContains(subnet, nodeAddress))
        yield fieldProblem(
          ["subnets", index],
          subnet,
          `with ${field} a prefix without ${nodeAddress}, at which nodes answer`,
        );
    if (!subnets.some((subnet) => cidrFamily(subnet) === 4))
      yield fieldProblem(
        field.split("."),
        "true",
        "false where there is no IPv4 subnet: nodes answer at an IPv4 address",
      );
  }
}
