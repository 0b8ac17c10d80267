/** Changes of a network's way, led by what nodes report; and what is known of who is behind. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { endpointId } from "../../test/support/server.ts";
import { networkState } from "../api/convert.ts";
import { ManualClock } from "../base/clock.ts";
import { type Duration, hours, milliseconds, seconds } from "../base/duration.ts";
import { ip } from "../base/ip.ts";
import { silentLogger } from "../base/logger.ts";
import { mac } from "../base/mac.ts";
import { unwrap } from "../base/result.ts";
import { parseNetworkDraft, parseNode } from "../model/schema.ts";
import { MemoryStore } from "../store/index.ts";
import { Administration } from "./administration.ts";
import { Changes } from "./changes.ts";
import { Ledger } from "./ledger.ts";
import { progressUntilInPlace } from "./progress.ts";
import { readinessToMessage } from "./readiness-service.ts";
import { records } from "./records.ts";
import type { NetworkEntry } from "./state.ts";
import { Told } from "./told.ts";

type Fields = Readonly<Record<string, unknown>>;

/** A ledger with its changes, without listeners; nodes and endpoints are put into the store directly. */
class Scene {
  readonly clock: ManualClock;
  readonly ledger: Ledger;
  /** What was logged. */
  readonly log: readonly string[];
  readonly #changes: Changes;
  readonly #administration: Administration;
  readonly #store: MemoryStore;

  private constructor(store: MemoryStore, clock: ManualClock, ledger: Ledger, log: readonly string[]) {
    this.#store = store;
    this.log = log;
    this.clock = clock;
    this.ledger = ledger;
    this.#changes = new Changes(ledger);
    // Neither endpoints nor nodes are deleted here.
    this.#administration = new Administration(ledger, undefined as never, undefined as never);
  }

  static async open(t: TestContext, store = new MemoryStore(), clock = new ManualClock()): Promise<Scene> {
    const log: string[] = [];
    const keep = (_fields: object, message: string): void => {
      log.push(message);
    };
    const logger = { ...silentLogger, info: keep, warn: keep, error: keep };
    const ledger = await Ledger.open({ store, clock, logger });
    const scene = new Scene(store, clock, ledger, log);
    t.after(() => scene.close());
    return scene;
  }

  /** The same store, as another process finds it after it was away for this long. */
  async restart(t: TestContext, away = seconds(0)): Promise<Scene> {
    await this.close();
    this.clock.advance(away);
    return Scene.open(t, this.#store, this.clock);
  }

  async close(): Promise<void> {
    this.#changes.close();
    await this.ledger.close();
  }

  /** Lets commits fail until `mend` is called. */
  breakStore(): { readonly attempts: () => number; readonly mend: () => void } {
    const store = this.#store;
    let attempts = 0;
    store.transact = () => {
      attempts++;
      return Promise.reject(new Error("disk full"));
    };
    return { attempts: () => attempts, mend: () => Reflect.deleteProperty(store, "transact") };
  }

  get entry(): NetworkEntry {
    const entry = this.ledger.state.networks.get("blue");
    assert.ok(entry !== undefined);
    return entry;
  }

  async set(fields: Fields = {}): Promise<number> {
    const network = unwrap(
      parseNetworkDraft({ name: "blue", tenant: "acme", vni: 100, subnets: ["10.0.0.0/16"], ...fields }),
    );
    const answer = await this.#administration.apply(
      [
        { kind: "tenant", value: { name: "acme", placement: "own" } },
        { kind: "network", value: network },
      ],
      false,
    );
    return answer.revision;
  }

  /** A node with one endpoint in the network, or one more. */
  async host(number: number, id = number): Promise<number> {
    const name = `h${number}`;
    const node = unwrap(
      parseNode({ name, vtepAddresses: { ipv4: `192.0.2.${number}` }, underlayMtu: 1500, generation: 1 }),
    );
    const endpoint = {
      id: endpointId(id),
      network: "blue",
      node: name,
      mac: mac(`02:00:00:00:00:${id.toString(16).padStart(2, "0")}`),
      ips: [ip(`10.0.0.${id}`)],
      attachment: "netns",
      sequence: 0,
    } as const;
    await this.ledger.submit({ conditions: [], operations: [records.node.put(node, name)] });
    const operations = [records.endpoint.put(endpoint, "blue", endpoint.id)];
    const result = await this.ledger.submit({ conditions: [], operations });
    assert.ok(result.committed);
    return result.revision;
  }

