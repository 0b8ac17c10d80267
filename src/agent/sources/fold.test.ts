import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { cidr } from "../../base/cidr.ts";
import { ip } from "../../base/ip.ts";
import { mac } from "../../base/mac.ts";
import { DesiredNetwork } from "../../dataplane/desired.ts";
import type { RemoteEndpoint, Source } from "../../dataplane/index.ts";
import { Marked, networkSettings } from "../../testing/desired.ts";
import { Fold } from "./fold.ts";

const server: Source = { name: "server", node: "h1" };
const other: Source = { name: "static" };
const block = cidr("10.0.1.0/26");
let network: DesiredNetwork;
let fold: Fold;
let isDirect: boolean;

beforeEach(() => {
  network = new DesiredNetwork(networkSettings());
  isDirect = false;
  fold = new Fold(network, () => ({ isDirect, isFromLink: isDirect }));
});

function endpoint(source: Source, id: string, macNumber: number, last: number): RemoteEndpoint {
  const vtep = ip(source.name === "server" ? "192.0.2.11" : "192.0.2.12");
  return { id, mac: mac(`02:00:00:00:00:0${macNumber}`), ips: [ip(`10.0.0.${last}`)], vtep, source };
}

const blockOf = (source: Source) => ({ cidr: block, vtep: endpoint(source, "", 1, 1).vtep, source });
const holders = () => [...network.remotes.keys()].sort().join(" ");

for (const [what, rival] of [
  ["MAC address", endpoint(other, "s1", 1, 9)],
  ["IP address", endpoint(other, "s1", 9, 1)],
] as const)
  test(`of two sources that place the same ${what} the server is believed, whoever comes first, and the other later`, () => {
    for (const order of [
      [rival, endpoint(server, "e1", 1, 1)],
      [endpoint(server, "e1", 1, 1), rival],
    ]) {
      for (const each of order) fold.putEndpoint(each);
      assert.equal(holders(), "e1");
      assert.deepEqual([...fold.endpointsOf("static")], [rival]);
      fold.removeEndpoint("e1");
      assert.equal(holders(), "s1");
      fold.removeEndpoint("s1");
      assert.equal(holders(), "");
    }
  });

test("what waits is believed as soon as it contradicts nothing, and not once it is withdrawn", () => {
  fold.putEndpoint(endpoint(server, "e1", 1, 1));
  fold.putEndpoint(endpoint(other, "s1", 1, 9));
  fold.putEndpoint(endpoint(server, "e1", 2, 2));
  assert.equal(holders(), "e1 s1");
  fold.putEndpoint(endpoint(server, "e1", 1, 1));
  fold.removeEndpoint("s1");
  fold.removeEndpoint("e1");
  assert.equal(holders(), "");
});

test("a source contradicts itself for a moment: the next owner of a MAC address is told before the end of the last", () => {
  fold.putEndpoint(endpoint(server, "e1", 1, 1));
  fold.putEndpoint(endpoint(server, "e2", 1, 1));
  assert.equal(network.remotesByMac.get(mac("02:00:00:00:00:01"))?.id, "e2");
  fold.removeEndpoint("e1");
  assert.equal(holders(), "e2");
});

test("a block is where the most believed source says, and behind the other VTEP when that says so no more", () => {
  const place = () => network.blocks.get(block)?.source.name;
  fold.putBlock(blockOf(other));
  fold.putBlock(blockOf(server));
  fold.putBlock(blockOf(other));
  assert.equal(place(), "server");
  fold.removeBlock(block, "server");
  assert.equal(place(), "static");
  fold.putBlock(blockOf(server));
  fold.removeBlock(block, "static");
  assert.equal(place(), "server");
  fold.removeBlock(block, "server");
  assert.equal(place(), undefined);
});

test("blocks follow the ways of their network, and nothing is marked when it is told again", () => {
  fold.putBlock(blockOf(server));
  fold.putEndpoint(endpoint(server, "e1", 1, 1));
  const marked = new Marked(network);
  fold.putBlock(blockOf({ ...server }));
  fold.putEndpoint(endpoint({ ...server }, "e1", 1, 1));
  fold.waysChanged();
  assert.ok(marked.isEmpty);
  isDirect = true;
  fold.waysChanged();
  assert.deepEqual([...marked.blocks], [block]);
  assert.equal(network.blocks.get(block)?.isFromLink, true);
});
