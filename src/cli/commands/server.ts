import { type Command, InvalidArgumentError, Option } from "commander";
import type { Cidr } from "../../base/cidr.ts";
import { addressAndPort, examples, prefixList } from "../options.ts";
import { requireRoot } from "../privilege.ts";

interface ServerCommandOptions {
  readonly listen: string;
  readonly dataDir: string;
  readonly metrics?: string;
  readonly vtepPrefix?: readonly Cidr[];
  readonly kubernetesAccount?: Account;
}

/** A service account. */
interface Account {
  readonly namespace: string;
  readonly name: string;
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
    .addOption(
      new Option(
        "--kubernetes-account <namespace/name>",
        "service account of pods of agents, which join by its tokens; absent: agents join by tokens of weft token create",
      )
        .env("WEFT_KUBERNETES_ACCOUNT")
        .argParser(account),
    )
    .action(async ({ vtepPrefix, kubernetesAccount, ...options }: ServerCommandOptions) => {
      requireRoot("run the server");
      const { runServer } = await import("../../server/main.ts");
      process.exitCode = await runServer({
        ...options,
        vtepPrefixes: vtepPrefix ?? [],
        ...(kubernetesAccount === undefined
          ? {}
          : {
              voucher: async (logger) => {
                const { podVoucher } = await import("../../plugins/kubernetes/main.ts");
                return podVoucher(kubernetesAccount, logger);
              },
            }),
      });
    });
  examples(
    command,
    "weft server",
    "weft server --listen [::]:7400 --data-dir /srv/weft",
    "weft server --vtep-prefix 192.0.2.0/24,2001:db8::/64",
  );
}

/** Names as Kubernetes has them (RFC 1123 labels, with dots in that of an account). */
function account(text: string): Account {
  const [, namespace, name] = /^([a-z0-9-]{1,63})\/([a-z0-9.-]{1,253})$/.exec(text) ?? [];
  if (namespace === undefined || name === undefined) throw new InvalidArgumentError("Allowed: NAMESPACE/NAME");
  return { namespace, name };
}
