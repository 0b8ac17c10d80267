/** Real virtual machines on the taps of weft: they reach containers and each other on other hosts, and are reached. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { runProgram } from "../../src/lab/process.ts";
import { createNetworks, idle, pings, testLab, theWholeFile, weft } from "../support/cluster.ts";
import { Machine } from "./machine.ts";

const file = theWholeFile();
const lab = await testLab(file, { hosts: 2 });
await createNetworks(lab, [
  { name: "web", subnets: ["10.1.0.0/24", "fd01::/64"] },
  {
    name: "told",
    subnets: ["10.2.0.0/24"],
    gateway: "distributed",
    dhcp: { dns: ["10.2.0.53"], leaseTime: 600, metadata: true },
  },
]);
lab.addContainer("c");
const container = await lab.attach("c", "h2", "web");
const c = lab.namespace("c");
file.after(() => c.close());

interface Attached {
  readonly mac: string;
  readonly addresses: readonly string[];
  readonly mtu: number;
}

async function attachTap(host: string, tap: string, network = "web", ...words: readonly string[]): Promise<Attached> {
  const place = ["--agent", lab.agentSocket(host), "-o", "json"];
  const { status, output, complaints } = await weft(["attach", network, "--tap", tap, ...words, ...place]);
  assert.equal(status, 0, complaints);
  const { endpoint, addresses, mtu } = JSON.parse(output);
  return { mac: endpoint.mac, addresses, mtu };
}

function machineOn(host: string, tap: string, attached: Attached): Machine {
  using namespace = lab.namespace(host);
  return new Machine(file, { host: namespace, tap, ...attached });
}

const ipsOf = ({ addresses }: Attached): string[] => addresses.map((each) => each.split("/")[0] ?? "");

const one = await attachTap("h1", "vm1");
const two = await attachTap("h2", "vm2");
let first = machineOn("h1", "vm1", one);
const second = machineOn("h2", "vm2", two);
await Promise.all([first.ready(), second.ready(), idle(lab, "h1", "h2")]);

/** Whether the machine hears an answer; the first question may have to wait. */
async function assertReaches(from: Machine, addresses: readonly string[]): Promise<void> {
  for (const address of addresses)
    assert.match(await from.run(`ping -c 3 -W 2 ${address}`), /[1-3] packets received/, address);
}

test("machines and containers on different hosts reach each other, IPv4 and IPv6", async () => {
  await assertReaches(first, [...ipsOf(two), ...container.ips]);
  await assertReaches(second, [...ipsOf(one), ...container.ips]);
  for (const ip of [...ipsOf(one), ...ipsOf(two)]) assert.ok(await pings(c, ip), ip);
});

test("a machine serves TCP, and packets of its MTU pass", async () => {
  const [address = ""] = ipsOf(one);
  const page = await runProgram(c, "busybox", ["wget", "-q", "-O", "-", `http://${address}/`]);
  assert.equal(page.output, "a machine\n", page.complaints);
  const full = await runProgram(c, "ping", ["-c", "3", "-M", "do", "-s", `${one.mtu - 28}`, address]);
  assert.equal(full.status, 0, full.output);
});

test("a machine goes on while the agent of its host is killed and started again", async () => {
  const [address = ""] = ipsOf(one);
  // Enough for a killed agent to be back.
  const stream = runProgram(c, "ping", ["-i", "0.02", "-c", "500", "-W", "5", address]);
  lab.kill("h1");
  await lab.startAgent("h1");
  await idle(lab, "h1");
  assert.match((await stream).output, /500 packets transmitted, 500 received/);
  const { netlinkWrites, repairs } = await lab.agent("h1").getStatus({});
  assert.deepEqual([netlinkWrites, repairs], [0n, 0n]);
});

test("a machine that is started on another host has its addresses there", async () => {
  await first.powerOff();
  const detached = await weft(["detach", "web", "--tap", "vm1", "--agent", lab.agentSocket("h1")]);
  assert.equal(detached.status, 0, detached.complaints);
  const wanted = ipsOf(one).flatMap((ip) => ["--ip", ip]);
  const again = await attachTap("h2", "vm1", "web", "--mac", one.mac, ...wanted);
  assert.deepEqual(again, one);
  first = machineOn("h2", "vm1", again);
  await first.ready();
  await assertReaches(first, [...ipsOf(two), ...container.ips]);
  for (const ip of ipsOf(one)) assert.ok(await pings(c, ip), ip);
});

test("a machine that nobody configured asks its node, and is told address, MTU, router and name server", async () => {
  const { addresses, mac, mtu } = await attachTap("h1", "vm3", "told");
  await idle(lab, "h1");
  using host = lab.namespace("h1");
  const machine = new Machine(file, { host, tap: "vm3", mac, mtu });
  await machine.ready();
  assert.match(await machine.run("ip addr show eth0"), new RegExp(`mtu ${mtu} (.|\\s)* inet ${addresses[0]} `));
  assert.match(
    await machine.run("ip route; cat /resolv.conf"),
    /default via 10\.2\.0\.1 dev eth0(.|\s)*nameserver 10\.2\.0\.53/,
  );
  await assertReaches(machine, ["10.2.0.1"]);
  const asked = await machine.run("busybox wget -q -O - http://169.254.169.254/network-config");
  assert.match(asked, new RegExp(`macaddress: "${mac}"`));
});
