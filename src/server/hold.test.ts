import assert from "node:assert/strict";
import { test } from "node:test";
import {
  type Authority,
  addNetwork,
  addNodes,
  endpointDraft,
  nodeIdentity,
  openAuthority,
  withHooks,
} from "../../test/support/authority.ts";
import { refusal } from "../../test/support/server.ts";
import { unwrap } from "../base/result.ts";
import { parseNetworkDraft } from "../model/schema.ts";
import { MemoryStore } from "../store/index.ts";

const l2 = { subnets: ["10.0.0.0/24"] };
const l3 = { mode: "l3", subnets: ["10.0.0.0/24"], blockSize: 16 };
const apply = (fields: object) => (authority: Authority) =>
  authority.administration.apply(
    [{ kind: "network", value: unwrap(parseNetworkDraft({ name: "blue", tenant: "acme", ...fields })) }],
    false,
  );
const remove = ({ administration }: Authority) => administration.delete([{ kind: "network", name: "blue" }]);

/** What rests on what nobody has in a network, and why it is refused when somebody has it. */
const changes: Record<string, [fields: object, change: (authority: Authority) => Promise<unknown>, reason: RegExp]> = {
  deletion: [l2, remove, /it has endpoints/],
  "deletion of an l3 network": [l3, remove, /it has endpoints/],
  "other subnets": [l2, apply({ subnets: ["10.1.0.0/24"] }), /cannot become 10\.1\.0\.0\/24 while there are endpoints/],
  "other blocks": [l3, apply({ ...l3, blockSize: 32 }), /cannot change while nodes own blocks/],
  "another gateway": [l2, apply({ ...l2, gateways: ["10.0.0.1"] }), /has the address of gateway 10\.0\.0\.1/],
};

for (const [name, [fields, change, reason]] of Object.entries(changes)) {
  test(`${name}: a claim that another server took is not overlooked, whether heard of late or made meanwhile`, async (t) => {
    for (const isLate of [true, false]) {
      const store = new MemoryStore();
      const one = await openAuthority(t, store);
      await addNodes(one, 1);
      await addNetwork(one, fields);
      const claim = async (): Promise<void> => {
        await one.endpoints.create(nodeIdentity(1), endpointDraft(1));
      };
      let heard = Promise.resolve();
      let meanwhile: (() => Promise<void>) | undefined = isLate ? undefined : claim;
      const hooked = withHooks(store, {
        watch: () => heard,
        async transact({ operations }) {
          if (!operations.some(({ key }) => key === "/networks/blue")) return;
          const once = meanwhile;
          meanwhile = undefined;
          await once?.();
        },
      });
      const other = await openAuthority(t, hooked, one.clock);
      const hear = Promise.withResolvers<void>();
      if (isLate) {
        heard = hear.promise;
        await claim();
      }
      const changed = assert.rejects(
        change(other),
        refusal(/gateway/.test(name) ? "already-exists" : "failed-precondition", reason),
      );
      // What the change does before it hears of the claim it does at once.
      await new Promise((resolve) => setImmediate(resolve));
      hear.resolve();
      await changed;
      assert.equal((await store.range("/endpoints/blue/")).entries.length, 1);
      assert.equal((await store.range("/networks/blue")).entries.length, 1);
      // The hold that stays is no hindrance, and goes with the next claim.
      await one.endpoints.create(nodeIdentity(1), endpointDraft(2));
      assert.equal((await store.range("/holds/")).entries.length, 0);
    }
  });
}
