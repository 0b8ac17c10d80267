/** Each operation of the CNI specification, as a runtime calls it: the compiled plugin, agents, server. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { createNetworks, inLab, pings, testLab, theWholeFile, until } from "../support/cluster.ts";
import { inTenant } from "../support/cluster-tables.ts";
import { Runtime } from "../support/cni.ts";
import { fileRequires } from "../support/kernel.ts";

await fileRequires("quick processes");
const lab = await testLab(theWholeFile(), { hosts: 2 });
await createNetworks(lab, [
  { name: "web", subnets: ["10.1.0.0/16", "fd01::/64"], vni: 100, gateways: ["10.1.0.1", "fd01::1"], egress: true },
  { name: "plain", subnets: ["10.2.0.0/16"], vni: 200 },
  { name: "routed", mode: "l3", subnets: ["10.3.0.0/16", "fd03::/64"], vni: 300 },
]);
const [one, two] = [new Runtime(lab, "h1"), new Runtime(lab, "h2")];
for (const name of ["a", "b", "c", "d"]) lab.addContainer(name);

async function endpoints(): Promise<readonly string[]> {
  const { resources } = await lab.admin.list({ kind: "endpoint" });
  return resources.flatMap(({ resource }) => (resource.case === "endpoint" ? resource.value.ips : []));
}

/** Nothing is attached anywhere any more, at the server, on the nodes or in containers. */
async function nothingIsLeft(): Promise<void> {
  await until(async () => {
    assert.deepEqual(await endpoints(), []);
    for (const host of lab.hosts) assert.deepEqual((await lab.agent(host).getStatus({})).endpoints, []);
  });
  for (const name of ["a", "b", "c", "d"])
    assert.deepEqual(
      JSON.parse(await inLab(lab, name, "ip", "-j", "link")).map((link: { ifname: string }) => link.ifname),
      ["lo"],
    );
}

test("ADD puts an interface into the container that others reach, and tells of it; DEL takes it away", async () => {
  const configuration = one.configuration();
  const result = await one.must("ADD", configuration);
  const mac = result.interfaces[1].mac;
  assert.deepEqual(result, {
    cniVersion: "1.1.0",
    interfaces: [
      { name: result.interfaces[0].name, mac, mtu: 1450 },
      { name: "eth0", mac, mtu: 1450, sandbox: one.netns("a") },
    ],
    ips: [
      { address: "10.1.0.2/16", gateway: "10.1.0.1", interface: 1 },
      { address: "fd01::2/64", gateway: "fd01::1", interface: 1 },
    ],
    routes: [
      { dst: "0.0.0.0/0", gw: "10.1.0.1", priority: 100001 },
      { dst: "::/0", gw: "fd01::1", priority: 100001 },
    ],
    dns: {},
  });
  await two.must("ADD", two.configuration(), { container: "b" });
  using a = lab.namespace("a");
  for (const address of ["10.1.0.3", "fd01::3"]) assert.ok(await pings(a, address), address);
  assert.equal(await one.must("CHECK", { ...configuration, prevResult: result }), undefined);
  assert.equal(await one.must("DEL", { ...configuration, prevResult: result }), undefined);
  assert.equal(await two.must("DEL", two.configuration(), { container: "b" }), undefined);
  assert.doesNotMatch(await inLab(lab, "a", "ip", "-o", "link"), /eth0/);
  await nothingIsLeft();
});

test("each version gets its form of a result", async () => {
  for (const cniVersion of ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]) {
    const configuration = one.configuration({ cniVersion, dns: { nameservers: ["10.1.0.1"], search: ["lab"] } });
    const result = await one.must("ADD", configuration);
    assert.equal(result.cniVersion, cniVersion);
    const isOld = cniVersion.startsWith("0.");
    assert.deepEqual(
      result.ips.map((each: { version?: string }) => each.version),
      isOld ? ["4", "6"] : [undefined, undefined],
    );
    assert.equal("mtu" in result.interfaces[1], cniVersion === "1.1.0");
    assert.equal("priority" in result.routes[0], cniVersion === "1.1.0");
    assert.deepEqual(result.dns, { nameservers: ["10.1.0.1"], search: ["lab"] });
    await one.must("DEL", configuration);
  }
});

