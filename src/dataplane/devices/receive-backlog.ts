import { messageOf } from "../../base/errors.ts";
import type { Kernel } from "../kernel.ts";
import type { Report } from "../report.ts";

/**
 * How many packets a processor keeps for devices without a queue of their own, as veth are, before it drops: 1,000 unless
 * told otherwise. A setting of the whole machine; inside other network namespaces than its first it does not appear.
 * Documentation/admin-guide/sysctl/net.rst
 */
const setting = "core/netdev_max_backlog";

/** From so many ports on a few frames that are flooded at once may be too much. */
const manyPorts = 250;
/** Four frames to each port of the largest bridge. */
const enough = 4_096;

/**
 * Sees to it that what is flooded to all ports of a bridge arrives at all of them: a question for an address (ARP, neighbour
 * discovery) comes to each port at once, and the last ones would not hear it. Where it cannot, that is told once.
 */
export class ReceiveBacklog {
  readonly #network: string;
  readonly #kernel: Pick<Kernel, "readMachineSysctl" | "writeMachineSysctl">;
  readonly #report: Report;
  #isTold = false;

  constructor(network: string, kernel: Pick<Kernel, "readMachineSysctl" | "writeMachineSysctl">, report: Report) {
    this.#network = network;
    this.#kernel = kernel;
    this.#report = report;
  }

  /** `ports`: of the network's bridge. */
  ensure(ports: number): void {
    if (ports < manyPorts) return;
    try {
      const present = Number(this.#kernel.readMachineSysctl(setting));
      if (present >= enough) return;
      this.#kernel.writeMachineSysctl(setting, String(enough));
      this.#tell("info", `raised net.core.netdev_max_backlog from ${present} to ${enough}: ${reason(ports)}`);
    } catch (error) {
      if (this.#isTold) return;
      this.#isTold = true;
      this.#tell(
        "warning",
        `net.core.netdev_max_backlog could not be raised to ${enough} (${messageOf(error)}): ${reason(ports)}, and some endpoints may not hear who asks for their addresses; set it on the machine itself: sysctl -w net.core.netdev_max_backlog=${enough}`,
      );
    }
  }

  #tell(level: "info" | "warning", message: string): void {
    this.#report({ level, kind: "adjusted", object: { kind: "host", network: this.#network }, message });
  }
}

function reason(ports: number): string {
  return `the bridge has ${ports} ports, and a flooded frame goes to all of them at once`;
}
