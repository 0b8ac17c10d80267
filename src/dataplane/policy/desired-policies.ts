import { isDeepStrictEqual } from "node:util";
import type { Policy, PolicyMember } from "../../model/policy/index.ts";

/** What one tenant's policies are, and whom they speak of. */
export class TenantPolicies {
  /** By name. */
  readonly policies = new Map<string, Policy>();
  /** By id. */
  readonly members = new Map<string, PolicyMember>();
  /** Ids of members that came, went or changed since somebody looked. */
  readonly changed = new Set<string>();
  /** Policies did. */
  isChangedWhole = true;
}

/** The policies of the tenants that have networks here. */
export class DesiredPolicies {
  readonly #tenants = new Map<string, TenantPolicies>();
  /** The tenant of each policy and of each member. */
  readonly #tenantOfPolicy = new Map<string, string>();
  readonly #tenantOfMember = new Map<string, string>();

  of(tenant: string): TenantPolicies {
    const known = this.#tenants.get(tenant) ?? new TenantPolicies();
    this.#tenants.set(tenant, known);
    return known;
  }

  find(name: string): Policy | undefined {
    return this.#tenants.get(this.#tenantOfPolicy.get(name) ?? "")?.policies.get(name);
  }

  put(policy: Policy): void {
    const former = this.#tenantOfPolicy.get(policy.name);
    if (former !== undefined && isDeepStrictEqual(this.of(former).policies.get(policy.name), policy)) return;
    this.remove(policy.name);
    const of = this.of(policy.tenant);
    of.policies.set(policy.name, policy);
    of.isChangedWhole = true;
    this.#tenantOfPolicy.set(policy.name, policy.tenant);
  }

  remove(name: string): void {
    const tenant = this.#tenantOfPolicy.get(name);
    if (tenant === undefined) return;
    this.#tenantOfPolicy.delete(name);
    const of = this.of(tenant);
    of.policies.delete(name);
    of.isChangedWhole = true;
  }

  putMember(member: PolicyMember): void {
    const former = this.#tenantOfMember.get(member.id);
    if (former !== undefined && isDeepStrictEqual(this.of(former).members.get(member.id), member)) return;
    if (former !== undefined && former !== member.tenant) this.removeMember(member.id);
    const of = this.of(member.tenant);
    of.members.set(member.id, member);
    of.changed.add(member.id);
    this.#tenantOfMember.set(member.id, member.tenant);
  }

  removeMember(id: string): void {
    const tenant = this.#tenantOfMember.get(id);
    if (tenant === undefined) return;
    this.#tenantOfMember.delete(id);
    const of = this.of(tenant);
    of.members.delete(id);
    of.changed.add(id);
  }
}
