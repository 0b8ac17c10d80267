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
  return { state: { network, effectiveMtu: 1450, change: undefined }, told: new Set() };
}

interface Scene {
  /** Parts of each network. */
  readonly count: number;
  /** The number of the one that never comes. */
  readonly lost?: number;
  /** Changes in each part. */
  readonly size?: number;
}

/** A server with networks in parts. */
function scene({ count, lost, size = 0 }: Scene) {
  const seen: string[] = [];
  const followed = new Set<FollowingNetwork>();
  const asked = new Map<string, number>();
  const parts = new NetworkParts({
    next: async (name) => {
      const number = (asked.get(name) ?? 0) + 1;
      asked.set(name, number);
      await turn();
      if (number === lost) throw new Error("lost");
      const changes = Array.from({ length: size }, () => ({ kind: "network-removed", name }) as const);
      return { changes, complete: number === count };
    },
    isFollowing: (network) => followed.has(network),
    onSlice: ({ state }, { length }, isLast) =>
      seen.push(`${state.network.name}${length > 0 ? ` ${length}` : ""}${isLast ? ", all" : ""}`),
    onLost: (name) => seen.push(`${name} lost`),
  });
  const ended = async (): Promise<void> => {
    for (let turns = 0; turns < 50; turns++) await turn();
  };
  return { parts, followed, asked, seen, ended };
}

test("gets parts one after the other until the last, of each network once", async () => {
  const { parts, followed, asked, seen, ended } = scene({ count: 3 });
  const network = following("a");
  followed.add(network);
  parts.follow([network]);
  parts.follow([network]);
  await ended();
  assert.deepEqual(seen, ["a", "a", "a, all"]);
  assert.equal(asked.get("a"), 3);
});

test("acts on a part by slices, and lets others come between them", async () => {
  const { parts, followed, seen, ended } = scene({ count: 2, size: 1_200 });
  const network = following("a");
  followed.add(network);
  parts.follow([network]);
  while (seen.length === 0) await turn();
  assert.equal(seen.length, 1, "this turn is somebody else's");
  await ended();
  assert.deepEqual(seen, ["a 500", "a 500", "a 200", "a 500", "a 500", "a 200, all"]);
});

test("a part that is lost is told once, and ends it", async () => {
  const { parts, followed, seen, ended } = scene({ count: 3, lost: 2 });
  const network = following("a");
  followed.add(network);
  parts.follow([network]);
  await ended();
  assert.deepEqual(seen, ["a", "a lost"]);
});

test("a network that is not wanted any more gets none, though it may be asked for anew", async () => {
  const { parts, followed, seen, ended } = scene({ count: 1_000, lost: 20 });
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
