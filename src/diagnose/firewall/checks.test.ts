import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ip } from "../../base/ip.ts";
import {
  type Judge,
  type Judged,
  judgeContainer,
  judgeForwarding,
  judgeTracking,
  judgeTunnel,
  type TunnelEnds,
  tracksConnections,
} from "./checks.ts";
import { legacyChains } from "./iptables-save.ts";
import { judge } from "./judge.ts";
import { causeWords, remediesFor } from "./remedies.ts";
import type { Ruleset } from "./ruleset.ts";

/** Rules of the table `filter`, or of the one that is named, in the words of iptables-save. */
function rulesetOf(rules: string, policies: Readonly<Record<string, string>> = {}, table = "filter"): Ruleset {
  const hooks = ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"];
  const chains = hooks.map((hook) => `:${hook} ${policies[hook] ?? "ACCEPT"} [0:0]`);
  const saved = `*${table}\n${chains.join("\n")}\n:DOCKER-USER - [0:0]\n${rules}\nCOMMIT\n`;
  return { chains: legacyChains(saved, 4), sets: [], unread: [] };
}

const judgeOf =
  (ruleset: Ruleset): Judge =>
  async (packet, hooks) =>
    judge(ruleset, packet, hooks);

const vxlan: TunnelEnds = {
  local: ip("192.0.2.1"),
  remote: ip("192.0.2.2"),
  protocol: 17,
  port: 4789,
  vni: 4242,
  interfaceName: "eth0",
};
const overIp: TunnelEnds = { local: vxlan.local, remote: vxlan.remote, protocol: 47, interfaceName: "eth0" };

const verdicts = (all: readonly Judged[]): string[] =>
  all.map(({ what, judgement, isAcceptedOnceEstablished }) =>
    [what, judgement.verdict, ...(isAcceptedOnceEstablished === undefined ? [] : [isAcceptedOnceEstablished])].join(
      ": ",
    ),
  );

describe("a tunnel", () => {
  it("is judged in both directions", async () => {
    const ruleset = rulesetOf("-A OUTPUT -d 192.0.2.2/32 -o eth0 -p udp -m udp --dport 4789 -j DROP");
    assert.deepEqual(verdicts(await judgeTunnel(judgeOf(ruleset), vxlan)), [
      "UDP to port 4789 to 192.0.2.2: drop",
      "UDP to port 4789 from 192.0.2.2: accept",
    ]);
  });
  it("over UDP is never established, by IP alone it is once both have sent", async () => {
    const ruleset = rulesetOf("-A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT", { INPUT: "DROP" });
    assert.deepEqual(verdicts(await judgeTunnel(judgeOf(ruleset), vxlan)), [
      "UDP to port 4789 to 192.0.2.2: accept",
      "UDP to port 4789 from 192.0.2.2: drop",
    ]);
    assert.deepEqual(verdicts(await judgeTunnel(judgeOf(ruleset), overIp)), [
      "packets of IP protocol 47 to 192.0.2.2: accept",
      "packets of IP protocol 47 from 192.0.2.2: drop: true",
    ]);
  });
  it("goes to an address of this host", async () => {
    const ruleset = rulesetOf("-A INPUT -m addrtype ! --dst-type LOCAL -j DROP");
    const [, received] = await judgeTunnel(judgeOf(ruleset), vxlan);
    assert.equal(received?.judgement.verdict, "accept");
  });
});

describe("connection tracking", () => {
  const rows: readonly (readonly [what: string, ruleset: Ruleset, isTracked: string, invalid: string])[] = [
    ["nobody asks for it", rulesetOf("-A INPUT -p udp -j ACCEPT"), "no", "accept"],
    ["what is invalid is dropped", rulesetOf("-A INPUT -m conntrack --ctstate INVALID -j DROP"), "yes", "drop"],
    ["a translation", rulesetOf("-A POSTROUTING -j MASQUERADE", {}, "nat"), "yes", "accept"],
    ["it is exempt", rulesetOf("-A PREROUTING -p udp -m udp --dport 4789 -j CT --notrack", {}, "raw"), "no", "accept"],
    [
      "it is perhaps exempt",
      rulesetOf("-A PREROUTING -m string --string a --algo bm -j CT --notrack", {}, "raw"),
      "unknown",
      "accept",
    ],
  ];
  for (const [what, ruleset, isTracked, invalid] of rows)
    it(`${what}: ${isTracked}, ${invalid}`, async () => {
      const tracking = await judgeTracking(judgeOf(ruleset), ruleset, vxlan);
      assert.deepEqual([tracking.isTracked, tracking.invalid.judgement.verdict], [isTracked, invalid]);
    });
  it("is asked for by conditions on it and by chains that translate", () => {
    assert.equal(tracksConnections(rulesetOf("-A INPUT -m conntrack --ctstate NEW -j ACCEPT")), true);
    assert.equal(tracksConnections(rulesetOf("-A INPUT -j ACCEPT")), false);
  });
});

