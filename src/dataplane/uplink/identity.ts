import { createHash } from "node:crypto";

/** Whose uplink: what tells it from others in the underlay's namespace, which tenants and instances share. */
export interface UplinkIdentity {
  readonly instance: string;
  readonly tenant: string;
}

/** The tenant's end of the pair. */
export const tenantDevice = "uplink";

/** The host's end of the pair: 14 bytes of the 15 that the kernel allows. */
export function hostDevice(identity: UplinkIdentity): string {
  return `up${digest(identity, "device").toString("hex", 0, 6)}`;
}

/** Names that {@link hostDevice} gives. */
export const hostDevicePattern = /^up[0-9a-f]{12}$/;

const tablePrefix = (instance: string): string => `weft-uplink-${instance}-`;

/** The host's filter. Instances have no hyphen in their names, so that it can be read back in one way only. */
export function hostTable({ instance, tenant }: UplinkIdentity): string {
  return `${tablePrefix(instance)}${tenant}`;
}

/** The tenant whose filter this is, or `undefined` when the table is no uplink's of this instance. */
export function tenantOfHostTable(instance: string, table: string): string | undefined {
  const prefix = tablePrefix(instance);
  return table.startsWith(prefix) ? table.slice(prefix.length) : undefined;
}

/**
 * The metric of this uplink's routes on the host; together with the protocol number it says whose they are. It is part of
 * a route's key, so the kernel keeps it for as long as the route, whatever becomes of devices and processes, and two uplinks
 * never replace each other's routes. Devices would not do: routes to blocks of other nodes lead through the host's own.
 * In the upper half of 32 bits, so that any route that somebody else makes to the same prefix comes first.
 */
export function routeMetric(identity: UplinkIdentity): number {
  return (digest(identity, "metric").readUInt32BE(0) | 0x8000_0000) >>> 0;
}

/** 40 bits that are this uplink's. */
export function addressSeed(identity: UplinkIdentity): bigint {
  return BigInt(`0x${digest(identity, "addresses").toString("hex", 0, 5)}`);
}

function digest({ instance, tenant }: UplinkIdentity, purpose: string): Buffer {
  return createHash("sha256").update(`${purpose} ${instance} ${tenant}`).digest();
}
