import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ManualClock } from "../../base/clock.ts";
import { seconds } from "../../base/duration.ts";
import { type Ipv4Address, ip } from "../../base/ip.ts";
import { type MacAddress, mac } from "../../base/mac.ts";
import type { KernelNamespace } from "../../dataplane/kernel.ts";
import { buildFrame, decodeFrame, verifyChecksums } from "../../wire/index.ts";
import { octetsOf, textOf } from "../../wire/text.ts";
import { exampleConfiguration } from "../dhcp/example.test.ts";
import { MetadataPort } from "./metadata-port.ts";

const configuration = exampleConfiguration();
const server = "169.254.169.254";

interface Sent {
  readonly source?: MacAddress;
  readonly from?: string;
  readonly to?: string;
  readonly port?: number;
  readonly clientPort?: number;
  readonly sequence?: number;
  readonly acknowledgment?: number;
  readonly flags?: Partial<Record<"syn" | "ack" | "fin" | "rst", boolean>>;
  readonly data?: string;
}

function frameOf(sent: Sent): Uint8Array {
  const { source = configuration.mac, from = "10.0.0.2", to = server, port = 80, clientPort = 40_000 } = sent;
  const { sequence = 0, acknowledgment = 0, flags = {}, data = "" } = sent;
  const none = { cwr: false, ece: false, urg: false, ack: false, psh: false, rst: false, syn: false, fin: false };
  return buildFrame([
    { protocol: "ethernet", header: { source, destination: mac("02:57:00:00:00:64"), etherType: "ipv4" } },
    {
      protocol: "ipv4",
      header: {
        ...{ dscp: 0, ecn: 0, identification: 0, dontFragment: true, moreFragments: false, fragmentOffset: 0 },
        ...{ timeToLive: 64, protocol: "tcp", options: new Uint8Array() },
        ...{ source: ip(from) as Ipv4Address, destination: ip(to) as Ipv4Address },
      },
    },
    {
      protocol: "tcp",
      header: {
        ...{ sourcePort: clientPort, destinationPort: port, sequence, acknowledgment, ...none, ...flags },
        ...{ window: 65_535, urgentPointer: 0, options: [] },
      },
    },
    ...(data === "" ? [] : [{ protocol: "payload" as const, header: octetsOf(data, "data") }]),
  ]);
}

function arpFor(targetIp: string, senderIp = "10.0.0.2", senderMac = configuration.mac): Uint8Array {
  return buildFrame([
    {
      protocol: "ethernet",
      header: { source: configuration.mac, destination: mac("ff:ff:ff:ff:ff:ff"), etherType: "arp" },
    },
    {
      protocol: "arp",
      header: {
        ...{ operation: "request", senderMac, targetMac: mac("00:00:00:00:00:00") },
        ...{ senderIp: ip(senderIp) as Ipv4Address, targetIp: ip(targetIp) as Ipv4Address },
      },
    },
  ]);
}

/** A port whose frames the test has in its hands. */
class Scene {
  readonly clock = new ManualClock();
  userData: Uint8Array | undefined = octetsOf("#cloud-config\n", "user data");
  isClosed = false;
  readonly #waiting: Uint8Array[] = [];
  readonly #sent: Uint8Array[] = [];
  #onReadable: (() => void) | undefined;
  readonly port: MetadataPort;

  constructor() {
    const socket: ReturnType<KernelNamespace["openPacketSocket"]> = {
      receive: () => {
        const frame = this.#waiting.shift();
        return frame && { frame, interfaceIndex: 7, packetType: 0 };
      },
      readLost: () => 0,
      send: (index, frame) => {
        assert.equal(index, 7);
        this.#sent.push(frame);
      },
      onReadable: (callback) => {
        this.#onReadable = callback;
      },
      pause: () => {
        this.#onReadable = undefined;
      },
      close: () => {
        this.isClosed = true;
      },
    };
    this.port = new MetadataPort({
      ...{ index: 7, clock: this.clock, random: () => 0, configuration, userData: () => this.userData },
      namespace: { openPacketSocket: () => socket } as Partial<KernelNamespace> as KernelNamespace,
    });
  }

  /** What is sent back: of a segment its flags, port, numbers and data. */
  hears(...frames: readonly Uint8Array[]): string[] {
    this.#waiting.push(...frames);
    this.poll();
    return this.sent();
  }

