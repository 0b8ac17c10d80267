/**
 * Networks of a tenant that are routed with each other, each with a container on one of three hosts: packets take one hop, on
 * the host of the sender, whatever carries the networks; and nobody else is let in.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { runProgram } from "../../src/lab/process.ts";
import {
  createNetworks,
  idle,
  inLab,
  type NetworkWish,
  pings,
  pingsInVain,
  testLab,
  theWholeFile,
  until,
} from "../support/cluster.ts";
import { inTenant } from "../support/cluster-tables.ts";
import { startStream } from "../support/cluster-traffic.ts";
import { type KernelFeature, requires } from "../support/kernel.ts";

interface Member extends Omit<NetworkWish, "subnets" | "gateway"> {
  readonly needs?: readonly KernelFeature[];
}

/** As many as there are ways to carry a network; the numbers of their subnets and VNIs follow from their order. */
const members: readonly Member[] = [
  { name: "front" },
  { name: "back", underlay: "ipv6" },
  { name: "pods", mode: "l3" },
  { name: "thin", mtu: 1300, port: 8472 },
  { name: "deep", mode: "l3", underlay: "ipv6", mtu: 1400 },
  { name: "geneve2", encapsulation: "geneve", needs: ["geneve"] },
  { name: "geneve3", encapsulation: "geneve", mode: "l3", underlay: "ipv6", needs: ["geneve"] },
  { name: "nvgre2", encapsulation: "nvgre", needs: ["gretap"] },
  { name: "gre3", encapsulation: "gre", mode: "l3", needs: ["gre"] },
  { name: "ipip3", encapsulation: "ipip", mode: "l3", underlay: "ipv6", needs: ["ip6tnl"] },
];
const hosts = ["h1", "h2", "h3"] as const;
const vniOf = (number: number): number => 5000 + number;
const hostOf = (number: number): string => hosts[number % hosts.length] ?? "h1";
const hosted = members.flatMap((member, number) =>
  requires(...(member.needs ?? [])).skip === false ? [{ ...member, number, host: hostOf(number) }] : [],
);

const lab = await testLab(theWholeFile(), { hosts: hosts.length });
await createNetworks(lab, [
  ...hosted.map(({ needs: _, number, host: _host, ...rest }) => ({
    ...rest,
    vni: vniOf(number),
    subnets: [`10.${number + 1}.0.0/24`, `fd${String(number + 1).padStart(2, "0")}::/64`],
    gateway: "distributed",
  })),
  { name: "closed", subnets: ["10.99.0.0/24", "fd99::/64"], vni: 5099 },
  { name: "elsewhere", tenant: "other", subnets: ["10.200.0.0/24", "fd20::/64"], vni: 5200, gateway: "distributed" },
]);

const addresses = new Map<string, readonly string[]>();
async function add(name: string, host: string, network: string): Promise<void> {
  lab.addContainer(name);
  const { ips } = await lab.attach(name, host, network);
  addresses.set(name, ips);
}
for (const { name, host } of hosted) await add(name, host, name);
await add("closed", "h2", "closed");
for (const host of hosts) await add(`other-${host}`, host, "elsewhere");
await idle(lab, ...hosts);

const addressesOf = (name: string): readonly string[] => addresses.get(name) ?? [];
const [front, back, pods, thin] = ["front", "back", "pods", "thin"];

/** Runs a shell script in a container. */
async function run(name: string, script: string): Promise<{ readonly status: number; readonly output: string }> {
  using namespace = lab.namespace(name);
  const { status, output, complaints } = await runProgram(namespace, "sh", ["-c", script]);
  return { status, output: output + complaints };
}

for (const [number, from] of members.entries())
  test(`from ${from.name} to each other network, over IPv4 and IPv6`, requires(...(from.needs ?? [])), async () => {
    using namespace = lab.namespace(from.name);
    for (const to of hosted.filter((each) => each.number !== number))
      for (const address of addressesOf(to.name))
        assert.ok(await pings(namespace, address), `${from.name} reaches ${to.name} at ${address}`);
  });

const quick = requires("quick processes", "nft-inet");

