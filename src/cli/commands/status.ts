import { existsSync } from "node:fs";
import type { Command } from "commander";
import { formatDuration, milliseconds } from "../../base/duration.ts";
import { WeftError } from "../../base/errors.ts";
import { droppedText } from "../dropped.ts";
import {
  agentOption,
  examples,
  outputOption,
  serverOption,
  type WithAgent,
  type WithOutput,
  type WithServer,
} from "../options.ts";
import { instant, plain, show } from "../output.ts";
import { renderFields, renderTable, type Surface } from "../table.ts";

type StatusOptions = WithServer & WithAgent & WithOutput;

export function registerStatus(program: Command): void {
  const status = program
    .command("status")
    .description("how the agent and the server on this host are")
    .addOption(agentOption())
    .addOption(serverOption())
    .addOption(outputOption())
    .action(async (options: StatusOptions) => {
      // A socket that was named is asked in any case; the usual ones only where they are.
      const isNamed = (name: string): boolean => status.getOptionValueSource(name) !== "default";
      const anyNamed = isNamed("agent") || isNamed("server");
      const wantsAgent = isNamed("agent") || (!anyNamed && existsSync(options.agent));
      const wantsServer =
        (isNamed("server") && !options.server.includes("://")) || (!anyNamed && existsSync(options.server));
      if (!wantsAgent && !wantsServer)
        throw new WeftError({
          code: "unavailable",
          attempted: "show the status of this host",
          reason: `neither an agent at ${options.agent} nor a server at ${options.server}`,
          hint:
            process.getuid?.() === 0
              ? "start one of them, or name a socket by --agent or --server"
              : "run it as root: nobody else sees their sockets",
        });
      const { agentClient, serverClient } = await import("../../api/clients.ts");
      const [agentAnswer, serverAnswer] = await Promise.allSettled([
        wantsAgent ? agentStatus(agentClient(options.agent)) : undefined,
        wantsServer ? serverStatus(serverClient(options.server)) : undefined,
      ]);
      const agent = agentAnswer.status === "fulfilled" ? agentAnswer.value : undefined;
      const server = serverAnswer.status === "fulfilled" ? serverAnswer.value : undefined;
      const failures = [agentAnswer, serverAnswer].flatMap((answer) =>
        answer.status === "rejected" ? [answer.reason as unknown] : [],
      );
      // What one of them said is worth as much when the other does not answer.
      const isAnswered = agent !== undefined || server !== undefined;
      if (isAnswered)
        await show(options.output, { agent, server }, (surface) =>
          [
            ...(agent === undefined ? [] : [agentText(agent, surface)]),
            ...(server === undefined ? [] : [serverText(server, surface)]),
          ].join("\n"),
        );
      if (failures.length === 1) throw failures[0];
      if (failures.length > 1) throw new AggregateError(failures);
    });
  examples(status, "weft status", "weft status -o json", "weft status --agent /run/weft/agent.sock");
}

type ApiClients = typeof import("../../api/clients.ts");

async function agentStatus(client: ReturnType<ApiClients["agentClient"]>) {
  const answer = await client.getStatus({});
  const problems = answer.problems.map((problem) => ({ ...plain(problem), since: instant(problem.since) }));
  return { ...plain(answer), problems, certificateExpires: instant(answer.certificateExpires) };
}

async function serverStatus(client: ReturnType<ApiClients["serverClient"]>) {
  return plain(await client.getStatus({}));
}

function agentText(agent: Awaited<ReturnType<typeof agentStatus>>, surface: Surface): string {
  const sections = [
    renderFields(
      [
        ["node", agent.node],
        ["server", agent.serverState],
        ["server error", agent.serverError],
        ["kernel", agent.inSync ? "in sync" : "pending"],
        ["revision", agent.revision],
        ["vteps", agent.vteps],
        ["underlay mtu", agent.underlayMtu],
        ["kernel writes", agent.netlinkWrites],
        ["repairs", agent.repairs],
        ["certificate", agent.certificateExpires === undefined ? undefined : `until ${agent.certificateExpires}`],
        ["uptime", age(agent.uptime)],
        ["memory", `${Math.round(Number(agent.residentMemory) / 1_048_576)} MiB`],
        ["instance", agent.instance],
        ["version", agent.version],
      ],
      surface,
    ),
  ];
  if (agent.networks.length > 0)
    sections.push(
      renderTable(
        [
          { header: "network", value: (row) => row.name },
          { header: "tenant", value: (row) => row.tenant },
          { header: "vni", value: (row) => row.vni },
          { header: "carried", value: carried },
          { header: "mtu", value: (row) => row.mtu },
          // Of an l3 network the blocks of other nodes, where an l2 network has their endpoints.
          { header: "local", value: (row) => row.localEndpoints + row.learnedEndpoints },
          { header: "remote", value: (row) => (row.mode === "l3" ? row.remoteBlocks : row.remoteEndpoints) },
          { header: "namespace", value: (row) => row.namespace },
          { header: "vteps", value: discovered },
        ],
        agent.networks,
        surface,
      ),
    );
  if (agent.endpoints.length > 0)
    sections.push(
      renderTable(
        [
          { header: "endpoint", value: (row) => row.endpoint?.id },
          { header: "network", value: (row) => row.endpoint?.network },
          { header: "state", value: (row) => row.state, isState: true },
          { header: "ips", value: (row) => row.endpoint?.ips.join(", ") },
          { header: "interface", value: (row) => row.interface },
          { header: "netns", value: (row) => row.netns },
          { header: "dropped", value: (row) => droppedText(row.dropped) },
          { header: "reason", value: (row) => row.reason },
        ],
        agent.endpoints,
        surface,
      ),
    );
  if (agent.problems.length > 0)
    sections.push(
      renderTable(
        [
          { header: "object", value: (row) => row.object },
          { header: "state", value: (row) => row.state, isState: true },
          { header: "since", value: (row) => row.since },
          { header: "reason", value: (row) => row.reason },
        ],
        agent.problems,
        surface,
      ),
    );
  return sections.join("\n");
}

type NetworkStatus = Awaited<ReturnType<typeof agentStatus>>["networks"][number];

/** `l2 vxlan:4789`; while it changes, what is received on beside. */
function carried({ mode, encapsulation, port, standby }: NetworkStatus): string {
  const also = standby.length === 0 ? "" : ` (receives ${standby.join(", ")}, too)`;
  return `${mode} ${encapsulation}${port === 0 ? "" : `:${port}`}${also}`;
}

/** The group and whether it is joined, or the VTEPs of the other nodes. */
function discovered({ group, groupInterface, groupJoined, remoteVteps }: NetworkStatus): string {
  if (group === "") return remoteVteps.join(", ");
  return `${group} on ${groupInterface}: ${groupJoined ? "joined" : "not joined"}`;
}

function serverText(server: Awaited<ReturnType<typeof serverStatus>>, surface: Surface): string {
  return renderFields(
    [
      ["server", "running"],
      ["revision", server.revision],
      ["compacted", server.compactedRevision],
      ["tenants", server.tenants],
      ["networks", server.networks],
      ["nodes", `${server.nodes}, ${server.nodesConnected} connected`],
      ["endpoints", server.endpoints],
      ["uptime", age(server.uptime)],
      ["version", server.version],
    ],
    surface,
  );
}

function age(uptime: number | string): string {
  return formatDuration(milliseconds(Number(uptime)));
}
