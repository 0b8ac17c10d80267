import assert from "node:assert/strict";
import { beforeEach, describe, it } from "node:test";
import { ManualClock } from "../../base/clock.ts";
import { milliseconds, seconds } from "../../base/duration.ts";
import { type IpAddress, ip } from "../../base/ip.ts";
import { type MacAddress, mac } from "../../base/mac.ts";
import {
  deleteNeighbour,
  getNeighbour,
  listNeighbours,
  type Neighbour,
  NetlinkSocket,
  neighbourFlag,
  neighbourState,
  RTM_NEWNEIGH,
  readNeighbour,
  replaceNeighbour,
} from "../../netlink/index.ts";
import { NLM_F_DUMP } from "../../netlink/message.ts";
import { FakeKernel, FakeTable } from "../../testing/fake-kernel.ts";
import type { ReconciledTable } from "./reconciled-table.ts";
import { Reconciler } from "./reconciler.ts";
import { notYet, type Table } from "./table.ts";

const [a, b, c] = [ip("10.0.0.1"), ip("10.0.0.2"), ip("10.0.0.3")];
const macs = [mac("02:00:00:00:00:01"), mac("02:00:00:00:00:02"), mac("02:00:00:00:00:03")] as const;
const [ENOENT, EBUSY, EEXIST, ENOBUFS] = [2, 16, 17, 105];

/** Neighbours of one device: the simplest table there is. */
class Neighbours implements Table<IpAddress, Neighbour> {
  outlivesDevices = true;
  readonly kind: string = "neighbour";
  readonly index: number;
  readonly rows = new Map<IpAddress, MacAddress | typeof notYet>();

  constructor(index: number) {
    this.index = index;
  }

  keys(): Iterable<IpAddress> {
    return this.rows.keys();
  }

  wanted(key: IpAddress): Neighbour | typeof notYet | undefined {
    const value = this.rows.get(key);
    return value === undefined || value === notYet ? value : neighbour(this.index, key, value);
  }

  keyOf = (row: Neighbour): IpAddress => row.ip;
  list = () => [listNeighbours({ index: this.index })];
  get = (row: Neighbour) => [getNeighbour(row.index, row.ip)];
  isOwn = (row: Neighbour): boolean => row.index === this.index && (row.flags & neighbourFlag.externallyLearned) !== 0;
  same = (wanted: Neighbour, actual: Neighbour): boolean => actual.index === wanted.index && actual.mac === wanted.mac;
  put = replaceNeighbour;
  remove = (row: Neighbour) => deleteNeighbour(row.index, row.ip);
  left = (key: IpAddress): readonly Neighbour[] => [neighbour(this.index, key, macs[0])];
  nameOf = (key: IpAddress): string => key;
  text = (row: Neighbour): string => `${row.ip} lladdr ${row.mac}`;
}

function neighbour(index: number, address: IpAddress, hardware: MacAddress): Neighbour {
  const { permanent } = neighbourState;
  return { index, ip: address, mac: hardware, state: permanent, flags: neighbourFlag.externallyLearned };
}

let kernel: FakeKernel;
let held: FakeTable<Neighbour>;
let clock: ManualClock;
let socket: NetlinkSocket;
let reconciler: Reconciler;
let table: Neighbours;
let state: ReconciledTable<IpAddress, Neighbour>;
let repaired: string[];

beforeEach(() => {
  held = new FakeTable({
    newType: RTM_NEWNEIGH,
    read: readNeighbour,
    key: ({ index, ip: address }) => `${index} ${address}`,
  });
  kernel = new FakeKernel({ handlers: [held.handler] });
  clock = new ManualClock();
  socket = new NetlinkSocket({ channel: kernel });
  repaired = [];
  table = new Neighbours(5);
  reconciler = new Reconciler({ socket, clock, onRepaired: (kind, name) => repaired.push(`${kind} ${name}`) });
  state = reconciler.add(table);
});

