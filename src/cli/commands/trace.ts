import { existsSync } from "node:fs";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Command } from "commander";
import type {
  TracedJourney,
  TraceLeg,
  TraceRequestSchema,
  TraceResponse,
  TraceStep,
} from "../../api/generated/weft/v1/diagnosis_pb.js";
import { WeftError } from "../../base/errors.ts";
import {
  agentOption,
  examples,
  integer,
  outputOption,
  serverOption,
  type WithAgent,
  type WithOutput,
  type WithServer,
} from "../options.ts";
import { plain, show } from "../output.ts";
import { paintState, type Surface } from "../table.ts";

interface TraceOptions extends WithAgent, WithServer, WithOutput {
  readonly protocol?: string;
  readonly port?: number;
  readonly size?: number;
  readonly ttl?: number;
  readonly dryRun?: true;
}

export function registerTrace(program: Command): void {
  const trace = program
    .command("trace <from> <to>")
    .description(
      "follow a packet from one to the other and back: what it meets on each node, and where it stops and why",
    )
    .option("--protocol <protocol>", "icmp, udp or tcp (default: icmp, or tcp with --port)")
    .option("--port <port>", "the destination port", integer(1, 65_535))
    .option("--size <octets>", "of the packet, from its IP header on", integer(1, 65_535))
    .option("--ttl <hops>", "its time to live, or hop limit", integer(1, 255))
    .option("--dry-run", "send nothing: tell what the tables say of such a packet")
    .addOption(agentOption())
    .addOption(serverOption())
    .addOption(outputOption())
    .addHelpText(
      "after",
      "\nEach is the id, MAC or address of an endpoint, NETWORK/ADDRESS, the name of its namespace on this node or, one of both, an\naddress outside. On a node of one of them the agent is asked, elsewhere, on the server's host, the server.",
    )
    .action(async (from: string, to: string, options: TraceOptions) => {
      const { protocol = "", port, size = 0, ttl = 0, dryRun = false, output } = options;
      const wish = { from, to, protocol, size, timeToLive: ttl, dryRun, ...(port === undefined ? {} : { port }) };
      const answer = await ask(options, wish);
      await show(output, plain(answer), (surface) =>
        answer.journeys.map((each) => journeyText(each, surface)).join("\n"),
      );
      if (answer.journeys.some(({ verdict }) => verdict === "stops")) process.exitCode = 1;
    });
  examples(
    trace,
    "weft trace c1 10.1.0.2",
    "weft trace web/10.1.0.1 web/10.1.0.2 --protocol tcp --port 443",
    "weft trace 5f0c2a9be871 198.51.100.7 --dry-run",
    "weft trace c1 10.1.0.2 --size 1450 -o json | jq '.journeys[].verdict'",
  );
}

/** Nodes are asked one after the other, and the rules of firewalls are read by programs; milliseconds. */
const patience = 120_000;

/** The agent, where there is one; else the server, where there is one; else the tables of this node. */
async function ask(
  { agent, server }: TraceOptions,
  wish: MessageInitShape<typeof TraceRequestSchema>,
): Promise<TraceResponse> {
  const { agentClient, serverClient } = await import("../../api/clients.ts");
  if (!existsSync(agent) && existsSync(server)) return await serverClient(server).trace(wish, { timeoutMs: patience });
  try {
    return await agentClient(agent).trace(wish, { timeoutMs: patience });
  } catch (error) {
    if (!(error instanceof WeftError) || error.code !== "unavailable") throw error;
    const { traceWithoutAgent } = await import("../../agent/examine-without-agent.ts");
    const { linuxKernel } = await import("../../dataplane/linux-kernel.ts");
    process.stderr.write("no agent answers: nothing is sent, and other nodes are not asked\n");
    return await traceWithoutAgent(agent, error, linuxKernel, wish);
  }
}

function journeyText(journey: TracedJourney, surface: Surface): string {
  const { from, to, packet, legs, verdict, reason } = journey;
  const ports = packet?.protocol === "icmp" ? "" : ` from port ${packet?.sourcePort} to ${packet?.destinationPort}`;
  const title = `${packet?.source} → ${packet?.destination}  ${packet?.protocol}${ports}, ${packet?.size} octets\n`;
  const parts = legs.map((leg) => legText(leg, journey, surface));
  return `${title}from ${from}\nto ${to}\n${parts.join("")}${paintState(verdict, surface)}: ${reason}\n`;
}

/** A line for each step, whole: what is said of one is often long, and what matters of it at the end. */
function legText(leg: TraceLeg, journey: TracedJourney, surface: Surface): string {
  const { node, failure, steps } = leg;
  if (failure !== "") return `${node}\n  ?  ${failure}\n`;
  const widths = [steps.map(({ name }) => name.length), steps.map(({ at }) => at.length)].map((all) =>
    Math.max(...all),
  );
  const lines = steps.map((step) => {
    const [name, at] = [step.name.padEnd(widths[0] ?? 0), step.at.padEnd(widths[1] ?? 0)];
    const seen = observedText(step, leg, journey);
    const line = `  ${paintState(marks[step.result] ?? "?", surface)}  ${name}  ${at}  ${step.detail}${seen === "" ? "" : `  (${seen})`}\n`;
    const more = [
      ["cause", step.cause],
      ["cure", step.cure],
    ].filter(([, text]) => text !== "");
    return `${line}${more.map(([title = "", text]) => `     ${title.padEnd(5)}  ${text}\n`).join("")}`;
  });
  return `${node}${clockText(leg, journey)}\n${lines.join("")}`;
}

/** How far a node's clock is from that of who asked. */
function clockText({ clockOffset, clockUncertainty }: TraceLeg, { sent }: TracedJourney): string {
  if (sent === 0) return "";
  const [offset, uncertainty] = [clockOffset, clockUncertainty].map((microseconds) => Number(microseconds) / 1_000);
  return `  clock ${(offset ?? 0) < 0 ? "" : "+"}${offset?.toFixed(2)} ms, within ${uncertainty?.toFixed(2)} ms`;
}

const marks: Readonly<Record<string, string>> = { passes: "✓", stops: "✗" };

/** How many came by, and how long after the first was sent, by one clock. */
function observedText({ observed }: TraceStep, { clockOffset }: TraceLeg, { sent, sentAt }: TracedJourney): string {
  if (observed === undefined) return "";
  if (observed.seen === 0) return `0 of ${sent} seen`;
  const delay = Number(observed.first - clockOffset - sentAt);
  return `${observed.seen} of ${sent} seen, after ${(delay / 1_000).toFixed(2)} ms`;
}
