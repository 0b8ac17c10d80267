import assert from "node:assert/strict";
import { test } from "node:test";
import { type Authority, openAuthority, withHooks } from "../../test/support/authority.ts";
import { unwrap } from "../base/result.ts";
import { parseFloatingAddress, parseNetworkDraft } from "../model/schema.ts";
import { MemoryStore } from "../store/index.ts";
import type { Declaration } from "./administration.ts";

const network = (name: string, tenant: string, subnet: string, fields: object = {}): Declaration => ({
  kind: "network",
  value: unwrap(
    parseNetworkDraft({
      name,
      tenant,
      subnets: [subnet],
      mode: "l3",
      gateway: "distributed",
      blockSize: 16,
      ...fields,
    }),
  ),
});
const floating = (name: string, endpoint: string): Declaration => ({
  kind: "floating-address",
  value: unwrap(parseFloatingAddress({ name, network: "web", endpoint })),
});
const hosted = (name: string, tenant: string, subnet: string, vni: number): Declaration =>
  network(name, tenant, subnet, { vni, gateway: undefined, hostAccess: true });
const listing = (name: string, tenant: string, vtep: string): Declaration => ({
  kind: "network",
  value: unwrap(parseNetworkDraft({ name, tenant, subnets: ["10.7.0.0/24"], discovery: "static", vteps: [vtep] })),
});
const apply = ({ administration }: Authority, declaration: Declaration) => administration.apply([declaration], false);

const web = network("web", "acme", "10.0.0.0/24", { vni: 5001 });
const webWithPeer = network("web", "acme", "10.0.0.0/24", { vni: 5001, peers: ["corp/db"] });
const files = network("files", "acme", "10.9.0.0/24");
const db = network("db", "corp", "10.9.0.0/24", { vni: 5002 });
const dbWithPeer = network("db", "corp", "10.9.0.0/24", { vni: 5002, peers: ["acme/web"] });

/** What is there, two changes that cannot both be, and why the later is refused. */
const contradictions: Record<string, [given: readonly Declaration[], one: Declaration, other: Declaration, RegExp]> = {
  "networks that name each other as peers, one of them with a subnet of the other's tenant": [
    [web, files, db],
    webWithPeer,
    dbWithPeer,
    /by their peers one node would route to both/,
  ],
  "the same, of networks that come into being": [
    [files],
    webWithPeer,
    dbWithPeer,
    /by their peers one node would route to both/,
  ],
  "a floating address, and a subnet of the tenant that holds it": [
    [web],
    floating("10.9.0.50", "10.0.0.5"),
    files,
    /the floating address 10\.9\.0\.50 is in subnet 10\.9\.0\.0\/24 of network files/,
  ],
  "two floating addresses of one endpoint": [
    [web],
    floating("192.0.2.50", "10.0.0.5"),
    floating("192.0.2.51", "10.0.0.5"),
    /10\.0\.0\.5 of network web has the floating address 192\.0\.2\.5[01]/,
  ],
  "a floating address, and another tenant's subnet that hosts route": [
    [web],
    floating("192.0.2.50", "10.0.0.5"),
    hosted("lab", "corp", "192.0.2.0/24", 5003),
    /the floating address 192\.0\.2\.50 is in subnet 192\.0\.2\.0\/24 of network lab of tenant corp, which hosts route themselves/,
  ],
  "the same, of a subnet that hosts come to route": [
    [web, network("lab", "corp", "192.0.2.0/24", { vni: 5003 })],
    floating("192.0.2.50", "10.0.0.5"),
    network("lab", "corp", "192.0.2.0/24", { vni: 5003, hostAccess: true }),
    /the floating address 192\.0\.2\.50 is in subnet 192\.0\.2\.0\/24 of network lab of tenant corp, which hosts route themselves/,
  ],
  "a floating address, and a VTEP that another tenant's network lists": [
    [web],
    floating("192.0.2.50", "10.0.0.5"),
    listing("lab", "corp", "192.0.2.50"),
    /the floating address 192\.0\.2\.50 is a VTEP that network lab of tenant corp lists/,
  ],
  "subnets of two tenants that hosts route": [
    [],
    hosted("shop", "acme", "10.8.0.0/16", 5004),
    hosted("lab", "corp", "10.8.4.0/24", 5003),
    /subnet 10\.8\.[04]\.0\/(16|24) overlaps 10\.8\.[04]\.0\/(16|24) of network (shop|lab) of tenant (acme|corp), and hosts route both/,
  ],
};

for (const [name, [given, ...changes]] of Object.entries(contradictions)) {
  const [one, other, reason] = changes;
  for (const [early, late] of [
    [one, other],
    [other, one],
  ] as const)
    test(`two servers on one store: ${name}; first ${early.kind} ${early.value.name}`, async (t) => {
      const store = new MemoryStore();
      const first = await openAuthority(t, store);
      await first.administration.create([
        { kind: "tenant", value: { name: "acme", placement: "own" } },
        { kind: "tenant", value: { name: "corp", placement: "own" } },
        ...given,
      ]);
      let isMade = false;
      const hooked = withHooks(store, {
        watch: async () => {},
        // What the other server does has been judged by then.
        async transact() {
          if (isMade) return;
          isMade = true;
          await apply(first, early);
        },
      });
      const second = await openAuthority(t, hooked, first.clock);
      await assert.rejects(apply(second, late), (error) => {
        assert.match((error as Error).message, reason);
        return true;
      });
      assert.ok(isMade);
    });
}
