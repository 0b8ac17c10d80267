/**
 * Guests ask at 169.254.169.254 by the TCP of their kernel, and each reads what is its own: with the same address in several tenants,
 * without a router, under policies, beside a flood, and without the server.
 */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { type Ipv4Address, ip } from "../../src/base/ip.ts";
import { mac } from "../../src/base/mac.ts";
import { runProgram } from "../../src/lab/process.ts";
import { buildFrame, decodeFrame } from "../../src/wire/index.ts";
import {
  BackgroundProgram,
  createNetworks,
  type Finished,
  idle,
  inLab,
  testDirectory,
  testLab,
  theWholeFile,
  until,
  weft,
  weftDone,
  weftJson,
} from "../support/cluster.ts";
import { fileRequires, requires } from "../support/kernel.ts";
import { testNamespace } from "../support/namespaces.ts";
import { RawInterface } from "../support/raw-frames.ts";
import { TapGuest } from "../support/tap-guest.ts";

await fileRequires("nft-inet", "quick processes");

const owner = theWholeFile();
const lab = await testLab(owner, { hosts: 2 });
const directory = testDirectory(owner);
const server = "169.254.169.254";
const subnets = ["10.1.0.0/24"];
await createNetworks(lab, [
  { name: "web", subnets: [...subnets, "fd01::/64"], vni: 100, gateway: "distributed", dhcp: { metadata: true } },
  { name: "pods", mode: "l3", subnets: ["10.2.0.0/16"], vni: 200, gateway: "distributed", dhcp: { metadata: true } },
  {
    ...{ name: "bare", subnets: ["10.3.0.0/24"], vni: 300, policyDefault: "deny", antiSpoof: false },
    dhcp: { metadata: true },
  },
  { name: "mute", subnets: ["10.4.0.0/24"], vni: 400, gateway: "distributed", dhcp: {} },
  { name: "red", tenant: "red", subnets, vni: 500, gateway: "distributed", mtu: 600, dhcp: { metadata: true } },
]);

/** As much as there may be. */
const largest = randomBytes(12_288).toString("base64");
const userData = { web1: "#cloud-config\n{}\n", web2: "", pods1: "", bare1: "", mute1: "", red1: largest };
type Name = keyof typeof userData;
const ids = new Map<Name, string>();
const macs = new Map<Name, string>();

async function attach(name: Name, network: string, address: string, host = "h1"): Promise<void> {
  lab.addContainer(name);
  const words = ["--netns", lab.names.container(name), "--agent", lab.agentSocket(host)];
  if (address !== "") words.push("--ip", address);
  if (userData[name] !== "") {
    const file = join(directory, name);
    writeFileSync(file, userData[name]);
    words.push("--user-data", file);
  }
  const { endpoint } = await weftJson(["attach", network, "--label", `hostname=${name}`, ...words]);
  ids.set(name, endpoint.id);
  macs.set(name, endpoint.mac);
}
await attach("web1", "web", "10.1.0.11");
await attach("web2", "web", "10.1.0.12");
await attach("pods1", "pods", "", "h2");
await attach("bare1", "bare", "10.3.0.11");
await attach("mute1", "mute", "10.4.0.11");
await attach("red1", "red", "10.1.0.11");
await idle(lab, "h1", "h2");

/** BusyBox's own limit of time makes it crash. */
const wget = (document: string, limit = 20): string[] => [
  `${limit}`,
  "busybox",
  "wget",
  "-O",
  "-",
  `http://${server}/${document}`,
];

async function ask(name: Name, document: string, limit?: number): Promise<Finished> {
  using namespace = lab.namespace(name);
  return runProgram(namespace, "timeout", wget(document, limit));
}

/** Whether there is an answer within a time that is enough for others. */
async function isAnswered(name: Name): Promise<boolean> {
  return (await ask(name, "meta-data", 3)).status === 0;
}