test("VERSION names what is spoken, also where no agent runs", async () => {
  const supportedVersions = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];
  const nowhere = { cniVersion: "0.4.0", agentSocket: `${lab.names.directory}/nowhere/agent.sock` };
  const answer = await one.must("VERSION", { type: "weft", ...nowhere });
  assert.deepEqual(answer, { cniVersion: "0.4.0", supportedVersions });
});

test("a version that is not spoken, or has no such operation, is code 1", async () => {
  for (const cniVersion of ["0.1.0", "0.2.0", "9.0.0", undefined])
    assert.match(
      await one.fails(1, "ADD", one.configuration({ cniVersion })),
      /the plugin supports \["0.3.0",.*"1.1.0"\]/,
    );
  assert.match(await one.fails(1, "CHECK", one.configuration({ cniVersion: "0.3.1" })), /0.3.1 of CNI has no CHECK/);
  for (const command of ["GC", "STATUS"])
    assert.match(await one.fails(1, command, one.configuration({ cniVersion: "1.0.0" })), new RegExp(`no ${command}`));
});

test("all variables that are missing are named at once; what they may not be is code 4", async () => {
  const none = { CNI_CONTAINERID: undefined, CNI_NETNS: undefined, CNI_IFNAME: "", CNI_PATH: undefined };
  const missing = (command: string) => one.fails(4, command, one.configuration(), { variables: none });
  const named = "missing environment variables: ";
  assert.equal(await missing("ADD"), `${named}CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME`);
  assert.equal(await missing("CHECK"), `${named}CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME`);
  assert.equal(await missing("DEL"), `${named}CNI_CONTAINERID, CNI_IFNAME`);
  assert.equal(await missing("GC"), `${named}CNI_PATH`);
  assert.equal(await missing(""), `${named}CNI_COMMAND`);
  assert.match(await one.fails(4, "MOVE", one.configuration()), /CNI_COMMAND: found "MOVE"/);
  for (const container of ["-a", "a/b", "é"])
    assert.match(await one.fails(4, "ADD", one.configuration(), { container }), /CNI_CONTAINERID/);
  for (const name of ["a".repeat(16), "a/b", "..", "a b"])
    assert.match(await one.fails(4, "ADD", one.configuration(), { interface: name }), /CNI_IFNAME/);
  assert.match(await one.fails(4, "ADD", one.configuration(), { netns: "red" }), /CNI_NETNS/);
  for (const args of ["x", "=x", "FOO=1"])
    assert.match(await one.fails(4, "ADD", one.configuration(), { args }), /CNI_ARGS/);
});

test("what is wrong with a configuration is told by the specification's codes", async () => {
  const { agentSocket } = one.configuration();
  for (const text of [
    `{"agentSocket":"${agentSocket}",`,
    `["agentSocket":"${agentSocket}"]`,
    `{"agentSocket":"${agentSocket}"}}`,
  ])
    assert.match(await one.fails(6, "ADD", text), /is no JSON/);
  assert.match(await one.fails(2, "ADD", one.configuration({ isGateway: true })), /isGateway: true/);
  assert.match(await one.fails(7, "ADD", one.configuration({ network: undefined })), /network: found ""/);
  assert.match(await one.fails(7, "ADD", one.configuration({ network: 7 })), /network/);
  assert.match(await one.fails(7, "ADD", one.configuration({ name: "-" })), /name: found "-"/);
  assert.match(await one.fails(7, "ADD", one.configuration({ network: "none" })), /there is no network none/);
  assert.match(
    await one.fails(7, "ADD", one.configuration({ runtimeConfig: { ips: ["10.1.0"] } })),
    /ips: found "10.1.0"/,
  );
  assert.match(await one.fails(7, "ADD", one.configuration({ runtimeConfig: { mac: "x" } })), /mac: found "x"/);
  assert.match(await one.fails(7, "ADD", one.configuration({ runtimeConfig: { ips: ["10.9.0.1"] } })), /10.9.0.1/);
  await one.fails(3, "ADD", one.configuration(), { netns: one.netns("gone") });
  await nothingIsLeft();
});

