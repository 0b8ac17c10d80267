import assert from "node:assert/strict";
import { join } from "node:path";
import { Kubectl } from "./kubectl.ts";
import type { Machine, MachineProgram } from "./machine.ts";
import type { Pki } from "./pki.ts";
import { program } from "./programs.ts";

const serviceSubnets = ["10.96.0.0/16", "fd00:10:96::/112"];
/** The second has room for 65,536 nodes, which is as many as controllers can do. */
export const podSubnets = ["10.244.0.0/16", "fd00:10:244::/104"];
/** Of the programs of a cluster with both families; with one they need none. */
export const dualStackGate = "--feature-gates=IPv6DualStack=true";

/** Which families pods, services and nodes have. With both, controllers give each node a part of the pods' subnets. */
export type Families = "ipv4" | "dual";

/** What a program is told of such ranges. */
export function ranges(subnets: readonly string[], families: Families): string {
  return subnets.slice(0, families === "dual" ? 2 : 1).join();
}

/** etcd, API server, controllers and scheduler, on a machine that is no node. */
export class ControlPlane {
  readonly kubectl: Kubectl;
  readonly #machine: Machine;
  readonly #pki: Pki;
  readonly #families: Families;

  constructor(machine: Machine, pki: Pki, families: Families) {
    this.#machine = machine;
    this.#pki = pki;
    this.#families = families;
    this.kubectl = new Kubectl(machine, pki.kubeconfigOf("admin"));
  }

  static urlOn(machine: { readonly address: string }): string {
    return `https://${machine.address}:6443`;
  }

  async start(): Promise<void> {
    const pki = this.#pki;
    const { address } = this.#machine;
    const services = ["kubernetes", "kubernetes.default", "kubernetes.default.svc"];
    await pki.issueServer("kube-apiserver", ...services, "10.96.0.1", address);
    for (const [name, user, group] of [
      ["admin", "admin", "system:masters"],
      ["kubelet-client", "kubelet-client", "system:masters"],
      ["controller-manager", "system:kube-controller-manager"],
      ["scheduler", "system:kube-scheduler"],
      ["proxy", "system:kube-proxy"],
    ] as const)
      await pki.issueClient(name, user, group);
    const etcd = "http://127.0.0.1:2379";
    this.#machine.start(
      ...["etcd", program("etcd"), "--data-dir", join(this.#machine.folder, "etcd-data")],
      ...["--listen-client-urls", etcd, "--advertise-client-urls", etcd, "--listen-peer-urls", "http://127.0.0.1:2380"],
      // What these clusters keep ends with them.
      "--unsafe-no-fsync",
    );
    await this.#startApiServer(etcd).until(async () => {
      assert.equal(await this.kubectl.get("--raw", "/readyz"), "ok");
    });
    this.#startControllers();
    this.#startScheduler();
  }

  #startApiServer(etcd: string): MachineProgram {
    const pki = this.#pki;
    return this.#machine.start(
      ...["kube-apiserver", program("kube-apiserver"), `--etcd-servers=${etcd}`, "--secure-port=6443"],
      ...[`--advertise-address=${this.#machine.address}`, ...this.#serviceFlags()],
      ...[`--tls-cert-file=${pki.certificateOf("kube-apiserver")}`, `--client-ca-file=${pki.authority}`],
      `--tls-private-key-file=${pki.keyOf("kube-apiserver")}`,
      `--kubelet-client-certificate=${pki.certificateOf("kubelet-client")}`,
      `--kubelet-client-key=${pki.keyOf("kubelet-client")}`,
      ...[`--kubelet-certificate-authority=${pki.authority}`, "--kubelet-preferred-address-types=InternalIP"],
      `--service-account-key-file=${join(pki.folder, "accounts.pub")}`,
      `--service-account-signing-key-file=${pki.keyOf("accounts")}`,
      ...["--service-account-issuer=https://kubernetes.default.svc", "--api-audiences=https://kubernetes.default.svc"],
      ...["--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true"],
    );
  }

  #serviceFlags(): string[] {
    const flag = `--service-cluster-ip-range=${ranges(serviceSubnets, this.#families)}`;
    return this.#families === "dual" ? [flag, dualStackGate] : [flag];
  }

  #startControllers(): void {
    const pki = this.#pki;
    const others = "-attachdetach,-horizontalpodautoscaling,-cronjob";
    const nodeFlags =
      this.#families === "dual"
        ? ["--allocate-node-cidrs", "--node-cidr-mask-size-ipv4=24", "--node-cidr-mask-size-ipv6=120"]
        : // Weft gives nodes their blocks.
          ["--allocate-node-cidrs=false"];
    this.#machine.start(
      ...["controller-manager", program("kube-controller-manager")],
      ...[`--kubeconfig=${pki.kubeconfigOf("controller-manager")}`, `--root-ca-file=${pki.authority}`],
      ...[`--service-account-private-key-file=${pki.keyOf("accounts")}`, "--use-service-account-credentials=true"],
      ...[...nodeFlags, `--controllers=*,${this.#families === "dual" ? "" : "-nodeipam,"}${others}`],
      ...[`--cluster-cidr=${ranges(podSubnets, this.#families)}`, ...this.#serviceFlags(), "--leader-elect=false"],
      ...["--bind-address=127.0.0.1", "--port=0", `--flex-volume-plugin-dir=${join(this.#machine.folder, "flex")}`],
    );
  }

  #startScheduler(): void {
    this.#machine.start(
      ...["scheduler", program("kube-scheduler"), `--kubeconfig=${this.#pki.kubeconfigOf("scheduler")}`],
      ...["--leader-elect=false", "--bind-address=127.0.0.1", "--port=0"],
    );
  }
}
