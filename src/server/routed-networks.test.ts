/** Networks of a tenant that are routed with each other: whoever hosts one of them is told of all; and peers among them, of
 * which those are told who have something in one. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { createNetwork, endpointId, joinTestNode, startTestServer, TestWatch } from "../../test/support/server.ts";
import type { WatchChange } from "../api/generated/weft/v1/node_pb.js";
import { type Cidr, cidr } from "../base/cidr.ts";
import { ManualClock } from "../base/clock.ts";
import { type Ipv4Address, ip } from "../base/ip.ts";
import { mac } from "../base/mac.ts";
import { unwrap } from "../base/result.ts";
import { peerName } from "../model/names.ts";
import { parseNetwork } from "../model/schema.ts";
import type { Operation } from "../store/store.ts";
import { Fanout } from "./fanout.ts";
import { records } from "./records.ts";
import { type NetworkEntry, State } from "./state.ts";
import type { Watcher } from "./watcher.ts";

/** The first three and the last two are of one tenant each. */
const names = ["n0", "n1", "n2", "n3", "n4"];
const tenantOf = (network: number): string => (network < 3 ? "acme" : "other");
const nodes = ["h1", "h2", "h3", "h4"];

type Step =
  | {
      readonly kind: "network";
      readonly network: number;
      readonly isRouted: boolean;
      readonly subnet: number;
      readonly peers: readonly number[];
    }
  | { readonly kind: "no network"; readonly network: number }
  | { readonly kind: "endpoint"; readonly network: number; readonly node: number; readonly id: number }
  | { readonly kind: "no endpoint"; readonly network: number; readonly id: number }
  | { readonly kind: "block"; readonly node: number; readonly id: number; readonly isReleased: boolean };

const below = (count: number) => fc.integer({ min: 0, max: count - 1 });
const steps: fc.Arbitrary<readonly Step[]> = fc.array(
  fc.oneof(
    fc.record({
      kind: fc.constant("network" as const),
      network: below(5),
      isRouted: fc.boolean(),
      subnet: below(2),
      peers: fc.subarray([0, 1, 2, 3, 4]),
    }),
    fc.record({ kind: fc.constant("no network" as const), network: below(5) }),
    fc.record({ kind: fc.constant("endpoint" as const), network: below(5), node: below(4), id: below(3) }),
    fc.record({ kind: fc.constant("no endpoint" as const), network: below(5), id: below(3) }),
    fc.record({ kind: fc.constant("block" as const), node: below(4), id: below(2), isReleased: fc.boolean() }),
  ),
  { maxLength: 40 },
);

/** Commits of a store that holds to what the server asks of them, told to a watcher for each node. */
class Control {
  readonly state = new State(new ManualClock());
  readonly fanout = new Fanout(this.state, new ManualClock());
  readonly seen = new Map<string, Seen>();

