import type { Command } from "commander";
import { examples, outputOption, type WithOutput } from "../options.ts";
import { show } from "../output.ts";

export function registerVersion(program: Command): void {
  const command = program
    .command("version")
    .description("print the version of this program and of its runtime")
    .addOption(outputOption())
    .action(async (options: WithOutput) => {
      const { weftVersion } = await import("../../api/version.ts");
      const version = { weft: weftVersion(), node: process.versions.node };
      await show(options.output, version, () => `weft ${version.weft} (Node.js ${version.node})\n`);
    });
  examples(command, "weft version", "weft version -o json");
}
