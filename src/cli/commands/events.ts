import { type Command, Option } from "commander";
import type { Event } from "../../api/generated/weft/v1/diagnosis_pb.js";
import type { Duration } from "../../base/duration.ts";
import { WeftError } from "../../base/errors.ts";
import {
  agentOption,
  duration,
  examples,
  outputOption,
  serverOption,
  type WithAgent,
  type WithOutput,
  type WithServer,
} from "../options.ts";
import { instant, plain, showNext } from "../output.ts";
import { renderTable } from "../table.ts";
import { printError } from "../terminal.ts";

const levels = ["info", "warning", "error"] as const;

interface Filter {
  readonly level: (typeof levels)[number];
  readonly kind?: string;
  readonly object?: string;
  readonly since?: Duration;
}

interface EventsOptions extends WithAgent, WithServer, WithOutput, Filter {
  readonly follow?: true;
  readonly allNodes?: true;
}

export function registerEvents(program: Command): void {
  const events = program
    .command("events")
    .description("what the agent did and found, also before it was started again")
    .option("-F, --follow", "go on with events as they happen")
    .option("-A, --all-nodes", "of all nodes that are connected, by way of the server; on the server's host")
    .addOption(new Option("--level <level>", "this and what is graver").choices(levels).default("info"))
    .option("--kind <kind>", "of this kind alone: repaired, failed, attached, …")
    .option("--object <text>", "of objects whose name has this in it: a network, an address, a MAC, an endpoint")
    .option("--since <duration>", "not longer ago", duration)
    .addOption(agentOption())
    .addOption(serverOption())
    .addOption(outputOption())
    .action((options: EventsOptions) => (options.allNodes === true ? showOfAll(options) : showOfNode(options)));
  examples(
    events,
    "weft events",
    "weft events --follow --level warning",
    "weft events --all-nodes --since 1h --object web",
    "weft events --follow -o json | jq .message",
  );
}

async function showOfNode(options: EventsOptions): Promise<void> {
  const { agentClient } = await import("../../api/clients.ts");
  const client = agentClient(options.agent);
  // A series without an end may begin late: this asks in time whether anybody is there.
  await client.getStatus({});
  const isMeant = meant(options);
  for await (const event of client.watchEvents({ follow: options.follow ?? false }))
    if (isMeant(event)) await showEvent(options, event);
}

/** All of the past of all nodes, in the order in which it happened by their clocks. */
async function showOfAll(options: EventsOptions): Promise<void> {
  if (options.follow === true)
    throw new WeftError({
      code: "invalid-argument",
      attempted: "follow the events of all nodes",
      reason: "--follow shows those of one node",
      hint: "run weft events --follow on it",
    });
  const { serverClient } = await import("../../api/clients.ts");
  const isMeant = meant(options);
  const all: { readonly node: string; readonly event: Event }[] = [];
  const since = options.since === undefined ? 0n : BigInt(Date.now() - options.since);
  for await (const { node, failure, events } of serverClient(options.server).listNodeEvents({ request: { since } })) {
    if (failure !== "") printError(`node ${node}: ${failure}\n`);
    for (const event of events) if (isMeant(event)) all.push({ node, event });
  }
  all.sort((a, b) => Number(a.event.time - b.event.time));
  for (const { node, event } of all) await showEvent(options, event, node);
}

function meant({ level, kind, object = "", since }: Filter): (event: Event) => boolean {
  const least = levels.indexOf(level);
  const from = since === undefined ? 0 : Date.now() - since;
  return (event) =>
    levels.indexOf(event.level as Filter["level"]) >= least &&
    (kind === undefined || event.kind === kind) &&
    event.object.includes(object) &&
    Number(event.time) >= from;
}

async function showEvent({ output }: WithOutput, message: Event, node?: string): Promise<void> {
  const { level, kind, object, reference } = plain(message);
  const event = {
    time: instant(message.time),
    ...(node === undefined ? {} : { node }),
    level,
    kind,
    object,
    reference,
    message: message.message,
  };
  await showNext(output, event, (surface) => {
    // Rows come one at a time: fixed widths keep them in columns, and the header is left away.
    const columns = [
      event.time,
      ...(node === undefined ? [] : [node.padEnd(8)]),
      event.level.padEnd(7),
      event.kind.padEnd(14),
      event.object,
      event.message,
    ];
    const table = renderTable(
      columns.map((text) => ({ header: "", value: () => text })),
      [event],
      { colour: surface.colour },
    );
    return table.slice(table.indexOf("\n") + 1);
  });
}
