import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { cidr } from "../../base/cidr.ts";
import { systemClock } from "../../base/clock.ts";
import { ip } from "../../base/ip.ts";
import {
  changeLink,
  createRule,
  deleteAddress,
  deleteLink,
  NetlinkSocket,
  replaceRoute,
  Watch,
} from "../../netlink/index.ts";
import { FakeKernel } from "../../testing/fake-kernel.ts";
import type { KernelNamespace } from "../kernel.ts";
import { routeMetric, weftProtocol } from "../kernel-names.ts";
import { Nftables } from "../nft/nftables.ts";
import { ForwardedDevices } from "./forwarded-devices.ts";
import { Uplink } from "./uplink.ts";

/** Counts what it hands on. */
class CountingWatch extends Watch {
  told = 0;

  override subscribe: Watch["subscribe"] = (kind, handler, key) =>
    super.subscribe(
      kind,
      (event) => {
        this.told++;
        handler(event);
      },
      key,
    );
}

function watchOf(kernel: FakeKernel): CountingWatch {
  return new CountingWatch({
    groups: [],
    open: ({ protocol }) => (protocol === undefined ? kernel : new FakeKernel()),
  });
}

/** How often somebody was called for a change of each kind on a host with so many uplinks. */
async function callsWith(tenants: number): Promise<number> {
  const kernel = new FakeKernel();
  const watch = watchOf(kernel);
  const namespace = { openChannel: () => new FakeKernel() } as Partial<KernelNamespace> as KernelNamespace;
  const nftables = new Nftables(namespace, watch);
  const side = { namespace, socket: new NetlinkSocket({ channel: new FakeKernel() }), nftables };
  const [report, onDamage] = [() => {}, () => {}];
  const underlay = {
    ...side,
    watch,
    forwarded: new ForwardedDevices({ underlay: side, watch, clock: systemClock, report, onDamage }),
  };
  for (let number = 0; number < tenants; number++)
    new Uplink({
      clock: systemClock,
      ...side,
      instance: "weft",
      tenant: `t${number}`,
      watch: watchOf(new FakeKernel()),
      underlay,
      report,
      onDamage,
    });
  const nexthops = [{ index: 2 }];
  kernel.publish(
    changeLink({ index: 2 }, { mtu: 1400 }),
    deleteLink({ index: 3 }),
    deleteAddress({ index: 2, address: ip("192.0.2.1"), prefixLength: 24 }),
    createRule({ family: 4, table: 100, priority: 5, protocol: 3 }),
    replaceRoute({ destination: cidr("0.0.0.0/0"), protocol: 4, nexthops }),
    replaceRoute({ destination: cidr("198.51.100.0/24"), protocol: 4, nexthops }),
    replaceRoute({
      destination: cidr("10.0.0.0/24"),
      protocol: weftProtocol,
      priority: routeMetric({ instance: "weft", tenant: "t0" }),
      nexthops,
    }),
  );
  await turn();
  return watch.told;
}

test("a change on the host costs the same however many tenants have an uplink", async () => {
  const withOne = await callsWith(1);
  assert.ok(withOne > 0);
  assert.equal(await callsWith(500), withOne);
});