  /** A node that is there has another underlay MTU. */
  async carry(number: number, underlayMtu: number): Promise<void> {
    const name = `h${number}`;
    const node = this.ledger.state.nodes.get(name);
    assert.ok(node !== undefined);
    const operations = [records.node.put({ ...node.value, underlayMtu }, name)];
    await this.ledger.submit({ conditions: [], operations });
  }

  async leave(id: number): Promise<void> {
    await this.ledger.submit({ conditions: [], operations: [records.endpoint.remove("blue", endpointId(id))] });
  }

  /** Answers what ends the connection. */
  connect(number: number, reports = true): () => void {
    const name = `h${number}`;
    const watcher = this.ledger.fanout.open(
      { name, generation: 1 },
      { revision: 0n, networks: [], inParts: true },
      undefined,
    );
    this.ledger.readiness.connected(name, reports);
    return () => {
      this.ledger.fanout.close(watcher);
      this.ledger.readiness.disconnected(name);
    };
  }

  /** These nodes have all that they were told in place. */
  async report(...numbers: readonly number[]): Promise<void> {
    for (const number of numbers)
      this.ledger.readiness.report(`h${number}`, [
        { network: "blue", revision: this.ledger.state.revision, problem: "" },
      ]);
    await this.pass(milliseconds(20));
  }

  async pass(time: Duration): Promise<void> {
    this.clock.advance(time);
    // What a timer began is committed by a store that answers in later turns.
    for (let turn = 0; turn < 20; turn++) await new Promise<void>((resolve) => setImmediate(resolve));
  }

  get phase(): string {
    return this.entry.change?.phase ?? "none";
  }

  /** What `weft network show` has. */
  get shown(): ReturnType<typeof readinessToMessage> {
    return readinessToMessage(this.ledger, this.entry);
  }

  /** `h2: not connected`. */
  get behind(): string[] {
    const { behind } = this.ledger.readiness.progressOf(this.entry);
    return behind.map(({ node, reason }) => `${node}: ${reason}`);
  }
}

/** Two nodes with the network in place, about to change it. */
async function twoNodes(t: TestContext, fields: Fields = {}): Promise<Scene> {
  const scene = await Scene.open(t);
  await scene.set(fields);
  await scene.host(1);
  await scene.host(2);
  return scene;
}

async function nextOf(wait: ReturnType<typeof progressUntilInPlace>): Promise<unknown[]> {
  const { value } = await wait.next();
  return [value?.done, value?.inPlace, value?.nodes];
}

const geneve = { encapsulation: "geneve" };

test("each phase follows when all nodes have the one before in place", async (t) => {
  const scene = await twoNodes(t);
  scene.connect(1);
  scene.connect(2);
  await scene.report(1, 2);
  await scene.set(geneve);
  assert.equal(scene.phase, "receive");
  assert.equal(scene.entry.network.encapsulation, "geneve");
  assert.deepEqual(scene.entry.change?.previous, [{ encapsulation: "vxlan", port: 4789, crossSubnet: false }]);
  await scene.report(1);
  await scene.pass(seconds(20));
  assert.equal(scene.phase, "receive");
  assert.deepEqual(scene.behind, ["h2: has not reported it yet"]);
  await scene.report(2);
  assert.equal(scene.phase, "send");
  await scene.report(2);
  assert.equal(scene.phase, "send");
  await scene.report(1);
  assert.equal(scene.phase, "none");
  // That the old way has ended is told, too, and reported.
  assert.equal(scene.behind.length, 2);
  await scene.report(1, 2);
  assert.deepEqual(scene.behind, []);
});

test("a phase ends with its time, and who is left behind is named", async (t) => {
  const scene = await twoNodes(t, { changeTimeout: 40 });
  scene.connect(1);
  scene.connect(2);
  await scene.set({ ...geneve, changeTimeout: 40 });
  await scene.report(1);
  await scene.pass(seconds(39));
  assert.equal(scene.phase, "receive");
  await scene.pass(seconds(2));
  assert.equal(scene.phase, "send");
  assert.deepEqual(scene.entry.change?.leftBehind, ["h2"]);
  await scene.report(1);
  await scene.pass(seconds(41));
  assert.equal(scene.phase, "none");
});

