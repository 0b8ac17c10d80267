import type { Agent } from "./agent.ts";

interface Metric {
  readonly name: string;
  readonly type: "gauge" | "counter";
  readonly help: string;
  /** A number, or one for each kind of object, or of reason. */
  readonly read: (agent: Agent) => number | ReadonlyMap<string, number>;
}

const metrics: readonly Metric[] = [
  {
    name: "weft_agent_revision",
    type: "gauge",
    help: "Revision of the server's state that is held complete",
    read: (agent) => agent.revision,
  },
  {
    name: "weft_agent_connected",
    type: "gauge",
    help: "1 while the server can be reached",
    read: (agent) => Number(agent.serverState.state === "connected"),
  },
  {
    name: "weft_agent_in_sync",
    type: "gauge",
    help: "1 while the kernel equals the desired state",
    read: ({ inSync }) => Number(inSync),
  },
  {
    name: "weft_agent_netlink_writes_total",
    type: "counter",
    help: "Messages that changed the kernel",
    read: ({ dataplane }) => dataplane.writes,
  },
  {
    name: "weft_agent_repairs_total",
    type: "counter",
    help: "Objects that somebody else damaged and that were restored",
    read: ({ dataplane }) => dataplane.repairs,
  },
  {
    name: "weft_agent_repairs_by_kind_total",
    type: "counter",
    help: "The same, by kind of object",
    read: ({ dataplane }) => dataplane.repairsByKind,
  },
  {
    name: "weft_agent_problems",
    type: "gauge",
    help: "Kernel objects that are not as they should be",
    read: ({ dataplane, problems }) => dataplane.problems.size + problems.size,
  },
  {
    name: "weft_agent_problems_by_kind",
    type: "gauge",
    help: "The same, by kind of object",
    read: ({ dataplane, problems }) => {
      const counts = new Map<string, number>();
      for (const { object } of [...dataplane.problems.list(), ...problems.list()])
        counts.set(object.kind, (counts.get(object.kind) ?? 0) + 1);
      return counts;
    },
  },
  {
    name: "weft_agent_dropped_frames_total",
    type: "counter",
    help: "Frames of endpoints here that they may not send, or that policies forbid, by reason",
    read: ({ dataplane }) => dataplane.dropped,
  },
  {
    name: "weft_agent_networks",
    type: "gauge",
    help: "Networks on this node",
    read: ({ dataplane }) => dataplane.networks.size,
  },
  {
    name: "weft_agent_endpoints",
    type: "gauge",
    help: "Endpoints of this node",
    read: ({ desired }) => desired.own.size,
  },
  {
    name: "weft_agent_remote_endpoints",
    type: "gauge",
    help: "Endpoints of other nodes in this node's networks",
    read: ({ dataplane }) => {
      let count = 0;
      for (const network of dataplane.networks.values()) count += network.remotes.size;
      return count;
    },
  },
  {
    name: "weft_agent_learned_endpoints",
    type: "gauge",
    help: "Endpoints that were found behind ports of this node",
    read: ({ dataplane }) => {
      let count = 0;
      for (const network of dataplane.networks.values()) count += network.learned.size;
      return count;
    },
  },
  {
    name: "process_resident_memory_bytes",
    type: "gauge",
    help: "Resident memory",
    read: () => process.memoryUsage.rss(),
  },
];

/** Prometheus' text exposition format, version 0.0.4. */
export const metricsContentType = "text/plain; version=0.0.4; charset=utf-8";

/** What the agent tells of itself. Kinds of objects are words of weft's own, with nothing in them to be escaped. */
export function metricsText(agent: Agent): string {
  return metrics
    .map(({ name, type, help, read }) => {
      const value = read(agent);
      const samples =
        typeof value === "number"
          ? [`${name} ${value}`]
          : Array.from(value, ([kind, count]) => `${name}{kind="${kind}"} ${count}`);
      return [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...samples, ""].join("\n");
    })
    .join("");
}
