/** What the kernel is told while members of a tenant come, go and change, on a machine that is not there. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { cidr } from "../../base/cidr.ts";
import { ip } from "../../base/ip.ts";
import { unwrap } from "../../base/result.ts";
import type { Vni } from "../../model/index.ts";
import { type Policy, type PolicyMember, parsePolicy } from "../../model/policy/index.ts";
import { networkSettings } from "../../testing/desired.ts";
import { local } from "../../testing/scenarios.ts";
import { Scene } from "../../testing/scene.ts";
import type { NodeDataplane } from "../node-dataplane.ts";

/** Peers that are prefixes around an address, the address itself, and none; and one by which it matters what is not known. */
const policies: readonly Policy[] = [
  [{ subnet: "10.0.0.0/28" }, { subnet: "10.0.0.2/32" }, { subnet: "10.0.0.0/24", except: ["10.0.0.3/32"] }],
  [{ endpoints: "app=a" }, { endpoints: "app=b", networks: ["blue-too"] }, { subnet: "10.0.0.254/32" }],
].map((peers, index) =>
  unwrap(
    parsePolicy({
      name: `p${index}`,
      tenant: "blue",
      rules: peers.map((peer) => ({ direction: "ingress", action: index === 0 ? "allow" : "deny", peers: [peer] })),
    }),
  ),
);

const member = fc.record({
  id: fc.constantFrom("00000000000a", "00000000000b", "00000000000c"),
  tenant: fc.constant("blue"),
  network: fc.constantFrom("blue-net", "blue-too"),
  ips: fc.uniqueArray(fc.constantFrom(...["10.0.0.2", "10.0.0.3", "10.0.0.20", "10.0.0.254"].map(ip)), {
    minLength: 1,
    maxLength: 2,
  }),
  labels: fc.constantFrom({}, { app: "a" }, { app: "b" }),
});
type Change = { readonly put: PolicyMember } | { readonly remove: string };
const change: fc.Arbitrary<Change> = fc.oneof(
  { weight: 2, arbitrary: fc.record({ put: member }) },
  fc.record({ remove: fc.constantFrom("00000000000a", "00000000000b", "00000000000c") }),
);

function begin(dataplane: NodeDataplane): void {
  const gateways = [{ address: ip("10.0.0.254"), prefixLength: 24 }];
  dataplane.putNetwork(networkSettings({ gateways })).putLocal(local(1));
  dataplane.putNetwork(networkSettings({ name: "blue-too", vni: 200 as Vni, subnets: [cidr("10.0.0.0/24")] }));
  for (const policy of policies) dataplane.policies.put(policy);
}

function make({ policies: desired }: NodeDataplane, change: Change): void {
  if ("put" in change) desired.putMember(change.put);
  else desired.removeMember(change.remove);
}

function rowsOf({ machine }: Scene, map: string): string[] {
  const lines = machine.text().split("\n");
  return lines.filter((line) => line.startsWith(`policy ${map} `)).sort();
}

test("members that come, go and change one by one leave what is there if they are so from the start", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 6 }), async (changes) => {
      const scene = await Scene.settled(begin);
      for (const each of changes) {
        make(scene.dataplane, each);
        await scene.dataplane.changed();
        await scene.settle();
      }
      const fresh = await Scene.settled((dataplane) => {
        begin(dataplane);
        for (const each of changes) make(dataplane, each);
      });
      await fresh.dataplane.close();
      const next = await Scene.settled((dataplane) => {
        begin(dataplane);
        for (const each of changes) make(dataplane, each);
      }, fresh.machine);
      for (const { dataplane } of [scene, next]) await dataplane.close();
      assert.equal(next.dataplane.writes, 0);
      assert.deepEqual(rowsOf(scene, "peers"), rowsOf(fresh, "peers"));
      // What was said of classes that are nobody's any more may stay for a while.
      for (const map of ["lists", "verdicts", "rules", "ports"]) {
        const present = new Set(rowsOf(scene, map));
        assert.deepEqual(
          rowsOf(fresh, map).filter((row) => !present.has(row)),
          [],
        );
      }
    }),
    { numRuns: 25 },
  );
});
