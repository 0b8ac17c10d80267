/** A packet is followed by what tables say and by packets that are sent: in networks that are well, and where something is broken. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { NetworkNamespace } from "../../src/linux/index.ts";
import { createNetworks, idle, inLab, testLab, theWholeFile, until, weft } from "../support/cluster.ts";
import { inTenant } from "../support/cluster-tables.ts";
import { fileRequires } from "../support/kernel.ts";

await fileRequires("quick processes", "nft-inet");

const lab = await testLab(theWholeFile(), { hosts: 2 });
await createNetworks(lab, [
  { name: "flat", subnets: ["10.1.0.0/24", "fd01::/64"], vni: 7001 },
  { name: "front", tenant: "routed", subnets: ["10.2.0.0/24"], vni: 7002, gateway: "distributed" },
  { name: "back", tenant: "routed", subnets: ["10.3.0.0/24"], vni: 7003, gateway: "distributed" },
  { name: "pods", tenant: "kube", mode: "l3", subnets: ["10.4.0.0/16"], vni: 7004, egress: true, hostAccess: true },
  { name: "plain", tenant: "straight", mode: "l3", encapsulation: "direct", subnets: ["10.5.0.0/16"], vni: 7005 },
]);
const addresses = new Map<string, readonly string[]>();
const endpoints = new Map<string, string>();
for (const [name, host, network] of [
  ["a", "h1", "flat"],
  ["near", "h1", "flat"],
  ["b", "h2", "flat"],
  ["front", "h1", "front"],
  ["back", "h2", "back"],
  ["pod1", "h1", "pods"],
  ["pod2", "h2", "pods"],
  ["plain1", "h1", "plain"],
  ["plain2", "h2", "plain"],
] as const) {
  lab.addContainer(name);
  const { ips, id } = await lab.attach(name, host, network);
  addresses.set(name, ips);
  endpoints.set(name, id);
}
await idle(lab, "h1", "h2");

const outside = "192.0.2.254";
const ipOf = (name: string, family: 4 | 6 = 4): string =>
  addresses.get(name)?.find((ip) => ip.includes(":") === (family === 6)) ?? name;

interface ToldStep {
  readonly node: string;
  readonly name: string;
  readonly at: string;
  readonly result: string;
  readonly detail: string;
  readonly observed?: { readonly seen: number };
}
interface ToldJourney {
  readonly verdict: string;
  readonly reason: string;
  readonly sent: number;
  readonly legs: readonly { readonly node: string; readonly failure: string; readonly steps: readonly ToldStep[] }[];
}

/** What `weft trace` tells, on a host; without one, by way of the server. */
async function traced(
  words: readonly string[],
  host = "h1",
  namespace?: NetworkNamespace,
): Promise<{ readonly status: number; readonly journeys: readonly ToldJourney[] }> {
  const agent = `${lab.names.directory}/${host}/run/agent.sock`;
  const server = `${lab.names.directory}/${namespace === undefined ? "server" : "nowhere"}/server.sock`;
  const { status, output, complaints } = await weft(
    ["trace", ...words, "--agent", agent, "--server", server, "-o", "json"],
    namespace,
  );
  assert.ok(output !== "", complaints);
  return { status, journeys: JSON.parse(output).journeys };
}

const stepsOf = (journey: ToldJourney | undefined): readonly ToldStep[] =>
  journey?.legs.flatMap(({ steps }) => steps) ?? [];

/** All that a journey tells, for people who see a test fail. */
const text = (journeys: readonly ToldJourney[]): string =>
  journeys
    .map((each) =>
      [
        `${each.verdict}: ${each.reason}`,
        ...stepsOf(each).map(
          ({ node, name, at, result, detail, observed }) =>
            `  ${node} ${name} ${at} ${result} ${detail} ${observed === undefined ? "" : observed.seen}`,
        ),
      ].join("\n"),
    )
    .join("\n");

const healthy = [
  ["on one node", "a", "near"],
  ["in a layer-2 network", "a", "b"],
  ["between networks of a tenant", "front", "back"],
  ["in a layer-3 network", "pod1", "pod2"],
  ["without a tunnel", "plain1", "plain2"],
] as const;