  constructor() {
    for (const [index, name] of nodes.entries())
      this.#commit(
        records.node.put(
          {
            name,
            vtepAddresses: { ipv4: ip(`192.0.2.${index + 1}`) as Ipv4Address },
            underlayMtu: 1500,
            generation: 1,
          },
          name,
        ),
      );
    for (const name of nodes) this.seen.set(name, new Seen(openOn(this.fanout, name)));
  }

  async take(step: Step): Promise<void> {
    const operation = this.#operationOf(step);
    if (operation === undefined) return;
    this.#commit(operation);
    for (const [name, seen] of this.seen) {
      await seen.read(this.fanout);
      assert.deepEqual(seen.text(), this.#shouldSee(name), `${name} after ${JSON.stringify(step)}`);
      // One that begins now is told the same.
      const fanout = new Fanout(this.state, new ManualClock());
      const anew = new Seen(openOn(fanout, name));
      await anew.read(fanout);
      assert.deepEqual(anew.text(), this.#shouldSee(name), `${name} anew after ${JSON.stringify(step)}`);
    }
  }

  #commit(operation: Operation): void {
    const revision = this.state.revision + 1;
    const notice = (change: Parameters<Fanout["notice"]>[0]): void => this.fanout.notice(change);
    this.state.apply({ ...operation, revision }, notice);
    this.state.settle(revision, notice);
    this.fanout.settle(revision);
  }

  /** `undefined`: the server would have refused it. */
  #operationOf(step: Step): Operation | undefined {
    if (step.kind === "block") return this.#blockOperation(step);
    const name = names[step.network] ?? "";
    const entry = this.state.networks.get(name);
    switch (step.kind) {
      case "network": {
        const isLayer3 = step.network === 3;
        const isUsed = entry !== undefined && (entry.endpointCount > 0 || [...entry.ownedBlocks()].length > 0);
        const subnet = isUsed ? entry.network.subnets[0] : `10.1${step.network}${step.subnet}.0.0/16`;
        const network = parseNetwork({
          name,
          tenant: tenantOf(step.network),
          vni: 100 + step.network,
          mode: isLayer3 ? "l3" : "l2",
          subnets: [subnet],
          gateway: step.isRouted ? "distributed" : "none",
          peers: step.isRouted
            ? step.peers
                .filter((peer) => tenantOf(peer) !== tenantOf(step.network))
                .map((peer) => `${tenantOf(peer)}/${names[peer]}`)
            : [],
        });
        return records.network.put(unwrap(network), name);
      }
      case "no network":
        return entry === undefined || entry.endpointCount > 0 ? undefined : records.network.remove(name);
      case "endpoint": {
        const node = nodes[step.node] ?? "";
        const block =
          step.network === 3 ? [...(entry?.ownedBlocks() ?? [])].find((each) => each.node === node) : undefined;
        if (entry === undefined || (step.network === 3 && block === undefined)) return undefined;
        const id = idOf(step);
        const prefix = step.network === 3 ? "10.199" : entry.network.subnets[0]?.slice(0, 6);
        const endpoint = {
          id,
          network: name,
          node,
          mac: mac(`02:00:00:00:0${step.network}:0${step.id}`),
          ips: [ip(`${prefix}.9.${step.id + 1}`)],
          attachment: "netns",
          sequence: 0,
        } as const;
        return records.endpoint.put(endpoint, name, id);
      }
      case "no endpoint":
        return this.state.endpoints.has(idOf(step)) ? records.endpoint.remove(name, idOf(step)) : undefined;
    }
  }

  #blockOperation({ node, id, isReleased }: Extract<Step, { kind: "block" }>): Operation | undefined {
    const entry = this.state.networks.get("n3");
    if (entry === undefined) return undefined;
    const prefix = entry.network.subnets[0]?.slice(0, 6);
    const block: Cidr = cidr(`${prefix}.0.${id * 64}/26`);
    const known = entry.blocks.get(block);
    const isOwned = known?.released === 0;
    if (isReleased !== isOwned) return undefined;
    const owner = isReleased ? (known?.node ?? "") : (nodes[node] ?? "");
    if (isReleased && (entry.hosts.get(owner)?.endpoints.size ?? 0) > 0) return undefined;
    const state = { node: owner, generation: 1, closing: false, released: isReleased ? 1 : 0 };
    return records.block.put(state, "n3", block);
  }

  /** From what there is, as plainly as can be said. */
  #shouldSee(node: string): string[] {
    const entries = [...this.state.networks.values()];
    const has = (entry: NetworkEntry, who: string): boolean =>
      [...this.state.endpoints.values()].some(({ network, node }) => network === entry.network.name && node === who) ||
      [...entry.ownedBlocks()].some((block) => block.node === who);
    const isRouted = ({ network }: NetworkEntry): boolean => network.gateway === "distributed";
    const areRouted = (one: NetworkEntry, other: NetworkEntry): boolean =>
      isRouted(one) &&
      isRouted(other) &&
      (one.network.tenant === other.network.tenant ||
        (one.network.peers.includes(peerName(other.network)) && other.network.peers.includes(peerName(one.network))));
    const hosts = (who: string) =>
      entries.filter((entry) =>
        entries.some((other) => (other === entry || areRouted(entry, other)) && has(other, who)),
      );
    const own = hosts(node);
    const known = nodes.filter((other) => other === node || hosts(other).some((entry) => own.includes(entry)));
    const parts = own.flatMap((entry) => [
      `network ${entry.network.name} ${entry.network.gateway ?? "none"} ${entry.network.subnets} ${entry.network.peers}`,
      ...[...this.state.endpoints.values()]
        .filter(
          ({ network, node: place }) =>
            network === entry.network.name && (entry.network.mode === "l2" || place === node),
        )
        .map((each) => `endpoint ${each.id} on ${each.node}`),
      ...Array.from(entry.ownedBlocks(), (block) => `block ${block.cidr} of ${block.node}`),
    ]);
    return [...known.map((name) => `node ${name}`), ...parts].sort();
  }
}

function openOn(fanout: Fanout, name: string): Watcher {
  return fanout.open({ name, generation: 1 }, { revision: 0n, networks: [], inParts: false }, undefined);
}

