/** weft as the network of a cluster's pods, installed as docs/kubernetes.md says. */
import assert from "node:assert/strict";
import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { agentClient, serverClient } from "../../src/api/clients.ts";
import { until } from "../support/cluster.ts";
import type { KubernetesCluster } from "./cluster.ts";
import { type Image, weftImage } from "./images.ts";
import type { KubernetesNode } from "./node.ts";
import { program } from "./programs.ts";

const deploy = join(import.meta.dirname, "../../deploy");
const overlayFolder = "overlay";

export interface WeftNetworkOptions {
  readonly networks?: string;
  readonly patches?: readonly string[];
}

export class WeftNetwork {
  readonly #cluster: KubernetesCluster;

  private constructor(cluster: KubernetesCluster) {
    this.#cluster = cluster;
  }

  /**
   * Resolves when all nodes are ready. The server is on the first. `networks`: instead of those of `deploy/`; `patches`: files of `deploy/` that an
   * installation may add.
   */
  static async up(
    cluster: KubernetesCluster,
    { networks = join(deploy, "networks.yaml"), patches = [] }: WeftNetworkOptions = {},
  ): Promise<WeftNetwork> {
    const weft = new WeftNetwork(cluster);
    const { kubectl, nodes } = cluster;
    const image = weftImage(cluster.imageFolder);
    for (const node of nodes) await node.import(image.archive);
    await kubectl.run("label", "node", nodes[0]?.name ?? "", "weft.dev/server=");
    await kubectl.run("apply", "--kustomize", weft.#overlay(image, patches));
    await kubectl.run("--namespace=weft", "rollout", "status", "deployment/weft-server", "--timeout=120s");
    await weft.#administer(
      `kubectl --namespace weft exec --stdin deployment/weft-server -- weft apply --file - <${networks}`,
    );
    for (const name of ["weft-agent", "weft-presence"])
      await kubectl.run("--namespace=weft", "rollout", "status", `daemonset/${name}`, "--timeout=120s");
    await cluster.ready();
    return weft;
  }

  get admin(): ReturnType<typeof serverClient> {
    return serverClient(this.#cluster.nodes[0]?.machine.path("/var/lib/weft/server/server.sock") ?? "");
  }

  agent({ machine }: KubernetesNode): ReturnType<typeof agentClient> {
    return agentClient(machine.path("/run/weft/agent.sock"));
  }

  /** Takes it away again; none of its networks has pods any more. */
  async remove(): Promise<void> {
    const { kubectl, nodes, folder } = this.#cluster;
    await kubectl.run("--namespace=weft", "exec", "deployment/weft-server", "--", "weft", "network", "delete", "pods");
    await until(async () => {
      for (const node of nodes) assert.deepEqual((await this.agent(node).getStatus({})).networks, []);
    });
    await kubectl.run("delete", "--kustomize", join(folder, overlayFolder));
    for (const { machine } of nodes)
      await machine.run("sh", "-c", "rm -r /opt/cni/bin/weft /etc/cni/net.d/10-weft.conflist /var/lib/weft /run/weft");
  }

  /** What an administrator types, with kubectl at hand. */
  async #administer(line: string): Promise<void> {
    const { control, kubectl } = this.#cluster;
    const path = `PATH=${dirname(program("kubectl"))}:${process.env.PATH}`;
    await control.run("env", path, `KUBECONFIG=${kubectl.kubeconfig}`, "sh", "-ec", line);
  }

  /** The image under its own name, as an installation would say where its registry is. */
  #overlay({ name }: Image, patches: readonly string[]): string {
    const folder = join(this.#cluster.folder, overlayFolder);
    mkdirSync(folder);
    const [newName, newTag] = name.split(":");
    const overlay = {
      // What `resources` names with a newer kubectl.
      bases: [relative(folder, deploy)],
      images: [{ name: "localhost/weft", newName, newTag }],
      // What `patches` does with a newer kubectl; it wants them in the overlay's own folder.
      patchesStrategicMerge: patches,
    };
    for (const patch of patches) copyFileSync(join(deploy, patch), join(folder, patch));
    writeFileSync(join(folder, "kustomization.yaml"), JSON.stringify(overlay));
    return folder;
  }
}
