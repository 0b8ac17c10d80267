import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import type { TestServer } from "./server.ts";

const bin = join(import.meta.dirname, "../../bin/weft");

export interface Outcome {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `weft` with the words of a line; the server goes on in this process meanwhile. */
export function weft({ server }: TestServer, line: string): Promise<Outcome> {
  const env = { ...process.env, WEFT_SERVER: server.adminSocket };
  return new Promise((resolve) => {
    execFile(bin, line.split(" "), { env }, (error, stdout, stderr) =>
      resolve({ status: error === null ? 0 : Number(error.code), stdout, stderr }),
    );
  });
}

/** What a command prints that must succeed. */
export async function done(server: TestServer, line: string): Promise<string> {
  const { status, stdout, stderr } = await weft(server, line);
  assert.equal(status, 0, `${line}: ${stderr}`);
  return stdout;
}
