/**
 * What can be asked wrongly, or cannot be done: the message says what was attempted, on what, why, and what to do; the
 * exit status is 1 for failure and 2 for wrong usage; and nothing is left behind.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmodSync, copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, test } from "node:test";
import { agentClient } from "../../src/api/clients.ts";
import { keyPairOf } from "../../src/api/x509.ts";
import { systemClock } from "../../src/base/clock.ts";
import { hours } from "../../src/base/duration.ts";
import { runProgram, weftProgram } from "../../src/lab/process.ts";
import { CertificateAuthority } from "../../src/server/identity/certificate-authority.ts";
import {
  BackgroundProgram,
  createNetworks,
  type Finished,
  inLab,
  inSync,
  testDirectory,
  testLab,
  theWholeFile,
  until,
  weft,
} from "../support/cluster.ts";
import { filesBelow, footprint, settledFootprint } from "../support/cluster-footprint.ts";
import { fileRequires } from "../support/kernel.ts";
import { asNobody } from "../support/nobody.ts";

for (const name of Object.keys(process.env)) if (name.startsWith("WEFT_")) delete process.env[name];

await fileRequires("quick processes");
const file = theWholeFile();
const lab = await testLab(file, { hosts: 2 });
await createNetworks(lab, [
  { name: "web", subnets: ["10.1.0.0/24", "fd01::/64"], vni: 100 },
  { name: "busy", tenant: "lonely", subnets: ["10.9.0.0/24"], vni: 900 },
]);
for (const name of ["a", "b"]) lab.addContainer(name);
await lab.attach("a", "h1", "web", { ips: ["10.1.0.9", "fd01::9"] });
await inSync(lab, "h1");
const container = lab.names.container("b");
const temporary = testDirectory(file);
execFileSync("mkfifo", [join(temporary, "fifo")]);

let footprintBefore: string[] = [];
beforeEach(async () => {
  footprintBefore = await settledFootprint(lab);
});

/** The status, each of the patterns in the message, a thing to try, and no trace. */
async function assertRefused(finished: Finished, status: 1 | 2, ...patterns: readonly (string | RegExp)[]) {
  const { complaints } = finished;
  assert.equal(finished.status, status, complaints);
  assert.equal(finished.output, "", "nothing on standard output");
  assert.match(complaints, /^weft: /m);
  assert.doesNotMatch(complaints, /internal error|^\s+at /m);
  for (const pattern of patterns)
    if (typeof pattern === "string") assert.ok(complaints.includes(pattern), `"${pattern}" in: ${complaints}`);
    else assert.match(complaints, pattern);
  await until(async () => assert.deepEqual(await footprint(lab), footprintBefore));
}

const attach = (network: string, ...words: string[]) =>
  weft(["attach", network, "--agent", lab.agentSocket("h2"), ...words]);
const admin = (...words: string[]) => weft([...words, "--server", lab.serverSocket]);

