import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { createInterface, type Interface } from "node:readline";
import { fileURLToPath } from "node:url";
import { WeftError } from "../base/errors.ts";
import { pause } from "./process.ts";

/** What scripts/vm-image.sh makes: a kernel, and a root of busybox. */
const image = fileURLToPath(new URL("../../.runtime/vm/", import.meta.url));

/** Until a QEMU listens, on a machine in which much starts at once: a minute; in milliseconds. */
const betweenTries = 20;
const mostTries = 3_000;

export const qemu = "qemu-system-x86_64";

/** Its script, of a checkout of weft's. */
export const imageScript = fileURLToPath(new URL("../../scripts/vm-image.sh", import.meta.url));

export interface QemuOptions {
  readonly tap: string;
  readonly mac: string;
  /** With their prefix lengths; absent: the machine asks by DHCP. */
  readonly addresses?: readonly string[];
  readonly mtu: number;
  /** Path of the socket that QEMU takes commands by. */
  readonly control: string;
  /** What the machine's console is: `stdio`, or a socket. */
  readonly console: string;
  /** It comes from another host: see {@link QemuControl.await}. */
  readonly isIncoming?: true;
}

/** The parameters of a small machine, in software. */
export function qemuParameters({ tap, mac, addresses, mtu, control, console, isIncoming }: QemuOptions): string[] {
  const settings = addresses === undefined ? [] : [`weft.addresses=${addresses.join(",")}`, `weft.mtu=${mtu}`];
  return [
    ...["-accel", "tcg", "-m", "128", "-display", "none", "-no-reboot", "-nodefaults", "-serial", console],
    ...["-kernel", `${image}kernel`, "-initrd", `${image}initrd`],
    ...["-append", `console=ttyS0 quiet panic=-1 ${settings.join(" ")}`],
    ...["-netdev", `tap,id=n,ifname=${tap},script=no,downscript=no`],
    ...["-qmp", `unix:${control},server=on,wait=off`],
    ...(isIncoming === undefined ? [] : ["-incoming", "defer"]),
    ...["-device", `virtio-net-pci,netdev=n,mac=${mac},romfile=${addresses === undefined ? "" : `,host_mtu=${mtu}`}`],
  ];
}

/** What QEMU tells of a migration that has ended. */
export interface Migrated {
  /** Milliseconds that the machine stood still. */
  readonly downtime: number;
  /** Milliseconds from the command to the end. */
  readonly total: number;
}

/** Commands to a QEMU, one at a time, by its machine protocol: docs/interop/qmp-spec.rst of its sources. */
export class QemuControl {
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

  /** A QEMU that was started a moment ago listens in a moment. */
  static async open(path: string): Promise<QemuControl> {
    for (let tries = 0; ; tries++) {
      const socket = connect(path);
      try {
        await once(socket, "connect");
        const control = new QemuControl(socket);
        await control.#ask("qmp_capabilities");
        return control;
      } catch (error) {
        socket.destroy();
        const { code = "" } = error as NodeJS.ErrnoException;
        if (!["ENOENT", "ECONNREFUSED"].includes(code) || tries === mostTries) throw error;
        await pause(betweenTries);
      }
    }
  }

  /** Waits for its machine at this address of the host, `192.0.2.2:4444`. */
  async await(at: string): Promise<void> {
    await this.#ask("migrate-incoming", { uri: `tcp:${at}` });
  }

  /** Moves its machine, running, to the QEMU that waits for it at this address. */
  async migrate(to: string): Promise<Migrated> {
    await this.#ask("migrate", { uri: `tcp:${to}` });
    for (;;) {
      const told = await this.#ask("query-migrate");
      if (told.status === "completed")
        return { downtime: told.downtime as number, total: told["total-time"] as number };
      if (told.status === "failed" || told.status === "cancelled")
        throw new WeftError({
          code: "unavailable",
          attempted: `move a machine to ${to}`,
          reason: `QEMU says: ${told["error-desc"] ?? told.status}`,
        });
      await pause(20);
    }
  }

  close(): void {
    this.#lines.close();
    this.#socket.destroy();
  }

  async #ask(execute: string, words: object = {}): Promise<Record<string, unknown>> {
    this.#socket.write(`${JSON.stringify({ execute, arguments: words })}\n`);
    while (this.#answers.length === 0)
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    const answer = this.#answers.shift() ?? {};
    if (!("error" in answer)) return answer.return as Record<string, unknown>;
    throw new WeftError({
      code: "unavailable",
      attempted: `tell QEMU: ${execute}`,
      reason: JSON.stringify(answer.error),
    });
  }
}
