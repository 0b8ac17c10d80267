import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { processorHierarchy } from "../outside.ts";

/** The most connections that are worth being made to fill a table: some 100 MB of the kernel's memory. */
const mostConnections = 300_000;

/** Each need, with why this machine does not meet it; `undefined`: it does. */
const needs = {
  netem: () => refusalOf("the kernel's netem", "ip link set lo up; tc qdisc add dev lo root netem delay 1ms"),
  tbf: () => refusalOf("the kernel's tbf", "tc qdisc add dev lo root tbf rate 1mbit burst 5kb latency 20ms"),
  gre: () => refusalOf("the kernel's GRE", "ip link add p type gre local 192.0.2.1 remote 192.0.2.2 key 1"),
  gretap: () => refusalOf("the kernel's gretap", "ip link add p type gretap local 192.0.2.1 remote 192.0.2.2 key 1"),
  ipip: () => refusalOf("the kernel's IPIP", "ip link add p type ipip local 192.0.2.1 remote 192.0.2.2"),
  arping: () => program("arping", "iputils-arping"),
  faketime: () => program("faketime", "faketime"),
  conntrack: () => program("conntrack", "conntrack") ?? tooManyConnections(),
  "control group": () =>
    processorHierarchy() === undefined ? "there are no control groups that limit the processor's time" : undefined,
  /** The kernel counts for all of the machine what this fills. */
  "a kernel of its own": () =>
    readFileSync("/proc/cpuinfo", "utf8").includes("User Mode Linux")
      ? undefined
      : "it would be felt by all of this machine, for the kernel has one such table; it is made in User-Mode Linux alone",
} as const satisfies Readonly<Record<string, () => string | undefined>>;

export type Need = keyof typeof needs;

/** Why a fault that needs this cannot be made on this machine; `undefined`: it can. */
export function unmet(wanted: readonly Need[]): string | undefined {
  for (const need of wanted) {
    const reason = needs[need]();
    if (reason !== undefined) return reason;
  }
  return undefined;
}

function refusalOf(what: string, script: string): string | undefined {
  const { status, stderr } = spawnSync("unshare", ["--net", "sh", "-ec", script], { encoding: "utf8" });
  return status === 0 ? undefined : `${what} is missing: ${(stderr ?? "").trim().split("\n")[0]}`;
}

function program(command: string, debianPackage: string): string | undefined {
  const { status } = spawnSync("sh", ["-c", `command -v ${command}`]);
  return status === 0 ? undefined : `the program ${command} is missing: install the Debian package ${debianPackage}`;
}

function tooManyConnections(): string | undefined {
  let most: number;
  try {
    most = Number(readFileSync("/proc/sys/net/netfilter/nf_conntrack_max", "utf8"));
  } catch {
    return "the kernel does not track connections";
  }
  return most <= mostConnections ? undefined : `the kernel has room for ${most} connections, which is too many to fill`;
}
