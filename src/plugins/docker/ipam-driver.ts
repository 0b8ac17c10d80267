import type { Agent } from "../../agent/agent.ts";
import { type Cidr, cidrContains, cidrFamily, parseCidr } from "../../base/cidr.ts";
import { WeftError } from "../../base/errors.ts";
import { type IpAddress, parseIp } from "../../base/ip.ts";
import type { Endpoint } from "../../model/resources.ts";
import type { DockerNetworks } from "./docker-networks.ts";
import type { EngineEndpoints } from "./engine-endpoints.ts";
import type { Fields } from "./fields.ts";
import { createHint } from "./hints.ts";

export interface Drivers {
  readonly agent: Agent;
  readonly networks: DockerNetworks;
  readonly endpoints: EngineEndpoints;
}

/** By which a network of Docker's is known to have its addresses from here. */
export const addressSpace = "weft";

const macOption = "com.docker.network.endpoint.macaddress";
/** libnetwork's `netlabel.Gateway`: with it Docker asks for no address for a gateway. */
const gatewayData = "com.docker.network.gateway";

/**
 * Gives addresses for endpoints of networks whose driver is weft. An address is never had without its endpoint: who asks for one gets
 * a whole endpoint, which is known by its MAC until Docker has an id for it. A pool is a subnet, and its id is the subnet.
 */
export class IpamDriver {
  readonly #drivers: Drivers;

  constructor(drivers: Drivers) {
    this.#drivers = drivers;
  }

  getCapabilities(): object {
    // The MAC joins what is asked for one endpoint in several calls. Nothing is to be asked again when Docker starts.
    return { RequiresMACAddress: true, RequiresRequestReplay: false };
  }

  getDefaultAddressSpaces(): object {
    return { LocalDefaultAddressSpace: addressSpace, GlobalDefaultAddressSpace: addressSpace };
  }

  requestPool(request: Fields): object {
    const refuse = (reason: string): WeftError =>
      new WeftError({ code: "invalid-argument", attempted: "create a network", reason, hint: createHint });
    const pool = request.text("Pool");
    if (pool === "")
      throw refuse(`no ${request.flag("V6") ? "IPv6" : "IPv4"} subnet is given; it is that of weft's network`);
    if (request.text("SubPool") !== "")
      throw refuse("--ip-range is not heeded: the server gives addresses to all nodes");
    const [option] = request.within("Options").names;
    if (option !== undefined) throw refuse(`--ipam-opt ${option}: weft has none`);
    const subnet = parseCidr(pool);
    if (!subnet.ok) throw refuse(`subnet ${pool}: ${subnet.error}`);
    const gateway = cidrFamily(subnet.value) === 4 ? "0.0.0.0/0" : "::/0";
    return { PoolID: subnet.value, Pool: subnet.value, Data: { [gatewayData]: gateway } };
  }

  async requestAddress(request: Fields): Promise<object> {
    const [pool, wanted] = [request.text("PoolID"), request.text("Address")];
    const mac = request.within("Options").text(macOption);
    const attempted = wanted === "" ? `give an address of ${pool}` : `give address ${wanted}`;
    const refuse = (code: "invalid-argument" | "not-found", reason: string, hint: string): WeftError =>
      new WeftError({ code, attempted, reason, hint });
    if (mac === "")
      throw refuse(
        "invalid-argument",
        "gateways and addresses for other use are those of weft's network",
        "leave out --gateway and --aux-address",
      );
    const subnet = parseCidr(pool);
    const network = this.#drivers.networks.networkOf(pool);
    if (!subnet.ok || network === undefined)
      throw refuse("not-found", "no network of Docker's on this node has that subnet", createHint);
    const ip = wanted === "" ? undefined : parseIp(wanted);
    if (ip?.ok === false) throw refuse("invalid-argument", ip.error, "give an address of the subnet");
    const endpoint = await this.#endpointWith(network, mac, subnet.value, ip?.value);
    const address = this.#addressesOf(endpoint).find((each) => cidrContains(subnet.value, each.address));
    if (address !== undefined) return { Address: `${address.address}/${address.prefixLength}`, Data: {} };
    throw refuse("invalid-argument", `network ${network} gave ${endpoint.ips.join(", ")}`, createHint);
  }

  /** Docker has deleted the endpoint, or could not make one. Until then nobody else gets the address. */
  async releaseAddress(request: Fields): Promise<object> {
    const network = this.#drivers.networks.networkOf(request.text("PoolID"));
    const ip = parseIp(request.text("Address"));
    const { endpoints } = this.#drivers;
    const found = endpoints.find(
      ({ endpoint }) => ip.ok && endpoint.network === network && endpoint.ips.includes(ip.value),
    );
    if (found !== undefined) await endpoints.release(found);
    return {};
  }

  async #endpointWith(network: string, mac: string, subnet: Cidr, ip: IpAddress | undefined): Promise<Endpoint> {
    const { endpoints } = this.#drivers;
    // Docker asks for an address of each family.
    const other = endpoints.find(
      ({ owner, endpoint }) => owner.endpoint === "" && owner.mac === mac && endpoint.network === network,
    );
    if (other === undefined) return endpoints.attach(network, mac, ip === undefined ? [] : [ip]);
    const { ips } = other.endpoint;
    if (ip === undefined || ips.includes(ip)) return other.endpoint;
    await endpoints.release(other);
    return endpoints.attach(network, mac, [...ips.filter((each) => !cidrContains(subnet, each)), ip]);
  }

  #addressesOf(endpoint: Endpoint): ReturnType<Agent["desired"]["addressesOf"]> {
    const { desired } = this.#drivers.agent;
    const network = desired.networks.get(endpoint.network)?.network;
    return network === undefined ? [] : desired.addressesOf(endpoint, network);
  }
}
