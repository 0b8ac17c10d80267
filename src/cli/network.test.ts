/** The commands about networks as people run them, against a real server. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { done, weft } from "../../test/support/command.ts";
import { endpointId, joinTestNode, startTestServer, type TestServer } from "../../test/support/server.ts";
import { temporaryDirectory } from "../testing/temporary-directory.ts";

async function started(t: TestContext): Promise<TestServer> {
  const server = await startTestServer(t);
  await done(server, "tenant create blue");
  return server;
}

const create = "network create web --tenant blue --subnet 10.1.0.0/16";

/** A network as `create` makes it, the commands that change it, and the fields that differ after each. */
const changes: [name: string, create: string, ...steps: [set: string, differences: string][]][] = [
  [
    "encapsulation and port",
    `${create} --port 8472`,
    ["--encapsulation geneve", "encapsulation: vxlan -> geneve; port: 8472 -> 6081"],
    ["--encapsulation geneve --port 7000", "port: 6081 -> 7000"],
    ["--encapsulation nvgre", "encapsulation: geneve -> nvgre; port: 7000 -> 0"],
    ["--encapsulation vxlan --port 8472", "encapsulation: nvgre -> vxlan; port: 0 -> 8472"],
  ],
  [
    "discovery and learning",
    create,
    [
      "--discovery multicast",
      "arpSuppression: true -> false; discovery: control-plane -> multicast; learning: control-plane -> data-plane; multicast: none -> {ttl: 1}",
    ],
    [
      "--multicast-group 239.1.2.3 --multicast-interface eth1",
      "multicast: {ttl: 1} -> {group: 239.1.2.3, ttl: 1, interface: eth1}",
    ],
    [
      "--multicast-group auto --multicast-ttl 4",
      "multicast: {group: 239.1.2.3, ttl: 1, interface: eth1} -> {ttl: 4, interface: eth1}",
    ],
    [
      "--discovery static --vtep 192.0.2.7 --vtep 192.0.2.8",
      "discovery: multicast -> static; vteps: [] -> [192.0.2.7, 192.0.2.8]; multicast: {ttl: 4, interface: eth1} -> none",
    ],
    [
      "--discovery control-plane",
      "arpSuppression: false -> true; discovery: static -> control-plane; vteps: [192.0.2.7, 192.0.2.8] -> []; learning: data-plane -> control-plane",
    ],
    ["--learning-limit 16 --ageing 60", "learningLimit: 0 -> 16; ageing: 300 -> 60"],
    ["--vlan-tags", "vlanTags: false -> true"],
    ["--no-vlan-tags", "vlanTags: true -> false"],
    [
      "--learning-limit 0 --learning data-plane",
      "arpSuppression: true -> false; learning: control-plane -> data-plane; learningLimit: 16 -> 0",
    ],
  ],
  [
    "routes",
    `${create} --mode l3 --encapsulation gre --block-size 16 --egress`,
    [
      "--cross-subnet --host-access --no-egress",
      "crossSubnet: false -> true; egress: true -> false; hostAccess: false -> true",
    ],
    [
      "--no-cross-subnet --no-host-access --block-size 32",
      "blockSize: 16 -> 32; crossSubnet: true -> false; hostAccess: true -> false",
    ],
  ],
  [
    "each node routes",
    create,
    ["--gateway distributed", "gateways: [] -> [10.1.0.1]; gateway: none -> distributed"],
    ["--gateway 10.1.0.9", "gateways: [10.1.0.1] -> [10.1.0.9]"],
    ["--gateway none", "gateway: distributed -> none"],
  ],
  [
    "what DHCP tells",
    `${create} --subnet fd00:1::/64`,
    ["--dhcp", "dhcp: none -> {dns: [], ntp: [], leaseTime: 86400, metadata: false}"],
    [
      "--dns 10.1.0.53 --dns fd00:1::53 --domain lab.example",
      "dhcp: {dns: [], ntp: [], leaseTime: 86400, metadata: false} -> {dns: [10.1.0.53, fd00:1::53], domain: lab.example, ntp: [], leaseTime: 86400, metadata: false}",
    ],
    [
      "--no-dhcp",
      "dhcp: {dns: [10.1.0.53, fd00:1::53], domain: lab.example, ntp: [], leaseTime: 86400, metadata: false} -> none",
    ],
    ["--metadata", "dhcp: none -> {dns: [], ntp: [], leaseTime: 86400, metadata: true}"],
    [
      "--no-metadata",
      "dhcp: {dns: [], ntp: [], leaseTime: 86400, metadata: true} -> {dns: [], ntp: [], leaseTime: 86400, metadata: false}",
    ],
    ["--no-dhcp", "dhcp: {dns: [], ntp: [], leaseTime: 86400, metadata: false} -> none"],
    ["--lease-time 600", "dhcp: none -> {dns: [], ntp: [], leaseTime: 600, metadata: false}"],
  ],
  ["names", `${create} --names`, ["--no-names", "names: true -> false"], ["--names", "names: false -> true"]],
  [
    "peers",
    `${create} --gateway distributed --peer red/db`,
    ["--peer red/db --peer red/stock", "peers: [red/db] -> [red/db, red/stock]"],
    ["--peer none", "peers: [red/db, red/stock] -> []"],
  ],
  [
    "what egress leaves out",
    `${create} --mode l3 --egress`,
    [
      "--egress-blocked 169.254.0.0/16,fd00:ec2::/32",
      "egressBlocked: [169.254.0.0/16, fd00:ec2::254/128, 100.100.100.200/32, 168.63.129.16/32] -> [169.254.0.0/16, fd00:ec2::/32]",
    ],
    ["--egress-blocked none", "egressBlocked: [169.254.0.0/16, fd00:ec2::/32] -> []"],
    ["--mtu 1400", "mtu: computed -> 1400"],
  ],
];

