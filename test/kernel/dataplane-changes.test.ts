/** What changes while the kernel is being made equal to it, and what stands in the way. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmodSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, it } from "node:test";
import { systemClock } from "../../src/base/clock.ts";
import { ip } from "../../src/base/ip.ts";
import { mac } from "../../src/base/mac.ts";
import type { LocalEndpoint } from "../../src/dataplane/desired.ts";
import {
  type DataplaneEvent,
  type DesiredNetwork,
  type NetworkSettings,
  NodeDataplane,
} from "../../src/dataplane/index.ts";
import { leavingGroup } from "../../src/dataplane/kernel-names.ts";
import { linuxKernel } from "../../src/dataplane/linux-kernel.ts";
import { nameOfObject } from "../../src/dataplane/objects.ts";
import type { RemoteEndpoint } from "../../src/dataplane/remote-endpoints.ts";
import { NetworkNamespace } from "../../src/linux/index.ts";
import type { Vni } from "../../src/model/index.ts";
import { networkSettings, placeIn } from "../../src/testing/desired.ts";
import {
  BackgroundProgram,
  namespaceNames,
  removeNamespaces,
  testDirectory,
  theWholeFile,
} from "../support/cluster.ts";
import { fileRequires } from "../support/kernel.ts";
import { type TestNamespace, testNamespace } from "../support/namespaces.ts";
import { eventually, makeUnderlay, settled, type Underlay } from "../support/underlay.ts";

const instance = `t${process.pid}`;
const vni = 4242;
await fileRequires("quick processes", "nft-inet");
const file = theWholeFile();
const bin = testDirectory(file);

/** While this file is there, every nft of this process fails. */
const broken = join(bin, "broken");
const nft = execFileSync("/bin/sh", ["-c", "command -v nft"], { encoding: "utf8" }).trim();
writeFileSync(join(bin, "nft"), `#!/bin/sh\n[ ! -e ${broken} ] || { echo broken >&2; exit 1; }\nexec ${nft} "$@"\n`);
chmodSync(join(bin, "nft"), 0o755);
process.env.PATH = `${bin}:${process.env.PATH}`;

let underlay: Underlay;
let dataplane: NodeDataplane;
let events: DataplaneEvent[] = [];

beforeEach(async () => {
  underlay = makeUnderlay(1);
  events = [];
  dataplane = await makeDataplane();
});

afterEach(async () => {
  rmSync(broken, { force: true });
  await dataplane.close();
  removeNamespaces((name) => name.startsWith(`${instance}-`));
  underlay[Symbol.dispose]();
});

async function makeDataplane(): Promise<NodeDataplane> {
  const made = new NodeDataplane({
    kernel: linuxKernel,
    instance,
    underlay: host().kernel,
    clock: systemClock,
    report: (event) => events.push(event),
  });
  await made.setUnderlay([ip("10.99.0.1")], undefined);
  return made;
}

/** As an agent that is killed and started again. */
async function restart(): Promise<void> {
  await dataplane.close();
  dataplane = await makeDataplane();
}

function host(): TestNamespace {
  const [first] = underlay.hosts;
  assert.ok(first !== undefined);
  return first;
}

function settings(changes: Partial<NetworkSettings> = {}): NetworkSettings {
  return networkSettings({ name: "net", vni: vni as Vni, localVtep: ip("10.99.0.1"), ...changes });
}

const hexOf = (number: number, digits: number): string => number.toString(16).padStart(digits, "0");
const macOf = (number: number): string => `02:aa:00:00:${hexOf(number >> 8, 2)}:${hexOf(number & 255, 2)}`;

function remote(number: number, vtep: string): RemoteEndpoint {
  return {
    id: hexOf(number, 12),
    mac: mac(macOf(number)),
    ips: [ip(`10.0.${number >> 8}.${number & 255}`)],
    source: { name: "server", node: `n${vtep}` },
    vtep: ip(vtep),
  };
}

function local(number: number, container: TestNamespace): LocalEndpoint {
  return {
    id: hexOf(number, 12),
    mac: mac(`02:bb:00:00:00:${hexOf(number, 2)}`),
    addresses: [{ address: ip(`10.0.200.${number}`), prefixLength: 16 }],
    place: placeIn(`/run/netns/${container.name}`),
  };
}

