/**
 * Every encapsulation over both underlays, with IPv4 and IPv6 inside: containers talk, the largest packet passes and no
 * larger one, and the outer header is the one that it shall be. And where flooded frames go: to each member once.
 * `npm run matrix` shows the same for every combination of underlay, overlay and discovery.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { unwrap } from "../../src/base/result.ts";
import { startCapture } from "../../src/lab/capture.ts";
import type { AttachedContainer } from "../../src/lab/lab.ts";
import { decodeFrame, readPcap } from "../../src/wire/index.ts";
import { attempt, checkNames } from "../matrix/attempt.ts";
import { casesWith, type MatrixCase, matrixCases, networkOf } from "../matrix/cases.ts";
import { describeOuter, readRequest } from "../matrix/outer-header.ts";
import { transfer } from "../matrix/transfer.ts";
import {
  createNetworks,
  idle,
  inLab,
  type NetworkWish,
  pings,
  testDirectory,
  testLab,
  theWholeFile,
  until,
  weft,
} from "../support/cluster.ts";
import { inTenant } from "../support/cluster-tables.ts";
import { type KernelFeature, requires } from "../support/kernel.ts";
import { RawInterface } from "../support/raw-frames.ts";

const lab = await testLab(theWholeFile(), { hosts: 3 });

/** Kinds of device that a case needs. What every kernel of interest has is tried on the quicker one. */
function needsOf({ encapsulation, underlay }: MatrixCase): readonly KernelFeature[] {
  const isIpv4 = underlay === "ipv4";
  switch (encapsulation) {
    case "geneve":
      return ["geneve"];
    case "nvgre":
      return [isIpv4 ? "gretap" : "ip6gretap"];
    case "gre":
      return [isIpv4 ? "gre" : "ip6gre"];
    case "ipip":
      return [isIpv4 ? "sit" : "ip6tnl"];
    default:
      return ["vxlan", "nft-inet", "quick processes"];
  }
}

/** Dual stack, and IPv4 alone where IPv6 cannot be had. Static discovery makes the same devices as the control plane. */
const short = matrixCases.filter(
  ({ overlay, refusal, underlay, encapsulation, crossSubnet, discovery, port }) =>
    refusal === undefined &&
    overlay === ((encapsulation === "direct" || crossSubnet) && underlay === "ipv4" ? "ipv4" : "dual") &&
    (encapsulation === "vxlan" || discovery === "control-plane") &&
    port !== 8472,
);

for (const each of short)
  test(each.name, requires(...needsOf(each)), async (t) => {
    const outcome = await attempt(lab, each, join(testDirectory(t), "eth0.pcap"));
    assert.ok(outcome.kind === "tried", "reason" in outcome ? outcome.reason : "");
    for (const name of checkNames) assert.ok(outcome.checks[name].passed, `${name}: ${outcome.checks[name].text}`);
  });

/** IEEE 802 Table 9-1 (RFC 9542 §2.4): for experiments, so that nobody else sends such frames. */
const experimental = "88b5";

function frame(destination: string, source: string, number: number): Uint8Array {
  const [to, from] = [destination, source].map((mac) => mac.replaceAll(":", ""));
  return Buffer.from(`${to}${from}${experimental}${number.toString(16).padStart(4, "0")}${"00".repeat(44)}`, "hex");
}

/** The number in such a frame; `undefined` in others. */
function numberIn(bytes: Uint8Array): number | undefined {
  const text = Buffer.from(bytes.subarray(12, 16)).toString("hex");
  return text.startsWith(experimental) ? Number.parseInt(text.slice(4), 16) : undefined;
}

interface Member extends AttachedContainer {
  readonly host: string;
  readonly port: RawInterface;
}

