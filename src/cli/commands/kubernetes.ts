import { type Command, Option } from "commander";
import { examples, networkName, serverOption, type WithServer } from "../options.ts";

interface KubernetesOptions extends WithServer {
  readonly kubeconfig?: string;
  readonly network: string;
}

export function registerKubernetes(program: Command): void {
  const command = program
    .command("kubernetes")
    .description("follow Kubernetes: its pods, NetworkPolicies and nodes, on the server's host")
    .addOption(
      new Option(
        "--kubeconfig <file>",
        "where the API server is, and the right to list and watch (default: those of the pod that this runs in)",
      ).env("KUBECONFIG"),
    )
    .addOption(
      new Option("--network <network>", "of pods whose namespace names none")
        .env("WEFT_KUBERNETES_NETWORK")
        .argParser(networkName)
        .makeOptionMandatory(),
    )
    .addOption(serverOption())
    .action(async ({ kubeconfig, server, network }: KubernetesOptions) => {
      const { runKubernetes } = await import("../../plugins/kubernetes/main.ts");
      process.exitCode = await runKubernetes({ ...(kubeconfig === undefined ? {} : { kubeconfig }), server, network });
    });
  examples(
    command,
    "weft kubernetes --network pods",
    "weft kubernetes --network pods --kubeconfig /etc/weft/kubeconfig",
  );
}
