import { type Cidr, parseCidr } from "../../base/cidr.ts";
import { WeftError } from "../../base/errors.ts";
import { familyOf } from "../../base/ip.ts";
import { wantedRoutes } from "../../dataplane/devices/port/container-routes.ts";
import { hostEndName } from "../../dataplane/kernel-names.ts";
import { parseNetworkName } from "../../model/names.ts";
import { toNodeAddress } from "../../model/node-address.ts";
import type { Network } from "../../model/resources.ts";
import type { EngineEndpoint } from "./engine-endpoints.ts";
import type { Fields } from "./fields.ts";
import { createHint } from "./hints.ts";
import { addressSpace, type Drivers } from "./ipam-driver.ts";
import { publishedOf } from "./published.ts";

const networkOption = "weft.network";
const genericOptions = "com.docker.network.generic";
const internalOption = "com.docker.network.internal";
const portsOption = "com.docker.network.portmap";

/** libnetwork's types: `NEXTHOP` and `CONNECTED`. */
const [nextHop, connected] = [0, 1];

/** What libnetwork asks of the driver of a network. Methods are named as its calls are. */
export class NetworkDriver {
  readonly #drivers: Drivers;

  constructor(drivers: Drivers) {
    this.#drivers = drivers;
  }

  getCapabilities(): object {
    // Each engine makes its own network of Docker's; what makes them one is weft's.
    return { Scope: "local", ConnectivityScope: "global" };
  }

  async createNetwork(request: Fields): Promise<object> {
    const options = request.within("Options");
    const network = requireNetworkName(options.within(genericOptions));
    const data = [...request.list("IPv4Data"), ...request.list("IPv6Data")];
    const pools = data.map((each) => requirePool(each, network));
    const { agent, endpoints, networks } = this.#drivers;
    const look = (): Network | undefined => agent.desired.networks.get(network)?.network;
    const declared = look() ?? (await endpoints.tryNetwork(network, look));
    if (declared === undefined) throw takenFrom(`join network ${network}`);
    requireSubnets(network, declared.subnets, pools);
    networks.put({ id: request.text("NetworkID"), network, pools, isInternal: options.flag(internalOption) });
    return {};
  }

  deleteNetwork(request: Fields): object {
    this.#drivers.networks.remove(request.text("NetworkID"));
    return {};
  }

  createEndpoint(request: Fields): object {
    const { networks, endpoints } = this.#drivers;
    const { network } = networks.get(request.text("NetworkID"));
    const wanted = request.within("Interface");
    const mac = wanted.text("MacAddress");
    const found = endpoints.find(
      ({ owner, endpoint }) => owner.endpoint === "" && owner.mac === mac && endpoint.network === network,
    );
    if (found === undefined)
      throw new WeftError({
        code: "not-found",
        attempted: `create an endpoint with MAC ${mac} in network ${network}`,
        reason: "its addresses were not asked for before, or were given back meanwhile",
        hint: "start the container again, or connect it to the network again",
      });
    endpoints.name(found, request.text("EndpointID"));
    // What Docker has it must not be told again.
    const given = new Set([wanted.text("Address"), wanted.text("AddressIPv6")].map((each) => each.split("/")[0]));
    const { local } = this.#localOf(found);
    const more = local.addresses.filter(({ address }) => !given.has(address));
    return {
      Interface: Object.fromEntries(
        more.map(({ address, prefixLength }) => [
          familyOf(address) === 4 ? "Address" : "AddressIPv6",
          `${address}/${prefixLength}`,
        ]),
      ),
    };
  }

  endpointOperInfo(): object {
    return { Value: {} };
  }