test("ADD twice is refused, as is a name that the container has; DEL may come any number of times, and before", async () => {
  const configuration = one.configuration();
  await one.must("DEL", configuration);
  await one.must("ADD", configuration);
  assert.match(await one.fails(101, "ADD", configuration), /was added already, as endpoint/);
  assert.match(
    await one.fails(101, "ADD", configuration, { container: "other", netns: one.netns("a") }),
    /attached there/,
  );
  await inLab(lab, "b", "ip", "link", "add", "eth0", "type", "dummy").catch(() =>
    inLab(lab, "b", "ip", "link", "add", "eth0", "type", "veth", "peer", "name", "x"),
  );
  assert.match(await one.fails(101, "ADD", configuration, { container: "b" }), /has an interface eth0 already/);
  await inLab(lab, "b", "ip", "link", "delete", "eth0");
  for (let time = 0; time < 3; time++) await one.must("DEL", configuration);
  await nothingIsLeft();
});

test("DEL needs neither namespace nor result nor a configuration that makes sense", async () => {
  lab.addContainer("brief");
  await one.must("ADD", one.configuration(), { container: "brief" });
  lab.removeContainer("brief");
  await one.must("DEL", one.configuration({ network: undefined, foo: 1 }), { container: "brief", netns: "" });
  lab.addContainer("brief");
  await one.must("ADD", one.configuration(), { container: "brief" });
  lab.removeContainer("brief");
  await one.must("DEL", one.configuration(), { container: "brief" });
  await nothingIsLeft();
});

test("a container has several networks, chosen by configuration, arguments of the runtime or of one call", async () => {
  const calls = [
    [one.configuration(), {}],
    [one.configuration({ network: "plain" }), { interface: "net1" }],
    [one.configuration({ args: { cni: { network: "routed" } } }), { interface: "net2" }],
    [
      one.configuration({ network: "web" }),
      { interface: "net3", args: "IgnoreUnknown=1;K8S_POD_NAME=p;FOO=1;WEFT_NETWORK=plain" },
    ],
  ] as const;
  const firsts: string[] = [];
  for (const [configuration, options] of calls)
    firsts.push((await one.must("ADD", configuration, options)).ips[0].address);
  assert.deepEqual(
    firsts.map((each) => each.split(".")[1]),
    ["1", "2", "3", "2"],
  );
  for (const [configuration, options] of calls) await one.must("DEL", configuration, options);
  await nothingIsLeft();
});

test("the capabilities ips, mac and bandwidth are heeded, and what arguments say in their place", async () => {
  const mac = "02:00:00:00:00:77";
  const wishes = { ips: ["10.1.0.77/16", "fd01::77"], mac };
  for (const [fields, args] of [
    [{ runtimeConfig: wishes }, ""],
    [{ args: { cni: wishes } }, ""],
    [{}, `IP=10.1.0.77,fd01::77;MAC=${mac}`],
  ] as const) {
    const result = await one.must("ADD", one.configuration(fields), { args });
    assert.deepEqual(
      result.ips.map(({ address }: { address: string }) => address),
      ["10.1.0.77/16", "fd01::77/64"],
    );
    assert.equal(result.interfaces[1].mac, mac);
    await two.fails(101, "ADD", two.configuration(fields), { args, container: "b" });
    await one.must("DEL", one.configuration(fields), { args });
  }
  const bandwidth = { ingressRate: 8_000_000, ingressBurst: 800_000, egressRate: 4_000_000, egressBurst: 2 ** 31 - 1 };
  const limited = one.configuration({ runtimeConfig: { bandwidth } });
  await one.must("ADD", limited);
  const { uses } = await lab.agent("h1").getBandwidthUse({ network: "web" });
  assert.deepEqual(uses.flatMap(({ endpoint, direction }) => (endpoint === "" ? [] : [direction])).sort(), [
    "receive",
    "send",
  ]);
  await one.must("DEL", limited);
  await one.fails(7, "ADD", one.configuration({ runtimeConfig: { bandwidth: { ingressRate: 1 } } }));
  await nothingIsLeft();
});

