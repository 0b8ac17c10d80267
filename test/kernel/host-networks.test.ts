/** Networks that need the host: blocks without tunnels, access from the host, and the way out. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { runProgram } from "../../src/lab/process.ts";
import { namedNamespacePath } from "../../src/linux/index.ts";
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
} from "../support/cluster.ts";
import { inTenant } from "../support/cluster-tables.ts";
import { fileRequires } from "../support/kernel.ts";

await fileRequires("quick processes", "nft-inet");

const file = theWholeFile();
const lab = await testLab(file, { hosts: 2 });
await createNetworks(lab, [
  { name: "plain", mode: "l3", encapsulation: "direct", subnets: ["10.20.0.0/16", "fd20::/64"], underlay: "ipv6" },
  { name: "near", mode: "l3", crossSubnet: true, subnets: ["10.21.0.0/16"] },
  { name: "open", mode: "l3", egress: true, hostAccess: true, subnets: ["10.22.0.0/16", "fd22::/64"] },
  {
    name: "flat",
    tenant: "rival",
    egress: true,
    hostAccess: true,
    subnets: ["10.23.0.0/24", "fd23::/64"],
    gateways: ["10.23.0.1", "fd23::1"],
  },
  { name: "twin", tenant: "third", egress: true, subnets: ["10.22.0.0/24"], gateways: ["10.22.0.1"] },
]);
const ips = new Map<string, readonly string[]>();
for (const network of ["plain", "near", "open", "flat", "twin"])
  for (const host of ["h1", "h2"]) {
    const name = `${network}${host.slice(1)}`;
    lab.addContainer(name);
    ips.set(name, (await lab.attach(name, host, network)).ips);
  }
await idle(lab, "h1", "h2");

/** Who takes connections outside of the overlay, on every port, and answers with the address that the caller has there. */
const outside = new BackgroundProgram(file, lab.namespace("server"), process.execPath, [
  "-e",
  `const net = require("node:net"), dgram = require("node:dgram");
   net.createServer((socket) => socket.end(socket.remoteAddress + "\\n")).listen(8080, "::");
   const udp = dgram.createSocket("udp6");
   udp.on("message", (_, { address, port }) => udp.send(address + " " + port, port, address));
   udp.bind(8081, "::", () => console.log("ready"));`,
]);
await outside.said(/ready/);

/** Connects to the outside and prints what that says of its caller. */
const caller = (address: string): string =>
  `require("node:net").connect(8080, "${address}").on("error", (e) => console.log(e.code)).pipe(process.stdout);
   setImmediate(() => console.error("called"));`;

/** What a connection to the outside says of its caller. */
async function callerSeen(container: string, address: string): Promise<string> {
  return inLab(lab, container, process.execPath, "-e", caller(address));
}

async function reaches(from: string, to: string): Promise<void> {
  using namespace = lab.namespace(from);
  for (const address of ips.get(to) ?? [])
    assert.ok(await pings(namespace, address), `${from} reaches ${to}: ${address}`);
}

/** Frames with this filter on the underlay of h1 while `action` runs, and until those are there that are `expected`. */
async function seen(filter: string, action: () => Promise<unknown>, ...expected: readonly RegExp[]): Promise<string> {
  using namespace = lab.namespace("h1");
  const capture = new BackgroundProgram(file, namespace, "tcpdump", ["-nl", "--immediate-mode", "-i", "eth0", filter]);
  await capture.said(/listening on/);
  await action();
  for (const pattern of expected) await capture.said(pattern);
  await capture.end("SIGINT");
  return capture.output;
}

test("blocks without a tunnel: no header on the wire, the whole MTU, both families", async () => {
  await seen(
    "icmp or icmp6 and not icmp6[0] >= 133",
    () => reaches("plain1", "plain2"),
    /IP 10\.20\.0\.\d+ > 10\.20\.0\.\d+: ICMP echo request/,
    /IP6 fd20::\w+ > fd20::\w+: ICMP6, echo request/,
  );
  using namespace = lab.namespace("plain1");
  const full = ["-c", "1", "-w", "10", "-M", "do", "-s", String(1500 - 28), ips.get("plain2")?.[0] ?? ""];
  assert.equal((await runProgram(namespace, "ping", full)).status, 0);
});

