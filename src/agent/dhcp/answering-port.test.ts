import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ManualClock } from "../../base/clock.ts";
import { milliseconds, seconds } from "../../base/duration.ts";
import { type Ipv6Address, ip } from "../../base/ip.ts";
import { mac } from "../../base/mac.ts";
import type { KernelNamespace } from "../../dataplane/kernel.ts";
import { SystemError } from "../../linux/index.ts";
import { buildFrame, decodeFrame } from "../../wire/index.ts";
import { AnsweringPort } from "./answering-port.ts";
import { exampleConfiguration, exampleEndpoint, exampleNetwork } from "./example.test.ts";

const configuration = exampleConfiguration();
const solicitation = buildFrame([
  {
    protocol: "ethernet",
    header: { source: configuration.mac, destination: mac("33:33:00:00:00:02"), etherType: "ipv6" },
  },
  {
    protocol: "ipv6",
    header: {
      ...{ dscp: 0, ecn: 0, flowLabel: 0, nextHeader: "icmpv6", hopLimit: 255 },
      ...{ source: ip("fe80::aa:ff:fe00:1") as Ipv6Address, destination: ip("ff02::2") as Ipv6Address },
    },
  },
  { protocol: "icmpv6", header: { type: "router-solicitation", code: 0, options: [] } },
]);

/** A port whose frames the test has in its hands. */
class Scene {
  readonly clock = new ManualClock();
  readonly waiting: (Uint8Array | Error)[] = [];
  readonly sent: Uint8Array[] = [];
  isClosed = false;
  #onReadable: (() => void) | undefined;
  readonly port: AnsweringPort;

  constructor() {
    const socket: ReturnType<KernelNamespace["openPacketSocket"]> = {
      receive: () => {
        const frame = this.waiting.shift();
        if (frame instanceof Error) throw frame;
        return frame && { frame, interfaceIndex: 7, packetType: 0 };
      },
      readLost: () => 0,
      send: (index, frame) => {
        assert.equal(index, 7);
        this.sent.push(frame);
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
    this.port = new AnsweringPort({
      ...{ index: 7, clock: this.clock, random: () => 0.5, configuration, onDeclined: () => {} },
      namespace: { openPacketSocket: () => socket } as Partial<KernelNamespace> as KernelNamespace,
    });
  }

  /** As the event loop does: again and again, while there is something and somebody wants it. */
  arrive(...frames: readonly (Uint8Array | Error)[]): void {
    this.waiting.push(...frames);
    this.poll();
  }

  poll(): void {
    while (this.waiting.length > 0 && this.#onReadable !== undefined) this.#onReadable();
  }

  /** What was advertised since it was asked last: lifetimes of the router and of DNS servers. */
  advertised(): string[] {
    return this.sent.splice(0).map((frame) => {
      const message = decodeFrame(frame).layers[2];
      if (message?.protocol !== "icmpv6" || message.header.type !== "router-advertisement") return "something else";
      const dns = message.header.options.flatMap((option) =>
        option.type === "recursive-dns-servers" ? [`${option.addresses.join(" ")} ${option.lifetime}`] : [],
      );
      return [`router ${message.header.routerLifetime}`, ...dns].join("; ");
    });
  }
}

const advertisement = "router 1000; fd00::53 1000";

describe("a port at which the node answers", () => {
  it("hears of the router when it comes, and three times at least before that is forgotten", () => {
    const scene = new Scene();
    assert.deepEqual(scene.advertised(), [advertisement]);
    scene.clock.advance(seconds(1000));
    const again = scene.advertised();
    assert.ok(again.length >= 3 && again.every((each) => each === advertisement), again.join());
  });

  it("hears of what is new at once, and that what was is no more", () => {
    const scene = new Scene();
    scene.advertised();
    const { dhcp } = exampleNetwork();
    assert.ok(dhcp);
    scene.port.setConfiguration(exampleConfiguration({ dhcp: { ...dhcp, dns: [ip("fd00::54")] } }));
    assert.deepEqual(scene.advertised(), ["router 1000; fd00::54 1000; fd00::53 0"]);
    scene.port.setConfiguration(exampleConfiguration({}, { ...exampleEndpoint, gateways: [] }));
    assert.deepEqual(scene.advertised(), ["router 0; fd00::53 1000; fd00::54 0"]);
  });

  it("hears at the end that there is nothing any more; when the agent ends it hears nothing", () => {
    const scene = new Scene();
    scene.advertised();
    scene.port.sayFarewell();
    assert.deepEqual(scene.advertised(), ["router 0; fd00::53 0"]);
    scene.port.close();
    scene.clock.advance(seconds(10_000));
    assert.deepEqual([scene.advertised(), scene.isClosed], [[], true]);
  });

  it("is answered 16 times at once, and then four times a second", () => {
    const scene = new Scene();
    scene.advertised();
    scene.arrive(...Array<Uint8Array>(100).fill(solicitation));
    assert.equal(scene.advertised().length, 16);
    for (let quarter = 0; quarter < 8; quarter++) {
      scene.clock.advance(milliseconds(250));
      scene.poll();
    }
    assert.equal(scene.advertised().length, 8);
    scene.waiting.length = 0;
    scene.clock.advance(seconds(60));
    scene.advertised();
    scene.arrive(...Array<Uint8Array>(100).fill(solicitation));
    assert.equal(scene.advertised().length, 16);
  });

  it("that is down is heard again when it is up", () => {
    const scene = new Scene();
    scene.advertised();
    scene.arrive(new SystemError({ operation: "receive frames", errno: 100 }), solicitation);
    assert.deepEqual(scene.advertised(), [advertisement]);
  });
});
