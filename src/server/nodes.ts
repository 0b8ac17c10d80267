import type { NodeIdentity } from "../api/node-uri.ts";
import { type Cidr, cidrsOverlap } from "../base/cidr.ts";
import { WeftError } from "../base/errors.ts";
import type { IpAddress } from "../base/ip.ts";
import { type Displaced, judgeRegistration, vtepsOf } from "../model/node-registration.ts";
import type { Node, NodeSettings } from "../model/resources.ts";
import type { NodeDraft } from "../model/schema.ts";
import type { Condition, Operation } from "../store/store.ts";
import type { Blocks } from "./blocks.ts";
import type { Endpoints } from "./endpoints.ts";
import type { Identities } from "./identities.ts";
import type { Ledger } from "./ledger.ts";
import { owners, records, remove } from "./records.ts";
import { requireNone } from "./refusal.ts";

/** Labels of one node at most. */
const labelLimit = 64;

/** What shall become of a node's settings; what is absent stays. */
export interface NodeSettingsChange {
  readonly labels: NodeSettings["labels"];
  readonly removedLabels: readonly string[];
  readonly approved?: NodeSettings["approved"];
  readonly drained?: boolean;
  readonly blocks?: readonly Cidr[];
}

/** The nodes: what they say of themselves, what the administrator says of them, and their removal. */
export class Nodes {
  readonly #ledger: Ledger;
  readonly #identities: Identities;
  readonly #endpoints: Endpoints;
  readonly #blocks: Blocks;
  readonly #vtepPrefixes: readonly Cidr[];

  /** `vtepPrefixes`: where VTEP addresses must lie; none: each must be proved or approved. */
  constructor(
    ledger: Ledger,
    identities: Identities,
    endpoints: Endpoints,
    blocks: Blocks,
    vtepPrefixes: readonly Cidr[],
  ) {
    this.#ledger = ledger;
    this.#identities = identities;
    this.#endpoints = endpoints;
    this.#blocks = blocks;
    this.#vtepPrefixes = vtepPrefixes;
  }

