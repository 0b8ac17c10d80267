/** Docker Engine on two hosts of a lab: its own commands, containers on networks of weft's. */
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { runProgram } from "../../src/lab/process.ts";
import {
  BackgroundProgram,
  createNetworks,
  inLab,
  pings,
  testLab,
  theWholeFile,
  until,
  weftDone,
} from "../support/cluster.ts";
import { busyboxRoot } from "./busybox.ts";
import { DockerEngine } from "./docker-engine.ts";

/** What a container is told that is to ask its node. */
const names = ["--dns", "169.254.169.254"];

const file = theWholeFile();
const lab = await testLab(file, { hosts: 2 });
await createNetworks(lab, [
  {
    name: "web",
    subnets: ["10.1.0.0/16", "fd01::/64"],
    vni: 100,
    gateways: ["10.1.0.1", "fd01::1"],
    egress: true,
    hostAccess: true,
    names: true,
  },
  { name: "other", subnets: ["10.2.0.0/16"], vni: 200, names: true },
  { name: "routed", subnets: ["10.8.0.0/16"], vni: 300, mode: "l3" },
]);
const folder = join(lab.names.directory, "docker");
mkdirSync(folder, { recursive: true });
const image = busyboxRoot(folder);
const [one, two] = [new DockerEngine(file, lab, "h1", folder), new DockerEngine(file, lab, "h2", folder)];
for (const engine of [one, two]) {
  await engine.install();
  await engine.start();
  await engine.docker("import", image, "busybox");
  // Past Docker's firewall, as its documents say.
  for (const way of ["-i", "-o"])
    await inLab(lab, engine.host, "iptables", "-I", "DOCKER-USER", way, "up+", "-j", "ACCEPT");
  await engine.create("web", "web", "--subnet", "10.1.0.0/16");
  await engine.create("other", "other", "--subnet", "10.2.0.0/16");
  await engine.create("routed", "routed", "--subnet", "10.8.0.0/16");
}
after(async () => {
  for (const engine of [one, two]) await engine.stop();
});

/** Endpoints as the server has them, and links of Docker's endpoints on the hosts. */
async function leftovers(): Promise<unknown[]> {
  const left: unknown[] = [...(await lab.admin.list({ kind: "endpoint" })).resources];
  for (const host of lab.hosts) {
    left.push(...(await lab.agent(host).getStatus({})).endpoints);
    left.push(...((await inLab(lab, host, "ip", "-br", "link")).match(/^v[ei][0-9a-f]{12}/gm) ?? []));
  }
  return left;
}

test("containers of two engines ping each other, and are apart by network", async () => {
  await one.run("aa", "web");
  await two.run("bb", "web");
  const there = await two.addresses("bb");
  assert.equal(there.length, 2);
  assert.notDeepEqual(await one.addresses("aa"), there);
  for (const address of there) await one.pings("aa", address);
  await two.run("cc", "other");
  const [apart = ""] = await two.addresses("cc");
  assert.match(apart, /^10\.2\./);
  assert.notEqual((await one.attempt("exec", "aa", "ping", "-c", "1", "-W", "1", apart)).status, 0);
  const [network] = JSON.parse(await two.docker("network", "inspect", "web"));
  const [container] = Object.values<Record<string, string>>(network.Containers);
  assert.deepEqual([container?.IPv4Address, container?.IPv6Address], [`${there[0]}/16`, `${there[1]}/64`]);
});

test("a container is in the network like any other endpoint, and its way out is the network's", async () => {
  lab.addContainer("x");
  const { ips } = await lab.attach("x", "h2", "web");
  for (const address of ips) await one.pings("aa", address);
  const routes = await one.docker("exec", "aa", "ip", "route");
  assert.match(routes, /^default via 10\.1\.0\.1 dev eth0/m);
  using host = lab.namespace("h1");
  const [address = ""] = await one.addresses("aa");
  assert.ok(await pings(host, address));
  const { mtu } = (await lab.agent("h1").getStatus({})).networks.find(({ name }) => name === "web") ?? {};
  assert.match(await one.docker("exec", "aa", "ip", "link", "show", "eth0"), new RegExp(`mtu ${mtu} `));
  await lab.agent("h2").detach({ network: "web", netns: `/run/netns/${lab.names.container("x")}`, interface: "eth0" });
});

