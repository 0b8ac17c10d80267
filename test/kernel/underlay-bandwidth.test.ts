/** What networks of one node have of the underlay while one of them sends all that it can. */
import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import { after, before, describe, it } from "node:test";
import { setTimeout } from "node:timers/promises";
import { systemClock } from "../../src/base/clock.ts";
import { ip } from "../../src/base/ip.ts";
import { mac } from "../../src/base/mac.ts";
import { NodeDataplane } from "../../src/dataplane/index.ts";
import { linuxKernel } from "../../src/dataplane/linux-kernel.ts";
import { deleteNamedNamespace } from "../../src/linux/index.ts";
import type { Bandwidth, Rate, Vni } from "../../src/model/index.ts";
import { networkSettings, placeIn } from "../../src/testing/desired.ts";
import { fileRequires } from "../support/kernel.ts";
import { type TestNamespace, testNamespace } from "../support/namespaces.ts";
import { eventually, makeUnderlay, settled, type Underlay } from "../support/underlay.ts";

await fileRequires("vxlan", "nft-inet", "quick processes");

const tenants = ["blue", "red"] as const;
type Tenant = (typeof tenants)[number];
const vnis = { blue: 4261 as Vni, red: 4262 as Vni };
const instanceOf = (node: number): string => `t${process.pid}s${node}`;
const rate = (of: string): Rate => of as Rate;
const whole = 40e6;

/** Sends datagrams without end, 100 at a time. */
const udpFlood = `
const socket = require("dgram").createSocket("udp4");
socket.on("error", () => {});
const go = () => { for (let each = 100; each > 0; each--) socket.send(Buffer.alloc(1300), 5003, process.argv[1]); setTimeout(go, 5); };
go();`;

