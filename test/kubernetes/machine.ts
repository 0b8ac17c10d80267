/**
 * Computers on this machine's kernel: processes, mounts, network and name of their own, on one switch. Switching one off is
 * killing its first process, which takes all others with it; so does the end of the tests, in whatever way.
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, existsSync, mkdirSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { runProgram, tailOf } from "../../src/lab/process.ts";
import { cleanUp, type Finished, type Owner, until } from "../support/cluster.ts";
import type { TestNamespace } from "../support/namespaces.ts";
import { removeCgroups, writeCgroups } from "./cgroups.ts";

/** 192.0.2.0/24, RFC 5737. */
export function machineAddress(number: number): string {
  return `192.0.2.${number}`;
}

/** 2001:db8::/64, RFC 3849. */
function machineAddress6(number: number): string {
  return `2001:db8::${number}`;
}

/**
 * What kubelet wants of the kernel and these machines share with the one that runs the tests. It looks and refuses to start with other values; it
 * is shown files.
 */
const shownSettings = {
  "vm/overcommit_memory": 1,
  "vm/panic_on_oom": 0,
  "kernel/panic": 10,
  "kernel/panic_on_oops": 1,
  "kernel/keys/root_maxkeys": 1_000_000,
  "kernel/keys/root_maxbytes": 25_000_000,
} as const;

export interface MachineOptions {
  readonly name: string;
  /** What its addresses end with. */
  readonly number: number;
  readonly switch: TestNamespace;
  /** Its disk, a folder of its own outside of /etc, /opt and /var. */
  readonly folder: string;
  /** Its cgroup, at the root of each hierarchy. */
  readonly cgroup: string;
}

export class Machine {
  readonly name: string;
  readonly address: string;
  readonly address6: string;
  readonly folder: string;
  readonly cgroup: string;
  readonly #options: MachineOptions;
  #outer: ChildProcess | undefined;
  /** Its first process, as the tests see it. */
  #init = 0;

