/** `weft capture` as a person types it, on nodes of a lab. */
import assert from "node:assert/strict";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { weftProgram } from "../../src/lab/process.ts";
import {
  BackgroundProgram,
  createNetworks,
  idle,
  inLab,
  type Owner,
  pings,
  testDirectory,
  testLab,
  theWholeFile,
  until,
  weft,
} from "../support/cluster.ts";
import { fileRequires } from "../support/kernel.ts";

await fileRequires("vxlan", "nft-inet", "quick processes");
const lab = await testLab(theWholeFile(), { hosts: 2 });
await createNetworks(lab, [
  { name: "web", subnets: ["10.1.0.0/24", "fd00:1::/64"], vni: 4096 },
  { name: "db", subnets: ["10.2.0.0/24"], vni: 4097 },
]);
for (const name of ["c1", "c2"]) lab.addContainer(name);
const c1 = await lab.attach("c1", "h1", "web");
const c2 = await lab.attach("c2", "h2", "web");
await idle(lab, "h1", "h2");
const [address = ""] = c2.ips;
// One without tunnels, and one whose devices are in the host's own namespace.
await createNetworks(lab, [{ name: "plain", mode: "l3", encapsulation: "direct", subnets: ["10.8.0.0/16"] }]);
await createNetworks(
  lab,
  [{ name: "pods", tenant: "kube", mode: "l3", egress: true, hostAccess: true, subnets: ["10.9.0.0/16"], vni: 900 }],
  "host",
);

const host = lab.namespace("h1");
const container = lab.namespace("c1");
const words = (...more: readonly string[]): string[] => ["capture", "--agent", lab.agentSocket("h1"), ...more];

/** A capture that has begun. */
async function begin(t: Owner, ...more: readonly string[]): Promise<BackgroundProgram> {
  const program = new BackgroundProgram(t, host, weftProgram, words(...more));
  await program.said(/capturing at .*; Ctrl-C ends it/);
  return program;
}

test("lines of both layers, until Ctrl-C", async (t) => {
  assert.ok(await pings(container, address));
  const capture = await begin(t, "--network", "web", "--at", "port,underlay", "--inner", "icmp");
  assert.match(capture.complaints, new RegExp(`^weft: capturing at ve${c1.id}, eth0; Ctrl-C ends it\n$`));
  await inLab(lab, "c1", "ping", "-c", "1", "-w", "20", address);
  await until(() => assert.equal(capture.output.trim().split("\n").length, 4));
  assert.equal(await capture.end("SIGINT"), 0);
  const echo = (from: string, to: string, kind: string): string =>
    `IP ${from} > ${to}: ICMP echo ${kind}, id \\d+, seq 1, length 64`;
  const [own = ""] = c1.ips;
  const outer = "IP 192\\.0\\.2\\.\\d\\.\\d+ > 192\\.0\\.2\\.\\d\\.4789: VXLAN, vni 4096: ";
  const port = `ve${c1.id}`;
  const eth0 = "eth0".padEnd(port.length);
  const request = `\\{web ${c1.id} > -\\}`;
  const reply = `\\{web - > ${c1.id}\\}`;
  const moment = "\\d\\d:\\d\\d:\\d\\d\\.\\d{6}";
  assert.match(
    capture.output,
    new RegExp(
      `^${[
        `${moment} ${port} in  ${echo(own, address, "request")} ${request}`,
        `${moment} ${eth0} out ${outer}${echo(own, address, "request")} ${request}`,
        `${moment} ${eth0} in  ${outer}${echo(address, own, "reply")} ${reply}`,
        `${moment} ${port} out ${echo(address, own, "reply")} ${reply}`,
      ].join("\n")}\n$`,
    ),
  );
  assert.match(capture.complaints, /weft: 4 packets in [\d.]+ \w+; ended by a signal\n$/);
});

test("for programs: a line of JSON each, and an end by count", async (t) => {
  const capture = await begin(t, "--endpoint", c1.mac, "--count", "2", "-o", "json", "icmp");
  await inLab(lab, "c1", "ping", "-c", "2", "-i", "0.1", "-w", "20", address);
  assert.equal(await capture.ended(), 0);
  const [first, ...others] = capture.output
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  assert.equal(others.length, 1);
  const { time, text, namespace, ...rest } = first;
  assert.match(time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$/);
  assert.match(text, /ICMP echo request/);
  assert.match(namespace, /-acme$/);
  assert.deepEqual(rest, {
    ...{ node: "h1", interface: `ve${c1.id}`, point: "port", direction: "in", length: 98 },
    ...{ network: "web", from: c1.id, notes: [] },
  });
  assert.match(capture.complaints, /2 packets in .*; ended by --count\n$/);
});

