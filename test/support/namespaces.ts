/**
 * Throwaway network namespaces for tests: names are unique among all processes, and the namespaces go away with the
 * test, also when it fails and when the run is interrupted.
 */
import { execFileSync } from "node:child_process";
import type { KernelNamespace } from "../../src/dataplane/kernel.ts";
import { linuxNamespace } from "../../src/dataplane/linux-kernel.ts";
import { createNamedNamespace, deleteNamedNamespace, NetworkNamespace, processesIn } from "../../src/linux/index.ts";
import { atTheEnd } from "./end-of-process.ts";

const living = new Set<TestNamespace>();
let made = 0;

/**
 * Makes an empty namespace, its loopback interface down, and removes it at the end of the block:
 * `using host = testNamespace("host");`. With `t.after(() => host[Symbol.dispose]())` it lives as long as the test.
 */
export function testNamespace(label = "test"): TestNamespace {
  if (made === 0)
    atTheEnd(() => {
      for (const namespace of living) namespace[Symbol.dispose]();
    });
  return new TestNamespace(`wt${process.pid}-${made++}-${label}`);
}

export class TestNamespace {
  /** As `ip netns` knows it. */
  readonly name: string;
  readonly namespace: NetworkNamespace;
  /** The same as the dataplane knows it. */
  readonly kernel: KernelNamespace;

  /** Use {@link testNamespace}. */
  constructor(name: string) {
    createNamedNamespace(name);
    this.name = name;
    this.namespace = NetworkNamespace.openNamed(name);
    this.kernel = linuxNamespace(this.namespace);
    living.add(this);
  }

  /** Runs a shell script inside, which ends at the first command that fails, and returns what it printed. Throws with what it said on standard error. */
  shell(script: string): string {
    return this.namespace.run(() =>
      execFileSync("/bin/sh", ["-e", "-c", script], {
        encoding: "utf8",
        stdio: ["ignore", "pipe", "pipe"],
        maxBuffer: 1 << 30,
      }),
    );
  }

  /** What a command such as `ip -json link show` printed, parsed. Printing nothing is the empty list, as with `ip`. */
  // biome-ignore lint/suspicious/noExplicitAny: the shape is that of whichever command it is, and the assertion checks it.
  json(script: string): any {
    const text = this.shell(script);
    return text.trim() === "" ? [] : JSON.parse(text);
  }

  /** Ends the processes that are still inside and removes the namespace. */
  [Symbol.dispose](): void {
    if (!living.delete(this)) return;
    for (const pid of processesIn(this.namespace)) {
      try {
        if (pid !== process.pid) process.kill(pid, "SIGKILL");
      } catch {
        // It ended meanwhile.
      }
    }
    this.namespace.close();
    deleteNamedNamespace(this.name);
  }
}
