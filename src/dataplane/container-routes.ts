import { type Cidr, cidr, cidrContains } from "../base/cidr.ts";
import { familyOf } from "../base/ip.ts";
import { listRoutes, type NetlinkSocket, type Request, type Route, replaceRoute } from "../netlink/index.ts";
import type { LocalEndpoint, NetworkSettings } from "./desired.ts";
import { weftProtocol } from "./ownership.ts";

/** linux/rtnetlink.h: RT_TABLE_MAIN. */
const mainTable = 254;
const everything = { 4: cidr("0.0.0.0/0"), 6: cidr("::/0") } as const;

/**
 * Routes of a container whose node is its gateway: to the network's subnets, which reach beyond the block that is on its
 * link, and to everything else unless it has a default route of somebody else's, such as of another interface.
 */
export async function ensureContainerRoutes(
  endpoint: LocalEndpoint,
  network: NetworkSettings,
  index: number,
  inside: NetlinkSocket,
): Promise<void> {
  const { gateways = [] } = endpoint;
  if (gateways.length === 0) return;
  const present = (await inside.dump(listRoutes())).filter((route) => route.table === mainTable);
  const requests: Request[] = [];
  for (const gateway of gateways) {
    const family = familyOf(gateway);
    const isOnLink = (subnet: Cidr): boolean =>
      endpoint.addresses.some(
        ({ address, prefixLength }) => `${prefixLength}` === subnet.split("/")[1] && cidrContains(subnet, address),
      );
    const subnets = network.subnets.filter((subnet) => cidrContains(subnet, gateway) && !isOnLink(subnet));
    for (const destination of [...subnets, everything[family]]) {
      const wanted: Route = { destination, protocol: weftProtocol, nexthops: [{ index, gateway }] };
      const others = present.filter((route) => route.destination === destination);
      const isThere = others.some(({ nexthops: [hop] }) => hop?.index === index && hop.gateway === gateway);
      const isTaken =
        destination === everything[family] &&
        others.some((route) => route.protocol !== weftProtocol || route.nexthops[0]?.index !== index);
      if (!isThere && !isTaken) requests.push(replaceRoute(wanted));
    }
  }
  const { failures } = await inside.batch(requests);
  if (failures[0] !== undefined) throw failures[0].error;
}
