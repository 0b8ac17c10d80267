/** What Docker asks of the agent, asked by the test, which does with interfaces what Docker does. */
import assert from "node:assert/strict";
import { request } from "node:http";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { createNetworks, inLab, inSync, testLab, theWholeFile, until } from "../support/cluster.ts";
import { fileRequires } from "../support/kernel.ts";

await fileRequires("quick processes");
const lab = await testLab(theWholeFile(), { hosts: 1 });
await createNetworks(lab, [
  { name: "web", subnets: ["10.1.0.0/16", "fd01::/64"], vni: 100, gateways: ["10.1.0.1", "fd01::1"], egress: true },
  { name: "twin", tenant: "other", subnets: ["10.1.0.0/16"], vni: 101 },
  { name: "routed", subnets: ["10.8.0.0/16"], vni: 300, mode: "l3" },
]);

// biome-ignore lint/suspicious/noExplicitAny: the shape is that of whichever call it is, and the assertion checks it.
type Answer = any;

async function post(path: string, body: string): Promise<{ readonly status: number; readonly answer: Answer }> {
  const { promise, resolve, reject } = Promise.withResolvers<{ readonly status: number; readonly answer: Answer }>();
  const call = request({ socketPath: lab.agentSocket("h1"), method: "POST", path }, (response) => {
    let text = "";
    response.on("data", (chunk: Buffer) => {
      text += chunk;
    });
    response.on("end", () =>
      resolve({ status: response.statusCode ?? 0, answer: text.startsWith("{") ? JSON.parse(text) : text }),
    );
  });
  call.on("error", reject);
  call.end(body);
  return promise;
}

async function ask(name: string, body: object): Promise<Answer> {
  const { status, answer } = await post(`/${name}`, JSON.stringify(body));
  assert.equal(status, 200);
  assert.equal(answer.Err ?? answer.Error, undefined);
  return answer;
}

async function refusal(name: string, body: object): Promise<string> {
  const { status, answer } = await post(`/${name}`, JSON.stringify(body));
  assert.equal(status, 200);
  const word = name.startsWith("Ipam") ? "Error" : "Err";
  assert.deepEqual(Object.keys(answer), [word]);
  return answer[word];
}

const withMac = (mac: string) => ({ Options: { "com.docker.network.endpoint.macaddress": mac } });
const joining = (NetworkID: string, network: string, pools: readonly string[], options: object = {}) => ({
  NetworkID,
  Options: { "com.docker.network.generic": { "weft.network": network }, ...options },
  IPv4Data: pools.filter((Pool) => !Pool.includes(":")).map((Pool) => ({ AddressSpace: "weft", Pool })),
  IPv6Data: pools.filter((Pool) => Pool.includes(":")).map((Pool) => ({ AddressSpace: "weft", Pool })),
});
const ids = async (): Promise<string[]> =>
  (await lab.agent("h1").getStatus({})).endpoints.map(({ endpoint }) => endpoint?.id ?? "").sort();

/** An endpoint of network `network` of Docker's, as `docker run` has it made. */
async function create(network: string, pool: string, id: string, mac: string, address = ""): Promise<Answer> {
  const { Address } = await ask("IpamDriver.RequestAddress", { PoolID: pool, Address: address, ...withMac(mac) });
  const more = await ask("NetworkDriver.CreateEndpoint", {
    NetworkID: network,
    EndpointID: id,
    Interface: { Address, AddressIPv6: "", MacAddress: mac },
  });
  return { Address, ...more.Interface };
}

test("speaks libnetwork's protocol", async () => {
  assert.deepEqual(await ask("Plugin.Activate", {}), { Implements: ["NetworkDriver", "IpamDriver"] });
  assert.deepEqual(await ask("NetworkDriver.GetCapabilities", {}), { Scope: "local", ConnectivityScope: "global" });
  assert.equal((await post("/NetworkDriver.GetCapabilities", "")).status, 200);
  assert.equal((await post("/NetworkDriver.Unknown", "{}")).status, 404);
  for (const body of ["{", "[]", "1", '"text"']) assert.equal((await post("/NetworkDriver.Join", body)).status, 400);
  for (const name of ["NetworkDriver.Join", "NetworkDriver.CreateEndpoint", "NetworkDriver.CreateNetwork"])
    assert.match(await refusal(name, {}), /^weft: /);
  for (const name of ["IpamDriver.RequestPool", "IpamDriver.RequestAddress"])
    assert.match(await refusal(name, {}), /^weft: /);
  for (const name of ["Leave", "DeleteEndpoint", "DeleteNetwork"])
    assert.deepEqual(await ask(`NetworkDriver.${name}`, {}), {});
  assert.deepEqual(await ask("IpamDriver.ReleaseAddress", { PoolID: "10.1.0.0/16", Address: "10.1.0.9" }), {});
});

