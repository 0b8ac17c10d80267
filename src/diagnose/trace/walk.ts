import type { LocalEndpoint } from "../../dataplane/index.ts";
import type { TraceQuestion } from "./question.ts";
import { crossBridge } from "./stages/bridge.ts";
import { enterContainer, leaveContainer } from "./stages/container.ts";
import { enterPort, leaveByPort } from "./stages/port.ts";
import { routeOn } from "./stages/routing.ts";
import { enterTunnel } from "./stages/tunnel.ts";
import { arrive, leaveHost } from "./stages/underlay.ts";
import type { End, Start, WatchedStep } from "./step.ts";
import { type Firewalls, type Situation, stopped, type TraceSubject, Trail } from "./trail.ts";

/** More than any way has on one node: what goes round in circles ends somewhere. */
const situationsAtMost = 64;

/** What the tables of a node say of a packet's way through it. A way that stops is gone on with as far as what follows can be told. */
export async function walk(
  subject: TraceSubject,
  { start, packet, network }: Pick<TraceQuestion, "start" | "packet" | "network">,
  firewalls: Firewalls,
): Promise<{ readonly steps: readonly WatchedStep[]; readonly end: End }> {
  const trail = new Trail(subject, packet, firewalls);
  try {
    let situation = await beginning(trail, start, network);
    for (let count = 0; situation.at !== "end"; count++) {
      if (count > situationsAtMost) {
        trail.stops("routing", subject.node, "it goes round in circles");
        situation = stopped;
      } else situation = await next(trail, situation);
    }
    return { steps: trail.steps, end: situation.end };
  } finally {
    trail.close();
  }
}

async function beginning(trail: Trail, start: Start, name: string): Promise<Situation> {
  if (start.kind === "arrival") return { at: "arrival", handover: start.handover };
  if (start.kind === "host") return await fromHost(trail);
  const network = trail.carried(name);
  const has = ({ addresses }: LocalEndpoint): boolean => addresses.some(({ address }) => address === start.address);
  const endpoint = [...(network?.desired.locals.values() ?? [])].find(has);
  if (network !== undefined && endpoint !== undefined) return { at: "container", network, endpoint: endpoint.id };
  const detail = `network ${name} has no endpoint here with ${start.address}, or is not in place`;
  trail.stops("container", start.address, detail, {
    cause: "it left, or the agent has not got so far",
    cure: "weft status",
  });
  return stopped;
}

/** What is no address of the host's own comes in by where the way back leads. */
async function fromHost(trail: Trail): Promise<Situation> {
  const { host, packet } = trail;
  const { source } = packet;
  const own = await host.route({ source, destination: source });
  if (own.kind === "local") return { at: "routing", space: host };
  const back = await host.route({ source: packet.source, destination: source });
  const index = back.kind === "unicast" ? back.route.nexthops[0]?.index : undefined;
  const by = index === undefined ? undefined : await host.link(index);
  if (by !== undefined) return { at: "routing", space: host, by };
  trail.unknown(
    "underlay",
    host.place,
    `where packets of ${source} come in is not known: this host has no way back to it`,
  );
  return stopped;
}

async function next(trail: Trail, situation: Exclude<Situation, { at: "end" }>): Promise<Situation> {
  switch (situation.at) {
    case "container":
      return await leaveContainer(trail, situation);
    case "port":
      return await enterPort(trail, situation);
    case "bridge":
      return await crossBridge(trail, situation);
    case "routing":
      return await routeOn(trail, situation);
    case "tunnel":
      return await enterTunnel(trail, situation);
    case "underlay":
      return await leaveHost(trail, situation);
    case "arrival":
      return await arrive(trail, situation);
    case "delivery":
      return (await leaveByPort(trail, situation)) === undefined ? stopped : await enterContainer(trail, situation);
  }
}
