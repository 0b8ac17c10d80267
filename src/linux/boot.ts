import { readFileSync } from "node:fs";

/** What tells this boot of the machine from every other. random(4). */
export function currentBoot(): string {
  return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
}
