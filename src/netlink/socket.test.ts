import assert from "node:assert/strict";
import { test } from "node:test";
import { milliseconds, seconds } from "../base/duration.ts";
import { WeftError } from "../base/errors.ts";
import { ip } from "../base/ip.ts";
import { mac } from "../base/mac.ts";
import { isErrno } from "../linux/index.ts";
import { FakeKernel, type FakeKernelOptions, FakeTable, type Fault } from "../testing/fake-kernel.ts";
import { lookUp } from "./look-up.ts";
import {
  deleteNeighbour,
  getNeighbour,
  listNeighbours,
  type Neighbour,
  RTM_NEWNEIGH,
  readNeighbour,
  replaceNeighbour,
} from "./neighbour.ts";
import type { Request } from "./request.ts";
import { DumpInterruptedError, NetlinkSocket } from "./socket.ts";

function neighbour(number: number): Neighbour {
  return {
    index: 7,
    ip: ip(`10.0.${number >> 8}.${number & 0xff}`),
    mac: mac("02:00:00:00:00:01"),
    state: 0x80,
    flags: 0,
  };
}

function* neighbours(count: number): Generator<Request> {
  for (let number = 0; number < count; number++) yield replaceNeighbour(neighbour(number));
}

/** `answerTimeout`: for what is not answered; what is has ten times as long as a busy machine takes. */
function setUp(options: Omit<FakeKernelOptions, "handlers"> = {}, answerTimeout = seconds(60)) {
  const neighbourTable = new FakeTable({ newType: RTM_NEWNEIGH, read: readNeighbour, key: (entry) => entry.ip });
  const kernel = new FakeKernel({ ...options, handlers: [neighbourTable.handler] });
  const socket = new NetlinkSocket({ channel: kernel, answerTimeout });
  return { kernel, socket, neighbourTable };
}

/** The socket does its work as if nothing had happened. */
async function assertUsable({ socket, neighbourTable }: ReturnType<typeof setUp>): Promise<void> {
  const entry = { ...neighbour(9999), ip: ip("10.255.0.1") };
  await socket.execute(replaceNeighbour(entry));
  assert.deepEqual(await socket.get(getNeighbour(7, entry.ip)), entry);
  assert.deepEqual(await socket.dump(listNeighbours()), neighbourTable.values);
  assert.deepEqual(await socket.batch([...neighbours(3), deleteNeighbour(7, entry.ip)]), { done: 4, failures: [] });
}

test("creates, gets, lists and deletes", async () => {
  const fixture = setUp();
  await assertUsable(fixture);
  await assert.rejects(fixture.socket.get(getNeighbour(7, ip("10.9.9.9"))), (error) => isErrno(error, "ENOENT"));
  assert.equal(await lookUp(fixture.socket, getNeighbour(7, ip("10.9.9.9"))), undefined);
  await assertUsable(fixture);
});

test("the kernel's refusal carries the operation, the errno and the kernel's own words", async () => {
  const fixture = setUp();
  fixture.kernel.inject({ kind: "error", errno: 22, message: "Invalid state", offset: 20 });
  await assert.rejects(fixture.socket.execute(replaceNeighbour(neighbour(1))), {
    message:
      "set neighbour 10.0.0.1 to 02:00:00:00:00:01 on link 7: EINVAL: Invalid state (attribute at octet 20 of the request)",
    code: "invalid-argument",
  });
  assert.deepEqual(fixture.neighbourTable.values, []);
  await assertUsable(fixture);
});

test("failures in the middle of a batch are told of the requests that failed, and of no others", async () => {
  const fixture = setUp();
  const requests = [...neighbours(300)];
  fixture.kernel.inject({ kind: "error", errno: 105 }, { after: 0 });
  fixture.kernel.inject({ kind: "error", errno: 22, message: "no" }, { after: 126 });
  fixture.kernel.inject({ kind: "error", errno: 17 }, { after: 171 });
  const { done, failures } = await fixture.socket.batch(requests);
  assert.equal(done, 297);
  assert.deepEqual(
    failures.map(({ request, error }) => [requests.indexOf(request), (error as { errnoName?: string }).errnoName]),
    [
      [0, "ENOBUFS"],
      [127, "EINVAL"],
      [299, "EEXIST"],
    ],
  );
  assert.equal(fixture.neighbourTable.values.length, 297);
  assert.equal(fixture.socket.writes, 300);
  assert.equal(fixture.kernel.sends, 3);
  await assertUsable(fixture);
});

