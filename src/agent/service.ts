import type { ServiceImpl } from "@connectrpc/connect";
import type { AgentService, AttachRequest } from "../api/generated/weft/v1/agent_pb.js";
import { certificateValidity } from "../api/join.ts";
import { kinds } from "../api/kinds.ts";
import { weftVersion } from "../api/version.ts";
import { WeftError } from "../base/errors.ts";
import { nameOfObject } from "../dataplane/index.ts";
import { bridgeName, endpointPortName, namespaceName, tunnelPattern } from "../dataplane/kernel-names.ts";
import { listFdb, listNeighbourRows, listRouteRows, type TableRow } from "../diagnose/tables.ts";
import { noTunnel } from "../model/encapsulation.ts";
import type { Endpoint } from "../model/resources.ts";
import type { Agent } from "./agent.ts";
import { interfaceOf, type PlaceRequest, tapOf } from "./attach/kind.ts";
import { eventToMessage } from "./event-log.ts";
import { hasPort } from "./replica.ts";
import { wayText } from "./ways.ts";

const tables = new Map([
  ["fdb", listFdb],
  ["neighbours", listNeighbourRows],
  ["routes", listRouteRows],
]);

/** What the commands on a node ask of the agent. */
export function agentService(agent: Agent): ServiceImpl<typeof AgentService> {
  return {
    async attach(request) {
      const place = placeOf(`attach to network ${request.network}`, request);
      const endpoint = await agent.attachments.attach({ ...request, place });
      const state = agent.desired.networks.get(endpoint.network);
      const here = agent.dataplane.networks.get(endpoint.network);
      const addresses =
        here?.local(endpoint.id)?.addresses ??
        (state === undefined ? [] : agent.desired.addressesOf(endpoint, state.network));
      return {
        endpoint: kinds.endpoint.toMessage(endpoint),
        interface: interfaceOf(place),
        // What it may send: while that changes, the device lets larger packets pass than anybody sends.
        mtu: here?.settings.mtu ?? 0,
        addresses: addresses.map(({ address, prefixLength }) => `${address}/${prefixLength}`),
        revision: BigInt(agent.revision),
      };
    },
    async detach(request) {
      const { network } = request;
      const place = placeOf(`detach from network ${network}`, request);
      return { endpoint: (await agent.attachments.detach({ network, place })) ?? "" };
    },
    getStatus() {
      return statusOf(agent);
    },
    async listTable(request) {
      const list = tables.get(request.table);
      if (list === undefined)
        throw new WeftError({
          code: "invalid-argument",
          attempted: "list a table",
          reason: `found "${request.table}"; allowed: ${[...tables.keys()].join(", ")}`,
        });
      const networks = [...agent.dataplane.networks.values()].filter(
        (network) => request.network === "" || network.settings.name === request.network,
      );
      if (request.network !== "" && networks.length === 0)
        throw new WeftError({
          code: "not-found",
          attempted: `list ${request.table} of network ${request.network}`,
          reason: "this node hosts no such network",
          hint: "list the networks that it hosts with: weft status",
        });
      const rows: TableRow[][] = [];
      for (const network of networks) rows.push(await list(agent.dataplane, network));
      return { rows: rows.flat() };
    },
    getPolicyCounts({ policy }) {
      const counts = agent.dataplane.policyCounts(policy) ?? new Map<string, number>();
      return { counts: Object.fromEntries(Array.from(counts, ([rule, count]) => [rule, BigInt(count)])) };
    },
    waitInPlace(request, context) {
      return agent.waitInPlace(request, context.signal);
    },
    async getBandwidthUse({ network }) {
      const uses = await agent.dataplane.bandwidthUse(network === "" ? undefined : network);
      return {
        uses: uses.map(({ octets, packets, limited, dropped, waiting, ...whose }) => ({
          ...whose,
          octets: BigInt(octets),
          packets: BigInt(packets),
          limited: BigInt(limited),
          dropped: BigInt(dropped),
          waiting: BigInt(waiting),
        })),
      };
    },
    examine(request) {
      return agent.diagnosis.examineAsMessages(request);
    },
    trace(request) {
      return agent.diagnosis.trace(request);
    },
    async *watchEvents(request, context) {
      for await (const event of agent.events.read(request.follow, context.signal)) yield eventToMessage(event);
    },
  };
}

/** Where a request leads: into a namespace, or to an interface of the host. */
function placeOf(
  attempted: string,
  request: Pick<AttachRequest, "netns" | "interface" | "device"> &
    Partial<Pick<AttachRequest, "routePriority" | "tap">>,
): PlaceRequest {
  const { netns, interface: name, device, tap, routePriority = 0 } = request;
  if ((netns === "") === (device === ""))
    throw new WeftError({
      code: "invalid-argument",
      attempted,
      reason: `found ${netns === "" ? "neither a namespace nor" : "a namespace and"} an interface of the host; allowed: one of both`,
    });
  if (device === "") return { kind: "netns", netns, interface: name, routePriority };
  return tap === undefined ? { kind: "device", device } : tapOf(device, tap);
}

