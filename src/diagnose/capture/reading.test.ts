import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { unwrap } from "../../base/result.ts";
import { makeTemporaryDirectory } from "../../testing/temporary-directory.ts";
import { decodeFrame, readPcap, tunnelPorts } from "../../wire/index.ts";
import { CaptureFile } from "./capture-file.ts";
import type { CapturedPacket, Place } from "./packet.ts";
import { Reader } from "./reading.ts";
import type { NetworkView, NodeView } from "./view.ts";

const network = (name: string, vni: number): NetworkView => ({
  ...{ name, vni, tenant: "blue", namespace: "weft-blue", bridge: `br${vni}` },
  ...{ encapsulation: "vxlan", port: 4789, standby: [], subnets: [] },
});

/** The hosts of the golden captures, each a node with an endpoint; only the first is this one. */
const view: NodeView = {
  node: "h1",
  vteps: ["192.0.2.1"],
  networks: [network("web", 100), network("db", 0x123456)],
  endpoints: [
    {
      endpoint: { id: "aaaaaaaaaaaa", network: "web", mac: "02:00:00:00:0a:01", ips: ["10.0.0.1"] },
      ...{ netns: "/run/netns/red", interface: "eth0", port: "veaaaaaaaaaaaa" },
    },
  ],
};

const underlay: Place = {
  ...{ node: "h1", kind: "underlay", namespace: "the host", interface: "eth0", link: "ethernet", mtu: 1500 },
};
const port: Place = {
  ...{ node: "h1", kind: "port", namespace: "weft-blue", interface: "veaaaaaaaaaaaa", link: "ethernet", mtu: 1450 },
  ...{ network: "web", endpoint: "aaaaaaaaaaaa" },
};

function golden(name: string): readonly CapturedPacket[] {
  const path = join(import.meta.dirname, "../../../test/golden", `${name}.pcap`);
  return unwrap(readPcap(new Uint8Array(readFileSync(path)))).packets.map(({ bytes, timestamp, originalLength }) => ({
    ...{ place: underlay, time: timestamp, direction: "out", bytes, originalLength, isSegmented: false },
  }));
}

function read(packet: CapturedPacket) {
  const { text, ...rest } = new Reader(view, tunnelPorts([])).read(packet);
  return { ...rest, text };
}

/** Without its outer headers. */
function inner(packet: CapturedPacket, octets: number): CapturedPacket {
  const bytes = packet.bytes.subarray(octets);
  return { ...packet, place: port, bytes, originalLength: bytes.length };
}

