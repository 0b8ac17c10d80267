import assert from "node:assert/strict";
import { it } from "node:test";
import {
  deleteNftTable,
  ensureNftTable,
  listNftTables,
  type NftTable,
  readNftSets,
} from "../../src/dataplane/filter/nftables.ts";
import { requires } from "../support/kernel.ts";
import { testNamespace } from "../support/namespaces.ts";

const prefix = (addr: string, len: number): object => ({ prefix: { addr, len } });

function table(prefixes: readonly unknown[], ports: readonly number[], protocols = [4, 41]): NftTable {
  const set = (name: string, fields: object, elem: readonly unknown[]) => ({
    set: { name, ...fields, ...(elem.length === 0 ? {} : { elem }) },
  });
  const match = (left: object, right: unknown): object => ({ match: { op: "==", left, right } });
  return {
    family: "inet",
    name: "probe",
    objects: [
      set("prefixes", { type: "ipv4_addr", flags: ["interval"] }, prefixes),
      set("ports", { type: "inet_service" }, ports),
      { chain: { name: "output", type: "filter", hook: "output", prio: 0, policy: "accept" } },
      {
        rule: {
          chain: "output",
          expr: [match({ payload: { protocol: "ip", field: "daddr" } }, "@prefixes"), { counter: null }],
        },
      },
      {
        rule: {
          chain: "output",
          expr: [match({ meta: { key: "l4proto" } }, { set: protocols }), { drop: null }],
        },
      },
    ],
  };
}

it("changes a table as far as it differs, and no more", requires("nft-inet"), async () => {
  using place = testNamespace("nft");
  const { kernel: namespace } = place;
  place.shell("ip link set lo up");
  const first = table([prefix("127.0.0.0", 8), "192.0.2.1"], [4789]);
  assert.equal(await ensureNftTable(namespace, first), true);
  assert.equal(await ensureNftTable(namespace, first), false);
  place.shell("ping -c1 127.0.0.1");
  const counted = /daddr @prefixes counter packets [1-9]/;
  assert.match(place.shell("nft list table inet probe"), counted);
  // Elements come and go, prefixes that overlap those before among them; what was counted stays.
  for (const [prefixes, ports] of [
    [[prefix("127.0.0.0", 8)], [8472, 4789]],
    [[prefix("127.0.0.0", 9), prefix("127.128.0.0", 9), prefix("198.51.100.0", 24)], [8472]],
    [[prefix("127.0.0.0", 8), "198.51.100.7"], []],
  ] as const) {
    const wanted = table(prefixes, ports);
    assert.equal(await ensureNftTable(namespace, wanted), true);
    assert.equal(await ensureNftTable(namespace, wanted), false);
    assert.match(place.shell("nft list table inet probe"), counted);
    const sets = await readNftSets(namespace, "inet", "probe");
    assert.deepEqual(sets?.get("ports"), ports.map(String).sort());
    assert.equal(sets?.get("prefixes")?.length, prefixes.length);
  }
  // A rule that differs takes the whole table.
  assert.equal(await ensureNftTable(namespace, table([], [], [4, 47])), true);
  assert.equal(await ensureNftTable(namespace, table([], [], [4, 47])), false);
  assert.doesNotMatch(place.shell("nft list table inet probe"), counted);
  assert.deepEqual(await listNftTables(namespace, "inet"), ["probe"]);
  assert.equal(await deleteNftTable(namespace, "inet", "probe"), true);
  assert.equal(await deleteNftTable(namespace, "inet", "probe"), false);
  assert.equal(await readNftSets(namespace, "inet", "probe"), undefined);
});