test("a request that cannot be written fails alone", async () => {
  const fixture = setUp();
  const broken: Request = {
    ...replaceNeighbour(neighbour(1)),
    write: (writer) => {
      writer.reserve(3);
      throw new RangeError("too large");
    },
  };
  const { done, failures } = await fixture.socket.batch([...neighbours(2), broken, ...neighbours(1)]);
  assert.equal(done, 3);
  assert.equal(failures[0]?.request, broken);
  assert.match(String(failures[0]?.error), /set neighbour .* cannot be written: too large/);
  assert.equal((await fixture.socket.batch([broken])).failures.length, 1);
  await assert.rejects(fixture.socket.execute(broken), /too large/);
  await assert.rejects(fixture.socket.dump({ ...listNeighbours(), write: broken.write }), /too large/);
  await assertUsable(fixture);
});

test("an iterable that throws ends the batch and nothing else", async () => {
  const fixture = setUp();
  function* failing(): Generator<Request> {
    yield* neighbours(130);
    throw new Error("no more");
  }
  await assert.rejects(fixture.socket.batch(failing()), /no more/);
  assert.equal(fixture.neighbourTable.values.length, 128);
  await assertUsable(fixture);
});

test("requests are read as they are sent, and the rest of the program runs meanwhile", async () => {
  const { kernel, socket } = setUp();
  let ticks = 0;
  let mostAhead = 0;
  const ticker = setInterval(() => ticks++, 1);
  function* slow(): Generator<Request> {
    let number = 0;
    for (const request of neighbours(2000)) {
      mostAhead = Math.max(mostAhead, number++ - kernel.requests.length);
      const until = performance.now() + 0.05;
      while (performance.now() < until);
      yield request;
    }
  }
  await socket.batch(slow());
  clearInterval(ticker);
  assert.ok(mostAhead <= 128, `${mostAhead} requests were read before they could be sent`);
  assert.ok(ticks >= 3, `a timer of 1 ms ran ${ticks} times in 100 ms`);
});

test("operations that are started together run one after the other", async () => {
  const { socket, kernel } = setUp();
  const results = await Promise.all([
    socket.batch(neighbours(200)),
    socket.dump(listNeighbours()),
    socket.execute(deleteNeighbour(7, neighbour(0).ip)),
    socket.dump(listNeighbours()),
  ]);
  assert.equal(results[1].length, 200);
  assert.equal(results[3].length, 199);
  const sequences = kernel.requests.map((request) => request.sequence);
  assert.deepEqual(
    sequences,
    sequences.toSorted((a, b) => a - b),
  );
});

for (const kind of ["wrong-sequence", "wrong-port"] as const)
  test(`answers to others are not taken for one's own: ${kind}`, async () => {
    const fixture = setUp();
    const { kernel, socket } = fixture;
    await socket.batch(neighbours(3));
    kernel.inject({ kind }, { times: 2 });
    assert.equal((await socket.dump(listNeighbours())).length, 3);
    assert.deepEqual(await socket.get(getNeighbour(7, neighbour(1).ip)), neighbour(1));
    kernel.inject({ kind });
    await assert.rejects(socket.execute(deleteNeighbour(7, ip("10.8.8.8"))), (error) => isErrno(error, "ENOENT"));
    await assertUsable(fixture);
  });

test("a dump during which the table changed is repeated", async () => {
  const fixture = setUp({ messagesPerDatagram: 2 });
  await fixture.socket.batch(neighbours(5));
  const before = fixture.kernel.requests.length;
  fixture.kernel.inject({ kind: "interrupted" }, { times: 3 });
  assert.equal((await fixture.socket.dump(listNeighbours())).length, 5);
  assert.equal(fixture.kernel.requests.length - before, 4);
});

test("a dump that is always interrupted is given up", async () => {
  const fixture = setUp();
  fixture.kernel.inject({ kind: "interrupted" }, { times: 10 });
  await assert.rejects(fixture.socket.dump(listNeighbours()), DumpInterruptedError);
  assert.equal(fixture.kernel.requests.length, 10);
  await assertUsable(fixture);
});

const unreadable: readonly Fault[] = [
  { kind: "truncated" },
  { kind: "malformed", length: 0 },
  { kind: "malformed", length: 15 },
  { kind: "malformed", length: 100_000 },
  { kind: "malformed", length: 0xffff_ffff },
];
for (const fault of unreadable)
  test(`an answer that cannot be read is an error: ${JSON.stringify(fault)}`, async () => {
    const fixture = setUp({ messagesPerDatagram: 2 });
    const { kernel, socket } = fixture;
    await socket.batch(neighbours(5));
    kernel.inject(fault, { times: 3 });
    const cannotBeRead = (error: unknown) => error instanceof WeftError && /cannot be read/.test(error.message);
    await assert.rejects(socket.dump(listNeighbours()), cannotBeRead);
    await assert.rejects(socket.get(getNeighbour(7, neighbour(1).ip)), cannotBeRead);
    await assert.rejects(socket.execute(replaceNeighbour(neighbour(1))), cannotBeRead);
    await assertUsable(fixture);
  });

