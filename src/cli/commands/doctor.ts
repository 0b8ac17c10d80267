import type { Command } from "commander";
import { WeftError } from "../../base/errors.ts";
import type { ShownFinding } from "../../diagnose/messages.ts";
import {
  agentOption,
  examples,
  integer,
  nodeName,
  outputOption,
  serverOption,
  type WithAgent,
  type WithOutput,
  type WithServer,
} from "../options.ts";
import { type OutputFormat, show } from "../output.ts";
import { paintState, type Surface } from "../table.ts";

interface DoctorOptions extends WithAgent, WithServer, WithOutput {
  readonly allNodes?: true;
  readonly node?: readonly string[];
  readonly peers: number;
  readonly fix?: boolean;
}

/** What was examined, for programs. */
interface Report {
  readonly findings: readonly ShownFinding[];
  /** Nodes that did not answer. */
  readonly unexamined: readonly { readonly node: string; readonly reason: string }[];
  readonly nodes: readonly string[];
  /** What was found, and mended by `--fix`. */
  readonly fixed: readonly ShownFinding[];
}

export function registerDoctor(program: Command): void {
  const doctor = program
    .command("doctor")
    .description("look at all of a node and its ways to others, and say what is wrong, why, and what mends it")
    .option("-A, --all-nodes", "all nodes, by way of the server; on the server's host")
    .option(
      "--node <name>",
      "this node, by way of the server; repeat it",
      (text: string, before: readonly string[] = []) => [...before, nodeName(text)],
    )
    .option("--peers <count>", "nodes that ways are examined to, by packets; 0: none", integer(0, 100), 20)
    .option(
      "--fix",
      "mend what is safe on this node, and look again: what weft keeps by itself, and the reverse path filter",
    )
    .addOption(agentOption())
    .addOption(serverOption())
    .addOption(outputOption())
    .action(async (options: DoctorOptions) => {
      const isByServer = options.allNodes === true || options.node !== undefined;
      if (isByServer && options.fix === true)
        throw new WeftError({
          code: "invalid-argument",
          attempted: "mend other nodes",
          reason: "--fix mends this node alone",
          hint: "run weft doctor --fix on each",
        });
      const report = await (isByServer ? examineNodes(options) : examineHere(options));
      await show(options.output, report, (surface) => reportText(report, surface));
      const isIll = report.findings.some(({ severity }) => severity === "error") || report.unexamined.length > 0;
      if (isIll) process.exitCode = 1;
    });
  examples(
    doctor,
    "weft doctor",
    "weft doctor --fix",
    "weft doctor --all-nodes",
    "weft doctor --node h2 -o json | jq '.findings[].code'",
  );
}

async function examineHere({ agent, peers, output, fix = false }: DoctorOptions): Promise<Report> {
  const { agentClient } = await import("../../api/clients.ts");
  const { findingFromMessage } = await import("../../diagnose/messages.ts");
  const client = agentClient(agent);
  let node: string;
  try {
    node = (await client.getStatus({})).node;
  } catch (error) {
    if (!(error instanceof WeftError) || error.code !== "unavailable") throw error;
    const { examineWithoutAgent } = await import("../../agent/examine-without-agent.ts");
    const { linuxKernel } = await import("../../dataplane/linux-kernel.ts");
    const { showFinding } = await import("../../diagnose/messages.ts");
    const examined = await examineWithoutAgent(agent, error, linuxKernel);
    return { findings: examined.findings.map(showFinding), unexamined: [], nodes: [examined.node], fixed: [] };
  }
  const findings: ShownFinding[] = [];
  const fixed: ShownFinding[] = [];
  const progress = progressLine(output);
  try {
    for await (const { examined } of client.examine({ peers, fix }))
      if (examined.case === "check") progress.tell(examined.value);
      else if (examined.case === "finding") findings.push(findingFromMessage(examined.value));
      else if (examined.case === "fixed") fixed.push(findingFromMessage(examined.value));
  } finally {
    progress.end();
  }
  return { findings, unexamined: [], nodes: [node], fixed };
}

async function examineNodes({ server, node = [], peers, output }: DoctorOptions): Promise<Report> {
  const { serverClient } = await import("../../api/clients.ts");
  const { findingFromMessage } = await import("../../diagnose/messages.ts");
  const { skewedVersions } = await import("../../diagnose/versions.ts");
  const findings: ShownFinding[] = [];
  const unexamined: { node: string; reason: string }[] = [];
  const nodes: string[] = [];
  const versions = new Map<string, string>();
  const progress = progressLine(output);
  try {
    for await (const answer of serverClient(server).examineNodes({ nodes: [...node], request: { peers } })) {
      if (answer.failure === "") {
        nodes.push(answer.node);
        versions.set(answer.node, answer.version);
      } else unexamined.push({ node: answer.node, reason: answer.failure });
      progress.tell(`${nodes.length + unexamined.length} nodes, last ${answer.node}`);
      findings.push(...answer.findings.map(findingFromMessage));
    }
  } finally {
    progress.end();
  }
  findings.push(...skewedVersions(versions));
  return { findings: findings.sort(bySeverity), unexamined, nodes: nodes.sort(), fixed: [] };
}

const order = ["error", "warning", "notice"];

function bySeverity(a: ShownFinding, b: ShownFinding): number {
  return order.indexOf(a.severity) - order.indexOf(b.severity) || a.node.localeCompare(b.node);
}

/** What is looked at, on one line of a terminal that is rewritten; nothing elsewhere. */
function progressLine(output: OutputFormat): { tell(text: string): void; end(): void } {
  const terminal = process.stderr;
  if (output !== "table" || !terminal.isTTY) return { tell() {}, end() {} };
  return {
    tell: (text) => void terminal.write(`\r${text.slice(0, (terminal.columns ?? 80) - 1)}\x1b[K`),
    end: () => void terminal.write("\r\x1b[K"),
  };
}

function reportText({ findings, unexamined, nodes, fixed }: Report, surface: Surface): string {
  const several = nodes.length + unexamined.length > 1;
  const blocks = [...findings].sort(bySeverity).map((finding) => {
    const where = several ? `node ${finding.node}: ` : "";
    return [
      `${paintState(finding.severity, surface)}  ${finding.code}  ${where}${finding.object}\n`,
      `  expected  ${finding.expected}\n`,
      `  found     ${finding.found}\n`,
      ...(finding.cause === "" ? [] : [`  cause     ${finding.cause}\n`]),
      `  cure      ${finding.cure}\n`,
    ].join("");
  });
  for (const { node, reason } of unexamined)
    blocks.push(`${paintState("error", surface)}  node ${node} was not examined: ${reason}\n`);
  for (const { code, object, found } of fixed)
    blocks.push(`${paintState("fixed", surface)}  ${code}  ${object}\n  was       ${found}\n`);
  const counts = order.flatMap((severity) => {
    const count = findings.filter((finding) => finding.severity === severity).length;
    return count === 0 ? [] : [`${count} ${severity}${count === 1 ? "" : "s"}`];
  });
  const examined = nodes.length === 1 ? `node ${nodes[0]}` : `${nodes.length} nodes`;
  const summary = counts.length === 0 ? "nothing is wrong" : counts.join(", ");
  return [...blocks, `${examined}: ${summary}\n`].join("\n");
}
