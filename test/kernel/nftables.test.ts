import assert from "node:assert/strict";
import { it } from "node:test";
import type { KernelNamespace } from "../../src/dataplane/kernel.ts";
import { Nftables } from "../../src/dataplane/nft/nftables.ts";
import type { NftTable } from "../../src/dataplane/nft/table.ts";
import * as nft from "../../src/dataplane/nft/words.ts";
import { nftField, Watch } from "../../src/netlink/index.ts";
import { requires } from "../support/kernel.ts";
import { testNamespace } from "../support/namespaces.ts";
import { eventually } from "../support/underlay.ts";

const { ipv4_addr, inet_service } = nftField;

function table(prefixes: readonly string[], ports: readonly number[], protocols = [4, 41]): NftTable {
  return {
    family: "inet",
    name: "probe",
    sets: [nft.rangeSet("prefixes", ipv4_addr, prefixes), nft.set("ports", inet_service, ports)],
    rules: [
      nft.chain("output", { type: "filter", hook: "output", prio: 0 }),
      nft.rule("output", nft.destination(4, "@prefixes"), { counter: null }),
      nft.rule("output", nft.protocolIn(...protocols), nft.drop),
    ],
  };
}

it("changes a table as far as it differs, and no more", requires("nft-inet"), async () => {
  using place = testNamespace("nft");
  place.shell("ip link set lo up");
  const missing = nft.set("missing", inet_service, []);
  let runs = 0;
  const kernel: KernelNamespace = {
    ...place.kernel,
    nft: (...parameters) => {
      runs++;
      return place.kernel.nft(...parameters);
    },
  };
  using watch = new Watch({ groups: [], open: (options) => place.kernel.openChannel(options) });
  const nftables = new Nftables(kernel, watch);
  const told: string[] = [];
  nftables.onChange("probe", () => told.push("probe"));
  let before = table(["127.0.0.0/8", "192.0.2.1"], [4789]);
  assert.equal(await nftables.ensure(before), true);
  assert.equal(runs, 1);
  assert.equal(await nftables.ensure(before), false);
  place.shell("ping -c1 127.0.0.1");
  const counted = /daddr @prefixes counter packets [1-9]/;
  assert.match(place.shell("nft list table inet probe"), counted);
  await eventually("nft's own changes are told", () => told.length > 0);
  told.length = 0;
  // Elements come and go, prefixes that overlap those before among them; what was counted stays, and nft does not run.
  for (const [prefixes, ports] of [
    [["127.0.0.0/8"], [8472, 4789]],
    [["127.0.0.0/9", "127.128.0.0/9", "198.51.100.0/24"], [8472]],
    [["127.0.0.0/8", "198.51.100.7"], []],
    [["127.0.0.0/8"], Array.from({ length: 2500 }, (_, index) => index + 1)],
  ] as const) {
    const wanted = table(prefixes, ports);
    runs = 0;
    assert.equal(await nftables.ensure(wanted, before), true);
    assert.equal(await nftables.ensure(wanted, wanted), false);
    assert.equal(runs, 0);
    before = wanted;
    assert.equal(await nftables.ensure(wanted), false);
    assert.match(place.shell("nft list table inet probe"), counted);
    const contents = await nftables.contents("inet", "probe", [nft.set("ports", inet_service, []), missing]);
    assert.deepEqual([...(contents?.keys() ?? [])], ["ports"]);
    assert.deepEqual(
      contents?.get("ports")?.map(Number),
      [...ports].sort((a, b) => a - b),
    );
  }
  // Others' rules, chains and sets go; a set that is made in another way takes the whole table.
  for (const damage of [
    "nft insert rule inet probe output counter",
    "nft add chain inet probe more; nft add rule inet probe output jump more",
    "nft add set inet probe more '{ type inet_service; }'",
    "nft flush table inet probe; nft delete set inet probe ports; nft add set inet probe ports '{ type ether_addr; }'",
    "nft delete element inet probe prefixes '{ 127.0.0.0/8 }'",
  ]) {
    place.shell(damage);
    await eventually("it is told", () => told.length > 0);
    assert.equal(await nftables.ensure(before), true, damage);
    assert.equal(await nftables.ensure(before), false, damage);
    assert.doesNotMatch(place.shell("nft list table inet probe"), /more/);
    told.length = 0;
  }
  assert.equal(await nftables.ensure(table([], [], [4, 47]), before), true);
  assert.equal(await nftables.ensure(table([], [], [4, 47])), false);
  assert.doesNotMatch(place.shell("nft list table inet probe"), counted);
  assert.deepEqual(await nftables.tables("inet"), ["probe"]);
  assert.equal(await nftables.remove("inet", "probe"), true);
  assert.equal(await nftables.remove("inet", "probe"), false);
  assert.equal(await nftables.contents("inet", "probe", [missing]), undefined);
  nftables.close();
});

it("knows its rules in another form of nft's, and damage in that form", requires("nft-inet"), async () => {
  using place = testNamespace("nft");
  const kernel: KernelNamespace = {
    ...place.kernel,
    nft: async (...parameters) => (await place.kernel.nft(...parameters)).replaceAll('"op": "=="', '"op": "eq"'),
  };
  using watch = new Watch({ groups: [], open: (options) => place.kernel.openChannel(options) });
  const nftables = new Nftables(kernel, watch);
  const wanted = table([], []);
  assert.equal(await nftables.ensure(wanted), true);
  // Written once more, which changes nothing.
  assert.equal(await nftables.ensure(wanted), false);
  const { writes } = nftables;
  assert.equal(await nftables.ensure(wanted), false);
  assert.equal(nftables.writes, writes);
  place.shell("nft insert rule inet probe output counter");
  assert.equal(await nftables.ensure(wanted), true);
  assert.equal(await nftables.ensure(wanted), false);
  assert.equal(nftables.writes, writes + 1);
  nftables.close();
});
