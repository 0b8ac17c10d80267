/**
 * A node that is nothing but an API client: it publishes endpoints as fast as the server takes them. Runs inside a
 * namespace that reaches the server, as `node cluster-node.ts URL DIRECTORY`, DIRECTORY being that of an agent that has
 * joined and was stopped: a running one would give the endpoints back.
 */
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { loadCredentials } from "../../src/agent/identity-files.ts";
import { connectNode } from "../../src/api/clients.ts";
import { messageOf } from "../../src/base/errors.ts";
import type { Lab } from "../../src/lab/lab.ts";
import { BackgroundProgram, type Owner } from "./cluster.ts";

export interface PublishedEndpoint {
  readonly id: string;
  readonly network: string;
  readonly mac: string;
  readonly ips: readonly string[];
}

interface Order {
  readonly create?: readonly PublishedEndpoint[];
  readonly delete?: readonly string[];
}

const program = fileURLToPath(import.meta.url);
/** Requests under way at once. */
const parallel = 64;

export class PublishingNode {
  readonly #program: BackgroundProgram;
  #orders = 0;

  /** Takes the place of the host's agent, which must have been stopped. */
  constructor(owner: Owner, lab: Lab, host: string) {
    using namespace = lab.namespace(host);
    const directory = `${lab.names.directory}/${host}`;
    this.#program = new BackgroundProgram(owner, namespace, process.execPath, [program, serverUrl, directory]);
  }

  /** Deletes, then creates; resolves when the server has acknowledged all of it. */
  async publish(order: Order): Promise<void> {
    const number = ++this.#orders;
    this.#program.say(JSON.stringify(order));
    await this.#program.said(new RegExp(`^(done ${number}|failed.*)$`, "m"));
    const failure = /^failed.*$/m.exec(this.#program.output)?.[0];
    if (failure !== undefined) throw new Error(failure);
  }
}

/** Where the server of each lab listens. */
const serverUrl = "https://192.0.2.254:7400";

if (process.argv[1] === program) await run(process.argv[2] ?? "", process.argv[3] ?? "");

async function run(url: string, directory: string): Promise<void> {
  const credentials = loadCredentials(directory);
  if (credentials === undefined) throw new Error(`${directory} holds no identity`);
  const { client, close } = connectNode({ url, credentials });
  let number = 0;
  for await (const line of createInterface({ input: process.stdin })) {
    const order = JSON.parse(line) as Order;
    number++;
    try {
      if (order.delete !== undefined) await client.deleteEndpoints({ ids: [...order.delete] });
      const queue = [...(order.create ?? [])];
      await Promise.all(
        Array.from({ length: parallel }, async () => {
          for (let next = queue.pop(); next !== undefined; next = queue.pop())
            await client.createEndpoint({ ...next, ips: [...next.ips], attachment: "netns" });
        }),
      );
      process.stdout.write(`done ${number}\n`);
    } catch (error) {
      process.stdout.write(`failed ${number}: ${messageOf(error)}\n`);
    }
  }
  close();
}
