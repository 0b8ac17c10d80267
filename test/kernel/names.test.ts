/**
 * Endpoints ask at 169.254.169.254 who is called what, by the UDP of their kernel: of layer-2 and layer-3 networks, on both hosts, with
 * the same names in several networks, without a router, under policies, beside a flood, and without the server.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Ipv4Address, ip } from "../../src/base/ip.ts";
import { mac } from "../../src/base/mac.ts";
import { runProgram } from "../../src/lab/process.ts";
import { buildFrame, decodeFrame } from "../../src/wire/index.ts";
import { createNetworks, idle, inLab, testLab, theWholeFile, until, weftDone, weftJson } from "../support/cluster.ts";
import { fileRequires } from "../support/kernel.ts";
import { RawInterface } from "../support/raw-frames.ts";

await fileRequires("nft-inet", "quick processes");

const lab = await testLab(theWholeFile(), { hosts: 2 });
await createNetworks(lab, [
  { name: "web", subnets: ["10.1.0.0/24", "fd01::/64"], vni: 100, gateway: "distributed", names: true },
  { name: "pods", mode: "l3", subnets: ["10.2.0.0/16"], vni: 200, gateway: "distributed", names: true },
  { name: "bare", subnets: ["10.3.0.0/24"], vni: 300, policyDefault: "deny", antiSpoof: false, names: true },
  { name: "mute", mode: "l3", subnets: ["10.4.0.0/16"], vni: 400 },
  { name: "red", tenant: "red", subnets: ["10.1.0.0/24"], vni: 500, names: true },
]);

const addresses = new Map<string, readonly string[]>();
const [ids, macs] = [new Map<string, string>(), new Map<string, string>()];

/** A container on a host, with an endpoint that is called so. */
async function attach(container: string, host: string, network: string, ...labels: string[]): Promise<void> {
  lab.addContainer(container);
  const words = ["--netns", lab.names.container(container), "--agent", lab.agentSocket(host)];
  const { endpoint } = await weftJson(["attach", network, ...words, ...labels.flatMap((each) => ["--label", each])]);
  addresses.set(container, endpoint.ips);
  ids.set(container, endpoint.id);
  macs.set(container, endpoint.mac);
}
await attach("web1", "h1", "web", "hostname=one", "alias/all=");
await attach("web2", "h2", "web", "hostname=Two", "alias/all=");
await attach("pods1", "h1", "pods", "hostname=one");
await attach("pods2", "h2", "pods", "hostname=two");
await attach("bare1", "h1", "bare", "hostname=one");
await attach("bare2", "h2", "bare", "hostname=two");
await attach("mute1", "h1", "mute", "hostname=one");
await attach("mute2", "h2", "mute", "hostname=two");
await attach("red1", "h1", "red", "hostname=one");
await idle(lab, "h1", "h2");

const resolver = `
  const { Resolver } = require("node:dns").promises;
  const [how, name] = process.argv.slice(1);
  const resolver = new Resolver({ timeout: 3000, tries: 1 });
  resolver.setServers(["169.254.169.254"]);
  resolver[how](name).then((found) => console.log(found.sort().join(" ")), ({ code }) => console.log(code));`;

/** Addresses, names, or why there are none. */
async function ask(container: string, name: string, how = "resolve4"): Promise<string> {
  using namespace = lab.namespace(container);
  const { output, complaints } = await runProgram(namespace, process.execPath, ["-e", resolver, how, name]);
  assert.equal(complaints, "");
  return output.trim();
}

const [first, second] = [0, 1].map((index) => (container: string) => addresses.get(container)?.[index] ?? "");
assert.ok(first && second);

test("who is called so is found on either host, in layer 2 and 3, by each of its names", async () => {
  assert.equal(await ask("web1", "two"), first("web2"));
  assert.equal(await ask("web1", "TWO.web", "resolve6"), second("web2"));
  assert.equal(await ask("web2", "one.web.acme.weft"), first("web1"));
  assert.equal(await ask("web1", "all"), [first("web1"), first("web2")].sort().join(" "));
  assert.equal(await ask("pods1", "two"), first("pods2"));
  assert.equal(await ask("pods2", "one"), first("pods1"));
  assert.equal(await ask("pods1", first("pods2"), "reverse"), "two.pods.acme.weft");
  assert.equal(await ask("web2", second("web1"), "reverse"), "one.web.acme.weft");
});