test("a network of Docker's leads to one of weft's, which is tried and let go again", async () => {
  await ask("NetworkDriver.CreateNetwork", joining("web1", "web", ["10.1.0.0/16"]));
  await until(async () => assert.deepEqual((await lab.admin.list({ kind: "endpoint" })).resources, []));
  assert.match(await refusal("NetworkDriver.CreateNetwork", joining("no", "none", ["10.1.0.0/16"])), /none/);
  assert.match(
    await refusal("NetworkDriver.CreateNetwork", joining("no", "twin", ["10.1.0.0/16"])),
    /network web1 of this engine leads to network web/,
  );
  assert.match(await refusal("NetworkDriver.CreateNetwork", joining("../x", "web", ["10.1.0.0/16"])), /NetworkID/);
  await ask("NetworkDriver.CreateNetwork", joining("routed1", "routed", ["10.8.0.0/16"]));
});

test("an interface is the host's until Docker moves it, keeps the network's MTU there, and goes with its address", async () => {
  lab.addContainer("c");
  const container = lab.names.container("c");
  const mac = "02:42:00:00:00:01";
  const given = await create("web1", "10.1.0.0/16", "e1", mac);
  assert.match(given.Address, /^10\.1\.\d+\.\d+\/16$/);
  assert.match(given.AddressIPv6, /^fd01::.*\/64$/);
  const { InterfaceName, Gateway, GatewayIPv6, DisableGatewayService } = await ask("NetworkDriver.Join", {
    NetworkID: "web1",
    EndpointID: "e1",
    SandboxKey: `/run/netns/${container}`,
  });
  assert.deepEqual([Gateway, GatewayIPv6, DisableGatewayService], ["10.1.0.1", "fd01::1", true]);
  const { SrcName } = InterfaceName;
  const before = await inLab(lab, "h1", "ip", "link", "show", SrcName);
  assert.match(before, new RegExp(`state DOWN .*${mac}`, "s"));
  await inLab(lab, "h1", "ip", "link", "set", SrcName, "netns", container, "name", "eth0");
  const inside = (...words: readonly string[]) => inLab(lab, "c", "ip", ...words);
  await inside("address", "add", given.Address, "dev", "eth0");
  await inside("link", "set", "eth0", "up");
  await inLab(lab, "c", "ping", "-c", "1", "-w", "10", "10.1.0.1");

  lab.kill("h1");
  await lab.startAgent("h1");
  await inSync(lab, "h1");
  assert.match(await inside("-o", "address", "show", "dev", "eth0"), /10\.1\./);
  assert.deepEqual(
    (await lab.agent("h1").getStatus({})).endpoints.map(({ state }) => state),
    ["done"],
  );

  await createNetworks(lab, [
    {
      name: "web",
      subnets: ["10.1.0.0/16", "fd01::/64"],
      vni: 100,
      gateways: ["10.1.0.1", "fd01::1"],
      egress: true,
      mtu: 1300,
    },
  ]);
  await until(async () => assert.match(await inside("link", "show", "eth0"), /mtu 1300 /));

  await ask("NetworkDriver.Leave", { NetworkID: "web1", EndpointID: "e1" });
  await ask("NetworkDriver.DeleteEndpoint", { NetworkID: "web1", EndpointID: "e1" });
  const [address] = given.Address.split("/");
  await ask("IpamDriver.ReleaseAddress", { PoolID: "10.1.0.0/16", Address: address });
  assert.deepEqual(await ids(), []);
  assert.doesNotMatch(await inside("-br", "link"), /eth0/);
  assert.match(
    await refusal("NetworkDriver.Join", { NetworkID: "web1", EndpointID: "e1", SandboxKey: "/x" }),
    /start the container again/,
  );
});

