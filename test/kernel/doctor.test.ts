/** The doctor: nothing is found where nothing is wrong; what is wrong is found, with the place where it is. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { ShownFinding } from "../../src/diagnose/messages.ts";
import type { Lab } from "../../src/lab/lab.ts";
import { runProgram } from "../../src/lab/process.ts";
import { hostAddresses } from "../../src/lab/underlay.ts";
import { NetworkNamespace } from "../../src/linux/index.ts";
import { createNetworks, idle, inLab, pings, testLab, theWholeFile, until, weft } from "../support/cluster.ts";
import { fileRequires } from "../support/kernel.ts";

await fileRequires("quick processes");
const lab = await testLab(theWholeFile(), { hosts: 2 });
await createNetworks(lab, [
  { name: "web", subnets: ["10.1.0.0/24", "fd00:1::/64"], vni: 100 },
  { name: "routed", tenant: "beta", subnets: ["10.8.0.0/16"], vni: 800, mode: "l3", underlay: "ipv6" },
]);
for (const [container, host, network] of [
  ["a", "h1", "web"],
  ["b", "h2", "web"],
  ["c", "h1", "routed"],
  ["d", "h2", "routed"],
] as const) {
  lab.addContainer(container);
  await lab.attach(container, host, network);
}
await idle(lab, "h1", "h2");
const there = hostAddresses(2).ipv4;

interface Report {
  readonly findings: readonly ShownFinding[];
  readonly unexamined: readonly { readonly node: string }[];
}

async function doctor(of: Lab, host: string): Promise<readonly ShownFinding[]> {
  using namespace = of.namespace(host);
  const { status, output, complaints } = await weft(
    ["doctor", "--agent", of.agentSocket(host), "-o", "json"],
    namespace,
  );
  assert.ok(output !== "", complaints);
  const { findings } = JSON.parse(output) as Report;
  assert.equal(status, findings.some(({ severity }) => severity === "error") ? 1 : 0, output);
  return findings;
}

const told = (findings: readonly ShownFinding[]): string[] => findings.map(({ code, object }) => `${code}: ${object}`);

/** What is found while something is broken; after it was mended nothing is. */
async function while_(broken: () => Promise<unknown>, mended: () => Promise<unknown>, host = "h1") {
  await broken();
  try {
    return await doctor(lab, host);
  } finally {
    await mended();
  }
}

test("a healthy node has nothing, and neither has a healthy cluster", async () => {
  assert.deepEqual(told(await doctor(lab, "h1")), []);
  const { output, status } = await weft(["doctor", "--all-nodes", "--server", lab.serverSocket, "-o", "json"]);
  assert.deepEqual(JSON.parse(output), { findings: [], unexamined: [], nodes: ["h1", "h2"], fixed: [] });
  assert.equal(status, 0);
});

const rule = (host: string, ...words: readonly string[]) => inLab(lab, host, "nft", ...words);

test("a firewall that drops the tunnel's port is told with its side", async () => {
  const findings = await while_(
    async () => {
      await rule("h2", "add table inet broken");
      await rule("h2", "add chain inet broken in { type filter hook input priority 0; }");
      await rule("h2", "add rule inet broken in udp dport 4789 drop");
    },
    () => rule("h2", "delete table inet broken"),
  );
  const [blocked] = findings.filter(({ object }) => object === "way h1 to h2 of network web");
  assert.equal(blocked?.code, "path-blocked");
  assert.match(blocked?.found ?? "", /150 of 150 left node h1, 150 reached node h2, 0 came out of its tunnel/);
  assert.ok(!told(findings).includes("path-blocked: way h2 to h1 of network web"));
});

test("a rule of the host's own firewall is named, whichever way it drops, and so is one inside a container", async () => {
  const drop = (host: string, hook: string, ...words: readonly string[]) => ({
    broken: async () => {
      await rule(host, "add table ip broken");
      await rule(host, `add chain ip broken c { type filter hook ${hook} priority 0; }`);
      await rule(host, `add rule ip broken c ${words.join(" ")} drop`);
    },
    mended: () => rule(host, "delete table ip broken"),
  });
  for (const hook of ["input", "output"]) {
    const { broken, mended } = drop("h1", hook, "udp dport 4000-5000");
    const findings = await while_(broken, mended);
    const named = findings.find(({ code }) => code === "firewall-drops-tunnel");
    assert.match(named?.cause ?? "", /^rule "udp dport 4000-5000 drop" of chain ip broken c, handle \d+$/, hook);
    assert.match(named?.cure ?? "", /nft insert rule ip broken c .*accept; or nft delete rule ip broken c handle \d+/);
    assert.ok(
      findings.some(({ code }) => code === "path-blocked"),
      told(findings).join("\n"),
    );
  }
  const inside = drop("a", "input", "icmp type echo-request");
  const findings = await while_(inside.broken, inside.mended);
  assert.deepEqual([...new Set(findings.map(({ code }) => code))], ["endpoint-firewall"], told(findings).join("\n"));
});

