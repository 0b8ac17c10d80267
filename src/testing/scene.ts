import { cidr } from "../base/cidr.ts";
import { ManualClock } from "../base/clock.ts";
import { type Duration, milliseconds } from "../base/duration.ts";
import { ip } from "../base/ip.ts";
import { NodeDataplane } from "../dataplane/index.ts";
import type { DataplaneEvent } from "../dataplane/report.ts";
import { FakeMachine } from "./kernel/machine.ts";

/** Addresses of the host of a {@link Scene}. */
export const sceneVteps = { 4: ip("192.0.2.1"), 6: ip("2001:db8::1") } as const;

/** An interface of the host that nobody uses. */
export const sceneDevice = "vnet7";

/** Turns in which all that is asked of the kernel without time passing is done; some thirty times what any scenario takes. */
const mostTurns = 1_000;

/** A machine with an underlay interface and two containers, and the dataplane on it, by a clock that the test moves. */
export class Scene {
  readonly machine: FakeMachine;
  readonly clock = new ManualClock();
  readonly events: DataplaneEvent[] = [];
  dataplane: NodeDataplane;

  private constructor(machine: FakeMachine) {
    this.machine = machine;
    this.bringContainers();
    this.dataplane = this.#make();
  }

  /** A scene whose dataplane knows the underlay; on a machine of its own, or on that of another scene. */
  static async make(machine: FakeMachine = machineWithUnderlay()): Promise<Scene> {
    const scene = new Scene(machine);
    await scene.#setUnderlay();
    return scene;
  }

  /** A scene whose dataplane has done what is desired. */
  static async settled(desire: (dataplane: NodeDataplane) => void, machine?: FakeMachine): Promise<Scene> {
    const scene = await Scene.make(machine);
    try {
      await scene.start(desire);
      await scene.settle();
    } catch (error) {
      await scene.dataplane.close();
      throw error;
    }
    return scene;
  }

  /** The namespaces of containers that are not there. */
  bringContainers(): void {
    for (const name of ["c1", "c2"]) if (!this.machine.namedExists(name)) this.machine.createNamed(name);
  }

  /** Lets the dataplane take up the kernel as it is; `desire` says what it shall be. */
  async start(desire: (dataplane: NodeDataplane) => void): Promise<void> {
    desire(this.dataplane);
    await this.dataplane.start();
  }

  /** The agent goes, and another comes. */
  async restart(desire: (dataplane: NodeDataplane) => void): Promise<void> {
    await this.dataplane.close();
    this.dataplane = this.#make();
    await this.#setUnderlay();
    await this.start(desire);
  }

  /** Lets events arrive, and whatever they ask for be done that needs no time. */
  async turns(): Promise<void> {
    let { calls } = this.machine;
    let turns = 0;
    // What has been asked of the kernel takes as many turns as it likes: on a busy machine, more of them.
    for (let quiet = 0; quiet < 8; quiet = calls === this.machine.calls ? quiet + 1 : 0) {
      if (++turns > mostTurns)
        throw new Error(`the kernel is called in ${mostTurns} turns one after the other: one undoes what another does`);
      calls = this.machine.calls;
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** Lets time pass until nothing is left to do. Throws if something is after `patience`. */
  async settle(patience: Duration = milliseconds(60_000)): Promise<void> {
    const step = milliseconds(100);
    for (let passed = 0; passed <= patience; passed += step) {
      await this.turns();
      this.bringContainers();
      if (this.dataplane.inSync) return;
      this.clock.advance(step);
    }
    const problems = this.dataplane.problems
      .list()
      .map(({ object, error }) => `${JSON.stringify(object)}: ${error.message}`);
    throw new Error(`the dataplane does not come to rest: ${problems.join("; ") || "it says that nothing failed"}`);
  }

  async #setUnderlay(): Promise<void> {
    await this.dataplane.setUnderlay(Object.values(sceneVteps), this.machine.host.links.find("eth0")?.index);
  }

  #make(): NodeDataplane {
    return new NodeDataplane({
      kernel: this.machine,
      instance: "weft",
      underlay: this.machine.current(),
      clock: this.clock,
      report: (event) => this.events.push(event),
    });
  }
}

function machineWithUnderlay(): FakeMachine {
  const machine = new FakeMachine();
  const { links, addresses, routes } = machine.host;
  const underlay = links.add({ name: "eth0" });
  const { index } = underlay;
  addresses.add(underlay, sceneVteps[4], 24);
  addresses.add(underlay, sceneVteps[6], 64);
  links.setUp(underlay, true);
  links.setUp(links.add({ name: sceneDevice, kind: "tun" }), true);
  for (const [destination, gateway] of [
    ["0.0.0.0/0", "192.0.2.254"],
    ["::/0", "2001:db8::ff"],
  ] as const)
    routes.set({ destination: cidr(destination), protocol: 3, nexthops: [{ index, gateway: ip(gateway) }] });
  return machine;
}

/** The lines in which two texts of a machine differ: `-` is missing, `+` is too much. */
export function difference(actual: string, expected: string): string[] {
  if (actual === expected) return [];
  const [present, wanted] = [linesOf(actual), linesOf(expected)];
  return [
    ...wanted.filter((line) => !present.includes(line)).map((line) => `- ${line}`),
    ...present.filter((line) => !wanted.includes(line)).map((line) => `+ ${line}`),
    ...(present.length > wanted.length ? [`+ ${present.length - wanted.length} more`] : []),
  ];
}

/** Each with the namespace that it is in. */
function linesOf(text: string): string[] {
  let namespace = "";
  return text.split("\n").map((line) => {
    if (line.startsWith("[")) namespace = line;
    return `${namespace} ${line}`;
  });
}