test("addresses of both families may be asked for one after the other", async () => {
  await ask("NetworkDriver.CreateNetwork", joining("both", "web", ["10.1.0.0/16", "fd01::/64"]));
  const options = withMac("02:42:00:00:00:02");
  const four = { PoolID: "10.1.0.0/16", Address: "10.1.9.9", ...options };
  assert.equal((await ask("IpamDriver.RequestAddress", four)).Address, "10.1.9.9/16");
  const six = { PoolID: "fd01::/64", Address: "fd01::9:9", ...options };
  assert.equal((await ask("IpamDriver.RequestAddress", six)).Address, "fd01::9:9/64");
  const [only, ...others] = (await lab.agent("h1").getStatus({})).endpoints;
  assert.deepEqual([only?.endpoint?.ips, others], [["10.1.9.9", "fd01::9:9"], []]);
  const Interface = { Address: "10.1.9.9/16", AddressIPv6: "fd01::9:9/64", MacAddress: "02:42:00:00:00:02" };
  const created = await ask("NetworkDriver.CreateEndpoint", { NetworkID: "both", EndpointID: "e2", Interface });
  assert.deepEqual(created, { Interface: {} });
  assert.match(await refusal("IpamDriver.RequestAddress", { ...four, ...withMac("02:42:00:00:00:03") }), /10\.1\.9\.9/);
  for (const { PoolID, Address } of [four, six]) await ask("IpamDriver.ReleaseAddress", { PoolID, Address });
  assert.deepEqual(await ids(), []);
});

test("an internal network gets no default route, and a layer-3 network routes to the rest of its subnet", async () => {
  const internal = { "com.docker.network.internal": true };
  await ask("NetworkDriver.CreateNetwork", joining("inside", "routed", ["10.8.0.0/16"], internal));
  for (const [network, isInternal] of [
    ["routed1", false],
    ["inside", true],
  ] as const) {
    const { Address } = await create(network, "10.8.0.0/16", `e-${network}`, "02:42:00:00:00:04");
    const { Gateway, StaticRoutes } = await ask("NetworkDriver.Join", {
      NetworkID: network,
      EndpointID: `e-${network}`,
      SandboxKey: "/none",
    });
    const [route] = StaticRoutes;
    assert.deepEqual([route.Destination, route.RouteType, StaticRoutes.length], ["10.8.0.0/16", 0, 1]);
    assert.equal(Gateway, isInternal ? undefined : route.NextHop);
    await ask("IpamDriver.ReleaseAddress", { PoolID: "10.8.0.0/16", Address: Address.split("/")[0] });
  }
  await until(async () => assert.deepEqual((await lab.admin.list({ kind: "endpoint" })).resources, []));
});

test("what was there before the host began anew is given back", async () => {
  const pool = "10.1.0.0/16";
  const [before, after] = ["02:42:00:00:00:06", "02:42:00:00:00:07"];
  await create("web1", pool, "before", before);
  const { Address } = await create("web1", pool, "after", after);
  await lab.stop("h1");
  const database = new DatabaseSync(join(lab.names.directory, "h1", "agent.db"));
  const owner = `docker ${before} before another-boot`;
  const { changes } = database.prepare("UPDATE attachments SET owner = ? WHERE owner LIKE ?").run(owner, `%${before}%`);
  database.close();
  assert.equal(changes, 1);
  await lab.startAgent("h1");
  const macs = (await lab.agent("h1").getStatus({})).endpoints.map(({ endpoint }) => endpoint?.mac);
  assert.deepEqual(macs, [after]);
  await ask("IpamDriver.ReleaseAddress", { PoolID: pool, Address: Address.split("/")[0] });
  await until(async () => assert.deepEqual((await lab.admin.list({ kind: "endpoint" })).resources, []));
});

test("a server that says nothing keeps nobody waiting, and what it gave comes back", async () => {
  const { pid = 0 } = lab.processes.find(({ name }) => name === "server") ?? {};
  process.kill(pid, "SIGSTOP");
  try {
    const words = { PoolID: "10.1.0.0/16", Address: "", ...withMac("02:42:00:00:00:05") };
    assert.match(await refusal("IpamDriver.RequestAddress", words), /^weft: /);
    assert.equal((await lab.agent("h1").getStatus({})).serverState, "connected");
  } finally {
    process.kill(pid, "SIGCONT");
  }
  await until(async () => assert.deepEqual((await lab.admin.list({ kind: "endpoint" })).resources, []));
});
