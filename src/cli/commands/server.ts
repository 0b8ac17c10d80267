import { type Command, Option } from "commander";
import { addressAndPort, examples } from "../options.ts";
import { requireRoot } from "../privilege.ts";

interface ServerCommandOptions {
  readonly listen: string;
  readonly dataDir: string;
  readonly metrics?: string;
}

export function registerServer(program: Command): void {
  const command = program
    .command("server")
    .description("run the control server")
    .addOption(
      new Option("--listen <address:port>", "where nodes reach the server")
        .env("WEFT_LISTEN")
        .default("0.0.0.0:7400")
        .argParser(addressAndPort),
    )
    .addOption(
      new Option("--data-dir <directory>", "database, keys and admin socket")
        .env("WEFT_DATA_DIR")
        .default("/var/lib/weft/server"),
    )
    .addOption(
      new Option("--metrics <address:port>", "where Prometheus reads; absent: on the admin socket only")
        .env("WEFT_METRICS")
        .argParser(addressAndPort),
    )
    .action(async (options: ServerCommandOptions) => {
      requireRoot("run the server");
      const { runServer } = await import("../../server/main.ts");
      process.exitCode = await runServer(options);
    });
  examples(command, "weft server", "weft server --listen [::]:7400 --data-dir /srv/weft");
}
