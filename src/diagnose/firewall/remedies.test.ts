import assert from "node:assert/strict";
import { it } from "node:test";
import { ip } from "../../base/ip.ts";
import type { Packet } from "./packet.ts";
import { causeWords, remediesFor } from "./remedies.ts";
import type { Chain, Rule } from "./ruleset.ts";

const rule: Rule = { handle: 7, text: "udp dport 4789 drop", expressions: [] };
const other: Rule = { handle: 5, text: "accept", expressions: [] };
const input: Chain = {
  ...{ origin: "nft", family: "inet", table: "filter", name: "input", rules: [other, rule] },
  base: { type: "filter", hook: "input", priority: -5, policy: "drop", devices: [] },
};
const vxlan: Packet = {
  ...{ source: ip("192.0.2.2"), destination: ip("192.0.2.1"), protocol: 17, destinationPort: 4789, in: "eth0" },
};
const six: Packet = { source: ip("fd00::2"), destination: ip("fd00::1"), protocol: 58, icmp: { type: 128, code: 0 } };
const overIp: Packet = { source: vxlan.source, destination: vxlan.destination, protocol: 47 };

const remedies = (chain: Chain, by: Rule | undefined, packet: Packet, chains: readonly Chain[] = [chain]) =>
  remediesFor({ chains, sets: [], unread: [] }, { chain, ...(by === undefined ? {} : { rule: by }) }, packet);

it("names a rule by its table, chain and handle, and a policy by its hook", () => {
  assert.equal(causeWords({ chain: input, rule }), 'rule "udp dport 4789 drop" of chain inet filter input, handle 7');
  assert.equal(causeWords({ chain: input }), "policy drop of chain inet filter input, at input, priority -5");
  assert.equal(
    causeWords({ chain: { ...input, origin: "legacy", family: "ip6", name: "INPUT" }, rule }),
    'rule "udp dport 4789 drop" of chain ip6tables-legacy filter INPUT, number 7',
  );
});

it("gives commands of nft for tables of nftables", () => {
  const between = "ip saddr 192.0.2.2 ip daddr 192.0.2.1";
  assert.deepEqual(remedies(input, rule, vxlan), {
    remove: "nft delete rule inet filter input handle 7",
    precede: `nft insert rule inet filter input handle 7 ${between} udp dport 4789 accept`,
  });
  assert.deepEqual(remedies(input, undefined, overIp), {
    remove: "nft chain inet filter input '{ policy accept; }'",
    precede: `nft add rule inet filter input ${between} meta l4proto 47 accept`,
  });
  assert.match(remedies(input, rule, six).precede, /ip6 saddr fd00::2 ip6 daddr fd00::1 icmpv6 type 128 accept$/);
});

it("gives commands of iptables for its tables, by the place of the rule", () => {
  const chain: Chain = { ...input, family: "ip", name: "INPUT" };
  assert.deepEqual(remedies(chain, rule, vxlan), {
    remove: "iptables-nft -t filter -D INPUT 2",
    precede: "iptables-nft -t filter -I INPUT 2 -s 192.0.2.2 -d 192.0.2.1 -p udp --dport 4789 -j ACCEPT",
  });
  assert.deepEqual(remedies({ ...chain, family: "ip6" }, undefined, six), {
    remove: "ip6tables-nft -t filter -P INPUT ACCEPT",
    precede: "ip6tables-nft -t filter -A INPUT -s fd00::2 -d fd00::1 -p icmpv6 --icmpv6-type 128 -j ACCEPT",
  });
  assert.match(remedies(chain, rule, overIp).precede, /-p 47 -j ACCEPT$/);
});

it("names who keeps the rules, and how he is told", () => {
  const named = (name: string): Chain => ({ ...input, family: "ip", name });
  const ufw = [named("INPUT"), named("ufw-user-input")];
  const sent: Packet = { source: vxlan.source, destination: vxlan.destination, protocol: 17, out: "eth0" };
  const commands = [
    remedies({ ...input, table: "firewalld" }, rule, vxlan),
    remedies(named("INPUT"), rule, vxlan, ufw),
    remedies(named("OUTPUT"), rule, sent, ufw),
    remedies(named("FORWARD"), rule, { ...vxlan, out: "eth1" }, ufw),
    remedies(named("FORWARD"), rule, { ...vxlan, out: "eth1" }, [named("DOCKER-USER")]),
    remedies(named("INPUT"), rule, vxlan, [named("DOCKER-USER")]),
  ];
  assert.deepEqual(
    commands.map(({ manager }) => manager?.command),
    [
      "firewall-cmd --permanent --zone=trusted --add-source=192.0.2.2 && firewall-cmd --reload",
      "ufw allow from 192.0.2.2 to 192.0.2.1",
      "ufw allow out from 192.0.2.2 to 192.0.2.1",
      "ufw route allow from 192.0.2.2 to 192.0.2.1",
      "iptables-nft -I DOCKER-USER -s 192.0.2.2 -d 192.0.2.1 -j ACCEPT",
      undefined,
    ],
  );
});
