import assert from "node:assert/strict";
import { test } from "node:test";
import type { DataplaneEvent } from "../report.ts";
import { ReceiveBacklog } from "./receive-backlog.ts";

test("a bridge with many ports has the backlog raised, once, and never lowered", () => {
  let value = "1000";
  const written: [string, string][] = [];
  const kernel = {
    readMachineSysctl: () => value,
    writeMachineSysctl: (key: string, wanted: string) => {
      value = wanted;
      written.push([key, wanted]);
    },
  };
  const events: DataplaneEvent[] = [];
  const backlog = new ReceiveBacklog("web", kernel, (event) => events.push(event));
  backlog.ensure(249);
  assert.deepEqual(written, []);
  backlog.ensure(250);
  backlog.ensure(251);
  assert.deepEqual(written, [["core/netdev_max_backlog", "4096"]]);
  assert.deepEqual(
    events.map(({ level }) => level),
    ["info"],
  );
  value = "8192";
  backlog.ensure(1_020);
  assert.equal(value, "8192");
});

test("where it cannot be raised, that is told once, with what to do", () => {
  const kernel = {
    readMachineSysctl: () => undefined,
    writeMachineSysctl: () => {
      throw new Error("ENOENT");
    },
  };
  const events: DataplaneEvent[] = [];
  const backlog = new ReceiveBacklog("web", kernel, (event) => events.push(event));
  backlog.ensure(300);
  backlog.ensure(301);
  assert.equal(events.length, 1);
  assert.equal(events[0]?.level, "warning");
  assert.match(
    events[0]?.message ?? "",
    /could not be raised to 4096 \(ENOENT.*sysctl -w net\.core\.netdev_max_backlog=4096/,
  );
});