/** A network with a container on each of these hosts, which send and receive raw frames; all gone with the test. */
async function members(t: TestContext, network: NetworkWish, hosts: readonly string[]): Promise<readonly Member[]> {
  await createNetworks(lab, [network]);
  const all: Member[] = [];
  t.after(async () => {
    for (const { host, port } of all) {
      port.close();
      await lab.detach(`${network.name}-${host}`, host, network.name);
      lab.removeContainer(`${network.name}-${host}`);
    }
    await lab.admin.delete({ resources: [{ kind: "network", name: network.name }] });
  });
  for (const host of hosts) {
    const container = `${network.name}-${host}`;
    lab.addContainer(container);
    using namespace = lab.namespace(container);
    const attached = await lab.attach(container, host, network.name);
    all.push({ ...attached, host, port: await RawInterface.open(namespace, "eth0") });
  }
  for (const host of hosts)
    await until(async () => {
      const { networks } = await lab.agent(host).getStatus({});
      const known = networks.find(({ name }) => name === network.name)?.remoteEndpoints;
      assert.equal(known, hosts.length - 1, `${host} knows the others`);
    });
  await idle(lab, ...hosts);
  return all;
}

const count = 20;
/** The number of frames that are sent behind the others: where these have arrived, nothing is under way any more. */
const last = 0xffff;

/** Sends such a frame until `receiver` hears it. */
async function sendLast(sender: Member, receiver: Pick<Member, "mac" | "port">): Promise<void> {
  await until(() => {
    sender.port.send(frame(receiver.mac, sender.mac, last));
    assert.ok(receiver.port.received().some((bytes) => numberIn(bytes) === last));
  });
}

const flat = { subnets: ["10.70.0.0/24"], vni: 7000 };

for (const [encapsulation, needs] of [
  ["geneve", ["geneve"]],
  ["nvgre", ["gretap"]],
  ["vxlan", ["vxlan", "nft-inet", "quick processes"]],
] as const)
  test(
    `${encapsulation}: a flooded frame comes to each other member once, and never back`,
    requires(...needs),
    async (t) => {
      const all = await members(t, { name: `mesh-${encapsulation}`, encapsulation, ...flat }, ["h1", "h2", "h3"]);
      for (const { port } of all) port.received();
      const wanted = Array.from({ length: count }, (_, number) => number);
      for (const [what, destination] of [
        ["broadcast", "ff:ff:ff:ff:ff:ff"],
        ["unknown unicast", "02:00:00:00:0b:ad"],
      ] as const)
        for (const sender of all) {
          const heard = new Map(all.map((member) => [member, [] as number[]]));
          const listen = (): void => {
            for (const [{ port }, numbers] of heard)
              numbers.push(...port.received().flatMap((bytes) => numberIn(bytes) ?? []));
          };
          for (const number of wanted) sender.port.send(frame(destination, sender.mac, number));
          await until(() => {
            listen();
            for (const [member, { length }] of heard) assert.ok(member === sender || length >= count, member.host);
          });
          // Whatever went on from a member, or back, went before what that member sends now.
          for (const member of all) member.port.send(frame("ff:ff:ff:ff:ff:ff", member.mac, last));
          const lasts = (numbers: readonly number[]): number => numbers.filter((number) => number === last).length;
          await until(() => {
            listen();
            for (const [member, numbers] of heard) assert.ok(lasts(numbers) >= all.length - 1, member.host);
          });
          for (const [member, numbers] of heard)
            assert.deepEqual(
              numbers.filter((number) => number !== last),
              member === sender ? [] : wanted,
              `${what} from ${sender.host} at ${member.host}`,
            );
        }
    },
  );