test("without a router and where nothing else is allowed, too", async () => {
  assert.equal(await ask("bare1", "two"), first("bare2"));
});

test("a name is its network's, others may know what weft does not, and nobody else has what is below weft", async () => {
  assert.equal(await ask("red1", "one"), first("red1"));
  assert.equal(await ask("red1", "two"), "EREFUSED");
  assert.equal(await ask("web1", "two.pods.acme.weft"), "ENOTFOUND");
  assert.equal(await ask("web1", "example.org"), "EREFUSED");
  assert.equal(await ask("bare1", "two", "resolve6"), "ENODATA");
});

test("names follow labels, and go with their endpoints", async () => {
  await weftDone("endpoint", "set", ids.get("pods2") ?? "", "--label", "hostname=three", "--server", lab.serverSocket);
  await until(async () => assert.equal(await ask("pods1", "three"), first("pods2")));
  assert.equal(await ask("pods1", "two"), "EREFUSED");
  await lab
    .agent("h2")
    .detach({ network: "web", netns: `/run/netns/${lab.names.container("web2")}`, interface: "eth0" });
  await until(async () => assert.equal(await ask("web1", "two"), "EREFUSED"));
  assert.equal(await ask("web1", "two.web.acme.weft"), "ENOTFOUND");
  assert.equal(await ask("web1", "all"), first("web1"));
});

test("a network that comes to have names has those of all that are there, and loses them", async () => {
  await weftDone("network", "set", "mute", "--names", "--wait", "60s", "--server", lab.serverSocket);
  assert.equal(await ask("mute1", "two"), first("mute2"));
  assert.match(await inLab(lab, "mute1", "ip", "route"), /^169\.254\.169\.254 dev eth0 proto 119 scope link/m);
  await weftDone("network", "set", "mute", "--no-names", "--wait", "60s", "--server", lab.serverSocket);
  assert.match(await ask("mute1", "two"), /ECONNREFUSED|ETIMEOUT/);
  assert.doesNotMatch(await inLab(lab, "mute1", "ip", "route"), /169\.254/);
});

test("who floods it holds nobody up, and is answered at a bounded rate", async () => {
  using namespace = lab.namespace("web1");
  const flood = await RawInterface.open(namespace, "eth0");
  const query = buildFrame([
    {
      protocol: "ethernet",
      header: { source: mac(macs.get("web1") ?? ""), destination: mac("02:57:00:00:00:64"), etherType: "ipv4" },
    },
    {
      protocol: "ipv4",
      header: {
        ...{ dscp: 0, ecn: 0, identification: 0, dontFragment: true, moreFragments: false, fragmentOffset: 0 },
        ...{ timeToLive: 64, protocol: "udp", options: new Uint8Array() },
        ...{ source: ip(first("web1")) as Ipv4Address, destination: ip("169.254.169.254") as Ipv4Address },
      },
    },
    { protocol: "udp", header: { sourcePort: 7, destinationPort: 53 } },
    {
      protocol: "payload",
      header: Uint8Array.of(...[0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0], ...[3, 0x6f, 0x6e, 0x65, 0, 0, 1, 0, 1]),
    },
  ]);
  const isAnswer = (frame: Uint8Array): boolean =>
    decodeFrame(frame).layers.some(
      ({ protocol, header }) => protocol === "udp" && "sourcePort" in header && header.sourcePort === 53,
    );
  const began = performance.now();
  let isOver = false;
  const flooding = (async () => {
    while (!isOver) {
      for (let count = 0; count < 100; count++) flood.send(query);
      await new Promise((resolve) => setImmediate(resolve));
    }
  })();
  assert.equal(await ask("pods1", "three"), first("pods2"));
  let answers = 0;
  await until(() => {
    answers += flood.received().filter(isAnswer).length;
    assert.ok(answers > 0);
  });
  isOver = true;
  await flooding;
  const seconds = (performance.now() - began) / 1000;
  answers += flood.received().filter(isAnswer).length;
  flood.close();
  assert.ok(answers <= 500 + 250 * seconds + 1, `${answers} in ${seconds} s`);
  await until(async () => assert.equal(await ask("web1", "one"), first("web1")));
});

test("an agent without a server answers, also when it begins anew", async () => {
  await lab.stop("server");
  await lab.stop("h1");
  await lab.startAgent("h1");
  await until(async () => assert.equal(await ask("pods1", "three"), first("pods2")));
  assert.equal(await ask("bare1", "two"), first("bare2"));
});
