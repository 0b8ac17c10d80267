import type { Command } from "commander";
import { type Duration, formatDuration, hours } from "../../base/duration.ts";
import { duration, examples, outputOption, serverOption, type WithOutput, type WithServer } from "../options.ts";
import { instant, show } from "../output.ts";

export function registerToken(program: Command): void {
  const token = program.command("token").description("tokens that let a node join");
  const create = token
    .command("create")
    .description("print a token that one node can join with, once")
    .option("--ttl <duration>", "how long it can be used", duration, hours(1))
    .addOption(serverOption())
    .addOption(outputOption())
    .action(async (options: WithServer & WithOutput & { readonly ttl: Duration }) => {
      const { serverClient } = await import("../../api/clients.ts");
      const answer = await serverClient(options.server).createToken({ lifetime: BigInt(Math.round(options.ttl)) });
      const expires = instant(answer.expires);
      await show(options.output, { token: answer.token, expires }, () => `${answer.token}\n`);
      if (options.output === "table")
        process.stderr.write(`usable once, until ${expires} (${formatDuration(options.ttl)})\n`);
    });
  create.options.find((option) => option.long === "--ttl")?.default(hours(1), "1h");
  examples(create, "weft token create", "weft token create --ttl 10m");
}
