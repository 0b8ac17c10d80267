import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { NetworkReadinessSchema } from "../api/generated/weft/v1/readiness_pb.js";
import { readinessFields, readinessLines } from "./readiness.ts";

const since = BigInt(Date.UTC(2026, 10, 26, 16, 2, 11));

function shown(message: Parameters<typeof create<typeof NetworkReadinessSchema>>[1]): string[] {
  const lines = readinessLines(readinessFields(create(NetworkReadinessSchema, message)));
  return lines.flatMap(([label, text]) => (text === undefined ? [] : [`${label}: ${[text].flat().join(" | ")}`]));
}

test("what is in place is said in a line when all is well", () => {
  assert.deepEqual(shown({ nodes: 3, inPlace: 3 }), ["in place: on 3 of 3 nodes"]);
  assert.deepEqual(shown({}), ["in place: no node hosts it"]);
  assert.deepEqual(readinessLines(undefined), []);
});

test("whom the last change left behind is named after its end", () => {
  assert.deepEqual(shown({ nodes: 3, inPlace: 3, leftBehind: ["n17"] }), [
    "in place: on 3 of 3 nodes",
    "left behind: n17",
  ]);
});

test("those behind are named with since when and why, the phase with whom it left behind", () => {
  assert.deepEqual(
    shown({
      nodes: 5_000,
      inPlace: 4_998,
      behind: [{ node: "n17", connected: true, since, reason: "rows of network web: ENOBUFS" }],
      failing: [{ node: "n3", connected: true, since, reason: "endpoint 5f0c of network web: the namespace is gone" }],
      failingNodes: 1,
      change: {
        phase: "send",
        since,
        previous: [{ encapsulation: "vxlan", port: 4789 }],
        mtu: 1450,
        leftBehind: ["n17"],
      },
    }),
    [
      "in place: on 4998 of 5000 nodes",
      "behind: n17 since 2026-11-26T16:02:11.000Z: rows of network web: ENOBUFS | and 1 more",
      "problems: n3 since 2026-11-26T16:02:11.000Z: endpoint 5f0c of network web: the namespace is gone",
      "changing: sends on the new way, receives on all, since 2026-11-26T16:02:11.000Z",
      "left behind: n17",
    ],
  );
});
