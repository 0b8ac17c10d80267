import { existsSync } from "node:fs";
import type { Command } from "commander";
import type { ExplainedDecision, ExplainedParty } from "../../api/generated/weft/v1/admin_pb.js";
import type { PolicyPeer, PolicyPort, RankedRule } from "../../model/policy/index.ts";
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
import { type Plain, plain, show } from "../output.ts";
import { renderFields, renderTable } from "../table.ts";
import { addDelete } from "./delete.ts";
import { labelTexts } from "./node-options.ts";

interface SaidOptions extends WithServer, WithOutput {
  readonly protocol?: string;
  readonly port?: number;
  readonly type?: number;
}

/** What the agent of this machine says, by the name of the rule; `undefined`: there is none, or nobody here is under the policy. */
async function decidedHere(agent: string, policy: string): Promise<Readonly<Record<string, number>> | undefined> {
  if (!existsSync(agent)) return undefined;
  const { agentClient } = await import("../../api/clients.ts");
  // Its socket stays when it is killed. What the server says is shown all the same.
  const answer = await agentClient(agent)
    .getPolicyCounts({ policy })
    .catch(() => undefined);
  const counts = Object.entries(answer?.counts ?? {});
  return counts.length === 0 ? undefined : Object.fromEntries(counts.map(([rule, count]) => [rule, Number(count)]));
}

export function registerPolicy(program: Command): void {
  const policy = program
    .command("policy")
    .description("who may talk to whom; policies are declared: weft apply -f policy.yaml");

  const list = policy
    .command("list")
    .description("list the policies")
    .addOption(serverOption())
    .addOption(outputOption())
    .action(async (options: WithServer & WithOutput) => {
      const { serverClient, ofKind } = await import("../admin.ts");
      const policies = ofKind("policy", (await serverClient(options.server).list({ kind: "policy" })).resources);
      await show(options.output, policies, (surface) =>
        renderTable(
          [
            { header: "name", value: (row) => row.name },
            { header: "tenant", value: (row) => row.tenant },
            { header: "priority", value: (row) => row.priority },
            { header: "networks", value: (row) => row.networks.join(", ") || "all" },
            { header: "endpoints", value: (row) => row.endpoints ?? "all" },
            { header: "isolates", value: (row) => row.isolates.join(", ") },
            { header: "rules", value: (row) => row.rules.length },
          ],
          policies,
          surface,
        ),
      );
    });
  examples(list, "weft policy list", "weft policy list -o json");

  const one = policy
    .command("show <name>")
    .description(
      "show a policy and its rules, in the order in which they are asked, and how often they decided on this node",
    )
    .addOption(serverOption())
    .addOption(agentOption())
    .addOption(outputOption())
    .action(async (name: string, options: WithServer & WithAgent & WithOutput) => {
      const [{ serverClient, ofKind }, { policyDirections, rankedRules }] = await Promise.all([
        import("../admin.ts"),
        import("../../model/policy/index.ts"),
      ]);
      const answer = await serverClient(options.server).list({ kind: "policy", name });
      for (const found of ofKind("policy", answer.resources)) {
        const decided = await decidedHere(options.agent, name);
        const ranked = policyDirections.flatMap((direction) => rankedRules([found], direction));
        await show(options.output, decided === undefined ? found : { ...found, decided }, (surface) => {
          const fields = renderFields(
            [
              ["name", found.name],
              ["tenant", found.tenant],
              ["priority", found.priority],
              ["networks", found.networks.length === 0 ? "all" : found.networks],
              ["endpoints", found.endpoints ?? "all"],
              ["isolates", found.isolates.length === 0 ? "nothing" : found.isolates.join(", ")],
              ["managed by", found.managedBy],
            ],
            surface,
          );
          return ranked.length === 0 ? fields : `${fields}\n${renderTable(ruleColumns(decided), ranked, surface)}`;
        });
      }
    });
  examples(one, "weft policy show web", "weft policy show web -o yaml");

  const explain = policy
    .command("explain <from> <to>")
    .description("say what becomes of packets from one to the other, and which policy and rule decides")
    .option("--protocol <protocol>", "tcp, udp, sctp, icmp, icmpv6 or a number (default: tcp with --port)")
    .option("--port <port>", "the destination port", integer(0, 65_535))
    .option("--type <type>", "of an ICMP message (default: echo request)", integer(0, 255))
    .addOption(serverOption())
    .addOption(outputOption())
    .addHelpText(
      "after",
      "\nEach is the id of an endpoint, NETWORK/ADDRESS, or, one of both, the address of somebody outside.",
    )
    .action(async (from: string, to: string, { protocol = "", port, type, ...options }: SaidOptions) => {
      const { serverClient } = await import("../admin.ts");
      const answer = await serverClient(options.server).explainPolicy({
        from,
        to,
        protocol,
        ...(port === undefined ? {} : { port }),
        ...(type === undefined ? {} : { type }),
      });
      const shown = plain(answer);
      const what = shown.port ?? (shown.type === undefined ? "" : `type ${shown.type}`);
      await show(options.output, shown, (surface) =>
        renderFields(
          [
            ["from", partyText(shown.from)],
            ["to", partyText(shown.to)],
            ["packets", `${shown.protocol} ${what}`.trim()],
            ["verdict", shown.verdict],
            ["because", shown.obstacle],
            ...shown.decisions.flatMap((decision): [string, string | string[]][] => [
              [decision.direction, decisionText(decision)],
              ["logged by", decision.logged.map(({ policy: of, rule }) => ruleText(of, rule))],
            ]),
          ],
          surface,
        ),
      );
    });
  examples(
    explain,
    "weft policy explain web/10.1.0.2 db/10.2.0.3 --protocol tcp --port 5432",
    "weft policy explain 203.0.113.7 5f0c2a9be871 --port 443",
    "weft policy explain web/10.1.0.2 db/10.2.0.3 --protocol icmp --type 8 -o json",
  );

  addDelete(policy, "policy", "delete policies", "web");
}