test("whom the last phase leaves behind is named when the change has ended, until it has reported that", async (t) => {
  const before = await twoNodes(t);
  before.connect(1);
  before.connect(2);
  const { fanout } = before.ledger;
  const { notice } = fanout;
  const told: string[] = [];
  fanout.notice = (change) => {
    if (change.kind === "network") told.push(networkState.toMessage(change.entry).leftBehind.join());
    notice.call(fanout, change);
  };
  await before.report(1, 2);
  await before.set(geneve);
  await before.report(1, 2);
  assert.equal(before.phase, "send");
  await before.report(1);
  await before.pass(seconds(31));
  assert.equal(before.phase, "none");
  assert.deepEqual(before.shown.leftBehind, ["h2"]);
  // Agents are told of it with the end.
  assert.equal(told.at(-1), "h2");
  const scene = await before.restart(t, seconds(60));
  scene.connect(1);
  await scene.report(1);
  assert.deepEqual(scene.shown.leftBehind, ["h2"]);
  scene.connect(2);
  await scene.report(2);
  assert.deepEqual(scene.shown.leftBehind, []);
  assert.equal(scene.entry.leftBehindRevision, 0);
});

test("whom a change left behind is named until the next change, and goes with its node and its network", async (t) => {
  const scene = await twoNodes(t);
  scene.connect(1);
  await scene.pass(seconds(31));
  await scene.set(geneve);
  await scene.report(1);
  await scene.report(1);
  assert.deepEqual([scene.phase, scene.shown.leftBehind], ["none", ["h2"]]);
  await scene.set({ port: 8472 });
  assert.deepEqual([scene.shown.leftBehind, scene.entry.change?.leftBehind], [[], []]);
  await scene.report(1);
  await scene.report(1);
  assert.deepEqual([scene.phase, scene.shown.leftBehind], ["none", ["h2"]]);
  await scene.leave(2);
  await scene.pass(seconds(1));
  assert.deepEqual([scene.shown.leftBehind, scene.entry.leftBehindRevision], [[], 0]);
});

test("a problem of a node is told beside what it has in place", async (t) => {
  const scene = await twoNodes(t);
  scene.connect(1);
  scene.connect(2);
  await scene.report(1);
  const { readiness, state } = scene.ledger;
  readiness.report("h2", [{ network: "blue", revision: 0, problem: "network blue: no" }]);
  assert.deepEqual(scene.behind, ["h2: network blue: no"]);
  readiness.report("h2", [{ network: "blue", revision: state.revision, problem: "endpoint 1 of network blue: gone" }]);
  const { inPlace, behind, failing } = readiness.progressOf(scene.entry);
  assert.equal(inPlace, 2);
  assert.deepEqual(behind, []);
  assert.deepEqual(
    failing.map(({ node, reason }) => [node, reason]),
    [["h2", "endpoint 1 of network blue: gone"]],
  );
});

test("a node on which something fails that it had in place is behind from then on, until it is mended", async (t) => {
  const scene = await twoNodes(t);
  scene.connect(1);
  scene.connect(2);
  await scene.report(1, 2);
  await scene.pass(hours(5));
  const { readiness, state, clock } = scene.ledger;
  const failedAt = clock.now();
  const problem = "tunnel vx100 of network blue: EBUSY";
  readiness.report("h2", [{ network: "blue", revision: 0, problem }]);
  await scene.pass(hours(1));
  assert.deepEqual(scene.behind, [`h2: ${problem}`]);
  const { inPlace, behind, failing } = readiness.progressOf(scene.entry);
  assert.deepEqual([inPlace, behind[0]?.since, failing], [1, failedAt, []]);
  // Nor is it taken to be through with a phase.
  await scene.set(geneve);
  await scene.report(1);
  assert.equal(scene.phase, "receive");
  readiness.report("h2", [{ network: "blue", revision: state.revision, problem: "" }]);
  await scene.pass(seconds(1));
  assert.equal(scene.phase, "send");
});

test("what a node said before it connected anew does not count", async (t) => {
  const scene = await twoNodes(t);
  scene.connect(1);
  const end = scene.connect(2);
  await scene.report(1, 2);
  end();
  await scene.pass(seconds(120));
  scene.connect(2);
  assert.deepEqual(scene.behind, ["h2: has not reported it yet"]);
  const wait = progressUntilInPlace(scene.ledger, ["blue"], scene.ledger.state.revision, new AbortController().signal);
  assert.deepEqual(await nextOf(wait), [false, 1, 2]);
  // A connection that takes the place of one that nobody heard end is a new one, too.
  await scene.report(2);
  scene.connect(2);
  assert.deepEqual(scene.behind, ["h2: has not reported it yet"]);
  await scene.report(2);
  assert.deepEqual(scene.behind, []);
});