test(
  "one hop, on the host of the sender: what a layer-2 network gets has been routed once, and its DSCP stays",
  quick,
  async () => {
    await inLab(
      lab,
      back,
      "nft",
      `table inet heard { chain in { type filter hook input priority 0;
      icmp type echo-request ip ttl 63 ip dscp ef counter comment "four";
      icmpv6 type echo-request ip6 hoplimit 63 ip6 dscp ef counter comment "six"; }; }`,
    );
    const [four, six] = addressesOf(back);
    const { output } = await run(front, `ping -c 3 -i 0.1 -Q 184 ${four}; ping -c 3 -i 0.1 -Q 184 ${six}`);
    const heard = await inLab(lab, back, "nft", "list table inet heard");
    for (const family of ["four", "six"]) assert.match(heard, new RegExp(`packets 3 .*"${family}"`), heard);
    // Answers take one hop of their own.
    assert.equal(output.match(/ttl=63/g)?.length, 6, output);
    assert.doesNotMatch(output, /redirect/i);
    // Within a layer-3 network, and into one, there is one more: the host of the receiver routes to its block.
    assert.match((await run(front, `ping -c 1 -w 10 ${addressesOf(pods)[0]}`)).output, /ttl=63/);
  },
);

test("where the other network carries less the sender hears so", quick, async () => {
  const [four, six] = addressesOf(thin);
  const answer = await run(front, `ping -c 2 -w 10 -M do -s 1350 ${four}; ping -c 2 -w 10 -M do -s 1350 ${six}`);
  assert.match(answer.output, /From 10\.1\.0\.1 icmp_seq=\d+ Frag needed and DF set \(mtu = 1300\)/);
  assert.match(answer.output, /From fd01::1 icmp_seq=\d+ Packet too big: mtu=1300/);
  assert.equal((await run(front, `ping -c 1 -w 10 -M do -s 1272 ${four}`)).status, 0);
});

test("a host that only routes into a network has it, and is in nobody's flood list", quick, async () => {
  const backVni = vniOf(1);
  const flooded = (host: string): Promise<string> =>
    inTenant(lab, host, "acme", "sh", "-c", `bridge fdb show dev vx${backVni} | grep ^00:00 || true`);
  assert.match(await inTenant(lab, "h1", "acme", "ip", "-br", "addr"), new RegExp(`br${backVni} .*10\\.2\\.0\\.1/24`));
  // The one who has something in it is flooded to by the others, and floods to nobody.
  assert.equal(await flooded("h2"), "");
  for (const host of ["h1", "h3"]) assert.match(await flooded(host), /^00:00:00:00:00:00 dst 2001:db8:\S*2 [^\n]*\n$/);
  const { hosts: shown } = await lab.admin.list({ kind: "network", name: back });
  assert.deepEqual(
    shown.map(({ node, endpoints }) => [node, endpoints]),
    [
      ["h1", 0],
      ["h2", 1],
      ["h3", 0],
    ],
  );
});

test(
  "the gateway's address is one on each host, and nobody asks for it, or answers, through a tunnel",
  quick,
  async () => {
    await add("front3", "h3", front);
    await idle(lab, ...hosts);
    for (const host of ["h1", "h3"])
      await inLab(
        lab,
        host,
        "nft",
        `table inet resolution { chain out { type filter hook output priority 0;
        udp dport 4789 @th,224,16 0x0806 counter;
        udp dport 4789 @th,224,16 0x86dd @th,288,8 58 @th,560,8 { 133, 134, 135, 136, 137 } counter; }; }`,
      );
    const macs: string[] = [];
    for (const name of [front, "front3"]) {
      const { output } = await run(
        name,
        "ip neigh flush all; ping -c 1 -w 10 10.1.0.1 >/dev/null; ping -c 1 -w 10 fd01::1 >/dev/null; ip neigh show 10.1.0.1; ip neigh show fd01::1",
      );
      macs.push(...Array.from(output.matchAll(/lladdr (\S+)/g), ([, mac = ""]) => mac));
    }
    assert.deepEqual([macs.length, new Set(macs).size], [4, 1], macs.join(" "));
    // An address that nobody has is asked for on no other host.
    assert.match((await run(front, "ping -c 1 -W 4 10.2.0.77")).output, /Destination Host Unreachable/);
    for (const host of ["h1", "h3"]) {
      const listed = await inLab(lab, host, "nft", "list table inet resolution");
      assert.equal(listed.match(/counter packets 0 /g)?.length, 2, listed);
      await inLab(lab, host, "nft", "delete table inet resolution");
    }
    await lab.detach("front3", "h3", front);
  },
);

