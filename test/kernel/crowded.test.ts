/** A node whose bridge has nearly all the ports that Linux allows. */
import { readFileSync, writeFileSync } from "node:fs";
import { after, before, describe, it } from "node:test";
import { systemClock } from "../../src/base/clock.ts";
import { type IpAddress, ip } from "../../src/base/ip.ts";
import { type MacAddress, mac } from "../../src/base/mac.ts";
import { NodeDataplane } from "../../src/dataplane/index.ts";
import { linuxKernel } from "../../src/dataplane/linux-kernel.ts";
import { deleteNamedNamespace } from "../../src/linux/index.ts";
import type { Vni } from "../../src/model/index.ts";
import { networkSettings, placeIn } from "../../src/testing/desired.ts";
import { fileRequires } from "../support/kernel.ts";
import { type TestNamespace, testNamespace } from "../support/namespaces.ts";
import { eventually, makeUnderlay, type Underlay } from "../support/underlay.ts";

await fileRequires("nft-inet", "quick processes");

/** A bridge takes 1,023 ports, one of which is the tunnel. */
const count = 1_020;
const vni = 4243 as Vni;
const hex = (number: number): string => number.toString(16).padStart(4, "0");
const macOf = (number: number): MacAddress => mac(`02:ab:00:00:${hex(number).slice(0, 2)}:${hex(number).slice(2)}`);
const ipOf = (number: number): IpAddress => ip(`10.0.${number >> 8}.${number & 255}`);
const ip6Of = (number: number): IpAddress => ip(`fd00::${number.toString(16)}`);

describe("1,020 endpoints of a network on one node", () => {
  let underlay: Underlay;
  let dataplane: NodeDataplane;
  const tenant = `t${process.pid}c-blue`;
  const places: TestNamespace[] = [];
  // A setting of the whole machine, which the dataplane raises.
  const backlog = "/proc/sys/net/core/netdev_max_backlog";
  const backlogBefore = readFileSync(backlog, "utf8");

  before(async () => {
    underlay = makeUnderlay(1);
    for (const name of ["first", "crowd", "last"]) places.push(testNamespace(name));
    dataplane = new NodeDataplane({
      kernel: linuxKernel,
      instance: `t${process.pid}c`,
      underlay: (underlay.hosts[0] as TestNamespace).kernel,
      clock: systemClock,
      report: () => {},
    });
    await dataplane.setUnderlay([ip("10.99.0.1")], undefined);
    const network = dataplane.putNetwork(networkSettings({ vni, localVtep: ip("10.99.0.1") }));
    for (let number = 1; number <= count; number++) {
      const place = places[number === 1 ? 0 : number === count ? 2 : 1] as TestNamespace;
      network.putLocal({
        id: `00000000${hex(number)}`,
        mac: macOf(number),
        addresses: [
          { address: ipOf(number), prefixLength: 16 },
          { address: ip6Of(number), prefixLength: 64 },
        ],
        place: placeIn(`/run/netns/${place.name}`, number === 1 || number === count ? "eth0" : `e${number}`),
      });
    }
    await dataplane.start();
    await eventually("all ports are there", () => dataplane.inSync);
  });

  after(async () => {
    writeFileSync(backlog, backlogBefore);
    await dataplane.close();
    deleteNamedNamespace(tenant);
    for (const place of places) place[Symbol.dispose]();
    underlay[Symbol.dispose]();
  });

  it("the newest reaches the oldest, and the oldest the newest", () => {
    for (const [from, to] of [
      [places[2], 1],
      [places[0], count],
    ] as const) {
      (from as TestNamespace).shell(`ping -c 1 -w 20 ${ipOf(to)}; ping -6 -c 1 -w 20 ${ip6Of(to)}`);
    }
  });
});