/** One network with an endpoint behind another VTEP, in the kernel. */
async function running(): Promise<DesiredNetwork> {
  const network = dataplane.putNetwork(settings());
  network.putRemote(remote(1, "10.99.0.2"));
  await dataplane.start();
  await settled(dataplane);
  return network;
}

function inTenant(tenant: string, script: string): string {
  using namespace = NetworkNamespace.openNamed(`${instance}-${tenant}`);
  return namespace.run(() =>
    execFileSync("/bin/sh", ["-c", script], { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] }),
  );
}

/** Names of bridges, tunnels and ports of a tenant. */
function devices(tenant: string): string[] {
  return inTenant(tenant, "ip -o link show")
    .split("\n")
    .flatMap((line) => line.match(/^\d+: (br\d+|vx\d+|ve[0-9a-f]{12})/)?.[1] ?? [])
    .sort();
}

const tenants = (): string[] => namespaceNames().filter((name) => name.startsWith(`${instance}-`));
const problems = (): string[] => dataplane.problems.list().map(({ object }) => nameOfObject(object));
const sourceFilter = (): string => host().shell(`${nft} list table inet weft-${instance} || true`);
const suppressionFilter = (): string => inTenant("blue", `${nft} list table bridge weft || true`);

it("has the rows of a node that comes while a pass is under way before it says that it is in sync", async () => {
  const network = await running();
  for (let round = 0; round < 6; round++) {
    const first = remote(10 + round, `10.99.1.${round + 1}`);
    const second = remote(100 + round, `10.99.0.${50 + round}`);
    network.putRemote(first);
    const pass = dataplane.changed();
    await new Promise((resolve) => setTimeout(resolve, 1 + 3 * round));
    network.putRemote(second);
    assert.ok(!dataplane.inSync);
    await Promise.all([pass, dataplane.changed()]);
    await settled(dataplane);
    const fdb = inTenant("blue", `bridge fdb show dev vx${vni}`);
    for (const { mac: address, vtep } of [first, second]) {
      assert.match(fdb, new RegExp(`${address} nhid \\d+ .*self`), `round ${round}`);
      assert.match(fdb, new RegExp(`${address} extern_learn master`), `round ${round}`);
      assert.match(fdb, new RegExp(`00:00:00:00:00:00 dst ${vtep} `), `round ${round}`);
    }
  }
});

it("loses no change of settings that comes while devices are worked on", async () => {
  const network = await running();
  for (let mtu = 1300; mtu < 1306; mtu++) {
    // Work for the flood list, in whose midst the settings change.
    for (let number = 0; number < 1_000; number++)
      network.putRemote(remote(1_000 + number, `10.${mtu - 1200}.${number >> 8}.${number & 255}`));
    const pass = dataplane.changed();
    const before = dataplane.writes;
    while (dataplane.writes - before < 2_300 && !dataplane.inSync) await new Promise(setImmediate);
    dataplane.putNetwork(settings({ mtu }));
    await Promise.all([pass, dataplane.changed()]);
    await settled(dataplane);
    assert.match(inTenant("blue", `ip -o link show vx${vni}`), new RegExp(`mtu ${mtu} `));
    assert.match(inTenant("blue", `ip -o link show br${vni}`), new RegExp(`mtu ${mtu} `));
  }
});

it("makes a network anew that comes back under its name with another VNI in one step", async () => {
  using container = testNamespace("c");
  const before = await running();
  before.putLocal(local(2, container));
  await dataplane.changed();
  dataplane.removeNetwork("net");
  const network = dataplane.putNetwork(settings({ vni: 5000 as Vni }));
  network.putLocal(local(2, container));
  await dataplane.changed();
  await settled(dataplane);
  assert.deepEqual(devices("blue"), ["br5000", "ve000000000002", "vx5000"]);
  assert.match(inTenant("blue", "ip -o link show ve000000000002"), /master br5000/);
  // The old VNI is free for another.
  dataplane.putNetwork(settings({ name: "other", tenant: "red" }));
  await dataplane.changed();
  await settled(dataplane);
  assert.deepEqual(devices("red"), [`br${vni}`, `vx${vni}`]);
});

