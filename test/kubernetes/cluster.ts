/** A real cluster of Kubernetes: a control plane and nodes, each a {@link Machine}; without a network for its pods. */
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { type Owner, testDirectory, uniqueName, until } from "../support/cluster.ts";
import { type TestNamespace, testNamespace } from "../support/namespaces.ts";
import { ControlPlane, type Families } from "./control-plane.ts";
import { busyboxImage } from "./images.ts";
import type { Kubectl } from "./kubectl.ts";
import { removeLeftovers, switchLabel } from "./leftovers.ts";
import { Machine } from "./machine.ts";
import { KubernetesNode } from "./node.ts";
import { Pki } from "./pki.ts";

export interface ClusterOptions {
  /** Nodes beside the control plane's machine. Default 2. */
  readonly count?: number;
  readonly families?: Families;
  /** The control plane's machine is a node as well, the last. Default false. */
  readonly isControlNode?: boolean;
}

export class KubernetesCluster {
  readonly folder: string;
  readonly control: Machine;
  readonly nodes: readonly KubernetesNode[];
  readonly #plane: ControlPlane;

  private constructor(folder: string, control: Machine, nodes: readonly KubernetesNode[], plane: ControlPlane) {
    this.folder = folder;
    this.control = control;
    this.nodes = nodes;
    this.#plane = plane;
  }

  /** Where images are packed. */
  get imageFolder(): string {
    return join(this.folder, "images");
  }

  get kubectl(): Kubectl {
    return this.#plane.kubectl;
  }

  /** Resolves when all nodes are known; they are not ready before there is a network. */
  static async up(
    owner: Owner,
    { count = 2, families = "ipv4", isControlNode = false }: ClusterOptions = {},
  ): Promise<KubernetesCluster> {
    await removeLeftovers();
    const name = uniqueName();
    const folder = testDirectory(owner);
    const fabric = makeSwitch(owner);
    const machine = (label: string, number: number): Machine =>
      new Machine(owner, {
        ...{ name: label, number, switch: fabric, folder: join(folder, label), cgroup: `weft-${name}-${label}` },
      });
    const control = machine("control", 1);
    const pki = await Pki.make(join(folder, "pki"), ControlPlane.urlOn(control));
    const plane = new ControlPlane(control, pki, families);
    const images = join(folder, "images");
    mkdirSync(images);
    const busybox = busyboxImage(images);
    await control.boot();
    await plane.start();
    const workers = Array.from({ length: count }, (_, index) => machine(`n${index + 1}`, index + 11));
    for (const worker of workers) await worker.boot();
    const nodes = [...workers, ...(isControlNode ? [control] : [])].map(
      (each) => new KubernetesNode(each, pki, busybox.name, families),
    );
    for (const node of nodes) await node.install([busybox]);
    const cluster = new KubernetesCluster(folder, control, nodes, plane);
    await until(async () => assert.equal((await plane.kubectl.list("nodes")).length, nodes.length));
    await until(async () => {
      await plane.kubectl.get("serviceaccount", "default");
    });
    return cluster;
  }

  node(name: string): KubernetesNode {
    const found = this.nodes.find((each) => each.name === name);
    assert.ok(found, `there is no node ${name}`);
    return found;
  }

  async ready(): Promise<void> {
    for (const node of this.nodes) await node.ready(this.#plane);
  }
}

function makeSwitch(owner: Owner): TestNamespace {
  const fabric = testNamespace(switchLabel);
  owner.after(() => fabric[Symbol.dispose]());
  fabric.shell("ip link add sw0 type bridge mcast_snooping 0; ip link set sw0 up");
  return fabric;
}
