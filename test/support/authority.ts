import type { TestContext } from "node:test";
import { cidr } from "../../src/base/cidr.ts";
import { ManualClock } from "../../src/base/clock.ts";
import { type Ipv4Address, ip } from "../../src/base/ip.ts";
import { silentLogger } from "../../src/base/logger.ts";
import { unwrap } from "../../src/base/result.ts";
import { type EndpointDraft, parseEndpointDraft, parseNetworkDraft } from "../../src/model/schema.ts";
import { Administration } from "../../src/server/administration.ts";
import { Blocks } from "../../src/server/blocks.ts";
import { Endpoints } from "../../src/server/endpoints.ts";
import { Identities } from "../../src/server/identities.ts";
import { CertificateAuthority } from "../../src/server/identity/certificate-authority.ts";
import { Learned } from "../../src/server/learned.ts";
import { Ledger } from "../../src/server/ledger.ts";
import { Nodes } from "../../src/server/nodes.ts";
import { records } from "../../src/server/records.ts";
import { MemoryStore } from "../../src/store/index.ts";
import type { Store, Transaction } from "../../src/store/store.ts";
import { temporaryDirectory } from "../../src/testing/temporary-directory.ts";
import { endpointId } from "./server.ts";

export type Authority = Awaited<ReturnType<typeof openAuthority>>;

/** The server's authority without its API, on a clock of the test's own; gone with the test. */
export async function openAuthority(t: TestContext, store: Store = new MemoryStore(), clock = new ManualClock()) {
  const ledger = await Ledger.open({ store, clock, logger: silentLogger });
  const identities = new Identities(ledger, await CertificateAuthority.open(temporaryDirectory(t), clock));
  const blocks = new Blocks(ledger, identities);
  const endpoints = new Endpoints(ledger, identities, blocks);
  const learned = new Learned(ledger, identities);
  const nodes = new Nodes(ledger, identities, endpoints, blocks, [cidr("10.255.0.0/16")]);
  const administration = new Administration(ledger, endpoints, nodes);
  let isOpen = true;
  const close = async (): Promise<void> => {
    if (!isOpen) return;
    isOpen = false;
    await identities.close();
    await endpoints.close();
    await blocks.close();
    await ledger.close();
  };
  t.after(close);
  return { store, clock, ledger, identities, blocks, endpoints, learned, nodes, administration, close };
}

/** Who node `number` is. */
export function nodeIdentity(number: number) {
  return { name: `h${number}`, generation: 1 };
}

/** Makes nodes h1 to h`count` known, with VTEP addresses of 10.255.0.0/16. */
export async function addNodes({ ledger, nodes }: Authority, count: number): Promise<void> {
  for (let number = 1; number <= count; number++) {
    const caller = nodeIdentity(number);
    await ledger.commit("test", () => ({
      conditions: [],
      operations: [records.identity.put({ generation: 1, revoked: false }, caller.name)],
    }));
    const ipv4 = ip(`10.255.${number >> 8}.${number & 0xff}`) as Ipv4Address;
    await nodes.register(caller, { vtepAddresses: { ipv4 }, underlayMtu: 1500 }, undefined);
  }
}

/** Makes tenant `acme` and network `blue`. */
export async function addNetwork({ administration }: Authority, fields: object): Promise<void> {
  await administration.create([
    { kind: "tenant", value: { name: "acme", placement: "own" } },
    { kind: "network", value: unwrap(parseNetworkDraft({ name: "blue", tenant: "acme", ...fields })) },
  ]);
}

/** What a node asks for in network `blue`. */
export function endpointDraft(number: number, fields: object = {}): EndpointDraft {
  return unwrap(parseEndpointDraft({ id: endpointId(number), network: "blue", ...fields }));
}

/** Lets what is under way go on until the condition holds. */
export async function settled(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
}

/** The store as a server sees it to whom something happens on the way. */
export function withHooks(
  store: Store,
  hooks: { transact(transaction: Transaction): Promise<void>; watch(): Promise<void> },
): Store {
  return {
    get revision() {
      return store.revision;
    },
    range: (prefix, page) => store.range(prefix, page),
    get: (key) => store.get(key),
    async transact(transaction) {
      await hooks.transact(transaction);
      return store.transact(transaction);
    },
    compact: (revision) => store.compact(revision),
    close: () => store.close(),
    async *watch(prefix, afterRevision, signal) {
      for await (const batch of store.watch(prefix, afterRevision, signal)) {
        await hooks.watch();
        yield batch;
      }
    },
  };
}