test("a file that tshark reads, with names, comments and counts, and which is nobody else's", async (t) => {
  const file = join(testDirectory(t), "web.pcapng");
  const capture = await begin(
    t,
    "--network",
    "web",
    "--at",
    "container,tunnel,underlay",
    "--inner",
    "icmp",
    "-w",
    file,
  );
  await inLab(lab, "c1", "ping", "-c", "1", "-w", "20", address);
  await until(() => assert.ok(statSync(file).size > 1_000));
  assert.equal(await capture.end("SIGTERM"), 0);
  assert.equal(capture.output, "");
  assert.equal(statSync(file).mode & 0o777, 0o600);
  const fields = ["frame.interface_name", "frame.packet_flags_direction", "frame.comment", "vxlan.vni", "icmp.type"];
  const read = await inLab(
    lab,
    "h1",
    "tshark",
    "-r",
    file,
    "-T",
    "fields",
    ...fields.flatMap((field) => ["-e", field]),
  );
  const rows = read
    .trimEnd()
    .split("\n")
    .map((line) => line.split("\t"));
  const [to, from] = [`network web, from endpoint ${c1.id}`, `network web, to endpoint ${c1.id}`];
  const container = `eth0@${lab.names.container("c1")}`;
  assert.deepEqual(
    rows.map(([name, direction, comment, vni, type]) => [name, Number(direction), comment, vni, type]),
    [
      [container, 2, to, "", "8"],
      ["vx4096", 2, to, "", "8"],
      ["eth0", 2, to, "4096", "8"],
      ["eth0", 1, from, "4096", "0"],
      ["vx4096", 1, from, "", "0"],
      [container, 1, from, "", "0"],
    ],
  );
  const facts = await inLab(lab, "h1", "capinfos", file);
  for (const fact of [
    /Number of interfaces in file: 3/,
    /Filter string = inner: icmp/,
    /Description = tunnel of network web, in /,
  ])
    assert.match(facts, fact);
  const before = readFileSync(file);
  const again = await weft(words("--network", "web", "-w", file), host);
  assert.equal(again.status, 1);
  assert.match(again.complaints, /write .*: it is there already\n {2}try: remove it, or give another name/);
  assert.deepEqual(readFileSync(file), before);
});

test("to a program that reads from standard input, and that ends before it", async (t) => {
  const script = (reader: string): string =>
    `"$0" "$@" --inner icmp --write - | ${reader}; echo "status \${PIPESTATUS[0]}"`;
  const start = async (reader: string): Promise<BackgroundProgram> => {
    const program = new BackgroundProgram(t, host, "bash", ["-c", script(reader), weftProgram, ...words()]);
    await program.said(/Ctrl-C ends it/);
    return program;
  };
  const shark = await start("tshark -l -r - -c 2 -T fields -e frame.interface_name -e icmp.type 2>/dev/null");
  const head = await start("head -c 300 >/dev/null");
  const stream = new BackgroundProgram(t, container, "ping", ["-q", "-i", "0.05", address]);
  for (const program of [shark, head]) {
    await program.ended();
    assert.match(program.output, /status 0\n$/);
    assert.equal(program.complaints.trim().split("\n").length, 1, program.complaints);
  }
  assert.match(shark.output, /^eth0\t8\neth0\t0\n/);
  await stream.end("SIGINT");
});

test("the file has a bound, and so has the time", async (t) => {
  const file = join(testDirectory(t), "much.pcapng");
  const capture = await begin(t, "--network", "web", "-w", file, "--size", "1");
  const stream = new BackgroundProgram(t, container, "ping", ["-q", "-i", "0.005", "-s", "1400", address]);
  assert.equal(await capture.ended(), 0, capture.complaints);
  await stream.end("SIGINT");
  assert.match(capture.complaints, /ended by --size\n$/);
  const { size } = statSync(file);
  assert.ok(size >= 1_000_000 && size < 1_010_000, `${size}`);
  const short = await weft(words("--for", "100ms"), host);
  assert.equal(short.status, 0);
  assert.match(short.complaints, /ended by --for\n$/);
});

