import { Gauge, Registry } from "prom-client";
import type { Agent } from "./agent.ts";

/** What the agent tells of itself, in the text format of Prometheus. */
export function agentMetrics(agent: Agent): Registry {
  const registry = new Registry();
  const gauge = (name: string, help: string, read: () => number): void => {
    new Gauge({
      name,
      help,
      registers: [registry],
      collect() {
        this.set(read());
      },
    });
  };
  const { dataplane } = agent;
  gauge("weft_agent_revision", "Revision of the server's state that is held complete", () => agent.revision);
  gauge("weft_agent_connected", "1 while the server can be reached", () =>
    Number(agent.serverState.state === "connected"),
  );
  gauge("weft_agent_in_sync", "1 while the kernel equals the desired state", () => Number(dataplane.inSync));
  gauge("weft_agent_netlink_writes_total", "Messages that changed the kernel", () => dataplane.writes);
  gauge(
    "weft_agent_repairs_total",
    "Objects that somebody else damaged and that were restored",
    () => dataplane.repairs,
  );
  gauge("weft_agent_problems", "Kernel objects that are not as they should be", () => dataplane.problems.size);
  gauge("weft_agent_networks", "Networks on this node", () => dataplane.networks.size);
  gauge("weft_agent_endpoints", "Endpoints of this node", () => agent.desired.own.size);
  gauge("weft_agent_remote_endpoints", "Endpoints of other nodes in this node's networks", () => {
    let count = 0;
    for (const network of dataplane.networks.values()) count += network.remotes.size;
    return count;
  });
  gauge("process_resident_memory_bytes", "Resident memory", () => process.memoryUsage.rss());
  return registry;
}
