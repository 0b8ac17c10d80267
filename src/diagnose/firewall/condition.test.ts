import assert from "node:assert/strict";
import { it } from "node:test";
import { ip } from "../../base/ip.ts";
import { matches } from "./condition.ts";
import type { Change, Place } from "./fields.ts";
import type { Packet } from "./packet.ts";
import type { Truth } from "./truth.ts";

const unchanged: Change = {
  mark: 5,
  isUntracked: "no",
  isSourceTranslated: "no",
  isDestinationTranslated: "no",
  isRewritten: false,
};

/** A VXLAN packet of VNI 4242 for this host. */
const vxlan: Packet = {
  source: ip("10.1.0.2"),
  destination: ip("10.1.0.1"),
  protocol: 17,
  destinationPort: 4789,
  payload: [undefined, undefined, undefined, undefined, 0, 0x10, 0x92],
  in: "eth0",
  conntrack: "new",
  length: 128,
};

interface At extends Partial<Omit<Place, "packet" | "change">> {
  readonly packet?: Partial<Packet>;
  readonly change?: Partial<Change>;
}

function place({ packet, change, hook = "input", hooks = [hook], priority = 0 }: At): Place {
  return { packet: { ...vxlan, ...packet }, change: { ...unchanged, ...change }, hook, hooks, priority };
}

/** What a condition is of the packet: by `==` unless it names another operator. */
type Row = readonly [left: object, right: unknown, is: Truth, at?: At & { readonly op?: string }];

const payload = (protocol: string, field: string): object => ({ payload: { protocol, field } });
const meta = (key: string): object => ({ meta: { key } });
const ct = (key: string): object => ({ ct: { key } });
const th = (offset: number, len: number): object => ({ payload: { base: "th", offset, len } });
const prefix = (addr: string, len: number): object => ({ prefix: { addr, len } });
const tcp: Partial<Packet> = { protocol: 6, sourcePort: 9, destinationPort: 443, tcpFlags: 2 };
const ping: Partial<Packet> = { protocol: 1, icmp: { type: 8, code: 0 } };
const six: Partial<Packet> = { source: ip("fd01::2"), destination: ip("fd01::1") };

