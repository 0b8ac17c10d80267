import { systemClock } from "../../src/base/clock.ts";
import { type Ipv4Address, type Ipv6Address, ip } from "../../src/base/ip.ts";
import { broadcastMac, mac } from "../../src/base/mac.ts";
import type { Dropped } from "../../src/dataplane/guard/rows.ts";
import {
  type DataplaneEvent,
  type DesiredNetwork,
  type NetworkSettings,
  NodeDataplane,
} from "../../src/dataplane/index.ts";
import { linuxKernel } from "../../src/dataplane/linux-kernel.ts";
import { deleteNamedNamespace } from "../../src/linux/index.ts";
import type { Vni } from "../../src/model/index.ts";
import type { Policy } from "../../src/model/policy/index.ts";
import { networkSettings, placeIn } from "../../src/testing/desired.ts";
import { type TestNamespace, testNamespace } from "../support/namespaces.ts";
import { RawInterface } from "../support/raw-frames.ts";
import { eventually, makeUnderlay, settled } from "../support/underlay.ts";
import { type Attack, bare, type Player } from "./attacks.ts";

const vni = 4242 as Vni;

function player(digit: number): Player {
  return {
    id: `0000000000a${digit}`,
    mac: mac(`02:aa:00:00:00:0${digit}`),
    ipv4: ip(`10.0.0.${digit}`) as Ipv4Address,
    ipv6: ip(`fd00::${digit}`) as Ipv6Address,
  };
}

/** The attacker, its neighbour on the same node, and one on another node. */
export const players = { attacker: player(1), near: player(2), far: player(3) } as const;
const nodeOf = { attacker: 1, near: 1, far: 2 } as const;
type Role = keyof typeof players;
const roles = Object.keys(players) as Role[];

/** What marks a frame, behind all that its headers count: one that came through is known, and which. */
const markLength = 12;

/** What came of an attack. */
export interface Outcome {
  readonly sent: number;
  /** Of them such as any victim got. */
  readonly delivered: number;
  /** What the guard counted of it. */
  readonly dropped: Dropped;
}

/** Two nodes with one network, in which one endpoint attacks the others with frames of its own making. */
export class Stage {
  readonly underlay = makeUnderlay(2);
  readonly events: DataplaneEvent[] = [];
  readonly #containers = new Map<Role, TestNamespace>();
  readonly #interfaces = new Map<Role, RawInterface>();
  readonly #instance: string;
  dataplanes: NodeDataplane[] = [];
  #marks = 0;

  private constructor(label: string) {
    this.#instance = `${label}${process.pid}n`;
  }

  static async make(label: string, changes: Partial<NetworkSettings>): Promise<Stage> {
    const stage = new Stage(label);
    for (const role of roles) stage.#containers.set(role, testNamespace(role));
    for (const node of [1, 2]) stage.dataplanes.push(await stage.startNode(node, changes));
    for (const role of roles)
      stage.#interfaces.set(role, await RawInterface.open(stage.container(role).namespace, "eth0"));
    return stage;
  }

  container(role: Role): TestNamespace {
    return this.#containers.get(role) as TestNamespace;
  }

  network(node: number): DesiredNetwork {
    return this.dataplanes[node - 1]?.networks.get("blue-net") as DesiredNetwork;
  }

  tenantName(node: number): string {
    return `${this.#instance}${node}-blue`;
  }

  /** `policies`: of the tenant. */
  async startNode(
    node: number,
    changes: Partial<NetworkSettings>,
    policies: readonly Policy[] = [],
  ): Promise<NodeDataplane> {
    const host = this.underlay.hosts[node - 1] as TestNamespace;
    const dataplane = new NodeDataplane({
      kernel: linuxKernel,
      instance: `${this.#instance}${node}`,
      underlay: host.kernel,
      clock: systemClock,
      report: (event) => this.events.push(event),
    });
    await dataplane.setUnderlay([ip(`10.99.0.${node}`)], undefined);
    const network = dataplane.putNetwork(networkSettings({ vni, localVtep: ip(`10.99.0.${node}`), ...changes }));
    for (const role of roles) {
      const { id, mac: address, ipv4, ipv6 } = players[role];
      if (nodeOf[role] === node)
        network.putLocal({
          id,
          mac: address,
          addresses: [
            { address: ipv4, prefixLength: 24 },
            { address: ipv6, prefixLength: 64 },
          ],
          place: placeIn(`/run/netns/${this.container(role).name}`),
        });
      else
        network.putRemote({
          id,
          mac: address,
          ips: [ipv4, ipv6],
          source: { name: "server", node: `n${nodeOf[role]}` },
          vtep: ip(`10.99.0.${nodeOf[role]}`),
        });
    }
    for (const policy of policies) dataplane.policies.put(policy);
    await dataplane.start();
    await settled(dataplane);
    return dataplane;
  }