const attachments: readonly {
  readonly what: string;
  readonly words: readonly [string, ...string[]];
  readonly status: 1 | 2;
  readonly patterns: readonly (string | RegExp)[];
}[] = [
  {
    what: "an unknown network",
    words: ["nosuch", "--netns", container],
    status: 1,
    patterns: [/network nosuch/, /no network nosuch|no such network/, "try: list the networks with: weft network list"],
  },
  {
    what: "an address that another endpoint has",
    words: ["web", "--netns", container, "--ip", "10.1.0.9"],
    status: 1,
    patterns: ["10.1.0.9", /endpoint [0-9a-f]{12} on node \S+ has 10\.1\.0\.9/, "try: "],
  },
  {
    what: "an address outside the network",
    words: ["web", "--netns", container, "--ip", "10.7.0.9"],
    status: 1,
    patterns: ["10.7.0.9", "10.1.0.0/24"],
  },
  {
    what: "an address that is none",
    words: ["web", "--netns", container, "--ip", "10.1.0.256"],
    status: 2,
    patterns: ["10.1.0.256", "--ip"],
  },
  {
    what: "a MAC address for groups",
    words: ["web", "--netns", container, "--mac", "01:00:5e:00:00:01"],
    status: 1,
    patterns: ["01:00:5e:00:00:01", "unicast"],
  },
  {
    what: "a namespace that does not exist",
    words: ["web", "--netns", "no-such-namespace"],
    status: 1,
    patterns: ["/run/netns/no-such-namespace", "no such namespace", "try: ip netns add no-such-namespace"],
  },
  {
    what: "a path that is no namespace",
    words: ["web", "--netns", "/etc/hostname"],
    status: 1,
    patterns: ["/etc/hostname", "not a network namespace", "try: "],
  },
  {
    what: "a FIFO, which would block whoever opens it",
    words: ["web", "--netns", join(temporary, "fifo")],
    status: 1,
    patterns: ["fifo", "not a network namespace", "try: "],
  },
  {
    what: "a route priority out of bounds",
    words: ["web", "--netns", container, "--route-priority", "100000"],
    status: 2,
    patterns: ["--route-priority", "1 to 99999"],
  },
  {
    what: "an interface name longer than the kernel's 15 octets",
    words: ["web", "--netns", container, "--interface", "sixteencharacter"],
    status: 2,
    patterns: ["sixteencharacter", "15"],
  },
  {
    what: "an interface name with a slash",
    words: ["web", "--netns", container, "--interface", "a/b"],
    status: 2,
    patterns: ["a/b", "--interface"],
  },
  {
    what: "an interface that exists",
    words: ["web", "--netns", container, "--interface", "lo"],
    status: 1,
    patterns: [container, "has an interface lo already", "try: choose another name with --interface"],
  },
];
for (const { what, words, status, patterns } of attachments)
  test(`attach: ${what}`, async () => {
    const [network, ...rest] = words;
    await assertRefused(await attach(network, ...rest), status, ...patterns);
  });

const networks: readonly {
  readonly what: string;
  readonly words: readonly string[];
  readonly status: 1 | 2;
  readonly patterns: readonly (string | RegExp)[];
}[] = [
  {
    what: "a subnet that overlaps another of the tenant",
    words: ["n", "--tenant", "acme", "--subnet", "10.1.0.128/25"],
    status: 1,
    patterns: ["10.1.0.128/25", "10.1.0.0/24", "network web"],
  },
  {
    what: "a VNI that is taken",
    words: ["n", "--tenant", "acme", "--subnet", "10.3.0.0/24", "--vni", "100"],
    status: 1,
    patterns: ["100", "network web"],
  },
  {
    what: "a VNI of more than 24 bits",
    words: ["n", "--tenant", "acme", "--subnet", "10.3.0.0/24", "--vni", "16777216"],
    status: 2,
    patterns: ["16777216", "16777215"],
  },
  {
    what: "VNI zero",
    words: ["n", "--tenant", "acme", "--subnet", "10.3.0.0/24", "--vni", "0"],
    status: 2,
    patterns: ["--vni", "1 to 16777215"],
  },
  {
    what: "an unknown tenant",
    words: ["n", "--tenant", "nosuch", "--subnet", "10.3.0.0/24"],
    status: 1,
    patterns: ["tenant nosuch"],
  },
  {
    what: "a subnet with host bits",
    words: ["n", "--tenant", "acme", "--subnet", "10.3.0.1/24"],
    status: 2,
    patterns: ["10.3.0.1/24", "10.3.0.0/24"],
  },
];
for (const { what, words, status, patterns } of networks)
  test(`network create: ${what}`, async () => {
    await assertRefused(await admin("network", "create", ...words), status, ...patterns);
  });

test("network delete: one that is in use", async () => {
  await assertRefused(await admin("network", "delete", "web"), 1, "network web", "endpoint");
});

let directories = 0;