describe("what a host forwards", () => {
  const between = { from: ip("10.0.0.2"), to: ip("192.0.2.9"), in: "wu1", out: "eth0" };
  it("is judged with what answers it", async () => {
    const ruleset = rulesetOf(
      "-A FORWARD -i wu1 -p tcp -j ACCEPT\n-A FORWARD -o wu1 -m conntrack --ctstate ESTABLISHED -j ACCEPT",
      {
        FORWARD: "DROP",
      },
    );
    assert.deepEqual(verdicts(await judgeForwarding(judgeOf(ruleset), between)), [
      "ping from 10.0.0.2 to 192.0.2.9: drop",
      "answers to ping from 10.0.0.2 to 192.0.2.9: accept",
      "TCP from 10.0.0.2 to 192.0.2.9: accept",
      "answers to TCP from 10.0.0.2 to 192.0.2.9: accept",
      "UDP from 10.0.0.2 to 192.0.2.9: drop",
      "answers to UDP from 10.0.0.2 to 192.0.2.9: accept",
    ]);
  });
  it("through Docker's rules has a chain of its own", async () => {
    const ruleset = rulesetOf("-A FORWARD -j DOCKER-USER", { FORWARD: "DROP" });
    const [ping] = await judgeForwarding(judgeOf(ruleset), between);
    assert.ok(ping?.judgement.by);
    assert.equal(
      causeWords(ping.judgement.by),
      "policy drop of chain iptables-legacy filter FORWARD, at forward, priority 0",
    );
    const commands = remediesFor(ruleset, ping.judgement.by, ping.packet);
    assert.deepEqual(commands, {
      remove: "iptables-legacy -t filter -P FORWARD ACCEPT",
      precede: "iptables-legacy -t filter -A FORWARD -s 10.0.0.2 -d 192.0.2.9 -p icmp --icmp-type 8 -j ACCEPT",
      manager: { name: "Docker", command: "iptables-legacy -I DOCKER-USER -s 10.0.0.2 -d 192.0.2.9 -j ACCEPT" },
    });
  });
});

describe("a container", () => {
  const container = { own: ip("10.1.0.1"), other: ip("10.1.0.2"), interfaceName: "eth0", port: 80 };
  it("is judged when it is asked and when it asks", async () => {
    const ruleset = rulesetOf(
      "-A INPUT -p tcp -m tcp --dport 443 -j ACCEPT\n-A OUTPUT -p icmp -m icmp --icmp-type 8 -j REJECT",
      {
        INPUT: "DROP",
      },
    );
    assert.deepEqual(verdicts(await judgeContainer(judgeOf(ruleset), container)), [
      "ping from 10.1.0.2: drop",
      "answers to ping from 10.1.0.2: accept",
      "ping to 10.1.0.2: reject",
      "answers to ping to 10.1.0.2: drop",
      "TCP to port 80 from 10.1.0.2: drop",
      "answers to TCP to port 80 from 10.1.0.2: accept",
      "TCP to port 80 to 10.1.0.2: accept",
      "answers to TCP to port 80 to 10.1.0.2: drop",
    ]);
  });
  it("without a port is judged by ping alone, over IPv6, too", async () => {
    const six = { own: ip("fd00::1"), other: ip("fd00::2"), interfaceName: "eth0" };
    const all = await judgeContainer(judgeOf(rulesetOf("")), six);
    assert.equal(all.length, 4);
    assert.deepEqual(
      all.map(({ packet }) => packet.icmp?.type),
      [128, 129, 128, 129],
    );
  });
});
