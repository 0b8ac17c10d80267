import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ManualClock } from "../../base/clock.ts";
import { seconds } from "../../base/duration.ts";
import { DesiredNetwork } from "../../dataplane/desired.ts";
import { type DataplaneEvent, Problems, type ProgrammedNetwork } from "../../dataplane/index.ts";
import type { KernelNamespace } from "../../dataplane/kernel.ts";
import { networkSettings } from "../../testing/desired.ts";
import { decodeFrame } from "../../wire/index.ts";
import { metadataAnswers } from "../metadata/metadata-port.ts";
import { EndpointNames } from "../names/endpoint-names.ts";
import { nameAnswers } from "../names/name-port.ts";
import type { PortAnswers } from "../port-answers.ts";
import { exampleEndpoint, exampleNetwork } from "./example.test.ts";
import { dhcpAnswers } from "./responder.ts";

/** A node with one network, one endpoint, and the port of it. */
class Scene {
  readonly clock = new ManualClock();
  readonly events: DataplaneEvent[] = [];
  readonly problems = new Problems((event) => this.events.push(event), this.clock);
  readonly network = new DesiredNetwork(networkSettings());
  /** What was opened, sent by and closed, since it was asked last. */
  readonly done: string[] = [];
  declared = exampleNetwork();
  /** Of the port; `undefined`: there is none. */
  index: number | undefined = 7;
  inode = 1;
  failure: Error | undefined;
  readonly answers: readonly PortAnswers[];

  constructor() {
    this.network.putLocal(exampleEndpoint);
    const options: Parameters<typeof dhcpAnswers>[0] = {
      ...{ problems: this.problems, clock: this.clock, random: () => 0.5 },
      report: (event) => this.done.push(event.message),
      desired: { networks: { get: () => ({ network: this.declared }) } as never },
      dataplane: {
        networksOf: (tenant) => (tenant === this.network.settings.tenant ? [this.network] : []),
        network: () => this.#place(),
      },
    };
    this.answers = [
      dhcpAnswers(options),
      metadataAnswers({ ...options, userDataOf: () => undefined }),
      nameAnswers({ ...options, names: new EndpointNames() }),
    ];
  }

  #place(): ProgrammedNetwork {
    const ports = { indexOf: () => this.index };
    const namespace = { inode: this.inode, openPacketSocket: ({ interfaceIndex = 0 }) => this.#open(interfaceIndex) };
    const place = { namespace, dataplane: { desired: this.network, ports } };
    return place as unknown as ProgrammedNetwork;
  }

  #open(index: number): ReturnType<KernelNamespace["openPacketSocket"]> {
    if (this.failure !== undefined) throw this.failure;
    this.done.push(`open ${index}`);
    return {
      receive: () => undefined,
      readLost: () => 0,
      send: (at, frame) => {
        const message = decodeFrame(frame).layers[2];
        const isAdvertisement = message?.protocol === "icmpv6" && message.header.type === "router-advertisement";
        this.done.push(`router ${isAdvertisement ? message.header.routerLifetime : "?"} by ${at}`);
      },
      onReadable() {},
      pause() {},
      close: () => this.done.push(`close ${index}`),
    };
  }

  pass(tenant = "blue"): string[] {
    for (const each of this.answers) each.portsChanged(tenant);
    return this.done.splice(0);
  }
}