/** Runs an agent of a new node on h2's host to its end. */
async function runAgent(words: readonly string[], server = "https://192.0.2.254:7400") {
  const directory = join(temporary, `agent${++directories}`);
  using namespace = lab.namespace("h2");
  const finished = await weft(
    [
      ...["agent", "--server", server, "--name", "h9", "--underlay", "192.0.2.2", "--instance", `${lab.names.lab}x`],
      ...["--data-dir", directory, "--run-dir", join(directory, "run"), ...words],
    ],
    namespace,
  );
  return { finished, directory };
}

/** A node that could not join keeps no more than the key that it asked with. */
function assertDidNotJoin(directory: string): void {
  const files = existsSync(directory) ? filesBelow(directory) : [];
  assert.deepEqual(
    files.filter((path) => path !== "file node.key" && path !== "file run/"),
    [],
  );
}

test("agent: a wrong token", async () => {
  const { token } = await lab.admin.createToken({ lifetime: 60_000n });
  const [secret = "", fingerprint = ""] = token.slice("weft-".length).split(".");
  for (const [wrong, reason, hint] of [
    [`weft-${"A".repeat(secret.length)}.${fingerprint}`, /token/, "weft token create"],
    [`weft-${secret}.${"A".repeat(fingerprint.length)}`, /CA has another fingerprint/, "the token was not sent"],
    ["weft-nonsense", /token/, "weft token create"],
    ["", /no token/, "weft token create"],
  ] as const) {
    const { finished, directory } = await runAgent(["--token", wrong]);
    await assertRefused(finished, 1, "h9", reason, hint);
    assertDidNotJoin(directory);
  }
});

test("agent: a token that was used", async () => {
  const { token } = await lab.admin.createToken({ lifetime: 60_000n });
  const first = new BackgroundProgram(file, lab.namespace("h1"), weftProgram, [
    ...["agent", "--server", "https://192.0.2.254:7400", "--name", "h8", "--underlay", "192.0.2.1"],
    ...["--instance", `${lab.names.lab}y`, "--token", token],
    ...["--data-dir", join(temporary, "first"), "--run-dir", join(temporary, "first", "run")],
  ]);
  await first.said(/token given by --token can be read by every user/);
  await first.said(/"msg":"joined"/);
  await first.end();
  await lab.admin.delete({ resources: [{ kind: "node", name: "h8" }] });
  footprintBefore = await settledFootprint(lab);
  const { finished, directory } = await runAgent(["--token", token]);
  await assertRefused(finished, 1, "h9", /token.*used|used.*token/, "weft token create");
  assertDidNotJoin(directory);
});

test("agent: a server that is not there, or is another", async () => {
  const { token } = await lab.admin.createToken({ lifetime: 60_000n });
  const nobody = await runAgent(["--token", token], "https://192.0.2.254:9");
  await assertRefused(nobody.finished, 1, "192.0.2.254:9", "nobody listens there", "try: ");
  assertDidNotJoin(nobody.directory);
  const malformed = await runAgent(["--token", token], "192.0.2.254:7400");
  await assertRefused(malformed.finished, 1, "192.0.2.254:7400", "https://ADDRESS:PORT");
});

test("agent: an underlay address that this host does not have", async () => {
  const { token } = await lab.admin.createToken({ lifetime: 60_000n });
  const { finished, directory } = await runAgent(["--token", token, "--underlay", "192.0.2.77"]);
  await assertRefused(finished, 1, "192.0.2.77", "no interface of this host has it", "--underlay");
  assert.ok(!existsSync(join(directory, "node.crt")));
  // The token was not spent on it.
  assert.equal((await lab.admin.list({ kind: "node" })).resources.length, 2);
});

test("agent: the data directory of one that runs", async () => {
  const directory = join(lab.names.directory, "h2");
  const { finished } = await runAgent(["--data-dir", directory, "--name", "h2"]);
  await assertRefused(finished, 1, directory, "another agent uses it", "--data-dir");
});

