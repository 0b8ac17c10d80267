import type { NodeIdentity } from "../api/node-uri.ts";
import { WeftError } from "../base/errors.ts";
import type { IpAddress } from "../base/ip.ts";
import { checkNodeRegistration } from "../model/conflicts.ts";
import type { Node } from "../model/resources.ts";
import type { NodeDraft } from "../model/schema.ts";
import type { Condition, Operation } from "../store/store.ts";
import type { Blocks } from "./blocks.ts";
import type { Endpoints } from "./endpoints.ts";
import type { Identities } from "./identities.ts";
import type { Ledger } from "./ledger.ts";
import { identityCodec, keys, nodeCodec, put, putOwner, remove } from "./records.ts";
import { requireNone } from "./refusal.ts";

/** The nodes: what they say of themselves, and their removal. */
export class Nodes {
  readonly #ledger: Ledger;
  readonly #identities: Identities;
  readonly #endpoints: Endpoints;
  readonly #blocks: Blocks;

  constructor(ledger: Ledger, identities: Identities, endpoints: Endpoints, blocks: Blocks) {
    this.#ledger = ledger;
    this.#identities = identities;
    this.#endpoints = endpoints;
    this.#blocks = blocks;
  }

  /** Takes over a node's VTEP addresses, underlay MTU and labels. Nothing is written when they are as before. */
  async register(caller: NodeIdentity, draft: Omit<NodeDraft, "name">): Promise<Node> {
    const attempted = `register node ${caller.name}`;
    const { state } = this.#ledger;
    const node: Node = { ...draft, name: caller.name, generation: caller.generation };
    await this.#ledger.commit(attempted, () => {
      const identity = this.#identities.requireCurrent(caller, attempted);
      const known = state.nodes.get(caller.name);
      if (known !== undefined && sameNode(known.value, node)) return { conditions: [], operations: [] };
      const others = Array.from(state.nodes.values(), (other) => other.value);
      requireNone(checkNodeRegistration(node, others));
      const conditions: Condition[] = [
        { key: keys.identity(node.name), revision: identity.revision },
        { key: keys.node(node.name), revision: known?.revision ?? 0 },
      ];
      const operations: Operation[] = [put(keys.node(node.name), nodeCodec, node)];
      const before = new Set(known === undefined ? [] : vtepsOf(known.value));
      for (const address of vtepsOf(node)) {
        if (before.delete(address)) continue;
        conditions.push({ key: keys.vtep(address), revision: 0 });
        operations.push(putOwner(keys.vtep(address), node.name));
      }
      for (const address of before) operations.push(remove(keys.vtep(address)));
      return { conditions, operations };
    });
    return node;
  }

  /**
   * Removes a node: its certificate is refused from now on, its endpoints and blocks are released. Cut short by a crash, it is
   * completed by deleting the node again.
   */
  async delete(name: string): Promise<number> {
    const attempted = `delete node ${name}`;
    const { state } = this.#ledger;
    if (!state.nodes.has(name) && (state.identities.get(name)?.value.revoked ?? true))
      throw new WeftError({
        code: "not-found",
        attempted,
        reason: `there is no node ${name}`,
        hint: "list the nodes with: weft node list",
      });
    await this.#ledger.commit(attempted, () => {
      const identity = state.identities.get(name);
      if (identity === undefined || identity.value.revoked) return { conditions: [], operations: [] };
      const key = keys.identity(name);
      return {
        conditions: [{ key, revision: identity.revision }],
        operations: [put(key, identityCodec, { generation: identity.value.generation, revoked: true })],
      };
    });
    const ids: string[] = [];
    for (const entry of state.hosted.get(name) ?? [])
      for (const endpoint of entry.hosts.get(name)?.endpoints ?? []) ids.push(endpoint.id);
    await this.#endpoints.releaseAny(ids, attempted);
    await this.#blocks.releaseNode(name, attempted);
    return this.#ledger.commit(attempted, () => {
      const known = state.nodes.get(name);
      if (known === undefined) return { conditions: [], operations: [] };
      const key = keys.node(name);
      return {
        conditions: [{ key, revision: known.revision }],
        operations: [remove(key), ...vtepsOf(known.value).map((address) => remove(keys.vtep(address)))],
      };
    });
  }
}

function vtepsOf(node: Node): IpAddress[] {
  const { ipv4, ipv6 } = node.vtepAddresses;
  return [ipv4, ipv6].filter((address) => address !== undefined);
}

function sameNode(a: Node, b: Node): boolean {
  const labels = Object.entries(a.labels);
  return (
    a.vtepAddresses.ipv4 === b.vtepAddresses.ipv4 &&
    a.vtepAddresses.ipv6 === b.vtepAddresses.ipv6 &&
    a.underlayMtu === b.underlayMtu &&
    a.generation === b.generation &&
    labels.length === Object.keys(b.labels).length &&
    labels.every(([name, value]) => b.labels[name] === value)
  );
}
