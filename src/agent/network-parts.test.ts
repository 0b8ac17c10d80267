import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { unwrap } from "../base/result.ts";
import type { Vni } from "../model/resources.ts";
import { parseNetwork } from "../model/schema.ts";
import type { FollowingNetwork } from "./incoming-state.ts";
import { NetworkParts } from "./network-parts.ts";

function following(name: string): FollowingNetwork {
  const network = unwrap(parseNetwork({ name, tenant: "acme", vni: 9 as Vni, subnets: ["10.0.0.0/8"] }));
  return { state: { network, effectiveMtu: 1450, placement: "own", change: undefined }, told: new Set() };
}

/** A server that has so many parts of each network; `lost`: the number of the one that never comes. */
function scene(count: number, lost = Number.POSITIVE_INFINITY) {
  const seen: string[] = [];
  const followed = new Set<FollowingNetwork>();
  const asked = new Map<string, number>();
  const parts = new NetworkParts({
    next: async (name) => {
      const number = (asked.get(name) ?? 0) + 1;
      asked.set(name, number);
      await turn();
      if (number === lost) throw new Error("lost");
      return { changes: [], complete: number === count };
    },
    isFollowing: (network) => followed.has(network),
    onPart: ({ state }, _changes, complete) => seen.push(`${state.network.name}${complete ? ", all" : ""}`),
    onLost: (name) => seen.push(`${name} lost`),
  });
  const ended = async (): Promise<void> => {
    for (let turns = 0; turns < 50; turns++) await turn();
  };
  return { parts, followed, asked, seen, ended };
}

test("gets parts one after the other until the last, of each network once", async () => {
  const { parts, followed, asked, seen, ended } = scene(3);
  const network = following("a");
  followed.add(network);
  parts.follow([network]);
  parts.follow([network]);
  await ended();
  assert.deepEqual(seen, ["a", "a", "a, all"]);
  assert.equal(asked.get("a"), 3);
});

test("a part that is lost is told once, and ends it", async () => {
  const { parts, followed, seen, ended } = scene(3, 2);
  const network = following("a");
  followed.add(network);
  parts.follow([network]);
  await ended();
  assert.deepEqual(seen, ["a", "a lost"]);
});

test("a network that is not wanted any more gets none, though it may be asked for anew", async () => {
  const { parts, followed, seen, ended } = scene(1_000, 20);
  const [first, second] = [following("a"), following("a")];
  followed.add(first);
  parts.follow([first]);
  while (seen.length < 2) await turn();
  followed.delete(first);
  const before = seen.length;
  await ended();
  assert.equal(seen.length, before);
  followed.add(second);
  parts.follow([second]);
  await ended();
  assert.ok(seen.length > before && seen.at(-1) === "a lost");
});
