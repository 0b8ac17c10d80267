/**
 * What it takes a server to start with many networks in its store, and what claims and further networks cost beside them.
 *
 *     scripts/node.sh bench/server-start.ts [--networks 1000000] [--tenants 1000]
 *
 * The store is filled while the server is stopped, with the records that it would have written: to create them by requests takes
 * minutes, which bench/many-networks.ts measures.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { unwrap } from "../src/base/result.ts";
import { Lab } from "../src/lab/lab.ts";
import { pause } from "../src/lab/process.ts";
import type { Vni } from "../src/model/resources.ts";
import { parseNetwork } from "../src/model/schema.ts";
import { owners, records } from "../src/server/records.ts";
import { SqliteStore } from "../src/store/index.ts";
import { claim } from "../src/testing/claims.ts";
import { table } from "./netlink-scene.ts";

const { values: options } = parseArgs({
  options: { networks: { type: "string", default: "1000000" }, tenants: { type: "string", default: "1000" } },
});
const count = Number(options.networks);
const tenants = Number(options.tenants);
/** Networks in one transaction. */
const batch = 1000;
/** What is created and claimed beside them, one after the other. */
const singles = 1000;

/** Subnets are the same in each tenant. */
function networkOf(number: number) {
  const index = Math.floor(number / tenants);
  const subnet = `10.${index >> 8}.${index & 255}.0/24`;
  return { name: `n${number}`, tenant: `t${number % tenants}`, subnets: [subnet] };
}

async function fill(file: string): Promise<void> {
  const store = new SqliteStore(file);
  const names = Array.from({ length: tenants }, (_, number) => `t${number}`);
  await store.transact({
    conditions: [],
    operations: names.map((name) => records.tenant.put({ name, placement: "own" }, name)),
  });
  const numbers = Array.from({ length: count }, (_, number) => number);
  for (let first = 0; first < count; first += batch) {
    const networks = numbers.slice(first, first + batch).map((number) => {
      const parsed = parseNetwork({ ...networkOf(number), vni: number + 1 });
      return unwrap(parsed.ok ? parsed : { ok: false as const, error: new Error(JSON.stringify(parsed.error)) });
    });
    await store.transact({
      conditions: [],
      operations: networks.flatMap((network) => [
        records.network.put(network, network.name),
        owners.vni.put(network.name, network.vni as Vni),
      ]),
    });
  }
  await store.close();
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

/** The process of the server: memory in megabytes, and how long it ran on a processor, in seconds. proc(5). */
function usage(lab: Lab): { readonly resident: number; readonly peak: number; readonly processor: number } {
  const pid = lab.processes.find(({ name }) => name === "server")?.pid;
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const field = (key: string): number => (Number(new RegExp(`^${key}:\\s+(\\d+)`, "m").exec(status)?.[1]) * 1024) / 1e6;
  // utime and stime, in hundredths of a second, the 12th and 13th after the name in parentheses.
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
  return {
    resident: field("VmRSS"),
    peak: field("VmHWM"),
    processor: (Number(fields[11]) + Number(fields[12])) / 100,
  };
}

const quantile = (values: readonly number[], part: number): string =>
  (values.toSorted((a, b) => a - b)[Math.floor(values.length * part)] ?? 0).toFixed(1);

const lab = await Lab.up({ name: `s${process.pid}`, hosts: 1 });
try {
  await lab.stop("h1");
  await lab.stop("server");
  await fill(join(lab.names.directory, "server", "weft.db"));
  const start = await timed(async () => {
    // Where that takes longer than a lab waits, it goes on all the same.
    await lab.startServer().catch(() => {});
    while (!(await lab.admin.getStatus({}).then(Boolean, () => false))) await pause(100);
  });
  const { resident, peak, processor } = usage(lab);
  console.log(
    `${count} networks: ready after ${(start / 1000).toFixed(1)} s, of them ${processor.toFixed(1)} s on a processor`,
  );
  console.log(`then ${resident.toFixed(0)} MB resident, ${peak.toFixed(0)} MB at most`);
  const created: number[] = [];
  for (let number = count; number < count + singles; number++)
    created.push(
      await timed(() => lab.admin.create({ resources: [{ resource: { case: "network", value: networkOf(number) } }] })),
    );
  const claimed = await claim(lab, { host: "h1", network: "n1", first: 1, last: 200, parallel: 1 });
  console.log(
    table([
      ["", "p50 ms", "p99 ms", "max ms"],
      [`${singles} more networks`, quantile(created, 0.5), quantile(created, 0.99), quantile(created, 0.9999)],
    ]),
  );
  console.log(`200 endpoints claimed one after the other: ${(claimed / 200).toFixed(1)} ms each`);
  console.log(`at last ${usage(lab).resident.toFixed(0)} MB resident`);
} finally {
  await lab.down();
}
