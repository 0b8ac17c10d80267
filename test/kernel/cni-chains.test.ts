/** weft's CNI plugin in lists with the reference plugins, as runtimes run them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createNetworks, inLab, pings, testLab, theWholeFile, until } from "../support/cluster.ts";
import { Runtime } from "../support/cni.ts";
import { fileRequires } from "../support/kernel.ts";

await fileRequires("quick processes", "nft-nat");
const lab = await testLab(theWholeFile(), { hosts: 2 });
await createNetworks(lab, [
  { name: "web", subnets: ["10.1.0.0/16"], vni: 100, gateways: ["10.1.0.1"], egress: true, hostAccess: true },
]);
const [one, two] = [new Runtime(lab, "h1"), new Runtime(lab, "h2")];
for (const name of ["a", "b"]) lab.addContainer(name);
const weft = one.configuration({ cniVersion: "1.0.0" });
const chained = (type: string, fields: object) => ({ cniVersion: "1.0.0", name: "lab", type, ...fields });

/** What a program in a container says to who comes by the first host's port. */
async function assertAnswers(container: string): Promise<void> {
  using namespace = lab.namespace(container);
  const server = namespace.spawn(process.execPath, [
    "-e",
    "require('net').createServer((s) => s.end('hello')).listen(80, '0.0.0.0')",
  ]);
  try {
    await until(async () => {
      assert.equal(await inLab(lab, "h2", "bash", "-c", "exec 3<>/dev/tcp/192.0.2.1/8080; cat <&3"), "hello");
    });
  } finally {
    server.kill("SIGKILL");
  }
}

const portMappings = [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }];

test("portmap leads a port of the host to a container", async () => {
  const list = [weft, chained("portmap", { snat: true, runtimeConfig: { portMappings } })];
  const result = await one.add(list);
  assert.deepEqual(result.interfaces.map(({ name }: { name: string }) => name).slice(1), ["eth0"]);
  // That of Debian's portmap, 1.1.1, fails for whatever has no IPv6 address.
  await one.check([weft], result);
  await assertAnswers("a");
  await one.delete(list, result);
  assert.doesNotMatch(await inLab(lab, "h1", "iptables-save", "-t", "nat"), /8080/);
});

test("without it weft leads the port, to one container at a time", async () => {
  const publishing = { ...weft, runtimeConfig: { portMappings } };
  await one.must("ADD", publishing);
  await assertAnswers("a");
  assert.match(await one.fails(101, "ADD", publishing, { container: "b" }), /publishes port 8080\/tcp on this node/);
  await one.must("DEL", publishing);
  await one.must("ADD", publishing, { container: "b" });
  await assertAnswers("b");
  await one.must("DEL", publishing, { container: "b" });
});

test("tuning and sbr change what weft made, and CHECK allows it", async () => {
  const list = [weft, chained("tuning", { sysctl: { "net.ipv4.conf.eth0.log_martians": "1" } }), chained("sbr", {})];
  const result = await one.add(list);
  await two.add([two.configuration()], { container: "b" });
  assert.equal((await inLab(lab, "a", "cat", "/proc/sys/net/ipv4/conf/eth0/log_martians")).trim(), "1");
  assert.match(await inLab(lab, "a", "ip", "rule"), /from 10\.1\.\d+\.\d+ lookup 100/);
  await one.check([weft], result);
  // What comes from its address goes by the table that sbr made.
  using b = lab.namespace("b");
  assert.ok(await pings(b, result.ips[0].address.split("/")[0]));
  await one.delete(list, result);
  await two.delete([two.configuration()], undefined, { container: "b" });
});

test("bandwidth finds no end of the interface on the host and says so, and nothing is left", async () => {
  const list = [weft, chained("bandwidth", { ingressRate: 8_000_000, ingressBurst: 800_000 })];
  const prevResult = await one.must("ADD", list[0]);
  const { status, answer } = await one.call("ADD", { ...list[1], prevResult });
  assert.equal(status, 1);
  // Another device of the host may have the index that it looks for.
  assert.match(`${answer.msg} ${answer.details}`, /interface|is not in host ns/);
  await one.delete(list, prevResult);
  assert.deepEqual((await lab.agent("h1").getStatus({})).endpoints, []);
});