  /**
   * Takes over a node's VTEP addresses and underlay MTU. Nothing is written when they are as before. `source`: where the
   * connection comes from on which it says so.
   */
  async register(caller: NodeIdentity, draft: Omit<NodeDraft, "name">, source: IpAddress | undefined): Promise<Node> {
    const attempted = `register node ${caller.name}`;
    const { state } = this.#ledger;
    const node: Node = { ...draft, name: caller.name, generation: caller.generation };
    let displaced: readonly Displaced[] = [];
    await this.#ledger.commit(attempted, () => {
      const identity = this.#identities.requireCurrent(caller, attempted);
      const known = state.nodes.get(caller.name);
      if (known !== undefined && sameNode(known.value, node)) return { conditions: [], operations: [] };
      const judgement = judgeRegistration(node, {
        known: known?.value,
        source,
        approved: state.nodeSettings.get(node.name)?.value.approved ?? {},
        vtepPrefixes: this.#vtepPrefixes,
        nodes: Array.from(state.nodes.values(), (other) => other.value),
        sourceOf: (other) => this.#ledger.fanout.sourceOf(other),
        networks: Array.from(state.networks.values(), ({ network }) => network),
        isFloating: (address) => state.plain["floating-address"].has(address),
      });
      requireNone(judgement.refusals);
      displaced = judgement.displaced;
      const conditions: Condition[] = [
        { key: records.identity.key(node.name), revision: identity.revision },
        { key: records.node.key(node.name), revision: known?.revision ?? 0 },
      ];
      const operations: Operation[] = [records.node.put(node, node.name)];
      const before = new Set(known === undefined ? [] : vtepsOf(known.value));
      for (const { node: other, lost } of displaced) {
        const { name } = other;
        conditions.push({ key: records.node.key(name), revision: state.nodes.get(name)?.revision ?? 0 });
        operations.push(records.node.put(without(other, lost), name));
      }
      const inherited = new Set(displaced.flatMap(({ lost }) => lost));
      for (const address of vtepsOf(node)) {
        if (before.delete(address)) continue;
        // Of what another loses that one's own revision vouches.
        if (!inherited.has(address)) conditions.push({ key: owners.vtep.key(address), revision: 0 });
        operations.push(owners.vtep.put(node.name, address));
      }
      for (const address of before) operations.push(owners.vtep.remove(address));
      return { conditions, operations };
    });
    for (const { node: other, lost } of displaced)
      this.#ledger.logger.warn(
        { node: node.name, addresses: lost, formerly: other.name, source },
        "VTEP addresses went to another node, which has them now",
      );
    return node;
  }

  /** Takes over what the administrator says of a node, which may be yet to join. */
  async set(name: string, change: NodeSettingsChange): Promise<{ settings: NodeSettings; revision: number }> {
    const attempted = `set node ${name}`;
    const { state } = this.#ledger;
    let settings: NodeSettings = { labels: {}, approved: {} };
    const revision = await this.#ledger.commit(attempted, () => {
      const known = state.nodeSettings.get(name);
      const { labels = {}, approved = {}, drained = false, blocks = [] } = known?.value ?? {};
      const kept = Object.entries(labels).filter(([label]) => !change.removedLabels.includes(label));
      settings = {
        labels: { ...Object.fromEntries(kept), ...change.labels },
        approved: change.approved ?? approved,
        ...((change.drained ?? drained) ? { drained: true } : {}),
        ...declaring(change.blocks ?? blocks),
      };
      this.#requireFit(name, settings, attempted);
      this.#requireOwnBlocks(name, blocks, settings.blocks ?? [], attempted);
      const isEmpty =
        Object.keys(settings.labels).length === 0 &&
        vtepsOf({ vtepAddresses: settings.approved }).length === 0 &&
        settings.drained === undefined &&
        settings.blocks === undefined;
      if (isEmpty && known === undefined) return { conditions: [], operations: [] };
      return {
        conditions: [{ key: records.nodeSettings.key(name), revision: known?.revision ?? 0 }],
        operations: [isEmpty ? records.nodeSettings.remove(name) : records.nodeSettings.put(settings, name)],
      };
    });
    this.#ledger.logger.info({ node: name, ...settings }, "settings of a node changed");
    return { settings, revision };
  }

  /** An address that two nodes may register unproved would be contested for ever. */
  #requireFit(name: string, settings: NodeSettings, attempted: string): void {
    const count = Object.keys(settings.labels).length;
    if (count > labelLimit)
      throw new WeftError({
        code: "invalid-argument",
        attempted,
        reason: `${count} labels are more than ${labelLimit}`,
        hint: `remove some: weft node set ${name} --label NAME-`,
      });
    for (const [other, { value }] of this.#ledger.state.nodeSettings)
      for (const address of other === name ? [] : vtepsOf({ vtepAddresses: settings.approved }))
        if (Object.values(value.approved).includes(address))
          throw new WeftError({
            code: "already-exists",
            attempted,
            reason: `${address} is approved for node ${other}`,
            hint: `withdraw that first: weft node set ${other} --no-vtep`,
          });
  }

  /**
   * No part of a block is another node's, and none is taken back from which endpoints have addresses: others would be refused it
   * for as long, though it is declared for them.
   */
  #requireOwnBlocks(name: string, before: readonly Cidr[], after: readonly Cidr[], attempted: string): void {
    const { state } = this.#ledger;
    const [former] = before.filter((block) => !after.includes(block) && this.#blocks.isUsed(name, block));
    if (former !== undefined)
      throw new WeftError({
        code: "failed-precondition",
        attempted,
        reason: `endpoints on it have addresses of block ${former}`,
        hint: `detach them first; which they are: weft node show ${name}, weft endpoint list`,
      });
    for (const [other, { value }] of state.nodeSettings)
      for (const block of other === name ? [] : after) {
        const taken = value.blocks?.find((each) => cidrsOverlap(each, block));
        if (taken !== undefined)
          throw new WeftError({
            code: "already-exists",
            attempted,
            reason: `${block} overlaps ${taken === block ? "the same block" : taken}, which is declared for node ${other}`,
            hint: `choose another, or take that back first: weft node set ${other} --no-block`,
          });
      }
  }

  /**
   * A node that is away is dead: it has none of its endpoints any more, which others may attach with their addresses at once. It may
   * come back, and is told so before it answers for them.
   */
  async fail(
    name: string,
  ): Promise<{ readonly released: number; readonly takenOver: number; readonly revision: number }> {
    const attempted = `declare node ${name} dead`;
    const { state, readiness } = this.#ledger;
    const refuse = (code: "not-found" | "failed-precondition", reason: string, hint: string): WeftError =>
      new WeftError({ code, attempted, reason, hint });
    if (!state.nodes.has(name))
      throw refuse("not-found", `there is no node ${name}`, "list the nodes with: weft node list");
    if (readiness.isConnected(name))
      throw refuse("failed-precondition", "it is connected", `move its endpoints away with: weft node drain ${name}`);
    const ids: string[] = [];
    const standing: string[] = [];
    for (const entry of state.hosted.get(name) ?? [])
      for (const { id, standby } of entry.hosts.get(name)?.endpoints ?? [])
        (standby === undefined ? ids : standing).push(id);
    // Whoever stands by has all in place.
    for (const id of standing)
      await this.#ledger.commit(attempted, () => {
        const known = state.endpoints.get(id);
        if (known?.node !== name || known.standby === undefined) return { conditions: [], operations: [] };
        const { revision, ...endpoint } = known;
        const standby = { ...known.standby, when: "ready" as const, fromDead: true as const };
        const operation = records.endpoint.put({ ...endpoint, standby }, known.network, id);
        return { conditions: [{ key: operation.key, revision }], operations: [operation] };
      });
    const revision = await this.#endpoints.releaseAny(ids, attempted, name);
    this.#ledger.logger.warn(
      { node: name, released: ids.length, takenOver: standing.length },
      "a node was declared dead",
    );
    return { released: ids.length, takenOver: standing.length, revision };
  }

  /**
   * Removes a node: its certificate is refused from now on, its endpoints and blocks are released, what was set for it is
   * forgotten. Cut short by a crash, it is completed by deleting the node again.
   */
  async delete(name: string): Promise<number> {
    const attempted = `delete node ${name}`;
    const { state } = this.#ledger;
    const isKnown = state.nodes.has(name) || state.nodeSettings.has(name);
    if (!isKnown && (state.identities.get(name)?.value.revoked ?? true))
      throw new WeftError({
        code: "not-found",
        attempted,
        reason: `there is no node ${name}`,
        hint: "list the nodes with: weft node list",
      });
    await this.#ledger.commit(attempted, () => {
      const identity = state.identities.get(name);
      if (identity === undefined || identity.value.revoked) return { conditions: [], operations: [] };
      return {
        conditions: [{ key: records.identity.key(name), revision: identity.revision }],
        operations: [records.identity.put({ generation: identity.value.generation, revoked: true }, name)],
      };
    });
    const ids: string[] = [];
    for (const entry of state.hosted.get(name) ?? [])
      for (const endpoint of entry.hosts.get(name)?.endpoints ?? []) ids.push(endpoint.id);
    await this.#endpoints.releaseAny(ids, attempted, name);
    await this.#blocks.releaseNode(name, attempted);
    return this.#ledger.commit(attempted, () => {
      const conditions: Condition[] = [];
      const operations: Operation[] = [];
      const forget = (key: string, known: { readonly revision: number } | undefined): void => {
        if (known === undefined) return;
        conditions.push({ key, revision: known.revision });
        operations.push(remove(key));
      };
      const known = state.nodes.get(name);
      forget(records.node.key(name), known);
      for (const address of known === undefined ? [] : vtepsOf(known.value))
        operations.push(owners.vtep.remove(address));
      forget(records.nodeSettings.key(name), state.nodeSettings.get(name));
      return { conditions, operations };
    });
  }
}

/** Each once. */
function declaring(blocks: readonly Cidr[]): Pick<NodeSettings, "blocks"> {
  return blocks.length === 0 ? {} : { blocks: [...new Set(blocks)] };
}

function sameNode(a: Node, b: Node): boolean {
  return (
    a.vtepAddresses.ipv4 === b.vtepAddresses.ipv4 &&
    a.vtepAddresses.ipv6 === b.vtepAddresses.ipv6 &&
    a.underlayMtu === b.underlayMtu &&
    a.generation === b.generation
  );
}

function without({ vtepAddresses, ...rest }: Node, lost: readonly IpAddress[]): Node {
  const kept = Object.entries(vtepAddresses).filter(([, address]) => !lost.includes(address));
  return { ...rest, vtepAddresses: Object.fromEntries(kept) };
}
