/** Limits of endpoints and networks, as packets meet them. */
import assert from "node:assert/strict";
import { type ChildProcess, execFileSync } from "node:child_process";
import { text } from "node:stream/consumers";
import { after, before, describe, it } from "node:test";
import { systemClock } from "../../src/base/clock.ts";
import { ip } from "../../src/base/ip.ts";
import { mac } from "../../src/base/mac.ts";
import { type DesiredNetwork, type LocalEndpoint, NodeDataplane } from "../../src/dataplane/index.ts";
import { linuxKernel } from "../../src/dataplane/linux-kernel.ts";
import { deleteNamedNamespace } from "../../src/linux/index.ts";
import type { Bandwidth, Rate, Vni } from "../../src/model/index.ts";
import { networkSettings, placeIn } from "../../src/testing/desired.ts";
import { fileRequires } from "../support/kernel.ts";
import { type TestNamespace, testNamespace } from "../support/namespaces.ts";
import { eventually, makeUnderlay, type Underlay } from "../support/underlay.ts";

await fileRequires("nft-inet", "quick processes");

const vni = 4251 as Vni;
const instance = `t${process.pid}w`;
const tenant = `${instance}-blue`;
const settings = networkSettings({ vni, localVtep: ip("10.99.0.1") });
const rate = (of: string): Rate => of as Rate;

const udpReceiver = `
let count = 0;
const socket = require("dgram").createSocket("udp4").bind(5002, () => console.error("ready"));
socket.on("message", () => { if (++count === +process.argv[1]) { console.log(count); process.exit(); } });`;
const udpSender = `
const socket = require("dgram").createSocket("udp4");
let left = +process.argv[1];
for (let each = left; each > 0; each--) socket.send(Buffer.alloc(1300), 5002, process.argv[2], () => { if (--left === 0) socket.close(); });`;

