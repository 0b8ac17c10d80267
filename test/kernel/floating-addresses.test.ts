/** Addresses of the underlay that stand for endpoints: asked from a host that knows nothing of weft, over both IP versions. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { type NetworkNamespace, namedNamespacePath } from "../../src/linux/index.ts";
import { temporaryDirectory } from "../../src/testing/temporary-directory.ts";
import {
  BackgroundProgram,
  createNetworks,
  idle,
  inLab,
  pings,
  pingsInVain,
  testLab,
  theWholeFile,
  until,
  weft,
  weftJson,
} from "../support/cluster.ts";
import { inTenant } from "../support/cluster-tables.ts";
import { startStream } from "../support/cluster-traffic.ts";
import { fileRequires } from "../support/kernel.ts";
import { type TestNamespace, testNamespace } from "../support/namespaces.ts";

await fileRequires("quick processes", "nft-inet", "nft-nat");

const file = theWholeFile();
const lab = await testLab(file, { hosts: 3 });
await createNetworks(lab, [
  {
    name: "flat",
    egress: true,
    hostAccess: true,
    subnets: ["10.1.0.0/24", "fd01::/64"],
    gateways: ["10.1.0.1", "fd01::1"],
  },
  { name: "pods", mode: "l3", egress: true, subnets: ["10.2.0.0/16", "fd02::/64"] },
  { name: "quiet", mode: "l3", tenant: "shy", subnets: ["10.3.0.0/16", "fd03::/64"] },
  { name: "core", tenant: "shy", gateway: "distributed", subnets: ["10.4.0.0/24"] },
  { name: "twin", tenant: "rival", egress: true, subnets: ["10.1.0.0/24"], gateways: ["10.1.0.1"] },
]);

const own = { ips: ["10.1.0.5", "fd01::5"], mac: "02:00:5e:10:00:05" };
const places = {
  a: ["h1", "flat"],
  b: ["h2", "flat"],
  c: ["h1", "flat"],
  p: ["h2", "pods"],
  q: ["h2", "quiet"],
  s: ["h1", "core"],
};
for (const [name, [host = "", network = ""]] of Object.entries({ ...places, r: ["h1", "twin"] })) {
  lab.addContainer(name);
  await lab.attach(name, host, network, name === "a" ? own : {});
}

/** A host on the link of the nodes. */
async function outsider(name: string, ipv4: string, ipv6: string): Promise<TestNamespace> {
  const host = testNamespace(name);
  file.after(() => host[Symbol.dispose]());
  await inLab(lab, "switch", "ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", host.name);
  await inLab(lab, "switch", "ip", "link", "set", name, "master", "switch", "up");
  host.shell(`
  ip link set lo up; ip link set eth0 up
  ip addr add ${ipv4}/24 dev eth0; ip addr add ${ipv6}/64 dev eth0 nodad`);
  return host;
}
const client = await outsider("client", "192.0.2.200", "2001:db8::c8");
const stranger = await outsider("stranger", "192.0.2.201", "2001:db8::c9");

/** Those that stand for a, and their addresses inside. */
const floating = ["192.0.2.50", "2001:db8::50"] as const;
const server = ["--server", lab.serverSocket];

/** Runs a command that must succeed, as an operator does, and waits until the nodes have what follows in place. */
async function operate(...words: readonly string[]): Promise<string> {
  const { status, output, complaints } = await weft([...words, ...server]);
  assert.equal(status, 0, `weft ${words.join(" ")}: ${complaints}`);
  await idle(lab, "h1", "h2", "h3");
  return output;
}

/** Answers each connection and each datagram with a name and where it came from, as text. */
const echoProgram = `
  const [name, port] = process.argv.slice(1);
  const say = (address) => name + " sees " + address.replace("::ffff:", "");
  require("node:net").createServer((s) => { s.on("error", () => {}); s.end(say(s.remoteAddress)); }).listen(port, "::");
  const udp = require("node:dgram").createSocket("udp6");
  udp.on("message", (_, { address, port: to }) => { console.log("datagram from " + address); udp.send(say(address), to, address); });
  udp.bind(port, "::", () => console.log("ready"));`;

