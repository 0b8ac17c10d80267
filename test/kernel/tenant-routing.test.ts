/** What a tenant's namespace routes as a router, for whom, and with which settings. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, before, describe, it } from "node:test";
import { cidr, parseInterfaceAddress } from "../../src/base/cidr.ts";
import { systemClock } from "../../src/base/clock.ts";
import { ip } from "../../src/base/ip.ts";
import { mac } from "../../src/base/mac.ts";
import { type DataplaneEvent, type NetworkSettings, NodeDataplane } from "../../src/dataplane/index.ts";
import { linuxKernel } from "../../src/dataplane/linux-kernel.ts";
import { nameOfObject } from "../../src/dataplane/objects.ts";
import { deleteNamedNamespace, NetworkNamespace } from "../../src/linux/index.ts";
import type { Vni } from "../../src/model/index.ts";
import { networkSettings, placeIn } from "../../src/testing/desired.ts";
import { requires } from "../support/kernel.ts";
import { type TestNamespace, testNamespace } from "../support/namespaces.ts";
import { eventually, makeUnderlay, settled, type Underlay } from "../support/underlay.ts";

function network(name: string, vni: number, changes: Partial<NetworkSettings>, ...gateways: string[]): NetworkSettings {
  return networkSettings({
    name,
    vni: vni as Vni,
    localVtep: ip("10.99.0.1"),
    // The filters of the router by themselves: else nothing forged comes that far.
    antiSpoof: false,
    gateways: gateways.map((text) => {
      const parsed = parseInterfaceAddress(text);
      if (!parsed.ok) throw new TypeError(parsed.error);
      return parsed.value;
    }),
    ...changes,
  });
}

const networks = [
  network("closed", 101, { subnets: [cidr("10.1.0.0/24"), cidr("fd01::/64")] }),
  network("out", 102, { subnets: [cidr("10.2.0.0/24"), cidr("fd02::/64")], egress: true }, "10.2.0.1/24", "fd02::1/64"),
  network("near", 103, { subnets: [cidr("10.3.0.0/24"), cidr("fd03::/64")] }, "10.3.0.1/24", "fd03::1/64"),
  network("pods", 104, { mode: "l3", subnets: [cidr("10.4.0.0/16"), cidr("fd04::/64")] }, "10.4.0.1/26", "fd04::1/122"),
];

describe("the router that a tenant's namespace is", requires("nft-inet", "nft-nat"), () => {
  let underlay: Underlay;
  let dataplane: NodeDataplane;
  const instance = `r${process.pid}`;
  const containers = new Map<string, TestNamespace>();
  const events: DataplaneEvent[] = [];

  async function run(): Promise<NodeDataplane> {
    const [host] = underlay.hosts as readonly [TestNamespace];
    const made = new NodeDataplane({
      kernel: linuxKernel,
      instance,
      underlay: host.kernel,
      clock: systemClock,
      report: (event) => events.push(event),
    });
    await made.setUnderlay([ip("10.99.0.1")], undefined);
    for (const settings of networks) {
      const desired = made.putNetwork(settings);
      if (settings.mode === "l3")
        desired.setLocalBlocks([
          { cidr: cidr("10.4.0.0/26"), isDirect: false },
          { cidr: cidr("fd04::/122"), isDirect: false },
        ]);
      const digit = settings.vni - 100;
      if (settings.name === "closed")
        desired.putLocal({
          id: "0000000000a8",
          mac: mac("02:aa:00:00:00:08"),
          addresses: [
            { address: ip("10.1.0.8"), prefixLength: 24 },
            { address: ip("fd01::8"), prefixLength: 64 },
          ],
          place: placeIn(`/run/netns/${container("sibling").name}`),
          gateways: [],
        });
      desired.putLocal({
        id: `0000000000a${digit}`,
        mac: mac(`02:aa:00:00:00:0${digit}`),
        addresses: [
          { address: ip(`10.${digit}.0.7`), prefixLength: digit === 4 ? 26 : 24 },
          { address: ip(`fd0${digit}::7`), prefixLength: digit === 4 ? 122 : 64 },
        ],
        place: placeIn(`/run/netns/${container(settings.name).name}`),
        gateways: settings.gateways.map(({ address }) => address),
      });
    }
    await made.start();
    await settled(made);
    return made;
  }

  before(async () => {
    underlay = makeUnderlay(2);
    const [host, outside] = underlay.hosts as readonly [TestNamespace, TestNamespace];
    host.shell("ip route add default via 10.99.0.2; ip -6 route add default via fd99::2");
    for (const name of [...networks.map((each) => each.name), "sibling"]) containers.set(name, testNamespace(name));
    dataplane = await run();
    for (const place of [outside, ...containers.values()])
      place.shell(`nft -f - <<'N'
        table inet probe {
          chain input {
            type filter hook input priority 10
            icmp type echo-request counter comment "heard4"
            icmpv6 type echo-request counter comment "heard6"
          }
        }
N`);
  });

  after(async () => {
    await dataplane.close();
    deleteNamedNamespace(`${instance}-blue`);
    for (const place of containers.values()) place[Symbol.dispose]();
    underlay[Symbol.dispose]();
  });

  const container = (name: string): TestNamespace => containers.get(name) as TestNamespace;
  const inTenant = (script: string): string => {
    using namespace = NetworkNamespace.openNamed(`${instance}-blue`);
    return namespace.run(() =>
      execFileSync("/bin/sh", ["-e", "-c", script], { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] }),
    );
  };
  const outside = (): TestNamespace => underlay.hosts[1] as TestNamespace;
  /** Echo requests that came to the outside and to containers. */
  const heard = (): number => {
    let sum = 0;
    for (const place of [outside(), ...containers.values()])
      for (const [, count] of place.shell("nft list table inet probe").matchAll(/counter packets (\d+)/g))
        sum += Number(count);
    return sum;
  };
  const bridgeMac = (vni: number): string => inTenant(`ip -br link show br${vni}`).split(/\s+/)[2] ?? "";

  /** Sends echo requests to a MAC, whatever the container's own routes and addresses are. */
  function force(name: string, receiver: string, sources: readonly string[], targets: readonly string[]): void {
    const place = container(name);
    const gateway = { 4: "10.77.0.1", 6: "fe80::77" } as const;
    place.shell(
      ([4, 6] as const)
        .map(
          (family) => `
            ip -${family} rule add pref 7 lookup 7
            ip neigh replace ${gateway[family]} lladdr ${receiver} dev eth0
            ip -${family} route add default via ${gateway[family]} dev eth0 onlink table 7`,
        )
        .join("\n"),
    );
    const added = sources.filter((source) => !place.shell("ip -br addr show dev eth0").includes(` ${source}/`));
    for (const source of added) place.shell(`ip addr add ${source}/${source.includes(":") ? 128 : 32} dev eth0 nodad`);
    const pings = sources.flatMap((source) =>
      targets
        .filter((target) => target.includes(":") === source.includes(":"))
        .map((target) => `(ping -c2 -i0.2 -W1 -I ${source} ${target} >/dev/null 2>&1 || true) &`),
    );
    place.shell(`${pings.join("\n")}\nwait`);
    for (const source of added) place.shell(`ip addr del ${source}/${source.includes(":") ? 128 : 32} dev eth0`);
    place.shell("ip -4 rule del pref 7; ip -6 rule del pref 7; ip -4 route flush table 7; ip -6 route flush table 7");
  }
  const everybody = ["10.99.0.2", "fd99::2", "10.2.0.7", "fd02::7", "10.3.0.7", "fd03::7", "10.4.0.7", "fd04::7"];

  it("routes between networks with gateways, to the outside where there is egress, and finds its neighbours", async () => {
    container("out").shell(
      "ping -c1 -w20 10.3.0.7; ping -c1 -w20 fd03::7; ping -c1 -w20 10.4.0.7; ping -c1 -w20 fd04::7",
    );
    container("pods").shell("ping -c1 -w20 10.2.0.7; ping -c1 -w20 fd02::7");
    container("out").shell("ping -c1 -w20 10.99.0.2; ping -c1 -w20 fd99::2");
    // The gateway's address is taken, and whoever tries it out is told so.
    container("out").shell("sysctl -qw net.ipv6.conf.eth0.accept_dad=1; ip addr add fd02::1/64 dev eth0");
    await eventually("a duplicate is found", () =>
      /fd02::1\/64.*dadfailed/.test(container("out").shell("ip -6 addr show dev eth0")),
    );
    container("out").shell("ip addr del fd02::1/64 dev eth0");
  });

  it("routes nothing for a network without a gateway", () => {
    const count = heard();
    force(
      "closed",
      bridgeMac(101),
      ["10.1.0.7", "10.2.0.77", "fd01::7", "fd02::77"],
      [...everybody, "10.3.0.1", "fd03::1"],
    );
    assert.equal(heard(), count, "nobody hears of it");
  });

  it("routes no source of another network than the bridge's", () => {
    const count = heard();
    force("near", bridgeMac(103), ["10.2.0.77", "10.1.0.7", "fd02::77", "fd01::7"], everybody);
    force(
      "pods",
      bridgeMac(104),
      ["10.4.0.70", "10.2.0.77", "fd04::70", "fd02::77"],
      ["10.2.0.7", "fd02::7", "10.99.0.2", "fd99::2"],
    );
    assert.equal(heard(), count, "nobody hears of it");
  });

  it("routes nothing that is sent to the MAC of a port", () => {
    const count = heard();
    const port = inTenant("ip -br link show ve0000000000a1").split(/\s+/)[2] ?? "";
    assert.match(port, /^([0-9a-f]{2}:){5}/);
    force("closed", port, ["10.1.0.7", "10.2.0.77", "fd01::7"], everybody);
    assert.equal(heard(), count, "nobody hears of it");
  });

  it("bridges as ever where somebody loaded br_netfilter later", async () => {
    const looksAtBridged = (value: 0 | 1): string =>
      inTenant(`sysctl -qw net.bridge.bridge-nf-call-iptables=${value} net.bridge.bridge-nf-call-ip6tables=${value}`);
    looksAtBridged(1);
    try {
      container("closed").shell("ping -c1 -w20 10.1.0.8; ping -c1 -w20 fd01::8");
      container("out").shell("ping -c1 -w20 10.3.0.7; ping -c1 -w20 fd03::7; ping -c1 -w20 fd02::1");
      const count = heard();
      force("closed", bridgeMac(101), ["10.1.0.7", "10.2.0.77", "fd01::7"], everybody);
      assert.equal(heard(), count, "nobody hears of it");
    } finally {
      looksAtBridged(0);
    }
  });

  it("keeps its filter, and says so when somebody took it away", async () => {
    const filter = (): string =>
      inTenant("nft list table inet weft-routing 2>&1 || true").replaceAll(/packets \d+ bytes \d+/g, "");
    const before = filter();
    assert.match(before, /"br102" \. 10\.2\.0\.0\/24/);
    for (const damage of ["delete table inet weft-routing", "flush set inet weft-routing bound4", "flush ruleset"]) {
      events.length = 0;
      inTenant(`nft ${damage}`);
      await eventually(`set again after: ${damage}`, () => filter() === before);
      await settled(dataplane);
      assert.ok(
        events.some(
          ({ kind, object }) =>
            kind === "repaired" && nameOfObject(object) === "nft table inet weft-routing of tenant blue",
        ),
        damage,
      );
    }
  });

  it("writes nothing when it starts again and nothing changed", async () => {
    await dataplane.close();
    events.length = 0;
    dataplane = await run();
    assert.equal(dataplane.writes, 0);
    assert.deepEqual(events, []);
  });
});
