/**
 * How soon a new container can be reached: from the acknowledgement of `attach` on one host until the other hosts'
 * kernels have its neighbour and FDB entries; and how long `attach` itself takes. A lab of three hosts with the real
 * server and agents. Beside it: the same entries written by hand, by `ip` and `bridge`, on the two other hosts.
 *
 *     scripts/node.sh bench/attach-latency.ts [--attaches 500] [--kept 200]
 *
 * Everything is timed by the clock of this process, which hears the kernels' own events (RTM_NEWNEIGH). An event that
 * was heard before the acknowledgement counts as a negative time. Docker Swarm is left out: bringing up a swarm for
 * each of the hosts would take longer than all of this.
 */
import { parseArgs } from "node:util";
import { mac } from "../src/base/mac.ts";
import { namespaceName } from "../src/dataplane/kernel-names.ts";
import { Lab } from "../src/lab/lab.ts";
import { runProgram } from "../src/lab/process.ts";
import { NetworkNamespace, namedNamespacePath } from "../src/linux/index.ts";
import {
  EventSocket,
  eventGroup,
  getLink,
  NetlinkSocket,
  RTM_NEWLINK,
  RTM_NEWNEIGH,
  readFdbEntry,
  readNeighbour,
} from "../src/netlink/index.ts";
import { quantiles, table } from "./netlink-scene.ts";

const { values: options } = parseArgs({
  options: { attaches: { type: "string", default: "500" }, kept: { type: "string", default: "200" } },
});
const attaches = Number(options.attaches);
const kept = Number(options.kept);
const byHand = 100;
const tenant = "bench";
const network = "web";

/** When the kernel of one host told of an address; milliseconds of `performance.now()`. */
interface Heard {
  neighbour?: number;
  /** The tunnel's and the bridge's entry are told of one after the other; this is the later one. */
  fdb?: number;
  fdbEvents: number;
}

/** Listens in a tenant's namespace of one host. */
class Listener {
  readonly namespace: NetworkNamespace;
  readonly byMac = new Map<string, Heard>();
  /** When a device of this namespace last appeared for the first time, or changed. */
  firstLinkEvent: number | undefined;
  readonly #socket: EventSocket;

  constructor(lab: Lab, host: string) {
    this.namespace = NetworkNamespace.openNamed(namespaceName(lab.names.instance(host), tenant));
    this.#socket = new EventSocket({
      namespace: this.namespace,
      groups: [eventGroup.neighbour, eventGroup.link],
      onEvent: ({ type, bytes, view, start, end }) => {
        const now = performance.now();
        if (type === RTM_NEWLINK) this.firstLinkEvent ??= now;
        if (type !== RTM_NEWNEIGH) return;
        const entry = readFdbEntry(bytes, view, start, end) ?? readNeighbour(bytes, view, start, end);
        if (entry?.mac === undefined) return;
        const heard = this.byMac.get(entry.mac) ?? { fdbEvents: 0 };
        this.byMac.set(entry.mac, heard);
        if ("ip" in entry) heard.neighbour ??= now;
        else if (heard.fdbEvents++ < 2) heard.fdb = now;
      },
      onOverrun: () => {
        throw new Error("events were lost");
      },
    });
  }

  /** When all three entries of a remote endpoint were there. */
  complete(address: string): number | undefined {
    const heard = this.byMac.get(address);
    if (heard?.neighbour === undefined || heard.fdb === undefined || heard.fdbEvents < 2) return undefined;
    return Math.max(heard.neighbour, heard.fdb);
  }

  close(): void {
    this.#socket.close();
    this.namespace.close();
  }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

async function until<Value>(what: string, read: () => Value | undefined): Promise<Value> {
  const end = performance.now() + 10_000;
  for (;;) {
    const value = read();
    if (value !== undefined) return value;
    if (performance.now() > end) throw new Error(`${what}: not heard of within 10 s`);
    await turn();
  }
}

function macOf(number: number): string {
  const hex = number.toString(16).padStart(4, "0");
  return mac(`02:00:5e:00:${hex.slice(0, 2)}:${hex.slice(2)}`);
}

function row(name: string, values: readonly number[]): string[] {
  return [name, ...quantiles(values).map((value) => value.toFixed(2))];
}

