import { WeftError } from "../base/errors.ts";
import type { Declared } from "./declared.ts";
import { noTunnel } from "./encapsulation.ts";
import type { NetworkDraft, Tenant } from "./resources.ts";

/** Networks in the host's own namespace: of one tenant, whom nothing keeps apart from the host but what is said of its networks. */

/** Why the tenant cannot be on hosts. */
export function checkNewPlacement({ name, placement }: Tenant, declared: Declared): WeftError[] {
  if (placement !== "host") return [];
  const [other] = Array.from(declared.tenantsOnHosts()).filter((each) => each.name !== name);
  if (other === undefined) return [];
  return [
    new WeftError({
      code: "already-exists",
      attempted: `create tenant ${name}`,
      reason: `tenant ${other.name} has placement host, and those of two would not be apart in one namespace`,
      hint: `give it placement own, or its networks to tenant ${other.name}`,
    }),
  ];
}

/** Why `before` cannot become `after`, a tenant of the same name. */
export function checkPlacementChange(before: Tenant, after: Tenant): WeftError[] {
  if (before.placement === after.placement) return [];
  return [
    new WeftError({
      code: "failed-precondition",
      attempted: `change tenant ${before.name}`,
      reason: `placement is ${before.placement} and cannot become ${after.placement}`,
      hint: `keep placement: ${before.placement}, or create another tenant and move the endpoints there`,
    }),
  ];
}

/** Why the network cannot be where its tenant is. */
export function checkPlacementOf(network: NetworkDraft, attempted: string, declared: Declared): WeftError[] {
  if (declared.get("tenant", network.tenant)?.placement !== "host") return [];
  const errors: WeftError[] = [];
  const refuse = (what: string, hint: string): void => {
    const reason = `${what} does not go with tenant ${network.tenant}, whose networks are in the host's own namespace`;
    errors.push(new WeftError({ code: "failed-precondition", attempted, reason, hint }));
  };
  if (network.mode !== "l3") refuse(`mode ${network.mode}`, "say mode: l3");
  if (!network.hostAccess) refuse("hostAccess: false", "say hostAccess: true: a host reaches what it routes to");
  if (network.encapsulation === noTunnel || network.crossSubnet)
    refuse(
      network.crossSubnet ? "crossSubnet" : `encapsulation ${noTunnel}`,
      "choose an encapsulation, without crossSubnet",
    );
  if (network.peers.length > 0) refuse("peers", "let networks of tenants with placement own be peers");
  if (network.dhcp !== undefined) refuse("dhcp", "attach what asks for its address to a network of another tenant");
  for (const { name } of declared.floatingOf(network.name))
    refuse(`the floating address ${name}`, `delete it: weft floating-address delete ${name}`);
  return errors;
}