  /** As the event loop does. */
  poll(): void {
    while (this.#waiting.length > 0 && this.#onReadable !== undefined) this.#onReadable();
  }

  sent(): string[] {
    return this.#sent.splice(0).map((frame) => {
      const { layers } = decodeFrame(frame);
      assert.ok(verifyChecksums(frame, layers).every(({ status }) => status === "correct"));
      const [ethernet, network, transport, payload] = layers;
      assert.ok(ethernet?.protocol === "ethernet");
      assert.deepEqual([ethernet.header.source, ethernet.header.destination], ["02:57:00:00:00:64", configuration.mac]);
      if (network?.protocol === "arp") return `${network.header.senderIp} is at ${network.header.senderMac}`;
      assert.ok(network?.protocol === "ipv4" && transport?.protocol === "tcp");
      assert.deepEqual([network.header.source, network.header.destination], [server, "10.0.0.2"]);
      const { syn, fin, rst, destinationPort, sequence, acknowledgment } = transport.header;
      const flags = Object.entries({ syn, fin, rst }).flatMap(([name, isSet]) => (isSet ? [name] : []));
      const data = payload?.protocol === "payload" ? ` ${textOf(payload.header)}` : "";
      return `${flags.join(" ")} to ${destinationPort}, ${sequence} ${acknowledgment}${data}`.trimStart();
    });
  }

  /** The whole of a connection. */
  get(path: string, clientPort = 40_000): string {
    const numbers = { clientPort, flags: { ack: true }, acknowledgment: 1, sequence: 1 };
    this.hears(frameOf({ clientPort, flags: { syn: true } }), frameOf(numbers));
    const [answer = ""] = this.hears(frameOf({ ...numbers, data: `GET ${path} HTTP/1.1\r\n\r\n` }));
    return answer.slice(answer.indexOf("\r\n\r\n") + 4);
  }
}

describe("at the address of metadata", () => {
  it("an endpoint reads its own documents, and what its user data is now", () => {
    const scene = new Scene();
    assert.match(scene.get("/meta-data", 40_001), /^instance-id: "0000000000a1"\n/);
    assert.equal(scene.get("/user-data", 40_002), "#cloud-config\n");
    scene.userData = undefined;
    assert.equal(scene.get("/user-data", 40_003), "");
    scene.port.setConfiguration({ ...configuration, hostName: "other" });
    assert.match(scene.get("/meta-data", 40_004), /local-hostname: "other"/);
  });

  it("it finds by ARP the MAC address of its network", () => {
    const scene = new Scene();
    assert.deepEqual(scene.hears(arpFor(server)), [`${server} is at 02:57:00:00:00:64`]);
    assert.deepEqual(scene.hears(arpFor("10.0.0.9"), arpFor(server, "10.0.0.3"), arpFor(server, "0.0.0.0")), []);
    assert.deepEqual(scene.hears(arpFor(server, "10.0.0.2", mac("02:aa:00:00:00:02"))), []);
  });

  it("it hears nothing in another's name, whatever the port lets pass", () => {
    const syn = { flags: { syn: true } };
    const scene = new Scene();
    for (const forged of [{ from: "10.0.0.3" }, { source: mac("02:aa:00:00:00:02") }, { to: "10.0.0.9" }])
      assert.deepEqual(scene.hears(frameOf({ ...syn, ...forged })), []);
    assert.deepEqual(scene.hears(frameOf(syn)), ["syn to 40000, 0 1"]);
    const { ipv4: _, ...without } = configuration;
    scene.port.setConfiguration(without);
    assert.deepEqual(scene.hears(frameOf({ ...syn, clientPort: 40_001 })), []);
  });

  it("what is no connection is refused: another port, a connection of before the agent began anew", () => {
    const scene = new Scene();
    assert.deepEqual(scene.hears(frameOf({ port: 22, sequence: 5, flags: { syn: true } })), ["rst to 40000, 0 6"]);
    const stale = { sequence: 5, acknowledgment: 9, data: "x" };
    assert.deepEqual(scene.hears(frameOf({ ...stale, flags: { ack: true } })), ["rst to 40000, 9 0"]);
    assert.deepEqual(scene.hears(frameOf({ ...stale, flags: { ack: true, rst: true } })), []);
    assert.deepEqual(scene.hears(frameOf({ flags: { syn: true, ack: true }, acknowledgment: 3 })), [
      "rst to 40000, 3 0",
    ]);
  });

  it("there are eight connections at once, and another when one has ended", () => {
    const scene = new Scene();
    const syn = (clientPort: number) => frameOf({ clientPort, flags: { syn: true } });
    const ports = Array.from({ length: 9 }, (_, index) => 40_000 + index);
    assert.equal(scene.hears(...ports.map(syn)).length, 8);
    assert.deepEqual(scene.hears(syn(40_008)), []);
    scene.hears(frameOf({ clientPort: 40_003, sequence: 1, flags: { rst: true } }));
    assert.deepEqual(scene.hears(syn(40_008)), ["syn to 40008, 0 1"]);
    scene.clock.advance(seconds(10));
    scene.sent();
    assert.equal(scene.hears(...ports.map(syn)).length, 8);
  });

  it("64 frames are read at once, and then twenty a second", () => {
    const scene = new Scene();
    const stray = frameOf({ port: 22, flags: { syn: true } });
    assert.equal(scene.hears(...Array<Uint8Array>(300).fill(stray)).length, 64);
    let read = 0;
    for (let tick = 0; tick < 20; tick++) {
      scene.clock.advance(seconds(0.05));
      scene.poll();
      read += scene.sent().length;
    }
    assert.equal(read, 20);
  });

  it("nothing is left when it closes", () => {
    const scene = new Scene();
    scene.hears(frameOf({ flags: { syn: true } }));
    scene.port.close();
    scene.clock.advance(seconds(60));
    assert.deepEqual([scene.sent(), scene.isClosed], [[], true]);
  });
});