describe("bandwidth of the underlay", () => {
  let underlay: Underlay;
  const dataplanes = new Map<number, NodeDataplane>();
  const places = new Map<string, TestNamespace>();
  const place = (tenant: Tenant, node: number): TestNamespace => places.get(`${tenant}${node}`) as TestNamespace;
  const host = (node: number): TestNamespace => underlay.hosts[node - 1] as TestNamespace;

  /** Of both tenants, with the same addresses. What the first node sends is shared, if there is a rate. */
  const start = async (node: number, underlayBandwidth: Rate | undefined, blue?: Bandwidth): Promise<NodeDataplane> => {
    const dataplane = new NodeDataplane({
      kernel: linuxKernel,
      instance: instanceOf(node),
      underlay: host(node).kernel,
      clock: systemClock,
      report: () => {},
      ...(underlayBandwidth === undefined ? {} : { underlayBandwidth }),
    });
    dataplanes.set(node, dataplane);
    await dataplane.setUnderlay([ip(`10.99.0.${node}`)], host(node).json("ip -json link show eth0")[0].ifindex);
    for (const tenant of tenants) {
      const place = { name: `${tenant}-net`, tenant, vni: vnis[tenant], localVtep: ip(`10.99.0.${node}`) };
      const bandwidth = tenant === "blue" && blue !== undefined ? { bandwidth: blue } : {};
      const network = dataplane.putNetwork(networkSettings({ ...place, ...bandwidth }));
      for (const end of [1, 2]) {
        const id = `0000000000${tenants.indexOf(tenant)}${end}`;
        const address = { id, mac: mac(`02:ab:00:00:0${tenants.indexOf(tenant)}:0${end}`) };
        const own = ip(`10.0.0.${end}`);
        const netns = `/run/netns/${places.get(`${tenant}${end}`)?.name}`;
        const addresses = [{ address: own, prefixLength: 24 }];
        if (end === node) network.putLocal({ ...address, addresses, place: placeIn(netns) });
        else
          network.putRemote({
            ...address,
            ips: [own],
            source: { name: "server", node: "n" },
            vtep: ip(`10.99.0.${end}`),
          });
      }
    }
    await dataplane.start();
    await settled(dataplane);
    return dataplane;
  };
  const restart = async (underlayBandwidth: Rate | undefined, blue?: Bandwidth): Promise<NodeDataplane> => {
    await dataplanes.get(1)?.close();
    return start(1, underlayBandwidth, blue);
  };
  const set = async (blue: Bandwidth | undefined): Promise<void> => {
    const dataplane = dataplanes.get(1) as NodeDataplane;
    const { bandwidth: _, ...settings } = dataplane.networks.get("blue-net")?.settings ?? networkSettings();
    dataplane.putNetwork({ ...settings, ...(blue === undefined ? {} : { bandwidth: blue }) });
    await dataplane.changed();
    await settled(dataplane);
  };
  const device = (): string => /\b(sh[0-9a-f]{12})\b/.exec(host(1).shell("ip -br link"))?.[1] ?? "";
  const classes = (): string =>
    host(1)
      .shell(`tc class show dev ${device()}`)
      .split("\n")
      .filter((line) => line.startsWith("class htb"))
      .sort()
      .join("\n");
  const flood = (tenant: Tenant): ChildProcess =>
    place(tenant, 1).namespace.spawn(process.execPath, ["-e", udpFlood, "10.0.0.2"]);
  /** Octets that a network has sent over the underlay, and whether some wait. */
  const sent = (tenant: Tenant): { octets: number; waits: boolean; time: number } => {
    const text = host(1).shell(`tc -s class show dev ${device()}`);
    const minor = (vnis[tenant] + 1).toString(16);
    const [, octets, backlog] =
      new RegExp(`htb 5745:${minor} .*\\n Sent (\\d+) bytes .*\\n backlog (\\S+)b`).exec(text) ?? [];
    return { octets: Number(octets), waits: backlog !== "0", time: performance.now() };
  };
  /** Both send all that they can, until in some half second they have this, bits per second. Together they never have more than there is. */
  const divide = async (blue: number, red: number): Promise<void> => {
    const flows = tenants.map(flood);
    await eventually("both wait", () => tenants.every((tenant) => sent(tenant).waits));
    await eventually(`blue has ${blue} and red ${red}`, async () => {
      const before = tenants.map(sent);
      await setTimeout(500);
      const found = tenants.map(sent).map((now, at) => {
        const then = before[at] ?? now;
        return ((now.octets - then.octets) * 8) / ((now.time - then.time) / 1000);
      });
      const [ofBlue = 0, ofRed = 0] = found;
      assert.ok(ofBlue + ofRed <= 1.05 * whole, found.join(" and "));
      return Math.abs(ofBlue / blue - 1) <= 0.05 && Math.abs(ofRed / red - 1) <= 0.05;
    });
    for (const flow of flows) flow.kill();
  };
  /** Milliseconds there and back, of the blue network. */
  const roundTrip = (): number => {
    const said = place("blue", 1).shell("ping -q -c 50 -i 0.01 10.0.0.2");
    return Number(/rtt [^=]*= [\d.]+\/([\d.]+)/.exec(said)?.[1]);
  };

  before(async () => {
    underlay = makeUnderlay(2);
    for (const tenant of tenants)
      for (const node of [1, 2]) places.set(`${tenant}${node}`, testNamespace(`${tenant}${node}`));
    await start(1, rate("40Mbit"));
    await start(2, undefined);
  });

  after(async () => {
    for (const [node, dataplane] of dataplanes) {
      await dataplane.close();
      for (const tenant of tenants) deleteNamedNamespace(`${instanceOf(node)}-${tenant}`);
    }
    for (const each of places.values()) each[Symbol.dispose]();
    underlay[Symbol.dispose]();
  });

  it("without guarantees networks share alike", () => divide(whole / 2, whole / 2));

  it("a network has its guarantee, and the other what is guaranteed to nobody", async () => {
    await set({ send: { guarantee: rate("30Mbit") } });
    await divide(30e6, 10e6);
  });

  for (const [what, bandwidth] of [
    ["with a guarantee", { send: { guarantee: rate("30Mbit") } }],
    ["without one", undefined],
  ] as const)
    it(`beside a network at full load another's latency at most doubles, ${what}`, async () => {
      await set(bandwidth);
      await eventually("it does so", async () => {
        const alone = roundTrip();
        const flow = flood("red");
        await eventually("red waits", () => sent("red").waits);
        const beside = roundTrip();
        flow.kill();
        await eventually("red waits no more", () => !sent("red").waits);
        return beside <= 2 * alone;
      });
    });

  it("a restart writes nothing, and what somebody takes away comes back", async () => {
    const guarantee = { send: { guarantee: rate("30Mbit") } };
    await set(guarantee);
    const before = classes();
    assert.equal((await restart(rate("40Mbit"), guarantee)).writes, 0);
    assert.equal(classes(), before);
    const filters = (): string => host(1).shell("tc filter show dev eth0 egress");
    host(1).shell("tc filter del dev eth0 egress");
    await eventually("the filter is back", () => /mirred/.test(filters()));
    host(1).shell(
      `tc class change dev ${device()} parent 5745:ffff classid 5745:${(vnis.red + 1).toString(16)} htb rate 1mbit`,
    );
    await eventually("the class is back", () => classes() === before);
    host(1).shell(`ip link delete ${device()}`);
    await eventually("the device is back", () => device() !== "" && classes() === before && /mirred/.test(filters()));
    const marks = (): string =>
      host(1).shell(`ip netns exec ${instanceOf(1)}-blue tc filter show dev vx${vnis.blue} egress`);
    assert.match(marks(), /weft-share/);
    host(1).shell(`ip netns exec ${instanceOf(1)}-blue tc qdisc del dev vx${vnis.blue} clsact`);
    await eventually("packets have their priority again", () => /weft-share/.test(marks()));
    await settled(dataplanes.get(1) as NodeDataplane);
  });

  it("without the option nothing of it is left", async () => {
    await restart(undefined);
    assert.equal(device(), "");
    assert.doesNotMatch(host(1).shell("tc filter show dev eth0 egress 2>&1 || true"), /mirred/);
    assert.doesNotMatch(
      host(1).shell(`ip netns exec ${instanceOf(1)}-blue tc filter show dev vx${vnis.blue} egress 2>&1 || true`),
      /weft-share/,
    );
    assert.equal(place("blue", 1).shell("ping -q -c 1 -W 1 10.0.0.2 >/dev/null && echo answered").trim(), "answered");
  });
});