async function serve(namespace: NetworkNamespace, name: string, port = 9000): Promise<BackgroundProgram> {
  const program = new BackgroundProgram(file, namespace, process.execPath, ["-e", echoProgram, name, `${port}`]);
  await program.said(/ready/);
  return program;
}
for (const name of [...Object.keys(places), "r"]) await serve(lab.namespace(name), name);
await serve(lab.namespace("h1"), "the host h1", 9001);
await serve(client.namespace, "the client");

const connectProgram = (address: string, port = 9000): string =>
  `require("node:net").connect({ port: ${port}, host: "${address}" }).on("error", (e) => console.log(e.code)).pipe(process.stdout)`;

/** What an echo says of its caller, or the error. */
async function callerSeen(from: NetworkNamespace, address: string, port = 9000): Promise<string> {
  const program = new BackgroundProgram(file, from, process.execPath, ["-e", connectProgram(address, port)]);
  await program.ended();
  return program.output.trim();
}

/** The MAC address of a node's interface on the underlay. */
async function macOf(host: string): Promise<string> {
  return JSON.parse(await inLab(lab, host, "ip", "-j", "link", "show", "eth0"))[0].address;
}

/** Where the client sends what is for the address; "" when it has not asked. */
function knownMac(address: string): string {
  return client.json(`ip -j neigh show ${address} dev eth0`)[0]?.lladdr ?? "";
}

/** What a node has of an address: routes and proxy entries, and elements of filters. */
async function tracesOn(host: string, address: string): Promise<string> {
  const traces = [
    await inLab(lab, host, "ip", address.includes(":") ? "-6" : "-4", "route", "show", address),
    await inLab(lab, host, "ip", address.includes(":") ? "-6" : "-4", "neigh", "show", "proxy"),
    await inLab(lab, host, "nft", "list", "ruleset"),
    await inTenant(lab, host, "acme", "nft", "list", "ruleset").catch(() => ""),
  ].join("\n");
  return traces
    .split("\n")
    .filter((line) => line.includes(address))
    .join("\n");
}

async function assertReached(
  from: NetworkNamespace,
  sees: readonly [ipv4: RegExp, ipv6?: RegExp],
  who = "a",
): Promise<void> {
  for (const [index, address] of floating.entries()) {
    const seen = sees[index];
    if (seen === undefined) continue;
    const answer = await callerSeen(from, address);
    assert.ok(answer.startsWith(`${who} sees `) && seen.test(answer), `${address}: ${answer}`);
  }
}
const clientSeen = [/ 192\.0\.2\.200$/, / 2001:db8::c8$/] as const;

test("an endpoint is reached from outside, and sees who asks", async () => {
  const created = await operate(
    "floating-address",
    "create",
    floating[0],
    "--network",
    "flat",
    "--endpoint",
    "10.1.0.5",
    "--wait",
  );
  assert.equal(created, "floating-address 192.0.2.50 created\n");
  const { endpoints } = await lab.agent("h1").getStatus({});
  const id = endpoints.find(({ endpoint }) => endpoint?.ips.includes("10.1.0.5"))?.endpoint?.id ?? "";
  await operate("floating-address", "create", "2001:DB8:0::50", "--endpoint", id);
  await assertReached(client.namespace, clientSeen);
  for (const address of floating) assert.equal(knownMac(address), await macOf("h1"));
  assert.deepEqual(await weftJson(["floating-address", "show", floating[1], ...server]), {
    name: floating[1],
    network: "flat",
    endpoint: "fd01::5",
    announce: "link",
    endpointId: id,
    node: "h1",
  });
  // The first answer is as quick as others: Linux would wait before it answers for somebody else.
  client.shell("ip neigh flush dev eth0; ip -6 neigh flush dev eth0");
  for (const address of floating) {
    const [, milliseconds = "1000"] = /time=([\d.]+)/.exec(client.shell(`ping -c1 -W5 ${address}`)) ?? [];
    assert.ok(Number(milliseconds) < 100, `${address} answered after ${milliseconds} ms`);
  }
});

