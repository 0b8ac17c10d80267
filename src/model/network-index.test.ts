import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { cidrsOverlap } from "../base/cidr.ts";
import { checkNewNetwork } from "./conflicts.ts";
import { NetworkIndex } from "./network-index.ts";
import type { Network } from "./resources.ts";
import { parseNetwork } from "./schema.ts";

const names = ["a", "b", "c", "d", "e", "f"];
const networks: fc.Arbitrary<Network> = fc
  .record({
    name: fc.constantFrom(...names),
    tenant: fc.constantFrom("blue", "red"),
    vni: fc.integer({ min: 5000, max: 5004 }),
    mode: fc.constantFrom("l2", "l3"),
    encapsulation: fc.constantFrom("vxlan", "geneve", "ipip", "direct", "gre"),
    port: fc.constantFrom(undefined, 4789, 6081),
    underlay: fc.constantFrom("ipv4", "ipv6"),
    discovery: fc.constantFrom("control-plane", "multicast"),
    hostAccess: fc.boolean(),
    subnets: fc.subarray(["10.0.0.0/24", "10.0.0.128/25", "10.0.0.0/16", "10.1.0.0/24", "fd00::/64", "fd00::/48"], {
      minLength: 1,
      maxLength: 3,
    }),
  })
  .map(({ port, ...fields }) => parseNetwork(port === undefined ? fields : { ...fields, port }))
  .filter((parsed) => parsed.ok)
  .map((parsed) => parsed.value)
  .chain((network) => fc.subarray(["green/x", "green/y"]).map((peers) => ({ ...network, peers })));
const steps = fc.array(fc.oneof({ weight: 4, arbitrary: networks }, fc.constantFrom(...names)), { maxLength: 25 });

/** What the rules refuse, with as few of one reason as the index tells: the use of a port is told of one network alone. */
function refusals(network: Network, rivals: Iterable<Network>): Set<string> {
  const errors = checkNewNetwork(network, {
    get: () => ({ name: network.tenant, placement: "own" }) as never,
    rivalsOf: () => rivals,
    tenantsOnHosts: () => [],
    networksOf: () => [],
    overlappingIn: () => [],
    withPeers: () => [],
    policiesOf: () => [],
    routedTo: () => [],
    withVtep: () => [],
    floatingAt: () => undefined,
    floatingOf: () => [],
    floatingWithin: () => [],
    nodeAt: () => undefined,
  });
  const text = errors.map(({ reason }) => reason);
  return new Set(text.map((each) => each.replace(/^(UDP port \d+).* that of network \w+ of tenant \w+/, "$1")));
}

test("tells of the networks that contradict one what a look at all of them would", () => {
  fc.assert(
    fc.property(steps, networks, fc.subarray(names), (sequence, network, passedOver) => {
      const index = new NetworkIndex();
      const model = new Map<string, Network>();
      for (const step of sequence) {
        if (typeof step === "string") {
          index.delete(step);
          model.delete(step);
          continue;
        }
        // The store lets no two have one VNI.
        if (![...model.values()].some(({ name, vni }) => name !== step.name && vni === step.vni)) {
          index.put(step);
          model.set(step.name, step);
        }
      }
      const isCurrent = ({ name }: Network): boolean => !passedOver.includes(name);
      const others = [...model.values()].filter((each) => each.name !== network.name && isCurrent(each));
      const rivals = [...index.rivals(network, isCurrent)];
      assert.equal(new Set(rivals).size, rivals.length);
      assert.ok(rivals.every((rival) => others.includes(rival)));
      assert.deepEqual(refusals(network, rivals), refusals(network, others));
      for (const tenant of ["blue", "red"])
        assert.deepEqual(
          new Set(index.ofTenant(tenant)),
          new Set([...model.values()].filter((each) => each.tenant === tenant)),
        );
      const all = [...model.values()];
      for (const tenant of ["blue", "red"]) {
        const own = all.filter((each) => each.tenant === tenant);
        assert.deepEqual(new Set(index.withPeers(tenant)), new Set(own.filter(({ peers }) => peers.length > 0)));
        assert.deepEqual(
          new Set(index.overlappingIn(tenant, network.subnets)),
          new Set(
            own.filter(({ subnets }) => subnets.some((each) => network.subnets.some((of) => cidrsOverlap(each, of)))),
          ),
        );
      }
      for (const name of names) assert.equal(index.get(name), model.get(name));
    }),
    { numRuns: 500 },
  );
});
