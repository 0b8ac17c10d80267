import { once } from "node:events";
import { WeftError } from "../base/errors.ts";
import type { NetworkNamespace } from "../linux/index.ts";
import { getLink, NetlinkSocket } from "../netlink/index.ts";
import { pause } from "./process.ts";

/** A capture that is under way. */
export interface Capture {
  /** Waits until the file has everything that crossed the device until now, and ends. Rejects if something was lost. */
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
  const direction = options.direction === undefined ? "" : await filterOf(namespace, device, options.direction);
  const filter = `${direction}(${options.filter})`;
  const words = ["-n", "-i", device, "--immediate-mode", "-U", "-Z", "root", "-w", file, ...room, filter];
  const program = namespace.spawn("tcpdump", words, { stdio: ["ignore", "ignore", "pipe"] });
  let complaints = "";
  await new Promise<void>((resolve, reject) => {
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
  const isRunning = (): boolean => program.exitCode === null && program.signalCode === null;
  let looks = 0;
  /** What tcpdump has written, and what the kernel had for it. */
  const look = async (): Promise<{ readonly written: number; readonly passed: number; readonly dropped: number }> => {
    looks++;
    program.kill("SIGUSR1");
    for (;;) {
      const all = [...complaints.matchAll(/(\d+) packets? captured, (\d+) .* by filter, (\d+) .* by kernel\n/g)];
      const [, ...numbers] = all[looks - 1] ?? [];
      const [written = 0, passed = 0, dropped = 0] = numbers.map(Number);
      if (numbers.length > 0 || !isRunning()) return { written, passed, dropped };
      await pause(1);
    }
  };
  return {
    async stop() {
      let last = -1;
      // Packets of before the filter was in place have passed and are not written: then the last looks saw nothing new.
      for (let idle = 0; idle < idleLooks && isRunning(); ) {
        const { written, passed, dropped } = await look();
        if (dropped > 0) {
          program.kill("SIGKILL");
          const reason = `the kernel dropped ${dropped} of ${passed} packets, for which it had no room`;
          throw new WeftError({ code: "exhausted", attempted, reason });
        }
        if (written === passed) break;
        idle = written === last ? idle + 1 : 0;
        last = written;
        await pause(10);
      }
      // Whoever removed the namespace meanwhile has ended it already.
      if (!isRunning()) return;
      const ended = once(program, "close");
      program.kill("SIGINT");
      await ended;
    },
  };
}

/**
 * By the MAC of the device, in the kernel, which counts what it filters: -Q of tcpdump leaves out what was counted, and
 * `outbound` leaves out the first packet, which libpcap filters itself and cannot tell the direction of.
 */
async function filterOf(namespace: NetworkNamespace, device: string, direction: "in" | "out"): Promise<string> {
  using socket = new NetlinkSocket({ namespace });
  const { mac } = await socket.get(getLink({ name: device }));
  return `${direction === "in" ? "not " : ""}ether src ${mac} and `;
}

/** Octets of the longest packet, as the kernel makes them for itself, and KiB for about 250 of them that wait to be written. */
const room = ["-s", "65550", "-B", "16384"];
/** Looks that see nothing new before the rest is taken for packets that are not for the file. */
const idleLooks = 300;
