/** How much address resolution crosses the underlay: none for what the control plane knows, and all of it without suppression. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { type Ipv4Address, ip } from "../../src/base/ip.ts";
import { broadcastMac, mac, zeroMac } from "../../src/base/mac.ts";
import { buildFrame, decodeFrame } from "../../src/wire/index.ts";
import { createNetworks, idle, inLab, testLab, theWholeFile, until, weft } from "../support/cluster.ts";
import { fileRequires } from "../support/kernel.ts";
import { RawInterface } from "../support/raw-frames.ts";

await fileRequires("quick processes", "nft-inet");

const lab = await testLab(theWholeFile(), { hosts: 2 });
await createNetworks(lab, [{ name: "web", subnets: ["10.0.0.0/24"], vni: 100, stormControl: { port: 0, network: 0 } }]);
const perHost = 10;
const requests = 1_000;
/** So many are under way at most, so that the kernel's backlog of one processor does not overflow. */
const burst = 50;

interface Container {
  readonly name: string;
  readonly host: string;
  readonly mac: string;
  readonly ip: string;
}
const containers: Container[] = [];
for (const host of ["h1", "h2"])
  for (let number = 1; number <= perHost; number++) {
    const name = `${host}c${number}`;
    lab.addContainer(name);
    const attached = await lab.attach(name, host, "web");
    containers.push({ name, host, mac: attached.mac, ip: attached.ips[0] ?? "" });
  }
await idle(lab, "h1", "h2");
// Frames are counted by the kernel, which loses none: behind the headers of UDP, VXLAN and inner Ethernet up to its type.
await inLab(
  lab,
  "h1",
  "nft",
  [
    "table inet count {",
    "counter resolution {}",
    "chain out { type filter hook output priority 0; udp dport 4789 @th,224,16 0x0806 counter name resolution; }",
    "chain in { type filter hook input priority 0; udp dport 4789 @th,224,16 0x0806 counter name resolution; }",
    "}",
  ].join("\n"),
);

async function crossed(): Promise<number> {
  const listing = await inLab(lab, "h1", "nft", "-j", "list", "counter", "inet", "count", "resolution");
  const { nftables } = JSON.parse(listing) as { nftables: { counter?: { packets: number } }[] };
  return nftables.find(({ counter }) => counter !== undefined)?.counter?.packets ?? 0;
}

/** Each container asks {@link requests} times for those of the other host in turn; how many were asked and answered. */
async function askAll(): Promise<{ readonly asked: number; readonly answered: number }> {
  let asked = 0;
  let answered = 0;
  for (const container of containers) {
    using namespace = lab.namespace(container.name);
    const raw = await RawInterface.open(namespace, "eth0");
    const others = containers.filter(({ host }) => host !== container.host);
    let expected = 0;
    let replies = 0;
    const answeredSoFar = (): void => {
      for (const frame of raw.received()) {
        const arp = decodeFrame(frame).layers.find(({ protocol }) => protocol === "arp");
        if (arp?.protocol === "arp" && arp.header.operation === "reply") replies++;
      }
      assert.ok(replies >= expected, `${container.name}: ${replies} of ${expected} were answered`);
    };
    for (let number = 0; number < requests; number++) {
      const target = others[number % others.length];
      if (target === undefined) throw new TypeError("there is somebody to ask for");
      raw.send(
        buildFrame([
          { protocol: "ethernet", header: { destination: broadcastMac, source: mac(container.mac), etherType: "arp" } },
          {
            protocol: "arp",
            header: {
              operation: "request",
              senderMac: mac(container.mac),
              senderIp: ip(container.ip) as Ipv4Address,
              targetMac: zeroMac,
              targetIp: ip(target.ip) as Ipv4Address,
            },
          },
        ]),
      );
      expected++;
      if (number % burst === burst - 1) await until(answeredSoFar);
    }
    await until(answeredSoFar);
    raw.close();
    asked += expected;
    answered += replies;
  }
  return { asked, answered };
}

async function measure(t: TestContext): Promise<number> {
  const before = await crossed();
  const { asked, answered } = await askAll();
  const frames = (await crossed()) - before;
  t.diagnostic(
    `${containers.length} containers asked ${asked} times, ${answered} answers, ${frames} ARP frames crossed the underlay`,
  );
  assert.equal(answered, asked);
  return frames;
}

test("with suppression none crosses: 20 containers ask 1,000 times each for endpoints of the other host", async (t) => {
  assert.equal(await measure(t), 0);
});

test("without suppression every question and every answer crosses", async (t) => {
  const set = await weft(["network", "set", "web", "--no-arp-suppression", "--server", lab.serverSocket]);
  assert.equal(set.status, 0, set.complaints);
  await idle(lab, "h1", "h2");
  assert.equal(await measure(t), 2 * containers.length * requests);
});