describe("reading captured packets", () => {
  const [request, reply] = golden("vxlan-ipv4").filter(({ bytes }) =>
    decodeFrame(bytes).layers.some(({ protocol }) => protocol === "icmpv4"),
  ) as [CapturedPacket, CapturedPacket];

  test("in a tunnel: the network by its VNI, and its endpoints by what is inside", () => {
    assert.deepEqual([request, reply].map(read), [
      {
        ...{ network: "web", from: "aaaaaaaaaaaa", notes: [] },
        text: read(request).text,
      },
      { ...{ network: "web", to: "aaaaaaaaaaaa", notes: [] }, text: read(reply).text },
    ]);
    assert.match(
      read(request).text,
      /^IP 192\.0\.2\.1\.\d+ > 192\.0\.2\.2\.4789: VXLAN, vni 100: IP 10\.0\.0\.1 > 10\.0\.0\.2: ICMP echo request/,
    );
  });

  test("of a VNI that no network here has, nothing is said", () => {
    const [other] = golden("vxlan-ipv6");
    assert.ok(other !== undefined);
    assert.deepEqual(Object.keys(read(other)), ["notes", "text"]);
  });

  test("NVGRE tells its VSID as the network", () => {
    const [packet] = golden("nvgre");
    assert.equal(packet === undefined ? "" : read(packet).network, "db");
  });

  test("at a port: without a tunnel, and by the IP address where the MAC is a gateway's", () => {
    const packet = inner(request, 50);
    assert.equal(read(packet).from, "aaaaaaaaaaaa");
    assert.match(read(packet).text, /^IP 10\.0\.0\.1 > 10\.0\.0\.2: ICMP echo request/);
    const routed = { ...packet, bytes: Uint8Array.from(packet.bytes) };
    routed.bytes.set([2, 0x57, 0, 0, 0x10, 0], 6);
    assert.equal(read(routed).from, "aaaaaaaaaaaa");
    // The same address in another network is somebody else's.
    assert.equal(read({ ...routed, place: { ...port, network: "db" } }).from, undefined);
  });

  test("checksums: what is wrong, and what nobody has computed yet", () => {
    const damaged = inner(request, 50);
    const bytes = Uint8Array.from(damaged.bytes);
    bytes[bytes.length - 1] = (bytes[bytes.length - 1] ?? 0) ^ 1;
    const notes = (more: Partial<CapturedPacket>): readonly string[] => read({ ...damaged, bytes, ...more }).notes;
    assert.deepEqual(notes({}), ["wrong checksum: icmpv4"]);
    assert.deepEqual(notes({ checksum: "not-ready" }), []);
    assert.deepEqual(notes({ checksum: "valid" }), []);
    assert.deepEqual(notes({ isSegmented: true }), ["segmentation offloaded"]);
    const header = Uint8Array.from(damaged.bytes);
    header[14 + 8] = 7; // the time to live
    assert.deepEqual(notes({ bytes: header, checksum: "not-ready" }), ["wrong checksum: ipv4"]);
  });

  test("a cut packet: what of it there is", () => {
    const packet = { ...request, bytes: request.bytes.subarray(0, 60) };
    assert.deepEqual(read(packet).notes, [`cut: 60 of ${request.originalLength} octets`]);
  });

  test("a file has an interface for each place, comments, and what was lost", (t) => {
    const directory = makeTemporaryDirectory();
    t.after(() => rmSync(directory, { recursive: true, force: true }));
    const parts: Uint8Array[] = [];
    const file = new CaptureFile(
      { program: "weft", snapLength: 0, filter: "icmp", write: (octets) => parts.push(octets) },
      [underlay, port],
    );
    const reader = new Reader(view, {});
    for (const packet of [request, inner(request, 50), reply]) file.add(packet, reader.read(packet));
    const container: Place = { ...port, kind: "container", namespace: "red", interface: "eth0", link: "ip" };
    const bare = { ...inner(request, 64), place: container };
    file.add(bare, reader.read(bare));
    file.finish(
      [
        { places: [underlay, port], received: 3, dropped: 4 },
        { places: [container], received: 1, dropped: 0 },
      ],
      1n,
    );
    const path = join(directory, "capture.pcapng");
    writeFileSync(path, Buffer.concat(parts));
    assert.equal(file.size, Buffer.concat(parts).length);
    const fields = ["frame.interface_name", "frame.comment", "icmp.type", "ip.src"];
    const rows = execFileSync(
      "tshark",
      ["-r", path, "-T", "fields", "-E", "occurrence=l", ...fields.flatMap((field) => ["-e", field])],
      {
        ...{ encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] },
      },
    );
    assert.deepEqual(rows.trimEnd().split("\n"), [
      "eth0\tnetwork web, from endpoint aaaaaaaaaaaa\t8\t10.0.0.1",
      "veaaaaaaaaaaaa\tnetwork web, from endpoint aaaaaaaaaaaa\t8\t10.0.0.1",
      "eth0\tnetwork web, to endpoint aaaaaaaaaaaa\t0\t10.0.0.2",
      "eth0@red\tnetwork web, from endpoint aaaaaaaaaaaa\t8\t10.0.0.1",
    ]);
    const facts = execFileSync("capinfos", [path], { encoding: "utf8" });
    for (const fact of [
      /Description = port of endpoint aaaaaaaaaaaa of network web, in weft-blue on h1/,
      /Encapsulation = Raw IP/,
      /Number of interfaces in file: 3/,
    ])
      assert.match(facts, fact);
  });
});
