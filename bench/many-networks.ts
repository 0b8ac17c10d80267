/**
 * What many networks cost the server: creating them, one more beside them, deleting one, a restart, and memory.
 *
 *     scripts/node.sh bench/many-networks.ts [--networks 100000] [--tenants 1000]
 */
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { Lab } from "../src/lab/lab.ts";
import { table } from "./netlink-scene.ts";

const { values: options } = parseArgs({
  options: { networks: { type: "string", default: "100000" }, tenants: { type: "string", default: "1000" } },
});
const count = Number(options.networks);
const tenants = Number(options.tenants);
/** Resources in one request. */
const batch = 1000;
/** Single creations whose median is told. */
const singles = 50;

const lab = await Lab.up({ name: `m${process.pid}`, hosts: 1 });
try {
  const create = async (first: number, last: number): Promise<void> => {
    const resources = [];
    for (let number = first; number < last; number++)
      resources.push({ resource: { case: "network" as const, value: networkOf(number) } });
    await lab.admin.create({ resources });
  };
  for (let first = 0; first < tenants; first += batch)
    await lab.admin.create({
      resources: Array.from({ length: Math.min(batch, tenants - first) }, (_, index) => ({
        resource: { case: "tenant" as const, value: { name: `t${first + index}` } },
      })),
    });
  const rows = [["networks", "created/s", "one more ms", "deleted ms", "RSS MB"]];
  let next = 0;
  for (const wanted of [1000, 10_000, 100_000, 1_000_000].filter((each) => each < count).concat(count)) {
    const before = next;
    const start = performance.now();
    for (; next < wanted; next += batch) await create(next, Math.min(next + batch, wanted));
    const seconds = (performance.now() - start) / 1000;
    const [created, deleted] = [[] as number[], [] as number[]];
    for (let number = 0; number < singles; number++) {
      created.push(await timed(() => create(wanted + number, wanted + number + 1)));
      deleted.push(
        await timed(() =>
          lab.admin.delete({ resources: [{ kind: "network", name: networkOf(wanted + number).name }] }),
        ),
      );
    }
    rows.push([
      String(wanted),
      Math.round((wanted - before) / seconds).toString(),
      median(created).toFixed(1),
      median(deleted).toFixed(1),
      residentMegabytes().toFixed(0),
    ]);
  }
  console.log(table(rows));
  const restart = await timed(async () => {
    await lab.stop("server");
    await lab.startServer();
    await lab.admin.list({ kind: "tenant" });
  });
  console.log(`restart of the server: ${(restart / 1000).toFixed(1)} s, then ${residentMegabytes().toFixed(0)} MB`);
} finally {
  await lab.down();
}

/** Each tenant's networks have subnets of their own, those of different tenants the same; the server chooses VNIs. */
function networkOf(number: number): { name: string; tenant: string; subnets: string[] } {
  const [tenant, index] = [number % tenants, Math.floor(number / tenants)];
  return { name: `n${number}`, tenant: `t${tenant}`, subnets: [`10.${index >> 8}.${index & 255}.0/24`] };
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0;
}

function residentMegabytes(): number {
  const pid = lab.processes.find(({ name }) => name === "server")?.pid;
  return (Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) * 1024) / 1e6;
}
