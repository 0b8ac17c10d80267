import { fileURLToPath } from "node:url";
import type { NetworkNamespace } from "../../src/linux/index.ts";
import { BackgroundProgram, type Owner, until } from "../support/cluster.ts";

/** What scripts/vm-image.sh makes. */
const image = fileURLToPath(new URL("../../.runtime/vm/", import.meta.url));

export interface MachineOptions {
  /** The host's own. */
  readonly host: NetworkNamespace;
  readonly tap: string;
  readonly mac: string;
  /** With their prefix lengths. */
  readonly addresses: readonly string[];
  readonly mtu: number;
  readonly gateway?: string;
}

/** A virtual machine of QEMU's, in software, with Debian's kernel and busybox. */
export class Machine {
  readonly #program: BackgroundProgram;

  constructor(owner: Owner, { host, tap, mac, addresses, mtu, gateway }: MachineOptions) {
    const settings = [
      `weft.addresses=${addresses.join(",")}`,
      `weft.mtu=${mtu}`,
      ...(gateway === undefined ? [] : [`weft.gateway=${gateway}`]),
    ];
    this.#program = new BackgroundProgram(owner, host, "qemu-system-x86_64", [
      ...["-accel", "tcg", "-m", "128", "-nographic", "-no-reboot", "-nodefaults", "-serial", "stdio"],
      ...["-kernel", `${image}kernel`, "-initrd", `${image}initrd`],
      ...["-append", `console=ttyS0 quiet panic=-1 ${settings.join(" ")}`],
      ...["-netdev", `tap,id=n,ifname=${tap},script=no,downscript=no`],
      ...["-device", `virtio-net-pci,netdev=n,mac=${mac},host_mtu=${mtu},romfile=`],
    ]);
  }

  /** Has booted. */
  ready(): Promise<void> {
    return this.#program.said(/the machine is ready/);
  }

  /** Runs a command in its shell; resolves to what it printed. */
  async run(command: string): Promise<string> {
    const before = this.#program.output.length;
    // The console shows what is typed, too: the marks are whole only in what is printed.
    this.#program.say(`echo be""gin; ${command}; echo en""d $?`);
    let printed = "";
    await until(() => {
      const [, output] = /begin\r?\n([\s\S]*)end \d+\r?\n/.exec(this.#program.output.slice(before)) ?? [];
      if (output === undefined) throw new Error(`the machine has not done: ${command}`);
      printed = output;
    });
    return printed.replaceAll("\r", "");
  }

  /** As when somebody pulls the plug. */
  async powerOff(): Promise<void> {
    await this.#program.end("SIGKILL");
  }
}
