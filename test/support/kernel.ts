/**
 * What tests need of the kernel that they run on. A test that needs more than every kernel has says so where it is
 * declared, `test("…", requires("geneve"), …)`, and is skipped with the kernel's words where that is missing.
 * `npm run test:kernel` runs it on another kernel then; a test that runs on none fails.
 */
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { lacking, wholeFile } from "../runner/results.ts";
import { isPatient, slowness } from "../runner/slow-kernel.ts";

const bridge = "ip link add p type bridge";

/** Each feature, with a script that succeeds on a kernel that has it. It runs in a network namespace of its own. */
const probes = {
  geneve: "ip link add p type geneve id 1 remote 192.0.2.1",
  gre: "ip link add p type gre local 192.0.2.1 remote 192.0.2.2 key 1",
  gretap: "ip link add p type gretap local 192.0.2.1 remote 192.0.2.2 key 1",
  ip6gre: "ip link add p type ip6gre local 2001:db8::1 remote 2001:db8::2 key 1",
  ip6gretap: "ip link add p type ip6gretap local 2001:db8::1 remote 2001:db8::2 key 1",
  ipip: "ip link add p type ipip local 192.0.2.1 remote 192.0.2.2",
  sit: "ip link add p type sit local 192.0.2.1 remote 192.0.2.2",
  ip6tnl: "ip link add p type ip6tnl mode any local 2001:db8::1 remote 2001:db8::2",
  vxlan: "ip link add p type vxlan id 1 dstport 4789",
  vrf: "ip link add p type vrf table 10",
  dummy: "ip link add p type dummy",
  tap: "ip tuntap add p mode tap",
  vlan: `${bridge}; ip link add link p name p.10 type vlan id 10`,
  "vlan-filtering": `${bridge} vlan_filtering 1`,
  netem: `${bridge}; tc qdisc add dev p root netem delay 1ms`,
  htb: `${bridge}; tc qdisc add dev p root handle 1: htb`,
  flower: `${bridge}; tc qdisc add dev p clsact; tc filter add dev p ingress protocol ip flower action pass`,
  "nft-bridge": "nft add table bridge p",
  "nft-inet": "nft add table inet p",
  "nft-netdev": "nft add table netdev p",
  "iptables-nft": "iptables-nft -A INPUT -m conntrack --ctstate NEW -j ACCEPT",
  "iptables-legacy": "iptables-legacy -A INPUT -m conntrack --ctstate NEW -j ACCEPT",
  "nft-nat":
    "nft 'add table ip p; add chain ip p c { type nat hook postrouting priority 100; }; add rule ip p c masquerade'",
  /** For what all of a kernel feels: this machine is others', too. */
  "a kernel of its own":
    "grep -q 'User Mode Linux' /proc/cpuinfo || { echo 'it is that of this machine' >&2; exit 1; }",
  /**
   * User-Mode Linux takes ten times as long for each system call and page: a lab takes most of a minute there, and what
   * watches the time sees too little of it. WEFT_TEST_PATIENT=1 runs such tests there all the same.
   */
  "quick processes": isPatient
    ? "true"
    : `! grep -q 'User Mode Linux' /proc/cpuinfo || { echo '${slowness}' >&2; exit 1; }`,
} as const satisfies Readonly<Record<string, string>>;

export type KernelFeature = keyof typeof probes;

export const kernelFeatures = Object.keys(probes) as readonly KernelFeature[];

/** For each feature that was asked for, why this kernel does not have it; `undefined`: it has. */
const known = new Map<KernelFeature, string | undefined>();

/** Options of a test that needs all these features. To be called as root. */
export function requires(...features: readonly KernelFeature[]): { readonly skip: string | false } {
  for (const feature of features) {
    const reason = missing(feature);
    if (reason !== undefined) return { skip: lacking(feature, reason) };
  }
  return { skip: false };
}

/**
 * The same for all tests of a file, and for what it sets up before them: on a kernel that lacks one of these features
 * the file goes no further. `await fileRequires("nft-inet")`, at its top.
 */
export async function fileRequires(...features: readonly KernelFeature[]): Promise<void> {
  const { skip } = requires(...features);
  if (skip === false) return;
  test(wholeFile, { skip }, () => {});
  // When nothing is left to do for the first time, the test runner reports; what is left then is the promise below.
  let reported = false;
  process.on("beforeExit", () => {
    if (reported) process.exit();
    reported = true;
    setImmediate(() => {});
  });
  await new Promise(() => {});
}

function missing(feature: KernelFeature): string | undefined {
  if (!known.has(feature)) known.set(feature, probe(probes[feature]));
  return known.get(feature);
}

/** What the first command that failed said. That it could not even be tried is no answer, and an error. */
function probe(script: string): string | undefined {
  const { status, stderr, error } = spawnSync("unshare", ["--net", "sh", "-ec", script], {
    encoding: "utf8",
    stdio: ["ignore", "ignore", "pipe"],
  });
  if (status === 0) return undefined;
  const words = stderr.trim().split("\n")[0] ?? "";
  if (error !== undefined || status === null || status > 125 || /^unshare:/.test(words))
    throw new Error(
      `cannot ask the kernel: ${error?.message ?? words}; kernel tests run as root, after scripts/setup.sh`,
    );
  return words === "" ? "it refused" : words;
}
