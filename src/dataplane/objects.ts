/**
 * An object of the kernel, or of what weft does there, by which events, problems and metrics name it. Text for people is
 * made of it at the edge by {@link nameOfObject} and never read back.
 */
export interface KernelObject {
  /** `FDB entry`, `tunnel`, `nft table`; `network` and `tenant` are these themselves. */
  readonly kind: string;
  /** Absent: it is of the whole node. */
  readonly tenant?: string;
  readonly network?: string;
  /** Which of its kind: a MAC, an address, the name of a device. */
  readonly key?: string;
}

/** `FDB entry 02:… of network blue`. */
export function nameOfObject({ kind, tenant, network, key }: KernelObject): string {
  if (key === undefined && (kind === "network" || kind === "tenant")) return `${kind} ${network ?? tenant}`;
  const own = key === undefined ? kind : `${kind} ${key}`;
  if (network !== undefined) return `${own} of network ${network}`;
  return tenant === undefined ? own : `${own} of tenant ${tenant}`;
}
