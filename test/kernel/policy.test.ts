/** What becomes of packets under policies, by real sockets; and of policies when things change, are damaged or start again. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, before, describe, it } from "node:test";
import { ip } from "../../src/base/ip.ts";
import { ruleIdentifier } from "../../src/dataplane/policy/verdict-list.ts";
import { NetworkNamespace } from "../../src/linux/index.ts";
import type { Policy } from "../../src/model/policy/index.ts";
import { PolicyStage, type Talk } from "../policy/stage.ts";
import { fileRequires } from "../support/kernel.ts";
import { eventually, settled } from "../support/underlay.ts";

await fileRequires("nft-inet", "quick processes");

const parties = [
  { name: "client", node: 1, labels: { app: "client" } },
  { name: "server", node: 1, labels: { app: "server" } },
  { name: "far", node: 2, labels: { app: "client", place: "far" } },
];
const server = { endpoints: "app=server" };
const allow = (fields: object) => ({ direction: "ingress", action: "allow", ...fields });
const tcp = (...ports: (number | string)[]) => [{ protocol: "tcp", ports }];

describe("policies", () => {
  let stage: PolicyStage;
  before(async () => {
    stage = await PolicyStage.make("policy", parties);
  });
  after(() => stage.close());

  const inTenant = (script: string): string => {
    using namespace = NetworkNamespace.openNamed(stage.tenantName(1));
    return namespace.run(() => execFileSync("/bin/sh", ["-e", "-c", script], { encoding: "utf8" }));
  };
  const portOf = (name: string): string => `ve${stage.party(name).id}`;
  /** What is said is answered. */
  const goesOn = async (talk: Talk): Promise<void> => {
    talk.say();
    await eventually("what was said is answered", () => talk.isHeard);
  };
  /** What is said is dropped at the port of one of the two. */
  const isCut = async (talk: Talk, ...names: string[]): Promise<void> => {
    const sum = (): number => names.reduce((total, name) => total + stage.denied(name), 0);
    const before = sum();
    talk.say();
    await eventually("what was said is dropped", () => sum() > before);
    assert.equal(talk.isHeard, false);
  };
  const counted = (node: number, name: string): number | undefined => {
    const policies: readonly Policy[] = stage.policies;
    for (const policy of policies)
      for (const rule of policy.rules)
        if (rule.name === name) return stage.policyOf(node).countOf(ruleIdentifier({ policy, rule }));
    return undefined;
  };

  it("end a connection that one forbids which came later, in both directions, and let it go on when that goes", async () => {
    await stage.setPolicies({ ...server, rules: [allow({})] });
    for (const from of ["client", "far"]) {
      const talk = await stage.open(from, "server", "tcp", 80);
      await goesOn(talk);
      await stage.setPolicies({ ...server, rules: [allow({ ports: tcp(81) })] });
      await isCut(talk, "server");
      await stage.setPolicies({ ...server, rules: [allow({})] });
      await eventually("the connection goes on", () => talk.isHeard);
      await talk.end();
    }
  });

  it("end a connection that was there before any, of whoever began it; what they allow goes on", async () => {
    await stage.setPolicies();
    const forbidden = await stage.open("client", "server", "tcp", 80);
    const allowed = await stage.open("far", "server", "tcp", 80);
    const outgoing = await stage.open("server", "client", "tcp", 81);
    for (const talk of [forbidden, allowed, outgoing]) await goesOn(talk);
    await stage.setPolicies({ ...server, rules: [allow({ peers: [{ endpoints: "place=far" }] })] });
    await isCut(forbidden, "server");
    await goesOn(allowed);
    await goesOn(outgoing);
    for (const talk of [forbidden, allowed, outgoing]) await talk.end();
  });

  it("let answers and what tells of errors come back to who may ask, and to nobody else", async () => {
    await stage.setPolicies({
      endpoints: "app=client",
      isolates: ["ingress", "egress"],
      rules: [
        {
          direction: "egress",
          action: "allow",
          peers: [{ endpoints: "app=server" }],
          ports: [{ protocol: "udp", ports: ["80", "9999"] }],
        },
      ],
    });
    assert.equal(await stage.reaches("client", "server", "udp", 80), true);
    assert.equal(await stage.reaches("client", "server", "udp", 81), false);
    assert.equal(await stage.reaches("server", "client", "udp", 80), false);
    for (const family of [4, 6] as const) {
      // Nobody is at this port: ICMP says so.
      const talk = await stage.open("client", "server", "udp", 9999, family);
      await eventually("it is told that nobody is there", () => talk.hasFailed);
      await talk.end();
    }
  });

  it("are about types of ICMP messages; address resolution is none of theirs", async () => {
    const ping = (address: string): boolean =>
      stage.container("client").shell(`ping -c1 -W1 ${address} || true`).includes(" 1 received");
    const { ipv4, ipv6 } = stage.party("server");
    await stage.setPolicies({ ...server, rules: [allow({ ports: [{ protocol: "icmp", types: [8] }] })] });
    assert.equal(ping(ipv4), true);
    const before = stage.denied("server");
    assert.equal(ping(ipv6), false);
    assert.ok(stage.denied("server") > before);
    await stage.setPolicies({ ...server, rules: [allow({ ports: [{ protocol: "icmpv6", types: [128] }] })] });
    assert.equal(ping(ipv6), true);
    assert.equal(ping(ipv4), false);
  });

  it("hold for fragments as for the first of them", async () => {
    const ping = (address: string): string => stage.container("far").shell(`ping -c1 -W1 -s 4000 ${address} || true`);
    const { ipv4, ipv6 } = stage.party("server");
    await stage.setPolicies({ ...server, rules: [allow({ ports: [{ protocol: "icmp" }, { protocol: "icmpv6" }] })] });
    for (const address of [ipv4, ipv6]) assert.match(ping(address), / 1 received/);
    await stage.setPolicies({ ...server, rules: [allow({ ports: tcp(80) })] });
    for (const address of [ipv4, ipv6]) assert.match(ping(address), / 0 received/);
  });

  it("decide by priority, then by what denies; what only logs decides nothing, and counts", async () => {
    const deny = { direction: "ingress", action: "deny" };
    await stage.setPolicies(
      {
        ...server,
        priority: 10,
        rules: [{ ...deny, name: "not-81", ports: tcp(81) }, allow({ name: "first", ports: tcp(80) })],
      },
      { ...server, priority: 20, rules: [{ ...deny, name: "late", ports: tcp(80) }] },
      {
        ...server,
        priority: 10,
        rules: [
          allow({ name: "also-81", ports: tcp("81") }),
          { direction: "ingress", action: "log", name: "seen", ports: tcp("1-65535") },
        ],
      },
    );
    assert.equal(await stage.reaches("client", "server", "tcp", 80), true);
    assert.equal(await stage.reaches("far", "server", "tcp", 81), false);
    assert.equal(await stage.reaches("far", "server", "tcp", 40_000), false);
    assert.deepEqual(
      ["first", "late", "also-81"].map((name) => counted(1, name)),
      [1, 0, 0],
    );
    // Connections that are denied are tried again.
    assert.ok((counted(1, "not-81") ?? 0) >= 1);
    assert.ok((counted(1, "seen") ?? 0) >= 1);
  });

  it("are nothing that a flush of all rules of nftables opens; a filter that is taken away comes back, and is told", async () => {
    await stage.setPolicies({ ...server, rules: [allow({ ports: tcp(80) })] });
    inTenant("nft flush ruleset");
    assert.equal(await stage.reaches("far", "server", "tcp", 81), false);
    for (const direction of ["ingress", "egress"]) {
      inTenant(`tc filter del dev ${portOf("server")} ${direction} prio 2`);
      await eventually("it is back", () =>
        inTenant(`tc filter show dev ${portOf("server")} ${direction}`).includes("weft-policy"),
      );
      for (const dataplane of stage.dataplanes) await settled(dataplane);
    }
    assert.match(
      stage.events.map(({ message }) => message).join("\n"),
      new RegExp(`restored port ${portOf("server")}`),
    );
    assert.equal(await stage.reaches("far", "server", "tcp", 81), false);
    assert.equal(await stage.reaches("far", "server", "tcp", 80), true);
  });

  it("hold while no agent runs; one that starts writes nothing, and connections go on", async () => {
    await stage.setPolicies({ ...server, rules: [allow({ ports: tcp(80) })] });
    const talk = await stage.open("client", "server", "tcp", 80);
    await goesOn(talk);
    const denied = stage.denied("server");
    const [first] = stage.dataplanes;
    await first?.close();
    await goesOn(talk);
    stage.container("client").shell(`timeout 1 sh -c 'exec 3<>/dev/tcp/${stage.party("server").ipv4}/81' || true`);
    stage.dataplanes[0] = await stage.startNode(1);
    assert.equal(stage.dataplanes[0].writes, 0);
    await goesOn(talk);
    await talk.end();
    assert.ok(stage.denied("server") >= denied);
    assert.equal(await stage.reaches("client", "server", "tcp", 81), false);
    assert.equal(await stage.reaches("client", "server", "tcp", 80), true);
  });

  it("deny where a network says so, for endpoints that no policy isolates", async () => {
    await stage.setPolicies(
      { ...server, rules: [allow({ peers: [{ endpoints: "place=far" }] })] },
      {
        endpoints: "place=far",
        isolates: [],
        rules: [{ direction: "egress", action: "allow", peers: [{ endpoints: "app=server" }] }],
      },
    );
    await stage.setSettings({ policyDefault: "deny" });
    assert.equal(await stage.reaches("far", "server", "tcp", 80), true);
    assert.equal(await stage.reaches("far", "client", "tcp", 80), false);
    assert.equal(await stage.reaches("client", "far", "udp", 80), false);
    await stage.setSettings({ policyDefault: "allow" });
    assert.equal(await stage.reaches("far", "client", "tcp", 80), true);
  });

  it("deny to those of whom nothing is known yet what any rule denies to endpoints", async () => {
    await stage.setPolicies({
      ...server,
      rules: [{ direction: "ingress", action: "deny", peers: [{ endpoints: "app=evil" }] }],
    });
    assert.equal(await stage.reaches("far", "server", "tcp", 80), true);
    const { id, ipv4, ipv6, labels } = stage.party("far");
    for (const { policies } of stage.dataplanes) policies.removeMember(id);
    await stage.changed();
    assert.equal(await stage.reaches("far", "server", "tcp", 80), false);
    for (const { policies } of stage.dataplanes)
      policies.putMember({ id, tenant: "blue", network: "blue-net", ips: [ipv4, ipv6], labels });
    await stage.changed();
    assert.equal(await stage.reaches("far", "server", "tcp", 80), true);
    await stage.setLabels("far", { app: "evil" });
    assert.equal(await stage.reaches("far", "server", "tcp", 80), false);
    await stage.setLabels("far", labels);
  });

  it("know that a gateway of theirs is no endpoint but the node, and explain says so", async () => {
    const gateways = [
      { address: ip("10.0.0.254"), prefixLength: 24 },
      { address: ip("fd00::fe"), prefixLength: 64 },
    ] as const;
    await stage.setSettings({ gateways });
    const denyEvil = (direction: string) => ({ direction, action: "deny", peers: [{ endpoints: "app=evil" }] });
    const allowNode = (direction: string) => ({ direction, action: "allow", peers: [{ node: "own" }] });
    const { ipv4, ipv6 } = stage.party("server");
    // Beside the gateway, an address of which nobody knows whose it is.
    const others = ["10.0.0.253", "fd00::fd"] as const;
    inTenant(`ip addr add ${others[0]}/32 dev br4244; ip addr add ${others[1]}/128 dev br4244 nodad`);
    const isAnswered = (ping: string): boolean => ping.includes(" 1 received");
    const pingFrom = (from: string, to: string): boolean =>
      isAnswered(inTenant(`ping -c1 -W1 -I ${from} ${to} || true`));
    const pingTo = (to: string): boolean => isAnswered(stage.container("server").shell(`ping -c1 -W1 ${to} || true`));
    for (const rule of [denyEvil, allowNode])
      for (const [index, family, protocol, own] of [
        [0, 4, "icmp", ipv4],
        [1, 6, "icmpv6", ipv6],
      ] as const) {
        await stage.setPolicies({ ...server, rules: [rule("ingress"), rule("egress")] });
        for (const [address, isAllowed] of [
          [gateways[index].address, true],
          [others[index], false],
        ] as const) {
          assert.equal(stage.explains(address, "server", { protocol }, family), isAllowed, `from ${address}`);
          assert.equal(stage.explains("server", address, { protocol }, family), isAllowed, `to ${address}`);
          const before = stage.denied("server");
          assert.equal(pingFrom(address, own), isAllowed, `from ${address}`);
          assert.equal(pingTo(address), isAllowed, `to ${address}`);
          assert.equal(stage.denied("server") > before, !isAllowed, `${address} is denied`);
        }
      }
    inTenant(`ip addr del ${others[0]}/32 dev br4244; ip addr del ${others[1]}/128 dev br4244`);
    await stage.setSettings({ gateways: [] });
  });

  it("are none of address resolution's, whatever they deny", async () => {
    await stage.setPolicies({ isolates: ["ingress", "egress"] });
    const container = stage.container("client");
    for (const family of [4, 6] as const) {
      const { ipv4, ipv6 } = stage.party("server");
      container.shell(`ip -${family} neigh flush dev eth0`);
      assert.equal(await stage.reaches("client", "server", "tcp", 80, family), false);
      const [known] = container.json(`ip -j -${family} neigh show ${family === 4 ? ipv4 : ipv6} dev eth0`);
      assert.match(known?.lladdr ?? "", /^02:bb:/);
    }
  });

  it("leave nothing behind when they go", async () => {
    await stage.setPolicies({ ...server, rules: [allow({ ports: tcp(80) })] });
    assert.match(inTenant(`tc filter show dev ${portOf("server")} egress`), /weft-policy/);
    assert.doesNotMatch(inTenant(`tc filter show dev ${portOf("client")} egress`), /weft-policy/);
    await stage.setPolicies();
    for (const direction of ["ingress", "egress"])
      assert.doesNotMatch(inTenant(`tc filter show dev ${portOf("server")} ${direction}`), /weft-policy/);
    assert.equal(await stage.reaches("far", "server", "tcp", 81), true);
  });
});