const lab = await Lab.up({ name: `b${process.pid}`, hosts: 3 });
const listeners: Listener[] = [];
try {
  await lab.admin.create({
    resources: [
      { resource: { case: "tenant", value: { name: tenant } } },
      { resource: { case: "network", value: { name: network, tenant, vni: 100, subnets: ["10.1.0.0/16"] } } },
    ],
  });
  const total = kept + attaches;
  for (const host of lab.hosts) {
    lab.addContainer(`first-${host}`);
    await lab.attach(`first-${host}`, host, network);
  }
  for (let number = 0; number < total; number++) lab.addContainer(`c${number}`);
  for (const host of lab.hosts) listeners.push(new Listener(lab, host));
  const [own, ...others] = listeners;
  if (own === undefined) throw new Error("a lab has hosts");
  const agent = lab.agent("h1");
  const place = (number: number) => ({
    network,
    netns: namedNamespacePath(lab.names.container(`c${number}`)),
    interface: "eth0",
  });

  const duration: number[] = [];
  const untilStarted: number[] = [];
  const untilPort: number[] = [];
  const afterPort: number[] = [];
  const untilElsewhere: number[] = [];
  const afterAcknowledgement: number[] = [];
  let before = 0;
  for (let number = 0; number < total; number++) {
    const address = macOf(number);
    own.firstLinkEvent = undefined;
    const start = performance.now();
    await agent.attach({ ...place(number), mac: address, ips: [] });
    const acknowledged = performance.now();
    const elsewhere = await Promise.all(
      others.map((listener) => until(`endpoint ${address}`, () => listener.complete(address))),
    );
    const port = await until("the port", () => own.byMac.get(address)?.fdb);
    const started = await until("the port's device", () => own.firstLinkEvent);
    // The first ones warm up, and stay until the last: the network is never small.
    if (number < kept) continue;
    duration.push(acknowledged - start);
    untilStarted.push(started - start);
    untilPort.push(port - started);
    afterPort.push(acknowledged - port);
    const last = Math.max(...elsewhere);
    if (last <= acknowledged) before++;
    untilElsewhere.push(last - start);
    afterAcknowledgement.push(last - acknowledged);
    await agent.detach(place(number - kept));
  }

  const hand: number[] = [];
  const hosts = await Promise.all(
    others.map(async (listener) => {
      using socket = new NetlinkSocket({ namespace: listener.namespace });
      return { listener, tunnel: (await socket.get(getLink({ name: "vx100" }))).name };
    }),
  );
  for (let number = 0; number < byHand; number++) {
    const address = macOf(0x8000 + number);
    const ip = `10.1.254.${number + 1}`;
    const run = async (namespace: NetworkNamespace, program: string, words: string): Promise<void> => {
      const { status, complaints } = await runProgram(namespace, program, words.split(" "));
      if (status !== 0) throw new Error(`${program} ${words}: ${complaints}`);
    };
    const start = performance.now();
    const written = hosts.map(async ({ listener: { namespace }, tunnel }) => {
      await run(namespace, "ip", `neighbour replace ${ip} lladdr ${address} dev br100 nud permanent`);
      await run(namespace, "bridge", `fdb replace ${address} dev ${tunnel} dst 192.0.2.1 self master extern_learn`);
    });
    const heard = await Promise.all(
      others.map((listener) => until(`entry ${address} by hand`, () => listener.complete(address))),
    );
    hand.push(Math.max(...heard) - start);
    await Promise.all(written);
    for (const { listener, tunnel } of hosts) {
      await run(listener.namespace, "bridge", `fdb del ${address} dev ${tunnel} self master`);
      await run(listener.namespace, "ip", `neighbour del ${ip} dev br100`);
    }
  }

  console.log(`${attaches} attaches on h1, one after the other, ${kept} endpoints there; entries of h2 and h3`);
  console.log(
    table([
      ["milliseconds", "p50", "p90", "p99", "max"],
      row("from the acknowledgement until the entries are in both other kernels", afterAcknowledgement),
      row("from the request until then", untilElsewhere),
      row("peer: by hand, ip and bridge once on each of both hosts", hand),
      [],
      row("attach, from request to acknowledgement", duration),
      row("  request, server's commit, stream: until the kernel of h1 makes the port", untilStarted),
      row("  the port: veth pair, addresses, bridge, FDB entry", untilPort),
      row("  until the acknowledgement is heard", afterPort),
    ]),
  );
  console.log(`entries that were there before the acknowledgement: ${before} of ${attaches}`);
} finally {
  for (const listener of listeners) listener.close();
  await lab.down();
}