/** What the kernel has, as text. */
const rows = (): string[] =>
  held.values.map(({ index, ip: address, mac: hardware }) => `${index} ${address} ${hardware}`);

async function write(row: Neighbour): Promise<void> {
  await new NetlinkSocket({ channel: kernel }).execute(replaceNeighbour(row));
}

async function settled(...wanted: (readonly [IpAddress, MacAddress])[]): Promise<void> {
  for (const [key, value] of wanted) table.rows.set(key, value);
  assert.equal(await reconciler.pass(), undefined);
  assert.equal(reconciler.hasWork, false);
}

describe("what is wanted", () => {
  it("is made, and a second pass writes nothing", async () => {
    await settled([a, macs[0]], [b, macs[1]]);
    assert.deepEqual(rows(), [`5 ${a} ${macs[0]}`, `5 ${b} ${macs[1]}`]);
    const { writes } = socket;
    reconciler.distrust();
    await reconciler.pass();
    assert.equal(socket.writes, writes);
  });

  it("is taken up from an earlier run, with the rest of that run taken away and others' rows left", async () => {
    await write(neighbour(5, a, macs[0]));
    await write(neighbour(5, b, macs[1]));
    await write({ ...neighbour(5, c, macs[2]), flags: 0 });
    await write(neighbour(6, b, macs[1]));
    await settled([a, macs[0]]);
    assert.deepEqual(rows(), [`5 ${a} ${macs[0]}`, `5 ${c} ${macs[2]}`, `6 ${b} ${macs[1]}`]);
    assert.deepEqual(repaired, []);
  });

  it("follows marks, and only these", async () => {
    await settled([a, macs[0]], [b, macs[1]]);
    table.rows.delete(a);
    table.rows.set(b, macs[2]);
    state.mark(a);
    await reconciler.pass();
    assert.deepEqual(rows(), [`5 ${b} ${macs[1]}`]);
    state.mark(b);
    await reconciler.pass();
    assert.deepEqual(rows(), [`5 ${b} ${macs[2]}`]);
  });

  it("waits for what it leads through", async () => {
    table.rows.set(a, notYet);
    assert.equal(await reconciler.pass(), undefined);
    assert.equal(reconciler.hasWork, false);
    assert.equal(state.isPending(a), true);
    table.rows.set(a, macs[0]);
    assert.equal(reconciler.hasWork, true);
    await reconciler.pass();
    assert.deepEqual(rows(), [`5 ${a} ${macs[0]}`]);
    assert.equal(state.isPending(a), false);
  });
});

describe("damage", () => {
  it("is repaired after the event, and told", async () => {
    await settled([a, macs[0]], [b, macs[1]]);
    await write(neighbour(5, a, macs[2]));
    assert.equal(state.observe(neighbour(5, a, macs[2]), false), true);
    await reconciler.pass();
    assert.deepEqual(rows(), [`5 ${a} ${macs[0]}`, `5 ${b} ${macs[1]}`]);
    assert.deepEqual(repaired, [`neighbour ${a}`]);
  });

  it("is repaired without an event at the next comparison, and told", async () => {
    await settled([a, macs[0]], [b, macs[1]]);
    await socket.execute(deleteNeighbour(5, b));
    reconciler.distrust();
    await reconciler.pass();
    assert.deepEqual(rows(), [`5 ${a} ${macs[0]}`, `5 ${b} ${macs[1]}`]);
    assert.deepEqual(repaired, [`neighbour ${b}`]);
  });

  it("is not what is written here, nor what others have elsewhere", async () => {
    await settled([a, macs[0]]);
    assert.equal(state.observe(neighbour(5, a, macs[0]), false), false);
    assert.equal(state.observe(neighbour(5, b, macs[1]), true), false);
    assert.equal(state.observe({ ...neighbour(5, b, macs[1]), flags: 0 }, false), false);
    assert.equal(reconciler.hasWork, false);
  });

  it("by a row that looks like weft's and is wanted by nobody is taken away", async () => {
    await settled([a, macs[0]]);
    await write(neighbour(5, b, macs[1]));
    assert.equal(state.observe(neighbour(5, b, macs[1]), false), true);
    await reconciler.pass();
    assert.deepEqual(rows(), [`5 ${a} ${macs[0]}`]);
  });
});