test("addresses and a MAC may be asked for, and stay over restarts of the container", async () => {
  const words = ["--ipv6", "--subnet", "10.1.0.0/16", "--subnet", "fd01::/64"];
  await two.create("both", "web", ...words);
  await two.run("dd", "both", "--ip", "10.1.7.7", "--ip6", "fd01::7:7", "--mac-address", "02:00:00:00:07:07");
  const wanted = ["10.1.7.7", "fd01::7:7"];
  assert.deepEqual(await two.addresses("dd"), wanted);
  assert.match(await two.docker("exec", "dd", "ip", "link", "show", "eth0"), /02:00:00:00:07:07/);
  await two.docker("restart", "-t", "0", "dd");
  assert.deepEqual(await two.addresses("dd"), wanted);
  for (const address of wanted) await one.pings("aa", address);
  await two.run("ee", "both");
  assert.equal((await two.addresses("ee")).length, 2);
  const { complaints } = await one.attempt("run", "--rm", "--network", "web", "--ip", "10.1.7.7", "busybox", "sh");
  assert.match(complaints, /10\.1\.7\.7/);
  await two.docker("rm", "-f", "dd", "ee");
  await two.docker("network", "rm", "both");
});

test("a container comes into several networks and leaves them", async () => {
  await one.docker("network", "connect", "routed", "aa");
  const [address = ""] = await one.addresses("aa", "eth1");
  assert.match(address, /^10\.8\./);
  await two.run("ff", "routed");
  await two.pings("ff", address);
  await one.docker("network", "disconnect", "routed", "aa");
  assert.notEqual((await one.attempt("exec", "aa", "ip", "link", "show", "eth1")).status, 0);
  assert.match((await one.attempt("network", "rm", "web")).complaints, /has active endpoints/);
  await two.docker("rm", "-f", "ff");
});

test("an internal network has no way out", async () => {
  await one.create("inside", "web", "--subnet", "10.1.0.0/16", "--internal");
  await one.run("gg", "inside");
  assert.doesNotMatch(await one.docker("exec", "gg", "ip", "route"), /default/);
  const [address = ""] = await one.addresses("aa");
  await one.pings("gg", address);
  await one.docker("rm", "-f", "gg");
  await one.docker("network", "rm", "inside");
});

test("containers find each other by name across engines: at first, by aliases, renamed, started anew, and no more when removed", async () => {
  await two.run("named", "web", "--network-alias", "db", "--network-alias", "DB-2");
  await one.run("asks", "web", ...names);
  for (const name of ["named", "db", "db-2.web", "named.web.acme.weft"]) await one.pings("asks", name);
  const [, address = ""] = /\((.+)\)/.exec(await one.docker("exec", "asks", "ping", "-c", "1", "db")) ?? [];
  assert.ok((await two.addresses("named")).includes(address));
  await two.docker("restart", "-t", "0", "named");
  await one.pings("asks", "named");
  await two.docker("rename", "named", "renamed");
  await one.pings("asks", "renamed");
  await one.misses("asks", "named");
  // Those of its own engine Docker knows itself.
  await one.pings("asks", "aa");
  await two.docker("rm", "-f", "renamed");
  for (const name of ["renamed", "db", "renamed.web.acme.weft"]) await one.misses("asks", name);
  await one.docker("rm", "-f", "asks");
});

test("names are found without a way out, and in a second network as well", async () => {
  await two.run("far", "other");
  await one.run("near", "other", ...names);
  await one.pings("near", "far");
  await one.docker("rm", "-f", "near");
  await one.run("between", "web", ...names);
  await one.docker("network", "connect", "other", "between");
  await one.pings("between", "bb");
  await one.docker("rm", "-f", "between");
  await two.docker("rm", "-f", "far");
});

