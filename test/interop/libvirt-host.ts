import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Lab } from "../../src/lab/lab.ts";
import { runProgram } from "../../src/lab/process.ts";
import { BackgroundProgram, type Finished, inLab, type Owner, until } from "../support/cluster.ts";
import { documented, weftOfHost, writeProgram } from "./documented.ts";

/** libvirtd of Debian's on a host of a lab, with files, processes and a name of its own: it ends with all its machines. */
export class LibvirtHost {
  readonly #lab: Lab;
  readonly #folder: string;
  readonly host: string;
  #daemon: BackgroundProgram | undefined;

  /** `addresses`: of the hosts, by their names. */
  constructor(lab: Lab, host: string, folder: string, addresses: Readonly<Record<string, string>>) {
    this.#lab = lab;
    this.host = host;
    this.#folder = join(folder, host);
    for (const name of ["etc/hooks", "run", "lib", "log", "cache"]) mkdirSync(this.#at(name), { recursive: true });
    writeProgram(this.#at("etc/hooks/qemu"), documented("python", "/sys/class/net"));
    writeFileSync(
      this.#at("etc/libvirtd.conf"),
      `auth_unix_rw = "none"
unix_sock_group = "root"
host_uuid = "${crypto.randomUUID()}"
`,
    );
    // There is no manager of cgroups, nor a user who may read what a checkout has.
    writeFileSync(
      this.#at("etc/qemu.conf"),
      'security_driver = "none"\ncgroup_controllers = []\nuser = "root"\ngroup = "root"\nstdio_handler = "file"\n',
    );
    const names = Object.entries(addresses).map(([name, address]) => `${address} ${name}\n`);
    writeFileSync(this.#at("hosts"), `127.0.0.1 localhost\n${names.join("")}`);
    writeFileSync(this.#at("resolv.conf"), "");
  }

  #at(name: string): string {
    return join(this.#folder, name);
  }

  async start(owner: Owner): Promise<void> {
    const bin = weftOfHost(this.#folder, this.#lab, this.host);
    const mounts = [
      ...["etc:/etc/libvirt", "run:/run/libvirt", "lib:/var/lib/libvirt", "log:/var/log/libvirt"],
      ...["cache:/var/cache/libvirt", "hosts:/etc/hosts", "resolv.conf:/etc/resolv.conf"],
    ].map((each) => {
      const [from = "", to = ""] = each.split(":");
      return `${from.includes("hosts") || from.includes("resolv") ? "" : `mkdir -p ${to}; `}mount --bind ${this.#at(from)} ${to}`;
    });
    const script = [
      "set -e",
      `hostname ${this.host}`,
      // Of this network namespace.
      "mount -t sysfs sysfs /sys",
      ...mounts,
      `PATH=${bin}:/usr/sbin:/usr/bin:/sbin:/bin libvirtd --pid-file ${this.#at("libvirtd.pid")} &`,
      // As the first process it takes leave of those that have lost their parent, which libvirtd waits for.
      "wait",
    ].join("\n");
    using namespace = this.#lab.namespace(this.host);
    const isolated = ["--mount", "--pid", "--fork", "--mount-proc", "--uts", "--kill-child"];
    this.#daemon = new BackgroundProgram(owner, namespace, "unshare", [...isolated, "sh", "-c", script]);
    await until(async () => {
      const { status, complaints } = await this.virsh("version");
      if (status !== 0) throw new Error(`libvirtd of ${this.host}: ${complaints}${this.#daemon?.complaints}`);
    });
  }

  /** Where others reach its libvirtd. */
  get uri(): string {
    return `qemu+unix:///system?socket=${this.#at("run/libvirt-sock")}`;
  }

  async virsh(...words: readonly string[]): Promise<Finished> {
    using namespace = this.#lab.namespace(this.host);
    return runProgram(namespace, "virsh", ["-c", this.uri, ...words]);
  }

  /** Which succeeds. */
  async done(...words: readonly string[]): Promise<string> {
    return (await inLab(this.#lab, this.host, "virsh", "-c", this.uri, ...words)).trim();
  }

  async end(): Promise<void> {
    // It takes no other word while it waits for its child.
    await this.#daemon?.end("SIGKILL");
  }
}