test("an object that cannot be read ends the dump with an error, and the rest of the dump is read away", async () => {
  const fixture = setUp({ messagesPerDatagram: 1 });
  await fixture.socket.batch(neighbours(5));
  const query = {
    ...listNeighbours(),
    read: () => {
      throw new RangeError("unheard of");
    },
  };
  await assert.rejects(fixture.socket.dump(query), /list neighbours: .*unheard of/);
  assert.equal(fixture.kernel.receive(), undefined);
  await assertUsable(fixture);
});

test("lost answers: what was attempted is named, and later operations are not confused", async () => {
  const fixture = setUp({ messagesPerDatagram: 2 });
  const { kernel, socket } = fixture;
  await socket.batch(neighbours(5));
  const lost = (error: unknown) => isErrno(error, "ENOBUFS") && /were lost/.test(error.message);
  kernel.inject({ kind: "lost" });
  await assert.rejects(socket.dump(listNeighbours()), lost);
  await assertUsable(fixture);
  // The first of a batch; the acknowledgement of the last is still queued when the batch is given up.
  kernel.inject({ kind: "lost" });
  await assert.rejects(socket.batch(neighbours(5)), lost);
  await assertUsable(fixture);
});

test("a kernel that does not answer is given up, and its late answers are dropped", async () => {
  const fixture = setUp({}, seconds(1));
  const { kernel, socket } = fixture;
  await socket.batch(neighbours(3));
  const silent = (error: unknown) =>
    error instanceof WeftError && error.code === "unavailable" && /no answer from the kernel/.test(error.message);
  kernel.inject({ kind: "silent" });
  await assert.rejects(socket.dump(listNeighbours()), silent);
  kernel.inject({ kind: "late" }, { times: 2 });
  await assert.rejects(socket.dump(listNeighbours()), silent);
  await assert.rejects(socket.execute(replaceNeighbour(neighbour(1))), silent);
  kernel.release();
  await assertUsable(fixture);
});

test("an answer that comes while it is waited for is taken", async () => {
  const { kernel, socket } = setUp();
  await socket.batch(neighbours(3));
  kernel.inject({ kind: "late" });
  const dump = socket.dump(listNeighbours());
  setTimeout(() => kernel.release(), 5);
  assert.equal((await dump).length, 3);
});

test("answers to others do not prolong the wait", async () => {
  const { kernel, socket } = setUp({}, milliseconds(400));
  kernel.inject({ kind: "silent" });
  const noise = setInterval(() => kernel.publish(replaceNeighbour(neighbour(1))), 5);
  const started = performance.now();
  await assert.rejects(socket.dump(listNeighbours()), /no answer/);
  clearInterval(noise);
  assert.ok(performance.now() - started < 10_000);
});

test("closing ends what is under way and what waits", async () => {
  const { kernel, socket } = setUp();
  kernel.inject({ kind: "silent" });
  const waiting = assert.rejects(socket.dump(listNeighbours()), /list neighbours: the netlink socket is closed/);
  const next = assert.rejects(socket.execute(replaceNeighbour(neighbour(1))), /closed/);
  setTimeout(() => socket.close(), 2);
  await waiting;
  await next;
  await assert.rejects(socket.dump(listNeighbours()), /closed/);
  assert.equal(kernel.closed, true);
  assert.equal(kernel.requests.length, 1);
});

test("closing in the middle of a batch: nothing is sent afterwards", async () => {
  const { kernel, socket } = setUp();
  let sent = 0;
  function* endless(): Generator<Request> {
    for (;;) yield* neighbours(1000);
  }
  setTimeout(() => {
    sent = kernel.sends;
    socket.close();
  }, 20);
  await assert.rejects(socket.batch(endless()), /closed/);
  assert.equal(kernel.sends, sent);
});

test("a send that fails rejects the operation", async () => {
  const fixture = setUp();
  const send = fixture.kernel.send;
  fixture.kernel.send = () => {
    throw new Error("cable cut");
  };
  await assert.rejects(fixture.socket.batch(neighbours(3)), /cable cut/);
  await assert.rejects(fixture.socket.dump(listNeighbours()), /cable cut/);
  fixture.kernel.send = send;
  await assertUsable(fixture);
});
