import type { IncomingMessage, ServerResponse } from "node:http";
import type { Agent } from "../../agent/agent.ts";
import type { AgentPlugin, MakeAgentPlugin } from "../../agent/plugin.ts";
import { messageOf, WeftError } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { hostEndName } from "../../dataplane/kernel-names.ts";
import { getLink, lookUp, NetlinkSocket } from "../../netlink/index.ts";
import { DockerNetworks } from "./docker-networks.ts";
import { Engine } from "./engine.ts";
import { EngineEndpoints } from "./engine-endpoints.ts";
import { EngineNames } from "./engine-names.ts";
import { Fields } from "./fields.ts";
import { type Drivers, IpamDriver } from "./ipam-driver.ts";
import { NetworkDriver } from "./network-driver.ts";
import { Orphans } from "./orphans.ts";

type Call = (request: Fields) => object | Promise<object>;

const largestRequest = 1 << 20;
const contentType = "application/vnd.docker.plugins.v1.1+json";

/** What Docker asks of its plugin weft: networks and addresses (libnetwork's remote drivers), on the agent's socket. */
export function dockerPlugin({ socket }: { /** Docker's own. */ readonly socket: string }): MakeAgentPlugin {
  return (agent) => makePlugin(agent, socket);
}

function makePlugin(agent: Agent, socket: string): AgentPlugin {
  const { logger, clock, kernel, dataDirectory } = agent.options;
  const endpoints = new EngineEndpoints(agent);
  const networks = new DockerNetworks(dataDirectory, logger);
  const calls = callsOf({ agent, networks, endpoints });
  const names = new EngineNames({ agent, networks, endpoints, engine: new Engine(socket) });
  const orphans = new Orphans({
    clock,
    logger,
    list: () => new Map(endpoints.list().map((each) => [each.attachment.id, each])),
    release: (each) => endpoints.release(each),
    async isWithHost(id) {
      using host = kernel.current();
      using socket = new NetlinkSocket({ channel: host.openChannel({}) });
      return (await lookUp(socket, getLink({ name: hostEndName(id) }))) !== undefined;
    },
  });
  return {
    paths: [...calls.keys()],
    answer: (request, response) => void answer(calls, logger, request, response),
    async begin() {
      await endpoints.releaseStale();
      orphans.begin();
      names.begin();
    },
    close() {
      orphans.close();
      names.close();
    },
  };
}

function callsOf(drivers: Drivers): ReadonlyMap<string, Call> {
  const [network, ipam] = [new NetworkDriver(drivers), new IpamDriver(drivers)];
  const calls: Readonly<Record<string, Call>> = {
    "Plugin.Activate": () => ({ Implements: ["NetworkDriver", "IpamDriver"] }),
    "NetworkDriver.GetCapabilities": () => network.getCapabilities(),
    "NetworkDriver.CreateNetwork": (request) => network.createNetwork(request),
    "NetworkDriver.DeleteNetwork": (request) => network.deleteNetwork(request),
    "NetworkDriver.CreateEndpoint": (request) => network.createEndpoint(request),
    "NetworkDriver.DeleteEndpoint": () => network.deleteEndpoint(),
    "NetworkDriver.EndpointOperInfo": () => network.endpointOperInfo(),
    "NetworkDriver.Join": (request) => network.join(request),
    "NetworkDriver.Leave": () => network.leave(),
    "NetworkDriver.ProgramExternalConnectivity": (request) => network.programExternalConnectivity(request),
    "NetworkDriver.RevokeExternalConnectivity": (request) => network.revokeExternalConnectivity(request),
    "NetworkDriver.DiscoverNew": () => network.discoverNew(),
    "NetworkDriver.DiscoverDelete": () => network.discoverDelete(),
    "IpamDriver.GetCapabilities": () => ipam.getCapabilities(),
    "IpamDriver.GetDefaultAddressSpaces": () => ipam.getDefaultAddressSpaces(),
    "IpamDriver.RequestPool": (request) => ipam.requestPool(request),
    "IpamDriver.ReleasePool": () => ({}),
    "IpamDriver.RequestAddress": (request) => ipam.requestAddress(request),
    "IpamDriver.ReleaseAddress": (request) => ipam.releaseAddress(request),
  };
  return new Map(Object.entries(calls).map(([name, call]) => [`/${name}`, call]));
}

/** A request that is none gets a status of HTTP, one that cannot be met an error in the answer: libnetwork's docs/remote.md, "Errors". */
async function answer(
  calls: ReadonlyMap<string, Call>,
  logger: Logger,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const send = (status: number, value: object): void => {
    response.writeHead(status, { "content-type": contentType }).end(`${JSON.stringify(value)}\n`);
  };
  const { url = "" } = request;
  let fields: Fields;
  try {
    fields = Fields.parse(await bodyOf(request));
  } catch (error) {
    return send(400, { Err: messageOf(error) });
  }
  try {
    send(200, (await calls.get(url)?.(fields)) ?? {});
  } catch (error) {
    const hint = error instanceof WeftError && error.hint !== undefined ? `; try: ${error.hint}` : "";
    const text = `weft: ${messageOf(error)}${hint}`;
    logger.warn({ call: url, error: text }, "a call of Docker's failed");
    // Network drivers say it by the one name, and IPAM drivers by the other: libnetwork's drivers/remote/api and ipams/remote/api.
    send(200, { [url.startsWith("/IpamDriver.") ? "Error" : "Err"]: text });
  }
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > largestRequest)
      throw new WeftError({
        code: "invalid-argument",
        attempted: "read a request of Docker's",
        reason: `it is larger than ${largestRequest} octets`,
      });
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}
