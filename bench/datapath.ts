/**
 * What protection, policy and bandwidth cost packets: one TCP connection and a flood of pings between containers of two hosts, with
 * each of them and with all, under policies of 10, 1,000 and 10,000 rules of which the last asked allows, a limit there that is never
 * reached, in turn with the plain path of bridge and tunnel. Medians of rounds.
 *
 *     scripts/node.sh bench/datapath.ts [--rounds 5]
 */
import { execFileSync } from "node:child_process";
import { parseArgs } from "node:util";
import type { NetworkSettings } from "../src/dataplane/index.ts";
import { formatProblem, type Rate } from "../src/model/index.ts";
import { type Policy, parsePolicy } from "../src/model/policy/index.ts";
import { players, Stage } from "../test/attacks/stage.ts";
import { table } from "./netlink-scene.ts";

const { values: options } = parseArgs({ options: { rounds: { type: "string", default: "5" } } });
const rounds = Number(options.rounds);
const seconds = 2;
const pings = 20_000;
const limit = { limit: "100Gbit" as Rate };
const bandwidth = { bandwidth: { send: limit, receive: limit } };

/** Both ends are under it, in both directions. What they say is allowed by the last rule alone. */
function policyOf(rules: number): readonly Policy[] {
  const others = Array.from({ length: rules - 2 }, (_, number) => ({
    direction: number % 2 === 0 ? "ingress" : "egress",
    action: number % 4 < 2 ? "allow" : "deny",
    peers: [{ subnet: `172.${16 + (number >> 12)}.${(number >> 4) & 255}.${(number & 15) * 16}/28` }],
    ports: [{ protocol: "tcp", ports: [1 + number] }],
  }));
  const last = ["ingress", "egress"].map((direction) => ({
    direction,
    action: "allow",
    peers: [{ subnet: "10.0.0.0/24" }],
  }));
  const parsed = parsePolicy({ name: "many", tenant: "blue", rules: [...others, ...last] });
  if (!parsed.ok) throw new TypeError(parsed.error.map(formatProblem).join("; "));
  return [parsed.value];
}

interface Way {
  readonly changes: Partial<NetworkSettings>;
  readonly isPlain?: true;
  readonly policies?: readonly Policy[];
}

const ways: Readonly<Record<string, Way>> = {
  "bridge and tunnel alone": { changes: {}, isPlain: true },
  protection: { changes: {} },
  "protection, policy of 10 rules": { changes: {}, policies: policyOf(10) },
  "protection, policy of 1,000 rules": { changes: {}, policies: policyOf(1_000) },
  "protection, policy of 10,000 rules": { changes: {}, policies: policyOf(10_000) },
  "protection and bandwidth": { changes: bandwidth },
  "protection, policy of 10,000 rules and bandwidth": { changes: bandwidth, policies: policyOf(10_000) },
};

const stage = await Stage.make("path", {});
for (const dataplane of stage.dataplanes.splice(0)) await dataplane.close();
const sender = stage.container("attacker");
const receiver = stage.container("far");
const server = receiver.namespace.spawn("iperf3", ["--server"], { stdio: "ignore" });

/** The kernel keeps what a dataplane made when that is gone. */
async function prepare({ changes, isPlain, policies }: Way): Promise<void> {
  for (const node of [1, 2]) {
    await (await stage.startNode(node, changes, policies)).close();
    if (isPlain !== true) continue;
    const script =
      "for device in $(ip -br link show type veth | grep -o '^ve[0-9a-f]*'); do tc qdisc del dev $device clsact; done";
    execFileSync("ip", ["netns", "exec", stage.tenantName(node), "sh", "-c", script]);
  }
}

function throughput(): number {
  const report = JSON.parse(sender.shell(`iperf3 --client ${players.far.ipv4} --time ${seconds} --json`));
  return report.end.sum_received.bits_per_second / 1e9;
}

/** Microseconds there and back. */
function latency(): number {
  const said = sender.shell(`ping -q -f -c ${pings} ${players.far.ipv4}`);
  return Number(/rtt [^=]*= [\d.]+\/([\d.]+)/.exec(said)?.[1]) * 1000;
}

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0;

try {
  const results = new Map(Object.keys(ways).map((name) => [name, { throughput: [], latency: [] } as Results]));
  for (let round = 0; round < rounds; round++)
    for (const [name, way] of Object.entries(ways)) {
      await prepare(way);
      results.get(name)?.throughput.push(throughput());
      results.get(name)?.latency.push(latency());
    }
  const [plain] = results.values();
  const rows = Array.from(results, ([name, { throughput: rates, latency: times }]) => [
    name,
    median(rates).toFixed(1),
    (median(rates) / median(plain?.throughput ?? [])).toFixed(2),
    median(times).toFixed(0),
    (median(times) / median(plain?.latency ?? [])).toFixed(2),
  ]);
  console.log(table([["way", "TCP Gbit/s", "ratio", "there and back us", "ratio"], ...rows]));
} finally {
  server.kill();
  await stage.close();
}

interface Results {
  readonly throughput: number[];
  readonly latency: number[];
}
