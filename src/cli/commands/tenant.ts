import { type Command, Option } from "commander";
import type { Placement } from "../../model/resources.ts";
import { UsageError } from "../errors.ts";
import { examples, outputOption, serverOption, type WithOutput, type WithServer } from "../options.ts";
import { show } from "../output.ts";
import { renderFields, renderTable } from "../table.ts";
import { print } from "../terminal.ts";
import { addDelete } from "./delete.ts";
import { labelTexts, nodeSelector } from "./node-options.ts";

interface SelectorOptions {
  /** False: every node. */
  readonly nodeSelector?: Readonly<Record<string, string>> | false;
}

interface CreateOptions extends SelectorOptions {
  readonly placement: Placement;
}

export function registerTenant(program: Command): void {
  const tenant = program.command("tenant").description("owners of networks");

  const create = tenant
    .command("create <name>")
    .description("create a tenant")
    .addOption(
      new Option(
        "--placement <place>",
        "where its networks are on a node: in a namespace of their own, or in the host's, as Kubernetes needs it",
      )
        .choices(["own", "host"])
        .default("own"),
    )
    .option("--node-selector <label>", "NAME=VALUE: which nodes may host its networks; repeat it", nodeSelector)
    .addOption(serverOption())
    .addOption(outputOption())
    .action(async (name: string, options: CreateOptions & WithServer & WithOutput) => {
      const [{ serverClient, declaration, ofKind }, { parseTenant, formatProblem }] = await Promise.all([
        import("../admin.ts"),
        import("../../model/index.ts"),
      ]);
      const draft = parseTenant({
        name,
        placement: options.placement,
        nodeSelector: options.nodeSelector || undefined,
      });
      if (!draft.ok) throw new UsageError(`create tenant ${name}`, draft.error.map(formatProblem).join("; "));
      const answer = await serverClient(options.server).create({
        resources: [declaration({ kind: "tenant", ...draft.value })],
      });
      await show(options.output, ofKind("tenant", answer.resources)[0], () => `tenant ${name} created\n`);
    });
  examples(
    create,
    "weft tenant create blue",
    "weft tenant create blue --node-selector zone=a",
    "weft tenant create kube --placement host",
  );

  const set = tenant
    .command("set <name>")
    .description("change which nodes may come to host a tenant's networks; what is there stays")
    .option("--node-selector <label>", "NAME=VALUE: a label that they must have; repeat it", nodeSelector)
    .option("--no-node-selector", "every node may")
    .addOption(serverOption())
    .action(async (name: string, options: SelectorOptions & WithServer) => {
      if (options.nodeSelector === undefined)
        throw new UsageError(`change tenant ${name}`, "nothing to change was named", "weft tenant set --help");
      const [{ serverClient, declaration, ofKind }, { parseTenant, formatProblem }] = await Promise.all([
        import("../admin.ts"),
        import("../../model/index.ts"),
      ]);
      const client = serverClient(options.server);
      const [before] = ofKind("tenant", (await client.list({ kind: "tenant", name })).resources);
      const draft = parseTenant({ ...before, nodeSelector: options.nodeSelector || undefined });
      if (!draft.ok) throw new UsageError(`change tenant ${name}`, draft.error.map(formatProblem).join("; "));
      const answer = await client.apply({ resources: [declaration({ kind: "tenant", ...draft.value })] });
      for (const { outcome, differences } of answer.results)
        print(`tenant ${name} ${outcome}\n${differences.map((line) => `  ${line}\n`).join("")}`);
    });
  examples(set, "weft tenant set blue --node-selector zone=a", "weft tenant set blue --no-node-selector");

  const list = tenant
    .command("list")
    .description("list the tenants")
    .addOption(serverOption())
    .addOption(outputOption())
    .action(async (options: WithServer & WithOutput) => {
      const { serverClient, ofKind } = await import("../admin.ts");
      const tenants = ofKind("tenant", (await serverClient(options.server).list({ kind: "tenant" })).resources);
      await show(options.output, tenants, (surface) =>
        renderTable(
          [
            { header: "name", value: (row) => row.name },
            { header: "placement", value: (row) => row.placement },
          ],
          tenants,
          surface,
        ),
      );
    });
  examples(list, "weft tenant list", "weft tenant list -o json");

  const one = tenant
    .command("show <name>")
    .description("show a tenant and its networks")
    .addOption(serverOption())
    .addOption(outputOption())
    .action(async (name: string, options: WithServer & WithOutput) => {
      const { serverClient, ofKind } = await import("../admin.ts");
      const client = serverClient(options.server);
      const [found, all] = await Promise.all([client.list({ kind: "tenant", name }), client.list({ kind: "network" })]);
      const networks = ofKind("network", all.resources).filter((network) => network.tenant === name);
      const shown = { ...ofKind("tenant", found.resources)[0], networks: networks.map((network) => network.name) };
      await show(options.output, shown, (surface) =>
        renderFields(
          [
            ["name", shown.name],
            ["placement", shown.placement],
            ["node selector", labelTexts(shown.nodeSelector)],
            ["networks", shown.networks],
          ],
          surface,
        ),
      );
    });
  examples(one, "weft tenant show blue");

  addDelete(tenant, "tenant", "delete tenants that have no networks", "blue");
}
