import { join } from "node:path";
import { type Migrated, QemuControl, qemu, qemuParameters } from "../../src/lab/qemu.ts";
import type { NetworkNamespace } from "../../src/linux/index.ts";
import { BackgroundProgram, type Owner, testDirectory, until } from "../support/cluster.ts";

export interface MachineOptions {
  /** The host's own. */
  readonly host: NetworkNamespace;
  readonly tap: string;
  readonly mac: string;
  /** With their prefix lengths; absent: the machine asks by DHCP. */
  readonly addresses?: readonly string[];
  readonly mtu: number;
  /** It comes from another host: see {@link Machine.await}. */
  readonly isIncoming?: true;
}

/** A virtual machine of QEMU's, in software, with Debian's kernel and busybox. */
export class Machine {
  readonly #program: BackgroundProgram;
  /** The path of QEMU's own socket for commands (QMP). */
  readonly #control: string;

  constructor(owner: Owner, { host, tap, mac, addresses, mtu, isIncoming }: MachineOptions) {
    this.#control = join(testDirectory(owner), "qmp");
    const words = { tap, mac, mtu, control: this.#control, console: "stdio" };
    this.#program = new BackgroundProgram(
      owner,
      host,
      qemu,
      qemuParameters({
        ...words,
        ...(addresses === undefined ? {} : { addresses }),
        ...(isIncoming === undefined ? {} : { isIncoming }),
      }),
    );
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

  /** Waits for it at this address of its host, `192.0.2.2:4444`. */
  async await(at: string): Promise<void> {
    const control = await QemuControl.open(this.#control);
    await control.await(at);
    control.close();
  }

  /** Moves it, running, to the QEMU that waits for it at this address. */
  async migrate(to: string): Promise<Migrated> {
    const control = await QemuControl.open(this.#control);
    try {
      return await control.migrate(to);
    } finally {
      control.close();
    }
  }

  /** As when somebody pulls the plug. */
  async powerOff(): Promise<void> {
    await this.#program.end("SIGKILL");
  }
}
