/**
 * Traffic between containers that notices each packet that is lost. What the machine swallows or holds up is told by a
 * control stream beside it, between two namespaces that weft does not touch: that does not count.
 */
import { fileURLToPath } from "node:url";
import type { NetworkNamespace } from "../../src/linux/index.ts";
import { BackgroundProgram, type Owner } from "./cluster.ts";
import { requires } from "./kernel.ts";
import { testNamespace } from "./namespaces.ts";
import type { Counts, Unanswered } from "./traffic-program.ts";

/** What a stream came to. */
export interface Traffic extends Counts {
  /** Datagrams that were not answered, without those that the machine swallowed. */
  readonly lost: number;
  /** Those that the control stream lost at the same moment. */
  readonly swallowed: number;
  /** Milliseconds of the control stream's longest silence. */
  readonly longestGapBeside: number;
}

const program = fileURLToPath(new URL("traffic-program.ts", import.meta.url));

/** Milliseconds between datagrams. Where processes take ten times as long, a tenth of them. */
const interval = requires("quick processes").skip === false ? 1 : 10;
/** Times as many between large ones, which cost as many times more. */
const largeInterval = 4;
/** What is not answered is lost when the control stream has had so many answers since the last answer came. */
const enough = 20_000 / interval;
/** The same once the last datagram has been answered: those before it came by the same way. */
const enoughAfterTheLast = 500;

/** Milliseconds at most between two datagrams that the machine swallowed at one moment. */
const sameMoment = 500;

/** A stream between two namespaces, and what answers it. */
class Stream {
  readonly #echo: BackgroundProgram;
  readonly #program: BackgroundProgram;
  #questions = 0;

  private constructor(echo: BackgroundProgram, program: BackgroundProgram) {
    this.#echo = echo;
    this.#program = program;
  }

  static async start(
    owner: Owner,
    from: NetworkNamespace,
    to: NetworkNamespace,
    address: string,
    octets = 0,
  ): Promise<Stream> {
    const echo = new BackgroundProgram(owner, to, process.execPath, [program, "echo"]);
    await echo.said(/ready/);
    const stream = new BackgroundProgram(owner, from, process.execPath, [
      program,
      "stream",
      address,
      `${octets > 0 ? interval * largeInterval : interval}`,
      `${octets}`,
    ]);
    await stream.said(/flowing/);
    return new Stream(echo, stream);
  }

  counts(): Promise<Counts> {
    return this.#ask("");
  }

  unanswered(): Promise<Unanswered> {
    return this.#ask(" unanswered");
  }

  /** Sends nothing more. */
  cease(): void {
    this.#program.say("cease");
  }

  async end(): Promise<void> {
    await this.#program.end("SIGKILL");
    await this.#echo.end("SIGKILL");
  }

  async #ask<Answer>(what: string): Promise<Answer> {
    const question = `${++this.#questions}${what}`;
    const line = new RegExp(`^${question} (.*)\n`, "m");
    this.#program.say(question);
    await this.#program.said(line);
    return JSON.parse(line.exec(this.#program.output)?.[1] ?? "") as Answer;
  }
}

/**
 * Starts a stream between two namespaces. `octets`: of each datagram, at least. What is more than the MTU of the moment goes
 * in fragments of just that.
 */
export async function startStream(
  owner: Owner,
  from: NetworkNamespace,
  to: NetworkNamespace,
  address: string,
  octets = 0,
): Promise<{ stop(): Promise<Traffic> }> {
  const { control, release } = useControl(owner);
  const beside = await control;
  const stream = await Stream.start(owner, from, to, address, octets);
  return {
    async stop() {
      stream.cease();
      const counts = await settled(stream, beside);
      const unanswered = await stream.unanswered();
      const { highest, longestGap: longestGapBeside } = await beside.counts();
      const unansweredBeside = await beside.unanswered();
      await stream.end();
      release();
      const swallowed = atTheSameMoment(
        unanswered.map(([, sent]) => sent),
        // What is under way is not lost.
        unansweredBeside.flatMap(([number, sent]) => (number < highest ? [sent] : [])),
      );
      return { ...counts, lost: unanswered.length - swallowed, swallowed, longestGapBeside };
    },
  };
}

/** What a stream that sends no more has come to, once all is answered or nothing more is to be expected. */
async function settled(stream: Stream, beside: Stream): Promise<Counts> {
  let last: Counts | undefined;
  let since = 0;
  for (;;) {
    const counts = await stream.counts();
    const { answered } = await beside.counts();
    const isWhole = counts.tcpAnswered === counts.tcpSent || counts.tcpError !== "";
    if (counts.answered === counts.sent && isWhole) return counts;
    if (counts.answered !== last?.answered || counts.tcpAnswered !== last.tcpAnswered) since = answered;
    last = counts;
    const isLastAnswered = counts.highest === counts.sent - 1 && isWhole;
    if (answered - since > (isLastAnswered ? enoughAfterTheLast : enough)) return counts;
  }
}

/** How many of the moments, in order, have one of the others beside them, each one of its own. */
function atTheSameMoment(moments: readonly number[], others: readonly number[]): number {
  let count = 0;
  let next = 0;
  for (const moment of moments) {
    while (next < others.length && (others[next] ?? 0) < moment - sameMoment) next++;
    if (next < others.length && (others[next] ?? 0) <= moment + sameMoment) {
      count++;
      next++;
    }
  }
  return count;
}

/** The one that all streams of the moment share, and their number. */
let shared: { readonly control: Promise<Stream>; readonly end: () => void } | undefined;
let users = 0;

/** The control stream, which ends with the last of its users. */
function useControl(owner: Owner): { readonly control: Promise<Stream>; readonly release: () => void } {
  shared ??= startControl();
  const { control, end } = shared;
  users++;
  let isUsed = true;
  const release = (): void => {
    if (!isUsed) return;
    isUsed = false;
    if (--users > 0) return;
    shared = undefined;
    end();
  };
  owner.after(release);
  return { control, release };
}

function startControl(): NonNullable<typeof shared> {
  const from = testNamespace("control");
  const to = testNamespace("control");
  from.shell(`
    ip link add eth0 type veth peer name eth0 netns ${to.name}
    ip link set eth0 up; ip addr add 10.255.0.1/24 dev eth0`);
  to.shell("ip link set eth0 up; ip addr add 10.255.0.2/24 dev eth0");
  return {
    control: Stream.start({ after: () => {} }, from.namespace, to.namespace, "10.255.0.2"),
    // Its programs end with their namespaces.
    end: () => {
      from[Symbol.dispose]();
      to[Symbol.dispose]();
    },
  };
}