test("a node that is not connected is not waited for, unless it went a moment ago", async (t) => {
  const patient = { changeTimeout: 300 };
  const scene = await twoNodes(t, patient);
  scene.connect(1);
  const end = scene.connect(2);
  await scene.report(1, 2);
  end();
  await scene.set({ ...geneve, ...patient });
  await scene.report(1);
  await scene.pass(seconds(29));
  assert.equal(scene.phase, "receive");
  // Its agent has started again: it takes what it needs.
  const endAgain = scene.connect(2);
  await scene.pass(seconds(60));
  assert.equal(scene.phase, "receive");
  assert.deepEqual(scene.behind, ["h2: has not reported it yet"]);
  endAgain();
  await scene.pass(seconds(29));
  assert.deepEqual(scene.behind, ["h2: not connected"]);
  assert.equal(scene.phase, "receive");
  await scene.pass(seconds(2));
  assert.equal(scene.phase, "send");
  await scene.report(1);
  assert.equal(scene.phase, "none");
});

test("a node whose agent does not report changes by its own clock, and is given the time for it", async (t) => {
  const scene = await twoNodes(t);
  scene.connect(1);
  scene.connect(2, false);
  await scene.report(1);
  await scene.set(geneve);
  await scene.report(1);
  await scene.pass(seconds(4));
  assert.equal(scene.phase, "receive");
  await scene.pass(seconds(2));
  assert.equal(scene.phase, "send");
  await scene.report(1);
  await scene.pass(seconds(6));
  assert.equal(scene.phase, "none");
  assert.deepEqual(scene.behind, ["h1: has not reported it yet", "h2: its agent is of a version that does not report"]);
  // It has had the time that it takes, and will never say that it is done.
  assert.deepEqual(scene.shown.leftBehind, []);
});

test("without hosts there is no phase, and one host is soon through", async (t) => {
  const scene = await Scene.open(t);
  await scene.set();
  await scene.set({ port: 8472 });
  assert.equal(scene.phase, "none");
  await scene.host(1);
  scene.connect(1);
  await scene.set({ port: 4789 });
  assert.equal(scene.phase, "receive");
  await scene.report(1);
  await scene.report(1);
  assert.equal(scene.phase, "none");
});

test("a node that comes during a change is waited for; one that leaves is not", async (t) => {
  const scene = await twoNodes(t);
  scene.connect(1);
  scene.connect(2);
  await scene.set(geneve);
  await scene.report(1);
  await scene.host(3);
  scene.connect(3);
  await scene.report(2);
  assert.equal(scene.phase, "receive");
  await scene.report(3);
  assert.equal(scene.phase, "send");
  await scene.report(1, 2);
  await scene.leave(3);
  await scene.pass(seconds(1));
  assert.equal(scene.phase, "none");
});

test("a server that starts again goes on in the phase, with the time that is left", async (t) => {
  const patient = { changeTimeout: 60 };
  const before = await twoNodes(t, patient);
  before.connect(1);
  before.connect(2);
  await before.report(1, 2);
  await before.set({ ...geneve, ...patient });
  await before.report(1);
  await before.pass(seconds(10));
  const scene = await before.restart(t);
  assert.equal(scene.phase, "receive");
  // Nobody is connected yet: nodes are given time to come back.
  await scene.pass(seconds(5));
  assert.equal(scene.phase, "receive");
  scene.connect(1);
  scene.connect(2);
  await scene.report(1);
  await scene.pass(seconds(44));
  assert.equal(scene.phase, "receive");
  await scene.pass(seconds(2));
  assert.equal(scene.phase, "send");
  assert.deepEqual(scene.entry.change?.leftBehind, ["h2"]);
  const later = await scene.restart(t);
  later.clock.jump(seconds(-3_600));
  later.connect(1);
  later.connect(2);
  await later.report(1, 2);
  assert.equal(later.phase, "none");
});

