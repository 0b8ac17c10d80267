import assert from "node:assert/strict";
import { it } from "node:test";
import fc from "fast-check";
import { passedNodes } from "../../model/resources.ts";
import { PassingNodes } from "./passing-nodes.ts";

const node = fc.constantFrom("h1", "h2", "h3");
const step = fc.record({
  network: fc.constantFrom("blue", "green"),
  id: fc.constantFrom("a", "b"),
  standby: fc.option(node, { nil: undefined }),
  formerNodes: fc.uniqueArray(node),
  isGone: fc.boolean(),
});

it("after any news a node passes exactly where an endpoint names it, and each change is told once", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      const told = new Set<string>();
      const passing = new PassingNodes((network, name, passes) => {
        const key = `${network} ${name}`;
        assert.notEqual(told.has(key), passes, `${key} is told twice`);
        if (passes) told.add(key);
        else told.delete(key);
      });
      const endpoints = new Map<string, { network: string; nodes: readonly string[] }>();
      for (const { network, id, standby, formerNodes, isGone } of steps) {
        if (isGone) {
          passing.remove(network, id);
          endpoints.delete(`${network} ${id}`);
        } else {
          const endpoint = {
            id,
            network,
            formerNodes,
            ...(standby === undefined ? {} : { standby: { node: standby, when: "ready" as const } }),
          };
          passing.put(endpoint);
          endpoints.set(`${network} ${id}`, { network, nodes: passedNodes(endpoint) });
        }
        const expected = new Set(
          [...endpoints.values()].flatMap((each) => each.nodes.map((name) => `${each.network} ${name}`)),
        );
        assert.deepEqual([...told].sort(), [...expected].sort());
        for (const name of ["blue", "green"])
          for (const each of ["h1", "h2", "h3"]) assert.equal(passing.has(name, each), expected.has(`${name} ${each}`));
      }
    }),
  );
});
