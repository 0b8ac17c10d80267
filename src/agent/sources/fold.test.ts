import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import fc from "fast-check";
import { cidr } from "../../base/cidr.ts";
import { ip } from "../../base/ip.ts";
import { mac } from "../../base/mac.ts";
import { DesiredNetwork } from "../../dataplane/desired.ts";
import type { RemoteEndpoint, RemotePlace, Source } from "../../dataplane/index.ts";
import { Marked, networkSettings } from "../../testing/desired.ts";
import { type EndpointWord, Fold } from "./fold.ts";

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

function macFromNumber(number: number): RemoteEndpoint["mac"] {
  const digits = number.toString(16).padStart(10, "0");
  return mac(`02:${digits.match(/../g)?.join(":")}`);
}

const blockOf = (source: Source) => ({ cidr: block, vtep: endpoint(source, "", 1, 1).vtep, source });
const holders = () =>
  [...network.remotes.values()]
    .map(({ id }) => id)
    .sort()
    .join(" ");

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
      fold.removeEndpoint("e1", "server");
      assert.equal(holders(), "s1");
      fold.removeEndpoint("s1", "static");
      assert.equal(holders(), "");
    }
  });

test("what waits is believed as soon as it contradicts nothing, and not once it is withdrawn", () => {
  fold.putEndpoint(endpoint(server, "e1", 1, 1));
  fold.putEndpoint(endpoint(other, "s1", 1, 9));
  fold.putEndpoint(endpoint(server, "e1", 2, 2));
  assert.equal(holders(), "e1 s1");
  fold.putEndpoint(endpoint(server, "e1", 1, 1));
  fold.removeEndpoint("s1", "static");
  fold.removeEndpoint("e1", "server");
  assert.equal(holders(), "");
});

test("what the server places on this node holds against other sources, also when it comes later", () => {
  const here: EndpointWord = { ...endpoint(server, "e1", 1, 1), vtep: undefined };
  fold.putEndpoint(endpoint(other, "s1", 1, 9));
  fold.putEndpoint(endpoint(other, "s2", 9, 1));
  fold.putEndpoint(here);
  assert.equal(holders(), "");
  fold.putEndpoint(endpoint(other, "s1", 1, 9));
  assert.equal(holders(), "");
  fold.putEndpoint({ ...here, ips: [] });
  assert.equal(holders(), "s2");
  fold.putEndpoint(endpoint(server, "e1", 1, 2));
  assert.equal(holders(), "e1 s2");
  fold.putEndpoint(here);
  fold.removeEndpoint("e1", "server");
  assert.equal(holders(), "s1 s2");
});

for (const isShared of [false, true])
  test(`of any sequence of words${isShared ? ", also of the same endpoints," : ""} those are believed that the server does not contradict`, () => {
    const number = fc.integer({ min: 1, max: 3 });
    const kind = fc.constantFrom("elsewhere" as const, "here" as const, "gone" as const);
    const step = fc.tuple(kind, fc.constantFrom(server, other), number, number, number);
    const isAlike = (a: EndpointWord, b: EndpointWord): boolean =>
      a.id === b.id || a.mac === b.mac || a.ips[0] === b.ips[0];
    fc.assert(
      fc.property(fc.array(step, { maxLength: 20 }), (sequence) => {
        network = new DesiredNetwork(networkSettings());
        fold = new Fold(network, () => ({ isDirect: false, isFromLink: false }));
        const said = new Map<string, { readonly word: RemoteEndpoint; readonly isHere: boolean }>();
        for (const [what, source, id, ...addresses] of sequence) {
          const word = endpoint(source, isShared ? `e${id}` : `${source.name}${id}`, ...addresses);
          // But for the moment of a change, a source speaks of a MAC or address once.
          const ended = [...said.values()].filter(({ word: old }) => old.source === source && isAlike(old, word));
          for (const { id: last } of [word, ...(what === "gone" ? [] : ended.map(({ word: old }) => old))]) {
            if (last === word.id && what !== "gone") continue;
            fold.removeEndpoint(last, source.name);
            said.delete(`${source.name} ${last}`);
          }
          if (what === "gone") continue;
          fold.putEndpoint(what === "here" ? { ...word, vtep: undefined } : word);
          said.set(`${source.name} ${word.id}`, { word, isHere: what === "here" });
        }
        const all = [...said.values()];
        const believed = all.filter(
          ({ word, isHere }) => !isHere && all.every((each) => !isFirst(each.word, word) || !isAlike(each.word, word)),
        );
        const told = ({ id, source: { name } }: RemoteEndpoint): string => `${name} ${id}`;
        assert.deepEqual([...network.remotes.values()].map(told).sort(), believed.map(({ word }) => told(word)).sort());
      }),
    );
  });