for (const [how, from, to] of healthy)
  test(`${how} it arrives, and so does the answer`, async () => {
    for (const dryRun of [true, false]) {
      const { status, journeys } = await traced([ipOf(from), ipOf(to), ...(dryRun ? ["--dry-run"] : [])]);
      assert.equal(status, 0, text(journeys));
      assert.deepEqual(
        journeys.map(({ verdict }) => verdict),
        ["arrives", "arrives"],
        text(journeys),
      );
      const steps = journeys.flatMap(stepsOf);
      assert.ok(
        steps.every(({ result }) => result === "passes"),
        text(journeys),
      );
      const observed = steps.flatMap(({ observed: each }) => each ?? []);
      assert.equal(observed.length > 0, !dryRun);
      for (const { seen } of observed) assert.equal(seen, 3, text(journeys));
    }
  });

test("over IPv6, by TCP and UDP, and by way of the server", async () => {
  for (const words of [["--protocol", "udp"], ["--port", "80"], []]) {
    const { journeys } = await traced([ipOf("a", 6), ipOf("b", 6), ...words]);
    assert.equal(journeys[0]?.verdict, "arrives", text(journeys));
    assert.equal(journeys[0]?.sent, 3);
  }
  const { journeys } = await traced([endpoints.get("pod1") ?? "", endpoints.get("pod2") ?? ""], "nowhere");
  assert.deepEqual(
    journeys.map(({ verdict, sent }) => [verdict, sent]),
    [
      ["arrives", 3],
      ["arrives", 3],
    ],
    text(journeys),
  );
});

test("to the outside it leaves under the node's address; without egress it does not", async () => {
  for (const words of [["--dry-run"], []]) {
    const { journeys } = await traced([ipOf("pod1"), outside, ...words]);
    assert.deepEqual([journeys.length, journeys[0]?.verdict], [1, "leaves"], text(journeys));
    assert.ok(stepsOf(journeys[0]).some(({ name }) => name === "translation"));
  }
  const { status, journeys } = await traced([ipOf("front"), outside]);
  assert.deepEqual([status, journeys[0]?.verdict], [1, "stops"], text(journeys));
  assert.match(journeys[0]?.reason ?? "", /routing/);
});

test("the host reaches endpoints of a network with hostAccess", async () => {
  const { journeys } = await traced(["192.0.2.1", ipOf("pod1")]);
  assert.equal(journeys[0]?.verdict, "arrives", text(journeys));
});

interface Fault {
  readonly what: string;
  readonly from: string;
  readonly to: string;
  readonly words?: readonly string[];
  /** Shell scripts, by the place that they run in. */
  readonly breaks: readonly (readonly [place: string, script: string])[];
  readonly mends: readonly (readonly [place: string, script: string])[];
  /** Which journey stops: there, or back. */
  readonly journey?: number;
  /** What the tables say; absent: that it arrives. */
  readonly tables?: RegExp;
  readonly seen: RegExp;
}

const drop = (hook: string, what: string): string =>
  `nft "table inet fault { chain c { type filter hook ${hook} priority 0; ${what} drop; }; }"`;
const noDrop = "nft delete table inet fault";

