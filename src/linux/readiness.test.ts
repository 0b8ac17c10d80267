import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { closeSync, constants, openSync, readSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { eventually } from "../../test/support/underlay.ts";
import { makeTemporaryDirectory } from "../testing/temporary-directory.ts";
import { watchReadable } from "./readiness.ts";
import { isErrno } from "./system-error.ts";

/** A descriptor that becomes readable when something is written to it or to `path`. */
function fifo(): { readonly fd: number; readonly path: string; [Symbol.dispose](): void } {
  const directory = makeTemporaryDirectory();
  const path = join(directory, "fifo");
  execFileSync("mkfifo", [path]);
  const fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
  return {
    fd,
    path,
    [Symbol.dispose]() {
      closeSync(fd);
      rmSync(directory, { recursive: true });
    },
  };
}

/**
 * All that is to be heard by now is heard: what is written to another descriptor, watched later, is heard several turns of
 * the event loop after it.
 */
async function allIsHeard(): Promise<void> {
  using control = fifo();
  writeSync(control.fd, "abcdef");
  let turns = 0;
  const stop = watchReadable(control.fd, () => {
    readSync(control.fd, new Uint8Array(1));
    turns++;
  });
  await eventually("the control is heard", () => turns === 6);
  stop();
}

test("reports what is left unread again, and nothing once it is read", async () => {
  using pipe = fifo();
  let calls = 0;
  const stop = watchReadable(pipe.fd, () => {
    calls++;
    readSync(pipe.fd, new Uint8Array(1));
  });
  try {
    writeSync(pipe.fd, "abc");
    await eventually("all is read", () => calls >= 3);
    await allIsHeard();
    assert.equal(calls, 3);
  } finally {
    stop();
  }
});

test("calls nobody after it was stopped, also when it was readable before", async () => {
  using pipe = fifo();
  let calls = 0;
  writeSync(pipe.fd, "a");
  const stop = watchReadable(pipe.fd, () => {
    calls++;
    stop();
    stop();
  });
  await eventually("it is heard", () => calls > 0);
  await allIsHeard();
  assert.equal(calls, 1);
  watchReadable(pipe.fd, () => calls++)();
  await allIsHeard();
  assert.equal(calls, 1);
});

test("two descriptors do not hear of each other", async () => {
  using first = fifo();
  using second = fifo();
  const heard: string[] = [];
  const stopFirst = watchReadable(first.fd, () => {
    heard.push("first");
    stopFirst();
  });
  const stopSecond = watchReadable(second.fd, () => {
    heard.push("second");
    stopSecond();
  });
  writeSync(second.fd, "x");
  await eventually("it is heard", () => heard.length > 0);
  await allIsHeard();
  assert.deepEqual(heard, ["second"]);
  stopFirst();
});

test("promises that the callback settles go on at once in an otherwise idle program", async () => {
  using pipe = fifo();
  let settled = false;
  // Nothing is read: the next call comes in the next turn of the event loop, with nothing of Node's own before it.
  const settledAtSecondCall = await new Promise<boolean>((resolve) => {
    let calls = 0;
    const stop = watchReadable(
      pipe.fd,
      () => {
        if (++calls === 1)
          void Promise.resolve().then(() => {
            settled = true;
          });
        else {
          stop();
          resolve(settled);
        }
      },
      true,
    );
    // A process that is nobody's child: its end must not wake this one.
    execFileSync("/bin/sh", ["-c", `(sleep 0.1; echo > ${pipe.path}) >/dev/null 2>&1 &`]);
  });
  assert.equal(settledAtSecondCall, true);
});

test("a descriptor that cannot be watched is refused, by name of the error", () => {
  assert.throws(
    () => watchReadable(100_000, () => {}),
    (error) => isErrno(error, "EBADF"),
  );
});