test("nodes that share a link need no tunnel, where the network says so", async () => {
  const capture = await seen(
    "icmp or udp port 4789",
    () => reaches("near1", "near2"),
    /IP 10\.21\.0\.\d+ > 10\.21\.0\.\d+: ICMP echo request/,
  );
  assert.doesNotMatch(capture, /^IP 10\.21\./m, "nothing of it is inside of a tunnel");
});

test("endpoints reach the outside behind their host's address", async () => {
  for (const container of ["open1", "flat1", "twin1"])
    assert.equal(await callerSeen(container, "192.0.2.254"), "::ffff:192.0.2.1\n", container);
  assert.equal(await callerSeen("open2", "2001:db8::fe"), "2001:db8::2\n");
  assert.equal(await callerSeen("flat2", "2001:db8::fe"), "2001:db8::2\n");
});

test("without egress they do not", async (t) => {
  using near = lab.namespace("near1");
  const called = new BackgroundProgram(t, near, process.execPath, ["-e", caller("192.0.2.254")]);
  await called.said(/called/);
  // Who calls later is answered.
  assert.equal(await callerSeen("open1", "192.0.2.254"), "::ffff:192.0.2.1\n");
  assert.match(called.output, /^(\w+UNREACH\n)?$/);
});

test("the host reaches its endpoints, and in a layer-3 network those of other nodes, too", async () => {
  using host = lab.namespace("h1");
  for (const container of ["open1", "flat1", "open2"])
    for (const address of ips.get(container) ?? []) assert.ok(await pings(host, address), `${container} at ${address}`);
  assert.ok(await pingsInVain(host, ips.get("near1")?.[0] ?? ""), "not where the network does not say so");
});

test("tunnelled networks with a way out still reach across", async () => {
  await reaches("open1", "open2");
  await reaches("flat1", "flat2");
  await reaches("twin1", "twin2");
});

test("a container cannot send in the node's name to another node's tunnel", async () => {
  // Behind it goes what arrives, and is answered.
  const capture = await seen(
    "udp dst port 4789 and udp[10:2] = 0xdead or udp dst port 8081",
    () =>
      inLab(
        lab,
        "open1",
        process.execPath,
        "-e",
        `const s = require("node:dgram").createSocket("udp4");
         s.on("message", () => process.exit());
         const ask = () => s.send("hello", 8081, "192.0.2.254");
         s.bind(4789, () => s.send(Buffer.from("0000deadbeef", "hex"), 4789, "192.0.2.2", () => { ask(); setInterval(ask, 1000); }));`,
      ),
    /> 192\.0\.2\.254\.8081/,
  );
  assert.doesNotMatch(capture, /192\.0\.2\.2\.4789/);
});