test("what the endpoint begins leaves under its floating address, that of others does not", async () => {
  using a = lab.namespace("a");
  using c = lab.namespace("c");
  assert.equal(await callerSeen(a, "192.0.2.200"), "the client sees 192.0.2.50");
  assert.equal(await callerSeen(a, "2001:db8::c8"), "the client sees 2001:db8::50");
  assert.equal(await callerSeen(c, "192.0.2.200"), "the client sees 192.0.2.1");
  assert.equal(await callerSeen(c, "2001:db8::c8"), "the client sees 2001:db8::1");
});

test("it is reached by others of its tenant, of another tenant, by the nodes and by itself", async () => {
  const link = [/ 169\.254\.\d+\.\d+$/, / fd[0-9a-f:]+$/] as const;
  for (const name of ["c", "h1", "a"]) {
    using from = lab.namespace(name);
    await assertReached(from, name === "a" ? [/ 192\.0\.2\.50$/, / 2001:db8::50$/] : link);
  }
  for (const name of ["b", "p", "h2"]) {
    using from = lab.namespace(name);
    await assertReached(from, [/ 192\.0\.2\.2$/, / 2001:db8::2$/]);
  }
  using rival = lab.namespace("r");
  await assertReached(rival, [link[0]]);
  // What is between endpoints goes between them as before.
  using b = lab.namespace("b");
  assert.equal(await callerSeen(b, "10.1.0.5"), `a sees ${await addressOf("b")}`);
});

async function addressOf(container: string): Promise<string> {
  const [link] = JSON.parse(await inLab(lab, container, "ip", "-4", "-j", "addr", "show", "eth0"));
  return link.addr_info[0].local;
}

test("policies are about who asks from outside, at the endpoint's own address; to the endpoint labels mean nobody who comes this way", async () => {
  const { endpoints } = await lab.agent("h1").getStatus({});
  const id = endpoints.find(({ endpoint }) => endpoint?.ips.includes("10.1.0.5"))?.endpoint?.id ?? "";
  await operate("endpoint", "set", id, "--label", "app=a");
  const directory = temporaryDirectory(file);
  const apply = async (...rules: readonly object[]): Promise<void> => {
    const path = join(directory, "policy.json");
    writeFileSync(path, JSON.stringify({ kind: "policy", name: "outside", tenant: "acme", endpoints: "app=a", rules }));
    await operate("apply", "-f", path, "--wait");
  };
  const denied = async (): Promise<number> => {
    const status = await lab.agent("h1").getStatus({});
    const { dropped = {} } = status.endpoints.find(({ endpoint }) => endpoint?.id === id) ?? {};
    return Number(dropped["policy-ingress"] ?? 0) + Number(dropped["policy-egress"] ?? 0);
  };
  const isDenied = async (from: NetworkNamespace, address: string): Promise<void> => {
    const before = await denied();
    const program = new BackgroundProgram(file, from, process.execPath, ["-e", connectProgram(address)]);
    await until(async () => assert.ok((await denied()) > before, `${address} is denied`));
    assert.equal(program.output, "", address);
    await program.end("SIGKILL");
  };
  const explained = async (from: string, to: string): Promise<string> =>
    (await weftJson(["policy", "explain", from, to, "--port", "9000", ...server])).verdict;
  const subnets = { peers: [{ subnet: "192.0.2.200/32" }, { subnet: "2001:db8::c8/128" }] };

  await apply({ direction: "ingress", action: "allow", ...subnets });
  await assertReached(client.namespace, clientSeen);
  for (const address of floating) await isDenied(stranger.namespace, address);
  for (const address of own.ips) {
    const [good, bad] = address.includes(":") ? ["2001:db8::c8", "2001:db8::c9"] : ["192.0.2.200", "192.0.2.201"];
    assert.deepEqual(
      [await explained(good, `flat/${address}`), await explained(bad, `flat/${address}`)],
      ["allow", "deny"],
    );
  }
  const { decided } = await weftJson(["policy", "show", "outside", "--agent", lab.agentSocket("h1"), ...server]);
  assert.equal(decided["ingress-1"], floating.length, "one connection to each");

  // An endpoint of the tenant comes as its node does, or as the link to it: no label is known of that.
  await apply({ direction: "ingress", action: "allow", peers: [{ endpoints: "" }] });
  using b = lab.namespace("b");
  using c = lab.namespace("c");
  for (const other of [b, c]) {
    assert.match(await callerSeen(other, "10.1.0.5"), /^a sees 10\.1\.0\./);
    await isDenied(other, floating[0]);
  }
  await apply({ direction: "ingress", action: "allow", peers: [{ subnet: "192.0.2.2/32" }] });
  assert.equal(await callerSeen(b, floating[0]), "a sees 192.0.2.2");

  // What it begins is judged by whom it means, and leaves under its floating address.
  await apply({ direction: "egress", action: "allow", ...subnets });
  using a = lab.namespace("a");
  assert.equal(await callerSeen(a, "192.0.2.200"), "the client sees 192.0.2.50");
  assert.equal(await callerSeen(a, "2001:db8::c8"), "the client sees 2001:db8::50");
  for (const address of ["192.0.2.201", "2001:db8::c9"]) await isDenied(a, address);
  await operate("policy", "delete", "outside");
  await assertReached(stranger.namespace, [/ 192\.0\.2\.201$/, / 2001:db8::c9$/]);
});

