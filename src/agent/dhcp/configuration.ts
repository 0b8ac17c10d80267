import { type Cidr, cidrContains, cidrFamily, type InterfaceAddress } from "../../base/cidr.ts";
import { familyOf, type IpAddress, type IpFamily, type Ipv4Address, type Ipv6Address, ip } from "../../base/ip.ts";
import { linkLocalOf } from "../../base/link-local.ts";
import type { MacAddress } from "../../base/mac.ts";
import type { LocalEndpoint, NetworkSettings } from "../../dataplane/index.ts";
import { type Dhcp, hostNameOf, serverWithoutGateway } from "../../model/dhcp.ts";
import { networkMac } from "../../model/endpoint-mac.ts";
import { minimumMtu } from "../../model/mtu.ts";
import { isAnsweredThere, toNodeAddress } from "../../model/node-address.ts";
import type { Network } from "../../model/resources.ts";
import type { ClasslessRoute } from "../../wire/index.ts";
import type { Sources } from "../port-answers.ts";

/** What one endpoint is told, and in whose name. */
export interface Configuration {
  /** Of the endpoint. */
  readonly id: string;
  readonly mac: MacAddress;
  readonly hostName: string;
  /** Octets of the largest packet. */
  readonly mtu: number;
  readonly told: Dhcp;
  /** Of the network's bridge, the same on every node: whoever moves has the same server. */
  readonly serverMac: MacAddress;
  /** The same of its link-local address. */
  readonly serverLinkLocal: Ipv6Address;
  readonly ipv4?: Ipv4Configuration;
  readonly ipv6?: Ipv6Configuration;
}

export interface Ipv4Configuration {
  readonly address: Ipv4Address;
  readonly prefixLength: number;
  readonly server: Ipv4Address;
  readonly routers: readonly Ipv4Address[];
  /** What has to be said beside the routers; they say that again. */
  readonly routes: readonly ClasslessRoute[];
}

export interface Ipv6Configuration {
  readonly address: Ipv6Address;
  /** Of what is on the link. */
  readonly prefixLength: number;
  /** Whether the node is a default router. */
  readonly isRouted: boolean;
  /** Prefixes that addresses of this link may be of. */
  readonly subnets: readonly Cidr[];
}

/** `undefined`: the network's nodes tell nothing. */
export function configurationOf(
  network: Network,
  settings: NetworkSettings,
  endpoint: LocalEndpoint,
): Configuration | undefined {
  if (network.dhcp === undefined) return undefined;
  const serverMac = networkMac(settings.vni);
  const own4 = find(endpoint.addresses, 4);
  const own6 = settings.mtu < minimumMtu[6] ? undefined : find(endpoint.addresses, 6);
  return {
    id: endpoint.id,
    mac: endpoint.mac,
    hostName: hostNameOf(endpoint),
    mtu: settings.mtu,
    told: network.dhcp,
    serverMac,
    serverLinkLocal: linkLocalOf(serverMac) as Ipv6Address,
    ...(own4 === undefined ? {} : { ipv4: ipv4Of(network, endpoint, own4) }),
    ...(own6 === undefined ? {} : { ipv6: ipv6Of(network, endpoint, own6) }),
  };
}

/** Of a network whose nodes tell something. */
export function configurationFrom({ network, settings, endpoint }: Sources): Configuration {
  const configuration = configurationOf(network, settings, endpoint);
  if (configuration === undefined) throw new TypeError(`nodes tell endpoints of network ${network.name} nothing`);
  return configuration;
}

function ipv4Of(network: Network, { gateways = [] }: LocalEndpoint, own: InterfaceAddress): Ipv4Configuration {
  const here = addressesOf(gateways, 4) as Ipv4Address[];
  const [server = serverWithoutGateway] = here;
  const subnets = network.subnets.filter((subnet) => cidrContains(subnet, own.address));
  // In a layer-2 network without one here, the gateway is a router of the tenant's.
  const routers = here.length > 0 ? here : (addressesOf(network.gateways, 4) as Ipv4Address[]);
  // Who does without the default route reaches the other blocks all the same.
  const beyond = network.mode === "l3" ? subnets : [];
  const routes = [...beyond, ...(beyond.length === 0 ? [] : [everything])].flatMap((destination) =>
    here.map((router): ClasslessRoute => ({ destination, router })),
  );
  // Who has no router to send there finds the address on the link.
  const onLink = isAnsweredThere(network) && routers.length === 0 ? [onLinkRoute] : [];
  const address = own.address as Ipv4Address;
  return { address, prefixLength: own.prefixLength, server, routers, routes: [...routes, ...onLink] };
}

function ipv6Of(network: Network, { gateways = [] }: LocalEndpoint, own: InterfaceAddress): Ipv6Configuration {
  return {
    address: own.address as Ipv6Address,
    prefixLength: own.prefixLength,
    isRouted: addressesOf(gateways, 6).length > 0,
    subnets: network.subnets.filter((subnet) => cidrFamily(subnet) === 6),
  };
}

const everything = "0.0.0.0/0" as Cidr;
/** RFC 3442: a router of zeros says that the destination is on the link. */
const onLinkRoute: ClasslessRoute = {
  destination: toNodeAddress,
  router: ip("0.0.0.0") as Ipv4Address,
};

function find(addresses: readonly InterfaceAddress[], family: IpFamily): InterfaceAddress | undefined {
  return addresses.find(({ address }) => familyOf(address) === family);
}

/** Those of the family. */
export function addressesOf(addresses: readonly IpAddress[], family: IpFamily): IpAddress[] {
  return addresses.filter((address) => familyOf(address) === family);
}
