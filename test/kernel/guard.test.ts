/** What an endpoint may not send, by frames as an attacker makes them; and that it may send all that is its own. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, before, describe, it } from "node:test";
import { cidr } from "../../src/base/cidr.ts";
import { type Ipv4Address, type Ipv6Address, ip } from "../../src/base/ip.ts";
import { broadcastMac, type MacAddress, mac, zeroMac } from "../../src/base/mac.ts";
import type { NetworkSettings } from "../../src/dataplane/index.ts";
import { NetworkNamespace } from "../../src/linux/index.ts";
import { networkMac } from "../../src/model/endpoint-mac.ts";
import { buildFrame, type LayerDraft } from "../../src/wire/index.ts";
import { attacksOf, bare } from "../attacks/attacks.ts";
import { players, Stage } from "../attacks/stage.ts";
import { requires } from "../support/kernel.ts";
import { eventually, settled } from "../support/underlay.ts";

const { attacker, near, far } = players;
const attacks = attacksOf(attacker, far);
const port = `ve${attacker.id}`;
/** What a limit has counted counts on for a second under another one. */
const unlimited = { stormControl: { port: 0, network: 0 } };
const impersonation = { frame: () => bare(near.mac, far.mac) };

describe("an endpoint of a network with protection", requires("nft-inet"), () => {
  let stage: Stage;
  const inTenant = (script: string): string => {
    using namespace = NetworkNamespace.openNamed(stage.tenantName(1));
    return namespace.run(() => execFileSync("/bin/sh", ["-e", "-c", script], { encoding: "utf8" }));
  };

  before(async () => {
    stage = await Stage.make("guard", unlimited);
  });
  after(() => stage.close());

  for (const attack of attacks)
    it(`does not send: ${attack.name}`, async () => {
      const { sent, delivered, dropped } = await stage.play(attack, 20);
      assert.equal(delivered, 0);
      assert.deepEqual(dropped, { [attack.reason]: sent });
    });

  it("sends what is its own: both families, fragments, address resolution, requests for an address", async () => {
    const container = stage.container("attacker");
    container.shell(`
      ping -c1 -w20 -s 4000 ${far.ipv4}
      ping -c1 -w20 -s 4000 ${far.ipv6}
      ping -c1 -w20 ${near.ipv4}
      ping -c1 -w20 ${near.ipv6}
      ping -c1 -w20 -I eth0 fe80::aa:ff:fe00:2`);
    assert.deepEqual(await stage.play({ frame: () => bare(near.mac, attacker.mac) }, 20), {
      sent: 20,
      delivered: 20,
      dropped: {},
    });
  });

  it("stays so while somebody flushes all rules of nftables, without a gap", async () => {
    const mark = 0x7000_0000;
    const until = performance.now() + 1500;
    let sent = 0;
    while (performance.now() < until) {
      inTenant("nft flush ruleset");
      for (let burst = 0; burst < 20; burst++) {
        for (let frame = 0; frame < 20; frame++) stage.send(impersonation.frame(), mark, sent++);
        await new Promise((resolve) => setImmediate(resolve));
      }
    }
    const { delivered } = await stage.play(impersonation, 20);
    assert.equal(stage.delivered(mark) + delivered, 0, `of ${sent}`);
    for (const dataplane of stage.dataplanes) await settled(dataplane);
  });

  it("is held to it again after somebody took the program away, which is told", async () => {
    inTenant(`tc qdisc del dev ${port} clsact`);
    await eventually("the program is back", () => inTenant(`tc filter show dev ${port} ingress`).includes("weft"));
    for (const dataplane of stage.dataplanes) await settled(dataplane);
    assert.match(stage.events.map(({ message }) => message).join("\n"), new RegExp(`restored port ${port}`));
    assert.equal((await stage.play(impersonation, 20)).delivered, 0);
  });

  it("is left alone by a restart: nothing is written, counters go on, no frame comes through meanwhile", async () => {
    const [first] = stage.dataplanes;
    const counted = stage.dropped();
    assert.ok((counted.mac ?? 0) > 0);
    await first?.close();
    const mark = 0x7000_0001;
    for (let number = 0; number < 50; number++) stage.send(impersonation.frame(), mark, number);
    stage.dataplanes[0] = await stage.startNode(1, unlimited);
    assert.equal(stage.dataplanes[0].writes, 0);
    assert.equal(stage.dropped().mac, (counted.mac ?? 0) + 50);
    assert.equal(stage.delivered(mark), 0);
  });

  it("sends with an address that it was allowed, and the MAC that goes with it", async () => {
    const virtual = { ...attacker, mac: mac("00:00:5e:00:01:33") };
    const announce = { frame: () => bare(near.mac, virtual.mac) };
    assert.equal((await stage.play(announce, 10)).delivered, 0);
    const network = stage.network(1);
    const local = network.local(attacker.id);
    assert.ok(local !== undefined);
    network.putLocal({ ...local, allowedAddresses: [{ prefix: cidr("10.0.0.100/32"), mac: virtual.mac }] });
    await stage.dataplanes[0]?.changed();
    assert.equal((await stage.play(announce, 10)).delivered, 10);
    network.putLocal(local);
    await stage.dataplanes[0]?.changed();
    assert.equal((await stage.play(announce, 10)).delivered, 0);
  });

  it("learns nobody's address where a network learns, but may be behind what is nobody's", async () => {
    const network = stage.network(1);
    network.setSettings({ ...network.settings, localLearning: true });
    await stage.dataplanes[0]?.changed();
    assert.equal((await stage.play({ frame: () => bare(near.mac, mac("02:aa:00:00:00:77")) }, 10)).delivered, 10);
    for (const other of [near.mac, far.mac])
      assert.equal((await stage.play({ frame: () => bare(near.mac, other) }, 10)).delivered, 0);
    network.setSettings({ ...network.settings, localLearning: false });
    await stage.dataplanes[0]?.changed();
  });

  it("sends no more frames to groups than the network's limit", async () => {
    const network = stage.network(1);
    const { settings } = network;
    network.setSettings({ ...settings, stormControl: { port: 30, network: 0 } });
    await stage.dataplanes[0]?.changed();
    const { sent, delivered, dropped } = await stage.play({ frame: () => bare(broadcastMac, attacker.mac) }, 400);
    // Some are of the second before, some of the next.
    assert.ok(delivered >= 20 && delivered < sent / 2, `${delivered} of ${sent}`);
    assert.ok((dropped.storm ?? 0) >= sent - delivered, JSON.stringify(dropped));
    network.setSettings(settings);
    await stage.dataplanes[0]?.changed();
  });

  const silent = mac("02:aa:00:00:00:98");
  const limit = (port: number, changes: Partial<NetworkSettings> = {}): Promise<void> => {
    const network = stage.network(1);
    network.setSettings({ ...network.settings, ...changes, stormControl: { port, network: 0 } });
    return stage.dataplanes[0]?.changed() ?? Promise.reject();
  };
  const flood = (destination: MacAddress, count = 400): ReturnType<Stage["play"]> =>
    stage.play({ frame: () => bare(destination, attacker.mac) }, count);

  it("sends no more frames to MAC addresses that nobody has than the network's limit, and none of these counts as one to a group", async () => {
    assert.deepEqual(await flood(silent), { sent: 400, delivered: 400, dropped: {} });
    await limit(30);
    const { sent, delivered, dropped } = await flood(silent);
    assert.ok(delivered >= 20 && delivered < sent / 2, `${delivered} of ${sent}`);
    assert.ok((dropped["unknown-unicast"] ?? 0) >= sent - delivered, JSON.stringify(dropped));
    assert.equal(dropped.storm, undefined);
    await limit(0);
  });

  it("sends as much as it likes to whoever is here, elsewhere, comes, moves, or is the gateway", async () => {
    const network = stage.network(1);
    const moving = network.remote(far.id);
    assert.ok(moving !== undefined);
    const known = { sent: 400, delivered: 400, dropped: {} };
    await limit(30);
    for (const { mac: to } of [near, far]) assert.deepEqual(await flood(to), known);
    assert.deepEqual((await flood(networkMac(network.settings.vni))).dropped, {});

    network.putRemote({ ...moving, id: "came", mac: silent, ips: [] });
    await stage.dataplanes[0]?.changed();
    assert.deepEqual((await flood(silent)).dropped, {});
    network.removeRemote("came");
    await stage.dataplanes[0]?.changed();
    assert.ok(((await flood(silent)).dropped["unknown-unicast"] ?? 0) > 0);

    const local = network.local(near.id);
    assert.ok(local !== undefined);
    network.putLocal({ ...local, allowedAddresses: [{ prefix: cidr("10.0.0.100/32"), mac: silent }] });
    await stage.dataplanes[0]?.changed();
    assert.deepEqual((await flood(silent)).dropped, {});
    network.putLocal(local);
    await stage.dataplanes[0]?.changed();
    assert.ok(((await flood(silent)).dropped["unknown-unicast"] ?? 0) > 0);
    await limit(0);
  });

  it("sends as much as it likes to what the bridge has learned here, from its first frame on, while the network learns", async () => {
    await limit(30, { localLearning: true });
    assert.ok(((await flood(silent)).dropped["unknown-unicast"] ?? 0) > 0);
    stage.sendFrom("near", bare(attacker.mac, silent));
    await eventually("the bridge has learned it", () => inTenant("bridge fdb show").includes(silent));
    assert.deepEqual((await flood(silent)).dropped, {});
    await limit(30, { localLearning: false });
    assert.ok(((await flood(silent)).dropped["unknown-unicast"] ?? 0) > 0);
    await limit(0);
  });

  it("sends as much as it likes to anybody where nobody can know who there is", async () => {
    for (const changes of [{ antiSpoof: false }, { learning: "data-plane" as const }]) {
      await limit(30, changes);
      assert.deepEqual((await flood(silent)).dropped, {});
      await limit(0, { antiSpoof: true, learning: "control-plane" });
    }
  });

  it("finds after a restart who is known, and nothing is written", async () => {
    await limit(30);
    const [first] = stage.dataplanes;
    await first?.close();
    stage.dataplanes[0] = await stage.startNode(1, { stormControl: { port: 30, network: 0 } });
    assert.equal(stage.dataplanes[0].writes, 0);
    assert.deepEqual((await flood(far.mac)).dropped, {});
    assert.ok(((await flood(silent)).dropped["unknown-unicast"] ?? 0) > 0);
    await limit(0);
  });

  it("sends what it likes where the network has no protection: the attacks are real", async () => {
    const network = stage.network(1);
    network.setSettings({ ...network.settings, antiSpoof: false, vlanTags: true });
    stage.network(2).setSettings({ ...stage.network(2).settings, vlanTags: true });
    for (const dataplane of stage.dataplanes) await dataplane.changed();
    for (const attack of attacks) assert.ok((await stage.play(attack, 10)).delivered > 0, attack.name);
  });
});

