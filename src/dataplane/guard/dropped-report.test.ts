import assert from "node:assert/strict";
import { test } from "node:test";
import { DroppedReport } from "./dropped-report.ts";

test("tells what was dropped since it was told last, and forgets who is gone", () => {
  const told: string[] = [];
  const report = new DroppedReport(({ object, message }) => told.push(`${object.key}: ${message}`));
  const endpoint = (key: string) => ({ kind: "endpoint", network: "web", key });
  report.tell([
    [endpoint("a"), { mac: 3, storm: 1 }],
    [endpoint("b"), {}],
  ]);
  report.tell([[endpoint("a"), { mac: 3, storm: 1 }]]);
  report.tell([[endpoint("a"), { mac: 5, storm: 1 }]]);
  report.tell([]);
  report.tell([[endpoint("a"), { arp: 2 }]]);
  assert.deepEqual(told, [
    "a: 3 frames with a MAC address that is not its own, 1 frames to groups, more than the network's limit",
    "a: 2 frames with a MAC address that is not its own",
    "a: 2 frames of ARP in another's name",
  ]);
});