test("two floating addresses of one node reach each other", async () => {
  const inside = await addressOf("c");
  await operate("floating-address", "create", "192.0.2.51", "--network", "flat", "--endpoint", inside);
  using a = lab.namespace("a");
  using c = lab.namespace("c");
  assert.equal(await callerSeen(a, "192.0.2.51"), "c sees 192.0.2.50");
  assert.equal(await callerSeen(c, "192.0.2.50"), "a sees 192.0.2.51");
  await operate("floating-address", "delete", "192.0.2.51");
  assert.equal(await tracesOn("h1", "192.0.2.51"), "");
  assert.ok(await pings(client.namespace, floating[0]), "the other one stays");
});

test("large packets find out how large they may be", async () => {
  const ping = (size: number, address: string): string => {
    try {
      return client.shell(`ping -c3 -i0.2 -W2 -M do -s ${size} ${address} 2>&1`);
    } catch (error) {
      return String((error as { stdout?: string }).stdout ?? error);
    }
  };
  assert.match(ping(1_472, floating[0]), /mtu ?= ?1450/);
  assert.match(ping(1_452, floating[1]), /mtu ?= ?1450|Packet too big/i);
  assert.match(ping(1_422, floating[0]), / 0% packet loss/);
  assert.match(ping(1_402, floating[1]), / 0% packet loss/);
});

test("nothing but the endpoint is behind it", async () => {
  // The host has something at this port, the endpoint has not.
  assert.equal(await callerSeen(client.namespace, "192.0.2.1", 9001), "the host h1 sees 192.0.2.200");
  for (const address of floating) assert.equal(await callerSeen(client.namespace, address, 9001), "ECONNREFUSED");
  // To tunnels of nodes it does not speak, under whichever address.
  using h2 = lab.namespace("h2");
  const capture = new BackgroundProgram(file, h2, "tcpdump", [
    "-nl",
    "--immediate-mode",
    "-i",
    "eth0",
    "udp and src 192.0.2.50",
  ]);
  await capture.said(/listening on/);
  await inLab(
    lab,
    "a",
    process.execPath,
    "-e",
    `
    const udp = require("node:dgram").createSocket("udp4");
    udp.send("x", 4789, "192.0.2.2", () => udp.send("x", 8081, "192.0.2.2", () => udp.close()));`,
  );
  await capture.said(/192\.0\.2\.2\.8081/);
  await capture.end("SIGINT");
  assert.doesNotMatch(capture.output, /4789/);
});

