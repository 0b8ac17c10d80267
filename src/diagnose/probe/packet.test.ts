import assert from "node:assert/strict";
import { it } from "node:test";
import { type IpAddress, ip } from "../../base/ip.ts";
import { encapsulations, type TunnelEncapsulation } from "../../model/encapsulation.ts";
import type { Vni } from "../../model/index.ts";
import { overheadOf } from "../../model/mtu.ts";
import { buildFrame, decodeFrame, describeFrame, type LayerDraft } from "../../wire/index.ts";
import { type ProbeWay, probePayload, readProbe, smallestProbe } from "./packet.ts";

const tunnels = ["vxlan", "geneve", "nvgre", "gre", "ipip"] as const satisfies readonly TunnelEncapsulation[];

function wayBy(encapsulation: TunnelEncapsulation, family: 4 | 6 = 4): ProbeWay {
  const address = (host: number): IpAddress => ip(family === 4 ? `192.0.2.${host}` : `2001:db8::${host}`);
  return {
    encapsulation,
    port: encapsulations[encapsulation].port,
    vni: 4242 as Vni,
    from: address(1),
    to: address(2),
  };
}

/** The whole packet, as a reader of packets has it. */
function inEthernet(way: ProbeWay, payload: Uint8Array): Uint8Array {
  const protocol = encapsulations[way.encapsulation].ipProtocols[0];
  const lead: readonly LayerDraft[] = [
    {
      protocol: "ethernet",
      header: { destination: "02:00:00:00:00:02", source: "02:00:00:00:00:01", etherType: "ipv4" },
    } as LayerDraft,
    {
      protocol: "ipv4",
      header: {
        dscp: 0,
        ecn: 0,
        identification: 0,
        dontFragment: true,
        moreFragments: false,
        fragmentOffset: 0,
        timeToLive: 64,
        protocol: protocol === undefined ? "udp" : protocol === 47 ? "gre" : "ipv4",
        source: way.from,
        destination: way.to,
        options: new Uint8Array(0),
      },
    } as LayerDraft,
  ];
  const behind: readonly LayerDraft[] =
    way.port > 0 ? [{ protocol: "udp", header: { sourcePort: 50_000, destinationPort: way.port } } as LayerDraft] : [];
  return buildFrame([...lead, ...behind, { protocol: "payload", header: payload }]);
}

for (const encapsulation of tunnels) {
  it(`a probe by ${encapsulation} is a packet of its network to whoever reads it, and of the size that was asked for`, () => {
    const way = wayBy(encapsulation);
    const payload = probePayload(way, { train: 7n, sequence: 3, sentAt: 1_700_000_000_000_000 }, 300);
    const frame = inEthernet(way, payload);
    assert.equal(frame.length, 14 + 300);
    const { layers } = decodeFrame(frame);
    const text = describeFrame(decodeFrame(frame));
    if (encapsulation !== "ipip") assert.match(text, /4242|0x1092/, text);
    if (encapsulations[encapsulation].carriesEthernet)
      // No bridge forwards it.
      assert.ok(
        layers.some((layer) => layer.protocol === "ethernet" && layer.header.destination === "01:80:c2:00:00:0e"),
        text,
      );
    else
      assert.ok(
        layers.some((layer) => layer.protocol === "ipv4" && layer.header.destination === "224.0.0.1"),
        text,
      );
    assert.deepEqual(readProbe(frame), {
      train: 7n,
      sequence: 3,
      sentAt: 1_700_000_000_000_000,
      isChanged: false,
    });
  });

  it(`the largest inner packet by ${encapsulation} makes a probe of the largest outer one`, () => {
    for (const family of [4, 6] as const) {
      const way = wayBy(encapsulation, family);
      const underlay = family === 4 ? "ipv4" : "ipv6";
      const { octets } = overheadOf({ encapsulation, underlay });
      const header = (family === 4 ? 20 : 40) + (way.port > 0 ? 8 : 0);
      const payload = probePayload(way, { train: 1n, sequence: 0, sentAt: 0 }, 1450 + octets);
      assert.equal(header + payload.length, 1450 + octets);
    }
  });
}

it("any octet of it that was changed is seen, wherever it is", () => {
  const way = wayBy("vxlan");
  const payload = probePayload(way, { train: 7n, sequence: 3, sentAt: 1 }, smallestProbe(way) + 600);
  // The magic, by which it is found at all, and the headers in front of it are not among them.
  const start = Buffer.from(payload).indexOf("weftprob") + 8;
  for (let offset = start; offset < payload.length; offset += 7) {
    const changed = Uint8Array.from(payload);
    changed[offset] = (changed[offset] ?? 0) ^ 0x10;
    assert.equal(readProbe(changed)?.isChanged, true, `octet ${offset}`);
  }
});

it("what is no probe, or ends within one, is none", () => {
  assert.equal(readProbe(new Uint8Array(2_000)), undefined);
  assert.equal(readProbe(new TextEncoder().encode("weftprob")), undefined);
});