test("a server that was away for longer than a phase's limit gives nodes the time to come back", async (t) => {
  const before = await twoNodes(t);
  before.connect(1);
  before.connect(2);
  await before.report(1, 2);
  await before.set(geneve);
  const scene = await before.restart(t, seconds(31));
  await scene.pass(seconds(5));
  assert.equal(scene.phase, "receive");
  scene.connect(1);
  scene.connect(2);
  await scene.report(1, 2);
  assert.equal(scene.phase, "send");
  assert.deepEqual(scene.entry.change?.leftBehind, []);
  // Who does not come back keeps up nobody for longer.
  const later = await scene.restart(t, seconds(3_600));
  later.connect(1);
  await later.report(1);
  await later.pass(seconds(29));
  assert.equal(later.phase, "send");
  await later.pass(seconds(2));
  assert.equal(later.phase, "none");
});

test("a phase whose limit is shorter than that has its limit after the server was away", async (t) => {
  const hasty = { changeTimeout: 5 };
  const before = await twoNodes(t, hasty);
  await before.set({ ...geneve, ...hasty });
  const scene = await before.restart(t, seconds(60));
  scene.connect(1);
  scene.connect(2);
  await scene.pass(seconds(4));
  assert.equal(scene.phase, "receive");
  await scene.pass(seconds(2));
  assert.equal(scene.phase, "send");
});

test("what cannot be committed is tried again each second, whoever reports meanwhile", async (t) => {
  const scene = await twoNodes(t);
  scene.connect(1);
  scene.connect(2);
  await scene.set(geneve);
  const { attempts, mend } = scene.breakStore();
  for (let passed = 0; passed < 100; passed++) await scene.report(1, 2);
  assert.deepEqual([attempts(), scene.phase], [2, "receive"]);
  assert.deepEqual(new Set(scene.log), new Set(["could not lead the network's change on"]));
  mend();
  await scene.pass(seconds(1));
  assert.equal(scene.phase, "send");
});

test("only who has led a change on says so", async (t) => {
  const scene = await twoNodes(t);
  scene.connect(1);
  scene.connect(2);
  await scene.set(geneve);
  const { commit } = scene.ledger;
  // Somebody else is faster.
  scene.ledger.commit = (attempted, plan) => {
    scene.entry.changeRevision++;
    return commit.call(scene.ledger, attempted, plan);
  };
  await scene.report(1, 2);
  assert.deepEqual([scene.log, scene.phase], [[], "receive"]);
});

test("another change during a change begins anew, and every way stays open", async (t) => {
  const scene = await twoNodes(t);
  scene.connect(1);
  scene.connect(2);
  await scene.set(geneve);
  await scene.report(1, 2);
  assert.equal(scene.phase, "send");
  await scene.set({ port: 8472 });
  assert.equal(scene.phase, "receive");
  assert.deepEqual(
    scene.entry.change?.previous.map(({ encapsulation, port }) => `${encapsulation}:${port}`),
    ["geneve:6081", "vxlan:4789"],
  );
  await scene.report(1, 2);
  await scene.report(1, 2);
  assert.equal(scene.phase, "none");
  assert.equal(scene.entry.network.port, 8472);
});

test("until the old way has ended, the MTU is what fits both", async (t) => {
  const scene = await twoNodes(t, { mode: "l3", encapsulation: "vxlan" });
  scene.connect(1);
  scene.connect(2);
  assert.equal(scene.entry.effectiveMtu, 1450);
  await scene.set({ mode: "l3", encapsulation: "gre" });
  assert.equal(scene.entry.effectiveMtu, 1450);
  await scene.set({ mode: "l3", encapsulation: "gre", mtu: 1300 });
  assert.equal(scene.entry.effectiveMtu, 1300);
  await scene.set({ mode: "l3", encapsulation: "gre" });
  await scene.report(1, 2);
  assert.equal(scene.entry.effectiveMtu, 1450);
  await scene.report(1, 2);
  assert.equal(scene.phase, "none");
  assert.equal(scene.entry.effectiveMtu, 1472);
});

/** `receive: 1300 of 1400`: endpoints send 1300, devices let 1400 pass. */
function sizes({ phase, entry }: Scene): string {
  return `${phase}: ${entry.effectiveMtu} of ${entry.deviceMtu}`;
}