test("a source takes back its own word alone", () => {
  fold.putEndpoint(endpoint(server, "e1", 1, 1));
  fold.removeEndpoint("e1", "static");
  assert.equal(holders(), "e1");
  // The same endpoint, as two sources say.
  const otherwise = endpoint(other, "e1", 2, 2);
  fold.putEndpoint(otherwise);
  assert.equal(network.remote("e1")?.source, server);
  assert.deepEqual([...fold.endpointsOf("static")], [otherwise]);
  fold.removeEndpoint("e1", "server");
  assert.deepEqual(network.remote("e1"), otherwise);
  fold.putEndpoint({ ...endpoint(server, "e1", 1, 1), vtep: undefined });
  fold.removeEndpoint("e1", "static");
  fold.putEndpoint(endpoint(other, "s1", 1, 9));
  assert.equal(holders(), "", "the server's word, that it is here, holds");
});

test("VTEPs that a source lists are beside those of others, and replaced by its own next list alone", () => {
  const place = (source: Source, last: number): RemotePlace => ({ vtep: ip(`192.0.2.${last}`), source });
  fold.setListed("static", [place(other, 21), place(other, 22)]);
  fold.setListed("server", [place(server, 22), place(server, 23)]);
  const listed = (): string[] => [...network.listed].map((vtep) => vtep.replace("192.0.2.", "")).sort();
  assert.deepEqual(listed(), ["21", "22", "23"]);
  fold.setListed("static", []);
  assert.deepEqual(listed(), ["22", "23"]);
  fold.setListed("static", [place(other, 24)]);
  fold.setListed("server", []);
  assert.deepEqual(listed(), ["24"]);
  network = new DesiredNetwork(networkSettings());
  fold.moveTo(network);
  assert.deepEqual(listed(), ["24"], "a network that is made anew has what it had");
});

/** Whether the first is the server's word and the second another's. */
function isFirst(a: EndpointWord, b: EndpointWord): boolean {
  return a.source === server && b.source !== server;
}

test("a change costs the same however many are not believed", () => {
  const count = 20_000;
  const many = (source: Source, prefix: string) =>
    Array.from({ length: count }, (_, n) => ({
      ...endpoint(source, `${prefix}${n}`, 1, 1),
      mac: macFromNumber(n),
      ips: [],
    }));
  for (const each of many(server, "e")) fold.putEndpoint(each);
  for (const each of many(other, "s")) fold.putEndpoint(each);
  assert.equal(network.remotes.size, count);
  for (const { id } of many(server, "e")) fold.removeEndpoint(id, "server");
  assert.ok([...network.remotes.values()].every(({ id }) => id.startsWith("s")));
  assert.equal(network.remotes.size, count);
});

test("a source contradicts itself for a moment: the next owner of a MAC address is told before the end of the last", () => {
  fold.putEndpoint(endpoint(server, "e1", 1, 1));
  fold.putEndpoint(endpoint(server, "e2", 1, 1));
  assert.equal(network.remotesByMac.get(mac("02:00:00:00:00:01"))?.id, "e2");
  fold.removeEndpoint("e1", "server");
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
  fold.putBlock({ cidr: block, source: server, vtep: undefined });
  assert.equal(place(), undefined, "it is here");
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
