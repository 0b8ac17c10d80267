import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { cidr } from "../../base/cidr.ts";
import { ip } from "../../base/ip.ts";
import { deleteRoute, NetlinkSocket, replaceRoute, Watch } from "../../netlink/index.ts";
import { FakeKernel } from "../../testing/fake-kernel.ts";
import { VtepRoutes } from "./vtep-paths.ts";

test("asks anew after a route that leads to a known VTEP has changed, and after no other", async () => {
  const kernel = new FakeKernel();
  const watch = new Watch({ groups: ["route"], open: (options) => (options.protocol ? new FakeKernel() : kernel) });
  let changes = 0;
  // It knows no route: every VTEP is elsewhere.
  const ENETUNREACH = 101;
  const refusing = new FakeKernel({ handlers: [() => ({ errno: ENETUNREACH })] });
  const routes = new VtepRoutes(watch, new NetlinkSocket({ channel: refusing }), () => changes++);
  const vteps = ["192.0.2.1", "192.0.2.9", "198.51.100.7", "2001:db8::1"].map(ip);
  const told = async (destination: string, isGone = false): Promise<boolean> => {
    await routes.paths(vteps);
    const before = changes;
    const route = { destination: cidr(destination), protocol: 4, nexthops: [{ index: 2 }] };
    kernel.publish(isGone ? deleteRoute(route) : replaceRoute(route));
    await turn();
    return changes > before;
  };
  const outcomes: Record<string, boolean> = {};
  for (const destination of [
    "0.0.0.0/0",
    "192.0.2.0/24",
    "192.0.2.8/29",
    "192.0.2.9/32",
    "198.51.100.7/32",
    "2001:db8::/32",
    "::/0",
    "10.0.0.0/8",
    "192.0.2.2/31",
    "198.51.100.8/32",
    "203.0.113.0/24",
    "2001:db8::2/128",
  ])
    outcomes[destination] = await told(destination);
  const expected = Object.keys(outcomes).map((destination, index) => [destination, index < 7]);
  assert.deepEqual(outcomes, Object.fromEntries(expected));
  assert.ok(await told("192.0.2.0/24", true));
});