test(
  "no network of another tenant is reached, none without the gateway, and no forged source gets through",
  quick,
  async () => {
    using from = lab.namespace(front);
    for (const target of ["closed", "other-h1", "other-h2", "other-h3"])
      for (const address of addressesOf(target)) assert.ok(await pingsInVain(from, address), `${front} -> ${target}`);
    for (const host of hosts) {
      using other = lab.namespace(`other-${host}`);
      for (const address of addressesOf(back)) assert.ok(await pingsInVain(other, address), `other-${host} -> ${back}`);
    }
    // Not even when it says what way to go, or who it is.
    await run(
      front,
      "ip addr add 10.2.0.77/32 dev eth0; ip route add 10.200.0.0/24 via 10.1.0.1; ip route add 10.99.0.0/24 via 10.1.0.1",
    );
    for (const target of ["closed", "other-h1", "other-h2"])
      assert.ok(await pingsInVain(from, addressesOf(target)[0] ?? ""), target);
    await inLab(
      lab,
      back,
      "nft",
      "table inet forged { chain in { type filter hook input priority 0; ip saddr 10.2.0.77 counter; }; }",
    );
    await run(front, `ping -c 2 -i 0.1 -W 1 -I 10.2.0.77 ${addressesOf(back)[0]}`);
    assert.match(await inLab(lab, back, "nft", "list table inet forged"), /packets 0 /);
    await run(front, "ip addr del 10.2.0.77/32 dev eth0; ip route del 10.200.0.0/24; ip route del 10.99.0.0/24");
    assert.ok(await pings(from, addressesOf(back)[0] ?? ""), "while what is its own gets through");
  },
);

const damages: readonly (readonly [what: string, command: string])[] = [
  ["the bridge of a network that it only routes into", `ip link del br${vniOf(1)}`],
  ["its tunnel", `ip link del vx${vniOf(1)}`],
  ["the gateway's address", `ip addr del 10.2.0.1/24 dev br${vniOf(1)}`],
  ["a block's route", "ip route del 10.3.0.0/26"],
];
for (const [what, command] of damages)
  test(`damage is repaired: ${what}`, quick, async () => {
    const { repairs } = await lab.agent("h1").getStatus({});
    await inTenant(lab, "h1", "acme", "sh", "-c", command);
    await until(async () => {
      const status = await lab.agent("h1").getStatus({});
      assert.ok(status.inSync && status.repairs > repairs);
    });
    using from = lab.namespace(front);
    for (const target of [back, pods])
      for (const address of addressesOf(target)) assert.ok(await pings(from, address), `${front} -> ${target}`);
  });

test(
  "an agent that starts again with nothing to change writes nothing, and no packet between networks is lost",
  quick,
  async (t) => {
    using from = lab.namespace(front);
    using to = lab.namespace(back);
    const stream = await startStream(t, from, to, addressesOf(back)[0] ?? "");
    for (const host of ["h1", "h2"]) {
      lab.kill(host);
      await lab.startAgent(host);
      await idle(lab, host);
      const { netlinkWrites } = await lab.agent(host).getStatus({});
      assert.equal(netlinkWrites, 0n, host);
    }
    const traffic = await stream.stop();
    assert.equal(traffic.lost, 0, JSON.stringify(traffic));
  },
);

test("a container that moves is reached by other networks at its new place", quick, async () => {
  const [four = "", six = ""] = addressesOf(back);
  await lab.detach(back, "h2", back);
  await lab.attach(back, "h3", back, { ips: [four, six] });
  await idle(lab, ...hosts);
  using from = lab.namespace(front);
  for (const address of [four, six]) assert.ok(await pings(from, address));
});

test("a network that is routed no more leaves the hosts that have nothing of it, and comes back", quick, async () => {
  const set = async (gateway: string): Promise<void> => {
    const value = { name: thin, tenant: "acme", mtu: 1300, port: 8472, subnets: ["10.4.0.0/24", "fd04::/64"], gateway };
    await lab.admin.apply({ resources: [{ resource: { case: "network", value } }] });
    await idle(lab, ...hosts);
  };
  using from = lab.namespace(front);
  const devices = (host: string): Promise<string> => inTenant(lab, host, "acme", "ip", "-br", "link");
  const bridge = `br${vniOf(3)}`;
  await set("none");
  for (const address of addressesOf(thin)) assert.ok(await pingsInVain(from, address));
  assert.ok(!(await devices("h2")).includes(bridge) && (await devices("h1")).includes(bridge));
  await set("distributed");
  for (const address of addressesOf(thin)) assert.ok(await pings(from, address));
  assert.ok((await devices("h2")).includes(bridge));
});

test("a host that has nothing of any of them keeps none", quick, async () => {
  // It owns no block of a layer-3 network, which would stay.
  for (const { name, host } of hosted) if (host === "h1") await lab.detach(name, host, name);
  await until(async () =>
    assert.ok(!(await inLab(lab, "h1", "ip", "netns")).includes(`${lab.names.instance("h1")}-acme`)),
  );
  await idle(lab, ...hosts);
  // Nobody else lets it in any more, but for the network that it hosts still.
  const left = await inLab(lab, "h2", "nft", "list", "set", "inet", `weft-${lab.names.instance("h2")}`, "members4");
  assert.deepEqual(left.match(/0x\S+ \. 192\.0\.2\.1/g), [`0x${(5200).toString(16)} . 192.0.2.1`]);
});
