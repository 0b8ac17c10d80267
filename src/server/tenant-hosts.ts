/** In how many networks of each tenant nodes have something. */
export class TenantHosts {
  readonly #counts = new Map<string, Map<string, number>>();

  /** In one more. */
  add(tenant: string, node: string): void {
    const counts = this.#counts.get(tenant) ?? new Map<string, number>();
    this.#counts.set(tenant, counts);
    counts.set(node, (counts.get(node) ?? 0) + 1);
  }

  /** One less. */
  remove(tenant: string, node: string): void {
    const counts = this.#counts.get(tenant);
    const left = (counts?.get(node) ?? 1) - 1;
    if (left > 0) counts?.set(node, left);
    else counts?.delete(node);
    if (counts?.size === 0) this.#counts.delete(tenant);
  }

  countOf(tenant: string, node: string): number {
    return this.#counts.get(tenant)?.get(node) ?? 0;
  }

  /** The nodes that have something in any. */
  of(tenant: string): Iterable<string> {
    return this.#counts.get(tenant)?.keys() ?? [];
  }
}
