import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { createInterface, type Interface } from "node:readline";
import { setTimeout } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { NetworkNamespace } from "../../src/linux/index.ts";
import { BackgroundProgram, type Owner, testDirectory, until } from "../support/cluster.ts";

/** What scripts/vm-image.sh makes. */
const image = fileURLToPath(new URL("../../.runtime/vm/", import.meta.url));

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

/** What QEMU tells of a migration that has ended. */
export interface Migrated {
  /** Milliseconds that the machine stood still. */
  readonly downtime: number;
  /** Milliseconds from the command to the end. */
  readonly total: number;
}

/** A virtual machine of QEMU's, in software, with Debian's kernel and busybox. */
export class Machine {
  readonly #program: BackgroundProgram;
  /** The path of QEMU's own socket for commands (QMP). */
  readonly #control: string;

  constructor(owner: Owner, { host, tap, mac, addresses, mtu, isIncoming }: MachineOptions) {
    this.#control = join(testDirectory(owner), "qmp");
    const settings = addresses === undefined ? [] : [`weft.addresses=${addresses.join(",")}`, `weft.mtu=${mtu}`];
    this.#program = new BackgroundProgram(owner, host, "qemu-system-x86_64", [
      ...["-accel", "tcg", "-m", "128", "-nographic", "-no-reboot", "-nodefaults", "-serial", "stdio"],
      ...["-kernel", `${image}kernel`, "-initrd", `${image}initrd`],
      ...["-append", `console=ttyS0 quiet panic=-1 ${settings.join(" ")}`],
      ...["-netdev", `tap,id=n,ifname=${tap},script=no,downscript=no`],
      ...["-qmp", `unix:${this.#control},server=on,wait=off`],
      ...(isIncoming === undefined ? [] : ["-incoming", "defer"]),
      ...["-device", `virtio-net-pci,netdev=n,mac=${mac},romfile=${addresses === undefined ? "" : `,host_mtu=${mtu}`}`],
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

  /** Waits for it at this address of its host, `192.0.2.2:4444`. */
  async await(at: string): Promise<void> {
    const control = await this.#open();
    await control.ask("migrate-incoming", { uri: `tcp:${at}` });
    control.close();
  }

  /** Moves it, running, to the QEMU that waits for it at this address. */
  async migrate(to: string): Promise<Migrated> {
    const control = await this.#open();
    try {
      await control.ask("migrate", { uri: `tcp:${to}` });
      for (;;) {
        const told = await control.ask("query-migrate");
        if (told.status === "completed")
          return { downtime: told.downtime as number, total: told["total-time"] as number };
        if (told.status === "failed" || told.status === "cancelled")
          throw new Error(`the machine did not move: ${JSON.stringify(told)}`);
        await setTimeout(20);
      }
    } finally {
      control.close();
    }
  }

  async #open(): Promise<Control> {
    await until(() => assert.ok(existsSync(this.#control)));
    return Control.open(this.#control);
  }

  /** As when somebody pulls the plug. */
  async powerOff(): Promise<void> {
    await this.#program.end("SIGKILL");
  }
}

/** Commands to a QEMU, one at a time, by its machine protocol: docs/interop/qmp-spec.rst of its sources. */
class Control {
  readonly #socket: Socket;
  readonly #lines: Interface;
  readonly #answers: Record<string, unknown>[] = [];
  #wake: () => void = () => {};

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.#lines = createInterface({ input: socket });
    this.#lines.on("line", (line) => {
      const told = JSON.parse(line) as Record<string, unknown>;
      if (!("return" in told || "error" in told)) return;
      this.#answers.push(told);
      this.#wake();
    });
  }

  static async open(path: string): Promise<Control> {
    const socket = connect(path);
    await once(socket, "connect");
    const control = new Control(socket);
    await control.ask("qmp_capabilities");
    return control;
  }

  async ask(execute: string, words: object = {}): Promise<Record<string, unknown>> {
    this.#socket.write(`${JSON.stringify({ execute, arguments: words })}\n`);
    while (this.#answers.length === 0)
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    const answer = this.#answers.shift() ?? {};
    if ("error" in answer) throw new Error(`${execute}: ${JSON.stringify(answer.error)}`);
    return answer.return as Record<string, unknown>;
  }

  close(): void {
    this.#lines.close();
    this.#socket.destroy();
  }
}