  constructor(owner: Owner, options: MachineOptions) {
    const { name, number, folder, cgroup } = options;
    this.name = name;
    this.address = machineAddress(number);
    this.address6 = machineAddress6(number);
    this.folder = folder;
    this.cgroup = cgroup;
    this.#options = options;
    cleanUp(owner, () => {
      if (this.#outer !== undefined) killNow(this.#init);
      removeCgroups(cgroup);
    });
  }

  /** Switches it on; on its disk is what was there when it was switched off. */
  async boot(): Promise<void> {
    const { number, switch: fabric } = this.#options;
    mkdirSync(this.folder, { recursive: true });
    writeCgroups(this.cgroup);
    const log = join(this.folder, "boot.log");
    const output = openSync(log, "w");
    // The first dies with these tests, the second with the first, all others with the second.
    const words = ["--pdeathsig", "KILL", "unshare", "--fork", "--kill-child", "--pid", "--mount", "--uts", "--net"];
    this.#outer = spawn("setpriv", [...words, "sh", "-ec", this.#script()], { stdio: ["ignore", output, output] });
    closeSync(output);
    await until(() => assert.match(readFileSync(log, "utf8"), /^booted$/m));
    this.#init = childOf(this.#outer.pid ?? 0);
    fabric.shell(`
      ip link add ${this.name} type veth peer name eth0 netns ${this.#init}
      ip link set ${this.name} master sw0 up`);
    await this.run(
      "sh",
      "-ec",
      `sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
      ip link set lo up
      ip address add ${this.address}/24 dev eth0
      ip address add ${this.address6}/64 dev eth0 nodad
      ip link set eth0 up
      # Without a way out the host's own packets to services end before they are translated; the second is where clouds keep credentials.
      ip route add default ${number === 1 ? "dev eth0" : `via ${machineAddress(1)}`}
      ip -6 route add default ${number === 1 ? "dev eth0" : `via ${machineAddress6(1)}`}
      ip route add unreachable 169.254.0.0/16`,
    );
  }

  /** As a power cut does. */
  async switchOff(): Promise<void> {
    const ended = this.#outer?.exitCode === null ? once(this.#outer, "exit") : undefined;
    killNow(this.#init);
    await ended;
    this.#outer = undefined;
    // The kernel takes the other end away as well, but later.
    this.#options.switch.shell(`ip link delete ${this.name} 2>/dev/null || true`);
    removeCgroups(this.cgroup);
  }

  /** Runs a program to its end, which must succeed; what it printed. */
  async run(command: string, ...words: readonly string[]): Promise<string> {
    const { status, output, complaints } = await this.attempt(command, ...words);
    assert.equal(status, 0, `${this.name}: ${command} ${words.join(" ")}: ${complaints}${output}`);
    return output;
  }

  attempt(command: string, ...words: readonly string[]): Promise<Finished> {
    return runProgram(undefined, "nsenter", this.#inside(command, words));
  }

  /** Starts a program that runs on, with its output in a file of its name. */
  start(name: string, command: string, ...words: readonly string[]): MachineProgram {
    return new MachineProgram(name, join(this.folder, `${name}.log`), this.#inside(command, words));
  }

  /** By which these tests reach a file, or socket, as the machine has it. */
  path(path: string): string {
    return `/proc/${this.#init}/root${path}`;
  }

  #inside(command: string, words: readonly string[]): string[] {
    return [`--target=${this.#init}`, "--mount", "--net", "--pid", "--uts", "--", command, ...words];
  }

  /** Shells collect the dead, whosever children they were; `sleep` alone would not. */
  #script(): string {
    const { folder } = this;
    const overlays = ["etc", "opt", "var"].map(
      (name) => `mkdir -p ${folder}/${name} ${folder}/${name}.work
        mount -t overlay overlay -o lowerdir=/${name},upperdir=${folder}/${name},workdir=${folder}/${name}.work /${name}`,
    );
    const settings = Object.entries(shownSettings).map(([key, value]) => {
      const file = `${folder}/${key.replaceAll("/", ".")}`;
      return `echo ${value} >${file}; mount --bind ${file} /proc/sys/${key}`;
    });
    return `
      hostname ${this.name}
      mount -t proc proc /proc
      mkdir -p ${folder}/cgroup
      mount --rbind /sys/fs/cgroup ${folder}/cgroup
      mount -t sysfs sysfs /sys
      mount --rbind ${folder}/cgroup /sys/fs/cgroup
      umount --lazy ${folder}/cgroup
      ${overlays.join("\n")}
      mount -t tmpfs tmpfs /run
      mkdir -p /run/lock /run/netns /etc/cni/net.d /opt/cni/bin /var/lib/kubelet /var/log/pods
      ${settings.join("\n")}
      # What this computer has of its own network is nothing to the other.
      [ -e ${folder}/fresh ] || rm -rf /etc/cni/net.d/* /opt/cni/bin/* /var/lib/cni /etc/resolv.conf
      touch ${folder}/fresh
      : >/etc/resolv.conf
      echo ${this.name} >/etc/hostname
      echo 127.0.0.1 localhost >/etc/hosts
      # As on hosts with systemd.
      mount --make-rshared /
      echo booted
      sleep infinity
      :`;
  }
}

export class MachineProgram {
  readonly name: string;
  readonly #log: string;
  readonly #child: ChildProcess;

  constructor(name: string, log: string, words: readonly string[]) {
    this.name = name;
    this.#log = log;
    const output = openSync(log, "a");
    this.#child = spawn("nsenter", words, { stdio: ["ignore", output, output] });
    closeSync(output);
  }

  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Waits until `check` passes; at once for nothing if the program ends before. */
  async until(check: () => void | Promise<void>): Promise<void> {
    let ended = false;
    await until(async () => {
      ended = !this.running;
      if (!ended) await check();
    });
    if (ended) assert.fail(`${this.name} ended:\n${tailOf(this.#log, 20)}`);
  }

  /** Waits for it to end by itself. */
  async ended(): Promise<void> {
    if (this.running) await once(this.#child, "exit");
  }

  /** Sends the signal and waits for the end. */
  async end(signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    if (!this.running) return;
    const ended = once(this.#child, "exit");
    // The child waits for the program, which is in another process namespace, and passes no signals on.
    signalTo(childOf(this.#child.pid ?? 0), signal);
    await ended;
  }
}

/** The one child of a process; 0: none yet, or no longer. */
function childOf(pid: number): number {
  const file = `/proc/${pid}/task/${pid}/children`;
  return existsSync(file) ? Number.parseInt(readFileSync(file, "utf8"), 10) || 0 : 0;
}

function signalTo(pid: number, signal: NodeJS.Signals): void {
  if (pid === 0) return;
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

/** Returns when the process is gone, and all of whose namespace it was the first. */
function killNow(init: number): void {
  signalTo(init, "SIGKILL");
  while (existsSync(`/proc/${init}/ns/pid`) && !isZombie(init)) pauseThread();
}

function isZombie(pid: number): boolean {
  try {
    return /\) Z /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return true;
  }
}

function pauseThread(): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10);
}