async function read(name: Name, document: string): Promise<string> {
  const { status, output, complaints } = await ask(name, document);
  assert.equal(status, 0, `${name}: ${document}: ${complaints}`);
  return output;
}

async function assertReadsItsOwn(name: Name): Promise<void> {
  assert.equal(await read(name, "meta-data"), `instance-id: "${ids.get(name)}"\nlocal-hostname: "${name}"\n`);
  assert.equal(await read(name, "user-data"), userData[name], name);
  assert.match(await read(name, "network-config"), new RegExp(`macaddress: "${macs.get(name)}"`));
}

test("each reads its own, also where another tenant has the same addresses, and as much as there may be by small packets", async () => {
  for (const name of ["web1", "web2", "pods1", "red1"] as const) await assertReadsItsOwn(name);
  assert.equal(await read("web1", "vendor-data"), "");
});

test("an address that others have as well leads to nobody else", async () => {
  const missing = await ask("web1", "latest/meta-data/");
  assert.match(missing.complaints, /404/);
  using namespace = lab.namespace("web1");
  const refused = await runProgram(namespace, "busybox", ["nc", server, "22"]);
  assert.match(refused.complaints, /refused/);
});

test("without a router, under policies that allow nothing and without protection it is on the link, and DHCP says so", async (t) => {
  using namespace = lab.namespace("bare1");
  const script = join(directory, "told");
  // As udhcpc's own script has it: a destination, and its router.
  const route = 'ip route add "$1" via "$2" dev eth0 && echo done';
  writeFileSync(script, `#!/bin/sh\n[ "$1" = bound ] && set -- $staticroutes && ${route}\n`, { mode: 0o755 });
  const client = new BackgroundProgram(t, namespace, "busybox", [
    "udhcpc",
    "-i",
    "eth0",
    "-f",
    "-s",
    script,
    "-O",
    "staticroutes",
  ]);
  await client.said(/^done$/m);
  await client.end();
  await assertReadsItsOwn("bare1");
});

test("a network without it says nothing; user data is refused there, and nothing is left of the attempt", async () => {
  assert.equal(await isAnswered("mute1"), false);
  lab.addContainer("late");
  const file = join(directory, "web1");
  const place = ["--netns", lab.names.container("late"), "--agent", lab.agentSocket("h1")];
  const before = await weftDone("endpoint", "list", "--server", lab.serverSocket);
  const { status, complaints } = await weft(["attach", "mute", ...place, "--user-data", file]);
  assert.equal(status, 1);
  assert.match(complaints, /do not answer for metadata\n.*weft network set mute --metadata/);
  assert.equal(await weftDone("endpoint", "list", "--server", lab.serverSocket), before);
  const large = join(directory, "large");
  writeFileSync(large, new Uint8Array(16_385));
  const refused = await weft(["attach", "web", ...place, "--user-data", large]);
  assert.match(refused.complaints, /its user data has 16385 octets; allowed: at most 16384/);
});

test("it comes and goes with the network's setting", async () => {
  for (const [option, isThere] of [
    ["--metadata", true],
    ["--no-metadata", false],
  ] as const) {
    await weftDone("network", "set", "mute", option, "--wait", "60s", "--server", lab.serverSocket);
    await until(async () => assert.equal(await isAnswered("mute1"), isThere));
  }
});

test("a machine at a tap reads it by the network card of its own kernel", requires("tap"), async (t) => {
  const place = ["--tap", "vm1", "--agent", lab.agentSocket("h1")];
  const { endpoint } = await weftJson(["attach", "web", ...place, "--ip", "10.1.0.51"]);
  using guest = testNamespace("machine");
  using h1 = lab.namespace("h1");
  const machine = new TapGuest({ namespace: h1, tap: "vm1" }, { namespace: guest.namespace, tap: "eth0" });
  try {
    guest.shell(`ip link set eth0 address ${endpoint.mac} mtu 1450; ip addr add 10.1.0.51/24 dev eth0; ip link set eth0 up
      ip route add default via 10.1.0.1`);
    // This process carries the machine's frames: it may not wait for the program without letting others run.
    const client = new BackgroundProgram(t, guest.namespace, "timeout", wget("meta-data"));
    assert.equal(await client.ended(), 0, client.complaints);
    assert.match(client.output, new RegExp(`"${endpoint.id}"`));
  } finally {
    machine.close();
    await weft(["detach", "web", ...place]);
  }
});

