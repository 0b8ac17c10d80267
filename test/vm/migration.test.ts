/**
 * A machine that QEMU moves, running, between two hosts while a client on a third one talks to it: weft follows by what the
 * machine announces. WEFT_MOVES: how often, default 20.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { ping } from "../../src/lab/measure.ts";
import type { Migrated } from "../../src/lab/qemu.ts";
import {
  BackgroundProgram,
  createNetworks,
  idle,
  inLab,
  pings,
  testLab,
  theWholeFile,
  until,
  weft,
  weftJson,
} from "../support/cluster.ts";
import { Machine } from "./machine.ts";

const moves = Number(process.env.WEFT_MOVES ?? 20);
const file = theWholeFile();
const lab = await testLab(file, { hosts: 3 });
await createNetworks(lab, [{ name: "web", subnets: ["10.1.0.0/24", "fd01::/64"] }]);
for (const name of ["a", "b", "c"]) lab.addContainer(name);
await lab.attach("a", "h1", "web");
await lab.attach("b", "h2", "web");
await lab.attach("c", "h3", "web");
const c = lab.namespace("c");
file.after(() => c.close());
const server = ["--server", lab.serverSocket];
const there = (host: string): readonly string[] => ["--agent", lab.agentSocket(host), "-o", "json"];
/** Of the hosts in the underlay. */
const underlay: Readonly<Record<string, string>> = { h1: "192.0.2.1", h2: "192.0.2.2" };

const { endpoint, addresses, mtu } = await weftJson(["attach", "web", "--tap", "vm1", "--movable", ...there("h1")]);
const [ip, ip6] = endpoint.ips as [string, string];

function machineOn(host: string, ...arriving: readonly "arriving"[]): Machine {
  using namespace = lab.namespace(host);
  const incoming = arriving.length === 0 ? {} : { isIncoming: true as const };
  return new Machine(file, { host: namespace, tap: "vm1", mac: endpoint.mac, addresses, mtu, ...incoming });
}

let machine = machineOn("h1");
await Promise.all([machine.ready(), idle(lab, "h1", "h2", "h3")]);

test(`a machine moves ${moves} times, and a connection to it goes on`, async (t) => {
  await until(async () => assert.ok(await pings(c, ip)));
  const words = [
    "--disable-warning=ExperimentalWarning",
    fileURLToPath(new URL("echo-client.ts", import.meta.url)),
    ip,
  ];
  const silences: { qemu: number; packets: number; connection: number }[] = [];
  let host = "h1";
  for (let number = 0; number < moves; number++) {
    const client = new BackgroundProgram(file, c, process.execPath, words);
    const to = host === "h1" ? "h2" : "h1";
    await weftJson(["attach", "web", "--tap", "vm1", "--standby", endpoint.id, ...there(to)]);
    const port = `${underlay[to]}:4444`;
    const next = machineOn(to, "arriving");
    await next.await(port);
    // For longer than it takes; without retransmissions, which wait for 200 ms and more.
    const packets = ping(lab, "c", ip, { count: 600, interval: 5 });
    const migrated: Migrated = await machine.migrate(port);
    await until(async () => assert.equal((await weftJson(["endpoint", "show", endpoint.id, ...server])).node, to));
    await machine.powerOff();
    for (const each of [ip, ip6]) await until(async () => assert.ok(await pings(c, each), each));
    client.endInput();
    assert.equal(await client.ended(), 0, client.complaints);
    const { sent, received, longest, failure } = JSON.parse(client.output);
    assert.equal(failure, "");
    assert.equal(received, sent);
    const { longestGap } = await packets;
    silences.push({ qemu: migrated.downtime, packets: Math.round(longestGap), connection: longest });
    await until(async () => assert.doesNotMatch(await inLab(lab, host, "ip", "-o", "link"), / vm1:/));
    [host, machine] = [to, next];
  }
  const of = (what: keyof (typeof silences)[number]): string => silences.map((each) => each[what]).join(" ");
  t.diagnostic(`QEMU let it stand still, ms: ${of("qemu")}`);
  t.diagnostic(`echo requests were without answer, ms: ${of("packets")}`);
  t.diagnostic(`the connection was silent, ms: ${of("connection")}`);
  const { status, complaints } = await weft(["detach", "web", "--tap", "vm1", ...there(host)]);
  assert.equal(status, 0, complaints);
});