test("CHECK finds what differs from the result, and allows what plugins behind changed", async () => {
  const configuration = one.configuration();
  const result = await one.must("ADD", configuration);
  const check = (prevResult: unknown) => one.call("CHECK", { ...configuration, prevResult });
  assert.equal((await check(result)).status, 0);
  await one.fails(7, "CHECK", configuration);
  const different = (change: (copy: typeof result) => void, told: RegExp) => {
    const copy = structuredClone(result);
    change(copy);
    return check(copy).then(({ answer }) => {
      assert.equal(answer?.code, 103);
      assert.match(answer.msg, told);
    });
  };
  await different((copy) => {
    copy.ips[0].address = "10.1.0.99/16";
  }, /it has no address 10.1.0.99\/16/);
  await different((copy) => {
    copy.interfaces[1].mac = "02:00:00:00:00:01";
  }, /its MAC address is/);
  await different((copy) => {
    copy.interfaces[1].name = "eth1";
  }, /has no interface eth0/);
  await different((copy) => {
    copy.routes[0].gw = "10.1.0.9";
  }, /there is no route to 0.0.0.0\/0 by 10.1.0.9/);
  // Another plugin's interface, addresses and routes are that one's to check.
  await one.must("CHECK", {
    ...configuration,
    prevResult: {
      ...result,
      interfaces: [...result.interfaces, { name: "tun0", sandbox: one.netns("a") }],
      ips: [...result.ips, { address: "172.16.0.1/24", interface: 2 }],
    },
  });
  await one.must("DEL", configuration);
  assert.match(await one.fails(103, "CHECK", { ...configuration, prevResult: result }), /nothing attached there/);
});

test("GC releases what this configuration's runtime does not name, and nothing else", async () => {
  await one.must("ADD", one.configuration(), { container: "a" });
  await one.must("ADD", one.configuration(), { container: "b" });
  await one.must("ADD", one.configuration({ name: "other" }), { container: "c" });
  await lab.attach("d", "h1", "plain");
  await one.fails(7, "GC", one.configuration());
  await one.must("GC", one.configuration({ "cni.dev/valid-attachments": [{ containerID: "b", ifname: "eth0" }] }));
  const left = (await lab.agent("h1").getStatus({})).endpoints.map(({ netns }) => netns).sort();
  assert.deepEqual(
    left,
    ["b", "c", "d"].map((name) => one.netns(name)),
  );
  await one.must("GC", one.configuration({ "cni.dev/valid-attachments": [] }));
  await one.must("GC", one.configuration({ name: "other", "cni.dev/valid-attachments": [] }));
  await lab.detach("d", "h1", "plain");
  await nothingIsLeft();
});

test("STATUS tells what keeps endpoints from coming up, and not what is wrong with one of them", async () => {
  const configuration = one.configuration({ network: "plain" });
  lab.addContainer("brief");
  await one.must("ADD", configuration, { container: "brief" });
  lab.removeContainer("brief");
  await until(async () => {
    const { problems } = await lab.agent("h1").getStatus({});
    assert.deepEqual(
      problems.map(({ object }) => object.split(" ")[0]),
      ["endpoint"],
    );
  });
  await one.must("STATUS", configuration);
  // While no agent looks, somebody else's device comes to have the name of the bridge.
  const inNamespace = (...words: string[]) => inTenant(lab, "h1", "acme", "ip", "link", ...words);
  await lab.stop("h1");
  await inNamespace("delete", "br200");
  await inNamespace("add", "br200", "type", "veth", "peer", "name", "theirs");
  await lab.startAgent("h1");
  await until(async () => assert.match(await one.fails(51, "STATUS", configuration), /[bv][rx]200/));
  await inNamespace("delete", "theirs");
  await one.must("DEL", configuration, { container: "brief" });
  await nothingIsLeft();
});

test("a plugin in front keeps what it said in the result", async () => {
  const prevResult = {
    cniVersion: "1.0.0",
    interfaces: [{ name: "tun0", mac: "02:00:00:00:00:99", sandbox: one.netns("a") }],
    ips: [{ address: "172.16.0.1/24", interface: 0 }],
    routes: [{ dst: "172.17.0.0/16" }],
    dns: { nameservers: ["172.16.0.53"] },
  };
  const result = await one.must("ADD", one.configuration({ cniVersion: "1.0.0", prevResult, dns: { domain: "x" } }));
  assert.deepEqual(
    result.ips.map((each: { interface: number }) => each.interface),
    [0, 2, 2],
  );
  assert.equal(result.interfaces[2].name, "eth0");
  assert.deepEqual(result.routes[0], { dst: "172.17.0.0/16" });
  assert.deepEqual(result.dns, prevResult.dns);
  await one.must("DEL", one.configuration({ cniVersion: "1.0.0", prevResult: result }));
});

