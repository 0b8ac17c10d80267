/** What the tests beside it have an endpoint told. */
import { cidr } from "../../base/cidr.ts";
import { type Ipv4Address, type Ipv6Address, ip } from "../../base/ip.ts";
import { mac } from "../../base/mac.ts";
import type { LocalEndpoint } from "../../dataplane/index.ts";
import type { Network } from "../../model/index.ts";
import { networkSettings } from "../../testing/desired.ts";
import { type Configuration, configurationOf } from "./configuration.ts";

export const exampleEndpoint: LocalEndpoint = {
  id: "0000000000a1",
  mac: mac("02:aa:00:00:00:01"),
  addresses: [
    { address: ip("10.0.0.2"), prefixLength: 24 },
    { address: ip("fd00::2"), prefixLength: 64 },
  ],
  gateways: [ip("10.0.0.1"), ip("fd00::1")],
  labels: { hostname: "web-1" },
  place: { kind: "netns", netns: "/run/netns/a", interface: "eth0", inode: 0, routePriority: 1 },
};

export function exampleNetwork(changes: Partial<Network> = {}): Network {
  return {
    ...{ name: "blue-net", mode: "l2", subnets: [cidr("10.0.0.0/24"), cidr("fd00::/64")], gateways: [] },
    dhcp: {
      dns: [ip("10.0.0.53"), ip("fd00::53")],
      domain: "lab.example",
      ntp: [ip("10.0.0.123"), ip("fd00::123")],
      leaseTime: 1000,
      bootServer: ip("10.0.0.69") as Ipv4Address,
      bootFile: "pxe",
      metadata: false,
    },
    ...changes,
  } as Network;
}

export function exampleConfiguration(
  changes: Partial<Network> = {},
  endpoint = exampleEndpoint,
  settings = networkSettings(),
): Configuration {
  const configuration = configurationOf(exampleNetwork(changes), settings, endpoint);
  if (configuration === undefined) throw new TypeError("the network tells nothing");
  return configuration;
}

export const serverLinkLocal = ip("fe80::57:ff:fe00:64") as Ipv6Address;
