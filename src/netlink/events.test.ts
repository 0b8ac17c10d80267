import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { ip } from "../base/ip.ts";
import { mac } from "../base/mac.ts";
import { FakeKernel } from "../testing/fake-kernel.ts";
import { EventSocket, withoutNewNeighbours } from "./events.ts";
import { RTM_NEWNEIGH, readNeighbour, replaceNeighbour } from "./neighbour.ts";

const entry = { index: 3, ip: ip("fd00::7"), mac: mac("02:00:00:00:00:07"), state: 2, flags: 0 };

function listen(kernel: FakeKernel) {
  const heard: unknown[] = [];
  const socket = new EventSocket({
    groups: [],
    open: () => kernel,
    onEvent: ({ type, bytes, view, start, end }) => heard.push([type, readNeighbour(bytes, view, start, end)]),
    onOverrun: () => heard.push("overrun"),
  });
  return { heard, socket };
}

async function turns(count: number): Promise<void> {
  for (let index = 0; index < count; index++) await turn();
}

test("tells of each message, also of several in one datagram", async () => {
  const kernel = new FakeKernel();
  const { heard } = listen(kernel);
  kernel.publish(replaceNeighbour(entry), replaceNeighbour({ ...entry, index: 4 }));
  kernel.publish(replaceNeighbour({ ...entry, index: 5 }));
  await turns(3);
  assert.deepEqual(heard, [
    [RTM_NEWNEIGH, entry],
    [RTM_NEWNEIGH, { ...entry, index: 4 }],
    [RTM_NEWNEIGH, { ...entry, index: 5 }],
  ]);
});

test("lost and unreadable messages are an overrun, and what follows is heard", async () => {
  const kernel = new FakeKernel();
  const { heard } = listen(kernel);
  kernel.publishOverrun();
  kernel.publish(replaceNeighbour(entry));
  kernel.publishBytes(Uint8Array.of(1, 2, 3));
  kernel.publish({ type: RTM_NEWNEIGH, write: (writer) => void writer.reserve(3) });
  kernel.publish(replaceNeighbour(entry));
  await turns(3);
  assert.deepEqual(heard, ["overrun", [RTM_NEWNEIGH, entry], "overrun", "overrun", [RTM_NEWNEIGH, entry]]);
});

test("a storm does not keep the rest of the program from running", async () => {
  const kernel = new FakeKernel();
  const { heard } = listen(kernel);
  for (let number = 0; number < 2000; number++) kernel.publish(replaceNeighbour(entry));
  await turns(2);
  const heardEarly = heard.length;
  assert.ok(heardEarly > 0 && heardEarly < 2000, `${heardEarly} events in two turns`);
  await turns(10);
  assert.equal(heard.length, 2000);
});

test("after closing nothing is heard, not even the rest of what was queued", async () => {
  const kernel = new FakeKernel();
  let count = 0;
  const socket = new EventSocket({
    groups: [],
    open: () => kernel,
    onEvent: () => {
      count++;
      socket.close();
    },
    onOverrun: () => {},
  });
  kernel.publish(replaceNeighbour(entry));
  kernel.publish(replaceNeighbour(entry));
  await turns(5);
  assert.equal(count, 1);
  assert.equal(kernel.closed, true);
});

test("the filter is a program of whole instructions whose jumps stay within it", () => {
  const program = withoutNewNeighbours(0x10);
  assert.equal(program.length % 8, 0);
  const count = program.length / 8;
  for (let index = 0; index < count; index++)
    for (const jump of [program[index * 8 + 2] ?? 0, program[index * 8 + 3] ?? 0])
      assert.ok(index + 1 + jump < count || jump === 0);
});
