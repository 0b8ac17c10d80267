import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { systemClock } from "../../src/base/clock.ts";
import { ip } from "../../src/base/ip.ts";
import { mac, macToBytes } from "../../src/base/mac.ts";
import { type DataplaneEvent, type NetworkSettings, NodeDataplane } from "../../src/dataplane/index.ts";
import { linuxKernel } from "../../src/dataplane/linux-kernel.ts";
import { nameOfObject } from "../../src/dataplane/objects.ts";
import { startCapture } from "../../src/lab/capture.ts";
import { deleteNamedNamespace, NetworkNamespace, namedNamespaceExists } from "../../src/linux/index.ts";
import type { Vni } from "../../src/model/index.ts";
import { networkSettings, placeIn } from "../../src/testing/desired.ts";
import { decodeFrame } from "../../src/wire/index.ts";
import { testDirectory } from "../support/cluster.ts";
import { requires } from "../support/kernel.ts";
import { type TestNamespace, testNamespace } from "../support/namespaces.ts";
import { RawInterface } from "../support/raw-frames.ts";
import { eventually, makeUnderlay, settled, type Underlay } from "../support/underlay.ts";

const vni = 4242 as Vni;

function settingsOf(node: number): NetworkSettings {
  return networkSettings({ vni, localVtep: ip(`10.99.0.${node}`) });
}

const endpoints = [
  { id: "0000000000a1", mac: mac("02:aa:00:00:00:01"), ip: ip("10.0.0.1"), ip6: ip("fd00::1"), node: 1 },
  { id: "0000000000a2", mac: mac("02:aa:00:00:00:02"), ip: ip("10.0.0.2"), ip6: ip("fd00::2"), node: 2 },
] as const;