test("a network that comes to have names has those of containers that run", async () => {
  await two.run("late", "routed");
  await weftDone("network", "set", "routed", "--names", "--wait", "60s", "--server", lab.serverSocket);
  await one.run("asks", "routed", ...names);
  await one.pings("asks", "late");
  await two.docker("rm", "-f", "late");
  await one.docker("rm", "-f", "asks");
});

test("what weft does not know Docker asks of the next server", async (t) => {
  using outside = lab.namespace("server");
  // It knows one name, and says of all others that they are not there.
  const script = `
    const socket = require("node:dgram").createSocket("udp4");
    socket.on("message", (message, { address, port }) => {
      const end = message.indexOf(0, 12) + 5;
      const isKnown = message.includes("example") && message[end - 3] === 1;
      const head = Buffer.from([0x81, message.includes("example") ? 0x80 : 0x83, 0, 1, 0, isKnown ? 1 : 0, 0, 0, 0, 0]);
      const answer = isKnown ? Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 192, 0, 2, 1]) : Buffer.alloc(0);
      socket.send(Buffer.concat([message.subarray(0, 2), head, message.subarray(12, end), answer]), port, address);
    });
    socket.bind(53, () => console.log("bound"));`;
  const next = new BackgroundProgram(t, outside, process.execPath, ["-e", script]);
  await next.said(/bound/);
  const address = /inet ([\d.]+)/.exec(
    await inLab(lab, "server", "ip", "-4", "-o", "address", "show", "scope", "global"),
  )?.[1];
  assert.ok(address);
  await one.run("out", "web", ...names, "--dns", address);
  await one.pings("out", "www.example");
  await one.pings("out", "bb");
  await one.misses("out", "nobody");
  await one.docker("rm", "-f", "out");
  await next.end();
});

test("published ports lead from outside to the container, and go with it", async () => {
  const asked = async (address: string, port: number): Promise<string> => {
    using outside = lab.namespace("server");
    const { output } = await runProgram(outside, process.execPath, [
      "-e",
      `require("node:http").get({ host: "${address}", port: ${port}, timeout: 3000 }, ({ statusCode }) => console.log(statusCode))
         .on("error", ({ code }) => console.log(code)).on("timeout", () => process.exit());`,
    ]);
    return output.trim();
  };
  const words = ["-p", "8080:80", "-p", "192.0.2.1:8443:80", "busybox", "/bin/httpd", "-f", "-p", "80", "-h", "/"];
  await one.docker("run", "-d", "--name", "pp", "--network", "web", ...words);
  await until(async () => assert.equal(await asked("192.0.2.1", 8080), "404"));
  assert.equal(await asked("2001:db8::1", 8080), "404");
  assert.equal(await asked("192.0.2.1", 8443), "404");
  const { complaints } = await one.attempt("run", "--rm", "--network", "web", "-p", "8080:80", "busybox", "sh");
  assert.match(complaints, /publishes port 8080\/tcp on this node/);
  await one.docker("stop", "-t", "0", "pp");
  assert.equal(await asked("192.0.2.1", 8080), "ECONNREFUSED");
  await one.docker("start", "pp");
  await until(async () => assert.equal(await asked("192.0.2.1", 8080), "404"));
  await one.docker("rm", "-f", "pp");
  assert.equal(await asked("192.0.2.1", 8443), "ECONNREFUSED");
});

