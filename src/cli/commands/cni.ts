import { type Command, Option } from "commander";
import type { CniFolders } from "../../plugins/cni/install.ts";
import { parseAgentSocket, parseCniName } from "../../plugins/cni/texts.ts";
import { UsageError } from "../errors.ts";
import { showInstalled } from "../installed.ts";
import {
  agentOption,
  allowedValue,
  examples,
  networkName,
  outputOption,
  type WithAgent,
  type WithOutput,
} from "../options.ts";
import { requireRoot } from "../privilege.ts";

interface FolderOptions extends CniFolders, WithOutput {}

const configurationName = allowedValue(parseCniName);
const agentSocket = allowedValue(parseAgentSocket);

export function registerCni(program: Command): void {
  const cni = program.command("cni").description("networks of weft for container runtimes that speak CNI");

  const install = folderOptions(
    cni
      .command("install")
      .description("put the CNI plugin and a configuration where runtimes find them; may be repeated"),
  )
    .addOption(
      new Option("--network <network>", "the network of weft that containers come into").argParser(networkName),
    )
    .addOption(
      new Option("--kubernetes", "pods come into networks as Kubernetes says: weft agent --kubernetes").conflicts(
        "network",
      ),
    )
    .option(
      "--name <name>",
      "what the runtime calls it (default: the network's name, with --kubernetes weft)",
      configurationName,
    )
    .option("--portmap", "ports of the host lead to containers by the reference plugin portmap, not by weft", false)
    .addOption(agentOption().argParser(agentSocket))
    .addOption(outputOption())
    .action(
      async (
        options: FolderOptions &
          WithAgent & {
            readonly network?: string;
            readonly kubernetes?: true;
            readonly name?: string;
            readonly portmap: boolean;
          },
      ) => {
        const { network, kubernetes, agent, portmap } = options;
        const name = options.name ?? network ?? "weft";
        if (network === undefined && kubernetes === undefined)
          throw new UsageError(
            "install the CNI plugin",
            "neither --network nor --kubernetes was given",
            "weft cni install --help",
          );
        requireRoot("install the CNI plugin");
        const { installCni } = await import("../../plugins/cni/install.ts");
        const configuration = { name, agentSocket: agent, portmap, ...(network === undefined ? {} : { network }) };
        await showInstalled(options, installCni(options, configuration));
      },
    );
  examples(
    install,
    "weft cni install --network web",
    "weft cni install --network web --name podman-web --bin-dir /usr/lib/cni",
    "weft cni install --kubernetes --portmap",
  );

  const uninstall = folderOptions(
    cni.command("uninstall").description("take away what weft cni install wrote, and nothing else"),
  )
    .option("--name <name>", "only the configuration of this name, and the plugin if none is left", configurationName)
    .addOption(outputOption())
    .action(async (options: FolderOptions & { readonly name?: string }) => {
      requireRoot("uninstall the CNI plugin");
      const { uninstallCni } = await import("../../plugins/cni/install.ts");
      await showInstalled(options, uninstallCni(options, options.name));
    });
  examples(uninstall, "weft cni uninstall", "weft cni uninstall --name podman-web --bin-dir /usr/lib/cni");
}

function folderOptions(command: Command): Command {
  return command
    .addOption(new Option("--bin-dir <directory>", "where runtimes look for plugins").default("/opt/cni/bin"))
    .addOption(
      new Option("--conf-dir <directory>", "where runtimes look for configurations").default("/etc/cni/net.d"),
    );
}
