/** What the judge of firewalls says of a packet, and what the kernel does to it. */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import * as fc from "fast-check";
import { ip } from "../../src/base/ip.ts";
import { mac } from "../../src/base/mac.ts";
import type { KernelNamespace } from "../../src/dataplane/kernel.ts";
import { linuxKernel } from "../../src/dataplane/linux-kernel.ts";
import { fromHost, type Hook, type Packet, throughHost, toHost } from "../../src/diagnose/firewall/packet.ts";
import { judgeIn, readRuleset } from "../../src/diagnose/firewall/read-ruleset.ts";
import { causeWords, remediesFor } from "../../src/diagnose/firewall/remedies.ts";
import type { Ruleset } from "../../src/diagnose/firewall/ruleset.ts";
import { readOnly } from "../../src/diagnose/read-only-kernel.ts";
import { framed } from "../support/judged-packets.ts";
import { type KernelFeature, requires } from "../support/kernel.ts";
import { type TestNamespace, testNamespace } from "../support/namespaces.ts";
import { randomRuleset } from "../support/random-rulesets.ts";
import { RawInterface } from "../support/raw-frames.ts";
import { dockerRules, firewalldRules, handWrittenRules, ufwRules } from "../support/real-rulesets.ts";
import { eventually } from "../support/underlay.ts";

const macs = { left: mac("02:aa:00:00:00:01"), router: mac("02:aa:00:00:00:02"), right: mac("02:aa:00:00:00:03") };

/** Which packets came to the router, and which got through all of its rules: by IPv4's identifier, by IPv6's source. */
const seen = `
table inet seen {
  set began { typeof ip id; size 65535; flags dynamic; }
  set began6 { type ipv6_addr; size 65535; flags dynamic; }
  set passed { typeof ip id; size 65535; flags dynamic; }
  set passed6 { type ipv6_addr; size 65535; flags dynamic; }
  chain first { type filter hook prerouting priority -10000; add @began { ip id }; add @began6 { ip6 saddr }; }
  chain pass { add @passed { ip id }; add @passed6 { ip6 saddr }; }
  chain input { type filter hook input priority 10000; ct state new counter; jump pass; }
  chain postrouting { type filter hook postrouting priority 10000; iifname "eth0" jump pass; }
}`;

/** Of iptables-legacy, whose rules `flush ruleset` leaves. */
const noRules = `*filter
:INPUT ACCEPT
:FORWARD ACCEPT
:OUTPUT ACCEPT
COMMIT
*nat
COMMIT`;

const VXLAN = 4789;
const vxlan = (vni: number): Uint8Array =>
  Uint8Array.from([8, 0, 0, 0, vni >> 16, (vni >> 8) & 255, vni & 255, 0, 1, 2]);

interface Sent {
  readonly packet: Packet;
  readonly hooks: readonly Hook[];
}