  /** Sends the frames of an attack to the two victims in turn, and counts what becomes of them. */
  async play({ frame }: Pick<Attack, "frame">, count = 50): Promise<Outcome> {
    const before = this.dropped();
    const mark = ++this.#marks;
    const victims = [players.near, players.far] as const;
    this.#received(mark);
    const attacker = this.#interfaces.get("attacker") as RawInterface;
    for (let number = 0; number < count; number++)
      attacker.send(marked(frame(victims[number % 2] as Player), mark, number));
    const delivered = await this.#everythingOf(mark);
    const after = this.dropped();
    const reasons = Object.keys(after) as (keyof Dropped)[];
    const dropped = reasons.map((reason) => [reason, (after[reason] ?? 0) - (before[reason] ?? 0)] as const);
    return { sent: count, delivered, dropped: Object.fromEntries(dropped.filter(([, frames]) => frames > 0)) };
  }

  /** What nobody counts. */
  sendFrom(role: Role, frame: Uint8Array): void {
    this.#interfaces.get(role)?.send(frame);
  }

  /** What the attacker sends, to be counted by {@link delivered}. */
  send(frame: Uint8Array, mark: number, number: number): void {
    this.#interfaces.get("attacker")?.send(marked(frame, mark, number));
  }

  /** How many different frames with the mark have come to victims since this was asked last. */
  delivered(mark: number): number {
    return this.#received(mark).size;
  }

  /** What of the attacker's frames was dropped so far. */
  dropped(): Dropped {
    const { dataplane } = this.dataplanes[0]?.network("blue-net") ?? {};
    for (const port of dataplane?.ports.present ?? [])
      if (port.mac === players.attacker.mac) return dataplane?.guard.droppedOf(port.index) ?? {};
    return {};
  }

  async close(): Promise<void> {
    for (const each of this.#interfaces.values()) each.close();
    for (const dataplane of this.dataplanes) await dataplane.close();
    for (const node of [1, 2]) deleteNamedNamespace(this.tenantName(node));
    for (const container of this.#containers.values()) container[Symbol.dispose]();
    this.underlay[Symbol.dispose]();
  }

  /** What was sent before has arrived, or will not, when what is sent behind it has arrived everywhere. */
  async #everythingOf(mark: number): Promise<number> {
    const seen = new Set<number>();
    const end = ++this.#marks;
    const waiting = new Set<Role>(["near", "far"]);
    await eventually("the end of an attack arrives", () => {
      this.send(bare(broadcastMac, players.attacker.mac), end, 0);
      for (const role of ["near", "far"] as const)
        for (const [of, number] of this.#marksAt(role))
          if (of === mark) seen.add(number);
          else if (of === end) waiting.delete(role);
      return waiting.size === 0;
    });
    return seen.size;
  }

  #received(mark: number): Set<number> {
    const numbers = (["near", "far"] as const).flatMap((role) => this.#marksAt(role));
    return new Set(numbers.filter(([of]) => of === mark).map(([, number]) => number));
  }

  #marksAt(role: Role): (readonly [mark: number, number: number])[] {
    return (this.#interfaces.get(role)?.received() ?? []).flatMap((frame) => {
      const view = new DataView(frame.buffer, frame.byteOffset + frame.length - markLength, markLength);
      return view.getUint32(0) === magic ? [[view.getUint32(4), view.getUint32(8)] as const] : [];
    });
  }
}

const magic = 0x77656674;

function marked(frame: Uint8Array, mark: number, number: number): Uint8Array {
  const whole = new Uint8Array(Math.max(60, frame.length) + markLength);
  whole.set(frame);
  const view = new DataView(whole.buffer, whole.length - markLength);
  view.setUint32(0, magic);
  view.setUint32(4, mark);
  view.setUint32(8, number);
  return whole;
}
