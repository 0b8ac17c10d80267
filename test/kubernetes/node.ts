import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { clusterDomain } from "./cluster-dns.ts";
import { type ControlPlane, dualStackGate, type Families, podSubnets, ranges } from "./control-plane.ts";
import type { Image } from "./images.ts";
import { type Machine, type MachineProgram, machineAddress } from "./machine.ts";
import type { Pki } from "./pki.ts";
import { program } from "./programs.ts";

/** A machine with containerd, kubelet and kube-proxy. */
export class KubernetesNode {
  readonly machine: Machine;
  readonly #pki: Pki;
  readonly #pauseImage: string;
  readonly #families: Families;
  #kubelet: MachineProgram | undefined;
  #proxy: MachineProgram | undefined;

  constructor(machine: Machine, pki: Pki, pauseImage: string, families: Families) {
    this.machine = machine;
    this.#pki = pki;
    this.#pauseImage = pauseImage;
    this.#families = families;
  }

  get name(): string {
    return this.machine.name;
  }

  /** The first time. */
  async install(images: readonly Image[]): Promise<void> {
    const pki = this.#pki;
    await pki.issueClient(this.name, `system:node:${this.name}`, "system:nodes");
    await pki.issueServer(`${this.name}-kubelet`, this.name, this.machine.address);
    writeFileSync(this.#file("containerd.toml"), this.#containerdSettings());
    writeFileSync(this.#file("kubelet.json"), JSON.stringify(this.#kubeletSettings()));
    // Distributions bring these with the kubelet; containerd runs loopback itself.
    for (const plugin of ["bridge", "host-local", "loopback", "portmap"])
      await this.machine.run("cp", `/usr/lib/cni/${plugin}`, "/opt/cni/bin/");
    await this.#startContainerd();
    for (const { archive } of images) await this.import(archive);
    this.#startKubernetes();
  }

  /** After each boot but the first. */
  async start(): Promise<void> {
    await this.#startContainerd();
    this.#startKubernetes();
  }

  async import(archive: string): Promise<void> {
    await this.machine.run("ctr", "--namespace", "k8s.io", "images", "import", archive);
  }

  async #startContainerd(): Promise<void> {
    const containerd = this.machine.start("containerd", "containerd", "--config", this.#file("containerd.toml"));
    await containerd.until(async () => {
      await this.machine.run("ctr", "version");
    });
  }

  #startKubernetes(): void {
    const isDual = this.#families === "dual";
    const { address, address6 } = this.machine;
    this.#kubelet = this.machine.start(
      ...["kubelet", program("kubelet"), `--config=${this.#file("kubelet.json")}`],
      ...[`--kubeconfig=${this.#pki.kubeconfigOf(this.name)}`, `--hostname-override=${this.name}`],
      ...[`--node-ip=${isDual ? `${address},${address6}` : address}`, "--container-runtime=remote", ...this.#gates],
      ...["--container-runtime-endpoint=unix:///run/containerd/containerd.sock"],
      ...[`--pod-infra-container-image=${this.#pauseImage}`, "--root-dir=/var/lib/kubelet"],
      "--volume-plugin-dir=/var/lib/kubelet/volumeplugins",
    );
    this.#startProxy(ranges(podSubnets, this.#families));
  }

  /** As an administrator does who has given its configuration another `clusterCIDR`. */
  async restartProxy(clusterCidr: string): Promise<void> {
    await this.#proxy?.end();
    this.#startProxy(clusterCidr);
  }

  #startProxy(clusterCidr: string): void {
    this.#proxy = this.machine.start(
      ...["kube-proxy", program("kube-proxy"), `--kubeconfig=${this.#pki.kubeconfigOf("proxy")}`],
      ...[`--hostname-override=${this.name}`, "--proxy-mode=iptables", `--cluster-cidr=${clusterCidr}`],
      ...this.#gates,
      // These limits are the machine's, not those of a network namespace.
      ...["--conntrack-max-per-core=0", "--conntrack-tcp-timeout-established=0"],
      "--conntrack-tcp-timeout-close-wait=0",
    );
  }

  get #gates(): string[] {
    return this.#families === "dual" ? [dualStackGate] : [];
  }

  /** containerd does not start where it may not lower a process's oom_score_adj, unless it is told so. */
  #containerdSettings(): string {
    return `
version = 2
root = "${this.#file("containerd")}"
state = "/run/containerd"
oom_score = 0
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
  sandbox_image = "${this.#pauseImage}"
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"
`;
  }

  #kubeletSettings(): object {
    const { address, cgroup } = this.machine;
    return {
      apiVersion: "kubelet.config.k8s.io/v1beta1",
      kind: "KubeletConfiguration",
      cgroupDriver: "cgroupfs",
      cgroupRoot: `/${cgroup}`,
      failSwapOn: false,
      protectKernelDefaults: true,
      maxPods: 250,
      address,
      readOnlyPort: 0,
      tlsCertFile: this.#pki.certificateOf(`${this.name}-kubelet`),
      tlsPrivateKeyFile: this.#pki.keyOf(`${this.name}-kubelet`),
      authentication: {
        anonymous: { enabled: false },
        webhook: { enabled: false },
        x509: { clientCAFile: this.#pki.authority },
      },
      authorization: { mode: "AlwaysAllow" },
      clusterDNS: [machineAddress(1)],
      clusterDomain,
      resolvConf: "/etc/resolv.conf",
      imageGCHighThresholdPercent: 100,
      evictionHard: { "memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%" },
      nodeStatusUpdateFrequency: "1s",
      // The default lets five pods a second be made known.
      kubeAPIQPS: 50,
      kubeAPIBurst: 100,
    };
  }

  #file(name: string): string {
    return join(this.machine.folder, name);
  }

  /** Waits until the API server has heard that containers can run here. */
  async ready(control: ControlPlane): Promise<void> {
    await this.#kubelet?.until(async () => {
      const { status } = await control.kubectl.json("node", this.name);
      const ready = status.conditions.find(({ type }: { readonly type: string }) => type === "Ready");
      assert.equal(ready?.status, "True", ready?.message);
    });
  }
}