const faults: readonly Fault[] = [
  {
    what: "the container has another MAC",
    ...{ from: "a", to: "b" },
    breaks: [["a", "ip link set eth0 address 02:00:00:00:00:99"]],
    mends: [["a", "ip link set eth0 address MAC"]],
    tables: /node h1, protection .*02:00:00:00:00:99 is none of its MAC addresses/,
    seen: /node h1, protection .*02:00:00:00:00:99 is none of its MAC addresses/,
  },
  {
    what: "the container's interface is down at the receiver",
    ...{ from: "a", to: "b" },
    breaks: [["b", "ip link set eth0 down"]],
    mends: [["b", "ip link set eth0 up"]],
    tables: /node h2, port .*no carrier/,
    seen: /node h2, port .*no carrier.*packets were seen at decapsulation/,
  },
  {
    what: "the default route leads to nobody",
    ...{ from: "front", to: "back" },
    breaks: [["front", "ip route add default via 10.2.0.99"]],
    mends: [["front", "ip route del default via 10.2.0.99"]],
    tables: /node h1, address-resolution at 10\.2\.0\.99/,
    seen: /node h1, address-resolution at 10\.2\.0\.99.*no packet was seen/,
  },
  {
    what: "the container has no route",
    ...{ from: "front", to: "back" },
    breaks: [["front", "ip route add unreachable 10.3.0.0/24"]],
    mends: [["front", "ip route del unreachable 10.3.0.0/24"]],
    tables: /node h1, container-route .*there is no route/,
    seen: /node h1, container-route .*there is no route/,
  },
  {
    what: "the underlay has no route",
    ...{ from: "a", to: "b" },
    breaks: [["h1", "ip route add unreachable 192.0.2.2/32"]],
    mends: [["h1", "ip route del unreachable 192.0.2.2/32"]],
    tables: /node h1, underlay-route at 192\.0\.2\.2/,
    seen: /node h1, underlay-route at 192\.0\.2\.2/,
  },
  {
    what: "a router's time to live is at its end",
    ...{ from: "front", to: "back", words: ["--ttl", "1"] },
    ...{ breaks: [], mends: [] },
    tables: /node h1, time-to-live/,
    seen: /node h1, time-to-live .*packets were seen at port .*10\.2\.0\.1 refuses them: EHOSTUNREACH/,
  },
  {
    what: "packets are larger than the network carries",
    ...{ from: "a", to: "b", words: ["--size", "1451"] },
    ...{ breaks: [], mends: [] },
    tables: /node h1, container-mtu at eth0: 1451 octets are more than its MTU of 1450/,
    seen: /node h1, container-mtu .*EMSGSIZE/,
  },
  {
    what: "the firewall of the sender's host drops what leaves",
    ...{ from: "a", to: "b" },
    breaks: [["h1", drop("output", "udp dport 4789")]],
    mends: [["h1", noDrop]],
    tables: /node h1, host-firewall .*rule "udp dport 4789 drop" of chain inet fault c/,
    seen: /node h1, host-firewall .*rule "udp dport 4789 drop".*packets were seen at tunnel vx7001 of node h1, and none at underlay-interface/,
  },
  {
    what: "the firewall of the receiver's host drops what comes",
    ...{ from: "a", to: "b" },
    breaks: [["h2", drop("input", "udp dport 4789")]],
    mends: [["h2", noDrop]],
    tables: /node h2, host-firewall .*rule "udp dport 4789 drop" of chain inet fault c/,
    seen: /node h2, host-firewall .*packets were seen at underlay eth0 of node h2, and none at decapsulation/,
  },
  {
    what: "the firewall of a host drops what it forwards to the outside",
    ...{ from: "pod1", to: outside },
    breaks: [["h1", drop("forward", "ip daddr 192.0.2.254")]],
    mends: [["h1", noDrop]],
    tables: /node h1, host-firewall .*forward.*rule "ip daddr 192\.0\.2\.254 drop"/,
    seen: /node h1, host-firewall .*packets were seen at uplink uplink of node h1, and none at underlay-interface/,
  },
  {
    what: "the firewall of the receiving container drops what comes",
    ...{ from: "a", to: "b" },
    breaks: [["b", drop("input", "icmp type echo-request")]],
    mends: [["b", noDrop]],
    tables: /node h2, container-firewall .*rule "icmp type echo-request drop"/,
    seen: /node h2, container-firewall .*packets were seen at container eth0 of node h2/,
  },
  {
    what: "the firewall of the sending container drops what leaves",
    ...{ from: "a", to: "b" },
    breaks: [["a", drop("output", "icmp type echo-request")]],
    mends: [["a", noDrop]],
    tables: /node h1, container-firewall .*rule "icmp type echo-request drop"/,
    seen: /node h1, container-firewall .*no packet was seen.*EPERM/,
  },
  {
    what: "the firewall of the receiving container drops the answer",
    ...{ from: "a", to: "b", journey: 1 },
    breaks: [["b", drop("output", "icmp type echo-reply")]],
    mends: [["b", noDrop]],
    tables: /node h2, container-firewall .*rule "icmp type echo-reply drop"/,
    seen: /node h2, container-firewall .*rule "icmp type echo-reply drop"/,
  },
  {
    what: "something between the nodes drops them",
    ...{ from: "a", to: "b" },
    breaks: [
      ["switch", `nft "table bridge fault { chain c { type filter hook forward priority 0; udp dport 4789 drop; }; }"`],
    ],
    mends: [["switch", "nft delete table bridge fault"]],
    seen: /packets were seen at underlay-interface eth0 of node h1, and none at underlay eth0 of node h2: something between/,
  },
];