describe("an endpoint whose node answers what it asks for", requires("nft-inet"), () => {
  let stage: Stage;
  before(async () => {
    stage = await Stage.make("heard", unlimited);
  });
  after(() => stage.close());

  const change = async (changes: Partial<NetworkSettings>): Promise<void> => {
    const network = stage.network(1);
    network.setSettings({ ...network.settings, ...changes });
    await stage.dataplanes[0]?.changed();
  };
  const from = (etherType: "arp" | "ipv4" | "ipv6"): LayerDraft => ({
    protocol: "ethernet",
    header: { source: attacker.mac, destination: broadcastMac, etherType },
  });
  const over4 = (source: Ipv4Address, destination = "255.255.255.255", fragmentOffset = 0): LayerDraft => ({
    protocol: "ipv4",
    header: {
      ...{ dscp: 0, ecn: 0, identification: 0, dontFragment: false, moreFragments: false, fragmentOffset },
      ...{ timeToLive: 64, protocol: "udp", source, destination: ip(destination) as Ipv4Address },
      options: new Uint8Array(),
    },
  });
  const over6 = (nextHeader: "udp" | "icmpv6"): LayerDraft => ({
    protocol: "ipv6",
    header: {
      ...{ dscp: 0, ecn: 0, flowLabel: 0, nextHeader, hopLimit: 255 },
      ...{ source: attacker.ipv6, destination: ip("ff02::2") as Ipv6Address },
    },
  });
  const udp = (sourcePort: number, destinationPort: number): LayerDraft => ({
    protocol: "udp",
    header: { sourcePort, destinationPort },
  });
  const asks = (target: string): LayerDraft => ({
    protocol: "arp",
    header: {
      ...{ operation: "request", senderMac: attacker.mac, senderIp: attacker.ipv4, targetMac: zeroMac },
      targetIp: ip(target) as Ipv4Address,
    },
  });
  const solicitation: LayerDraft = {
    protocol: "icmpv6",
    header: { type: "router-solicitation", code: 0, options: [] },
  };
  const requests: readonly [string, LayerDraft[]][] = [
    ["DHCPv4 of a client without an address", [from("ipv4"), over4(ip("0.0.0.0") as Ipv4Address), udp(68, 67)]],
    ["DHCPv4 of a client that has one", [from("ipv4"), over4(attacker.ipv4), udp(68, 67)]],
    ["DHCPv6", [from("ipv6"), over6("udp"), udp(546, 547)]],
    ["a router solicitation", [from("ipv6"), over6("icmpv6"), solicitation]],
    ["ARP for the server without an address", [from("arp"), asks("169.254.0.1")]],
  ];
  const others: readonly [string, LayerDraft[]][] = [
    ["UDP to another port", [from("ipv4"), over4(attacker.ipv4), udp(68, 69)]],
    ["UDP of IPv6 to another port", [from("ipv6"), over6("udp"), udp(546, 548)]],
    ["ARP for another address", [from("arp"), asks("169.254.0.2")]],
  ];
  const metadata = "169.254.169.254";
  const forMetadata: readonly [string, LayerDraft[]][] = [
    ["ARP for the address of metadata", [from("arp"), asks(metadata)]],
    ["any port of it", [from("ipv4"), over4(attacker.ipv4, metadata), udp(9_999, 9_999)]],
    ["a later fragment to it", [from("ipv4"), over4(attacker.ipv4, metadata, 9), udp(0, 0)]],
  ];
  const deliver = async (layers: LayerDraft[]): Promise<boolean> => {
    const { delivered, dropped } = await stage.play({ frame: () => buildFrame(layers) }, 10);
    assert.deepEqual(dropped, {});
    return delivered > 0;
  };

  for (const antiSpoof of [true, false])
    it(`keeps it from all others ${antiSpoof ? "with" : "without"} protection, and nothing else`, async () => {
      await change({ antiSpoof, answersDhcp: true });
      for (const [name, layers] of requests) assert.equal(await deliver(layers), false, name);
      for (const [name, layers] of others) assert.equal(await deliver(layers), true, name);
      for (const [name, layers] of forMetadata) assert.equal(await deliver(layers), true, name);
      await change({ antiSpoof, answersDhcp: false, answersAtNodeAddress: true });
      for (const [name, layers] of [...requests, ...others]) assert.equal(await deliver(layers), true, name);
      for (const [name, layers] of forMetadata) assert.equal(await deliver(layers), false, name);
      await change({ antiSpoof, answersAtNodeAddress: false });
    });
});
