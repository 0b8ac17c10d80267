/**
 * What networks that are routed with each other cost the server, beside as many that are not: 100 networks of one tenant, 100 nodes
 * with an endpoint in each of some of them, all of which watch. No sockets: what the server itself does. And a node's first
 * container in such a tenant, with a real server, agent and kernel.
 *
 *     scripts/node.sh bench/routed-networks.ts [--networks 100] [--nodes 100] [--endpoints 10]
 */
import { execFileSync } from "node:child_process";
import { parseArgs } from "node:util";
import { systemClock } from "../src/base/clock.ts";
import { type Ipv4Address, ip } from "../src/base/ip.ts";
import { mac } from "../src/base/mac.ts";
import { unwrap } from "../src/base/result.ts";
import { Lab } from "../src/lab/lab.ts";
import { parseNetwork } from "../src/model/schema.ts";
import { Fanout } from "../src/server/fanout.ts";
import { Readiness } from "../src/server/readiness.ts";
import { records } from "../src/server/records.ts";
import { State, type StateChange } from "../src/server/state.ts";
import type { Watcher } from "../src/server/watcher.ts";
import type { Operation } from "../src/store/store.ts";
import { table } from "./netlink-scene.ts";

const { values: options } = parseArgs({
  options: {
    networks: { type: "string", default: "100" },
    nodes: { type: "string", default: "100" },
    endpoints: { type: "string", default: "10" },
  },
});
const [networks, nodes, perNode] = [Number(options.networks), Number(options.nodes), Number(options.endpoints)];

/** The server's state with all who watch it; what they are told is read and thrown away. */
class Control {
  readonly #state = new State(systemClock);
  readonly #fanout = new Fanout(this.#state, systemClock);
  readonly #readiness = new Readiness(this.#state, this.#fanout, systemClock);
  readonly #watchers: Watcher[] = [];
  readonly #reading: Promise<void>[] = [];
  changes = 0;

  watch(name: string): void {
    const watcher = this.#fanout.open(
      { name, generation: 1 },
      { revision: 0n, networks: [], inParts: true },
      undefined,
    );
    this.#watchers.push(watcher);
    this.#reading.push(this.#read(watcher));
  }

  commit(operation: Operation): void {
    const revision = this.#state.revision + 1;
    const notice = (change: StateChange): void => {
      this.#fanout.notice(change);
      this.#readiness.notice(change);
    };
    this.#state.apply({ ...operation, revision }, notice);
    this.#state.settle(revision, notice);
    this.#fanout.settle(revision);
    this.#readiness.settle(revision);
  }

  async close(): Promise<void> {
    for (const watcher of this.#watchers) watcher.end("done");
    await Promise.all(this.#reading);
  }

  async #read(watcher: Watcher): Promise<void> {
    for await (const message of watcher.messages()) this.changes += message.changes.length;
  }
}

interface Costs {
  readonly join: number;
  readonly worstJoin: number;
  readonly endpoint: number;
  readonly told: number;
}

async function costsOf(isRouted: boolean): Promise<Costs> {
  const control = new Control();
  for (let number = 0; number < networks; number++)
    control.commit(records.network.put(networkOf(number, isRouted), `n${number}`));
  const joins: number[] = [];
  const others: number[] = [];
  for (let number = 0; number < nodes; number++) {
    const vtepAddresses = { ipv4: ip(`192.0.${2 + (number >> 8)}.${number & 255}`) as Ipv4Address };
    const node = { name: `h${number}`, vtepAddresses, underlayMtu: 1500, generation: 1 };
    control.commit(records.node.put(node, node.name));
    control.watch(node.name);
  }
  for (let number = 0; number < nodes; number++)
    for (let index = 0; index < perNode; index++) {
      const start = performance.now();
      control.commit(endpointOf(number, index));
      (index === 0 ? joins : others).push(performance.now() - start);
      await new Promise((resolve) => setImmediate(resolve));
    }
  await new Promise((resolve) => setTimeout(resolve, 500));
  await control.close();
  const last = others.slice(-200);
  return {
    join: median(joins.slice(-20)),
    worstJoin: Math.max(...joins),
    endpoint: median(last),
    told: control.changes,
  };
}

function networkOf(number: number, isRouted: boolean) {
  const fields = { name: `n${number}`, tenant: "acme", vni: 5000 + number, subnets: [`10.${number}.0.0/16`] };
  return unwrap(parseNetwork({ ...fields, gateway: isRouted ? "distributed" : "none" }));
}

function endpointOf(node: number, index: number): Operation {
  const number = node * perNode + index;
  const network = `n${(node + index * 7) % networks}`;
  const id = number.toString(16).padStart(12, "0");
  const hex = number.toString(16).padStart(8, "0").match(/../g)?.join(":");
  const address = ip(`10.${(node + index * 7) % networks}.${1 + (number >> 8)}.${number & 255}`);
  const endpoint = { id, network, node: `h${node}`, mac: mac(`02:00:${hex}`), ips: [address], sequence: 0 };
  return records.endpoint.put({ ...endpoint, attachment: "netns" }, network, id);
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

/** Milliseconds until the first container of a node is attached, and the namespace's devices then. */
async function firstContainer(lab: Lab, host: string, tenant: string): Promise<readonly [number, number]> {
  lab.addContainer(`${host}-${tenant}`);
  const start = performance.now();
  await lab.attach(`${host}-${tenant}`, host, `${tenant}0`);
  const elapsed = performance.now() - start;
  using namespace = lab.namespace(host);
  const devices = namespace.run(() =>
    execFileSync("ip", ["-n", `${lab.names.instance(host)}-${tenant}`, "-o", "link"], { encoding: "utf8" }),
  );
  return [elapsed, devices.trim().split("\n").length];
}

const rows = [["networks", "a node's first endpoint ms", "worst ms", "one more endpoint ms", "changes told"]];
for (const isRouted of [false, true]) {
  const { join, worstJoin, endpoint, told } = await costsOf(isRouted);
  rows.push([
    `${networks} ${isRouted ? "routed" : "not routed"}`,
    join.toFixed(2),
    worstJoin.toFixed(1),
    endpoint.toFixed(2),
    String(told),
  ]);
}
console.log(table(rows));

const lab = await Lab.up({ name: `r${process.pid}`, hosts: 2 });
try {
  const attached = [["networks", "first container of a node ms", "devices"]];
  for (const [tenant, gateway] of [
    ["plain", "none"],
    ["routed", "distributed"],
  ] as const) {
    await lab.admin.create({
      resources: [
        { resource: { case: "tenant", value: { name: tenant } } },
        ...Array.from({ length: networks }, (_, number) => ({
          resource: {
            case: "network" as const,
            value: { name: `${tenant}${number}`, tenant, subnets: [`10.${number}.0.0/16`], gateway },
          },
        })),
      ],
    });
    const [elapsed, devices] = await firstContainer(lab, "h1", tenant);
    attached.push([`${networks} ${gateway === "none" ? "not routed" : "routed"}`, elapsed.toFixed(0), String(devices)]);
  }
  console.log(table(attached));
} finally {
  await lab.down();
}
