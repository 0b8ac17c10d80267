/** A packet is followed through tunnels of each kind, by what tables say and by packets that are sent. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createNetworks, idle, type NetworkWish, testLab, theWholeFile } from "../support/cluster.ts";
import { type KernelFeature, requires } from "../support/kernel.ts";

interface Carried extends Omit<NetworkWish, "subnets"> {
  readonly needs: KernelFeature;
}

const carried = (
  [
    { name: "geneve2", encapsulation: "geneve", needs: "geneve" },
    { name: "nvgre2", encapsulation: "nvgre", needs: "gretap" },
    { name: "gre3", encapsulation: "gre", mode: "l3", needs: "gre" },
    { name: "ipip3", encapsulation: "ipip", mode: "l3", needs: "ipip" },
  ] as const satisfies readonly Carried[]
).map((network, number) => ({ ...network, number, isHere: requires(network.needs).skip === false }));

const lab = await testLab(theWholeFile(), { hosts: 2 });
const here = carried.filter(({ isHere }) => isHere);
await createNetworks(
  lab,
  here.map(({ needs: _, isHere: __, number, ...network }) => ({
    ...network,
    vni: 7101 + number,
    subnets: [`10.${number + 1}.0.0/16`],
  })),
);
const addresses = new Map<string, string>();
for (const { name } of here)
  for (const host of ["h1", "h2"]) {
    lab.addContainer(`${name}-${host}`);
    const { ips } = await lab.attach(`${name}-${host}`, host, name);
    addresses.set(`${name}-${host}`, ips[0] ?? "");
  }
await idle(lab, "h1", "h2");

for (const { name, needs } of carried)
  test(`${name}: there and back`, requires(needs), async () => {
    const [from = "", to = ""] = ["h1", "h2"].map((host) => addresses.get(`${name}-${host}`));
    for (const dryRun of [true, false]) {
      const { journeys } = await lab.agent("h1").trace({ from, to, dryRun }, { timeoutMs: 120_000 });
      const told = journeys.map(({ verdict, reason, legs }) => ({
        verdict,
        reason,
        steps: legs.flatMap(({ steps }) => steps),
      }));
      const text = told.map(({ reason, steps }) =>
        [reason, ...steps.map((step) => `${step.name} ${step.at} ${step.detail}`)].join("\n"),
      );
      assert.deepEqual(
        told.map(({ verdict }) => verdict),
        ["arrives", "arrives"],
        text.join("\n"),
      );
      const observed = told.flatMap(({ steps }) => steps.flatMap((step) => step.observed ?? []));
      assert.equal(observed.length > 0, !dryRun);
      for (const { seen } of observed) assert.equal(seen, 3, text.join("\n"));
    }
  });