/** `decided`: how often each rule did here. */
const ruleColumns = (decided: Readonly<Record<string, number>> | undefined) => [
  { header: "direction", value: ({ rule }: RankedRule) => rule.direction },
  { header: "rule", value: ({ rule }: RankedRule) => rule.name },
  { header: "action", value: ({ rule }: RankedRule) => rule.action },
  { header: "peers", value: ({ rule }: RankedRule) => rule.peers.map(peerText).join("; ") || "all" },
  { header: "packets", value: ({ rule }: RankedRule) => rule.ports.map(portText).join("; ") || "all" },
  ...(decided === undefined
    ? []
    : [{ header: "decided here", value: ({ rule }: RankedRule) => decided[rule.name] ?? 0 }]),
];

function peerText(peer: PolicyPeer): string {
  if ("node" in peer) return "the endpoint's node";
  if ("subnet" in peer) return `${peer.subnet}${peer.except.length === 0 ? "" : ` except ${peer.except.join(", ")}`}`;
  const networks = peer.networks.length === 0 ? "" : ` in ${peer.networks.join(", ")}`;
  return `${peer.endpoints ?? "endpoints"}${networks || (peer.endpoints === undefined ? " of the tenant" : "")}`;
}

function portText({ protocol, ports, types }: PolicyPort): string {
  const details = ports.length > 0 ? ` ${ports.join(", ")}` : types.length > 0 ? ` type ${types.join(", ")}` : "";
  return `${protocol}${details}`;
}

function partyText(party: Plain<ExplainedParty> | undefined): string {
  const { address = "", endpoint, network, labels = {} } = party ?? {};
  if (network === undefined || network === "") return `${address}, outside`;
  if (endpoint === "") return `${network}/${address}, which no endpoint has`;
  return [`${network}/${address}`, `endpoint ${endpoint}`, ...labelTexts(labels)].join(", ");
}

function decisionText({ verdict, decidedBy, policy, rule }: Plain<ExplainedDecision>): string {
  switch (decidedBy) {
    case "rule":
      return `${verdict}: ${ruleText(policy, rule)}`;
    case "isolation":
      return `${verdict}: no rule allows it, and policy ${policy} isolates the endpoint`;
    default:
      return `${verdict}: no policy says anything; the default of the network`;
  }
}

function ruleText(policy: string, rule: string): string {
  return `rule ${rule} of policy ${policy}`;
}