const script = (where: string, what: string): Promise<string> => inLab(lab, where, "sh", "-c", what);

for (const fault of faults)
  test(`${fault.what}: it is said where packets stop, and why`, async () => {
    const { from, to, words = [], journey = 0 } = fault;
    const mac = JSON.parse(await script(from, "ip -j link show eth0"))[0].address;
    try {
      for (const [place, what] of fault.breaks) await script(place, what);
      await until(async () => {
        const dry = await traced([ipOf(from), ipOf(to), ...words, "--dry-run"]);
        const told = dry.journeys[journey];
        if (fault.tables === undefined) assert.equal(told?.verdict, "arrives", text(dry.journeys));
        else assert.match(told?.reason ?? "", fault.tables, text(dry.journeys));
        assert.equal(dry.status, fault.tables === undefined ? 0 : 1);
      });
      const live = await traced([ipOf(from), ipOf(to), ...words]);
      assert.equal(live.journeys[journey]?.verdict, "stops", text(live.journeys));
      assert.match(live.journeys[journey]?.reason ?? "", fault.seen, text(live.journeys));
      assert.equal(live.status, 1);
    } finally {
      for (const [place, what] of fault.mends) await script(place, what.replace("MAC", mac));
    }
    await until(async () => {
      const { status, journeys } = await traced([ipOf(from), ipOf(to)]);
      assert.equal(status, 0, text(journeys));
    });
  });

test("a policy forbids it: it is said which rule of which", async () => {
  await lab.admin.apply({
    resources: [
      {
        resource: {
          case: "policy",
          value: {
            name: "quiet",
            tenant: "acme",
            networks: ["flat"],
            rules: [{ name: "no-ping", direction: "ingress", action: "deny", ports: [{ protocol: "icmp" }] }],
          },
        },
      },
    ],
  });
  await until(async () => {
    const { journeys } = await traced([ipOf("a"), ipOf("b"), "--dry-run"]);
    assert.match(journeys[0]?.reason ?? "", /node h2, policy .*denied by rule no-ping of policy quiet/, text(journeys));
  });
  const { status, journeys } = await traced([ipOf("a"), ipOf("b")]);
  assert.equal(status, 1);
  assert.match(
    journeys[0]?.reason ?? "",
    /no-ping of policy quiet; packets were seen at decapsulation vx7001 of node h2, and none at port/,
    text(journeys),
  );
  assert.equal((await traced([ipOf("a"), ipOf("b"), "--protocol", "udp"])).journeys[0]?.verdict, "arrives");
  await lab.admin.delete({ resources: [{ kind: "policy", name: "quiet" }] });
});

test("without an agent the tables of its node say where it stops", async () => {
  await lab.stop("h1");
  await inTenant(lab, "h1", "acme", "ip", "link", "set", "vx7001", "down");
  using host = lab.namespace("h1");
  const { status, journeys } = await traced([ipOf("a"), ipOf("b")], "h1", host);
  assert.equal(status, 1, text(journeys));
  assert.match(journeys[0]?.reason ?? "", /node h1, tunnel at vx7001: is down/, text(journeys));
  await lab.startAgent("h1");
  await idle(lab, "h1");
  const { journeys: mended } = await traced([ipOf("a"), ipOf("b")]);
  assert.equal(mended[0]?.verdict, "arrives", text(mended));
});