test("agent: a node that is given another name, or another instance", async () => {
  const directory = join(lab.names.directory, "h2");
  await lab.stop("h2");
  footprintBefore = await settledFootprint(lab);
  const renamed = await runAgent(["--data-dir", directory, "--name", "other"]);
  await assertRefused(renamed.finished, 1, "node other", "node h2", "--name h2");
  const elsewhere = await runAgent(["--data-dir", directory, "--name", "h2"]);
  const instance = lab.names.instance("h2");
  await assertRefused(elsewhere.finished, 1, `instance ${instance}`, `${lab.names.lab}x`, `--instance ${instance}`);
  await lab.startAgent("h2");
  await inSync(lab, "h2");
});

test("agent: a copy of a node that runs is refused; both say so, and the node's endpoints stay", async () => {
  const directory = join(temporary, "copy");
  mkdirSync(directory, { mode: 0o700 });
  for (const name of ["node.key", "node.crt", "ca.crt"])
    copyFileSync(join(lab.names.directory, "h1", name), join(directory, name));
  const run = join(directory, "run");
  const copy = new BackgroundProgram(file, lab.namespace("h2"), weftProgram, [
    ...["agent", "--server", "https://192.0.2.254:7400", "--name", "h1", "--underlay", "192.0.2.2"],
    ...["--instance", `${lab.names.lab}z`, "--data-dir", directory, "--run-dir", run],
  ]);
  await copy.said(/another agent runs as this node/);
  await until(async () => {
    const { problems, serverState } = await agentClient(join(run, "agent.sock")).getStatus({});
    assert.equal(serverState, "disconnected");
    assert.match(problems.map(({ object, reason }) => `${object}: ${reason}`).join(), /identity of node h1: .*--name/);
  });
  await copy.end();
  await until(async () => {
    const { output } = await weft(["events", "--agent", lab.agentSocket("h1")]);
    assert.match(output, /error +refused +identity of node h1 +another host, 192\.0\.2\.2, tried to be node h1/);
  });
  const { output: shown } = await admin("node", "show", "h1");
  assert.match(shown, /VTEP IPV4 +192\.0\.2\.1\n/);
  assert.match(shown, /SECOND AGENT +192\.0\.2\.2 refused at/);
  await until(async () => {
    const status = await lab.agent("h1").getStatus({});
    assert.deepEqual([status.serverState, status.endpoints.length], ["connected", 1]);
  });
});

test("attach: with the server gone", async () => {
  await lab.stop("server");
  await until(async () => assert.equal((await lab.agent("h2").getStatus({})).serverState, "disconnected"));
  const finished = await attach("web", "--netns", container);
  const created = await admin("tenant", "create", "late");
  await lab.startServer();
  await until(async () => assert.equal((await lab.agent("h2").getStatus({})).serverState, "connected"));
  await assertRefused(finished, 1, container, "no connection to the server", "weft status");
  await assertRefused(created, 1, lab.serverSocket, "start the server");
});

test("attach: with no agent", async () => {
  await assertRefused(
    await weft(["attach", "web", "--netns", container, "--agent", "/run/no-such-directory/agent.sock"]),
    1,
    "/run/no-such-directory/agent.sock",
    "start the agent",
  );
});

test("whoever is not root", async () => {
  const [program = "", ...parameters] = [...asNobody, weftProgram];
  for (const [words, ...patterns] of [
    [["agent", "--server", "https://192.0.2.254:7400", "--data-dir", "/tmp/never", "--run-dir", "/tmp/never"], "root"],
    [["server", "--data-dir", "/tmp/never"], "root"],
    [["lab", "up"], "root"],
    [["attach", "web", "--netns", container, "--agent", lab.agentSocket("h2")], /root|permission denied/],
    [["network", "list", "--server", lab.serverSocket], /root|permission denied/],
  ] as const)
    await assertRefused(await runProgram(undefined, program, [...parameters, ...words]), 1, ...patterns);
  assert.ok(!existsSync("/tmp/never"));
});