function statusOf(agent: Agent): Awaited<ReturnType<ServiceImpl<typeof AgentService>["getStatus"]>> {
  const { dataplane, desired, options } = agent;
  const server = agent.serverState;
  return {
    node: options.node,
    instance: options.instance,
    version: weftVersion(),
    serverState: server.state,
    serverError: server.error,
    revision: BigInt(agent.revision),
    inSync: agent.inSync,
    netlinkWrites: BigInt(dataplane.writes),
    repairs: BigInt(dataplane.repairs),
    vteps: [agent.underlay.vteps.ipv4, agent.underlay.vteps.ipv6].filter((vtep) => vtep !== undefined),
    underlayMtu: agent.underlay.mtu,
    networks: networksOf(agent),
    // Those that were learned hang nowhere: they are rows of the FDB.
    endpoints: [...desired.own.values()].filter(isDeclared).map((endpoint) => {
      const attachment = agent.attached.get(endpoint.id);
      const problem = dataplane.problems.get({ kind: "endpoint", network: endpoint.network, key: endpoint.id });
      const note = dataplane.network(endpoint.network)?.dataplane.ports.noteOf(endpoint.id) ?? "";
      const isPending =
        (attachment === undefined || hasPort(attachment)) && !dataplane.isPortInPlace(endpoint.network, endpoint.id);
      const standsBy = endpoint.node !== options.node;
      return {
        endpoint: kinds.endpoint.toMessage(endpoint),
        netns: attachment !== undefined && "netns" in attachment.place ? attachment.place.netns : "",
        interface: attachment === undefined ? "" : interfaceOf(attachment.place),
        port: endpointPortName(endpoint.id),
        state: problem !== undefined ? "failed" : isPending ? "pending" : standsBy ? "stands by" : "done",
        reason: problem?.error.message ?? note,
        dropped: Object.fromEntries(
          Object.entries(dataplane.droppedOf(endpoint.network, endpoint.id)).map(([why, count]) => [
            why,
            BigInt(count),
          ]),
        ),
      };
    }),
    problems: [...agent.problems.list(), ...dataplane.problems.list()].map(({ object, error, since, attempts }) => ({
      object: nameOfObject(object),
      reference: object,
      state: "failed",
      reason: error.message,
      since: BigInt(Math.round(options.clock.now() - (options.clock.monotonic() - since))),
      attempts,
    })),
    certificateExpires: BigInt(certificateValidity(agent.credentials.certificate).until),
    uptime: BigInt(Math.round(options.clock.monotonic() - agent.startedAt)),
    residentMemory: BigInt(process.memoryUsage.rss()),
  };
}

function isDeclared({ attachment }: Endpoint): boolean {
  return attachment !== "learned";
}

function networksOf(agent: Agent) {
  const { dataplane, desired, options, underlay } = agent;
  const joined = agent.joinedGroups();
  return [...dataplane.networks.values()].map((network) => {
    const { settings, locals, remotes, remoteVteps } = network;
    const declared = desired.networks.get(settings.name)?.network;
    const { transport, multicast } = settings;
    const groupInterface = [...underlay.interfaces].find(([, index]) => index === multicast?.interfaceIndex)?.[0] ?? "";
    return {
      name: settings.name,
      tenant: settings.tenant,
      vni: settings.vni,
      namespace: namespaceName(options.instance, settings.tenant),
      bridge: bridgeName(settings.vni),
      tunnel: transport === undefined ? "" : tunnelPattern(transport, settings.vni),
      mtu: settings.mtu,
      port: transport?.port ?? 0,
      localEndpoints: locals.size,
      remoteEndpoints: remotes.size,
      remoteVteps: [...remoteVteps],
      subnets: [...settings.subnets],
      mode: settings.mode,
      encapsulation: transport?.encapsulation ?? noTunnel,
      underlay: declared?.underlay ?? "",
      discovery: declared?.discovery ?? "",
      learning: settings.learning,
      standby: desired.standbyOf(settings.name).map(wayText),
      group: multicast?.address ?? "",
      groupInterface,
      groupJoined: joined.some(
        ({ group, interfaceName }) => group === multicast?.address && interfaceName === groupInterface,
      ),
      localBlocks: [...network.localBlocks.keys()],
      remoteBlocks: network.blocks.size,
      learnedEndpoints: network.learned.size,
    };
  });
}
