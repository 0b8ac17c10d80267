import { type Command, Option } from "commander";
import type { Cidr } from "../../base/cidr.ts";
import { addressAndPort, examples, prefixList } from "../options.ts";
import { requireRoot } from "../privilege.ts";

interface ServerCommandOptions {
  readonly listen: string;
  readonly dataDir: string;
  readonly metrics?: string;
  readonly vtepPrefix?: readonly Cidr[];
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
    .addOption(
      new Option(
        "--vtep-prefix <prefixes>",
        "where VTEP addresses of nodes must lie, with commas between or repeated; absent: each is proved by its node's connection, or approved by weft node set",
      )
        .env("WEFT_VTEP_PREFIX")
        .argParser(prefixList),
    )
    .action(async ({ vtepPrefix, ...options }: ServerCommandOptions) => {
      requireRoot("run the server");
      const { runServer } = await import("../../server/main.ts");
      process.exitCode = await runServer({ ...options, vtepPrefixes: vtepPrefix ?? [] });
    });
  examples(
    command,
    "weft server",
    "weft server --listen [::]:7400 --data-dir /srv/weft",
    "weft server --vtep-prefix 192.0.2.0/24,2001:db8::/64",
  );
}