it("makes a network anew whose settings name another VNI, then another tenant", async () => {
  await running();
  const network = dataplane.putNetwork(settings({ vni: 5000 as Vni }));
  network.putRemote(remote(1, "10.99.0.2"));
  await dataplane.changed();
  await settled(dataplane);
  assert.deepEqual(devices("blue"), ["br5000", "vx5000"]);
  assert.match(inTenant("blue", "bridge fdb show dev vx5000"), new RegExp(`${macOf(1)} nhid`));
  dataplane.putNetwork(settings({ vni: 5000 as Vni, tenant: "green" }));
  await dataplane.changed();
  await settled(dataplane);
  assert.deepEqual(tenants(), [`${instance}-green`]);
  assert.deepEqual(devices("green"), ["br5000", "vx5000"]);
});

it("gives a VNI to another network of the tenant in one step", async () => {
  using container = testNamespace("c");
  await running();
  dataplane.removeNetwork("net");
  const network = dataplane.putNetwork(settings({ name: "new" }));
  network.putLocal(local(3, container));
  await dataplane.changed();
  assert.deepEqual(problems(), []);
  await settled(dataplane);
  assert.deepEqual(devices("blue"), [`br${vni}`, "ve000000000003", `vx${vni}`]);
  assert.deepEqual(events, []);
  assert.doesNotMatch(inTenant("blue", `bridge fdb show dev vx${vni}`), new RegExp(macOf(1)));
});

for (const [what, changed, wanted] of [
  ["a network with another VNI", { vni: 5000 as Vni }, { blue: ["br5000", "vx5000"] }],
  ["another network of another tenant", { name: "other", tenant: "red" }, { red: [`br${vni}`, `vx${vni}`] }],
] as const)
  it(`finds ${what} after a restart, and nothing of the old one stays or is in its way`, async () => {
    await running();
    await restart();
    dataplane.putNetwork(settings(changed));
    await dataplane.start();
    assert.deepEqual(problems(), []);
    await settled(dataplane);
    assert.deepEqual(
      Object.fromEntries(
        tenants().map((name) => [name.slice(instance.length + 1), devices(name.slice(instance.length + 1))]),
      ),
      wanted,
    );
    assert.doesNotMatch(host().shell("ip nexthop"), /via/);
  });

it("lets many networks leave together, and nothing else goes", async () => {
  using container = testNamespace("c");
  await running();
  const leaving = Array.from({ length: 20 }, (_, number) => `leaving${number}`);
  for (const [number, name] of leaving.entries())
    dataplane
      .putNetwork(settings({ name, vni: (5000 + number) as Vni }))
      .putLocal({ ...local(number + 10, container), place: placeIn(`/run/netns/${container.name}`, `eth${number}`) });
  await dataplane.changed();
  await settled(dataplane);
  assert.equal(devices("blue").length, 2 + 3 * leaving.length);
  inTenant("blue", "ip link add foreign0 type bridge");
  events = [];
  for (const name of leaving) dataplane.removeNetwork(name);
  await dataplane.changed();
  assert.deepEqual(devices("blue"), [`br${vni}`, `vx${vni}`]);
  assert.match(inTenant("blue", "ip -br link show foreign0"), /foreign0/);
  await settled(dataplane);
  assert.deepEqual([problems(), events], [[], []]);
  assert.doesNotMatch(container.shell("ip -br link"), /eth/);
});

it("lets go what an earlier run was about to delete, and makes anew what of it is wanted", async () => {
  using container = testNamespace("c");
  const network = await running();
  network.putLocal(local(2, container));
  await dataplane.changed();
  await settled(dataplane);
  const whole = devices("blue");
  await dataplane.close();
  inTenant("blue", `ip link set ve000000000002 group ${leavingGroup}; ip link set br${vni} group ${leavingGroup}`);
  dataplane = await makeDataplane();
  const again = dataplane.putNetwork(settings());
  again.putRemote(remote(1, "10.99.0.2"));
  again.putLocal(local(2, container));
  await dataplane.start();
  await settled(dataplane);
  assert.deepEqual(devices("blue"), whole);
  assert.equal(inTenant("blue", `ip -o link show group ${leavingGroup}`), "");
  assert.match(inTenant("blue", "ip -o link show ve000000000002"), new RegExp(`master br${vni}`));
});