test("an MTU that grows or shrinks goes by phases: devices let pass what anybody may send", async (t) => {
  const scene = await twoNodes(t, { mtu: 1300 });
  scene.connect(1);
  scene.connect(2);
  await scene.report(1, 2);
  for (const [mtu, expected] of [
    [1400, ["receive: 1300 of 1400", "send: 1400 of 1400", "none: 1400 of 1400"]],
    [1350, ["receive: 1350 of 1400", "send: 1350 of 1400", "none: 1350 of 1350"]],
    [undefined, ["receive: 1350 of 1450", "send: 1450 of 1450", "none: 1450 of 1450"]],
  ] as const) {
    await scene.set({ mtu });
    const seen = [sizes(scene)];
    await scene.report(1);
    await scene.pass(seconds(20));
    assert.equal(sizes(scene), seen[0], "the second node is waited for");
    await scene.report(2);
    seen.push(sizes(scene));
    await scene.report(1, 2);
    seen.push(sizes(scene));
    assert.deepEqual(seen, expected);
  }
});

test("an MTU that comes to the same, and one of a network without hosts, begin no change", async (t) => {
  const scene = await Scene.open(t);
  await scene.set({ mtu: 1300 });
  await scene.set({ mtu: 1400 });
  assert.equal(sizes(scene), "none: 1400 of 1400");
  await scene.host(1);
  await scene.set();
  assert.equal(sizes(scene), "receive: 1400 of 1450");
  scene.connect(1);
  await scene.report(1);
  await scene.report(1);
  await scene.set({ mtu: 1450 });
  assert.equal(sizes(scene), "none: 1450 of 1450");
});

test("a node that carries less shrinks the MTU at once, also in a phase, and devices keep what others may send", async (t) => {
  const scene = await twoNodes(t, { mtu: 1300 });
  scene.connect(1);
  scene.connect(2);
  await scene.set({ mtu: 1400 });
  await scene.report(1, 2);
  assert.equal(sizes(scene), "send: 1400 of 1400");
  await scene.carry(1, 1400);
  assert.equal(sizes(scene), "send: 1350 of 1400");
  await scene.carry(1, 1300);
  assert.equal(sizes(scene), "send: 1250 of 1400");
});

test("what nodes carry by now goes by phases: where the smallest one carries more, or leaves", async (t) => {
  const scene = await twoNodes(t);
  scene.connect(1);
  scene.connect(2);
  await scene.carry(2, 1400);
  assert.equal(sizes(scene), "none: 1350 of 1350");
  await scene.report(1, 2);
  await scene.carry(2, 1450);
  assert.equal(sizes(scene), "none: 1350 of 1350", "nobody has been told to let more pass");
  await scene.pass(milliseconds(20));
  assert.equal(sizes(scene), "receive: 1350 of 1400");
  await scene.report(1, 2);
  assert.equal(sizes(scene), "send: 1400 of 1400");
  await scene.carry(2, 1500);
  assert.equal(sizes(scene), "send: 1400 of 1400", "in a change what grows waits for the next");
  await scene.report(1, 2);
  await scene.pass(milliseconds(20));
  assert.equal(sizes(scene), "receive: 1400 of 1450");
  await scene.carry(2, 1600);
  await scene.carry(1, 1600);
  await scene.report(1, 2);
  assert.equal(sizes(scene), "send: 1450 of 1450");
  await scene.report(1, 2);
  await scene.pass(milliseconds(20));
  assert.equal(sizes(scene), "receive: 1450 of 1550");
  await scene.carry(1, 1300);
  assert.equal(sizes(scene), "receive: 1250 of 1550", "what shrinks does not wait");
});

test("what nodes carry more during a change waits for the next, also when the server starts again", async (t) => {
  const before = await twoNodes(t);
  before.connect(1);
  await before.carry(2, 1400);
  await before.carry(2, 1450);
  await before.pass(milliseconds(20));
  await before.carry(2, 1500);
  const scene = await before.restart(t);
  assert.equal(sizes(scene), "receive: 1350 of 1400");
  scene.connect(1);
  scene.connect(2);
  const seen = [];
  for (let step = 0; step < 5; step++) {
    await scene.report(1, 2);
    seen.push(sizes(scene));
    await scene.pass(milliseconds(20));
  }
  assert.deepEqual(seen, [
    "send: 1400 of 1400",
    "none: 1400 of 1400",
    "send: 1450 of 1450",
    "none: 1450 of 1450",
    "none: 1450 of 1450",
  ]);
});

test("a server that starts again in a change of MTU goes on with it", async (t) => {
  const before = await twoNodes(t, { mtu: 1300 });
  before.connect(1);
  await before.set({ mtu: 1400 });
  const scene = await before.restart(t);
  assert.equal(sizes(scene), "receive: 1300 of 1400");
  scene.connect(1);
  scene.connect(2);
  await scene.report(1, 2);
  assert.equal(sizes(scene), "send: 1400 of 1400");
  const later = await scene.restart(t);
  assert.equal(sizes(later), "send: 1400 of 1400");
});

