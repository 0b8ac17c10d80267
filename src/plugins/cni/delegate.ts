import { spawn } from "node:child_process";
import { accessSync, constants, statSync } from "node:fs";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { setImmediate as turn } from "node:timers/promises";
import { z } from "zod";
import type { Clock } from "../../base/clock.ts";
import { formatDuration, seconds } from "../../base/duration.ts";
import { messageOf } from "../../base/errors.ts";
import type { Command, Parameters } from "./environment.ts";
import { CniError, errorCode } from "./error.ts";

/** What an IPAM plugin answers: section 5 of the specification, "Delegated plugins (IPAM)". */
const answerSchema = z.looseObject({
  ips: z.array(z.looseObject({ address: z.string() })).min(1),
  dns: z.looseObject({}).optional(),
});
export type IpamAnswer = z.infer<typeof answerSchema>;

export interface DelegateCall {
  /** The name of the plugin's program. */
  readonly type: string;
  readonly command: Command;
  readonly parameters: Pick<Parameters, "path" | "environment">;
  readonly configuration: string;
  readonly clock: Clock;
}

/** Plugins ask others over the network at most. The agent answers runtimes within a minute, also when ADD and then DEL take this long. */
const timeout = seconds(25);
const largestAnswer = 1 << 20;

/**
 * Runs another plugin in place of the one that was called, as section 4 of the specification says; what it printed. Throws
 * {@link CniError}, the other's own if it has one. Ends in time, whatever the plugin does, and what it leaves running. Not before,
 * though nobody may want the answer any more: `host-local`, killed at the wrong moment, has reserved an address that no DEL gives back.
 */
export async function runDelegate(call: DelegateCall): Promise<string> {
  const { type, command, parameters, configuration, clock } = call;
  const { path, environment } = parameters;
  const file = /^[A-Za-z0-9_.-]+$/.test(type) && path.map((folder) => join(folder, type)).find(isExecutable);
  if (!file)
    throw new CniError(
      errorCode.delegate,
      `run IPAM plugin ${type}: it is in none of the folders of CNI_PATH`,
      path.join(":"),
    );
  const child = spawn(file, [], {
    env: { PATH: process.env.PATH, ...environment, CNI_COMMAND: command },
    stdio: ["pipe", "pipe", "inherit"],
  });
  // One that ends without having read it all says what is wrong by its answer.
  child.stdin.on("error", () => {});
  child.stdin.end(configuration);
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
    if (output.length < largestAnswer) output += chunk;
  });
  const { promise: ended, resolve, reject } = Promise.withResolvers<string>();
  const fail = (reason: string): void => reject(new CniError(errorCode.delegate, `run IPAM plugin ${type}: ${reason}`));
  child.once("error", (error) => fail(messageOf(error)));
  child.once("exit", (code, signalName) => resolve(signalName ?? `${code}`));
  const cancel = clock.after(timeout, () => {
    child.kill("SIGKILL");
    // Not when it has ended: what the kernel holds up cannot be killed.
    fail(`it did not end within ${formatDuration(timeout)}, and was killed`);
  });
  try {
    const status = await ended;
    await drain(child.stdout, () => output.length);
    if (status === "0") return output;
    throw (
      errorOf(output) ?? new CniError(errorCode.delegate, `IPAM plugin ${type} ended with ${status} and told no reason`)
    );
  } finally {
    cancel();
    child.stdin.destroy();
    child.stdout.destroy();
  }
}

/**
 * Reads what a program that has ended wrote. All of that is in the pipe, so it ends when the event loop has looked there and found
 * nothing more; not when the pipe is closed, which what the program left running may hold open for ever.
 */
async function drain(pipe: Readable, read: () => number): Promise<void> {
  for (let before = -1; !pipe.readableEnded && before !== read(); ) {
    before = read();
    // The rest of this turn and the whole of the next.
    await turn();
    await turn();
  }
}

/** The addresses that the plugin gives. */
export function parseIpamAnswer(type: string, output: string): IpamAnswer {
  const parsed = answerSchema.safeParse(jsonOf(output));
  if (parsed.success) return parsed.data;
  throw new CniError(errorCode.delegate, `IPAM plugin ${type} gave no addresses`, output.slice(0, 200));
}

const errorSchema = z.object({ code: z.number(), msg: z.string(), details: z.string().optional() });

function errorOf(output: string): CniError | undefined {
  const parsed = errorSchema.safeParse(jsonOf(output));
  return parsed.success ? new CniError(parsed.data.code, parsed.data.msg, parsed.data.details) : undefined;
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}