test("what there was no room for is told, in words, in the file and by the exit status", async (t) => {
  const file = join(testDirectory(t), "flood.pcapng");
  const capture = await begin(t, "--endpoint", c1.id, "-w", file);
  process.kill(capture.pid, "SIGSTOP");
  await inLab(lab, "c1", "ping", "-q", "-f", "-c", "8000", "-s", "1400", address);
  process.kill(capture.pid, "SIGCONT");
  assert.equal(await capture.end("SIGINT"), 1);
  const [, dropped, seen] = /there was no room for (\d+) of (\d+)\n {2}try: /.exec(capture.complaints) ?? [];
  assert.ok(Number(dropped) > 0 && Number(seen) > Number(dropped), capture.complaints);
  const facts = await inLab(lab, "h1", "capinfos", "-c", "-M", file);
  assert.equal(Number(/Number of packets: +(\d+)/.exec(facts)?.[1]), Number(seen) - Number(dropped));
  const read = await inLab(lab, "h1", "tshark", "-r", file, "-q", "-z", "io,stat,0");
  assert.match(read, /Frames/);
});

test("an interface that goes away is told, and Ctrl-C ends what waits for it", async (t) => {
  lab.addContainer("c3");
  await lab.attach("c3", "h1", "db");
  const capture = await begin(t, "--endpoint", lab.names.container("c3"));
  await lab.detach("c3", "h1", "db");
  lab.removeContainer("c3");
  await capture.said(/weft: ve[0-9a-f]{12} went down or away\n/);
  assert.equal(await capture.end("SIGINT"), 0);
});

/** The points of an echo from one node to another, and back. */
const routes = [
  {
    network: "plain",
    at: "port,underlay",
    expected: ["port in", "underlay out", "underlay in", "port out"],
  },
  {
    network: "pods",
    at: "port,tunnel,underlay",
    expected: ["port in", "tunnel out", "underlay out", "underlay in", "tunnel in", "port out"],
  },
];

for (const { network, at, expected } of routes)
  test(`a routed network: ${network}`, async (t) => {
    const addresses: string[] = [];
    for (const [name, place] of [
      [`${network}1`, "h1"],
      [`${network}2`, "h2"],
    ] as const) {
      lab.addContainer(name);
      const { ips } = await lab.attach(name, place, network);
      addresses.push(...ips);
      t.after(async () => {
        await lab.detach(name, place, network);
        lab.removeContainer(name);
      });
    }
    await idle(lab, "h1", "h2");
    const [own = "", other = ""] = addresses;
    using namespace = lab.namespace(`${network}1`);
    assert.ok(await pings(namespace, other));
    const count = `${expected.length}`;
    const capture = await begin(t, "--network", network, "--at", at, "--inner", "icmp", "--count", count, "-o", "json");
    await inLab(lab, `${network}1`, "ping", "-c", "1", "-w", "20", other);
    assert.equal(await capture.ended(), 0);
    const packets = capture.output
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    assert.deepEqual(
      packets.map(({ point, direction }) => `${point} ${direction}`),
      expected,
      capture.output,
    );
    for (const packet of packets) {
      assert.match(packet.text, new RegExp(`IP (${own} > ${other}|${other} > ${own}): ICMP echo re\\w+, id`));
      assert.equal(packet.network, network);
      if (network === "pods") assert.equal(packet.namespace, "the host");
    }
  });

test("what cannot be captured is refused with what there is", async () => {
  const cases: readonly (readonly [words: readonly string[], status: number, complaint: RegExp])[] = [
    [["--endpoint", "nobody"], 1, new RegExp(`it is not on node h1; there are ${c1.id} \\(web 10\\.1\\.0\\.1 `)],
    [["--network", "nowhere"], 1, /node h1 does not host it; it hosts web/],
    [["--vtep", "192.0.2.8,192.0.2.9"], 1, /neither is a VTEP address of node h1, which has 192\.0\.2\.1/],
    [["--vtep", "192.0.2.1,2001:db8::2"], 1, /one is of IPv4, the other of IPv6/],
    [["--at", "port"], 1, /captured at the underlay, not at "port"/],
    [["no filter"], 1, /read the filter "no filter": can't parse filter expression: syntax error/],
    [["--network", "web", "arp and icmp"], 1, /no packet there can be so/],
    [["--inner", "inbound"], 1, /a packet in a tunnel goes no way of its own/],
    [["--at", "moon"], 2, /Allowed: port, container, bridge, tunnel, underlay/],
    [["--vtep", "192.0.2.1,192.0.2.2,192.0.2.3"], 2, /Allowed: one address, or two/],
    [["--size", "5"], 2, /--size is of the file that --write names/],
    [["-w", "/tmp/x", "-o", "json"], 2, /a file has its own form/],
  ];
  for (const [more, status, complaint] of cases) {
    const refused = await weft(words(...more), host);
    assert.match(refused.complaints, complaint);
    assert.equal(refused.status, status, more.join(" "));
  }
  // In another network namespace the underlay is another.
  const elsewhere = await weft(words(), container);
  assert.match(elsewhere.complaints, /no interface here has one of its VTEP addresses/);
});