it("sets its filters again when nft failed, as soon as it works", async () => {
  await running();
  for (const [object, remove, filter] of [
    ["underlay", () => host().shell(`${nft} delete table inet weft-${instance}`), sourceFilter],
    ["tenant blue", () => inTenant("blue", `${nft} delete table bridge weft`), suppressionFilter],
  ] as const) {
    const before = filter();
    assert.match(before, /chain/);
    writeFileSync(broken, "");
    remove();
    await eventually(`a problem of ${object}`, () => problems().includes(object));
    assert.ok(!dataplane.inSync);
    assert.deepEqual(devices("blue"), [`br${vni}`, `vx${vni}`], "what stands stays");
    rmSync(broken);
    await settled(dataplane);
    assert.equal(filter(), before);
    assert.ok(events.some((event) => event.kind === "repaired" && event.object.kind === "nft table"));
    events = [];
  }
});

it("sets its source filter again where no temporary file can be written", async (t) => {
  await running();
  const before = sourceFilter();
  const { TMPDIR } = process.env;
  t.after(() => {
    if (TMPDIR === undefined) delete process.env.TMPDIR;
    else process.env.TMPDIR = TMPDIR;
  });
  process.env.TMPDIR = join(bin, "none");
  host().shell(`${nft} delete table inet weft-${instance}`);
  await eventually("the table is back", () => sourceFilter() === before);
  await settled(dataplane);
  assert.deepEqual(
    events.map(({ kind, object }) => `${kind} ${nameOfObject(object)}`),
    [`repaired nft table inet weft-${instance}`],
  );
});