test(
  "flood: groups carries broadcast, and nothing to MAC addresses that nobody has",
  requires("vxlan", "nft-inet"),
  async (t) => {
    const network = { name: "groups", flood: "groups", ...flat };
    const all = await members(t, network, ["h1", "h2"]);
    const [sender, receiver] = all as [Member, Member];
    lab.addContainer("beside");
    using inside = lab.namespace("beside");
    const { mac } = await lab.attach("beside", "h1", "groups");
    await using leaving = new AsyncDisposableStack();
    leaving.defer(() => lab.detach("beside", "h1", "groups"));
    const port = await RawInterface.open(inside, "eth0");
    leaving.defer(() => port.close());
    const others = [receiver, { mac, port }];
    const unknown = "02:00:00:00:0b:ad";
    /** Sends to nobody, then to each; what of the former had arrived everywhere by then. */
    const heard = async (): Promise<number[]> => {
      for (let number = 0; number < count; number++) sender.port.send(frame(unknown, sender.mac, number));
      const numbers: number[] = [];
      await until(() => {
        sender.port.send(frame("ff:ff:ff:ff:ff:ff", sender.mac, last));
        const each = others.map((other) => other.port.received().flatMap((bytes) => numberIn(bytes) ?? []));
        numbers.push(...each.flat().filter((number) => number !== last));
        assert.ok(each.every((those) => those.includes(last)));
      });
      return numbers;
    };
    assert.deepEqual(await heard(), []);
    const { status, complaints } = await weft([
      "network",
      "set",
      "groups",
      "--flood",
      "head-end",
      "--server",
      lab.serverSocket,
    ]);
    assert.equal(status, 0, complaints);
    await idle(lab, "h1", "h2");
    assert.equal((await heard()).length, 2 * count);
  },
);

/** The VTEPs that the sender's node sends a frame to this MAC to are these, each once. `receiver` hears what comes after it. */
async function assertCopies(
  t: TestContext,
  sender: Member,
  destination: string,
  vteps: string[],
  receiver: () => Promise<Pick<Member, "mac" | "port">>,
): Promise<void> {
  const file = join(testDirectory(t), "eth0.pcap");
  using host = lab.namespace(sender.host);
  const capture = await startCapture(host, "eth0", file, { filter: "udp port 4789", direction: "out" });
  sender.port.send(frame(destination, sender.mac, 1));
  await until(() => assert.deepEqual(copiesIn(file, destination), vteps));
  await sendLast(sender, await receiver());
  await capture.stop();
  assert.deepEqual(copiesIn(file, destination), vteps);
}

/** Those of frames with the number 1. */
function copiesIn(file: string, destination: string): readonly string[] {
  const { packets } = unwrap(readPcap(new Uint8Array(readFileSync(file))));
  const length = frame(destination, destination, 1).length;
  return packets
    .filter(({ bytes }) => numberIn(bytes.subarray(-length)) === 1)
    .map(({ bytes }) => decodeFrame(bytes).layers)
    .flatMap((layers) => {
      const [, inner] = layers.filter(({ protocol }) => protocol === "ethernet");
      const outer = layers.find(({ protocol }) => protocol === "ipv4");
      if (inner?.protocol !== "ethernet" || outer?.protocol !== "ipv4") return [];
      return inner.header.destination === destination ? [outer.header.destination] : [];
    })
    .sort();
}

test(
  "without data-plane learning an unknown destination goes to the flood list, and stays unknown",
  requires("vxlan", "nft-inet", "quick processes"),
  async (t) => {
    const stranger = "02:00:00:00:0b:ad";
    // h3 has another network: nothing of this one is to go there.
    const [first, second] = await members(t, { name: "pair", ...flat, antiSpoof: false }, ["h1", "h2"]);
    assert.ok(first !== undefined && second !== undefined);
    const other = async (): Promise<Member> => second;
    await assertCopies(t, first, stranger, ["192.0.2.2"], other);
    // The stranger speaks, behind the other member's port: who learns from what it sees would know now.
    second.port.send(frame("ff:ff:ff:ff:ff:ff", stranger, 2));
    await until(() =>
      assert.deepEqual(
        first.port.received().flatMap((bytes) => numberIn(bytes) ?? []),
        [2],
        "the stranger's frame arrived",
      ),
    );
    for (const host of ["h1", "h2"])
      assert.ok(
        !(await inTenant(lab, host, "acme", "bridge", "fdb", "show")).includes(stranger),
        `${host} has not learned`,
      );
    await assertCopies(t, first, stranger, ["192.0.2.2"], other);
    await lab.detach("pair-h2", "h2", "pair");
    await until(async () => {
      const fdb = await inTenant(lab, "h1", "acme", "bridge", "fdb", "show", "dev", "vx7000");
      assert.doesNotMatch(fdb, /dst 192\.0\.2\.2/);
    });
    // Who comes back hears nothing of what was sent before.
    await assertCopies(t, first, stranger, [], async () => {
      const attached = await lab.attach("pair-h2", "h2", "pair");
      using namespace = lab.namespace("pair-h2");
      const port = await RawInterface.open(namespace, "eth0");
      t.after(() => port.close());
      return { ...attached, port };
    });
  },
);

