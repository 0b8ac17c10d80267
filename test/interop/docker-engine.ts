import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Lab } from "../../src/lab/lab.ts";
import { runProgram, weftProgram } from "../../src/lab/process.ts";
import { BackgroundProgram, cleanUp, type Owner, until } from "../support/cluster.ts";

/** Debian's client, which speaks the engine's version of its API. */
const client = "/usr/bin/docker";

/** Docker Engine in the network namespace of a host of a lab, and in a mount namespace with an /etc/docker and /run/docker of its own. */
export class DockerEngine {
  readonly #owner: Owner;
  readonly #lab: Lab;
  readonly host: string;
  readonly #folder: string;
  readonly #socket: string;
  #mounts: BackgroundProgram | undefined;
  #daemon: BackgroundProgram | undefined;

  constructor(owner: Owner, lab: Lab, host: string, folder: string) {
    this.#owner = owner;
    this.#lab = lab;
    this.host = host;
    this.#folder = join(folder, host);
    this.#socket = lab.dockerSocket(host);
    for (const name of ["etc/plugins", "run"]) mkdirSync(join(this.#folder, name), { recursive: true });
    for (const path of ["/etc/docker", "/run/docker"]) mkdirSync(path, { recursive: true });
    cleanUp(owner, () => this.#killAll());
  }

  /** Tells the engine where the host's agent is. */
  async install(): Promise<void> {
    const words = ["docker", "install", "--agent", this.#lab.agentSocket(this.host), "--plugin-dir", this.#plugins];
    const { status, complaints } = await runProgram(undefined, weftProgram, words);
    assert.equal(status, 0, complaints);
  }

  async uninstall(): Promise<string> {
    const words = ["docker", "uninstall", "--plugin-dir", this.#plugins];
    return (await runProgram(undefined, weftProgram, words)).output;
  }

  get #plugins(): string {
    return join(this.#folder, "etc/plugins");
  }

  /** `liveRestore`: its containers run on when it ends. */
  async start(liveRestore = false): Promise<void> {
    using namespace = this.#lab.namespace(this.host);
    const at = (name: string): string => join(this.#folder, name);
    this.#mounts ??= await this.#makeMounts();
    const words = [
      ...[`--mount=/proc/${this.#mounts.pid}/ns/mnt`, "dockerd", "--storage-driver=vfs"],
      ...[`--live-restore=${liveRestore}`, "--data-root", at("root"), "--exec-root", at("exec")],
      ...["-p", at("docker.pid"), "-H", `unix://${this.#socket}`],
    ];
    this.#daemon = new BackgroundProgram(this.#owner, namespace, "nsenter", words);
    await this.#daemon.said(/API listen on/);
  }

  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    await this.#daemon?.end(signal);
    // Its containerd goes with it, and where nobody collects the dead it would be taken for one that lives.
    rmSync(join(this.#folder, "exec/containerd/containerd.pid"), { force: true });
  }

  /** A process whose mounts are those of the engine, however often that begins anew: sandboxes are mounts. */
  async #makeMounts(): Promise<BackgroundProgram> {
    using namespace = this.#lab.namespace(this.host);
    const folders = [`${this.#folder}/etc /etc/docker`, `${this.#folder}/run /run/docker`];
    const script = [...folders.map((each) => `mount --bind ${each}`), "echo mounted", "exec sleep infinity"].join(
      " && ",
    );
    const holder = new BackgroundProgram(this.#owner, namespace, "unshare", ["-m", "sh", "-c", script]);
    await holder.said(/mounted/);
    return holder;
  }

  /** What the engine has written. */
  get log(): string {
    return this.#daemon?.complaints ?? "";
  }

  async docker(...words: readonly string[]): Promise<string> {
    const { status, output, complaints } = await this.attempt(...words);
    assert.equal(status, 0, `docker ${words.join(" ")}: ${complaints}${output}`);
    return output.trim();
  }

  attempt(...words: readonly string[]): ReturnType<typeof runProgram> {
    return runProgram(undefined, client, ["-H", `unix://${this.#socket}`, ...words]);
  }

  /** A network of Docker's that leads to one of weft's. */
  create(name: string, network: string, ...words: readonly string[]): Promise<string> {
    return this.docker(
      ...["network", "create", "-d", "weft", "--ipam-driver", "weft", "-o", `weft.network=${network}`],
      ...words,
      name,
    );
  }

  run(name: string, network: string, ...words: readonly string[]): Promise<string> {
    return this.docker(
      ...["run", "-d", "--name", name, "--network", network, ...words, "busybox", "/bin/sleep", "3600"],
    );
  }

  /** Of the container's interface, link-local ones left out. */
  async addresses(name: string, device = "eth0"): Promise<string[]> {
    const lines = await this.docker("exec", name, "ip", "-o", "address", "show", "dev", device, "scope", "global");
    return [...lines.matchAll(/inet6? ([^/]+)\//g)].map(([, address = ""]) => address);
  }

  async pings(name: string, address: string): Promise<void> {
    await until(async () =>
      assert.match(await this.docker("exec", name, "ping", "-c", "1", "-W", "2", address), / 0% packet loss/),
    );
  }

  /** Nobody is called so. */
  async misses(name: string, host: string): Promise<void> {
    await until(async () =>
      assert.match((await this.attempt("exec", name, "ping", "-c", "1", "-W", "2", host)).complaints, /bad address/),
    );
  }

  /** The engine, its containerd, and what runs in its containers: what outlives a test would hold the lab's folder. */
  #killAll(): void {
    const own = processes().filter(({ command }) => command.includes(`${this.#folder}/`));
    const parents = new Set(own.map(({ pid }) => pid));
    for (const { pid } of processes().filter(({ parent }) => parents.has(parent))) kill(pid);
    for (const pid of parents) kill(pid);
  }
}

function processes(): { readonly pid: number; readonly parent: number; readonly command: string }[] {
  return readdirSync("/proc")
    .filter((entry) => /^\d+$/.test(entry))
    .flatMap((entry) => {
      try {
        const command = readFileSync(`/proc/${entry}/cmdline`, "utf8").replaceAll("\0", " ");
        // proc(5): the parent is the second word behind the name, which is in parentheses.
        const [, parent] = readFileSync(`/proc/${entry}/stat`, "utf8")
          .replace(/^.*\) /s, "")
          .split(" ");
        return [{ pid: Number(entry), parent: Number(parent), command }];
      } catch {
        // It ended meanwhile.
        return [];
      }
    });
}

function kill(pid: number): void {
  try {
    if (pid !== process.pid) process.kill(pid, "SIGKILL");
  } catch {
    // It ended meanwhile.
  }
}
