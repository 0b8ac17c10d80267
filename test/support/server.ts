import type { TestContext } from "node:test";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Client } from "@connectrpc/connect";
import { type Credentials, connectNode, serverClient } from "../../src/api/clients.ts";
import type { AdminService } from "../../src/api/generated/weft/v1/admin_pb.js";
import type { NodeService, WatchRequestSchema, WatchResponse } from "../../src/api/generated/weft/v1/node_pb.js";
import type { NetworkSchema } from "../../src/api/generated/weft/v1/resources_pb.js";
import { joinServer } from "../../src/api/join.ts";
import { cidr } from "../../src/base/cidr.ts";
import type { WeftError } from "../../src/base/errors.ts";
import { silentLogger } from "../../src/base/logger.ts";
import { type RunningServer, type ServerOptions, startServer } from "../../src/server/server.ts";
import { MemoryStore } from "../../src/store/index.ts";
import { temporaryDirectory } from "../../src/testing/temporary-directory.ts";

/** A control server on loopback, gone with the test. */
export interface TestServer {
  readonly server: RunningServer;
  readonly url: string;
  readonly dataDir: string;
  readonly admin: Client<typeof AdminService>;
}

/** A node that has joined. */
export interface TestNode {
  readonly name: string;
  readonly client: Client<typeof NodeService>;
  readonly credentials: Credentials;
}

/** Starts a server, by default with a store in memory. */
export async function startTestServer(t: TestContext, options: Partial<ServerOptions> = {}): Promise<TestServer> {
  const dataDir = options.dataDir ?? temporaryDirectory(t);
  const server = await startServer({
    listen: "127.0.0.1:0",
    dataDir,
    store: new MemoryStore(),
    logger: silentLogger,
    // Nodes of tests are nowhere: their connections come from loopback.
    vtepPrefixes: [cidr("192.0.2.0/24"), cidr("2001:db8::/64")],
    ...options,
  });
  t.after(() => server.close());
  return { server, url: `https://${server.address}`, dataDir, admin: serverClient(server.adminSocket) };
}

export async function createToken({ admin }: TestServer): Promise<string> {
  return (await admin.createToken({})).token;
}

/** Lets a node join and register the VTEP address 192.0.2.`number`. */
export async function joinTestNode(t: TestContext, server: TestServer, number: number): Promise<TestNode> {
  const name = `h${number}`;
  const credentials = await joinServer({ url: server.url, token: await createToken(server), node: name });
  const client = nodeClient(t, server, credentials);
  await client.register({ vtepIpv4: `192.0.2.${number}`, underlayMtu: 1500 });
  return { name, client, credentials };
}

export function nodeClient(t: TestContext, { url }: TestServer, credentials: Credentials): Client<typeof NodeService> {
  const connection = connectNode({ url, credentials });
  t.after(() => connection.close());
  return connection.client;
}

/** Makes tenant `acme` when there is none, and a network of it. */
export async function createNetwork(
  { admin }: TestServer,
  name: string,
  subnet: string,
  fields: MessageInitShape<typeof NetworkSchema> = {},
): Promise<void> {
  await admin.apply({ resources: [{ resource: { case: "tenant", value: { name: "acme" } } }] });
  await admin.create({
    resources: [{ resource: { case: "network", value: { tenant: "acme", subnets: [subnet], ...fields, name } } }],
  });
}

/** The id of an endpoint, from a small number. */
export function endpointId(number: number): string {
  return number.toString(16).padStart(12, "0");
}

/** `assert.rejects` for errors of weft: their code, and what their reason says. */
export function refusal(code: WeftError["code"], reason: RegExp): (error: unknown) => boolean {
  return (error) => {
    const { code: actual, reason: words } = error as WeftError;
    if (actual !== code || !reason.test(words)) throw error;
    return true;
  };
}

/** A watch in the background; what it told, as one line for each change. */
export class TestWatch {
  readonly lines: string[] = [];
  revision = 0;
  /** The error that ended the stream. */
  error: WeftError | undefined;
  /** Changes in the largest message. */
  largest = 0;
  readonly #abort = new AbortController();
  readonly #done: Promise<void>;
  #wake: () => void = () => {};

  constructor(
    t: TestContext,
    client: Client<typeof NodeService>,
    request: MessageInitShape<typeof WatchRequestSchema> = {},
  ) {
    this.#done = this.#run(client.watch(request, { signal: this.#abort.signal }));
    t.after(() => this.stop());
  }

  /** Waits until the state is complete as of `revision`. */
  async reached(revision: bigint | number): Promise<this> {
    while (this.revision < Number(revision) && this.error === undefined)
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    if (this.error !== undefined) throw this.error;
    return this;
  }

  /** Waits until the stream has ended. */
  async ended(): Promise<WeftError | undefined> {
    await this.#done;
    return this.error;
  }

  /** The lines since the last call. */
  take(): string[] {
    return this.lines.splice(0);
  }

  async stop(): Promise<void> {
    this.#abort.abort();
    await this.#done;
  }

  async #run(messages: AsyncIterable<WatchResponse>): Promise<void> {
    try {
      for await (const message of messages) {
        this.largest = Math.max(this.largest, message.changes.length);
        for (const { change } of message.changes) this.lines.push(lineOf(change));
        if (message.complete) this.revision = Number(message.revision);
        this.#wake();
      }
    } catch (error) {
      this.error = error as WeftError;
      this.#wake();
    }
  }
}

function lineOf(change: WatchResponse["changes"][number]["change"]): string {
  switch (change.case) {
    case "nodesBegin":
      return "nodes:";
    case "node":
      return `node ${change.value.name} ${change.value.vtepIpv4}`;
    case "nodeRemoved":
      return `no node ${change.value}`;
    case "networkBegin":
      return `network ${change.value.network?.name}, MTU ${change.value.effectiveMtu}:`;
    case "network":
      return `network ${change.value.network?.name}, MTU ${change.value.effectiveMtu}`;
    case "networkRemoved":
      return `no network ${change.value}`;
    case "endpoint": {
      const { network, id, ips, node, floatingAddresses } = change.value;
      const floating = floatingAddresses.map(({ name, endpoint }) => ` as ${name} for ${endpoint}`);
      return `endpoint ${network}/${id} ${ips} on ${node}${floating.join("")}`;
    }
    case "endpointRemoved":
      return `no endpoint ${change.value.network}/${change.value.id}`;
    case "block":
      return `block ${change.value.network} ${change.value.cidr} of ${change.value.node}, generation ${change.value.generation}`;
    case "agentRefused":
      return `refused ${change.value}`;
    case "blockRemoved":
      return `no block ${change.value.network} ${change.value.cidr}`;
    case "pod":
      return `pod ${change.value.title} ${change.value.networks} ${JSON.stringify(change.value.labels)}`;
    case "podRemoved":
      return `no pod ${change.value}`;
    case "policiesBegin":
      return `policies of ${change.value}:`;
    case "policiesResumed":
      return `policies of ${change.value}, and members that changed:`;
    case "policiesRemoved":
      return `no policies of ${change.value}`;
    case "policy":
      return `policy ${change.value.name}, priority ${change.value.priority}`;
    case "policyRemoved":
      return `no policy ${change.value.tenant}/${change.value.name}`;
    case "policyMember": {
      const { tenant, network, id, ips, labels } = change.value;
      return `member ${tenant}/${network}/${id} ${ips} ${JSON.stringify(labels)}`;
    }
    case "policyMemberRemoved":
      return `no member ${change.value.tenant}/${change.value.network}/${change.value.id}`;
    default:
      return "unknown";
  }
}
