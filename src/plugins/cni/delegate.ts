import { spawn } from "node:child_process";
import { accessSync, constants, statSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { messageOf } from "../../base/errors.ts";
import type { Command, Parameters } from "./environment.ts";
import { CniError, errorCode } from "./error.ts";

/** What an IPAM plugin answers: section 5 of the specification, "Delegated plugins (IPAM)". */
const answerSchema = z.looseObject({
  ips: z.array(z.looseObject({ address: z.string() })).min(1),
  dns: z.looseObject({}).optional(),
});
export type IpamAnswer = z.infer<typeof answerSchema>;

const timeout = 30_000;
const largestAnswer = 1 << 20;

/** Runs another plugin in place of the one that was called, as section 4 of the specification says. Throws {@link CniError}, the other's own if it has one. */
export async function runDelegate(
  type: string,
  command: Command,
  { path, environment }: Pick<Parameters, "path" | "environment">,
  configuration: string,
  signal?: AbortSignal,
): Promise<string> {
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
    timeout,
    ...(signal === undefined ? {} : { signal }),
  });
  // One that ends without having read it all says what is wrong by its answer.
  child.stdin.on("error", () => {});
  child.stdin.end(configuration);
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
    if (output.length < largestAnswer) output += chunk;
  });
  const status = await new Promise<string>((resolve, reject) => {
    child.once("error", (error) =>
      reject(
        signal?.aborted
          ? signal.reason
          : new CniError(errorCode.delegate, `run IPAM plugin ${type}: ${messageOf(error)}`),
      ),
    );
    child.once("close", (code, signalName) => resolve(signalName ?? `${code}`));
  });
  if (status === "0") return output;
  throw (
    errorOf(output) ?? new CniError(errorCode.delegate, `IPAM plugin ${type} ended with ${status} and told no reason`)
  );
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
