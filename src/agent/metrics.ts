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

/** Of networks whose bandwidth is limited; what single endpoints used is not a matter for metrics, of which there would be too many. */
const bandwidthMetrics: readonly {
  readonly name: string;
  readonly type: Metric["type"];
  readonly help: string;
  readonly field: "octets" | "packets" | "limited" | "dropped" | "waiting";
}[] = [
  {
    name: "weft_agent_bandwidth_octets_total",
    type: "counter",
    help: "Octets of frames that passed the limits of a network here, by direction",
    field: "octets",
  },
  {
    name: "weft_agent_bandwidth_packets_total",
    type: "counter",
    help: "Frames that passed them",
    field: "packets",
  },
  {
    name: "weft_agent_bandwidth_limited_total",
    type: "counter",
    help: "How often the network had something to send and had to wait for its limit",
    field: "limited",
  },
  {
    name: "weft_agent_bandwidth_dropped_total",
    type: "counter",
    help: "Frames that found no room to wait, or waited too long",
    field: "dropped",
  },
  {
    name: "weft_agent_bandwidth_waiting_octets",
    type: "gauge",
    help: "Octets that wait now",
    field: "waiting",
  },
];

/** Prometheus' text exposition format, version 0.0.4. */
export const metricsContentType = "text/plain; version=0.0.4; charset=utf-8";

/** What the agent tells of itself. Kinds of objects and names of networks have nothing in them to be escaped. */
export async function metricsText(agent: Agent): Promise<string> {
  const uses = (await agent.dataplane.bandwidthUse()).filter(({ endpoint }) => endpoint === undefined);
  const ofAgent = metrics.map(({ read, ...metric }) => {
    const value = read(agent);
    const samples =
      typeof value === "number"
        ? [["", value] as const]
        : Array.from(value, ([kind, count]) => [`{kind="${kind}"}`, count] as const);
    return family(metric, samples);
  });
  const ofBandwidth = bandwidthMetrics.map(({ field, ...metric }) =>
    family(
      metric,
      uses.map((use) => [`{network="${use.network}",direction="${use.direction}"}`, use[field]] as const),
    ),
  );
  return [...ofAgent, ...ofBandwidth].join("");
}

function family(
  { name, type, help }: Pick<Metric, "name" | "type" | "help">,
  samples: readonly (readonly [labels: string, value: number])[],
): string {
  const lines = samples.map(([labels, value]) => `${name}${labels} ${value}`);
  return [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...lines, ""].join("\n");
}
