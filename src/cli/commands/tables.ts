import type { Command } from "commander";
import { agentOption, examples, outputOption, type WithAgent, type WithOutput } from "../options.ts";
import { plain, show } from "../output.ts";
import { renderTable } from "../table.ts";

const tables = [
  {
    name: "fdb",
    description: "MAC addresses of a network, and the port or VTEP that each is behind",
    key: "mac",
  },
  { name: "neighbours", description: "IP addresses of a network, and the MAC address of each", key: "ip" },
  { name: "routes", description: "routes of the tenants on this node", key: "destination" },
] as const;

/** One command for each table: what is desired beside what the kernel has, drift marked. */
export function registerTables(program: Command): void {
  for (const table of tables) {
    const command = program
      .command(`${table.name} [network]`)
      .description(table.description)
      .addOption(agentOption())
      .addOption(outputOption())
      .action(async (network: string | undefined, options: WithAgent & WithOutput) => {
        const { agentClient } = await import("../../api/clients.ts");
        const answer = await agentClient(options.agent).listTable({ table: table.name, network: network ?? "" });
        const { rows } = plain(answer);
        await show(options.output, rows, (surface) =>
          renderTable(
            [
              { header: "network", value: (row) => row.network },
              { header: "state", value: (row) => row.state, isState: true },
              { header: table.key, value: (row) => row.key },
              { header: "desired", value: (row) => row.desired || "-" },
              { header: "actual", value: (row) => row.actual || "-" },
              { header: "origin", value: (row) => row.origin },
              { header: "device", value: (row) => row.device },
              { header: "namespace", value: (row) => row.namespace },
            ],
            rows,
            surface,
          ),
        );
      });
    examples(command, `weft ${table.name}`, `weft ${table.name} web -o json`);
  }
}