test("a network without a way out: its endpoint is reached, and begins nothing; routed to its node, and not announced", async () => {
  const inside = await addressOf("q");
  await operate(
    "floating-address",
    "create",
    "198.51.100.7",
    "--network",
    "quiet",
    "--endpoint",
    inside,
    "--announce",
    "none",
  );
  assert.match(
    await inLab(lab, "h2", "ip", "route", "show", "198.51.100.7"),
    /^198\.51\.100\.7 via 169\.254\.\S+ dev up\S+ proto 119 /,
  );
  assert.equal(await inLab(lab, "h2", "ip", "neigh", "show", "proxy"), "");
  client.shell("ip route add 198.51.100.7 via 192.0.2.2");
  assert.equal(await callerSeen(client.namespace, "198.51.100.7"), "q sees 192.0.2.200");
  using q = lab.namespace("q");
  assert.match(await callerSeen(q, "192.0.2.200"), /UNREACH/);
  // On no link of the node it cannot be announced.
  const refused = await weft(["floating-address", "set", "198.51.100.7", "--announce", "link", ...server]);
  assert.equal(refused.status, 0, refused.complaints);
  await until(async () => {
    const { problems } = await lab.agent("h2").getStatus({});
    assert.match(
      problems[0]?.reason ?? "",
      /answer for the floating address 198\.51\.100\.7: it is on no link of this node/,
    );
  });
  assert.equal(await callerSeen(client.namespace, "198.51.100.7"), "q sees 192.0.2.200", "what could be done is done");
  await operate("floating-address", "delete", "198.51.100.7");
  assert.ok(await pingsInVain(client.namespace, "198.51.100.7"));
});

test("an l2 network whose nodes only route between networks: its endpoint is reached, and begins nothing", async () => {
  await operate("floating-address", "create", "192.0.2.70", "--network", "core", "--endpoint", await addressOf("s"));
  assert.equal(await callerSeen(client.namespace, "192.0.2.70"), "s sees 192.0.2.200");
  using s = lab.namespace("s");
  assert.match(await callerSeen(s, "192.0.2.200"), /UNREACH/);
  await operate("floating-address", "delete", "192.0.2.70");
  assert.ok(await pingsInVain(client.namespace, "192.0.2.70"));
});

test("an address that the host has is left to it", async () => {
  await inLab(lab, "h1", "ip", "addr", "add", "192.0.2.60/32", "dev", "lo");
  const inside = await addressOf("c");
  await weft(["floating-address", "create", "192.0.2.60", "--network", "flat", "--endpoint", inside, ...server]);
  await until(async () => {
    const { problems } = await lab.agent("h1").getStatus({});
    assert.match(
      problems[0]?.reason ?? "",
      /take the floating address 192\.0\.2\.60 for tenant acme: the host has the address itself on lo/,
    );
  });
  assert.equal(await callerSeen(client.namespace, "192.0.2.60", 9001), "the host h1 sees 192.0.2.200");
  await assertReached(client.namespace, clientSeen);
  await operate("floating-address", "delete", "192.0.2.60");
  await inLab(lab, "h1", "ip", "addr", "del", "192.0.2.60/32", "dev", "lo");
});

test("an agent that starts writes nothing; while none runs the node answers", async () => {
  await lab.stop("h1");
  client.shell("ip neigh flush dev eth0; ip -6 neigh flush dev eth0");
  await assertReached(client.namespace, clientSeen);
  await lab.startAgent("h1");
  await idle(lab, "h1");
  const { agent } = await weftJson(["status", "--agent", lab.agentSocket("h1")]);
  assert.deepEqual([Number(agent.netlinkWrites), Number(agent.repairs)], [0, 0]);
});