test("what cannot be is refused with what to do", async () => {
  const create = ["network", "create", "-d", "weft"];
  const own = [...create, "--ipam-driver", "weft"];
  const refusals: readonly [readonly string[], RegExp][] = [
    [[...create, "-o", "weft.network=web", "no"], /--ipam-driver weft --subnet SUBNET/],
    [[...own, "-o", "weft.network=web", "no"], /no IPv4 subnet is given/],
    [[...own, "--subnet", "10.1.0.0/16", "no"], /-o weft\.network: found ""/],
    [[...own, "--subnet", "10.1.0.0/16", "-o", "weft.network=none", "no"], /none/],
    [[...own, "--subnet", "10.9.0.0/16", "-o", "weft.network=web", "no"], /give --subnet 10\.1\.0\.0\/16/],
    [[...own, "--subnet", "10.1.0.0/16", "-o", "weft.encapsulation=gre", "no"], /weft network create/],
    [[...own, "--subnet", "10.1.0.0/16", "--gateway", "10.1.0.9", "-o", "weft.network=web", "no"], /--gateway/],
    [[...own, "--subnet", "10.1.0.0/16", "--ip-range", "10.1.8.0/24", "-o", "weft.network=web", "no"], /--ip-range/],
    [["run", "--rm", "--network", "web", "-p", "80", "busybox", "sh"], /name it: -p 8080:80/],
  ];
  for (const [words, pattern] of refusals) {
    const { status, complaints } = await one.attempt(...words);
    assert.notEqual(status, 0, words.join(" "));
    assert.match(complaints, pattern);
  }
});

test("containers work on while agent and engine begin anew, and keep their addresses", async () => {
  const [before, there] = [await one.addresses("aa"), await two.addresses("bb")];
  lab.kill("h1");
  await lab.startAgent("h1");
  assert.deepEqual(await one.addresses("aa"), before);
  for (const address of there) await one.pings("aa", address);
  await one.stop();
  await one.start(true);
  await one.docker("start", "aa");
  const kept = await one.addresses("aa");
  await one.stop("SIGKILL");
  lab.kill("h1");
  await lab.startAgent("h1");
  await one.start(true);
  assert.deepEqual(await one.addresses("aa"), kept);
  for (const address of there) await one.pings("aa", address);
});

test("an engine that was killed gives back what its containers had", async () => {
  await two.run("hh", "web");
  await two.stop("SIGKILL");
  await two.start();
  await until(async () => {
    const { endpoints } = await lab.agent("h2").getStatus({});
    assert.deepEqual(endpoints, []);
  });
  await two.docker("start", "bb");
  const [address = ""] = await two.addresses("bb");
  await one.pings("aa", address);
});

test("without a server, networks with blocks give addresses, and others refuse at once", async () => {
  await one.run("ii", "routed");
  lab.kill("server");
  await until(async () => assert.equal((await lab.agent("h1").getStatus({})).serverState, "disconnected"));
  await one.run("jj", "routed");
  const [address = ""] = await one.addresses("jj");
  await one.pings("ii", address);
  const { status, complaints } = await one.attempt("run", "-d", "--network", "web", "busybox", "/bin/sleep", "3600");
  assert.notEqual(status, 0);
  assert.match(complaints, /no connection to the server/);
  await one.docker("rm", "-f", "jj");
  await lab.startServer();
  for (const host of lab.hosts)
    await until(async () => assert.equal((await lab.agent(host).getStatus({})).serverState, "connected"));
});

test("a container that is removed while no agent runs leaves nothing, either", async () => {
  await two.run("kk", "web");
  lab.kill("h2");
  await two.docker("rm", "-f", "kk");
  await lab.startAgent("h2");
  const addresses = await two.addresses("bb");
  await until(async () => {
    const { endpoints } = await lab.agent("h2").getStatus({});
    assert.deepEqual(endpoints.flatMap(({ endpoint }) => endpoint?.ips ?? []).sort(), addresses.toSorted());
  });
});

test("what is removed leaves nothing", async () => {
  for (const engine of [one, two]) {
    const containers = (await engine.docker("ps", "-aq")).split("\n").filter((id) => id !== "");
    await engine.docker("rm", "-f", ...containers);
    await engine.docker("network", "rm", "web", "other", "routed");
  }
  await until(async () => assert.deepEqual(await leftovers(), []));
  assert.match(await one.uninstall(), /^removed/);
});