test("waiting ends when a change, with all its phases, is in place on all connected nodes", async (t) => {
  const scene = await twoNodes(t);
  scene.connect(1);
  const end = scene.connect(2);
  await scene.report(1, 2);
  const revision = await scene.set(geneve);
  const told: string[] = [];
  const waiting = (async () => {
    for await (const { done, inPlace, nodes, behind, changing } of progressUntilInPlace(
      scene.ledger,
      ["blue"],
      revision,
      new AbortController().signal,
    ))
      told.push(`${done} ${inPlace}/${nodes} ${behind.map(({ node }) => node).join(" ")} ${changing.join(" ")}`);
  })();
  await scene.pass(seconds(1));
  assert.equal(told.at(-1), "false 0/2 h1 h2 blue: receive");
  await scene.report(1);
  await scene.pass(seconds(1));
  assert.equal(told.at(-1), "false 1/2 h2 blue: receive");
  await scene.report(2);
  await scene.report(1, 2);
  await scene.pass(seconds(1));
  assert.equal(told.at(-1), "false 0/2 h1 h2 ");
  end();
  await scene.report(1);
  await scene.pass(seconds(1));
  assert.equal(told.at(-1), "false 1/2 h2 ");
  for (let passed = 0; passed < 32; passed++) await scene.pass(seconds(1));
  assert.equal(told.at(-1), "true 1/1 h2 ");
  await waiting;
});

test("who waits ends the pauses of the nodes that are behind", async (t) => {
  const scene = await twoNodes(t);
  const { fanout, readiness } = scene.ledger;
  // As if there were 5,000 nodes, whose reports have come one upon the other.
  Object.defineProperty(fanout, "connected", { value: 5_000 });
  const told: string[] = [];
  fanout.tell = (node, { change }) => {
    told.push(`${node} ${change?.case}`);
  };
  scene.connect(1);
  scene.connect(2);
  for (let node = 3; node <= 5_000; node++) readiness.report(`h${node}`, []);
  await scene.report(1, 2);
  assert.deepEqual(told, []);
  const revision = await scene.host(1, 11);
  await scene.report(1);
  const stop = new AbortController();
  t.after(() => stop.abort());
  const wait = progressUntilInPlace(scene.ledger, ["blue"], revision, stop.signal);
  assert.deepEqual(await nextOf(wait), [false, 1, 2]);
  assert.deepEqual(told, ["h2 reportNow"]);
});

test("what came later is not waited for", async (t) => {
  const scene = await twoNodes(t);
  scene.connect(1);
  scene.connect(2);
  const revision = await scene.host(1, 11);
  await scene.report(1, 2);
  await scene.host(1, 12);
  assert.equal(scene.behind.length, 2);
  const { value } = await progressUntilInPlace(scene.ledger, ["blue"], revision, new AbortController().signal).next();
  assert.equal(value?.done, true);
});

test("an endpoint of an l3 network is told to its node alone, and only that is behind", async (t) => {
  const scene = await twoNodes(t, { mode: "l3" });
  scene.connect(1);
  scene.connect(2);
  await scene.report(1, 2);
  await scene.host(2, 12);
  // The nodes' own records were written anew with it, which concerns both; then nothing but the endpoint.
  await scene.report(1, 2);
  await scene.leave(12);
  assert.deepEqual(scene.behind, ["h2: has not reported it yet"]);
  assert.deepEqual(scene.ledger.readiness.countsOf("h2"), { networks: 1, behind: 1 });
  assert.deepEqual(scene.ledger.readiness.countsOf("h1"), { networks: 1, behind: 0 });
  assert.deepEqual(scene.ledger.readiness.totals(), { networks: 1, nodes: 1, changing: 0 });
});

test("since when a node is behind is known, about, in bounded memory", () => {
  const told = new Told();
  for (let revision = 1; revision <= 100_000; revision++) told.add(revision, revision * 1_000);
  assert.equal(told.revision, 100_000);
  assert.equal(told.since(100_000), undefined);
  assert.equal(told.since(99_999), 100_000_000);
  const since = told.since(50_000) ?? 0;
  assert.ok(since > 40_000_000 && since <= 50_001_000, String(since));
  assert.ok((told.since(0) ?? Number.NaN) <= 1_000);
});
