/** Ports of a node that lead to endpoints on it, with real connections from outside, from the node and from other tenants. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { namedNamespacePath } from "../../src/linux/index.ts";
import { answerCallers, call, callByDatagram } from "../support/callers.ts";
import {
  createNetworks,
  idle,
  inLab,
  testLab,
  theWholeFile,
  until,
  weft,
  weftDone,
  weftJson,
} from "../support/cluster.ts";
import { fileRequires } from "../support/kernel.ts";

await fileRequires("quick processes", "nft-inet");

const file = theWholeFile();
const lab = await testLab(file, { hosts: 2 });
await createNetworks(lab, [
  {
    name: "shop",
    tenant: "blue",
    subnets: ["10.31.0.0/24", "fd31::/64"],
    gateway: "distributed",
    gateways: ["10.31.0.1", "fd31::1"],
  },
  { name: "twin", tenant: "red", mode: "l3", subnets: ["10.31.0.0/16"], egress: true },
  { name: "island", tenant: "blue", subnets: ["10.32.0.0/24"] },
]);
await createNetworks(
  lab,
  [{ name: "pods", tenant: "kube", mode: "l3", subnets: ["10.33.0.0/16"], hostAccess: true }],
  "host",
);

/** Addresses of the hosts on the underlay. */
const h1 = { 4: "192.0.2.1", 6: "2001:db8::1" } as const;
const outside = "192.0.2.254";

const attach = async (name: string, network: string, ...more: readonly string[]): Promise<string> => {
  lab.addContainer(name);
  const netns = namedNamespacePath(lab.names.container(name));
  const { endpoint } = await weftJson(["attach", network, "--netns", netns, "--agent", lab.agentSocket("h1"), ...more]);
  return endpoint.id;
};

const serve = (place: string, port = 80): Promise<void> => answerCallers(file, lab, place, port);
const asked = (from: string, address: string, port: number): Promise<string> => call(lab, from, address, port);
const askedByDatagram = (from: string, address: string, port: number): Promise<string> =>
  callByDatagram(lab, from, address, port);

const shop = await attach("shop1", "shop", "--publish", "8080:80", "--publish", `${h1[4]}:53:80/udp`);
const twin = await attach("twin1", "twin", "--publish", "8081:80");
await attach("pod1", "pods", "--publish", "8082:80", "--publish", "[2001:db8::1]:8083:80");
await attach("twin2", "twin");
for (const name of ["shop1", "twin1", "pod1"]) await serve(name);
await idle(lab, "h1");

test("from outside each port leads to its endpoint, which sees who asks, whatever the tenant's addresses", async () => {
  assert.equal(await asked("server", h1[4], 8080), `shop1 ${outside}`);
  assert.equal(await asked("server", h1[6], 8080), "shop1 2001:db8::fe");
  assert.equal(await askedByDatagram("server", h1[4], 53), `shop1 ${outside}`);
  assert.equal(await asked("server", h1[4], 8081), `twin1 ${outside}`);
  assert.equal(await asked("server", h1[4], 8082), `pod1 ${outside}`);
  assert.equal(await asked("server", h1[4], 8083), "ECONNREFUSED", "a port of another address, and of another family");
});

test("from the node itself, from another node and from endpoints of other tenants", async () => {
  for (const from of ["h1", "h2"]) {
    assert.match(await asked(from, h1[4], 8080), /^shop1 192\.0\.2\.[12]$/, from);
    assert.match(await asked(from, h1[4], 8082), /^pod1 192\.0\.2\.[12]$/, from);
  }
  assert.match(await asked("twin2", h1[4], 8080), /^shop1 /);
});

test("nothing else of the endpoint is reached: neither other ports nor its addresses", async () => {
  await serve("shop1", 81);
  assert.equal(await asked("server", h1[4], 81), "ECONNREFUSED");
  await inLab(lab, "server", "ip", "route", "add", "10.31.0.0/16", "via", h1[4]);
  assert.notEqual(await asked("server", "10.31.0.2", 81), `shop1 ${outside}`);
  await inLab(lab, "server", "ip", "route", "delete", "10.31.0.0/16");
  assert.doesNotMatch(await inLab(lab, "h1", "ip", "route"), /10\.31\./, "the host has no route to it");
});

test("a restart writes nothing, and connections go on", async () => {
  await lab.stop("h1");
  assert.equal(await asked("server", h1[4], 8080), `shop1 ${outside}`, "while the agent is away");
  await lab.startAgent("h1");
  await idle(lab, "h1");
  const { agent } = await weftJson(["status", "--agent", lab.agentSocket("h1")]);
  assert.equal(Number(agent.netlinkWrites), 0);
  assert.equal(await asked("server", h1[4], 8080), `shop1 ${outside}`);
});

test("what cannot be published is refused, and leaves nothing", async () => {
  await serve("h1", 9000);
  lab.addContainer("other");
  const refused = async (network: string, ...ports: readonly string[]): Promise<string> => {
    const netns = namedNamespacePath(lab.names.container("other"));
    const published = ports.flatMap((port) => ["--publish", port]);
    const words = ["attach", network, "--netns", netns, "--agent", lab.agentSocket("h1"), ...published];
    const { status, complaints } = await weft(words);
    assert.notEqual(status, 0);
    return complaints;
  };
  assert.match(
    await refused("shop", "8081:80"),
    new RegExp(`endpoint ${twin} of network twin publishes port 8081/tcp on this node`),
  );
  assert.match(await refused("shop", "9000:80"), /a program of this host listens at port 9000\/tcp\n.*ss -lnp/s);
  assert.match(await refused("shop", "198.51.100.1:9001:80"), /this host cannot have 198\.51\.100\.1:9001:80\/tcp/);
  assert.match(await refused("shop", "9001", "9001:80"), /it publishes port 9001\/tcp twice/);
  assert.match(await refused("island", "9001:80"), /nodes are no gateway of network island/);
  assert.match(await refused("shop", "0:80"), /Allowed: \[ADDRESS:\]PORT/);
  assert.equal(await inLab(lab, "other", "ip", "-o", "link", "show", "up"), "");
});

test("a port is free again when its endpoint leaves, and the host is as before when the last one has", async () => {
  await lab.detach("shop1", "h1", "shop");
  await idle(lab, "h1");
  assert.equal(await asked("server", h1[4], 8080), "ECONNREFUSED");
  await weftDone(
    ...["attach", "twin", "--netns", namedNamespacePath(lab.names.container("shop1"))],
    ...["--publish", "8080:80", "--agent", lab.agentSocket("h1")],
  );
  await until(async () => assert.match(await asked("server", h1[4], 8080), /^shop1 /));
  assert.notEqual(shop, "");
  const tables = await inLab(lab, "h1", "nft", "list", "tables");
  assert.doesNotMatch(tables, /weft-uplink-[a-z0-9]+-blue/, "blue had the uplink for its port alone");
});
