/**
 * VTEPs of FRR's on the hosts of a lab, beside weft's: zebra and bgpd of Debian's package `frr` speak EVPN with each other (RFC 7432, RFC 8365), each
 * for a bridge with a VXLAN device in its host's own namespace, which learns locally.
 */
import type { ChildProcess } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Lab } from "../src/lab/lab.ts";
import { pause, runProgram } from "../src/lab/process.ts";
import { hostAddresses } from "../src/lab/underlay.ts";

const programs = "/usr/lib/frr";
const vni = 9_000;
const bridge = `br${vni}`;
const tunnel = `vx${vni}`;

export function hasFrr(): boolean {
  return existsSync(`${programs}/bgpd`);
}

export class FrrVteps {
  readonly #lab: Lab;
  readonly #daemons: ChildProcess[] = [];
  /** The daemons run as a user of their own, who has no business in the lab's. */
  readonly #folder = mkdtempSync(join(tmpdir(), "weft-frr-"));

  constructor(lab: Lab) {
    this.#lab = lab;
  }

  async start(): Promise<void> {
    chmodSync(this.#folder, 0o755);
    for (const host of this.#lab.hosts) await this.#startOn(host);
  }

  /** A container on a host, with this address behind the bridge there. */
  async addContainer(name: string, host: string, address: string, mac: string): Promise<void> {
    this.#lab.addContainer(name);
    const { container } = this.#lab.names;
    await this.#run(host, [
      `ip link add fv${name} mtu 1450 type veth peer name eth0 mtu 1450 address ${mac} netns ${container(name)}`,
      `ip link set fv${name} master ${bridge} up`,
      `ip -n ${container(name)} addr add ${address}/16 dev eth0`,
    ]);
  }

  /** Ends the programs, and waits for that. */
  async end(): Promise<void> {
    const running = this.#daemons.filter(({ exitCode, signalCode }) => exitCode === null && signalCode === null);
    for (const daemon of running) daemon.kill("SIGKILL");
    while (running.some(({ exitCode, signalCode }) => exitCode === null && signalCode === null)) await pause(20);
    rmSync(this.#folder, { recursive: true });
  }

  async #startOn(host: string): Promise<void> {
    const { hosts } = this.#lab;
    const addressOf = (name: string): string => hostAddresses(hosts.indexOf(name) + 1).ipv4;
    const own = addressOf(host);
    await this.#run(host, [
      `ip link add ${bridge} mtu 1450 type bridge`,
      `ip link add ${tunnel} mtu 1450 type vxlan id ${vni} dstport 4789 local ${own} nolearning`,
      `ip link set ${tunnel} master ${bridge} up`,
      `bridge link set dev ${tunnel} learning off neigh_suppress on`,
      `ip link set ${bridge} up`,
    ]);
    const folder = join(this.#folder, host);
    mkdirSync(folder);
    const neighbours = hosts.filter((each) => each !== host).map(addressOf);
    writeFileSync(join(folder, "zebra.conf"), "");
    writeFileSync(
      join(folder, "bgpd.conf"),
      `router bgp 65000
 bgp router-id ${own}
 no bgp default ipv4-unicast
${neighbours.map((each) => ` neighbor ${each} remote-as 65000\n neighbor ${each} timers connect 1\n`).join("")}
 address-family l2vpn evpn
${neighbours.map((each) => `  neighbor ${each} activate\n`).join("")}
  advertise-all-vni
 exit-address-family
`,
    );
    await this.#run(host, [`chown -R frr:frr ${folder}`]);
    for (const program of ["zebra", "bgpd"]) {
      using namespace = this.#lab.namespace(host);
      const at = (name: string): string => join(folder, name);
      const words = ["--vty_socket", folder, "--socket", at("zserv")];
      const files = ["--config_file", at(`${program}.conf`), "--pid_file", at(`${program}.pid`), "--vty_port", "0"];
      const log = ["--log", `file:${at(`${program}.log`)}`];
      const daemon = namespace.spawn(join(programs, program), [...words, ...files, ...log], { stdio: "ignore" });
      this.#daemons.push(daemon);
      while (program === "zebra" && !existsSync(at("zserv"))) {
        if (daemon.exitCode !== null) throw new Error(`zebra of ${host} ended with ${daemon.exitCode}`);
        await pause(20);
      }
    }
  }

  async #run(host: string, commands: readonly string[]): Promise<void> {
    using namespace = this.#lab.namespace(host);
    const { status, complaints } = await runProgram(namespace, "sh", ["-ec", commands.join("\n")]);
    if (status !== 0) throw new Error(`${host}: ${complaints}`);
  }
}