/** What somebody does on h1, and what an event says of the repair. */
const damages: readonly [what: string, script: string, inTenantOf: string, repaired: RegExp][] = [
  ["the route goes", "ip route del 192.0.2.50", "", /routes had been changed or removed; set again: 192\.0\.2\.50\/32/],
  ["the IPv6 route goes", "ip -6 route del 2001:db8::50", "", /set again: 2001:db8::50\/128/],
  ["the host's rules are flushed", "nft flush ruleset", "", /nft table inet weft-uplink|had been changed or removed/],
  ["the tenant's rules are flushed", "nft flush ruleset", "acme", /had been changed or removed/],
  [
    "the link goes down and comes up",
    "ip link set eth0 down; ip link set eth0 up; ip addr replace 2001:db8::1/64 dev eth0 nodad",
    "",
    // Whether the agent looked while the link was down is a matter of moments.
    /the host had ceased to answer for|uplink of tenant acme is as it should be again/,
  ],
  [
    "IPv6 answers are switched off",
    "sysctl -qw net.ipv6.conf.eth0.proxy_ndp=0",
    "",
    /to answer for floating addresses: net\.ipv6\.conf\.eth0\.proxy_ndp = 1/,
  ],
  [
    "the uplink goes",
    'ip link del "$(ip -o link | grep -o "up[0-9a-f]*@" | head -n1 | tr -d @)"',
    "",
    /had been removed; made again/,
  ],
];
for (const [what, script, tenant, repaired] of damages)
  test(`damage is repaired: ${what}`, async () => {
    const events = async (): Promise<string> => (await weft(["events", "--agent", lab.agentSocket("h1")])).output;
    const before = (await events()).length;
    if (tenant === "") await inLab(lab, "h1", "sh", "-ec", script);
    else await inTenant(lab, "h1", tenant, "sh", "-ec", script);
    await until(async () => assert.match((await events()).slice(before), repaired));
    client.shell("ip neigh flush dev eth0; ip -6 neigh flush dev eth0");
    await until(() => assertReached(client.namespace, clientSeen));
  });

/** As an operator does it. */
async function move(from: string, to: string): Promise<void> {
  const netns = namedNamespacePath(lab.names.container("a"));
  const detached = await weft(["detach", "flat", "--netns", netns, "--agent", lab.agentSocket(from)]);
  assert.equal(detached.status, 0, detached.complaints);
  const words = ["attach", "flat", "--netns", netns, "--agent", lab.agentSocket(to), "--mac", own.mac];
  const attached = await weft([...words, ...own.ips.flatMap((ip) => ["--ip", ip])]);
  assert.equal(attached.status, 0, attached.complaints);
}

for (const [address, from, to] of [
  [floating[0], "h1", "h3"],
  [floating[1], "h3", "h2"],
] as const)
  test(`it moves with its endpoint, and a connection from outside to ${address} survives that`, async (t) => {
    using a = lab.namespace("a");
    const stream = await startStream(t, client.namespace, a, address);
    await move(from, to);
    // Nobody asks: the client is told.
    await until(async () => assert.equal(knownMac(address), await macOf(to)));
    await until(() => assertReached(client.namespace, clientSeen));
    const traffic = await stream.stop();
    t.diagnostic(JSON.stringify(traffic));
    assert.equal(traffic.tcpError, "");
    assert.equal(traffic.tcpAnswered, traffic.tcpSent);
    await idle(lab, "h1", "h2", "h3");
    for (const each of floating) assert.equal(await tracesOn(from, each), "", "nothing is left where it was");
    const [listed] = await weftJson(["floating-address", "list", ...server]);
    assert.equal(listed.node, to);
    assert.equal(await callerSeen(a, "192.0.2.200"), "the client sees 192.0.2.50");
  });

test("it goes with its endpoint, and comes back with it", async () => {
  const netns = lab.names.container("a");
  assert.equal((await weft(["detach", "flat", "--netns", netns, "--agent", lab.agentSocket("h2")])).status, 0);
  await idle(lab, "h2");
  for (const address of floating) assert.equal(await tracesOn("h2", address), "");
  assert.ok(await pingsInVain(client.namespace, floating[0]));
  await lab.attach("a", "h2", "flat", own);
  await idle(lab, "h2");
  await assertReached(client.namespace, clientSeen);
});

test("what was taken back while no agent ran goes when one starts", async () => {
  lab.kill("h2");
  const { status, complaints } = await weft(["floating-address", "delete", ...floating, ...server]);
  assert.equal(status, 0, complaints);
  await lab.startAgent("h2");
  await idle(lab, "h2");
  await until(async () => {
    for (const address of floating) assert.equal(await tracesOn("h2", address), "");
  });
  assert.ok(await pingsInVain(client.namespace, floating[0]));
});
