import type { Command } from "commander";
import { agentOption, examples, outputOption, type WithAgent, type WithOutput } from "../options.ts";
import { instant, plain, showNext } from "../output.ts";
import { renderTable } from "../table.ts";

export function registerEvents(program: Command): void {
  const events = program
    .command("events")
    .description("what the agent did and found of late")
    .option("-F, --follow", "go on with events as they happen")
    .addOption(agentOption())
    .addOption(outputOption())
    .action(async (options: WithAgent & WithOutput & { readonly follow?: boolean }) => {
      const { agentClient } = await import("../../api/clients.ts");
      const client = agentClient(options.agent);
      // A series without an end may begin late: this asks in time whether anybody is there.
      await client.getStatus({});
      for await (const message of client.watchEvents({ follow: options.follow ?? false })) {
        const { level, kind, object, reference } = plain(message);
        const event = { time: instant(message.time), level, kind, object, reference, message: message.message };
        await showNext(options.output, event, (surface) => {
          // Rows come one at a time: fixed widths keep them in columns, and the header is left away.
          const row = { ...event, level: event.level.padEnd(7), kind: event.kind.padEnd(14) };
          const table = renderTable(
            [
              { header: "", value: () => row.time },
              { header: "", value: () => row.level },
              { header: "", value: () => row.kind },
              { header: "", value: () => row.object },
              { header: "", value: () => row.message },
            ],
            [row],
            { colour: surface.colour },
          );
          return table.slice(table.indexOf("\n") + 1);
        });
      }
    });
  examples(events, "weft events", "weft events --follow", "weft events --follow -o json | jq .message");
}