test("who floods it holds nobody up, and is answered at a bounded rate", async () => {
  using namespace = lab.namespace("web2");
  const flood = await RawInterface.open(namespace, "eth0");
  const off = { cwr: false, ece: false, urg: false, ack: false, psh: false, rst: false, fin: false };
  const syn = (sourcePort: number): Uint8Array =>
    buildFrame([
      {
        protocol: "ethernet",
        header: { source: mac(macs.get("web2") ?? ""), destination: mac("02:57:00:00:00:64"), etherType: "ipv4" },
      },
      {
        protocol: "ipv4",
        header: {
          ...{ dscp: 0, ecn: 0, identification: 0, dontFragment: true, moreFragments: false, fragmentOffset: 0 },
          ...{ timeToLive: 64, protocol: "tcp", options: new Uint8Array() },
          ...{ source: ip("10.1.0.12") as Ipv4Address, destination: ip(server) as Ipv4Address },
        },
      },
      {
        protocol: "tcp",
        header: {
          ...{ sourcePort, destinationPort: 81, sequence: 0, acknowledgment: 0, ...off, syn: true },
          ...{ window: 1_000, urgentPointer: 0, options: [] },
        },
      },
    ]);
  const isAnswer = (frame: Uint8Array): boolean =>
    decodeFrame(frame).layers.some(
      ({ protocol, header }) => protocol === "tcp" && "sourcePort" in header && header.sourcePort === 81,
    );
  const began = performance.now();
  let isOver = false;
  const flooding = (async () => {
    for (let port = 1; !isOver; port++) {
      for (let count = 0; count < 100; count++) flood.send(syn((port % 60_000) + 1));
      await new Promise((resolve) => setImmediate(resolve));
    }
  })();
  await assertReadsItsOwn("web1");
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
  assert.ok(answers <= 64 + 20 * seconds + 1, `${answers} in ${seconds} s`);
  await until(() => assertReadsItsOwn("web2"));
});

test("while the server is away, and after the agent began anew without it, all of it is answered; nothing is written", async () => {
  await lab.stop("server");
  await assertReadsItsOwn("web1");
  await lab.stop("h1");
  await lab.startAgent("h1");
  const status = () => weftJson(["status", "--agent", lab.agentSocket("h1")]);
  await until(async () => assert.equal((await status()).agent.inSync, true));
  for (const name of ["web1", "red1"] as const) await assertReadsItsOwn(name);
  assert.equal(Number((await status()).agent.netlinkWrites), 0);
  await lab.startServer();
  await idle(lab, "h1", "h2");
});

test("where it is detached from, nobody answers; whoever comes next with the address reads its own", async () => {
  await inLab(lab, "web1", "ip", "link", "show", "eth0");
  await weftDone("detach", "web", "--netns", lab.names.container("web1"), "--agent", lab.agentSocket("h1"));
  assert.equal(await isAnswered("web1"), false);
  userData.web1 = "";
  const before = ids.get("web1");
  const words = ["--netns", lab.names.container("web1"), "--agent", lab.agentSocket("h1"), "--ip", "10.1.0.11"];
  const { endpoint } = await weftJson(["attach", "web", "--label", "hostname=web1", ...words]);
  assert.notEqual(endpoint.id, before);
  ids.set("web1", endpoint.id);
  macs.set("web1", endpoint.mac);
  await assertReadsItsOwn("web1");
});
