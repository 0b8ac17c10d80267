import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { cidr } from "../../base/cidr.ts";
import { systemClock } from "../../base/clock.ts";
import { SystemError } from "../../linux/index.ts";
import {
  changeLink,
  createRule,
  deleteRule,
  type NetlinkSocket,
  type Query,
  replaceRoute,
  routeType,
  Watch,
} from "../../netlink/index.ts";
import { FakeKernel, type FakeMessage } from "../../testing/fake-kernel.ts";
import { FakeNft } from "../../testing/kernel/nft.ts";
import type { KernelNamespace } from "../kernel.ts";
import { Nftables } from "../nft/nftables.ts";
import { ForwardedDevices } from "./forwarded-devices.ts";

/** A host that is no router, with eth0 (2) that has its default route, and eth1 (3). */
function host() {
  const kernel = new FakeKernel();
  const watch = new Watch({ groups: [], open: ({ protocol }) => (protocol === undefined ? kernel : new FakeKernel()) });
  const route = { destination: cidr("0.0.0.0/0"), table: 254, type: routeType.unicast, protocol: 4 };
  const tables: Record<string, readonly object[]> = {
    "list links": [2, 3].map((index) => ({ index, name: `eth${index - 2}`, group: 0, info: {} })),
    "list routes": [{ ...route, nexthops: [{ index: 2 }] }],
    "list IPv4 rules": [{ table: 254 }],
    "list IPv6 rules": [{ table: 254 }],
  };
  const looks: string[] = [];
  let refusal: Error | undefined;
  const socket = {
    dump: async (query: Query<unknown>) => {
      looks.push(query.describe());
      if (refusal !== undefined) throw refusal;
      return tables[query.describe()];
    },
  } as NetlinkSocket;
  const sysctls = new Map([
    ["ipv4/ip_forward", "0"],
    ["ipv4/conf/eth0/forwarding", "0"],
    ["ipv4/conf/default/forwarding", "0"],
  ]);
  const nft = new FakeNft(() => {});
  const namespace = {
    readSysctl: (key: string) => sysctls.get(key),
    writeSysctl: (key: string, value: string) => void sysctls.set(key, value),
    openChannel: () => new FakeKernel({ handlers: [nft.handlerOf(1)] }),
    nft: async (_attempted: string, parameters: readonly string[], input: string) => nft.run(parameters, input),
  } as Partial<KernelNamespace> as KernelNamespace;
  let damages = 0;
  const devices = new ForwardedDevices({
    underlay: { namespace, socket, nftables: new Nftables(namespace, watch) },
    watch,
    clock: systemClock,
    report: () => {},
    onDamage: () => damages++,
  });
  return {
    kernel,
    devices,
    looks,
    sysctls,
    refuse: (error: Error | undefined) => {
      refusal = error;
    },
    damages: () => damages,
    defaultBy: (index: number) => replaceRoute({ ...route, nexthops: [{ index }] }),
  };
}

const ipv4 = { families: [4], direct: [] } as const;

test("looks once for all tenants that need the same", async () => {
  const { devices, looks, sysctls } = host();
  await devices.provide("blue", ipv4);
  assert.equal(sysctls.get("ipv4/conf/eth0/forwarding"), "1");
  assert.ok(looks.length > 0);
  looks.length = 0;
  await Promise.all([devices.provide("blue", ipv4), devices.provide("red", { families: [], direct: [] })]);
  assert.deepEqual(
    looks.filter((what) => what === "list routes"),
    ["list routes"],
  );
  assert.equal(devices.hasWork, false);
});

test("hears of what may change where packets come in, and of nothing else", async () => {
  const { kernel, devices, damages, defaultBy } = host();
  const rule = { family: 4, table: 100, priority: 5, protocol: 3 } as const;
  const hears = async (event: FakeMessage): Promise<boolean> => {
    await devices.provide("blue", ipv4);
    const before = damages();
    kernel.publish(event);
    await turn();
    assert.equal(devices.hasWork, damages() > before);
    return devices.hasWork;
  };
  assert.equal(await hears(createRule(rule)), true);
  assert.equal(await hears(deleteRule(rule)), false);
  assert.equal(await hears(defaultBy(2)), false);
  assert.equal(await hears(defaultBy(3)), true);
  assert.equal(await hears(changeLink({ index: 3 }, {})), false);
  assert.equal(devices.deviceEvents, 0);
  assert.equal(await hears(changeLink({ index: 2 }, {})), true);
  assert.equal(devices.deviceEvents, 1);
});

test("what failed is tried again; what no tenant needs is no work", async () => {
  const { kernel, devices, refuse, damages } = host();
  refuse(new SystemError({ operation: "list links", errno: 12 }));
  await assert.rejects(devices.provide("blue", ipv4), /list links/);
  assert.equal(devices.hasWork, true);
  refuse(undefined);
  await devices.provide("blue", ipv4);
  assert.equal(devices.hasWork, false);
  devices.forget("blue");
  kernel.publishOverrun();
  kernel.publish(changeLink({ index: 2 }, {}));
  await turn();
  assert.deepEqual([devices.hasWork, damages(), devices.deviceEvents], [false, 0, 0]);
});