describe("a refusal", () => {
  it("of a row leaves the others alone, is told, and is tried again ever later until it is done", async () => {
    await settled();
    table.rows.set(a, macs[0]).set(b, macs[1]);
    state.markAll();
    kernel.inject({ kind: "error", errno: EBUSY });
    assert.match((await reconciler.pass())?.error.message ?? "", /10\.0\.0\.1.*EBUSY/);
    assert.deepEqual(rows(), [`5 ${b} ${macs[1]}`]);
    const [failure] = [...state.failures];
    assert.equal(failure?.key, a);
    assert.equal(failure?.attempts, 1);
    assert.equal(reconciler.hasWork, false);
    assert.equal(failure?.due, clock.monotonic() + 100);
    clock.advance(milliseconds(100));
    assert.equal(reconciler.hasWork, true);
    kernel.inject({ kind: "error", errno: EBUSY });
    await reconciler.pass();
    assert.equal([...state.failures][0]?.attempts, 2);
    assert.equal([...state.failures][0]?.since, failure?.since);
    clock.advance(milliseconds(100));
    assert.equal(reconciler.hasWork, false);
    clock.advance(milliseconds(100));
    assert.equal(await reconciler.pass(), undefined);
    assert.deepEqual(rows(), [`5 ${b} ${macs[1]}`, `5 ${a} ${macs[0]}`]);
    assert.deepEqual([...state.failures], []);
  });

  it("does not hold up what is wanted instead", async () => {
    await settled();
    table.rows.set(a, macs[0]);
    state.mark(a);
    kernel.inject({ kind: "error", errno: EBUSY });
    await reconciler.pass();
    table.rows.set(a, macs[1]);
    state.mark(a);
    assert.equal(await reconciler.pass(), undefined);
    assert.deepEqual(rows(), [`5 ${a} ${macs[1]}`]);
  });

  it("of a removal is tried again, too, and blamed on the row itself", async () => {
    await settled([a, macs[0]], [b, macs[1]]);
    table.rows.delete(a);
    state.mark(a);
    kernel.inject({ kind: "error", errno: EBUSY });
    assert.match((await reconciler.pass())?.error.message ?? "", /delete neighbour 10\.0\.0\.1.*EBUSY/);
    assert.deepEqual(rows(), [`5 ${a} ${macs[0]}`, `5 ${b} ${macs[1]}`]);
    clock.advance(milliseconds(100));
    assert.equal(await reconciler.pass(), undefined);
    assert.deepEqual(rows(), [`5 ${b} ${macs[1]}`]);
  });

  it("of the removal of an earlier run's row is tried again", async () => {
    await write(neighbour(5, b, macs[1]));
    kernel.inject({ kind: "error", errno: EBUSY }, { after: 1 });
    assert.match((await reconciler.pass())?.error.message ?? "", /EBUSY/);
    assert.equal(reconciler.hasWork, false);
    clock.advance(milliseconds(100));
    assert.equal(await reconciler.pass(), undefined);
    assert.deepEqual(rows(), []);
    assert.equal(reconciler.hasWork, false);
  });

  it("is waited out although nothing else changes: the pause grows to 15 s and no further", async () => {
    await settled();
    table.rows.set(a, macs[0]);
    state.mark(a);
    for (let attempt = 1; attempt <= 12; attempt++) {
      kernel.inject({ kind: "error", errno: EBUSY });
      await reconciler.pass();
      assert.equal([...state.failures][0]?.attempts, attempt);
      clock.advance(seconds(15));
    }
    assert.ok(([...state.failures][0]?.due ?? 0) <= clock.monotonic());
  });
});