it("does not try a filter that cannot be set each time that something happens, and tells it once", async () => {
  await running();
  writeFileSync(broken, "");
  for (const [object, remove] of [
    ["underlay", () => host().shell(`${nft} delete table inet weft-${instance}`)],
    ["tenant blue", () => inTenant("blue", `${nft} delete table bridge weft`)],
  ] as const) {
    remove();
    await eventually(`a problem of ${object}`, () => problems().includes(object));
  }
  const since = performance.now();
  for (let number = 0; number < 20; number++) {
    host().shell(`${nft} add table inet foreign; ${nft} delete table inet foreign`);
    inTenant("blue", `${nft} add table inet foreign; ${nft} delete table inet foreign`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  for (const { object, attempts } of dataplane.problems.list())
    assert.ok(attempts <= 4 + mostAttempts(performance.now() - since), `${attempts} attempts for ${object}`);
  assert.deepEqual(events.map(({ kind, object }) => `${kind} ${nameOfObject(object)}`).sort(), [
    "failed tenant blue",
    "failed underlay",
  ]);
  rmSync(broken);
  await settled(dataplane);
});

it("brings no tunnel up without its source filter, and leaves the others up", async () => {
  await running();
  writeFileSync(broken, "");
  host().shell(`${nft} delete table inet weft-${instance}`);
  dataplane.putNetwork(
    settings({ name: "later", vni: 5000 as Vni, transport: { encapsulation: "vxlan", port: 4790 } }),
  );
  await dataplane.changed();
  assert.ok(problems().includes("underlay"));
  assert.deepEqual(devices("blue"), [`br${vni}`, `vx${vni}`]);
  assert.match(inTenant("blue", `ip -o link show vx${vni}`), /[<,]UP[,>]/);
  rmSync(broken);
  await settled(dataplane);
  assert.deepEqual(devices("blue"), [`br${vni}`, "br5000", `vx${vni}`, "vx5000"]);
  assert.match(sourceFilter(), /4790/);
});

it("brings no tunnel up while the first source filter cannot be set", async () => {
  writeFileSync(broken, "");
  dataplane.putNetwork(settings());
  await dataplane.start();
  assert.ok(problems().includes("underlay"));
  assert.ok(!inTenant("blue", "ip -o link show").includes("vx"));
  rmSync(broken);
  await settled(dataplane);
  assert.deepEqual(devices("blue"), [`br${vni}`, `vx${vni}`]);
});

it("forgets the problems of an endpoint, a network and a tenant with them", async () => {
  const container = testNamespace("gone");
  const network = await running();
  network.putLocal(local(2, container));
  await dataplane.changed();
  await settled(dataplane);
  container[Symbol.dispose]();
  await eventually("the endpoint's problem", () => problems().some((object) => object.startsWith("endpoint")));
  dataplane.removeNetwork("net");
  await dataplane.changed();
  await settled(dataplane);
  host().shell(`ip netns add ${instance}-evil; ip -n ${instance}-evil link set lo up`);
  dataplane.putNetwork(settings({ tenant: "evil" }));
  await dataplane.changed();
  assert.deepEqual(problems(), ["tenant evil"]);
  // Others go on meanwhile.
  dataplane.putNetwork(settings({ name: "good", tenant: "blue", vni: 7 as Vni }));
  await dataplane.changed();
  assert.deepEqual(devices("blue"), ["br7", "vx7"]);
  dataplane.removeNetwork("net");
  await dataplane.changed();
  await settled(dataplane);
  assert.deepEqual(tenants(), [`${instance}-blue`, `${instance}-evil`], "what weft did not make stays");
});

/** Of what fails, in so many milliseconds: the next attempt is after 100 ms, then after twice that each time. */
function mostAttempts(milliseconds: number): number {
  return 1 + Math.floor(Math.log2(milliseconds / 100 + 1));
}

it("tries a UDP port that is in use ever less often, tells it once, and uses it when it is free", async (t) => {
  await running();
  using namespace = NetworkNamespace.openNamed(host().name);
  const other = new BackgroundProgram(t, namespace, process.execPath, [
    "-e",
    `require("node:dgram").createSocket("udp4").bind(5555, "0.0.0.0", () => console.log("bound"))`,
  ]);
  await other.said(/bound/);
  events = [];
  dataplane.putNetwork(settings({ transport: { encapsulation: "vxlan", port: 5555 } }));
  const [before, since] = [dataplane.writes, performance.now()];
  await dataplane.changed();
  const problem = () =>
    dataplane.problems.get({ kind: "tunnel", network: "net", tenant: "blue", key: `vx${vni}p15b3` });
  assert.match(problem()?.error.message ?? "", /the address or port is in use/);
  await eventually("it is tried again and again", () => (problem()?.attempts ?? 0) >= 4);
  const { attempts = 0 } = problem() ?? {};
  assert.ok(attempts <= 1 + mostAttempts(performance.now() - since), `${attempts} attempts`);
  assert.ok(dataplane.writes - before <= 10 * attempts, `${dataplane.writes - before} writes`);
  assert.ok(events.length <= attempts, `${events.length} events`);
  await other.end("SIGKILL");
  await settled(dataplane);
  assert.match(inTenant("blue", `ip -d link show vx${vni}p15b3`), /dstport 5555/);
});

it("restores a nexthop that somebody points elsewhere", async () => {
  await running();
  const id = host()
    .shell("ip nexthop")
    .match(/id (\d+) via 10\.99\.0\.2/)?.[1];
  assert.ok(id !== undefined);
  events = [];
  host().shell(`ip nexthop replace id ${id} via 10.99.0.77 fdb protocol 119`);
  await eventually("it leads to its VTEP again", () => host().shell("ip nexthop").includes(`id ${id} via 10.99.0.2 `));
  await settled(dataplane);
  assert.deepEqual(
    events.map(({ kind, object }) => `${kind} ${nameOfObject(object)}`),
    ["repaired nexthop 10.99.0.2"],
  );
  assert.match(inTenant("blue", `bridge fdb show dev vx${vni}`), new RegExp(`${macOf(1)} nhid \\d+ .*self`));
});

it("says what is wrong when a bridge has no room for another port", async () => {
  using container = testNamespace("c");
  const network = await running();
  const batch = join(bin, "ports");
  // The tunnel is a port, too.
  writeFileSync(
    batch,
    Array.from({ length: 1_022 }, (_, index) => `link add x${index} master br${vni} type ifb\n`).join(""),
  );
  inTenant("blue", `ip -batch ${batch}`);
  network.putLocal(local(4, container));
  await dataplane.changed();
  const [problem] = dataplane.problems.list();
  assert.deepEqual(problem?.object, { kind: "endpoint", tenant: "blue", network: "net", key: "000000000004" });
  assert.match(problem?.error.message ?? "", new RegExp(`bridge br${vni} has 1,023 ports, the most that Linux allows`));
  inTenant("blue", "ip link del x0");
  await settled(dataplane);
  assert.match(container.shell("ip addr show eth0"), /10\.0\.200\.4/);
});