describe("what a firewall does to a packet", requires("nft-inet", "quick processes"), () => {
  let left: TestNamespace;
  let router: TestNamespace;
  let right: TestNamespace;
  let byLeft: RawInterface;
  let byRight: RawInterface;
  let identifier = 0;
  /** The router, as what may change nothing sees it. */
  let looked: KernelNamespace;
  const read = (): Promise<Ruleset> => readRuleset(looked, (table) => table === "seen");

  before(async () => {
    left = testNamespace("left");
    router = testNamespace("router");
    right = testNamespace("right");
    router.shell(`
      sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
      ip link add eth0 address ${macs.router} type veth peer name eth0 netns ${left.name} address ${macs.left}
      ip link add eth1 address ${macs.router} type veth peer name eth0 netns ${right.name} address ${macs.right}
      ip link set eth0 up; ip link set eth1 up
      ip addr add 10.1.0.1/24 dev eth0; ip addr add fd01::1/64 dev eth0 nodad
      ip addr add 10.2.0.1/24 dev eth1; ip addr add fd02::1/64 dev eth1 nodad
      ip neigh add 10.2.0.2 lladdr ${macs.right} dev eth1; ip neigh add fd02::2 lladdr ${macs.right} dev eth1
      ip neigh add 10.1.0.9 lladdr ${macs.left} dev eth0; ip neigh add 10.1.0.8 lladdr ${macs.left} dev eth0`);
    for (const end of [left, right]) end.shell("sysctl -qw net.ipv6.conf.all.disable_ipv6=1; ip link set eth0 up");
    looked = readOnly(linuxKernel).openNamed(router.name);
    byLeft = await RawInterface.open(left.namespace, "eth0");
    byRight = await RawInterface.open(right.namespace, "eth0");
  });
  after(() => {
    for (const raw of [byLeft, byRight]) raw?.close();
    looked?.close();
    for (const namespace of [left, router, right]) namespace?.[Symbol.dispose]();
  });

  /** Of each kind one, to the router and through it, each the first of a connection of its own unless it says otherwise. */
  function packets(): Sent[] {
    const port = 20000 + (identifier % 20000);
    const base = { in: "eth0", mark: 0, conntrack: "new" } as const;
    const between = { source: ip("10.1.0.2"), destination: ip("10.1.0.1") };
    const echo = { protocol: 1, icmp: { type: 8, code: 0 } };
    const kinds: Partial<Packet>[] = [
      { protocol: 17, sourcePort: port, destinationPort: 53, payload: new Uint8Array(30) },
      { protocol: 17, sourcePort: port, destinationPort: VXLAN, payload: vxlan(4242) },
      { protocol: 17, sourcePort: "ephemeral", destinationPort: VXLAN, payload: vxlan(4243) },
      { protocol: 6, sourcePort: port, destinationPort: 80, tcpFlags: 2 },
      { protocol: 6, sourcePort: 0x5001, destinationPort: 443, tcpFlags: 2, source: ip("10.1.0.3") },
      { protocol: 6, sourcePort: port, destinationPort: 22, tcpFlags: 0x10 },
      echo,
      { protocol: 1, icmp: { type: 0, code: 0 }, conntrack: "invalid" },
      { protocol: 47, payload: Uint8Array.from([0, 0, 8, 0, 1, 2, 3, 4]) },
      { protocol: 4, payload: new Uint8Array(40), source: ip("10.1.0.4") },
    ];
    const kinds6: Partial<Packet>[] = [
      { protocol: 17, sourcePort: port, destinationPort: 53, payload: new Uint8Array(30) },
      { protocol: 6, sourcePort: port, destinationPort: 443, tcpFlags: 2 },
      { protocol: 58, icmp: { type: 128, code: 0 } },
    ];
    const toward = (each: Packet, beyond: string): Sent[] => [
      { packet: { ...each, isForHost: true }, hooks: toHost },
      { packet: { ...each, destination: ip(beyond), out: "eth1" }, hooks: throughHost },
    ];
    return [
      ...kinds.flatMap((kind) => toward({ ...base, ...between, protocol: 0, ...kind }, "10.2.0.2")),
      ...kinds6.flatMap((kind) =>
        toward({ ...base, protocol: 0, ...kind, source: ip("fd01::2"), destination: ip("fd01::1") }, "fd02::2"),
      ),
      { packet: { ...base, ...flow, conntrack: "established", out: "eth1" }, hooks: throughHost },
    ];
  }

  const flow = {
    source: ip("10.1.0.9"),
    destination: ip("10.2.0.2"),
    protocol: 17,
    sourcePort: 7000,
    destinationPort: 53,
  };

  function send(
    by: RawInterface,
    packet: Packet,
    macsOf: readonly [typeof macs.left, typeof macs.left],
  ): [Packet, string] {
    identifier++;
    const isIpv6 = packet.source.startsWith("fd01:");
    const addressed = isIpv6 ? { ...packet, source: ip(`fd01::${(identifier + 0x10).toString(16)}`) } : packet;
    const made = framed(addressed, identifier, macsOf);
    by.send(made.frame);
    return [made.packet, isIpv6 ? made.packet.source : String(identifier)];
  }

  function idsIn(set: string): Set<string> {
    const { nftables } = router.json(`nft -j list set inet seen ${set}`) as {
      nftables: { set?: { elem?: unknown[] } }[];
    };
    return new Set(nftables.flatMap(({ set }) => set?.elem ?? []).map(String));
  }

  const both = (set: string): Set<string> => new Set([...idsIn(set), ...idsIn(`${set}6`)]);

  /** Sends all, and tells what got through. */
  async function outcomes(sent: readonly Sent[]): Promise<[Sent, boolean][]> {
    const ids = sent.map(({ packet, hooks }) => {
      const [made, id] = send(byLeft, packet, [macs.left, macs.router]);
      return { sent: { packet: made, hooks }, id };
    });
    await eventually("the router to have seen all packets", () => {
      const began = both("began");
      return ids.every(({ id }) => began.has(id));
    });
    const passed = both("passed");
    return ids.map(({ sent, id }) => [sent, passed.has(id)]);
  }

  /** Tells whether nft takes them: some that ask for two protocols it does not. */
  async function reset(rules: string): Promise<boolean> {
    await router.kernel.nft("set rules", ["-f", "-"], `flush ruleset\n${seen}`);
    if (requires("iptables-legacy").skip === false) router.shell(`iptables-legacy-restore <<'E'\n${noRules}\nE`);
    // A connection that both sides have used.
    const back = { ...flow, source: flow.destination, destination: flow.source, sourcePort: 53, destinationPort: 7000 };
    for (const [by, packet, between] of [
      [byLeft, flow, [macs.left, macs.router]],
      [byRight, back, [macs.right, macs.router]],
    ] as const) {
      const [, id] = send(by, packet, between);
      await eventually("the connection to begin", () => both("began").has(id));
    }
    return router.kernel.nft("set rules", ["-f", "-"], rules).then(
      () => true,
      (error) => {
        if (/conflicting|only useful|cannot use/.test(String(error))) return false;
        throw error;
      },
    );
  }

  const judged = async ({ packet, hooks }: Sent): Promise<string> => {
    const ruleset = await read();
    const { verdict, by, maybe } = await judgeIn(looked, ruleset, packet, hooks);
    return `${verdict} by ${by?.rule?.text ?? by?.chain.name}, maybe ${maybe.map(({ rule }) => rule?.text)}`;
  };

  it("is what is said of it, whatever the rules are", async () => {
    const counts = { accept: 0, drop: 0, reject: 0, unknown: 0 };
    await fc.assert(
      fc.asyncProperty(randomRuleset, async ({ text, isDecided }) => {
        fc.pre(await reset(text));
        const ruleset = await read();
        const answers = new Map();
        for (const [sent, isPassed] of await outcomes(packets())) {
          const { verdict } = await judgeIn(looked, ruleset, sent.packet, sent.hooks, answers);
          counts[verdict]++;
          const what = async (): Promise<string> =>
            `${JSON.stringify(sent)} ${isPassed ? "passed" : "was dropped"}; judged: ${await judged(sent)}`;
          if (verdict === "unknown") assert.equal(isDecided, false, await what());
          else if (isPassed !== (verdict === "accept")) assert.fail(await what());
        }
      }),
      { numRuns: 40 },
    );
    for (const [verdict, count] of Object.entries(counts)) assert.ok(count > 0, `${verdict}: none`);
  });

  interface Real {
    readonly name: string;
    readonly needs: readonly KernelFeature[];
    readonly set: () => unknown;
    /** How many of the packets are not surely judged: because of limits, or of what the packet does not show. */
    readonly undecided: number;
    /** What forbids a connection through the router to a port that nobody knows. */
    readonly forbids: RegExp;
    /** Whoever keeps the rules has a chain for those of others. */
    readonly manager?: true;
  }

  const restore = (program: string, rules: string) => (): string => router.shell(`${program} <<'E'\n${rules}\nE`);
  const nft = (rules: string) => (): Promise<string> => router.kernel.nft("set rules", ["-f", "-"], rules);
  const real: readonly Real[] = [
    {
      name: "Docker's, by iptables-nft",
      needs: ["iptables-nft"],
      manager: true,
      set: restore("iptables-nft-restore", dockerRules),
      undecided: 0,
      forbids: /^policy drop of chain ip filter FORWARD, at forward, priority 0$/,
    },
    {
      name: "Docker's, by iptables-legacy",
      needs: ["iptables-legacy"],
      manager: true,
      set: restore("iptables-legacy-restore", dockerRules),
      undecided: 0,
      forbids: /^policy drop of chain iptables-legacy filter FORWARD, at forward, priority 0$/,
    },
    {
      name: "ufw's, by iptables-nft",
      needs: ["iptables-nft"],
      set: restore("iptables-nft-restore", ufwRules),
      undecided: 0,
      forbids: /^policy drop of chain ip filter FORWARD, at forward, priority 0$/,
    },
    {
      name: "firewalld's",
      needs: [],
      set: nft(firewalldRules),
      // Whether there is a way back to the source, which is asked over IPv6.
      undecided: 2,
      forbids: /^rule "reject with icmpx.* admin-prohibited" of chain inet firewalld filter_FORWARD, handle \d+$/,
    },
    {
      name: "an administrator's",
      needs: [],
      set: nft(handWrittenRules),
      undecided: 1,
      forbids: /^policy drop of chain inet filter forward, at forward, priority 0$/,
    },
  ];

  for (const { name, needs, set, undecided } of real)
    it(`is what is said of it, with rules of ${name}`, requires(...needs), async () => {
      assert.equal(await reset(""), true);
      await set();
      const ruleset = await read();
      let unknown = 0;
      for (const [sent, isPassed] of await outcomes(packets())) {
        const { verdict } = await judgeIn(looked, ruleset, sent.packet, sent.hooks);
        if (verdict === "unknown") unknown++;
        else assert.equal(verdict === "accept", isPassed, `${JSON.stringify(sent)}: ${await judged(sent)}`);
      }
      assert.equal(unknown, undecided);
    });

  /** Through the router, to a port that no rule names. */
  const forbidden: Sent = {
    packet: {
      ...{ source: ip("10.1.0.2"), destination: ip("10.2.0.2"), protocol: 6, sourcePort: 9, destinationPort: 999 },
      ...{ tcpFlags: 2, in: "eth0", out: "eth1", mark: 0, conntrack: "new" },
    },
    hooks: throughHost,
  };

  for (const { name, needs, set, forbids, manager } of real)
    it(`tells what forbids, and how to allow it, with rules of ${name}`, requires(...needs), async () => {
      for (const remedy of ["precede", "remove", ...(manager ? (["manager"] as const) : [])] as const) {
        assert.equal(await reset(""), true);
        await set();
        const ruleset = await read();
        const { by } = await judgeIn(looked, ruleset, forbidden.packet, forbidden.hooks);
        assert.ok(by);
        assert.match(causeWords(by), forbids);
        const remedies = remediesFor(ruleset, by, forbidden.packet);
        router.shell(remedy === "manager" ? (remedies.manager?.command ?? "false") : remedies[remedy]);
        const [[, isPassed] = []] = await outcomes([forbidden]);
        assert.equal(isPassed, true, remedy);
        assert.equal((await judgeIn(looked, await read(), forbidden.packet, forbidden.hooks)).verdict, "accept");
      }
    });

  const chainIn = (family: string, chain: string, more = ""): string =>
    `table ${family} t {\n${more}\nchain c {\n${chain}\n}\n}`;

  it("is what is said of it where it comes in, before all other hooks", requires("nft-netdev"), async () => {
    const rules = 'type filter hook ingress device "eth0" priority 0; policy accept;\nudp dport 53 drop';
    assert.equal(await reset(chainIn("netdev", rules)), true);
    const [dropped, passed] = packets().filter(({ hooks }) => hooks === toHost);
    assert.ok(dropped && passed);
    const ids = [dropped, passed].map(({ packet }) => send(byLeft, packet, [macs.left, macs.router])[1]);
    // What was sent later came.
    await eventually("the second packet to come", () => both("began").has(String(ids[1])));
    assert.equal(both("began").has(String(ids[0])), false);
    const verdicts = [dropped, passed].map(async ({ packet, hooks }) => judgeIn(looked, await read(), packet, hooks));
    assert.deepEqual(
      (await Promise.all(verdicts)).map(({ verdict }) => verdict),
      ["drop", "accept"],
    );
  });

  it("is what is said of it where it is sent", async () => {
    const rules = "type filter hook output priority 0;\nip daddr 10.1.0.9 icmp type echo-request drop";
    assert.equal(await reset(chainIn("ip", rules)), true);
    byLeft.received();
    const ping: Packet = {
      source: ip("10.1.0.1"),
      destination: ip("10.1.0.9"),
      protocol: 1,
      icmp: { type: 8, code: 0 },
    };
    const verdicts: string[] = [];
    for (const destination of ["10.1.0.9", "10.1.0.8"]) {
      router.shell(`ping -c 1 -W 1 ${destination} || true`);
      const packet = { ...ping, destination: ip(destination), out: "eth0", mark: 0, conntrack: "new" } as const;
      verdicts.push((await judgeIn(looked, await read(), packet, fromHost)).verdict);
    }
    assert.deepEqual(verdicts, ["drop", "accept"]);
    const destinations = new Set<number | undefined>();
    await eventually("the ping that is accepted", () => {
      // IPv4 with ICMP, and the last octet of its destination.
      for (const frame of byLeft.received()) if (frame[12] === 8 && frame[23] === 1) destinations.add(frame[33]);
      return destinations.has(8);
    });
    assert.deepEqual([...destinations], [8]);
  });

  it("is asked of sets with very many elements, element by element", async () => {
    const elements = Array.from({ length: 100_000 }, (_, n) => `10.${100 + (n >> 16)}.${(n >> 8) & 255}.${n & 255}`);
    const set = `set many { type ipv4_addr; elements = { ${elements.join(", ")}, 10.1.0.2 }; }`;
    const rules = "type filter hook input priority 0;\nip saddr @many drop";
    assert.equal(await reset(chainIn("ip", rules, set)), true);
    const ruleset = await read();
    assert.equal(ruleset.sets.length, 1);
    assert.equal(ruleset.sets[0]?.elements, undefined);
    const [sent] = packets();
    assert.ok(sent);
    const verdict = async (source: string): Promise<string> =>
      (await judgeIn(looked, ruleset, { ...sent.packet, source: ip(source) }, sent.hooks)).verdict;
    assert.deepEqual([await verdict("10.1.0.2"), await verdict("10.1.0.3")], ["drop", "accept"]);
  });

  it("says which tables of iptables-legacy it could not read", requires("iptables-legacy"), async () => {
    assert.equal(await reset(""), true);
    router.shell("iptables-legacy -A INPUT -p udp --dport 53 -j DROP");
    const { tables } = await router.kernel.readLegacyIptables(4);
    const blind = { ...looked, readLegacyIptables: async () => ({ tables, saved: undefined }) };
    const { unread } = await readRuleset(blind);
    assert.deepEqual(
      unread.map((words) => /^ip6?tables-legacy has tables .*filter/.test(words)),
      [true, true],
    );
    const [sent] = packets();
    assert.ok(sent);
    assert.equal((await judgeIn(looked, await read(), sent.packet, sent.hooks)).verdict, "drop");
  });
});