  /** Docker moves the interface into the sandbox, and names it eth0, eth1, …. */
  join(request: Fields): object {
    const { networks, endpoints } = this.#drivers;
    const id = request.text("EndpointID");
    const { isInternal } = networks.get(request.text("NetworkID"));
    const found = endpoints.get(id, `put endpoint ${id.slice(0, 12)} of Docker's into its sandbox`);
    endpoints.name(found, id, request.text("SandboxKey"));
    const { local, settings } = this.#localOf(found);
    const gateways: Record<string, string> = {};
    const routes: object[] = [];
    for (const { destination, nexthops, priority } of wantedRoutes(local, 0, settings, 0)) {
      // Docker refuses a container that another of its networks has given that route.
      if (destination === toNodeAddress && !this.#hasNodeAddress(found, request.text("SandboxKey")))
        routes.push({ Destination: destination, RouteType: connected });
      const gateway = nexthops[0]?.gateway;
      if (gateway === undefined) continue;
      // Of weft's routes of containers those to everything alone have a priority.
      if (priority === undefined) routes.push({ Destination: destination, RouteType: nextHop, NextHop: gateway });
      else if (!isInternal) gateways[familyOf(gateway) === 4 ? "Gateway" : "GatewayIPv6"] = gateway;
    }
    return {
      InterfaceName: { SrcName: hostEndName(found.endpoint.id), DstPrefix: "eth" },
      ...gateways,
      StaticRoutes: routes,
      // Without it Docker leads containers of networks that have no way out over a bridge of its own.
      DisableGatewayService: true,
    };
  }

  /** Docker takes the interface back to the host, and then gives back the addresses. */
  leave(): object {
    return {};
  }

  /** Its addresses are given back next, and with them all of it goes: nobody else gets them in between. */
  deleteEndpoint(): object {
    return {};
  }

  /** Of a container's networks Docker asks the one that its way out is. */
  async programExternalConnectivity(request: Fields): Promise<object> {
    const id = request.text("EndpointID");
    const attempted = `publish ports of endpoint ${id.slice(0, 12)} of Docker's`;
    const published = publishedOf(request.within("Options").list(portsOption), attempted);
    if (published.length > 0) await this.#drivers.endpoints.publish(id, published, attempted);
    return {};
  }

  /** One that is gone has none. */
  async revokeExternalConnectivity(request: Fields): Promise<object> {
    const id = request.text("EndpointID");
    const { endpoints } = this.#drivers;
    if (endpoints.find(({ owner }) => id !== "" && owner.endpoint === id) !== undefined)
      await endpoints.publish(id, [], `take back ports of endpoint ${id.slice(0, 12)} of Docker's`);
    return {};
  }

  /** Docker's own discovery of other engines: weft has its server. */
  discoverNew(): object {
    return {};
  }

  discoverDelete(): object {
    return {};
  }

  /** Whether another endpoint in the sandbox has the route to the node's address. */
  #hasNodeAddress(except: EngineEndpoint, sandbox: string): boolean {
    return this.#drivers.endpoints.list().some(({ attachment: { id, place }, endpoint: { network } }) => {
      const isOther = id !== except.endpoint.id && place.kind === "sandbox" && place.netns === sandbox;
      return isOther && this.#drivers.agent.dataplane.networks.get(network)?.settings.answersAtNodeAddress === true;
    });
  }

  #localOf({ endpoint: { id, network } }: EngineEndpoint) {
    const desired = this.#drivers.agent.dataplane.networks.get(network);
    const local = desired?.locals.get(id);
    if (desired !== undefined && local !== undefined) return { local, settings: desired.settings };
    throw takenFrom(`attach endpoint ${id} to network ${network}`);
  }
}

function takenFrom(attempted: string): WeftError {
  return new WeftError({
    code: "unavailable",
    attempted,
    reason: "the network was taken from this node meanwhile",
    hint: "see weft status",
  });
}

function requireNetworkName(options: Fields): string {
  const attempted = "create a network";
  const other = options.names.find((name) => name !== networkOption);
  if (other !== undefined)
    throw new WeftError({
      code: "invalid-argument",
      attempted,
      reason: `-o ${other}: Docker's side of a network has no such option; allowed: ${networkOption}`,
      hint: "an administrator says what a network is like: weft network create NETWORK --tenant TENANT --subnet SUBNET …; engines join it",
    });
  const name = parseNetworkName(options.text(networkOption));
  if (name.ok) return name.value;
  throw new WeftError({
    code: "invalid-argument",
    attempted,
    reason: `-o ${networkOption}: found "${options.text(networkOption)}"; allowed: ${name.error}`,
    hint: createHint,
  });
}

function requirePool(data: Fields, network: string): Cidr {
  const attempted = `join network ${network}`;
  if (data.text("AddressSpace") !== addressSpace)
    throw new WeftError({
      code: "invalid-argument",
      attempted,
      reason: "Docker would choose addresses for this host alone, and others have the same",
      hint: createHint,
    });
  const pool = parseCidr(data.text("Pool"));
  if (pool.ok) return pool.value;
  throw new WeftError({ code: "invalid-argument", attempted, reason: `Pool: ${pool.error}`, hint: createHint });
}

function requireSubnets(network: string, subnets: readonly Cidr[], pools: readonly Cidr[]): void {
  const other = pools.find((pool) => !subnets.includes(pool));
  if (other === undefined) return;
  throw new WeftError({
    code: "invalid-argument",
    attempted: `join network ${network}`,
    reason: `--subnet ${other}: the network has ${subnets.join(", ")}`,
    hint: `give ${subnets.map((subnet) => `--subnet ${subnet}`).join(" ")}`,
  });
}
