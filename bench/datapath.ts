/**
 * What protection and bandwidth cost packets: one TCP connection and a flood of pings between containers of two hosts, with each
 * alone and with both, a limit there that is never reached, in turn with the plain path of bridge and tunnel. Medians of rounds.
 *
 *     scripts/node.sh bench/datapath.ts [--rounds 5]
 */
import { execFileSync } from "node:child_process";
import { parseArgs } from "node:util";
import type { NetworkSettings } from "../src/dataplane/index.ts";
import type { Rate } from "../src/model/index.ts";
import { players, Stage } from "../test/attacks/stage.ts";
import { table } from "./netlink-scene.ts";

const { values: options } = parseArgs({ options: { rounds: { type: "string", default: "5" } } });
const rounds = Number(options.rounds);
const seconds = 2;
const pings = 20_000;
const limit = { limit: "100Gbit" as Rate };
const bandwidth = { bandwidth: { send: limit, receive: limit } };

const ways: Readonly<Record<string, { readonly changes: Partial<NetworkSettings>; readonly isPlain?: true }>> = {
  "bridge and tunnel alone": { changes: {}, isPlain: true },
  protection: { changes: {} },
  "protection and bandwidth": { changes: bandwidth },
};

const stage = await Stage.make("path", {});
for (const dataplane of stage.dataplanes.splice(0)) await dataplane.close();
const sender = stage.container("attacker");
const receiver = stage.container("far");
const server = receiver.namespace.spawn("iperf3", ["--server"], { stdio: "ignore" });

/** The kernel keeps what a dataplane made when that is gone. */
async function prepare({ changes, isPlain }: (typeof ways)[string]): Promise<void> {
  for (const node of [1, 2]) {
    await (await stage.startNode(node, changes)).close();
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