describe("what is not known", () => {
  it("answers that were lost make all of it be compared", async () => {
    await settled();
    table.rows.set(a, macs[0]);
    state.mark(a);
    kernel.inject({ kind: "lost" });
    await assert.rejects(reconciler.pass(), /ENOBUFS/);
    assert.equal(reconciler.hasWork, true);
    assert.equal(await reconciler.pass(), undefined);
    assert.deepEqual(rows(), [`5 ${a} ${macs[0]}`]);
    assert.deepEqual(repaired, []);
  });

  it("a listing that failed leaves everything to the next pass, and other tables to this one", async () => {
    const other = new Neighbours(6);
    reconciler.add(other);
    table.rows.set(a, macs[0]);
    other.rows.set(b, macs[1]);
    kernel.inject({ kind: "error", errno: ENOBUFS });
    assert.match((await reconciler.pass())?.error.message ?? "", /ENOBUFS/);
    assert.deepEqual(rows(), [`6 ${b} ${macs[1]}`]);
    assert.equal(reconciler.hasWork, false);
    assert.equal(reconciler.isSettled, false);
    clock.advance(milliseconds(100));
    assert.equal(reconciler.hasWork, true);
    assert.equal(await reconciler.pass(), undefined);
    assert.deepEqual(rows(), [`6 ${b} ${macs[1]}`, `5 ${a} ${macs[0]}`]);
  });

  it("a row that a listing lacks is looked up before it counts as missing", async () => {
    await settled([a, macs[0]], [b, macs[1]]);
    const { writes } = socket;
    const list = table.list;
    table.list = () => list().map((query) => ({ ...query, read: () => undefined }));
    reconciler.distrust();
    await reconciler.pass();
    assert.equal(socket.writes, writes);
    assert.deepEqual(repaired, []);
  });
});

it("old events of what is as wanted by now are no repair", async () => {
  await settled([a, macs[0]]);
  assert.equal(state.observe(neighbour(5, a, macs[2]), false), true);
  const { writes } = socket;
  await reconciler.pass();
  assert.equal(socket.writes, writes);
  assert.deepEqual(repaired, []);
  assert.equal(reconciler.isSettled, true);
});

describe("a mark", () => {
  it("that is made while the kernel works stays", async () => {
    table.rows.set(a, macs[0]);
    const put = table.put;
    table.put = (row) => {
      table.put = put;
      const request = put(row);
      // The desired state changes after the request was made and before it is answered.
      table.rows.set(a, macs[1]);
      state.mark(a);
      return request;
    };
    await reconciler.pass();
    assert.equal(reconciler.hasWork, true);
    await reconciler.pass();
    assert.deepEqual(rows(), [`5 ${a} ${macs[1]}`]);
    assert.equal(reconciler.hasWork, false);
  });
});

it("a row that somebody takes away between the kernel's work and its answer is written again", async () => {
  await settled();
  table.rows.set(a, macs[0]);
  state.mark(a);
  kernel.inject({ kind: "late" });
  const pass = reconciler.pass();
  await new Promise(setImmediate);
  assert.deepEqual(rows(), [`5 ${a} ${macs[0]}`]);
  await new NetlinkSocket({ channel: new FakeKernel({ handlers: [held.handler] }) }).execute(deleteNeighbour(5, a));
  state.observe(neighbour(5, a, macs[0]), true);
  kernel.release();
  await pass;
  assert.equal(reconciler.hasWork, true);
  await reconciler.pass();
  assert.deepEqual(rows(), [`5 ${a} ${macs[0]}`]);
});

