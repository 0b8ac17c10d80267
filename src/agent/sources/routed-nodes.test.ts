import assert from "node:assert/strict";
import { it } from "node:test";
import fc from "fast-check";
import { RoutedNodes } from "./routed-nodes.ts";

type Step = { readonly network: string } & (
  | { readonly kind: "came" | "left"; readonly node: string }
  | { readonly kind: "routed"; readonly tenant: string }
  | { readonly kind: "unrouted" | "removed" }
);

const network = fc.constantFrom("n1", "n2", "n3");
const node = fc.constantFrom("h1", "h2", "h3");
const steps: fc.Arbitrary<readonly Step[]> = fc.array(
  fc.oneof(
    fc.record({ kind: fc.constantFrom("came" as const, "left" as const), network, node }),
    fc.record({ kind: fc.constant("routed" as const), network, tenant: fc.constantFrom("t1", "t2") }),
    fc.record({ kind: fc.constantFrom("unrouted" as const, "removed" as const), network }),
  ),
  { maxLength: 40 },
);

it("tells who routes into each network: whoever has something in one that is routed with it", () => {
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
          case "removed":
            tenants.delete(step.network);
            for (const thing of things.filter((each) => each.network === step.network))
              things.splice(things.indexOf(thing), 1);
            nodes.removeNetwork(step.network);
        }
        const wanted = [...tenants].flatMap(([into, tenant]) =>
          things.filter((thing) => tenants.get(thing.network) === tenant).map((thing) => `${into} ${thing.node}`),
        );
        assert.deepEqual([...told].sort(), [...new Set(wanted)].sort());
        for (const into of ["n1", "n2", "n3"])
          assert.deepEqual(
            Array.from(nodes.of(into), (who) => `${into} ${who}`).sort(),
            [...told].filter((key) => key.startsWith(into)).sort(),
          );
      }
    }),
    { numRuns: 500 },
  );
});
