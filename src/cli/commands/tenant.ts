import type { Command } from "commander";
import { UsageError } from "../errors.ts";
import { examples, outputOption, serverOption, type WithOutput, type WithServer } from "../options.ts";
import { show } from "../output.ts";
import { renderFields, renderTable } from "../table.ts";
import { addDelete } from "./delete.ts";

export function registerTenant(program: Command): void {
  const tenant = program.command("tenant").description("owners of networks");

  const create = tenant
    .command("create <name>")
    .description("create a tenant")
    .addOption(serverOption())
    .addOption(outputOption())
    .action(async (name: string, options: WithServer & WithOutput) => {
      const [{ serverClient, declaration, ofKind }, { parseTenant, formatProblem }] = await Promise.all([
        import("../admin.ts"),
        import("../../model/index.ts"),
      ]);
      const draft = parseTenant({ name });
      if (!draft.ok) throw new UsageError(`create tenant ${name}`, draft.error.map(formatProblem).join("; "));
      const answer = await serverClient(options.server).create({
        resources: [declaration({ kind: "tenant", ...draft.value })],
      });
      await show(options.output, ofKind("tenant", answer.resources)[0], () => `tenant ${name} created\n`);
    });
  examples(create, "weft tenant create blue");

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
            ["networks", shown.networks],
          ],
          surface,
        ),
      );
    });
  examples(one, "weft tenant show blue");

  addDelete(tenant, "tenant", "<name...>", "delete tenants that have no networks");
}