test("an IPAM plugin gives the addresses, and has them back also when the attachment fails", async () => {
  const dataDir = `${lab.names.directory}/host-local`;
  const range = { subnet: "10.1.0.0/16", rangeStart: "10.1.200.1", rangeEnd: "10.1.200.1", gateway: "10.1.0.1" };
  const ipam = { type: "host-local", dataDir, ranges: [[range]] };
  const configuration = one.configuration({ cniVersion: "1.0.0", ipam });
  // The only address is given back each time, or the next one would find none.
  await one.fails(101, "ADD", { ...configuration, runtimeConfig: { mac: "02:57:00:00:00:64" } }).catch(() => {});
  const result = await one.must("ADD", configuration);
  assert.equal(result.ips[0].address, "10.1.200.1/16");
  assert.equal((await one.call("ADD", configuration, { container: "b" })).status, 1);
  await one.must("CHECK", { ...configuration, prevResult: result });
  await one.must("DEL", configuration);
  await one.must("ADD", configuration, { container: "b" });
  await one.must("DEL", configuration, { container: "b" });
  assert.match(await one.fails(104, "ADD", one.configuration({ ipam: { type: "nowhere" } })), /in none of the folders/);
  const fixed = one.configuration({
    cniVersion: "1.0.0",
    ipam: { type: "static", addresses: [{ address: "10.1.7.7/16" }] },
  });
  assert.equal((await one.must("ADD", fixed)).ips[0].address, "10.1.7.7/16");
  await one.must("DEL", fixed);
  await nothingIsLeft();
});

