import type { Command } from "commander";
import { WeftError } from "../../base/errors.ts";
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
      const client = serverClient(options.server);
      const failures: unknown[] = [];
      // One by one: that one cannot be deleted is no reason to leave the others.
      for (const name of new Set(given.map(nameOf)))
        try {
          await client.delete({ resources: [{ kind, name }] });
          print(`${kind} ${name} deleted\n`);
        } catch (error) {
          failures.push(error);
          if (error instanceof WeftError && error.code === "unavailable") break;
        }
      if (failures.length > 0) throw new AggregateError(failures);
    });
  examples(command, `weft ${kind} delete ${example}`);
}