test("attach: UDP port 4789 belongs to somebody else", async (t) => {
  // On h2 nothing of weft uses the port yet: no container hangs there.
  using h2 = lab.namespace("h2");
  const squatter = new BackgroundProgram(t, h2, process.execPath, [
    "-e",
    `require("node:dgram").createSocket("udp4").bind(4789, "0.0.0.0", () => console.log("bound"))`,
  ]);
  await squatter.said(/bound/);
  await assertRefused(
    await attach("busy", "--netns", container),
    1,
    /EADDRINUSE/,
    "vx900",
    "UDP port 4789 is in use on this node",
    "ss -ulnp",
  );
  await squatter.end();
  await lab.attach("b", "h2", "busy");
  await inSync(lab, "h2");
  await lab.detach("b", "h2", "busy");
  await until(async () => assert.deepEqual(await footprint(lab), footprintBefore));
});

for (const [device, kind] of [
  ["br901", "veth peer name other"],
  ["br901", "bridge"],
  ["vx901", "vxlan id 7 dstport 7777"],
] as const)
  test(`attach: ${device} is there, a ${kind.split(" ")[0]}, and is not weft's`, async () => {
    await createNetworks(lab, [{ name: "second", tenant: "lonely", subnets: ["10.8.0.0/24"], vni: 901 }]);
    await lab.attach("b", "h2", "busy");
    const tenant = `${lab.names.instance("h2")}-lonely`;
    await inLab(lab, "h2", "ip", "-n", tenant, "link", "add", device, "type", ...kind.split(" "));
    footprintBefore = await settledFootprint(lab);
    await assertRefused(
      await attach("second", "--netns", container, "--interface", "eth1"),
      1,
      device,
      "weft did not make it",
      `ip -n ${tenant} link delete ${device}`,
    );
    await inLab(lab, "h2", "ip", "-n", tenant, "link", "delete", device);
    await lab.detach("b", "h2", "busy");
  });

test("an agent whose certificate has expired for good says so, and its dataplane stays", async () => {
  const directory = join(lab.names.directory, "h1");
  const file = join(directory, "node.crt");
  const good = readFileSync(file, "utf8");
  await lab.stop("h1");
  const put = async (ageInHours: number): Promise<void> => {
    const clock = { ...systemClock, now: () => Date.now() - hours(ageInHours) };
    const authority = await CertificateAuthority.open(join(lab.names.directory, "server"), clock);
    const { publicKey } = await keyPairOf(readFileSync(join(directory, "node.key"), "utf8"));
    writeFileSync(file, await authority.issueNode({ publicKey, publicKeyHash: Buffer.alloc(0) }, "h1", 1));
    chmodSync(file, 0o600);
  };
  await put(60 * 24);
  await lab.startAgent("h1");
  await until(async () => {
    const { serverState, serverError } = await lab.agent("h1").getStatus({});
    assert.equal(serverState, "disconnected");
    assert.match(serverError, /certificate of node h1 expired at \d{4}-/);
  });
  const { inSync: isInSync, netlinkWrites, endpoints } = await lab.agent("h1").getStatus({});
  assert.ok(isInSync);
  assert.equal(netlinkWrites, 0n);
  assert.deepEqual(
    endpoints.map(({ state }) => state),
    ["done"],
  );
  await lab.stop("h1");
  // Expired lately: it renews by itself.
  await put(30);
  await lab.startAgent("h1");
  await until(async () => assert.equal((await lab.agent("h1").getStatus({})).serverState, "connected"));
  const { certificateExpires } = await lab.agent("h1").getStatus({});
  assert.ok(Number(certificateExpires) > Date.now() + hours(23));
  assert.notEqual(readFileSync(file, "utf8"), good);
});