for (const [name, line, ...steps] of changes)
  test(`set changes what is named, and what follows from it: ${name}`, async (t) => {
    const server = await started(t);
    await done(server, line);
    for (const [options, differences] of steps) {
      const answer = await done(server, `network set web ${options}`);
      assert.equal(answer.trim().split("\n  ").slice(1).sort().join("; "), differences.split("; ").sort().join("; "));
    }
  });

const refusals: [line: string, status: number, reason: RegExp][] = [
  [
    `${create} --encapsulation gre`,
    2,
    /encapsulation: found gre, which carries IP packets alone; allowed: vxlan, geneve, nvgre with mode l2/,
  ],
  [`${create} --block-size 60`, 2, /a power of two/],
  [`${create} --discovery static`, 2, /vteps: found none/],
  [
    `${create} --multicast-group 10.0.0.1 --discovery multicast`,
    2,
    /multicast\.group: found 10\.0\.0\.1; allowed: an IPv4 multicast/,
  ],
  [`${create} --multicast-group nowhere`, 2, /"nowhere" is not/],
  [
    `${create} --dns fd00::53`,
    2,
    /dhcp\.dns\[0\]: found fd00::53; allowed: an address of a family that the network has/,
  ],
  [`${create} --dns 10.1.0.53 --dns 10.1.0.53`, 2, /dhcp\.dns\[1\]: found 10\.1\.0\.53; allowed: each address once/],
  [
    `${create} --boot-server 10.1.0.69`,
    2,
    /dhcp\.bootServer: found 10\.1\.0\.69; allowed: a server with a file to boot/,
  ],
  [`${create} --domain under_score.example`, 2, /Allowed: a domain name/],
  [`${create} --lease-time 5`, 2, /Allowed: 120 to/],
  [`${create} --egress-blocked 169.254.0.0`, 2, /"169\.254\.0\.0" is not/],
  [`${create} --egress-blocked 0.0.0.0/0`, 2, /egressBlocked\[0\]: found "?0\.0\.0\.0\/0"?; allowed: a prefix/],
  [`${create} --peer red/db`, 2, /peers\[0\]: found red\/db; allowed: none without gateway: distributed/],
  [`${create} --gateway distributed --peer blue/db`, 2, /peers\[0\]: found blue\/db, of its own tenant/],
  [`${create} --peer db`, 2, /Allowed: a tenant and a network of it, such as red\/web/],
  ["network set absent --egress", 1, /show network absent: there is none of this name/],
];

test("what does not go together is refused before the server is asked", async (t) => {
  const server = await started(t);
  for (const [line, status, reason] of refusals) {
    const outcome = await weft(server, line);
    assert.match(outcome.stderr, reason);
    assert.equal(outcome.status, status, line);
  }
  assert.equal(await done(server, "network list -o json"), "[]\n");
});

test("show tells all of a network, with the blocks of an l3 network", async (t) => {
  const server = await started(t);
  await done(server, `${create} --mode l3 --block-size 256`);
  const nodes = [await joinTestNode(t, server, 1), await joinTestNode(t, server, 2)];
  for (const [index, { client }] of nodes.entries())
    await client.createEndpoint({ id: endpointId(index), network: "web", ips: index === 0 ? ["10.1.9.7"] : [] });
  const table = await done(server, "network show web");
  assert.match(table, /^MODE +l3$/m);
  assert.match(table, /^BLOCK SIZE +256$/m);
  assert.match(table, /^BLOCKS +10\.1\.0\.0\/24 on h2\n +10\.1\.9\.0\/24 on h1$/m);
  const shown = JSON.parse(await done(server, "network show web -o json"));
  assert.deepEqual(shown.blocks, [
    { network: "web", node: "h2", cidr: "10.1.0.0/24", generation: 1 },
    { network: "web", node: "h1", cidr: "10.1.9.0/24", generation: 1 },
  ]);
  assert.match(await done(server, "network list"), /^web +blue +l3 +vxlan +4096 +auto \(1450\) +10\.1\.0\.0\/16$/m);
  await done(server, "node delete h1");
  assert.equal(JSON.parse(await done(server, "network show web -o json")).blocks.length, 1);
  assert.match(await done(server, "endpoint list"), /ATTACHMENT +IPS +LABELS\n\S+ +web +h2 +\S+ +netns +10\.1\.0\.2$/m);
});