test(
  "a network that does not flood sends known unicast alone",
  requires("vxlan", "nft-inet", "quick processes"),
  async (t) => {
    const [first, second] = await members(t, { name: "quiet", flood: "none", ...flat }, ["h1", "h2"]);
    assert.ok(first !== undefined && second !== undefined);
    const other = async (): Promise<Member> => second;
    await assertCopies(t, first, "02:00:00:00:0b:ad", [], other);
    await assertCopies(t, first, "ff:ff:ff:ff:ff:ff", [], other);
    await assertCopies(t, first, second.mac, ["192.0.2.2"], other);
  },
);

/** Puts h3 on a link of its own, behind the namespace of the switch, which routes. It has 198.51.100.3 there. */
async function moveBehindRouter(): Promise<void> {
  await lab.stop("h3");
  const inside = (place: string, script: string): Promise<string> => inLab(lab, place, "sh", "-ec", script);
  await inside(
    "switch",
    `ip link add far type bridge
     ip link set port3 master far; ip link set far up
     ip address add 192.0.2.253/24 dev switch; ip address add 198.51.100.253/24 dev far
     sysctl -q -w net.ipv4.ip_forward=1`,
  );
  await inside(
    "h3",
    `ip address flush dev eth0
     ip address add 198.51.100.3/24 dev eth0; ip route add default via 198.51.100.253`,
  );
  for (const place of ["h1", "h2", "server"]) await inside(place, "ip route add 198.51.100.0/24 via 192.0.2.253");
  await lab.admin.setNode({ name: "h3", approved: { ipv4: "198.51.100.3" } });
  await lab.startAgent("h3", { underlay: "eth0" });
}

// The last: h3 stays where it was moved to.
test(
  "crossSubnet: no tunnel to a node on the same link, and one to a node behind a router",
  requires("vxlan", "nft-inet", "quick processes"),
  async (t) => {
    await moveBehindRouter();
    const [each] = casesWith(["crossSubnet", "ipv4-over-ipv4"]);
    assert.ok(each !== undefined);
    await createNetworks(lab, [{ ...networkOf(each, "acme", 3), name: "net", subnets: ["10.60.0.0/16"] }]);
    const ips: string[] = [];
    for (const host of ["h1", "h2", "h3"]) {
      lab.addContainer(`cross-${host}`);
      ips.push((await lab.attach(`cross-${host}`, host, "net")).ips[0] ?? "");
    }
    for (const host of ["h1", "h2", "h3"])
      await until(async () => {
        const { networks } = await lab.agent(host).getStatus({});
        assert.equal(networks.find(({ name }) => name === "net")?.remoteBlocks, 2, `${host} knows the others' blocks`);
      });
    await idle(lab, "h1", "h2", "h3");
    const file = join(testDirectory(t), "eth0.pcap");
    using host = lab.namespace("h1");
    using container = lab.namespace("cross-h1");
    const capture = await startCapture(host, "eth0", file, { filter: "not tcp port 7400" });
    const answered = [await pings(container, ips[1] ?? ""), await pings(container, ips[2] ?? "")];
    await capture.stop();
    assert.deepEqual(answered, [true, true]);
    const { packets } = unwrap(readPcap(new Uint8Array(readFileSync(file))));
    const outers = ips.slice(1).map((ip) => {
      const requests = packets.flatMap(({ bytes }) => readRequest(bytes, ip, each) ?? []);
      return new Set(requests.map(({ outer }) => describeOuter(outer)));
    });
    assert.deepEqual(outers, [new Set(["none"]), new Set([`192.0.2.1 > 198.51.100.3 UDP 4789 VXLAN VNI ${each.vni}`])]);
    using far = lab.namespace("cross-h3");
    const { sentHash, receivedHash } = await transfer(container, far, ips[2] ?? "", 1_000_000);
    assert.equal(receivedHash, sentHash);
  },
);