describe("several tables", () => {
  it("that are listed by one query are listed once", async () => {
    const query = listNeighbours();
    const second = new Neighbours(6);
    reconciler.add(second);
    for (const each of [table, second]) {
      each.list = () => [query];
      each.rows.set(a, macs[0]);
    }
    await write(neighbour(5, b, macs[1]));
    await write(neighbour(6, b, macs[1]));
    const before = kernel.requests.length;
    await reconciler.pass();
    assert.deepEqual(rows(), [`5 ${a} ${macs[0]}`, `6 ${a} ${macs[0]}`]);
    const lists = kernel.requests.slice(before).filter(({ flags }) => (flags & NLM_F_DUMP) === NLM_F_DUMP);
    assert.equal(lists.length, 1);
  });

  it("end in reverse, with all that weft may have of them", async () => {
    const second = new Neighbours(6);
    const after = reconciler.add(second);
    await write({ ...neighbour(5, c, macs[2]), flags: 0 });
    second.rows.set(b, macs[1]);
    await settled([a, macs[0]]);
    second.rows.delete(b);
    after.mark(b);
    const third = new Neighbours(7);
    third.outlivesDevices = false;
    reconciler.add(third);
    third.rows.set(a, macs[0]);
    await reconciler.pass();
    await reconciler.withdraw();
    assert.deepEqual(rows(), [`5 ${c} ${macs[2]}`, `7 ${a} ${macs[0]}`], "what goes with devices is left to them");
  });

  it("come up in order and go in reverse, what is new before what is old goes", async () => {
    const second = new Neighbours(6);
    const after = reconciler.add(second);
    table.rows.set(a, macs[0]);
    second.rows.set(a, macs[0]);
    await reconciler.pass();
    table.rows.delete(a);
    second.rows.delete(a);
    table.rows.set(b, macs[1]);
    second.rows.set(b, macs[1]);
    for (const key of [a, b]) {
      state.mark(key);
      after.mark(key);
    }
    const seen = kernel.requests.length;
    await reconciler.pass();
    const order = kernel.requests.slice(seen).map(({ type, payload }) => {
      const row = readNeighbour(payload, new DataView(payload.buffer, payload.byteOffset), 0, payload.length);
      return `${type === RTM_NEWNEIGH ? "set" : "delete"} ${row?.index} ${row?.ip}`;
    });
    assert.deepEqual(order, [`set 5 ${b}`, `set 6 ${b}`, `delete 6 ${a}`, `delete 5 ${a}`]);
  });
});

describe("a walk over faults", () => {
  /** Rows come, change and go, beside one that an earlier run left. Returns how many requests it took. */
  async function scenario(): Promise<number> {
    for (const row of held.values) await socket.execute(deleteNeighbour(row.index, row.ip));
    await write(neighbour(5, c, macs[2]));
    table.rows.clear();
    reconciler.distrust();
    const before = kernel.requests.length;
    for (const step of [() => table.rows.set(a, macs[0]).set(b, macs[1]), () => table.rows.set(a, macs[2]).delete(b)]) {
      step();
      state.mark(a);
      state.mark(b);
      await reconciler.pass().catch(() => {});
    }
    return kernel.requests.length - before;
  }

  const faults = [
    { kind: "error", errno: EBUSY },
    { kind: "error", errno: ENOBUFS },
    { kind: "error", errno: ENOENT },
    { kind: "error", errno: EEXIST },
    { kind: "lost" },
    { kind: "interrupted" },
    { kind: "truncated" },
  ] as const;
  for (const fault of faults)
    it(`each request in turn meets ${JSON.stringify(fault)}: the state is right after the next passes`, async () => {
      const requests = await scenario();
      assert.ok(requests > 5, `${requests} requests`);
      for (let after = 0; after < requests; after++) {
        // Two requests to the kernel come before the scenario's own: what is left of the run before, and one row more.
        kernel.inject(fault, { after: held.values.length + 1 + after });
        await scenario();
        clock.advance(seconds(15));
        await reconciler.pass().catch(() => {});
        // What the fault has hidden from a pass, the next comparison finds.
        reconciler.distrust();
        await reconciler.pass();
        assert.deepEqual(rows(), [`5 ${a} ${macs[2]}`], `fault at request ${after}`);
        assert.equal(reconciler.hasWork, false, `fault at request ${after}`);
      }
    });
});