test("peers are in force when both sides name each other, and only then; show says what they wait for", async (t) => {
  const server = await started(t);
  await done(server, "tenant create red");
  const red = (name: string, subnet: string) =>
    `network create ${name} --tenant red --subnet ${subnet} --gateway distributed`;
  const peersOf = async (name: string): Promise<unknown> =>
    JSON.parse(await done(server, `network show ${name} -o json`)).peerings;
  await done(server, `${create} --gateway distributed --peer red/db`);
  const missing = "waits for network db of tenant red to be declared";
  assert.deepEqual(await peersOf("web"), [{ network: "db", tenant: "red", state: missing }]);
  await done(server, red("db", "10.2.0.0/16"));
  const waiting = "waits for network db of tenant red to declare it, too";
  assert.deepEqual(await peersOf("web"), [{ network: "db", tenant: "red", state: waiting }]);
  await done(server, "network set db --peer blue/web");
  assert.match(await done(server, "network show web"), /^PEERS +red\/db: in force$/m);
  assert.match(await done(server, "network show db"), /^PEERS +blue\/web: in force$/m);
  await done(server, "tenant create green");
  await done(server, "network create far --tenant green --subnet 10.1.2.0/24 --gateway distributed --peer blue/web");
  const refused = await weft(server, "network set web --peer red/db --peer green/far");
  assert.equal(refused.status, 1);
  assert.match(
    refused.stderr,
    /subnet 10\.1\.0\.0\/16 of network web of tenant blue overlaps 10\.1\.2\.0\/24 of network far of tenant green/,
  );
  const waitsForWeb = "waits for network web of tenant blue to declare it, too";
  assert.deepEqual(await peersOf("far"), [{ network: "web", tenant: "blue", state: waitsForWeb }]);
  const again = await weft(server, "network create front --tenant blue --subnet 10.2.9.0/24");
  assert.match(again.stderr, /overlaps 10\.2\.0\.0\/16 of network db of tenant red/);
  await done(server, "network set db --peer none");
  assert.deepEqual(await peersOf("web"), [{ network: "db", tenant: "red", state: waiting }]);
  // Its name is another tenant's from then on, whose network nobody meant.
  await done(server, "network set db --peer blue/web");
  await done(server, "network delete db");
  await done(server, "network create db --tenant green --subnet 10.2.0.0/16 --gateway distributed --peer blue/web");
  const strange = `${missing}; that of this name is of tenant green`;
  assert.deepEqual(await peersOf("web"), [{ network: "db", tenant: "red", state: strange }]);
  assert.equal(JSON.parse(await done(server, "network show db -o json")).peerings[0].state, waitsForWeb);
});

test("what is exported can be applied again and changes nothing", async (t) => {
  const server = await started(t);
  for (const line of [
    create,
    "network create flooded --tenant blue --subnet 10.2.0.0/24 --discovery multicast --multicast-interface eth1 --port 8472",
    "network create listed --tenant blue --subnet 10.3.0.0/24 --discovery static --vtep 192.0.2.7",
    "network create learned --tenant blue --subnet 10.4.0.0/24 --learning-limit 8 --gateway 10.4.0.1 --egress",
    "network create routed --tenant blue --subnet 10.5.0.0/24 --subnet fd00::/64 --mode l3 --encapsulation ipip --block-size 16 --egress-blocked none",
    "network create direct --tenant blue --subnet 10.6.0.0/24 --mode l3 --encapsulation direct --host-access",
  ])
    await done(server, line);
  const file = join(temporaryDirectory(t), "all.yaml");
  await done(server, `export -f ${file}`);
  const diff = JSON.parse(await done(server, `diff -f ${file} -o json`));
  assert.deepEqual([...new Set(diff.map(({ outcome }: { outcome: string }) => outcome))], ["unchanged"]);
  assert.equal(diff.length, 7);
  // The same on another server.
  const other = await startTestServer(t);
  await done(other, `apply -f ${file}`);
  assert.equal(await done(other, "export"), readFileSync(file, "utf8"));
  // Fields that a file leaves out have their defaults.
  writeFileSync(file, "kind: network\nname: learned\ntenant: blue\nsubnets: [10.4.0.0/24]\n");
  const [{ differences }] = JSON.parse(await done(other, `diff -f ${file} -o json`));
  assert.deepEqual(differences, ["gateways: [10.4.0.1] -> []", "learningLimit: 8 -> 0", "egress: true -> false"]);
});