const rows: readonly Row[] = [
  [payload("ip", "saddr"), "10.1.0.2", "yes"],
  [payload("ip", "saddr"), "10.1.0.3", "no"],
  [payload("ip", "saddr"), prefix("10.0.0.0", 8), "yes"],
  [payload("ip", "saddr"), prefix("10.0.0.0", 8), "no", { op: "!=" }],
  [payload("ip", "daddr"), { range: ["10.1.0.2", "10.1.0.9"] }, "no"],
  [payload("ip", "saddr"), "10.1.0.2", "unknown", { change: { isSourceTranslated: "yes" } }],
  [payload("ip", "saddr"), "10.1.0.2", "unknown", { change: { isRewritten: true } }],
  // Of the other IP version there is no such field, whatever it is compared with.
  [payload("ip", "saddr"), "10.1.0.3", "no", { op: "!=", packet: six }],
  [payload("ip6", "saddr"), prefix("fd01::", 64), "yes", { packet: six }],
  [payload("ip6", "nexthdr"), 17, "yes", { packet: six }],
  [payload("ip", "protocol"), { set: [47, 17] }, "yes"],
  [payload("ip", "ttl"), 1, "unknown"],
  [payload("ip", "length"), { range: [1, 100] }, "no"],
  [{ "&": [payload("ip", "daddr"), "0.0.0.255"] }, "0.0.0.1", "yes"],
  [{ "&": [payload("ip", "frag-off"), 8191] }, 0, "no", { op: "!=" }],
  [{ "&": [payload("ip", "frag-off"), 0x4000] }, 0, "unknown"],
  [payload("udp", "dport"), 4789, "yes"],
  [payload("udp", "dport"), { set: [22, { range: [4000, 5000] }] }, "yes"],
  [payload("udp", "dport"), 4789, "no", { op: "!=" }],
  [payload("udp", "sport"), 4789, "unknown"],
  [payload("udp", "sport"), 4789, "no", { packet: { sourcePort: 1 } }],
  [payload("udp", "sport"), 1024, "yes", { op: ">=", packet: { sourcePort: "ephemeral" } }],
  [
    payload("udp", "sport"),
    { set: [53, { range: [40000, 50000] }] },
    "unknown",
    { packet: { sourcePort: "ephemeral" } },
  ],
  [payload("th", "sport"), { set: [53, 67] }, "no", { packet: { sourcePort: "ephemeral" } }],
  [payload("udp", "dport"), 1024, "yes", { op: ">" }],
  [payload("udp", "dport"), 4789, "no", { op: "<" }],
  [payload("udp", "dport"), 4789, "yes", { op: "<=" }],
  [payload("udp", "dport"), 0, "no", { op: "<" }],
  // Of another protocol.
  [payload("tcp", "dport"), 22, "no", { op: "!=" }],
  [payload("th", "dport"), 443, "yes", { packet: tcp }],
  [payload("tcp", "flags"), [2, 16], "yes", { op: "in", packet: tcp }],
  [payload("tcp", "flags"), 2, "no", { op: "!", packet: tcp }],
  [{ "&": [payload("tcp", "flags"), [1, 2, 4, 16]] }, 2, "yes", { packet: tcp }],
  [payload("icmp", "type"), { set: [0, 8] }, "yes", { packet: ping }],
  [payload("icmp", "code"), 4, "no", { packet: ping }],
  [payload("icmp", "type"), 8, "no"],
  [payload("icmp", "mtu"), 8, "unknown", { packet: ping }],
  [payload("sctp", "dport"), 8, "no"],
  [payload("nonsense", "field"), 8, "unknown"],
  // A later fragment shows no port, before fragments are put together.
  [payload("udp", "dport"), 22, "no", { op: "!=", hook: "prerouting", priority: -450, packet: { fragment: "later" } }],
  [payload("udp", "dport"), 22, "unknown", { packet: { fragment: "later" } }],
  [{ exthdr: { name: "frag" } }, true, "no", { packet: six }],
  [{ exthdr: { name: "frag" } }, true, "no"],
  [{ exthdr: { name: "frag" } }, true, "unknown", { packet: { ...six, fragment: "first" } }],
  [th(96, 24), 4242, "yes"],
  [th(96, 24), 4243, "no"],
  [th(96, 32), 4242 << 8, "unknown"],
  // A bit that is known is another.
  [th(96, 32), 4243 << 8, "no"],
  [th(64, 8), 8, "unknown"],
  [th(0, 32), 4789, "unknown"],
  [th(0, 8), 8, "yes", { packet: { ...ping, payload: [] } }],
  [{ payload: { base: "nh", offset: 8, len: 8 } }, 5, "unknown"],
  [meta("l4proto"), { set: [4, 17] }, "yes"],
  [meta("nfproto"), 10, "no"],
  // nft's JSON has EtherTypes in the order of the machine, or not.
  [meta("protocol"), 8, "yes"],
  [meta("protocol"), 0x0800, "yes"],
  [meta("protocol"), 0xdd86, "yes", { packet: six }],
  [payload("ether", "type"), 1544, "no"],
  [payload("ether", "saddr"), "02:00:00:00:00:01", "unknown"],
  [meta("mark"), 5, "yes"],
  [{ "&": [meta("mark"), 255] }, 4, "no"],
  [{ "|": [meta("mark"), 2] }, 7, "yes"],
  [meta("mark"), 5, "unknown", { change: { mark: undefined } }],
  [meta("length"), 100, "yes", { op: ">" }],
  [meta("iifname"), "eth0", "yes"],
  [meta("iifname"), "e*", "yes"],
  [meta("iifname"), { set: ["eth1", "lo"] }, "no"],
  // Here is none.
  [meta("oifname"), "docker0", "yes", { op: "!=" }],
  [meta("oifname"), "eth1", "unknown", { hook: "forward" }],
  [meta("iifname"), "eth0", "yes", { hook: "postrouting", hooks: ["forward", "postrouting"] }],
  [meta("iifname"), "eth0", "no", { hook: "output" }],
  [meta("iif"), 7, "no"],
  [meta("skuid"), 0, "unknown"],
  [
    { concat: [payload("ip", "saddr"), payload("udp", "dport")] },
    { concat: ["10.1.0.2", { range: [4000, 5000] }] },
    "yes",
  ],
  [{ concat: [payload("ip", "saddr"), payload("udp", "sport")] }, { set: [{ concat: ["10.1.0.3", 1] }] }, "no"],
  [{ concat: [payload("ip", "saddr"), payload("udp", "sport")] }, { set: [{ concat: ["10.1.0.2", 1] }] }, "unknown"],
  [
    { concat: [payload("ip", "saddr"), payload("tcp", "dport")] },
    { set: [{ concat: ["10.1.0.2", 1] }] },
    "no",
    { op: "!=" },
  ],
  [payload("udp", "dport"), { set: [{ elem: { val: 4789, comment: "VXLAN" } }] }, "yes"],
  [ct("state"), [2, 8], "yes", { op: "in" }],
  [ct("state"), 1, "no", { op: "in" }],
  [ct("state"), 8, "no", { op: "!" }],
  [ct("state"), { set: [2, 4] }, "yes", { op: "!=" }],
  // Before connections are looked up there is none.
  [ct("state"), 1, "yes", { op: "in", hook: "prerouting", priority: -300 }],
  [ct("state"), 1, "unknown", { op: "in", hook: "prerouting", priority: -200 }],
  [ct("state"), 1, "unknown", { op: "in", hook: "prerouting", priority: -300, packet: { in: "lo" } }],
  [ct("state"), 64, "yes", { op: "in", change: { isUntracked: "yes" } }],
  [ct("state"), 64, "unknown", { op: "in", change: { isUntracked: "unknown" } }],
  [ct("mark"), 0, "no", { op: "!=", change: { isUntracked: "yes" } }],
  [ct("mark"), 0, "unknown"],
  [ct("direction"), 1, "no"],
  [ct("status"), 32, "no", { op: "in" }],
  [ct("status"), 32, "yes", { op: "in", change: { isDestinationTranslated: "yes" } }],
  [ct("status"), 32, "unknown", { op: "in", packet: { conntrack: "established" } }],
  [ct("l3proto"), 2, "yes"],
  [{ fib: { result: "type", flags: ["daddr"] } }, 2, "unknown"],
  [{ fib: { result: "type", flags: ["daddr"] } }, 2, "yes", { packet: { isForHost: true } }],
  [{ fib: { result: "type", flags: ["daddr"] } }, 5, "no", { packet: { isForHost: true } }],
  [{ fib: { result: "type", flags: ["daddr"] } }, 2, "no", { hooks: ["prerouting", "forward"] }],
  [{ fib: { result: "oif", flags: ["saddr", "iif"] } }, false, "unknown"],
  [{ numgen: { mode: "random", mod: 2, offset: 0 } }, 0, "unknown"],
  [{ socket: { key: "transparent" } }, 1, "unknown"],
  // Words that are not known: names in place of numbers, a comparison that is to come, numbers beyond JavaScript's.
  [payload("udp", "dport"), "vxlan", "unknown"],
  [payload("udp", "dport"), 4789, "unknown", { op: "~" }],
  [payload("udp", "dport"), 2 ** 60, "unknown"],
];

for (const [left, right, is, { op = "==", ...at } = {}] of rows)
  it(`${JSON.stringify(left)} ${op} ${JSON.stringify(right)} ${JSON.stringify(at)}: ${is}`, () =>
    assert.equal(
      matches(place(at), { op, left, right }, () => assert.fail("no set is named")),
      is,
    ));

it("asks named sets for what is there, and nothing for what is not", () => {
  const asked: unknown[] = [];
  const lookUp = (set: string, key: unknown) => {
    asked.push(set, key);
    return { is: "yes" as const };
  };
  assert.equal(matches(place({}), { op: "==", left: payload("udp", "dport"), right: "@ports" }, lookUp), "yes");
  assert.equal(matches(place({}), { op: "!=", left: payload("udp", "dport"), right: "@ports" }, lookUp), "no");
  assert.equal(matches(place({}), { op: "!=", left: payload("tcp", "dport"), right: "@ports" }, lookUp), "no");
  assert.equal(asked.length, 4);
});
