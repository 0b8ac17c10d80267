import type { OutputFormat } from "../output.ts";
import { plain, show } from "../output.ts";
import { renderTable } from "../table.ts";

/** Shows what of this node's kernel is otherwise than it should be: rows of tables, and objects that could not be made. */
export async function showLiveDifferences(agent: string, output: OutputFormat): Promise<void> {
  const { agentClient } = await import("../../api/clients.ts");
  const client = agentClient(agent);
  const differences: { object: string; state: string; desired: string; actual: string }[] = [];
  for (const { object, reason } of (await client.getStatus({})).problems)
    differences.push({ object, state: "failed", desired: "", actual: reason });
  for (const table of ["fdb", "neighbours", "routes"])
    for (const row of plain(await client.listTable({ table, network: "" })).rows) {
      const { network, key, state, desired, actual } = row;
      if (state === "same" || state === "learned") continue;
      differences.push({ object: `${table} ${key} of network ${network}`, state, desired, actual });
    }
  await show(output, differences, (surface) =>
    differences.length === 0
      ? "the kernel is as it should be\n"
      : renderTable(
          [
            { header: "object", value: (row) => row.object },
            { header: "state", value: (row) => row.state, isState: true },
            { header: "desired", value: (row) => row.desired || "-" },
            { header: "actual", value: (row) => row.actual || "-" },
          ],
          differences,
          surface,
        ),
  );
}
