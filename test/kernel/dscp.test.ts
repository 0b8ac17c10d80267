/**
 * The DSCP of packets between nodes, as captured on the underlay: one that the network sets, and that of the packet inside. All
 * networks are there beside each other, each with a container on both hosts, and change together.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { unwrap } from "../../src/base/result.ts";
import { startCapture } from "../../src/lab/capture.ts";
import { decodeFrame, type Layer, readPcap } from "../../src/wire/index.ts";
import {
  createNetworks,
  idle,
  inLab,
  type NetworkWish,
  testDirectory,
  testLab,
  theWholeFile,
  until,
  weft,
} from "../support/cluster.ts";
import { inPlace } from "../support/in-place.ts";
import { type KernelFeature, requires } from "../support/kernel.ts";

const file = theWholeFile();
const lab = await testLab(file, { hosts: 2 });

type Case = Omit<NetworkWish, "subnets">;
const cases: readonly (readonly [network: Case, needs: readonly KernelFeature[]])[] = [
  [{ name: "vxlan4", encapsulation: "vxlan" }, ["vxlan", "nft-inet", "quick processes"]],
  [{ name: "vxlan6", encapsulation: "vxlan", underlay: "ipv6" }, ["vxlan", "nft-inet", "quick processes"]],
  [{ name: "geneve4", encapsulation: "geneve" }, ["geneve"]],
  [{ name: "geneve6", encapsulation: "geneve", underlay: "ipv6" }, ["geneve"]],
  [{ name: "nvgre4", encapsulation: "nvgre" }, ["gretap"]],
  [{ name: "nvgre6", encapsulation: "nvgre", underlay: "ipv6" }, ["ip6gretap"]],
  [{ name: "gre4", encapsulation: "gre", mode: "l3" }, ["gre"]],
  [{ name: "gre6", encapsulation: "gre", mode: "l3", underlay: "ipv6" }, ["ip6gre"]],
  [{ name: "ipip4", encapsulation: "ipip", mode: "l3" }, ["sit"]],
  [{ name: "ipip6", encapsulation: "ipip", mode: "l3", underlay: "ipv6" }, ["ip6tnl"]],
];
const carried = cases.flatMap(([wish, needs], number) =>
  requires(...needs).skip === false
    ? [{ ...wish, subnets: [`10.${80 + number}.0.0/16`, `fd00:${80 + number}::/48`] }]
    : [],
);
const names = carried.map(({ name }) => name);

/** DSCP 10 and ECT(0), as ping(8) takes them. */
const inner = { dscp: 10, ecn: 2 };
const tos = String((inner.dscp << 2) | inner.ecn);

/** All of these networks have this DSCP from now on. */
async function setAll(networks: readonly NetworkWish[], dscp: string): Promise<void> {
  await createNetworks(
    lab,
    networks.map((network) => ({ ...network, dscp })),
  );
}

await setAll(carried, "46");
/** The addresses of each network's container on h2. */
const targets = new Map<string, readonly string[]>();
for (const name of names)
  for (const host of ["h1", "h2"]) {
    lab.addContainer(`${name}-${host}`);
    targets.set(name, (await lab.attach(`${name}-${host}`, host, name)).ips);
  }
await until(async () => {
  const { networks } = await lab.agent("h1").getStatus({});
  for (const { name, remoteEndpoints, remoteBlocks } of networks)
    assert.ok(remoteEndpoints + remoteBlocks > 0, `h1 knows the other container of ${name}`);
  assert.equal(networks.length, names.length);
});
await idle(lab, "h1", "h2");

/** For each network what the outer headers of echo requests to h2 say, each once. */
async function outerHeaders(): Promise<ReadonlyMap<string, readonly string[]>> {
  using host = lab.namespace("h1");
  const capturedTo = join(testDirectory(file), "eth0.pcap");
  const capture = await startCapture(host, "eth0", capturedTo, { filter: "not tcp port 7400", direction: "out" });
  for (const [name, addresses] of targets)
    for (const address of addresses)
      await until(async () => void (await inLab(lab, `${name}-h1`, "ping", "-Q", tos, "-c1", "-W1", address)));
  await capture.stop();
  const frames = unwrap(readPcap(new Uint8Array(readFileSync(capturedTo)))).packets.map(
    ({ bytes }) => decodeFrame(bytes).layers,
  );
  return new Map([...targets].map(([name, addresses]) => [name, outerHeadersTo(addresses, frames)]));
}

function outerHeadersTo(addresses: readonly string[], frames: readonly (readonly Layer[])[]): readonly string[] {
  const found = frames.flatMap((layers) => {
    const isRequest = layers.some(
      ({ protocol, header }) => (protocol === "icmpv4" || protocol === "icmpv6") && header.type === "echo-request",
    );
    const headers = layers.flatMap(({ protocol, header }) =>
      protocol === "ipv4" || protocol === "ipv6" ? [header] : [],
    );
    const [first, last] = [headers[0], headers.at(-1)];
    if (!isRequest || first === undefined || !addresses.includes(last?.destination ?? "")) return [];
    return [`${first.dscp} ECN ${first.ecn}`];
  });
  return [...new Set(found)];
}

/** One of them by the command line, the others by what it asks the server for. */
async function changeAll(dscp: string): Promise<void> {
  const [first = "", ...others] = names;
  const words = ["network", "set", first, "--dscp", dscp, "--wait", "--server", lab.serverSocket];
  const { status, complaints } = await weft(words);
  assert.equal(status, 0, complaints);
  await setAll(carried.slice(1), dscp);
  await inPlace(lab, ...others);
}

const whenSet = await outerHeaders();
await changeAll("inherit");
const whenKept = await outerHeaders();
await changeAll("0");
const whenNeither = await outerHeaders();

for (const [{ name }, needs] of cases)
  test(`${name}: set, kept, and neither`, requires(...needs), () => {
    // net/ipv6/ip6_gre.c: the class that was set is the whole of it, with the bits of ECN.
    const setEcn = name.endsWith("gre6") ? 0 : inner.ecn;
    assert.deepEqual(whenSet.get(name), [`46 ECN ${setEcn}`]);
    assert.deepEqual(whenKept.get(name), [`${inner.dscp} ECN ${inner.ecn}`]);
    assert.deepEqual(whenNeither.get(name), [`0 ECN ${setEcn}`]);
  });