test("what lies between the nodes is told as such, and the largest packet to the octet", async () => {
  await rule("switch", "add table bridge broken");
  await rule("switch", "add chain bridge broken in { type filter hook forward priority 0; }");
  try {
    const drop = (...words: readonly string[]) => ({
      broken: () =>
        rule("switch", `add rule bridge broken in ip daddr ${there} udp dport 4789 ${words.join(" ")} drop`),
      mended: () => rule("switch", "flush chain bridge broken in"),
    });
    const all = drop();
    const [blocked] = await while_(all.broken, all.mended);
    assert.equal(blocked?.object, "way h1 to h2 of network web");
    assert.match(blocked?.found ?? "", /150 of 150 left node h1, 0 reached node h2/);
    const large = drop("meta length >", "1333");
    const [tooLarge] = await while_(large.broken, large.mended);
    assert.equal(tooLarge?.code, "path-mtu");
    assert.match(tooLarge?.found ?? "", /^1333 octets do, 1334 and more do not/);
    assert.match(tooLarge?.cure ?? "", /weft network set web --mtu 1283/);
    const some = drop("numgen random mod 10 == 0");
    assert.deepEqual(told(await while_(some.broken, some.mended)), ["path-loss: way h1 to h2 of network web"]);
  } finally {
    await rule("switch", "delete table bridge broken");
  }
});

test("a container whose interface was changed inside is told of", async () => {
  const inside = (...words: readonly string[]) => inLab(lab, "a", "ip", ...words);
  const codes = async (broken: readonly string[], mended: readonly string[]) =>
    (
      await while_(
        () => inside(...broken),
        () => inside(...mended),
      )
    ).map(({ code }) => code);
  assert.deepEqual(await codes(["link", "set", "eth0", "mtu", "1300"], ["link", "set", "eth0", "mtu", "1450"]), [
    "endpoint-mtu-differs",
  ]);
  assert.ok(
    (await codes(["link", "set", "eth0", "down"], ["link", "set", "eth0", "up"])).includes("endpoint-link-down"),
  );
  // IPv6 addresses go with the link; the agent sets them again.
  await until(async () => assert.deepEqual(told(await doctor(lab, "h1")), []));
});

test("what differs in the kernel is shown row by row", async () => {
  const words = ["diff", "--live", "--agent", lab.agentSocket("h1"), "-o", "json"];
  assert.deepEqual(JSON.parse((await weft(words)).output), []);
  const namespace = `${lab.names.instance("h1")}-acme`;
  const foreign = ["02:00:00:00:99:01", "dev", "vx100"];
  await inLabNamespace(namespace, "bridge", "fdb", "add", ...foreign, "dst", there);
  assert.deepEqual(JSON.parse((await weft(words)).output), [
    { object: "fdb 02:00:00:00:99:01 of network web", state: "foreign", desired: "", actual: there },
  ]);
  await inLabNamespace(namespace, "bridge", "fdb", "del", ...foreign);
});

test("what is safe to mend is mended when it is asked for", async () => {
  const namespace = lab.namespace("a");
  // No event tells of it: it would be found with everything else, every five minutes.
  await inLab(lab, "a", "ip", "address", "del", "10.1.0.1/24", "dev", "eth0");
  assert.deepEqual(
    (await doctor(lab, "h1")).map(({ code }) => code),
    ["endpoint-address-missing"],
  );
  using host = lab.namespace("h1");
  const { output, status } = await weft(["doctor", "--fix", "--agent", lab.agentSocket("h1"), "-o", "json"], host);
  const { findings, fixed } = JSON.parse(output);
  assert.deepEqual(findings, []);
  assert.deepEqual(
    fixed.map(({ code }: ShownFinding) => code),
    ["endpoint-address-missing"],
  );
  assert.equal(status, 0);
  assert.equal(await pings(namespace, "10.1.0.2"), true);
  namespace.close();
});

test("without an agent the doctor tells what it would change, and changes nothing", async () => {
  const namespace = `${lab.names.instance("h1")}-acme`;
  await lab.stop("h1");
  try {
    assert.deepEqual(told(await doctor(lab, "h1")), [`agent-stopped: agent ${lab.agentSocket("h1")}`]);
    await inLabNamespace(namespace, "bridge", "fdb", "del", "00:00:00:00:00:00", "dev", "vx100", "dst", there);
    await inLabNamespace(namespace, "ip", "link", "set", "vx100", "down");
    const found = told(await doctor(lab, "h1"));
    assert.ok(found.includes(`flood-entry-missing: flood entry ${there} of network web`), found.join("\n"));
    assert.ok(found.includes("tunnel-differs: tunnel vx100 of network web"), found.join("\n"));
    assert.deepEqual(told(await doctor(lab, "h1")), found);
    const others = told(await doctor(lab, "h2"));
    assert.ok(others.includes("node-isolated: node h1"), others.join("\n"));
  } finally {
    await lab.startAgent("h1");
  }
  await idle(lab, "h1", "h2");
  assert.deepEqual(told(await doctor(lab, "h1")), []);
  using container = lab.namespace("a");
  assert.equal(await pings(container, "10.1.0.2"), true);
});

async function inLabNamespace(name: string, ...words: readonly string[]): Promise<void> {
  using namespace = NetworkNamespace.openNamed(name);
  const { status, complaints } = await runProgram(namespace, words[0] ?? "", words.slice(1));
  assert.equal(status, 0, complaints);
}
