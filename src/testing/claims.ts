import { join } from "node:path";
import type { Lab } from "../lab/lab.ts";
import { runProgram } from "../lab/process.ts";
import { serverAddress } from "../lab/underlay.ts";

export interface Claims {
  /** In the name of whose node. */
  readonly host: string;
  readonly network: string;
  /** Numbers of endpoints, which are their ids. */
  readonly first: number;
  readonly last: number;
  /** Calls at a time. */
  readonly parallel: number;
}

/** Claims endpoints at the lab's server, from a process of its own; resolves with the milliseconds that it took. */
export async function claim(lab: Lab, { host, network, first, last, parallel }: Claims): Promise<number> {
  using namespace = lab.namespace(host);
  const { status, output, complaints } = await runProgram(namespace, process.execPath, [
    join(import.meta.dirname, "claim-endpoints.ts"),
    `https://${serverAddress}:7400`,
    join(lab.names.directory, host),
    network,
    ...[first, last, parallel].map(String),
  ]);
  if (status !== 0) throw new Error(`claiming endpoints failed: ${complaints}`);
  return Number(output);
}
