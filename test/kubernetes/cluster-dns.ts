import { mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Kubectl, Manifest } from "./kubectl.ts";
import type { Machine } from "./machine.ts";

export const clusterDomain = "cluster.local";

/**
 * The names of services, by Debian's dnsmasq on the control plane's machine: no distribution has the usual server, CoreDNS, as a package. It
 * knows services that have an address, and nothing else: neither pods nor ports nor services that are another name.
 */
export class ClusterDns {
  readonly #kubectl: Kubectl;
  readonly #folder: string;
  #ended = false;

  constructor(machine: Machine, kubectl: Kubectl) {
    this.#kubectl = kubectl;
    this.#folder = join(machine.folder, "names");
    mkdirSync(this.#folder);
    machine.start(
      ...["dnsmasq", "dnsmasq", "--keep-in-foreground", "--no-resolv", "--no-hosts", "--user=root", "--pid-file="],
      ...[`--hostsdir=${this.#folder}`, `--local=/${clusterDomain}/`, `--listen-address=${machine.address}`],
      ...["--bind-interfaces", "--local-ttl=1"],
    );
  }

  /** Follows the services until {@link end}. */
  async follow(): Promise<void> {
    while (!this.#ended) {
      this.#write(await this.#kubectl.list("services", "--all-namespaces"));
      await new Promise((resolve) => setTimeout(resolve, 1_000));
    }
  }

  end(): void {
    this.#ended = true;
  }

  /** A file for each: dnsmasq reads those that are new or were replaced, and forgets those that went. */
  #write(services: readonly Manifest[]): void {
    const wanted = new Map(
      services
        .filter(({ spec }) => /^[0-9]/.test(spec.clusterIP ?? ""))
        .map(({ metadata: { name, namespace }, spec }) => {
          const full = `${name}.${namespace}.svc.${clusterDomain}`;
          return [full, `${spec.clusterIP} ${full}\n`];
        }),
    );
    for (const name of readdirSync(this.#folder)) if (!wanted.has(name)) rmSync(join(this.#folder, name));
    for (const [name, line] of wanted) {
      const path = join(this.#folder, name);
      writeFileSync(`${path}.new`, line);
      renameSync(`${path}.new`, path);
    }
  }
}
