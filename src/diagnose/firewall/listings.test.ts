/** What programs print of rules, as this reads it. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { withTranslations } from "./iptables-nft.ts";
import { legacyChains } from "./iptables-save.ts";
import { readListedText } from "./listed-text.ts";
import { nftRuleset } from "./ruleset.ts";

it("takes text, devices and what is dormant from the listing that people read", () => {
  const { rules, devices, dormant } = readListedText(`table inet off { # handle 1
	flags dormant

	chain input { # handle 1
		type filter hook input priority filter; policy drop;
	}
}
table netdev edge { # handle 2
	set ports { # handle 7
		type inet_service
	}

	chain one { # handle 1
		type filter hook ingress device "eth0" priority filter; policy accept;
		udp dport { 1000, 2000,
			    3000 } drop comment "a # handle 9" # handle 4
	}

	chain two { # handle 2
		comment "of two"
		type filter hook ingress devices = { eth0, "eth1" } priority filter; policy accept;
		drop # handle 5
	}
}
`);
  assert.deepEqual(
    [...rules],
    [
      ["netdev edge one 4", 'udp dport { 1000, 2000, 3000 } drop comment "a # handle 9"'],
      ["netdev edge two 5", "drop"],
    ],
  );
  assert.deepEqual(
    [...devices],
    [
      ["netdev edge one", ["eth0"]],
      ["netdev edge two", ["eth0", "eth1"]],
    ],
  );
  assert.deepEqual([...dormant], ["inet off"]);
});

it("leaves out what is dormant, what is asked to be left out, and tables that judge no IP packets", () => {
  const table = (family: string, name: string): object[] => [
    { table: { family, name } },
    { chain: { family, table: name, name: "c" } },
    { rule: { family, table: name, chain: "c", handle: 1, expr: [{ drop: null }] } },
    { set: { family, table: name, name: "s", type: "mark" } },
  ];
  const objects = [table("inet", "a"), table("inet", "off"), table("ip", "own"), table("arp", "b")].flat();
  const text = { rules: new Map(), devices: new Map(), dormant: new Set(["inet off"]) };
  const { chains, sets } = nftRuleset(objects, text, (name) => name === "own");
  assert.deepEqual(
    chains.map(({ table, rules }) => [table, rules.length, rules[0]?.text]),
    [["a", 1, '[{"drop":null}]']],
  );
  assert.deepEqual(
    sets.map(({ table }) => table),
    ["a"],
  );
});

describe("what iptables-nft wrote", () => {
  const xt = (type: string, name: string): object => ({ xt: { type, name } });
  const state = (op: string, right: number[]): object => ({ match: { op, left: { ct: { key: "state" } }, right } });
  const udpPorts = (op: string, set: unknown[]): object => ({
    match: { op, left: { payload: { protocol: "udp", field: "dport" } }, right: { set } },
  });
  const type = (protocol: string, right: number): object => ({
    match: { op: "==", left: { payload: { protocol, field: "type" } }, right },
  });
  const fib = (right: number): object => ({
    match: { op: "==", left: { fib: { result: "type", flags: ["daddr"] } }, right },
  });
  const mark = (value: string): object => ({ mangle: { key: { meta: { key: "mark" } }, value: { xt: value } } });
  const rows: readonly (readonly [text: string, xt: object, expected: readonly object[] | "kept"])[] = [
    ["ct state related,established accept", xt("match", "conntrack"), [state("in", [4, 2])]],
    ["ct state ! invalid accept", xt("match", "conntrack"), [state("!", [1])]],
    ["ct state new ct status dnat accept", xt("match", "conntrack"), "kept"],
    ["ct state tracked accept", xt("match", "conntrack"), "kept"],
    ['ct status dnat counter drop comment "ct state new"', xt("match", "conntrack"), "kept"],
    ["xt match conntrack drop", xt("match", "conntrack"), "kept"],
    [
      "meta l4proto udp udp dport { 53, 60-70 } drop",
      xt("match", "multiport"),
      [udpPorts("==", [53, { range: [60, 70] }])],
    ],
    ["meta l4proto udp udp dport != { 53 } drop", xt("match", "multiport"), [udpPorts("!=", [53])]],
    ["udp sport . udp dport { 0-65535 . 1 } drop", xt("match", "multiport"), "kept"],
    ["meta l4proto icmp icmp type echo-request accept", xt("match", "icmp"), [type("icmp", 8)]],
    ["meta l4proto ipv6-icmp icmpv6 type nd-neighbor-solicit accept", xt("match", "icmp6"), [type("icmpv6", 135)]],
    ["icmp type destination-unreachable icmp code 4 accept", xt("match", "icmp"), "kept"],
    ["icmp type strange accept", xt("match", "icmp"), "kept"],
    ["fib daddr type local drop", xt("match", "addrtype"), [fib(2)]],
    ["fib daddr type broadcast drop", xt("match", "addrtype"), [fib(3)]],
    ["fib daddr . iif type local drop", xt("match", "addrtype"), "kept"],
    ["drop", xt("match", "comment"), []],
    ["xt match string drop", xt("match", "string"), "kept"],
    ["reject", xt("target", "REJECT"), [{ reject: null }]],
    ["masquerade", xt("target", "MASQUERADE"), [{ snat: null }]],
    ["dnat to 10.0.0.1:80", xt("target", "DNAT"), [{ dnat: null }]],
    ["udp dport 4789 notrack", xt("target", "CT"), [{ notrack: null }]],
    ['ct zone set 5 comment "notrack"', xt("target", "CT"), []],
    ["meta mark set 0x1", xt("target", "MARK"), [mark("MARK")]],
    ['log prefix "x"', xt("target", "LOG"), []],
    ["xt target TARPIT", xt("target", "TARPIT"), "kept"],
  ];
  for (const [text, expression, expected] of rows)
    it(`${text}: ${expected === "kept" ? expected : JSON.stringify(expected)}`, () => {
      const chain = { origin: "nft", family: "ip", table: "filter", name: "INPUT" } as const;
      const rules = [{ handle: 1, text, expressions: [expression as Record<string, unknown>] }];
      const [rule] = withTranslations({ ...chain, rules }).rules;
      assert.deepEqual(rule?.expressions, expected === "kept" ? [expression] : expected);
    });
});

describe("what iptables-legacy-save prints", () => {
  it("has chains with the hooks and priorities of their tables, and rules by their place", () => {
    const chains = legacyChains(
      `# Generated
*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
COMMIT
*filter
:INPUT DROP [1:2]
:web - [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -j web
-A web -m comment --comment "a \\"b\\" -j DROP" -j RETURN
COMMIT
`,
      4,
    );
    const base = (type: string, hook: string, priority: number, policy: string): object => ({
      ...{ type, hook, priority, policy },
      devices: [],
    });
    assert.deepEqual(
      chains.map(({ table, name, base }) => [table, name, base]),
      [
        ["nat", "PREROUTING", base("nat", "prerouting", -100, "accept")],
        ["nat", "POSTROUTING", base("nat", "postrouting", 100, "accept")],
        ["filter", "INPUT", base("filter", "input", 0, "drop")],
        ["filter", "web", undefined],
      ],
    );
    const rules = chains.flatMap(({ rules }) => rules.map(({ handle, expressions }) => [handle, expressions.at(-1)]));
    assert.deepEqual(rules, [
      [1, { accept: null }],
      [2, { jump: { target: "web" } }],
      [1, { return: null }],
    ]);
  });

  const match = (left: object, right: unknown, op = "=="): object => ({ match: { op, left, right } });
  const payload = (protocol: string, field: string): object => ({ payload: { protocol, field } });
  const undecided = { xt: { type: "match" } };
  const rows: readonly (readonly [rule: string, expected: readonly object[]])[] = [
    [
      "-s 10.0.0.0/8 ! -d 10.1.0.1/32 -j DROP",
      [
        match(payload("ip", "saddr"), { prefix: { addr: "10.0.0.0", len: 8 } }),
        match(payload("ip", "daddr"), { prefix: { addr: "10.1.0.1", len: 32 } }, "!="),
        { drop: null },
      ],
    ],
    [
      "-i ve+ ! -o eth0 -g other",
      [
        match({ meta: { key: "iifname" } }, "ve*"),
        match({ meta: { key: "oifname" } }, "eth0", "!="),
        { goto: { target: "other" } },
      ],
    ],
    [
      "-p udp -m udp --dport 4789 -j REJECT --reject-with icmp-port-unreachable",
      [match({ meta: { key: "l4proto" } }, 17), match(payload("udp", "dport"), { set: [4789] }), { reject: null }],
    ],
    ["-p gre -j ACCEPT", [match({ meta: { key: "l4proto" } }, 47), { accept: null }]],
    ["-p ipencap -j ACCEPT", [match({ meta: { key: "l4proto" } }, 4), { accept: null }]],
    ["-p strange -j ACCEPT", [undecided, { accept: null }]],
    [
      "-p tcp -m multiport --dports 80,1000:2000 -j ACCEPT",
      [
        match({ meta: { key: "l4proto" } }, 6),
        match(payload("tcp", "dport"), { set: [80, { range: [1000, 2000] }] }),
        { accept: null },
      ],
    ],
    [
      "-p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -m conntrack --ctstate NEW -j DROP",
      [
        match({ meta: { key: "l4proto" } }, 6),
        match({ "&": [payload("tcp", "flags"), 0x17] }, 2, "!="),
        match({ ct: { key: "state" } }, [8], "in"),
        { drop: null },
      ],
    ],
    ["-m conntrack ! --ctstate INVALID -j DROP", [match({ ct: { key: "state" } }, [1], "!"), { drop: null }]],
    [
      "-m conntrack --ctstate NEW --ctstatus NONE -j DROP",
      [match({ ct: { key: "state" } }, [8], "in"), undecided, { drop: null }],
    ],
    ["-m limit --limit 3/min --limit-burst 10 -j DROP", [undecided, undecided, undecided, { drop: null }]],
    [
      "-p icmp -m icmp --icmp-type 8 -j DROP",
      [match({ meta: { key: "l4proto" } }, 1), match(payload("icmp", "type"), 8), { drop: null }],
    ],
    ["-p icmp -m icmp --icmp-type 3/4 -j DROP", [match({ meta: { key: "l4proto" } }, 1), undecided, { drop: null }]],
    ["-f -j DROP", [match({ "&": [payload("ip", "frag-off"), 0x1fff] }, 0, "!="), { drop: null }]],
    ["-m mark --mark 0x1/0xff -j DROP", [match({ "&": [{ meta: { key: "mark" } }, "0xff"] }, "0x1"), { drop: null }]],
    [
      "-m addrtype --dst-type LOCAL -j CT --notrack",
      [match({ fib: { result: "type", flags: ["daddr"] } }, 2), { notrack: null }],
    ],
    ['-m string --string "-j ACCEPT" --algo bm -j DROP', [undecided, undecided, undecided, undecided, { drop: null }]],
    ["-j LOG --log-prefix x", []],
    ["-p tcp", [match({ meta: { key: "l4proto" } }, 6)]],
  ];
  for (const [rule, expected] of rows)
    it(`${rule}: ${JSON.stringify(expected)}`, () => {
      const [chain] = legacyChains(`*filter\n:INPUT ACCEPT [0:0]\n-A INPUT ${rule}\n`, 4);
      assert.deepEqual(chain?.rules[0]?.expressions, expected);
      assert.equal(chain?.rules[0]?.text, `-A INPUT ${rule}`);
    });
});
