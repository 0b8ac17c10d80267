import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Finished } from "../support/cluster.ts";
import type { Machine } from "./machine.ts";
import { program } from "./programs.ts";

/** An object as a manifest has it. */
// biome-ignore lint/suspicious/noExplicitAny: the shape is that of whichever kind it is, and the assertion checks it.
export type Manifest = Record<string, any>;

/** The command line of Kubernetes, as an administrator on a machine uses it. */
export class Kubectl {
  /** Path of the file that says where the cluster is, and with what it is entered. */
  readonly kubeconfig: string;
  readonly #machine: Machine;

  constructor(machine: Machine, kubeconfig: string) {
    this.#machine = machine;
    this.kubeconfig = kubeconfig;
  }

  attempt(...words: readonly string[]): Promise<Finished> {
    return this.#machine.attempt(program("kubectl"), `--kubeconfig=${this.kubeconfig}`, ...words);
  }

  async run(...words: readonly string[]): Promise<string> {
    const { status, output, complaints } = await this.attempt(...words);
    assert.equal(status, 0, `kubectl ${words.join(" ")}: ${complaints}${output}`);
    return output;
  }

  get(...words: readonly string[]): Promise<string> {
    return this.run("get", ...words);
  }

  async json(...words: readonly string[]): Promise<Manifest> {
    return JSON.parse(await this.get(...words, "-o", "json"));
  }

  async list(...words: readonly string[]): Promise<Manifest[]> {
    return (await this.json(...words)).items;
  }

  async apply(...objects: readonly Manifest[]): Promise<void> {
    const folder = mkdtempSync(join(tmpdir(), "manifest-"));
    const file = join(folder, "list.json");
    try {
      writeFileSync(file, JSON.stringify({ apiVersion: "v1", kind: "List", items: objects }));
      await this.run("apply", "-f", file);
    } finally {
      rmSync(folder, { recursive: true });
    }
  }

  /** Deletes and waits until nothing of it is left. */
  async delete(...words: readonly string[]): Promise<void> {
    await this.run("delete", ...words, "--wait=true");
  }

  exec(pod: string, ...words: readonly string[]): Promise<string> {
    return this.run("exec", pod, "--", ...words);
  }
}
