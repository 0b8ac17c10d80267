/**
 * A deployment made by hand, with no more than an operator has: hosts with addresses, the commands, and the tools of
 * iproute2, tcpdump and iperf3 to look at what came of it.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { weftProgram } from "../../src/lab/process.ts";
import { NetworkNamespace } from "../../src/linux/index.ts";
import {
  BackgroundProgram,
  cleanUp,
  pings,
  removeNamespaces,
  testDirectory,
  theWholeFile,
  uniqueName,
  until,
  weft,
  weftJson,
} from "../support/cluster.ts";
import { fileRequires } from "../support/kernel.ts";
import { testNamespace } from "../support/namespaces.ts";
import { makeUnderlay } from "../support/underlay.ts";

// Only what is asked for by name below: an installation on this machine is not to be found by chance.
for (const name of Object.keys(process.env)) if (name.startsWith("WEFT_")) delete process.env[name];

await fileRequires("quick processes");
const file = theWholeFile();
const instance = uniqueName();
cleanUp(file, () => removeNamespaces((name) => name.startsWith(instance)));
const directory = testDirectory(file);
const underlay = makeUnderlay(3);
file.after(() => underlay[Symbol.dispose]());
const [h1, h2, serverHost] = underlay.hosts;
assert.ok(h1 !== undefined && h2 !== undefined && serverHost !== undefined);
const hosts = { h1, h2 };
type Host = keyof typeof hosts;

const serverSocket = `${directory}/server/server.sock`;
const agentSocket = (host: Host) => `${directory}/${host}/run/agent.sock`;
const admin = (...words: string[]) => weft([...words, "--server", serverSocket]);
const red = testNamespace("red");
const blue = testNamespace("blue");
file.after(() => red[Symbol.dispose]());
file.after(() => blue[Symbol.dispose]());

async function attach(host: Host, network: string, netns: string, ...words: string[]) {
  return weftJson(["attach", network, "--netns", netns, "--agent", agentSocket(host), ...words]);
}

test("a server and two agents come up by their commands, and nodes join with tokens", async () => {
  const server = new BackgroundProgram(file, serverHost.namespace, weftProgram, [
    "server",
    ...["--listen", "10.99.0.3:7400", "--data-dir", `${directory}/server`],
  ]);
  await until(async () => assert.equal((await admin("status")).status, 0, server.complaints));
  for (const [index, host] of (["h1", "h2"] as const).entries()) {
    const token = await admin("token", "create");
    assert.match(token.output, /^weft-\S+\n$/, "the token alone is on standard output");
    // The connection proves the IPv4 address; the other one is approved, before the node joins.
    const approved = await admin("node", "set", host, "--vtep", `fd99::${index + 1}`);
    assert.equal(approved.status, 0, approved.complaints);
    const agent = new BackgroundProgram(file, hosts[host].namespace, weftProgram, [
      "agent",
      ...["--server", "https://10.99.0.3:7400", "--token", token.output.trim(), "--name", host],
      ...["--underlay", `10.99.0.${index + 1},fd99::${index + 1}`, "--instance", `${instance}${host}`],
      ...["--data-dir", `${directory}/${host}`, "--run-dir", `${directory}/${host}/run`],
    ]);
    await until(async () => {
      const status = await weft(["status", "--agent", agentSocket(host), "-o", "json"]);
      assert.equal(status.status, 0, agent.complaints);
      assert.equal(JSON.parse(status.output).agent.serverState, "connected", agent.complaints);
    });
  }
  const nodes = JSON.parse((await admin("node", "list", "-o", "json")).output) as { name: string; vtepIpv4: string }[];
  assert.deepEqual(nodes.map(({ name }) => name).sort(), ["h1", "h2"]);
});

interface Given {
  readonly endpoint: { readonly id: string; readonly mac: string; readonly ips: readonly string[] };
  readonly mtu: number;
  readonly addresses: readonly string[];
}

for (const { network, vni, family, header, subnets, filter } of [
  { network: "web", vni: 100, family: "ipv4", header: 50, subnets: ["10.1.0.0/24", "fd01::/64"], filter: "ip" },
  { network: "six", vni: 101, family: "ipv6", header: 70, subnets: ["10.2.0.0/24", "fd02::/64"], filter: "ip6" },
] as const)
  test(`containers on two hosts talk over an ${family} underlay, and all tools agree`, async (t) => {
    await admin("tenant", "create", "acme");
    const created = await admin(
      ...["network", "create", network, "--tenant", "acme", "--vni", String(vni), "--underlay", family],
      ...subnets.flatMap((subnet) => ["--subnet", subnet]),
    );
    assert.equal(created.status, 0, created.complaints);
    const at: Record<Host, Given> = {
      h1: await attach("h1", network, red.name, "--interface", network),
      h2: await attach("h2", network, blue.name, "--interface", network),
    };
    for (const [container, given] of [
      [red, at.h1],
      [blue, at.h2],
    ] as const) {
      const [link] = container.json(`ip -j addr show dev ${network}`);
      assert.equal(link.address, given.endpoint.mac);
      assert.equal(link.mtu, 1500 - header);
      assert.equal(given.mtu, 1500 - header);
      const addresses = link.addr_info
        .filter(({ scope }: { scope: string }) => scope === "global")
        .map(({ local, prefixlen }: { local: string; prefixlen: number }) => `${local}/${prefixlen}`);
      assert.deepEqual(addresses.sort(), [...given.addresses].sort());
    }
    const [ipv4 = "", ipv6 = ""] = at.h2.endpoint.ips;
    const capture = new BackgroundProgram(t, h1.namespace, "tcpdump", [
      ...["-n", "-e", "-l", "--immediate-mode", "-i", "eth0", `${filter} and udp port 4789`],
    ]);
    await capture.said(/listening on/);
    await until(async () => assert.ok(await pings(red.namespace, ipv4), "IPv4"));
    await until(async () => assert.ok(await pings(red.namespace, ipv6), "IPv6"));

    // What is on the wire: the VNI, the VTEPs, the containers' own frames, and no ARP.
    const [from, to] = family === "ipv4" ? ["10.99.0.1", "10.99.0.2"] : ["fd99::1", "fd99::2"];
    await capture.said(new RegExp(`${ipv6.replaceAll(".", "\\.")}: ICMP6, echo request`));
    await capture.end("SIGINT");
    assert.match(capture.output, new RegExp(`${from}\\.\\d+ > ${to}\\.4789: VXLAN.* vni ${vni}\\b`));
    assert.match(capture.output, new RegExp(`${at.h1.endpoint.mac} > ${at.h2.endpoint.mac}, ethertype IPv4`));
    assert.match(capture.output, new RegExp(`${at.h1.endpoint.ips[0]} > ${ipv4}: ICMP echo request`));
    assert.doesNotMatch(capture.output, /ARP|neighbor solicitation/);

    // TCP at full size, counted by iperf3.
    const listener = new BackgroundProgram(t, blue.namespace, "iperf3", ["-s", "-1", "--forceflush", "-B", ipv4]);
    await listener.said(/listening/);
    const flow = red.json(`iperf3 -J -n 20M -c ${ipv4}`);
    // The rest may be on its way when the last octet has been sent.
    assert.ok(flow.end.sum_received.bytes > 2_000_000, `${flow.end.sum_received.bytes} octets`);
    assert.equal(flow.start.tcp_mss_default, 1500 - header - 40 - 12, "segments as long as the path allows");

    // weft's own words beside iproute2's.
    for (const [host, other, mine, theirs] of [
      ["h1", "h2", at.h1, at.h2],
      ["h2", "h1", at.h2, at.h1],
    ] as const) {
      const { agent } = await weftJson(["status", "--agent", agentSocket(host)]);
      const said = agent.networks.find(({ name }: { name: string }) => name === network);
      assert.equal(agent.inSync, true);
      assert.equal(said.namespace, `${instance}${host}-acme`);
      using tenant = NetworkNamespace.openNamed(said.namespace);
      const ip = async (command: string, ...words: string[]) => {
        const finished = new BackgroundProgram(t, tenant, command, words);
        assert.equal(await finished.ended(), 0, finished.complaints);
        return finished.output.trim() === "" ? [] : JSON.parse(finished.output);
      };
      const links = await ip("ip", "-j", "-d", "link");
      const byName = (name: string) => links.find(({ ifname }: { ifname: string }) => ifname === name);
      assert.equal(byName(said.bridge)?.linkinfo.info_kind, "bridge");
      const tunnel = byName(said.tunnel);
      assert.equal(tunnel?.linkinfo.info_kind, "vxlan");
      assert.equal(tunnel.linkinfo.info_data.id, vni);
      assert.equal(tunnel.linkinfo.info_data.port, said.port);
      assert.equal(tunnel.linkinfo.info_data.learning, false);
      assert.equal(tunnel.mtu, said.mtu);
      assert.equal(tunnel.master, said.bridge);
      assert.deepEqual([said.localEndpoints, said.remoteEndpoints], [1, 1]);

      const vtep = family === "ipv4" ? `10.99.0.${other.slice(1)}` : `fd99::${other.slice(1)}`;
      assert.deepEqual(said.remoteVteps, [vtep]);
      const fdb = (await weftJson(["fdb", network, "--agent", agentSocket(host)])) as Record<string, string>[];
      const port = `ve${mine.endpoint.id}`;
      assert.deepEqual(
        fdb.map((row) => `${row.key} ${row.desired} ${row.actual} ${row.origin} ${row.state} ${row.device}`).sort(),
        [
          `00:00:00:00:00:00 ${vtep} ${vtep} flood same ${said.tunnel}`,
          `${mine.endpoint.mac} ${port} ${port} declared same ${port}`,
          `${theirs.endpoint.mac} ${vtep} ${vtep} control-plane same ${said.tunnel}`,
        ].sort(),
      );
      const entries = (await ip("bridge", "-j", "fdb", "show", "br", said.bridge)) as {
        readonly mac: string;
        readonly ifname: string;
        readonly master?: string;
        readonly dst?: string;
        readonly nhid?: number;
      }[];
      const place = (mac: string) =>
        entries.filter((entry) => entry.mac === mac).map(({ ifname, master }) => `${ifname} ${master ?? "self"}`);
      assert.deepEqual(place(theirs.endpoint.mac).sort(), [`${said.tunnel} ${said.bridge}`, `${said.tunnel} self`]);
      assert.deepEqual(place(mine.endpoint.mac), [`${port} ${said.bridge}`]);
      const group = entries.find(({ mac, nhid }) => mac === theirs.endpoint.mac && nhid !== undefined)?.nhid;
      const nexthops = hosts[host].json("ip -j nexthop") as {
        readonly id: number;
        readonly gateway?: string;
        readonly group?: readonly { readonly id: number }[];
      }[];
      const member = nexthops.find(({ id }) => id === group)?.group?.[0]?.id;
      assert.equal(nexthops.find(({ id }) => id === member)?.gateway, vtep);

      const rows = (await weftJson(["neighbours", network, "--agent", agentSocket(host)])) as Record<string, string>[];
      const known = (await ip("ip", "-j", "neigh", "show", "dev", said.bridge, "nud", "permanent")) as {
        readonly dst: string;
        readonly lladdr: string;
      }[];
      const expected = [mine, theirs]
        .flatMap(({ endpoint }) => endpoint.ips.map((address) => `${address} ${endpoint.mac}`))
        .sort();
      assert.deepEqual(known.map(({ dst, lladdr }) => `${dst} ${lladdr}`).sort(), expected);
      assert.deepEqual(rows.map(({ key, actual }) => `${key} ${actual}`).sort(), expected);
      assert.deepEqual([...new Set(rows.map(({ state }) => state))], ["same"]);
    }
  });

test("what somebody takes away is put back, and the events say so", async () => {
  using tenant = NetworkNamespace.openNamed(`${instance}h1-acme`);
  const events = new BackgroundProgram(file, h1.namespace, weftProgram, [
    ...["events", "--follow", "-o", "json", "--agent", agentSocket("h1")],
  ]);
  await events.said(/connected/);
  const [row] = (await weftJson(["neighbours", "web", "--agent", agentSocket("h1")])) as { readonly key: string }[];
  const removal = new BackgroundProgram(file, tenant, "ip", ["neigh", "del", row?.key ?? "", "dev", "br100"]);
  assert.equal(await removal.ended(), 0, removal.complaints);
  await events.said(/repaired/);
  await events.end();
  const rows = (await weftJson(["neighbours", "web", "--agent", agentSocket("h1")])) as { readonly state: string }[];
  assert.deepEqual([...new Set(rows.map(({ state }) => state))], ["same"]);
});

test("detached containers leave nothing: no interface, no endpoint, no namespace of the tenant", async () => {
  for (const network of ["web", "six"])
    for (const [host, container] of [
      ["h1", red],
      ["h2", blue],
    ] as const) {
      const words = ["detach", network, "--netns", container.name, "--interface", network];
      const { status, complaints } = await weft([...words, "--agent", agentSocket(host)]);
      assert.equal(status, 0, complaints);
      assert.ok(!container.shell("ip -o link").includes(network));
    }
  assert.equal((await admin("endpoint", "list", "-o", "json")).output.trim(), "[]");
  await until(() => {
    for (const host of [h1, h2]) {
      assert.deepEqual(host.json("ip -j nexthop"), []);
      assert.doesNotMatch(host.shell("nft list tables"), /weft|table/);
      assert.doesNotMatch(host.shell("ip netns"), new RegExp(`^${instance}`, "m"));
    }
  });
});
