import { WeftError } from "../base/errors.ts";

/** Throws {@link WeftError} `permission-denied` unless the program runs as root. */
export function requireRoot(attempted: string): void {
  if (process.getuid?.() === 0) return;
  throw new WeftError({
    code: "permission-denied",
    attempted,
    reason: "it needs root",
    hint: "run the command with sudo, or start the systemd unit",
  });
}
