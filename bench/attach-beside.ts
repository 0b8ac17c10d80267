/**
 * How long `attach` takes in one tenant's network while another tenant's network of many endpoints comes to the same node, and
 * while nothing else happens. A lab of two hosts with the real server and agents.
 *
 *     scripts/node.sh bench/attach-beside.ts [--endpoints 100000] [--rounds 5]
 *
 * A round: the first container of the large network is attached on h1, which gets all endpoints, and containers of the small
 * network come and go, one after the other, until h1 is in sync. Then the large network leaves h1 again.
 */
import { parseArgs } from "node:util";
import { Lab } from "../src/lab/lab.ts";
import { pause } from "../src/lab/process.ts";
import { namedNamespacePath } from "../src/linux/index.ts";
import { claim } from "../src/testing/claims.ts";
import { quantiles, table } from "./netlink-scene.ts";

const { values: options } = parseArgs({
  options: { endpoints: { type: "string", default: "100000" }, rounds: { type: "string", default: "5" } },
});
const endpoints = Number(options.endpoints);
const rounds = Number(options.rounds);
const quiet = 500;
const kept = 20;

const lab = await Lab.up({ name: `b${process.pid}`, hosts: 2 });
try {
  const network = (name: string, vni: number, subnet: string) => [
    { resource: { case: "tenant" as const, value: { name: `${name}-tenant` } } },
    { resource: { case: "network" as const, value: { name, tenant: `${name}-tenant`, vni, subnets: [subnet] } } },
  ];
  await lab.admin.create({
    resources: [...network("small", 100, "10.1.0.0/16"), ...network("large", 200, "10.0.0.0/12")],
  });
  for (const name of ["large", ...Array.from({ length: kept }, (_, index) => `c${index}`)]) lab.addContainer(name);
  await lab.stop("h2");
  const seconds = (await claim(lab, { host: "h2", network: "large", first: 1, last: endpoints, parallel: 64 })) / 1000;
  console.log(`${endpoints} endpoints of another tenant, claimed in ${seconds.toFixed(0)} s`);

  const agent = lab.agent("h1");
  const place = (of: string, name: string) => ({
    network: of,
    netns: namedNamespacePath(lab.names.container(name)),
    interface: "eth0",
  });
  let next = 0;
  /** One container comes, and one that came before goes; the milliseconds that the first took. */
  const attach = async (): Promise<number> => {
    const name = `c${next++ % kept}`;
    if (next > kept) await agent.detach(place("small", name));
    const start = performance.now();
    await agent.attach({ ...place("small", name), mac: "", ips: [] });
    return performance.now() - start;
  };
  for (let number = 0; number < 200; number++) await attach();

  const alone: number[] = [];
  for (let number = 0; number < quiet; number++) alone.push(await attach());

  const beside: number[] = [];
  const lasted: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const start = performance.now();
    let isInSync = false;
    const received = (async () => {
      await agent.attach({ ...place("large", "large"), mac: "", ips: [] });
      for (;;) {
        const status = await agent.getStatus({});
        const large = status.networks.find((each) => each.name === "large");
        if (large?.remoteEndpoints === endpoints && status.problems.length === 0 && status.inSync) break;
        await pause(50);
      }
      lasted.push(performance.now() - start);
      isInSync = true;
    })();
    while (!isInSync) beside.push(await attach());
    await received;
    await agent.detach(place("large", "large"));
    const hasGone = ({ networks, inSync }: { networks: unknown[]; inSync: boolean }) => networks.length === 1 && inSync;
    while (!hasGone(await agent.getStatus({}))) await pause(50);
  }

  console.log(
    `${beside.length} attaches while it came, ${rounds} times, in ${(Math.max(...lasted) / 1000).toFixed(1)} s at most`,
  );
  const [usual, meanwhile] = [quantiles(alone), quantiles(beside)];
  const ratio = meanwhile.map((value, index) => `${(value / (usual[index] ?? Number.NaN)).toFixed(2)} x`);
  const row = (name: string, values: readonly number[]): string[] => [name, ...values.map((value) => value.toFixed(2))];
  console.log(
    table([
      ["attach, from request to acknowledgement, ms", "p50", "p90", "p99", "max"],
      row("nothing else happens", usual),
      row("another tenant's network comes", meanwhile),
      ["ratio", ...ratio],
    ]),
  );
} finally {
  await lab.down();
}