/** Sends datagrams without end, 100 at a time. */
const udpFlood = `
const socket = require("dgram").createSocket("udp4");
socket.on("error", () => {});
const go = () => { for (let each = 100; each > 0; each--) socket.send(Buffer.alloc(1300), 5003, process.argv[1]); setTimeout(go, 5); };
go();`;
describe("bandwidth", () => {
  let underlay: Underlay;
  let dataplane: NodeDataplane;
  let network: DesiredNetwork;
  const places: TestNamespace[] = [];

  const make = async (bandwidth: { bandwidth?: Bandwidth; endpointBandwidth?: Bandwidth }): Promise<void> => {
    dataplane = new NodeDataplane({
      kernel: linuxKernel,
      instance,
      underlay: (underlay.hosts[0] as TestNamespace).kernel,
      clock: systemClock,
      report: () => {},
    });
    await dataplane.setUnderlay([ip("10.99.0.1")], undefined);
    network = dataplane.putNetwork({ ...settings, ...bandwidth });
    for (const number of [1, 2])
      network.putLocal({
        id: `00000000000${number}`,
        mac: mac(`02:ab:00:00:00:0${number}`),
        addresses: [{ address: ip(`10.0.0.${number}`), prefixLength: 24 }],
        place: placeIn(`/run/netns/${places[number - 1]?.name}`),
      });
    await dataplane.start();
    await eventually("all is there", () => dataplane.inSync);
  };
  const set = async (bandwidth: { bandwidth?: Bandwidth; endpointBandwidth?: Bandwidth }): Promise<void> => {
    dataplane.putNetwork({ ...settings, ...bandwidth });
    await dataplane.changed();
    await eventually("it is so", () => dataplane.inSync);
  };
  const run = (place: number, program: string, ...parameters: (string | number)[]): ChildProcess =>
    (places[place] as TestNamespace).namespace.spawn(process.execPath, ["-e", program, ...parameters.map(String)]);
  const ready = (child: ChildProcess): Promise<void> =>
    new Promise((resolve) => child.stderr?.once("data", () => resolve()));
  /** What the class of an endpoint has let pass in a direction, octets, and whether something waits for its turn. */
  const passed = (direction: "sd" | "rc", endpoint: number): { octets: number; waits: boolean; time: number } => {
    const port = (places[0] as TestNamespace).shell(
      `ip netns exec ${tenant} cat /proc/net/dev_snmp6/ve00000000000${endpoint}`,
    );
    const minor = (Number(/ifIndex\s+(\d+)/.exec(port)?.[1]) + 1).toString(16);
    const text = tc(`-s class show dev ${direction}${vni}`);
    const [, octets, backlog] =
      new RegExp(`htb 1:${minor} .*\\n Sent (\\d+) bytes .*\\n backlog (\\S+)b`).exec(text) ?? [];
    return { octets: Number(octets), waits: backlog !== "0", time: performance.now() };
  };
  /**
   * UDP offers more than may pass. Never does more than `most` bits per second pass, and in some half second `least` do: on a busy
   * machine there are others, in which sender or kernel had no processor.
   */
  const passesBetween = async (direction: "sd" | "rc", least: number, most: number): Promise<void> => {
    const flow = run(0, udpFlood, "10.0.0.2");
    const endpoint = direction === "sd" ? 1 : 2;
    await eventually("some wait", () => passed(direction, endpoint).waits);
    await eventually(`${least} bit/s pass`, async () => {
      const before = passed(direction, endpoint);
      await new Promise((resolve) => setTimeout(resolve, 500));
      const after = passed(direction, endpoint);
      const found = ((after.octets - before.octets) * 8) / ((after.time - before.time) / 1000);
      assert.ok(found <= most, `${found} bit/s`);
      return found >= least;
    });
    flow.kill();
  };
  const tc = (words: string): string =>
    execFileSync("ip", ["netns", "exec", tenant, "tc", ...words.split(" ")], { encoding: "utf8" });

  before(async () => {
    underlay = makeUnderlay(1);
    for (const name of ["first", "second"]) places.push(testNamespace(name));
    await make({});
  });

  after(async () => {
    await dataplane.close();
    deleteNamedNamespace(tenant);
    for (const place of places) place[Symbol.dispose]();
    underlay[Symbol.dispose]();
  });

  it("without limits there is nothing of it", () => {
    assert.doesNotMatch(tc("qdisc show"), /htb/);
  });

  for (const [direction, of, limit, bits] of [
    ["send", "endpointBandwidth", "10Mbit", 10e6],
    ["receive", "endpointBandwidth", "40Mbit", 40e6],
    ["send", "bandwidth", "50Mbit", 50e6],
  ] as const)
    it(`${of} ${direction} ${limit} is what comes through, of UDP within 5 %`, async () => {
      await set({ [of]: { [direction]: { limit: rate(limit) } } });
      await passesBetween(direction === "send" ? "sd" : "rc", 0.95 * bits, 1.05 * bits);
    });

  it("what is guaranteed is there while another endpoint sends all that it can", async () => {
    await set({ bandwidth: { send: { limit: rate("40Mbit") } } });
    const [first] = network.locals.values();
    const flow = run(0, udpFlood, "10.0.0.2");
    await eventually("something has passed", () => passed("sd", 1).octets > 1e6);
    flow.kill();
    await eventually("nothing waits", () => !passed("sd", 1).waits);
    network.putLocal({ ...(first as LocalEndpoint), bandwidth: { send: { guarantee: rate("30Mbit") } } });
    await dataplane.changed();
    await eventually("it is so", () => dataplane.inSync);
    // What was sent before may be a debt of the class, which a new one does not have.
    assert.ok(passed("sd", 1).octets < 1e6, "the class is a new one");
    // Both offer more than the network has, so that what comes through is what the classes give.
    const back = run(1, udpFlood, "10.0.0.1");
    await eventually("the other's wait", () => passed("sd", 2).waits);
    await passesBetween("sd", 0.95 * 30e6, 1.05 * 40e6);
    back.kill();
    network.putLocal(first as LocalEndpoint);
  });

  it("tells what passed, waited and was dropped, of endpoint and network, also after a restart", async () => {
    const limits = { endpointBandwidth: { send: { limit: rate("2Mbit") } } };
    await set(limits);
    const flow = run(0, udpFlood, "10.0.0.2");
    const use = async (endpoint: string | undefined) =>
      (await dataplane.bandwidthUse(settings.name)).find((each) => each.endpoint === endpoint);
    await eventually("some are dropped", async () => {
      const found = await use("000000000001");
      return found !== undefined && found.dropped > 100 && found.limited > 10 && found.waiting > 0;
    });
    flow.kill();
    await eventually("nothing waits", async () => (await use("000000000001"))?.waiting === 0);
    const [endpoint, network] = [await use("000000000001"), await use(undefined)];
    assert.ok(endpoint !== undefined && network !== undefined);
    assert.equal(endpoint.octets, passed("sd", 1).octets);
    assert.ok(network.octets >= endpoint.octets && network.dropped >= endpoint.dropped, JSON.stringify(network));
    await dataplane.close();
    await make(limits);
    assert.equal((await use("000000000001"))?.dropped, endpoint.dropped);
  });

  it("a limit that changes drops nothing of what waits", async () => {
    await set({ endpointBandwidth: { send: { limit: rate("400kbit") } } });
    const count = 20;
    const receiving = run(1, udpReceiver, count);
    // What a process has said and nobody read goes with it.
    const said = text(receiving.stdout as NonNullable<typeof receiving.stdout>);
    await ready(receiving);
    run(0, udpSender, count, "10.0.0.2");
    await eventually("some wait", () => /backlog [1-9]/.test(tc(`-s qdisc show dev sd${vni}`)));
    await set({ endpointBandwidth: { send: { limit: rate("50Mbit") } } });
    assert.equal((await said).trim(), String(count));
  });

  it("a restart writes nothing, and what somebody changes or takes away comes back", async () => {
    const limits = { endpointBandwidth: { send: { limit: rate("20Mbit") }, receive: { limit: rate("30Mbit") } } };
    await set(limits);
    // fq_codel shows its flows as classes, too.
    const classes = (): string =>
      tc(`class show dev sd${vni}`)
        .split("\n")
        .filter((line) => line.startsWith("class htb"))
        .sort()
        .join("\n");
    const before = classes();
    await dataplane.close();
    await make(limits);
    assert.equal(dataplane.writes, 0);
    assert.equal(classes(), before);
    const handle = /htb (1:\S+) parent 1:ffff/.exec(before)?.[1];
    tc(`class change dev sd${vni} parent 1:ffff classid ${handle} htb rate 1mbit`);
    await eventually("the class is back", () => classes() === before);
    tc(`qdisc del dev sd${vni} root`);
    await eventually("all classes are back", () => classes() === before);
    execFileSync("ip", ["-n", tenant, "link", "delete", `rc${vni}`]);
    await eventually("the device is back", () => new RegExp(`htb .* dev rc${vni} root`).test(tc("qdisc show")));
    await eventually("all is there", () => dataplane.inSync && /30Mbit/.test(tc(`class show dev rc${vni}`)));
    tc(`filter del dev ve000000000001 egress pref 3`);
    await eventually("the filter is back", () => /Redirect/.test(tc("filter show dev ve000000000001 egress")));
  });

  it("limits that are taken off leave nothing behind", async () => {
    await set({});
    assert.doesNotMatch(tc("qdisc show"), /htb/);
    assert.doesNotMatch(
      tc("filter show dev ve000000000001 egress") + tc("filter show dev ve000000000001 ingress"),
      /Redirect/,
    );
    assert.doesNotMatch(execFileSync("ip", ["-n", tenant, "link"], { encoding: "utf8" }), /sd4251|rc4251/);
  });
});