describe("dataplane of two nodes", requires("nft-inet"), () => {
  let underlay: Underlay;
  const dataplanes: NodeDataplane[] = [];
  const containers: TestNamespace[] = [];
  const events: DataplaneEvent[] = [];
  const tenantNames: string[] = [];
  const namespaces: NetworkNamespace[] = [];

  function makeDataplane(node: number, collected: DataplaneEvent[] = events): NodeDataplane {
    const host = underlay.hosts[node - 1] as TestNamespace;
    return new NodeDataplane({
      kernel: linuxKernel,
      instance: `t${process.pid}n${node}`,
      underlay: host.kernel,
      clock: systemClock,
      report: (event) => collected.push(event),
    });
  }

  async function desire(dataplane: NodeDataplane, node: number): Promise<void> {
    await dataplane.setUnderlay([ip(`10.99.0.${node}`)], undefined);
    const network = dataplane.putNetwork(settingsOf(node));
    for (const endpoint of endpoints) {
      if (endpoint.node === node)
        network.putLocal({
          id: endpoint.id,
          mac: endpoint.mac,
          addresses: [
            { address: endpoint.ip, prefixLength: 24 },
            { address: endpoint.ip6, prefixLength: 64 },
          ],
          place: placeIn(`/run/netns/${(containers[node - 1] as TestNamespace).name}`),
        });
      else
        network.putRemote({
          id: endpoint.id,
          mac: endpoint.mac,
          ips: [endpoint.ip, endpoint.ip6],
          source: { name: "server", node: `n${endpoint.node}` },
          vtep: ip(`10.99.0.${endpoint.node}`),
        });
    }
  }

  before(async () => {
    underlay = makeUnderlay(2);
    for (const node of [1, 2]) {
      containers.push(testNamespace(`c${node}`));
      tenantNames.push(`t${process.pid}n${node}-blue`);
      const dataplane = makeDataplane(node);
      dataplanes.push(dataplane);
      await desire(dataplane, node);
      await dataplane.start();
      await settled(dataplane);
    }
  });

  after(async () => {
    for (const dataplane of dataplanes) await dataplane.close();
    for (const namespace of namespaces) namespace.close();
    for (const name of tenantNames) deleteNamedNamespace(name);
    for (const container of containers) container[Symbol.dispose]();
    underlay[Symbol.dispose]();
  });

  const inTenant = (node: number, script: string): string => {
    using namespace = NetworkNamespace.openNamed(tenantNames[node - 1] as string);
    return namespace.run(() =>
      execFileSync("/bin/sh", ["-e", "-c", script], { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] }),
    );
  };
  const container = (node: number): TestNamespace => containers[node - 1] as TestNamespace;
  const dataplane = (node: number): NodeDataplane => dataplanes[node - 1] as NodeDataplane;

  it("carries IPv4 and IPv6 between containers", () => {
    container(1).shell("ping -c 1 -w 20 10.0.0.2; ping -6 -c 1 -w 20 fd00::2");
  });

  it("carries a full-size packet in one piece and no larger one", () => {
    container(1).shell("ping -c 1 -w 20 -M do -s 1422 10.0.0.2");
    assert.throws(() => container(1).shell("ping -c 1 -W 1 -M do -s 1423 10.0.0.2"));
  });

  // Before any damage is repaired: filters that were made with everything else must work as they were made.
  it("sends no ARP and no neighbour solicitation over the underlay", async (t) => {
    const file = join(testDirectory(t), "eth0.pcap");
    const host = underlay.hosts[0] as TestNamespace;
    const capture = await startCapture(host.namespace, "eth0", file, { filter: "udp port 4789" });
    container(1).shell(
      "ip neigh flush all; ping -c 1 -W 1 10.0.0.77 || true; ping -6 -c 1 -W 1 fd00::77 || true; arping -c 1 -w 1 -I eth0 -U 10.0.0.1 || true; ping -c 1 -w 20 10.0.0.2; ping -6 -c 1 -w 20 fd00::2",
    );
    await capture.stop();
    const text = host.shell(`tcpdump -nr ${file} 2>/dev/null`);
    assert.match(text, /ICMP echo request/);
    assert.doesNotMatch(text, /ARP|neighbor solicitation|neighbor advertisement/);
  });

  // Whoever gets a frame with a tag of VID 0 takes it for an untagged one.
  it("drops frames with a VLAN tag, and carries them where the network allows it, but for address resolution in priority tags", async () => {
    const from = await RawInterface.open(container(2).namespace, "eth0");
    const to = await RawInterface.open(container(1).namespace, "eth0");
    const header = { destination: endpoints[0].mac, source: endpoints[1].mac };
    const type = (octets: string): Uint8Array =>
      Buffer.concat([macToBytes(header.destination), macToBytes(header.source), Buffer.from(octets, "hex")]);
    const forged = "0001080006040002" + "02aa00000066" + "0a000002" + "02aa00000001" + "0a000001";
    const solicitation = `6000000000183aff${"fe80".padEnd(32, "1")}${"ff02".padEnd(32, "1")}8700${"0".repeat(44)}`;
    const frames = {
      "ARP, VID 0": type(`810000000806${forged}`),
      "ARP, VID 0 of 802.1ad": type(`88a800000806${forged}`),
      "ARP, VID 0 twice": type(`81000000810000000806${forged}`),
      "ARP, VID 0 in 802.1ad": type(`88a80000810000000806${forged}`),
      "neighbour solicitation, VID 0": type(`8100000086dd${solicitation}`),
      "VID 5": type("8100000588b5".padEnd(120, "0")),
      untagged: type("88b5".padEnd(120, "f")),
    };
    /** What of it arrives; the untagged frame is the last that was sent. */
    const arriving = async (): Promise<string[]> => {
      to.received();
      for (const frame of Object.values(frames)) from.send(frame);
      const arrived: string[] = [];
      await eventually("the untagged frame arrives", () => {
        for (const frame of to.received()) {
          // The kernel shows a frame without its outer tag.
          const payload = Buffer.from(frame.subarray(12)).toString("hex");
          for (const [name, sent] of Object.entries(frames)) {
            const content = Buffer.from(sent.subarray(12)).toString("hex");
            if (payload === content || `${content.slice(0, 8)}${payload}` === content) arrived.push(name);
          }
        }
        return arrived.includes("untagged");
      });
      return arrived;
    };
    const allow = async (vlanTags: boolean): Promise<void> => {
      for (const node of [1, 2]) {
        dataplane(node).putNetwork({ ...settingsOf(node), vlanTags });
        await dataplane(node).changed();
        await settled(dataplane(node));
      }
    };
    try {
      assert.deepEqual(await arriving(), ["untagged"]);
      await allow(true);
      assert.deepEqual(await arriving(), ["VID 5", "untagged"]);
      await allow(false);
      assert.deepEqual(await arriving(), ["untagged"]);
    } finally {
      from.close();
      to.close();
    }
  });

  it("lets nobody in who is no VTEP", async () => {
    const inside = await RawInterface.open(container(1).namespace, "eth0");
    const stranger = testNamespace("stranger");
    try {
      underlay.switch.shell(
        `ip link add x type veth peer name eth0 netns ${stranger.name}; ip link set x master sw0 up`,
      );
      stranger.shell(`ip link set eth0 up; ip addr add 10.99.0.77/24 dev eth0
        ip link add vx type vxlan id ${vni} dstport 4789 remote 10.99.0.1 local 10.99.0.77
        ip link set vx up; ip addr add 10.0.0.66/24 dev vx
        ip neigh add 10.0.0.1 lladdr 02:aa:00:00:00:01 dev vx`);
      stranger.shell("ping -c 5 -i 0.05 -W 0.2 10.0.0.1 || true");
      // Whoever is a VTEP, and comes later, is let in.
      container(2).shell("ping -c 1 -w 20 10.0.0.1");
      const senders = inside
        .received()
        .map((frame) => decodeFrame(frame).layers.find(({ protocol }) => protocol === "ipv4"))
        .map((layer) => (layer?.protocol === "ipv4" ? String(layer.header.source) : ""));
      assert.ok(senders.includes("10.0.0.2"));
      assert.ok(!senders.includes("10.0.0.66"));
    } finally {
      inside.close();
      stranger[Symbol.dispose]();
    }
  });

  it("has the rows that it says in tunnel and bridge", () => {
    const fdb = inTenant(1, `bridge fdb show dev vx${vni} || true`);
    assert.match(fdb, /02:aa:00:00:00:02 .*extern_learn.*master|02:aa:00:00:00:02 master/);
    assert.match(fdb, /02:aa:00:00:00:02 nhid .* self extern_learn permanent/);
    assert.match(fdb, /00:00:00:00:00:00 dst 10\.99\.0\.2 .*self/);
    // One entry for each MAC, and not another one for a VLAN that nobody asked for.
    assert.doesNotMatch(inTenant(1, `bridge fdb show br br${vni}`), /vlan/);
    const neighbours = inTenant(1, `ip neigh show dev br${vni}`);
    for (const { ip: v4, ip6, mac: address } of endpoints)
      for (const one of [v4, ip6])
        assert.match(neighbours, new RegExp(`^${one} lladdr ${address} extern_learn PERMANENT`, "m"));
  });

  // Kernels tell of what is written in ways of their own; none of it may look like damage.
  it("rests: what it wrote itself is not written again", async () => {
    const before = [1, 2].map((node) => [dataplane(node).writes, dataplane(node).repairs]);
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    assert.deepEqual(
      [1, 2].map((node) => [dataplane(node).writes, dataplane(node).repairs]),
      before,
    );
    assert.deepEqual(
      events.filter(({ kind }) => kind === "repaired"),
      [],
    );
  });

  it("writes nothing when it starts again and nothing changed, and keeps the devices", async () => {
    const indexes = inTenant(1, "ip -o link show | awk '{print $1 $2}'");
    await dataplane(1).close();
    const again = makeDataplane(1);
    dataplanes[0] = again;
    await desire(again, 1);
    await again.start();
    await settled(again);
    assert.equal(again.writes, 0);
    assert.equal(inTenant(1, "ip -o link show | awk '{print $1 $2}'"), indexes);
  });

  const damages: readonly [string, () => void, RegExp, () => boolean][] = [
    [
      "FDB entry of the tunnel",
      () => inTenant(1, `bridge fdb del 02:aa:00:00:00:02 dev vx${vni} self`),
      /FDB entry 02:aa:00:00:00:02/,
      () => /02:aa:00:00:00:02 nhid .* self/.test(inTenant(1, `bridge fdb show dev vx${vni} || true`)),
    ],
    [
      "FDB entry of the bridge",
      () => inTenant(1, `bridge fdb del 02:aa:00:00:00:02 dev vx${vni} master`),
      /FDB entry 02:aa:00:00:00:02/,
      () => /02:aa:00:00:00:02 extern_learn master/.test(inTenant(1, `bridge fdb show dev vx${vni} || true`)),
    ],
    [
      "neighbour",
      () => inTenant(1, `ip neigh del 10.0.0.2 dev br${vni}`),
      /neighbour 10\.0\.0\.2/,
      () => /PERMANENT/.test(inTenant(1, `ip neigh show 10.0.0.2 dev br${vni} || true`)),
    ],
    [
      "neighbour that is an endpoint here",
      () => inTenant(1, `ip neigh replace 10.0.0.1 lladdr 02:aa:00:00:00:66 dev br${vni}`),
      /neighbour 10\.0\.0\.1/,
      () => /02:aa:00:00:00:01 .*PERMANENT/.test(inTenant(1, `ip neigh show 10.0.0.1 dev br${vni} || true`)),
    ],
    [
      "flood entry",
      () => inTenant(1, `bridge fdb del 00:00:00:00:00:00 dev vx${vni} dst 10.99.0.2 self`),
      /flood entry 10\.99\.0\.2/,
      () => /00:00:00:00:00:00 dst 10\.99\.0\.2/.test(inTenant(1, `bridge fdb show dev vx${vni} || true`)),
    ],
    [
      "FDB entry of the local endpoint",
      () => inTenant(1, `bridge fdb del 02:aa:00:00:00:01 dev ve0000000000a1 master`),
      /endpoint 0000000000a1/,
      () => /02:aa:00:00:00:01 extern_learn master/.test(inTenant(1, "bridge fdb show dev ve0000000000a1")),
    ],
    [
      "port setting",
      () => inTenant(1, `bridge link set dev vx${vni} neigh_suppress off`),
      /blue-net/,
      () => /neigh_suppress on/.test(inTenant(1, `bridge -d link show dev vx${vni}`)),
    ],
    [
      "membership of the bridge",
      () => inTenant(1, `ip link set vx${vni} nomaster`),
      /blue-net/,
      () => new RegExp(`master br${vni}`).test(inTenant(1, `ip link show vx${vni} || true`)),
    ],
    [
      "MTU",
      () => inTenant(1, `ip link set vx${vni} mtu 1300`),
      /blue-net/,
      () => /mtu 1450/.test(inTenant(1, `ip link show vx${vni} || true`)),
    ],
    [
      "tunnel device",
      () => inTenant(1, `ip link del vx${vni}`),
      /blue-net/,
      () => /02:aa:00:00:00:02 nhid .* self/.test(inTenant(1, `bridge fdb show dev vx${vni} || true`)),
    ],
    [
      "bridge device",
      () => inTenant(1, `ip link del br${vni}`),
      /blue-net/,
      () => /PERMANENT/.test(inTenant(1, `ip neigh show 10.0.0.2 dev br${vni} || true`)),
    ],
    [
      "endpoint port",
      () => inTenant(1, "ip link del ve0000000000a1"),
      /endpoint 0000000000a1/,
      () => /10\.0\.0\.1/.test(container(1).shell("ip addr show dev eth0 || true")),
    ],
    [
      "FDB entry in whose place somebody put one that names a VTEP",
      () =>
        inTenant(
          1,
          `bridge fdb del 02:aa:00:00:00:02 dev vx${vni} self && bridge fdb add 02:aa:00:00:00:02 dev vx${vni} dst 10.99.0.9 self`,
        ),
      /FDB entry 02:aa:00:00:00:02/,
      () => /02:aa:00:00:00:02 nhid .* self/.test(inTenant(1, `bridge fdb show dev vx${vni} || true`)),
    ],
    [
      "nexthop",
      () => (underlay.hosts[0] as TestNamespace).shell("ip nexthop flush proto 119"),
      /nexthop 10\.99\.0\.2/,
      () => /02:aa:00:00:00:02 nhid .* self/.test(inTenant(1, `bridge fdb show dev vx${vni} || true`)),
    ],
    [
      "source filter",
      () => (underlay.hosts[0] as TestNamespace).shell(`nft delete table inet weft-t${process.pid}n1`),
      /nft table inet/,
      () =>
        /10\.99\.0\.2/.test(
          (underlay.hosts[0] as TestNamespace).shell(`nft list table inet weft-t${process.pid}n1 || true`),
        ),
    ],
    [
      "suppression filter",
      () => inTenant(1, "nft flush ruleset"),
      /nft table bridge/,
      () => /arp/.test(inTenant(1, "nft list table bridge weft || true")),
    ],
    [
      "forwarding of IPv4",
      () => inTenant(1, "sysctl -qw net.ipv4.ip_forward=0"),
      /sysctl net\.ipv4\.ip_forward of tenant blue/,
      () => /^1$/m.test(inTenant(1, "sysctl -n net.ipv4.ip_forward")),
    ],
    [
      "forwarding of IPv6",
      () => inTenant(1, "sysctl -qw net.ipv6.conf.all.forwarding=0"),
      /sysctl net\.ipv6\.conf\.all\.forwarding of tenant blue/,
      () => /^1$/m.test(inTenant(1, "sysctl -n net.ipv6.conf.all.forwarding")),
    ],
    [
      "forwarding of one device",
      () => inTenant(1, `sysctl -qw net.ipv4.conf.br${vni}.forwarding=0 net.ipv4.conf.br${vni}.rp_filter=1`),
      new RegExp(`sysctl net\\.ipv4\\.conf\\.br${vni}\\.rp_filter of tenant blue`),
      () => inTenant(1, `sysctl -n net.ipv4.conf.br${vni}.forwarding net.ipv4.conf.br${vni}.rp_filter`) === "1\n0\n",
    ],
    [
      "settings that the kernel says nothing of, at the next comparison",
      () => {
        inTenant(1, "sysctl -qw net.ipv6.conf.default.accept_ra=1 net.ipv4.ip_forward_use_pmtu=0");
        void dataplane(1).audit();
      },
      /sysctl net\.ipv4\.ip_forward_use_pmtu of tenant blue/,
      () => inTenant(1, "sysctl -n net.ipv6.conf.default.accept_ra net.ipv4.ip_forward_use_pmtu") === "0\n1\n",
    ],
    [
      "name of the namespace",
      () => {
        namespaces.push(NetworkNamespace.openNamed(tenantNames[0] as string));
        deleteNamedNamespace(tenantNames[0] as string);
      },
      /network namespace/,
      () => namedNamespaceExists(tenantNames[0] as string),
    ],
  ];
  for (const [what, damage, object, isWhole] of damages) {
    it(`restores, and reports by name: ${what}`, async () => {
      events.length = 0;
      damage();
      await eventually(`${what} is back`, isWhole);
      await eventually(`an event names it: ${JSON.stringify(events)}`, () =>
        events.some((event) => event.kind === "repaired" && object.test(nameOfObject(event.object))),
      );
      await settled(dataplane(1));
      container(1).shell("ping -c 1 -w 20 10.0.0.2; ping -6 -c 1 -w 20 fd00::2");
    });
  }

  it("removes what is no longer desired and leaves a foreign device in peace", async () => {
    inTenant(2, "ip link add mine type dummy 2>/dev/null || ip link add mine type bridge");
    dataplane(2).removeNetwork("blue-net");
    await dataplane(2).changed();
    await settled(dataplane(2));
    const left = inTenant(2, "ip -o link show");
    assert.match(left, /mine/);
    assert.doesNotMatch(left, new RegExp(`br${vni}|vx${vni}|ve0000000000a2`));
    assert.doesNotMatch((underlay.hosts[1] as TestNamespace).shell("nft list tables; ip nexthop show"), /weft|proto/);
  });
});
