import { policyTenantOf, type ReplicaChange } from "./replica.ts";

/**
 * Tenants whose policies hold on although the server let them go, because endpoints here are unclaimed: a server that was restored
 * from an older copy does not know that this node hosts them. Without, all would be open until it does.
 */
export class KeptPolicies {
  readonly #tenants = new Set<string>();

  /** What is to be acted upon of what was told, while endpoints of these tenants are unclaimed. */
  keep(changes: readonly ReplicaChange[], tenants: ReadonlySet<string>): readonly ReplicaChange[] {
    return changes.filter((change) => {
      if (change.kind !== "policies-removed" || !tenants.has(change.tenant)) return true;
      // Of a tenant that the node hosts in the server's eyes, the word holds.
      if (tellsOf(changes, change.tenant)) return true;
      this.#tenants.add(change.tenant);
      return false;
    });
  }

  /** With what was told, what becomes void by it: policies of tenants that the server speaks of again without them. */
  settle(changes: readonly ReplicaChange[]): readonly ReplicaChange[] {
    const settled = [...this.#tenants].filter((tenant) => tellsOf(changes, tenant));
    for (const tenant of settled) this.#tenants.delete(tenant);
    const isTold = (tenant: string): boolean => changes.some((change) => policyTenantOf(change) === tenant);
    return [...settled.filter((tenant) => !isTold(tenant)).map(removal), ...changes];
  }

  /** No endpoint of the tenant is here any more. */
  gone(tenant: string): readonly ReplicaChange[] {
    return this.#tenants.delete(tenant) ? [removal(tenant)] : [];
  }
}

function tellsOf(changes: readonly ReplicaChange[], tenant: string): boolean {
  return changes.some((change) => change.kind === "network" && change.state.network.tenant === tenant);
}

function removal(tenant: string): ReplicaChange {
  return { kind: "policies-removed", tenant };
}
