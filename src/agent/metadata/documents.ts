import { stringify } from "yaml";
import type { Configuration } from "../dhcp/configuration.ts";

/** What is said of an endpoint to itself. */
export type Described = Pick<Configuration, "id" | "hostName" | "mac" | "mtu" | "ipv4" | "ipv6">;

/**
 * The documents of cloud-init's data source NoCloud, by their names below its seed. All four are always there: it wants `meta-data` and
 * `user-data`, and takes it for no data source where one of them is missing.
 */
export function documentsOf(
  described: Described,
  userData: Uint8Array | undefined,
): ReadonlyMap<string, () => Uint8Array> {
  return new Map([
    ["meta-data", () => yaml(metaDataOf(described))],
    ["user-data", () => userData ?? new Uint8Array()],
    ["vendor-data", () => new Uint8Array()],
    ["network-config", () => yaml(networkConfigurationOf(described))],
  ]);
}

/** Who keeps its id is the same instance, wherever it moves: what is to be done once in its life is not done again. */
function metaDataOf({ id, hostName }: Described) {
  return { "instance-id": id, "local-hostname": hostName };
}

/** Version 2. Addresses, routes and name servers come by DHCP, which the network has, and follow it when they change. */
function networkConfigurationOf({ mac, mtu, ipv4, ipv6 }: Described) {
  const card = { match: { macaddress: mac }, "set-name": interfaceName, mtu };
  return {
    version: 2,
    ethernets: { [interfaceName]: { ...card, dhcp4: ipv4 !== undefined, dhcp6: ipv6 !== undefined } },
  };
}

/** As weft names interfaces that it makes. */
const interfaceName = "eth0";

/** Texts are quoted: YAML 1.1, which cloud-init reads, takes 12:34:56:00:00:01 for a number. */
function yaml(value: object): Uint8Array {
  return new TextEncoder().encode(stringify(value, { defaultStringType: "QUOTE_DOUBLE", defaultKeyType: "PLAIN" }));
}
