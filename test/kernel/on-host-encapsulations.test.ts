/** Networks in the hosts' own namespaces by each encapsulation. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createNetworks, idle, inLab, pings, testLab, theWholeFile } from "../support/cluster.ts";
import { requires } from "../support/kernel.ts";

const lab = await testLab(theWholeFile(), { hosts: 2 });

for (const [encapsulation, subnets] of [
  ["vxlan", ["10.26.0.0/16", "fd26::/64"]],
  ["geneve", ["10.27.0.0/16", "fd27::/64"]],
  ["gre", ["10.28.0.0/16", "fd28::/64"]],
  ["ipip", ["10.29.0.0/16"]],
] as const)
  test(`by ${encapsulation}, on one node, across, and from the host`, requires(encapsulation), async () => {
    await createNetworks(
      lab,
      [{ name: encapsulation, tenant: "kube", mode: "l3", encapsulation, subnets, egress: true, hostAccess: true }],
      "host",
    );
    const ips = new Map<string, readonly string[]>();
    for (const [name, node] of [
      ["a1", "h1"],
      ["a2", "h1"],
      ["b1", "h2"],
    ] as const) {
      lab.addContainer(`${encapsulation}${name}`);
      ips.set(name, (await lab.attach(`${encapsulation}${name}`, node, encapsulation)).ips);
    }
    await idle(lab, "h1", "h2");
    for (const from of [`${encapsulation}a1`, "h1"])
      for (const to of ["a2", "b1"])
        for (const address of ips.get(to) ?? []) {
          using namespace = lab.namespace(from);
          assert.ok(await pings(namespace, address), `${from} reaches ${to} at ${address}`);
        }
    assert.match(await inLab(lab, "h1", "ip", "link"), / br[0-9]+:/);
  });