test("a container on several networks leaves by the first that leads to the world, and by the next when that goes", async () => {
  const out1 = { name: "out1", mode: "l3", subnets: ["10.24.0.0/16", "fd24::/64"] };
  const out2 = { name: "out2", gateways: ["10.25.0.1", "fd25::1"], subnets: ["10.25.0.0/24", "fd25::/64"] };
  await createNetworks(
    lab,
    [out1, out2].map((network) => ({ ...network, egress: true })),
  );
  lab.addContainer("many");
  const netns = namedNamespacePath(lab.names.container("many"));
  const h1 = () => lab.agent("h1");
  const attach = (network: string, name: string, routePriority = 0) =>
    h1().attach({ network, netns, interface: name, mac: "", ips: [], routePriority });
  const routes = (): Promise<string> =>
    inLab(lab, "many", "sh", "-c", "ip route show proto 119; ip -6 route show proto 119");
  /** The interface by which packets to the world leave, over IPv4 and IPv6. */
  const exits = async (): Promise<string> => {
    const found = await inLab(
      lab,
      "many",
      "sh",
      "-c",
      "for to in 198.51.100.1 2001:db8:9::1; do ip -o route get $to 2>&1 || true; done",
    );
    return found
      .trim()
      .split("\n")
      .map((line) => /dev (\w+)/.exec(line)?.[1] ?? "none")
      .join(" ");
  };
  await attach("near", "near");
  await attach("out1", "out1");
  await attach("out2", "out2");
  assert.equal(await exits(), "out1 out1");
  assert.equal(await callerSeen("many", "192.0.2.254"), "::ffff:192.0.2.1\n");
  await assert.rejects(attach("open", "open", 2), /endpoint \w+ has route priority 2 in the same namespace/);

  await createNetworks(lab, [{ ...out1, egress: false }]);
  await until(async () => assert.equal(await exits(), "out2 out2"));
  assert.equal(await callerSeen("many", "2001:db8::fe"), "2001:db8::1\n");
  await createNetworks(lab, [{ ...out1, egress: true }]);
  await until(async () => assert.equal(await exits(), "out1 out1"));

  await idle(lab, "h1");
  const before = await routes();
  lab.kill("h1");
  await lab.startAgent("h1");
  await idle(lab, "h1");
  assert.equal(await routes(), before);
  assert.equal((await h1().getStatus({})).netlinkWrites, 0n);

  await h1().detach({ network: "out1", netns, interface: "out1" });
  assert.equal(await exits(), "out2 out2");
  await attach("out1", "out1", 1_000);
  assert.equal(await exits(), "out2 out2");
  await h1().detach({ network: "out2", netns, interface: "out2" });
  assert.equal(await exits(), "out1 out1");

  // An earlier version wrote its route without a metric: it serves on, and goes with what it is for.
  await inLab(
    lab,
    "many",
    "sh",
    "-c",
    "ip route add $(ip route show default dev out1 | sed 's/metric.*//') dev out1 proto 119",
  );
  await inLab(lab, "many", "sh", "-c", "ip route del default metric 101000");
  lab.kill("h1");
  await lab.startAgent("h1");
  await idle(lab, "h1");
  assert.match(
    await inLab(lab, "many", "ip", "route", "show", "default", "dev", "out1"),
    /^default via 10\.24\.\d+\.1 proto 119 \n$/,
  );
  await createNetworks(lab, [{ ...out1, egress: false }]);
  await until(async () => {
    const defaults = await inLab(lab, "many", "ip", "route", "show", "default");
    assert.match(
      defaults,
      /^default via \S+ dev near proto 119 metric 200001 \ndefault via \S+ dev out1 proto 119 metric 201000 \n$/,
    );
  });

  // Somebody else's is left, and wins.
  await inLab(lab, "many", "ip", "route", "add", "default", "dev", "near", "metric", "90000");
  lab.kill("h1");
  await lab.startAgent("h1");
  await idle(lab, "h1");
  assert.match(await inLab(lab, "many", "ip", "-o", "route", "get", "198.51.100.1"), /^198\.51\.100\.1 dev near/);
  for (const network of ["near", "out1"]) await h1().detach({ network, netns, interface: network });
  assert.equal(await routes(), "");
  await lab.admin.delete({ resources: [out1, out2].map(({ name }) => ({ kind: "network", name })) });
  await until(async () => {
    const { networks } = await h1().getStatus({});
    assert.ok(!networks.some(({ name }) => name.startsWith("out")));
  });
  await idle(lab, "h1");
});

test("an agent that starts again with nothing to change writes nothing", async () => {
  lab.kill("h1");
  await lab.startAgent("h1");
  await idle(lab, "h1");
  const { netlinkWrites, problems } = await lab.agent("h1").getStatus({});
  assert.deepEqual(problems, []);
  assert.equal(netlinkWrites, 0n);
  await reaches("plain1", "plain2");
});

test("the uplink goes with the last network that needs it, and leaves nothing on the host", async () => {
  const onHost = (): Promise<string> =>
    inLab(lab, "h1", "sh", "-c", "ip -br link; ip route; ip -6 route; nft list tables");
  assert.match(await onHost(), /up[0-9a-f]{12}/);
  for (const name of ["plain1", "near1", "open1", "flat1", "twin1"]) await lab.detach(name, "h1", name.slice(0, -1));
  // Blocks stay with their node until it is deleted: its networks with them.
  for (const name of ["plain2", "near2", "open2", "flat2", "twin2"]) await lab.detach(name, "h2", name.slice(0, -1));
  await lab.admin.delete({
    resources: ["plain", "near", "open", "flat", "twin"].map((name) => ({ kind: "network", name })),
  });
  await until(async () => {
    const left = await onHost();
    assert.doesNotMatch(left, /up[0-9a-f]{12}|weft|10\.2\d\.|proto 119/, left);
  });
  await until(() => assert.rejects(inTenant(lab, "h1", "acme", "true")));
});
