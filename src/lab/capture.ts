import { once } from "node:events";
import { WeftError } from "../base/errors.ts";
import type { NetworkNamespace } from "../linux/index.ts";
import { pause } from "./process.ts";

/** A capture that is under way. */
export interface Capture {
  /** Waits until the file has everything, and ends. */
  stop(): Promise<void>;
}

/** Begins to write what crosses `device` to a file, whole packets as tcpdump writes them; returns once it listens. */
export async function startCapture(
  namespace: NetworkNamespace,
  device: string,
  file: string,
  options: { readonly filter: string; readonly direction?: "in" | "out" },
): Promise<Capture> {
  const attempted = `capture on ${device} of ${namespace.label}`;
  const direction = options.direction === undefined ? [] : ["-Q", options.direction];
  const words = ["-n", "-i", device, ...direction, "--immediate-mode", "-s", "0", "-U", "-Z", "root", "-w", file];
  const program = namespace.spawn("tcpdump", [...words, options.filter], { stdio: ["ignore", "ignore", "pipe"] });
  await new Promise<void>((resolve, reject) => {
    let complaints = "";
    program.once("error", ({ message: reason }) =>
      reject(
        new WeftError({
          code: "failed-precondition",
          attempted,
          reason,
          hint: "install the Debian package tcpdump",
        }),
      ),
    );
    program.stderr?.on("data", (chunk: Buffer) => {
      complaints += chunk;
      if (complaints.includes("listening on")) resolve();
    });
    program.once("close", () => reject(new WeftError({ code: "internal", attempted, reason: complaints.trim() })));
  });
  return {
    async stop() {
      await pause(deliveryTime);
      // Whoever removed the namespace meanwhile has ended it already.
      if (program.exitCode !== null || program.signalCode !== null) return;
      const ended = once(program, "close");
      program.kill("SIGINT");
      await ended;
    },
  };
}

/** Milliseconds after which the kernel has handed over what was sent last. */
const deliveryTime = 100;