function idOf({ network, id }: { readonly network: number; readonly id: number }): string {
  return endpointId(network * 16 + id + 1);
}

/** What one node was told, put together. */
class Seen {
  readonly #watcher: Watcher;
  readonly #messages: ReturnType<Watcher["messages"]>;
  readonly #nodes = new Set<string>();
  /** By network: its line, and those of what is in it. */
  readonly #networks = new Map<string, Map<string, string>>();

  constructor(watcher: Watcher) {
    this.#watcher = watcher;
    this.#messages = watcher.messages();
  }

  /** All that it was told by now. */
  async read(fanout: Fanout): Promise<void> {
    fanout.tell(this.#watcher.node, { change: { case: "reportNow", value: true } });
    for await (const { changes } of { [Symbol.asyncIterator]: () => ({ next: () => this.#messages.next() }) })
      for (const { change } of changes) {
        if (change.case === "reportNow") return;
        this.#take(change);
      }
  }

  text(): string[] {
    const parts = [...this.#networks.values()].flatMap((lines) => [...lines.values()]);
    return [...Array.from(this.#nodes, (name) => `node ${name}`), ...parts].sort();
  }

  #take(change: WatchChange["change"]): void {
    switch (change.case) {
      case "node":
        this.#nodes.add(change.value.name);
        break;
      case "nodeRemoved":
        this.#nodes.delete(change.value);
        break;
      case "networkBegin":
      case "network": {
        const { name = "", gateway, subnets, peers } = change.value.network ?? {};
        const lines = change.case === "network" ? this.#networks.get(name) : new Map<string, string>();
        assert.ok(lines !== undefined, `told of network ${name}, which it does not host`);
        this.#networks.set(
          name,
          lines.set("", `network ${name} ${gateway || "none"} ${subnets?.join()} ${peers?.join()}`),
        );
        break;
      }
      case "networkRemoved":
        this.#networks.delete(change.value);
        break;
      case "endpoint":
        this.#linesOf(change.value.network).set(change.value.id, `endpoint ${change.value.id} on ${change.value.node}`);
        break;
      case "endpointRemoved":
        this.#linesOf(change.value.network).delete(change.value.id);
        break;
      case "block":
        this.#linesOf(change.value.network).set(
          change.value.cidr,
          `block ${change.value.cidr} of ${change.value.node}`,
        );
        break;
      case "blockRemoved":
        this.#linesOf(change.value.network).delete(change.value.cidr);
        break;
    }
  }

  #linesOf(network: string): Map<string, string> {
    const lines = this.#networks.get(network);
    assert.ok(lines !== undefined, `told of what is in network ${network}, which it does not host`);
    return lines;
  }
}

test("who has something in one of a tenant's routed networks is told of all of them and of its peers, and of nothing else", async () => {
  await fc.assert(
    fc.asyncProperty(steps, async (all) => {
      const control = new Control();
      for (const step of all) await control.take(step);
    }),
    { numRuns: 150 },
  );
});

test("a network that is routed or not any more comes and goes on the nodes that have nothing of it", async (t) => {
  const server = await startTestServer(t);
  const one = await joinTestNode(t, server, 1);
  const two = await joinTestNode(t, server, 2);
  await createNetwork(server, "red", "10.1.0.0/24", { gateway: "distributed" });
  await createNetwork(server, "blue", "10.0.0.0/24");
  const claim = async (node: typeof one, number: number, network: string): Promise<bigint> =>
    (await node.client.createEndpoint({ id: endpointId(number), network })).revision;
  await claim(two, 2, "blue");
  const watch = await new TestWatch(t, one.client).reached(await claim(one, 1, "red"));
  watch.take();
  const set = async (gateway: string): Promise<string[]> => {
    const value = { name: "blue", tenant: "acme", subnets: ["10.0.0.0/24"], gateways: ["10.0.0.254"], gateway };
    await server.admin.apply({ resources: [{ resource: { case: "network", value } }] });
    await watch.reached((await server.admin.getStatus({})).revision);
    return watch.take();
  };
  assert.deepEqual(await set("distributed"), [
    "node h2 192.0.2.2",
    "network blue, MTU 1450:",
    "endpoint blue/000000000002 10.0.0.1 on h2",
    "network blue, MTU 1450",
  ]);
  const { hosts } = await server.admin.list({ kind: "network", name: "blue" });
  assert.deepEqual(
    hosts.map(({ node, endpoints }) => [node, endpoints]),
    [
      ["h1", 0],
      ["h2", 1],
    ],
  );
  assert.deepEqual(await set("none"), ["no network blue", "no node h2"]);
});
