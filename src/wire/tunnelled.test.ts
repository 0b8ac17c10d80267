import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { unwrap } from "../base/result.ts";
import { decodeFrame, tunnelPorts } from "./decode-frame.ts";
import { describeFrame } from "./describe-frame.ts";
import { readPcap } from "./pcap.ts";
import { tunnelledPacket } from "./tunnelled.ts";

const folder = join(import.meta.dirname, "../../test/golden");

function frames(name: string): readonly Uint8Array[] {
  return unwrap(readPcap(new Uint8Array(readFileSync(join(folder, `${name}.pcap`))))).packets.map(({ bytes }) => bytes);
}

/** The first frame of each capture of tunnels: key, what the inner packet begins with, and what it is. */
const tunnels = [
  ["vxlan-ipv4", 100, "ethernet", /^ARP, Request/],
  ["geneve-ipv6", 11259375, "ethernet", /^ARP, Request/],
  ["geneve-ip", 300, "ip", /^IP .*ICMP echo request/],
  ["nvgre", 0x123456, "ethernet", /^ARP, Request/],
  ["gretap", undefined, "ethernet", /^ARP, Request/],
  ["gre", undefined, "ip", /ICMP echo request/],
  ["ipip", undefined, "ip", /^IP .*ICMP echo request/],
  ["6in4", undefined, "ip", /^IP6 .*ICMP6, echo request/],
  ["4in6", undefined, "ip", /^IP .*ICMP echo request/],
  ["6in6", undefined, "ip", /^IP6 .*ICMP6, echo request/],
] as const;

describe("the packet in a tunnel", () => {
  for (const [name, key, link, text] of tunnels)
    test(name, () => {
      const [bytes = new Uint8Array()] = frames(name);
      const tunnelled = tunnelledPacket(decodeFrame(bytes));
      assert.equal(tunnelled?.key, key);
      assert.equal(tunnelled?.inner?.link, link);
      const inner = bytes.subarray(tunnelled?.inner?.start, tunnelled?.inner?.end);
      const read = decodeFrame(inner, { link });
      assert.equal(read.error, undefined);
      assert.match(describeFrame(read), text);
      // What the whole frame says of the inner packet is what it says of itself.
      assert.ok(describeFrame(decodeFrame(bytes)).endsWith(describeFrame(read)));
    });

  test("what is in no tunnel", () => {
    for (const name of ["arp", "tcp", "icmpv6-fragments", "vlan", "fragmentation-needed"])
      for (const bytes of frames(name)) assert.equal(tunnelledPacket(decodeFrame(bytes)), undefined, name);
  });

  test("a frame that was cut: no inner packet unless it could be read", () => {
    const [bytes = new Uint8Array()] = frames("vxlan-ipv4");
    for (let length = 0; length <= bytes.length; length++) {
      const frame = decodeFrame(bytes.subarray(0, length));
      assert.equal(tunnelledPacket(frame)?.inner === undefined, !frame.layers.some((each) => each.protocol === "arp"));
    }
  });

  test("an inner packet ends within the frame, whatever the capture", () => {
    for (const path of globSync(join(folder, "*.pcap")))
      for (const { bytes } of unwrap(readPcap(new Uint8Array(readFileSync(path)))).packets) {
        const inner = tunnelledPacket(decodeFrame(bytes))?.inner;
        if (inner !== undefined) assert.ok(inner.start < inner.end && inner.end <= bytes.length, path);
      }
  });

  test("packets of interfaces without Ethernet", () => {
    const [bytes = new Uint8Array()] = frames("icmpv4-echo");
    assert.match(describeFrame(decodeFrame(bytes.subarray(14), { link: "ip" })), /^IP .*ICMP echo request/);
    assert.deepEqual(
      decodeFrame(Uint8Array.of(0x70, 1), { link: "ip" }).layers.map(({ protocol }) => protocol),
      ["payload"],
    );
    assert.deepEqual(decodeFrame(new Uint8Array(), { link: "ip" }).layers, []);
  });

  test("ports of tunnels", () => {
    const { vxlanPorts, genevePorts } = tunnelPorts([
      { encapsulation: "vxlan", port: 8472 },
      { encapsulation: "geneve", port: 7000 },
      { encapsulation: "gre", port: 0 },
    ]);
    assert.deepEqual([...vxlanPorts], [4789, 8472]);
    assert.deepEqual([...genevePorts], [6081, 7000]);
  });
});
