import { existsSync } from "node:fs";
import type { Command } from "commander";
import type { Standby } from "../../model/standby.ts";
import { bandwidthUseHere, bandwidthUseTexts } from "../bandwidth-use.ts";
import { droppedText } from "../dropped.ts";
import { UsageError } from "../errors.ts";
import {
  agentOption,
  examples,
  outputOption,
  serverOption,
  type WithAgent,
  type WithOutput,
  type WithServer,
} from "../options.ts";
import { show } from "../output.ts";
import { renderFields, renderTable } from "../table.ts";
import { print } from "../terminal.ts";
import { type WithWait, waitInPlace, waitOption } from "../wait.ts";
import { type LabelChanges, label, labelTexts, noLabel } from "./node-options.ts";

/** `h2, when it announces itself there`. */
function standbyText(standby: Standby | undefined): string | undefined {
  if (standby === undefined) return undefined;
  return `${standby.node}, ${standby.when === "ready" ? "as soon as that is ready" : "when it announces itself there"}`;
}

/** What the agent of this machine says; `undefined`: there is none, or the endpoint is on another node. */
async function droppedHere(agent: string, id: string): Promise<Record<string, number> | undefined> {
  if (!existsSync(agent)) return undefined;
  const { agentClient } = await import("../../api/clients.ts");
  // Its socket stays when it is killed. What the server says is shown all the same.
  const status = await agentClient(agent)
    .getStatus({})
    .catch(() => undefined);
  const found = status?.endpoints.find(({ endpoint }) => endpoint?.id === id);
  return found && Object.fromEntries(Object.entries(found.dropped).map(([reason, frames]) => [reason, Number(frames)]));
}

export function registerEndpoint(program: Command): void {
  const endpoint = program.command("endpoint").description("interfaces of containers, pods and VMs, on any node");

  const list = endpoint
    .command("list")
    .description("list the endpoints")
    .option("--network <network>", "only those of this network")
    .option("--node <node>", "only those on this node")
    .addOption(serverOption())
    .addOption(outputOption())
    .action(async (options: WithServer & WithOutput & { readonly network?: string; readonly node?: string }) => {
      const { serverClient, ofKind } = await import("../admin.ts");
      const { network = "", node = "" } = options;
      const answer = await serverClient(options.server).list({ kind: "endpoint", network, node });
      const endpoints = ofKind("endpoint", answer.resources);
      await show(options.output, endpoints, (surface) =>
        renderTable(
          [
            { header: "id", value: (row) => row.id },
            { header: "network", value: (row) => row.network },
            { header: "node", value: (row) => row.node },
            { header: "mac", value: (row) => row.mac },
            { header: "attachment", value: (row) => row.attachment },
            { header: "ips", value: (row) => row.ips.join(", ") },
            { header: "labels", value: (row) => labelTexts(row.labels).join(", ") },
          ],
          endpoints,
          surface,
        ),
      );
    });
  examples(list, "weft endpoint list", "weft endpoint list --network web --node h1 -o json");

  const one = endpoint
    .command("show <id>")
    .description("show an endpoint in full; on its node also what it sent and may not, and what met its bandwidth")
    .addOption(serverOption())
    .addOption(agentOption())
    .addOption(outputOption())
    .action(async (id: string, options: WithServer & WithAgent & WithOutput) => {
      const { serverClient, ofKind } = await import("../admin.ts");
      const answer = await serverClient(options.server).list({ kind: "endpoint", name: id });
      for (const found of ofKind("endpoint", answer.resources)) {
        const dropped = await droppedHere(options.agent, id);
        const bandwidthUse = await bandwidthUseHere(options.agent, { network: found.network, endpoint: id });
        const frozen = answer.frozen.map(({ address, duration }) => ({
          address,
          seconds: Math.ceil(Number(duration) / 1_000),
        }));
        const here = {
          ...(frozen.length === 0 ? {} : { frozen }),
          ...(dropped === undefined ? {} : { dropped }),
          ...(bandwidthUse.length === 0 ? {} : { bandwidthUse }),
        };
        await show(options.output, { ...found, ...here }, (surface) =>
          renderFields(
            [
              ["id", found.id],
              ["network", found.network],
              ["node", found.node],
              ["standby", standbyText(found.standby)],
              ["forwarded by", found.formerNodes],
              ["movable", found.movable === true ? "by other nodes' word" : undefined],
              ["mac", found.mac],
              ["ips", found.ips],
              ["attachment", found.attachment],
              ["labels", labelTexts(found.labels)],
              ["floating addresses", found.floatingAddresses?.map(({ name }) => name)],
              ["sequence", found.sequence],
              [
                "frozen",
                frozen.map(
                  ({ address, seconds }) =>
                    `${address} stays here for ${seconds} s: it was found in two places by turns`,
                ),
              ],
              ["dropped", dropped === undefined ? undefined : droppedText(dropped) || "nothing"],
              ["bandwidth used", bandwidthUseTexts(bandwidthUse)],
            ],
            surface,
          ),
        );
      }
    });
  examples(one, "weft endpoint show 5f0c2a9be871");

  const set = endpoint
    .command("set <id>")
    .description("change what policies know an endpoint by; what is not named stays")
    .option("--label <label>", "NAME=VALUE; repeat it", label)
    .option("--no-label <name>", "take the label of this name away; repeat it", noLabel)
    .addOption(waitOption())
    .addOption(serverOption())
    .action(async (id: string, options: WithServer & WithWait & { readonly label?: LabelChanges }) => {
      if (options.label === undefined)
        throw new UsageError(`set endpoint ${id}`, "nothing to set was named", "weft endpoint set --help");
      const { serverClient } = await import("../admin.ts");
      const { labels, removedLabels } = options.label;
      const client = serverClient(options.server);
      const answer = await client.setEndpoint({ id, labels: { ...labels }, removedLabels: [...removedLabels] });
      const { network = "", labels: set = {} } = answer.endpoint ?? {};
      print(`endpoint ${id}: ${labelTexts(set).join(", ") || "no labels"}\n`);
      if (options.wait !== undefined)
        await waitInPlace(`endpoint ${id}`, options.wait, (signal) =>
          client.waitInPlace({ networks: [network], revision: answer.revision }, { signal }),
        );
    });
  const unfreeze = endpoint
    .command("unfreeze <id>")
    .description("let addresses move again that were found in two places by turns, once that is mended")
    .addOption(serverOption())
    .action(async (id: string, options: WithServer) => {
      const { serverClient } = await import("../admin.ts");
      const { frozen } = await serverClient(options.server).unfreezeEndpoint({ id });
      const text = frozen.map(({ address }) => address).join(", ");
      print(`endpoint ${id}: ${text === "" ? "nothing was frozen" : `${text} may move again`}\n`);
    });
  examples(unfreeze, "weft endpoint unfreeze c1d07e44ab02");

  examples(
    set,
    "weft endpoint set 5f0c2a9be871 --label app=shop --no-label tier",
    "weft endpoint set 5f0c2a9be871 --label app=shop --wait",
  );
}
