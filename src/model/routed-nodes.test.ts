import assert from "node:assert/strict";
import { it } from "node:test";
import fc from "fast-check";
import { RoutedNodes } from "./routed-nodes.ts";

type Step = { readonly network: string } & (
  | { readonly kind: "came" | "left"; readonly node: string }
  | { readonly kind: "routed"; readonly tenant: string }
  | { readonly kind: "unrouted" | "removed" }
  | { readonly kind: "peers"; readonly peers: readonly string[] }
);

const own = ["n1", "n2", "n3"];
const foreign = ["p1", "p2"];
const network = fc.constantFrom(...own, ...foreign);
const node = fc.constantFrom("h1", "h2", "h3");
const steps: fc.Arbitrary<readonly Step[]> = fc.array(
  fc.oneof(
    fc.record({ kind: fc.constantFrom("came" as const, "left" as const), network, node }),
    fc.record({
      kind: fc.constant("routed" as const),
      network: fc.constantFrom(...own),
      tenant: fc.constantFrom("t1", "t2"),
    }),
    fc.record({
      kind: fc.constant("routed" as const),
      network: fc.constantFrom(...foreign),
      tenant: fc.constant("t3"),
    }),
    fc.record({ kind: fc.constant("peers" as const), network: fc.constantFrom(...own), peers: fc.subarray(foreign) }),
    fc.record({ kind: fc.constant("peers" as const), network: fc.constantFrom(...foreign), peers: fc.subarray(own) }),
    fc.record({ kind: fc.constantFrom("unrouted" as const, "removed" as const), network }),
  ),
  { maxLength: 40 },
);

it("tells who routes into each network: whoever has something in one that is routed with it, or in a peer", () => {
  fc.assert(
    fc.property(steps, (all) => {
      const told = new Set<string>();
      const nodes = new RoutedNodes((network, node, routes) => {
        const key = `${network} ${node}`;
        assert.equal(told.has(key), !routes, `${key} is told twice`);
        if (routes) told.add(key);
        else told.delete(key);
      });
      const things: { readonly network: string; readonly node: string }[] = [];
      const tenants = new Map<string, string>();
      let pairs: (readonly [string, string])[] = [];
      const withoutPairsOf = (network: string) => pairs.filter((pair) => !pair.includes(network));
      for (const step of all) {
        switch (step.kind) {
          case "came":
            things.push({ network: step.network, node: step.node });
            nodes.came(step.network, step.node);
            break;
          case "left": {
            const index = things.findIndex((each) => each.network === step.network && each.node === step.node);
            if (index < 0) break;
            things.splice(index, 1);
            nodes.left(step.network, step.node);
            break;
          }
          case "routed":
            tenants.set(step.network, step.tenant);
            nodes.setRouted(step.network, step.tenant);
            break;
          case "unrouted":
            tenants.delete(step.network);
            nodes.setUnrouted(step.network);
            break;
          case "peers":
            pairs = [...withoutPairsOf(step.network), ...step.peers.map((peer) => [step.network, peer] as const)];
            nodes.setPeers(step.network, step.peers);
            break;
          case "removed":
            tenants.delete(step.network);
            pairs = withoutPairsOf(step.network);
            for (const thing of things.filter((each) => each.network === step.network))
              things.splice(things.indexOf(thing), 1);
            nodes.removeNetwork(step.network);
        }
        const wanted = [...own, ...foreign].flatMap((into) =>
          things
            .filter(
              ({ network }) =>
                (tenants.has(into) && tenants.get(network) === tenants.get(into)) ||
                pairs.some((pair) => network !== into && pair.includes(into) && pair.includes(network)),
            )
            .map((thing) => `${into} ${thing.node}`),
        );
        assert.deepEqual([...told].sort(), [...new Set(wanted)].sort());
        for (const into of [...own, ...foreign])
          assert.deepEqual(
            Array.from(nodes.of(into), (who) => `${into} ${who}`).sort(),
            [...told].filter((key) => key.startsWith(into)).sort(),
          );
      }
    }),
    { numRuns: 500 },
  );
});
