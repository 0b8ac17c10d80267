/**
 * How long an endpoint is silent when it moves to another node: one echo request each millisecond from a third node, and
 * the longest time between two answers in each move, with `weft migrate` and beside it with detach and attach, and while nothing moves. And how
 * long it is silent when it announces itself on another node that it is on now, as a machine does that its manager has moved: with weft, where that
 * node stands by for it, and in the same run with FRR's EVPN, if Debian's package `frr` is there.
 *
 *     scripts/node.sh bench/migration.ts [--moves 50]
 */
import { parseArgs } from "node:util";
import { type Ipv4Address, ip } from "../src/base/ip.ts";
import { broadcastMac, mac } from "../src/base/mac.ts";
import { Lab } from "../src/lab/lab.ts";
import { type PingResult, ping } from "../src/lab/measure.ts";
import { namedNamespacePath, PacketSender } from "../src/linux/index.ts";
import { changeLink, getLink, NetlinkSocket } from "../src/netlink/index.ts";
import { buildFrame } from "../src/wire/index.ts";
import { FrrVteps, hasFrr } from "./frr.ts";
import { quantiles, table } from "./netlink-scene.ts";

const { values: options } = parseArgs({ options: { moves: { type: "string", default: "50" } } });
const moves = Number(options.moves);
const network = "web";
const address = "10.1.0.7";
const endpoint = { ips: [address], mac: "02:00:5e:10:00:07" };
/** Requests in each move, which comes after a third of them. */
const requests = 1_500;

const lab = await Lab.up({ name: `b${process.pid}`, hosts: 3 });
try {
  await lab.admin.create({ resources: [{ resource: { case: "tenant", value: { name: "bench" } } }] });
  const value = { name: network, tenant: "bench", subnets: ["10.1.0.0/16"] };
  await lab.admin.create({ resources: [{ resource: { case: "network", value } }] });
  for (const name of ["a", "b", "c", "here", "there"]) lab.addContainer(name);
  await lab.attach("a", "h1", network);
  await lab.attach("b", "h2", network);
  await lab.attach("c", "h3", network);
  const { id } = await lab.attach("here", "h2", network, endpoint);
  await warm();

  const still: PingResult[] = [];
  for (let round = 0; round < 10; round++) still.push(await watch(async () => {}));

  const migrated: PingResult[] = [];
  const took: number[] = [];
  let at = "h2";
  for (let round = 0; round < moves; round++) {
    const to = at === "h2" ? "h3" : "h2";
    const netns = namedNamespacePath(lab.names.container(to === "h2" ? "here" : "there"));
    const place = { netns, interface: "eth0", device: "" };
    migrated.push(
      await watch(async () => {
        const began = performance.now();
        await lab.admin.migrateEndpoint({ endpoint: id, network, node: to, place });
        took.push(performance.now() - began);
      }),
    );
    at = to;
  }

  const moved: PingResult[] = [];
  for (let round = 0; round < Math.min(moves, 20); round++) {
    const to = at === "h2" ? "h3" : "h2";
    const container = (host: string): string => (host === "h2" ? "here" : "there");
    const from = at;
    moved.push(
      await watch(async () => {
        await lab.detach(container(from), from, network);
        await lab.attach(container(to), to, network, endpoint);
      }),
    );
    at = to;
  }

  const announced: PingResult[] = [];
  for (let round = 0; round < Math.min(moves, 20); round++) {
    const to = at === "h2" ? "h3" : "h2";
    const [leaves, arrives] = to === "h3" ? ["here", "there"] : ["there", "here"];
    const netns = namedNamespacePath(lab.names.container(arrives));
    await lab.admin.migrateEndpoint({ endpoint: address, network, node: to, onAnnouncement: true });
    await lab.agent(to).attach({ network, netns, interface: "eth0", standby: address });
    announced.push(await watch(() => cross(leaves, arrives)));
    at = to;
  }

  const frr = new FrrVteps(lab);
  const evpn: PingResult[] = [];
  if (hasFrr())
    try {
      await frr.start();
      await frr.addContainer("fa", "h1", "10.2.0.1", "02:00:5e:20:00:01");
      await frr.addContainer("fhere", "h2", "10.2.0.7", endpoint.mac);
      await frr.addContainer("fthere", "h3", "10.2.0.7", endpoint.mac);
      await setUp("fa", true);
      await setUp("fhere", true);
      await warm("fa", "10.2.0.7");
      for (let round = 0; round < Math.min(moves, 20); round++) {
        const [leaves, arrives] = round % 2 === 0 ? ["fhere", "fthere"] : ["fthere", "fhere"];
        evpn.push(await watch(() => cross(leaves, arrives, "10.2.0.7"), "fa", "10.2.0.7"));
      }
    } finally {
      await frr.end();
    }

  console.log(
    table([
      ["", "moves", "requests", "not answered", "silence p50 ms", "p99 ms", "max ms"],
      row("nothing moves", still),
      row("weft migrate", migrated),
      row("detach and attach", moved),
      row("weft, announced", announced),
      ...(evpn.length === 0 ? [] : [row("FRR's EVPN, announced", evpn)]),
    ]),
  );
  const [p50 = 0, , , max = 0] = quantiles(took);
  console.log(`weft migrate until the other node has it: p50 ${p50.toFixed(0)} ms, max ${max.toFixed(0)} ms`);
} finally {
  await lab.down();
}

/** Requests while something is done after a third of them. */
async function watch(action: () => Promise<void>, from = "a", to = address): Promise<PingResult> {
  const traffic = ping(lab, from, to, { count: requests, interval: 1 });
  await new Promise((resolve) => setTimeout(resolve, requests / 3));
  await action();
  return traffic;
}

async function warm(from = "a", to = address): Promise<void> {
  for (let tries = 0; tries < 100; tries++)
    if ((await ping(lab, from, to, { count: 1, interval: 10 })).received === 1) return;
  throw new Error(`${from} does not reach ${to}`);
}

/** A container's interface goes down, and the same MAC and address come up elsewhere and announce themselves, as QEMU does. */
async function cross(leaves: string, arrives: string, of = address): Promise<void> {
  await setUp(leaves, false);
  const index = await setUp(arrives, true);
  using namespace = lab.namespace(arrives);
  using sender = new PacketSender(namespace);
  const source = mac(endpoint.mac);
  const own = ip(of) as Ipv4Address;
  const announcement = buildFrame([
    { protocol: "ethernet", header: { source, destination: broadcastMac, etherType: "arp" } },
    {
      protocol: "arp",
      header: {
        operation: "request",
        senderMac: source,
        senderIp: own,
        targetMac: mac("00:00:00:00:00:00"),
        targetIp: own,
      },
    },
  ]);
  // The first may come before the port forwards.
  for (let count = 0; count < 5; count++) {
    sender.send(index, announcement);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** The index of the container's interface, which is up or down now. */
async function setUp(container: string, isUp: boolean): Promise<number> {
  using namespace = lab.namespace(container);
  using netlink = new NetlinkSocket({ namespace });
  const { index } = await netlink.get(getLink({ name: "eth0" }));
  await netlink.execute(changeLink({ index }, { up: isUp }));
  return index;
}

function row(name: string, results: readonly PingResult[]): string[] {
  const [p50, , p99, max] = quantiles(results.map(({ longestGap }) => longestGap));
  const sent = results.reduce((sum, result) => sum + result.sent, 0);
  const received = results.reduce((sum, result) => sum + result.received, 0);
  const text = (value = 0): string => value.toFixed(1);
  return [name, `${results.length}`, `${sent}`, `${sent - received}`, text(p50), text(p99), text(max)];
}