describe("what a node answers at ports", () => {
  it("hears at the ports of networks that want it, once", () => {
    const scene = new Scene();
    assert.deepEqual(scene.pass("other"), []);
    assert.deepEqual(scene.pass(), ["open 7", "router 1000 by 7"]);
    assert.deepEqual(scene.pass(), []);
    const without = new Scene();
    const { dhcp: _, ...declared } = without.declared;
    without.declared = declared;
    assert.deepEqual(without.pass(), []);
  });

  it("tells what has changed of network, settings and endpoint", () => {
    const scene = new Scene();
    scene.pass();
    scene.network.putLocal({ ...exampleEndpoint, gateways: [] });
    assert.deepEqual(scene.pass(), ["router 0 by 7"]);
  });

  it("hears at the ports for metadata as long as the network has it", () => {
    const scene = new Scene();
    scene.pass();
    const { dhcp, ...declared } = scene.declared;
    assert.ok(dhcp);
    scene.declared = { ...declared, dhcp: { ...dhcp, metadata: true } };
    assert.deepEqual(scene.pass(), ["router 1000 by 7", "open 7"]);
    assert.deepEqual(scene.pass(), []);
    scene.network.putLocal({ ...exampleEndpoint, gateways: [] });
    assert.deepEqual(scene.pass(), ["router 0 by 7"]);
    scene.declared = { ...declared, dhcp };
    assert.deepEqual(scene.pass(), ["router 0 by 7", "close 7"]);
  });

  it("hears at the ports for names as long as the network has them, whatever else it tells", () => {
    const scene = new Scene();
    const { dhcp: _, ...declared } = scene.declared;
    scene.declared = { ...declared, names: true };
    assert.deepEqual(scene.pass(), ["open 7"]);
    assert.deepEqual(scene.pass(), []);
    scene.declared = { ...declared, names: false };
    assert.deepEqual(scene.pass(), ["close 7"]);
  });

  it("goes with the port: a new one, one in another namespace, and none", () => {
    const scene = new Scene();
    scene.pass();
    scene.index = 8;
    assert.deepEqual(scene.pass(), ["close 7", "open 8", "router 1000 by 8"]);
    scene.inode = 2;
    assert.deepEqual(scene.pass(), ["close 8", "open 8", "router 1000 by 8"]);
    scene.index = undefined;
    assert.deepEqual(scene.pass(), ["close 8"]);
  });

  it("takes its leave where the network wants it no more, and not where the agent ends", () => {
    const scene = new Scene();
    scene.pass();
    const { dhcp, ...declared } = scene.declared;
    scene.declared = declared;
    assert.deepEqual(scene.pass(), ["router 0 by 7", "close 7"]);
    assert.ok(dhcp);
    scene.declared = { ...declared, dhcp };
    scene.pass();
    for (const each of scene.answers) each.close();
    assert.deepEqual(scene.done.splice(0), ["close 7"]);
    assert.deepEqual(scene.pass(), []);
  });

  it("tells what it cannot hear, and tries again", () => {
    const scene = new Scene();
    scene.failure = new Error("no socket");
    assert.deepEqual(scene.pass(), []);
    assert.deepEqual(
      scene.problems.list().map(({ object }) => object),
      [{ kind: "DHCP of endpoint", tenant: "blue", network: "blue-net", key: exampleEndpoint.id }],
    );
    scene.failure = undefined;
    scene.clock.advance(seconds(5));
    assert.deepEqual(scene.done.splice(0), ["open 7", "router 1000 by 7"]);
    assert.equal(scene.problems.size, 0);
  });

  it("tries again in its time, however often somebody else fails meanwhile", () => {
    const scene = new Scene();
    scene.failure = new Error("no socket");
    scene.pass();
    scene.clock.advance(seconds(4));
    scene.pass();
    scene.failure = undefined;
    scene.clock.advance(seconds(1));
    assert.deepEqual(scene.done.splice(0), ["open 7", "router 1000 by 7"]);
  });

  it("works nothing out where nothing has changed", () => {
    const scene = new Scene();
    const { subnets } = scene.declared;
    let looks = 0;
    Object.defineProperty(scene.declared, "subnets", {
      get() {
        looks++;
        return subnets;
      },
    });
    scene.pass();
    assert.ok(looks > 0);
    looks = 0;
    scene.pass();
    assert.equal(looks, 0);
  });

  it("forgets that of an endpoint that is gone", () => {
    const scene = new Scene();
    scene.failure = new Error("no socket");
    scene.pass();
    scene.network.removeLocal(exampleEndpoint.id);
    scene.pass();
    assert.equal(scene.problems.size, 0);
  });
});