test("an IPAM plugin ends what it began also when the container is deleted meanwhile, and has the address back", async () => {
  const folder = `${lab.names.directory}/slow`;
  const log = `${folder}/log`;
  mkdirSync(folder);
  const answer = '{"ips":[{"address":"10.1.8.9/16"}]}';
  const script = `echo begin $CNI_COMMAND >> ${log}
while [ ! -e ${folder}/go ]; do sleep 0.05; done
echo end $CNI_COMMAND >> ${log}; [ $CNI_COMMAND = DEL ] || echo '${answer}'`;
  writeFileSync(`${folder}/slow`, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  const configuration = one.configuration({ ipam: { type: "slow" } });
  const variables = { CNI_PATH: folder };
  const added = one.call("ADD", configuration, { variables });
  await until(() => assert.ok(existsSync(log)));
  const deleted = one.must("DEL", configuration, { variables });
  // Most probably the agent has heard of the DEL then, which ends the ADD; if not, it comes after it, and the same must hold.
  await one.must("STATUS", one.configuration());
  writeFileSync(`${folder}/go`, "");
  const { answer: told } = await added;
  if (told.code !== undefined) assert.match(told.msg, /it was deleted while it was being added/);
  await deleted;
  const calls = readFileSync(log, "utf8").trim().split("\n");
  for (const [index, line] of calls.entries())
    if (index % 2 === 0) assert.equal(calls[index + 1], line.replace("begin", "end"));
  assert.equal(calls.at(-1), "end DEL");
  await nothingIsLeft();
});

test("another plugin's interface gets addresses of a network of weft's", async () => {
  const { agentSocket } = one.configuration();
  const bridge = {
    cniVersion: "1.0.0",
    name: "bridged",
    type: "bridge",
    bridge: "cni0",
    agentSocket,
    ipam: { type: "weft", network: "plain" },
  };
  const result = await one.must("ADD", bridge);
  const { address } = result.ips[0];
  assert.match(address, /^10\.2\.0\.\d+\/16$/);
  assert.ok((await inLab(lab, "a", "ip", "-o", "address")).includes(address));
  const { endpoints: known } = await lab.agent("h1").getStatus({});
  assert.deepEqual(
    known.map(({ endpoint, state }) => [endpoint?.attachment, state]),
    [["external", "done"]],
  );
  await one.must("CHECK", { ...bridge, prevResult: result });
  const other = await two.must("ADD", two.configuration({ network: "plain" }), { container: "b" });
  assert.notEqual(other.ips[0].address, address);
  await one.must("DEL", { ...bridge, prevResult: result });
  await two.must("DEL", two.configuration(), { container: "b" });
  await inLab(lab, "h1", "ip", "link", "delete", "cni0");
  await nothingIsLeft();
});

test("with an agent that is away DEL is done later, and what has not begun is to be tried again", async () => {
  const configuration = one.configuration();
  await one.must("ADD", configuration);
  await lab.stop("h1");
  await one.fails(11, "ADD", configuration, { container: "b" });
  await one.fails(50, "STATUS", configuration);
  await one.must("DEL", configuration);
  await lab.startAgent("h1");
  await nothingIsLeft();
});

test("what was deleted without an agent and fails is tried again, before the same is added, and holds up nobody else", async () => {
  const folder = `${lab.names.directory}/foreign`;
  const [hangs, isMended] = [`${folder}/hangs`, `${folder}/is-mended`];
  mkdirSync(folder);
  const answer = '{"ips":[{"address":"10.1.8.8/16"}]}';
  const script = `[ $CNI_COMMAND = DEL ] || exec echo '${answer}'
[ -e ${isMended} ] && exit
touch ${hangs}
[ $CNI_CONTAINERID = a ] && exit 1
while [ ! -e ${isMended} ]; do sleep 0.1; done`;
  writeFileSync(`${folder}/foreign`, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  const configuration = one.configuration({ ipam: { type: "foreign" } });
  const of = (container: string) => ({ container, variables: { CNI_PATH: folder } });
  const [a, b] = [of("a"), of("b")];
  await one.must("ADD", configuration, a);
  await lab.stop("h1");
  await one.must("DEL", configuration, a);
  await one.must("DEL", configuration, b);
  await lab.startAgent("h1");
  await until(() => assert.ok(existsSync(hangs)));
  // Of the container that fails weft's own part is done.
  await nothingIsLeft();
  await one.must("ADD", one.configuration(), { container: "c" });
  assert.match(
    await one.fails(11, "ADD", configuration, a),
    /it was deleted while no agent ran, and that could not be/,
  );
  writeFileSync(isMended, "");
  await one.must("ADD", configuration, a);
  await one.must("DEL", configuration, a);
  await one.must("DEL", one.configuration(), { container: "c" });
  await until(() => assert.deepEqual(readdirSync(`${lab.names.directory}/h1/run/cni-deleted`), []));
  await nothingIsLeft();
});

test("with a server that is away DEL does not wait for it, and layer-3 networks go on", async () => {
  const [l2, l3] = [one.configuration(), one.configuration({ network: "routed" })];
  const before = await one.must("ADD", l3, { container: "a" });
  await two.must("ADD", two.configuration({ network: "routed" }), { container: "b" });
  await one.must("ADD", l2, { container: "c" });
  await lab.stop("server");
  await until(async () => assert.equal((await lab.agent("h1").getStatus({})).serverState, "disconnected"));
  await one.must("STATUS", l3);
  assert.match(await one.fails(50, "STATUS", l2), /no connection to the server/);
  assert.match(await one.fails(11, "ADD", l2, { container: "d" }), /no connection to the server/);
  const alone = await one.must("ADD", l3, { container: "d" });
  assert.notEqual(alone.ips[0].address, before.ips[0].address);
  assert.equal(alone.ips.length, 2);
  using d = lab.namespace("d");
  const { ips: there } = (await lab.agent("h2").getStatus({})).endpoints[0]?.endpoint ?? { ips: [] };
  for (const address of there) assert.ok(await pings(d, address), address);
  await one.must("DEL", l2, { container: "c" });
  await one.must("DEL", l3, { container: "a" });
  // What the agent gave out stays with a restart, too.
  await lab.stop("h1");
  await lab.startAgent("h1");
  await lab.startServer();
  await until(async () => {
    const known = await endpoints();
    for (const { address } of alone.ips) assert.ok(known.includes(address.split("/")[0]), address);
    assert.ok(!known.includes(before.ips[0].address.split("/")[0]));
  });
  await one.must("CHECK", { ...l3, prevResult: alone }, { container: "d" });
  await one.must("DEL", l3, { container: "d" });
  await two.must("DEL", two.configuration(), { container: "b" });
  await nothingIsLeft();
});
