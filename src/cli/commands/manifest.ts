import { readFile, writeFile } from "node:fs/promises";
import { text } from "node:stream/consumers";
import type { Command } from "commander";
import { messageOf, WeftError } from "../../base/errors.ts";
import type { DeclaredResource } from "../../model/yaml.ts";
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
import { renderTable } from "../table.ts";
import { type WithWait, waitInPlace, waitOption } from "../wait.ts";

interface FileOptions extends WithServer, WithOutput, WithWait {
  readonly file: string;
}

interface DiffOptions extends WithAgent, WithServer, WithOutput {
  readonly live?: true;
}

export function registerManifest(program: Command): void {
  const apply = program
    .command("apply")
    .description(
      "make the declared tenants, networks, policies and floating addresses so, all or none; what is not declared stays",
    )
    .requiredOption("-f, --file <file>", "YAML; - is standard input")
    .addOption(waitOption())
    .addOption(serverOption())
    .addOption(outputOption())
    .action((options: FileOptions) => applyFile(options, false));
  examples(
    apply,
    "weft apply -f networks.yaml",
    "weft apply -f networks.yaml --wait 2m",
    "weft export | weft apply -f -",
  );

  const diff = program
    .command("diff")
    .description("say what apply would change; or what of this node's kernel is otherwise than it should be")
    .option("-f, --file <file>", "YAML; - is standard input")
    .option("--live", "the kernel of this node, beside what is wanted of it")
    .addOption(agentOption())
    .addOption(serverOption())
    .addOption(outputOption())
    .action(async ({ live, ...options }: Partial<FileOptions> & DiffOptions) => {
      const { file } = options;
      if ((live === true) === (file !== undefined))
        throw new WeftError({
          code: "invalid-argument",
          attempted: "say what differs",
          reason: `found ${live === true ? "both --live and" : "neither --live nor"} --file; allowed: one of both`,
        });
      if (file !== undefined) return applyFile({ ...options, file }, true);
      const { showLiveDifferences } = await import("./diff-live.ts");
      return showLiveDifferences(options.agent, options.output);
    });
  examples(diff, "weft diff -f networks.yaml", "weft diff --live");

  const exported = program
    .command("export")
    .description(
      "write all tenants, networks, policies and floating addresses as YAML that apply reads, but for what weft kubernetes keeps",
    )
    .option("-f, --file <file>", "where to; - is standard output", "-")
    .addOption(serverOption())
    .action(async ({ file, server }: WithServer & { readonly file: string }) => {
      const [{ serverClient, resourceFromMessage }, { stringifyResources, isDeclared }] = await Promise.all([
        import("../admin.ts"),
        import("../../model/index.ts"),
      ]);
      const { resources } = await serverClient(server).list({});
      // What programs keep, they make again.
      const isKept = (resource: object): boolean => "managedBy" in resource;
      const declared = resources.map(resourceFromMessage).filter((each) => isDeclared(each.kind) && !isKept(each));
      const yaml = stringifyResources(declared);
      if (file === "-") process.stdout.write(yaml);
      else await writeFile(file, yaml).catch((error) => refuse(`write ${file}`, error));
    });
  examples(exported, "weft export", "weft export -f networks.yaml");
}

async function applyFile(options: FileOptions, dryRun: boolean): Promise<void> {
  const declared = await readDeclarations(options.file);
  const { serverClient, declaration } = await import("../admin.ts");
  const answer = await serverClient(options.server).apply({ resources: declared.map(declaration), dryRun });
  const results = answer.results.map(({ resource, outcome, differences }) => ({
    kind: resource?.kind ?? "",
    name: resource?.name ?? "",
    outcome,
    differences,
  }));
  await show(options.output, results, (surface) =>
    renderTable(
      [
        { header: "kind", value: (row) => row.kind },
        { header: "name", value: (row) => row.name },
        { header: "outcome", value: (row) => row.outcome, isState: true },
        { header: "differences", value: (row) => row.differences.join("; ") },
      ],
      results,
      surface,
    ),
  );
  const { wait } = options;
  if (wait === undefined) return;
  const networks = await networksConcerned(declared, options.server);
  if (networks.length === 0) return;
  const what = networks.length === 1 ? `network ${networks[0]}` : `${networks.length} networks`;
  await waitInPlace(what, wait, (signal) =>
    serverClient(options.server).waitInPlace({ networks, revision: answer.revision }, { signal }),
  );
}

/**
 * Those that were declared, with their peers, whose tenants' nodes have an end to make; those of floating addresses; and all of tenants whose
 * policies were.
 */
async function networksConcerned(declared: readonly DeclaredResource[], server: string): Promise<string[]> {
  const networks = new Set<string>();
  const tenants = new Set<string>();
  const withPeers = new Set<string>();
  for (const each of declared) {
    if (each.kind === "network") networks.add(each.name);
    if (each.kind === "network" && each.peers.length > 0) withPeers.add(each.name);
    if (each.kind === "floating-address") networks.add(each.network);
    if (each.kind === "policy") tenants.add(each.tenant);
  }
  if (tenants.size + withPeers.size === 0) return [...networks];
  const [{ serverClient, ofKind }, { peersInForce }] = await Promise.all([
    import("../admin.ts"),
    import("../../model/index.ts"),
  ]);
  const all = ofKind("network", (await serverClient(server).list({ kind: "network" })).resources);
  const byName = new Map(all.map((network) => [network.name, network]));
  for (const network of all) {
    if (tenants.has(network.tenant)) networks.add(network.name);
    if (withPeers.has(network.name))
      for (const { name } of peersInForce(network, (peer) => byName.get(peer))) networks.add(name);
  }
  return [...networks];
}

async function readDeclarations(file: string): Promise<DeclaredResource[]> {
  const attempted = `read ${file === "-" ? "standard input" : file}`;
  const { parseResources, formatFileProblem } = await import("../../model/index.ts");
  const content = await (file === "-" ? text(process.stdin) : readFile(file, "utf8")).catch((error) =>
    refuse(attempted, error),
  );
  const declared = parseResources(content, file);
  if (declared.ok) return declared.value;
  throw new WeftError({
    code: "invalid-argument",
    attempted,
    reason: `nothing was changed:${declared.error.map((problem) => `\n  ${formatFileProblem(problem)}`).join("")}`,
  });
}

function refuse(attempted: string, error: unknown): never {
  throw new WeftError({ code: "failed-precondition", attempted, reason: messageOf(error), cause: error });
}
