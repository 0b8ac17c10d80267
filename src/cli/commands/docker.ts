import { type Command, Option } from "commander";
import { showInstalled } from "../installed.ts";
import { agentOption, examples, outputOption, type WithAgent, type WithOutput } from "../options.ts";
import { requireRoot } from "../privilege.ts";

interface DockerOptions extends WithOutput {
  readonly pluginDir: string;
}

export function registerDocker(program: Command): void {
  const docker = program.command("docker").description("networks of weft for Docker");

  const install = docker
    .command("install")
    .description("tell Docker where its plugin weft answers; may be repeated")
    .addOption(pluginDirOption())
    .addOption(agentOption())
    .addOption(outputOption())
    .action(async (options: DockerOptions & WithAgent) => {
      requireRoot("install the Docker plugin");
      const { installDocker } = await import("../../plugins/docker/install.ts");
      await showInstalled(options, installDocker({ ...options, agentSocket: options.agent }));
    });
  examples(
    install,
    "weft docker install",
    "docker network create -d weft --ipam-driver weft --subnet 10.1.0.0/16 -o weft.network=web web",
  );

  const uninstall = docker
    .command("uninstall")
    .description("take away what weft docker install wrote, and nothing else")
    .addOption(pluginDirOption())
    .addOption(outputOption())
    .action(async (options: DockerOptions) => {
      requireRoot("uninstall the Docker plugin");
      const { uninstallDocker } = await import("../../plugins/docker/install.ts");
      await showInstalled(options, uninstallDocker(options.pluginDir));
    });
  examples(uninstall, "weft docker uninstall");
}

function pluginDirOption(): Option {
  return new Option("--plugin-dir <directory>", "where Docker looks for plugins").default("/etc/docker/plugins");
}
