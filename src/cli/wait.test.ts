import assert from "node:assert/strict";
import { test } from "node:test";
import { hours, milliseconds, minutes, seconds } from "../base/duration.ts";
import { WeftError } from "../base/errors.ts";
import { waitInPlace } from "./wait.ts";

type Progress = ReturnType<typeof step>;

function step(inPlace: number, nodes: number, behind: readonly string[], changing: readonly string[] = []) {
  return {
    done: behind.length === 0 && changing.length === 0,
    nodes,
    inPlace,
    behind: behind.map((node) => ({
      $typeName: "weft.v1.BehindNode" as const,
      node,
      connected: true,
      since: 0n,
      reason: node === "h3" ? "no such device" : "",
      network: "web",
    })),
    changing: [...changing],
  };
}

/** Tells the steps, then is silent until it is ended, unless the last one is done. */
async function* told(signal: AbortSignal, ...steps: Progress[]): AsyncGenerator<Progress> {
  yield* steps;
  if (steps.at(-1)?.done !== true)
    await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}

class Terminal {
  readonly isTTY: boolean;
  readonly columns = 50;
  text = "";

  constructor(isTTY: boolean) {
    this.isTTY = isTTY;
  }

  write(text: string): void {
    this.text += text;
  }
}

const steps = [step(1, 3, ["h2", "h3"], ["web: receive"]), step(2, 3, ["h3"], ["web: receive"]), step(3, 3, [])];

test("progress is one line on a terminal, rewritten and cut to its width", async () => {
  const terminal = new Terminal(true);
  await waitInPlace("network web", minutes(1), (signal) => told(signal, ...steps), terminal);
  assert.equal(
    terminal.text,
    "\rnetwork web: in place on 1 of 3 nodes; phase of w\x1b[K" +
      "\rnetwork web: in place on 2 of 3 nodes; phase of w\x1b[K" +
      "\rnetwork web: in place on 3 of 3 nodes\x1b[K\n",
  );
});

test("an answer that says that it is done is given up, whether the other side ends it or not", async () => {
  let isGivenUp = false;
  const ask = (signal: AbortSignal): AsyncGenerator<Progress> => {
    signal.addEventListener("abort", () => {
      isGivenUp = true;
    });
    return told(signal, ...steps);
  };
  await waitInPlace("network web", minutes(1), ask, new Terminal(false));
  assert.ok(isGivenUp);
});

test("elsewhere it is lines, a second apart, and the last one always", async () => {
  const terminal = new Terminal(false);
  await waitInPlace("network web", minutes(1), (signal) => told(signal, ...steps), terminal);
  assert.equal(
    terminal.text,
    "network web: in place on 1 of 3 nodes; phase of web: receive; behind: h2, h3\n" +
      "network web: in place on 3 of 3 nodes\n",
  );
});

test("when the time is up those behind are named, with what failed", async () => {
  const waiting = waitInPlace(
    "network web",
    milliseconds(50),
    (signal) => told(signal, ...steps.slice(0, 1)),
    new Terminal(false),
  );
  await assert.rejects(waiting, (error: WeftError) => {
    assert.match(error.reason, /^50 ms are over; in place on 1 of 3 nodes; .*behind: h2, h3 \(no such device\)$/);
    return true;
  });
});

/** The answers to one question after the other: steps, and then the end of the stream or an error. */
function asked(...answers: readonly (readonly [steps: readonly Progress[], error?: WeftError])[]) {
  let count = 0;
  return {
    get count() {
      return count;
    },
    async *ask(): AsyncGenerator<Progress> {
      const [shown, error] = answers[Math.min(count++, answers.length - 1)] ?? [[]];
      yield* shown;
      if (error !== undefined) throw error;
    },
  };
}

function failure(code: "unavailable" | "exhausted" | "not-found", reason: string): WeftError {
  return new WeftError({ code, attempted: "WaitInPlace: connect to the server", reason });
}

test("a server that starts again is asked again, and so is one that ends the stream", async () => {
  const behind = step(2, 3, ["h3"]);
  const server = asked(
    [[behind], failure("unavailable", "the server was stopped")],
    [[], failure("exhausted", "too many")],
    [[behind]],
    [[step(3, 3, [])]],
  );
  const terminal = new Terminal(false);
  await waitInPlace("network web", minutes(1), server.ask, terminal);
  assert.equal(server.count, 4);
  assert.match(terminal.text, /\nnetwork web: too many; asking again\n/);
  assert.match(terminal.text, /\nnetwork web: in place on 3 of 3 nodes\n$/);
});

test("when the time is up while nobody answers, that is told beside the names", async () => {
  const server = asked(
    [[step(2, 3, ["h2"])], failure("unavailable", "the server was stopped")],
    [[], failure("unavailable", "no such socket")],
  );
  const waiting = waitInPlace("network web", seconds(2), server.ask, new Terminal(true));
  await assert.rejects(waiting, { reason: "2 s are over; in place on 2 of 3 nodes; behind: h2; no such socket" });
});

test("what asking again does not mend ends the wait", async () => {
  const server = asked([[], failure("not-found", "there is no network web")]);
  await assert.rejects(waitInPlace("network web", minutes(1), server.ask, new Terminal(false)), /no network web/);
  assert.equal(server.count, 1);
});

test("a wait of a month, longer than timers can be, does not end at once", async () => {
  async function* ask(signal: AbortSignal): AsyncGenerator<Progress> {
    await new Promise((resolve) => setTimeout(resolve, 20));
    if (!signal.aborted) yield* steps;
  }
  await waitInPlace("network web", hours(30 * 24), ask, new Terminal(false));
});
