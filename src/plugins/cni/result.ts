import { familyOf, parseIp } from "../../base/ip.ts";
import { type CniVersion, isAtLeast } from "./version.ts";

/** Section 5 of the specification, "ADD Success", as of its newest version. */
export interface CniResult {
  readonly interfaces?: readonly ResultInterface[];
  readonly ips: readonly ResultAddress[];
  readonly routes: readonly ResultRoute[];
  readonly dns?: Readonly<Record<string, unknown>>;
}

export interface ResultInterface {
  readonly name: string;
  readonly mac: string;
  readonly mtu?: number;
  /** Absent: on the host. */
  readonly sandbox?: string;
}

export interface ResultAddress {
  /** With prefix length. */
  readonly address: string;
  readonly gateway?: string;
  /** Index into the interfaces. */
  readonly interface?: number;
}

export interface ResultRoute {
  readonly dst: string;
  readonly gw?: string;
  readonly priority?: number;
}

type Json = Readonly<Record<string, unknown>>;

/** The result in the form of a version, behind what the plugins before have made; that is in the form of this version already. */
export function resultOf(version: CniVersion, { interfaces, ips, routes, dns }: CniResult, before: Json = {}): Json {
  const earlier = listOf(before.interfaces);
  const own = {
    ...(interfaces === undefined ? {} : { interfaces: interfaces.map((each) => interfaceOf(version, each)) }),
    ips: ips.map((each) => addressOf(version, each, earlier.length)),
    routes: routes.map((each) => routeOf(version, each)),
  };
  const lists = Object.entries(own).map(([key, list]) => [key, [...listOf(before[key]), ...list]]);
  const isSilent =
    before.dns === undefined || Object.values(before.dns as Json).every((each) => each === "" || isEmpty(each));
  return {
    ...before,
    ...Object.fromEntries(lists),
    cniVersion: version,
    dns: isSilent ? (dns ?? {}) : before.dns,
  };
}

function interfaceOf(version: CniVersion, { mtu, ...rest }: ResultInterface): Json {
  return isAtLeast(version, "1.1.0") && mtu !== undefined ? { ...rest, mtu } : rest;
}

/** Until 0.4.0 each said of which IP version it was. */
function addressOf(version: CniVersion, { interface: index, ...rest }: ResultAddress, offset: number): Json {
  const address = parseIp(rest.address.split("/")[0] ?? "");
  return {
    ...(isAtLeast(version, "1.0.0") || !address.ok ? {} : { version: `${familyOf(address.value)}` }),
    ...rest,
    ...(index === undefined ? {} : { interface: index + offset }),
  };
}

function routeOf(version: CniVersion, { priority, ...rest }: ResultRoute): Json {
  return isAtLeast(version, "1.1.0") && priority !== undefined ? { ...rest, priority } : rest;
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function isEmpty(value: unknown): boolean {
  return value == null || (Array.isArray(value) && value.length === 0);
}
