import { hostname } from "node:os";
import { type Command, InvalidArgumentError, Option } from "commander";
import type { Rate } from "../../model/bandwidth.ts";
import { parseUnderlaySelectors, type UnderlaySelector } from "../../model/underlay-selector.ts";
import { rateOption } from "../bandwidth-option.ts";
import { UsageError } from "../errors.ts";
import { examples, instanceName, nodeName } from "../options.ts";
import { requireRoot } from "../privilege.ts";

interface AgentCommandOptions {
  readonly server: string;
  readonly token?: string;
  readonly tokenFile?: string;
  readonly name?: string;
  readonly underlay?: readonly UnderlaySelector[];
  readonly underlayBandwidth?: Rate;
  readonly dataDir: string;
  readonly runDir: string;
  readonly instance: string;
  readonly kubernetes: boolean;
  readonly dockerSocket: string;
}

export function registerAgent(program: Command): void {
  const command = program
    .command("agent")
    .description("run the agent of this node")
    .addOption(
      new Option("--server <url>", "the control server: https://ADDRESS:PORT").env("WEFT_SERVER").makeOptionMandatory(),
    )
    .addOption(
      new Option(
        "--token-file <file>",
        "one-use token to join with, in a file of root's alone, -: from standard input; ignored once joined",
      ).env("WEFT_TOKEN_FILE"),
    )
    .addOption(
      new Option("--token <token>", "the token itself: every user can read a command line, so better not")
        .env("WEFT_TOKEN")
        .conflicts("tokenFile"),
    )
    .addOption(
      new Option("--name <node>", "the node's name (default: the host's name); must stay once joined")
        .env("WEFT_NODE")
        .argParser(nodeName),
    )
    .addOption(
      new Option(
        "--underlay <where,...>",
        "VTEP addresses, IPv4, IPv6 or both: as addresses, or as prefixes or an interface, which are followed when addresses change (default: the address towards the server)",
      )
        .env("WEFT_UNDERLAY")
        .argParser(underlay),
    )
    .addOption(
      new Option(
        "--underlay-bandwidth <rate>",
        "what networks share of the underlay, so that each has what bandwidth.send.guarantee says (default: they send as they come)",
      )
        .env("WEFT_UNDERLAY_BANDWIDTH")
        .argParser(rateOption),
    )
    .addOption(
      new Option("--data-dir <directory>", "certificate and last snapshot")
        .env("WEFT_DATA_DIR")
        .default("/var/lib/weft/agent"),
    )
    .addOption(new Option("--run-dir <directory>", "the agent's socket").env("WEFT_RUN_DIR").default("/run/weft"))
    .addOption(
      new Option("--instance <name>", "sets several agents on one machine apart")
        .env("WEFT_INSTANCE")
        .default("weft")
        .argParser(instanceName),
    )
    .addOption(
      new Option(
        "--kubernetes",
        "pods come by the word of weft kubernetes alone, which says what networks they may be in and what policies know them by",
      )
        .env("WEFT_KUBERNETES")
        .default(false),
    )
    .addOption(
      new Option(
        "--docker-socket <path>",
        "Docker's own socket, where its containers' names are read for networks with names",
      )
        .env("WEFT_DOCKER_SOCKET")
        .default("/run/docker.sock"),
    )
    .action(async (options: AgentCommandOptions) => {
      requireRoot("run the agent");
      // What the agent starts, such as nft, shall not inherit it.
      delete process.env.WEFT_TOKEN;
      const isTokenExposed = command.getOptionValueSource("token") === "cli";
      const [{ runAgent }, { cniPlugin }, { dockerPlugin }] = await Promise.all([
        import("../../agent/main.ts"),
        import("../../plugins/cni/service.ts"),
        import("../../plugins/docker/service.ts"),
      ]);
      process.exitCode = await runAgent({
        ...options,
        defaultName: nameOfHost,
        isTokenExposed,
        underlay: options.underlay ?? [],
        plugins: [cniPlugin({ ofPods: options.kubernetes }), dockerPlugin({ socket: options.dockerSocket })],
      });
    });
  examples(
    command,
    "weft agent --server https://192.0.2.10:7400 --token-file /etc/weft/token",
    "weft agent --server https://192.0.2.10:7400 --name h1 --underlay 192.0.2.1,2001:db8::1",
    "weft agent --server https://192.0.2.10:7400 --underlay ens3",
  );
}

function underlay(text: string): readonly UnderlaySelector[] {
  const selectors = parseUnderlaySelectors(text);
  if (selectors.ok) return selectors.value;
  throw new InvalidArgumentError(`Allowed: ${selectors.error}`);
}

function nameOfHost(): string {
  const [label = ""] = hostname().toLowerCase().split(".");
  try {
    return nodeName(label);
  } catch {
    throw new UsageError("run the agent", `the host's name "${label}" cannot be a node's name`, "give one by --name");
  }
}
