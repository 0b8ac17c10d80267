import type { Command } from "commander";
import type { ResourceKind } from "../../model/kinds.ts";
import { examples, serverOption, type WithServer } from "../options.ts";
import { print } from "../terminal.ts";

/** Adds the command that deletes resources of one kind. */
export function addDelete(
  parent: Command,
  kind: Exclude<ResourceKind, "endpoint">,
  description: string,
  example: string,
  /** How what is given is named. */
  nameOf: (given: string) => string = (given) => given,
): void {
  const command = parent
    .command("delete <name...>")
    .description(description)
    .addOption(serverOption())
    .action(async (given: readonly string[], options: WithServer) => {
      const { serverClient } = await import("../../api/clients.ts");
      const names = given.map(nameOf);
      await serverClient(options.server).delete({ resources: names.map((name) => ({ kind, name })) });
      print(names.map((name) => `${kind} ${name} deleted\n`).join(""));
    });
  examples(command, `weft ${kind} delete ${example}`);
}
