import type { NodeIdentity } from "../api/node-uri.ts";
import type { Cidr } from "../base/cidr.ts";
import { formatDuration, milliseconds, seconds } from "../base/duration.ts";
import { WeftError } from "../base/errors.ts";
import type { Network } from "../model/resources.ts";
import type { BlockNeed } from "../model/subnet-pool.ts";
import type { Condition, Operation, Transaction } from "../store/store.ts";
import { claimIn } from "./hold.ts";
import type { Identities } from "./identities.ts";
import type { Ledger } from "./ledger.ts";
import { type BlockState, records } from "./records.ts";
import { Repetition } from "./repetition.ts";
import { requireSelected } from "./selection.ts";
import type { NetworkEntry, State, StoredBlock } from "./state.ts";

/** Blocks released in one transaction. */
const chunkLimit = 100;
const sweepInterval = seconds(5);

/** A block of a network. */
interface NetworkBlock {
  readonly entry: NetworkEntry;
  readonly cidr: Cidr;
}

/** The only blocks that a node may come to own in a network; `undefined`: any. */
export function declaredBlocks(
  { nodeSettings }: Pick<State, "nodeSettings">,
  { blockAssignment }: Pick<Network, "blockAssignment">,
  node: string,
): readonly Cidr[] | undefined {
  return blockAssignment === "automatic" ? undefined : (nodeSettings.get(node)?.value.blocks ?? []);
}

/**
 * Who owns which block of the l3 networks. A block changes hands in two phases. It is claimed by a commit of its own,
 * which all nodes of the network are told before an endpoint can have an address of it: that claim rests on the block's
 * revision. A block that is released is nobody's until the quarantine has passed, so that no node routes it to its
 * former owner any more when the next one has it; its next owner has a higher generation.
 *
 * To be released, a block is first marked as closing: claims of endpoints that rest on its former revision fail from
 * then on, so that whether it is empty can be seen. A later claim opens it again, and the release fails.
 */
export class Blocks {
  readonly #ledger: Ledger;
  readonly #identities: Identities;
  /** Claims under way, by network and node. */
  readonly #claims = new Map<string, Promise<boolean>>();
  /** Blocks taken back from others for a node that found none, by network, subnet and node, while they are in quarantine. */
  readonly #takenBack = new Map<string, NetworkBlock>();
  readonly #sweeper: Repetition;

  constructor(ledger: Ledger, identities: Identities) {
    this.#ledger = ledger;
    this.#identities = identities;
    this.#sweeper = new Repetition(ledger, sweepInterval, "release blocks", () => this.#sweep());
  }

  close(): Promise<void> {
    return this.#sweeper.stop();
  }

  /**
   * Claims what the caller needs, or waits for a claim of the same node that is under way; the caller looks again then.
   * False: others were faster. Throws when no block is left.
   */
  async provide(caller: NodeIdentity, entry: NetworkEntry, need: BlockNeed, attempted: string): Promise<boolean> {
    const key = `${entry.network.name}/${caller.name}`;
    const underWay = this.#claims.get(key);
    // Why that one failed is told to whoever asked for it; this one finds out by itself.
    if (underWay !== undefined) return underWay.catch(() => true);
    const claim = this.#claim(caller, entry, need, attempted);
    this.#claims.set(key, claim);
    try {
      return await claim;
    } finally {
      this.#claims.delete(key);
    }
  }

  /** Whether endpoints of the node have addresses of the block because it was declared for it. */
  isUsed(node: string, block: Cidr): boolean {
    const { state } = this.#ledger;
    return [...(state.hosted.get(node) ?? [])].some(
      (entry) =>
        entry.network.blockAssignment === "declared" &&
        entry.blocks.get(block)?.node === node &&
        entry.pool.blocksAt(block)?.isEmpty(block) === false,
    );
  }

  /** Releases all blocks of a node, but such as get an endpoint meanwhile. */
  releaseNode(node: string, attempted: string): Promise<number> {
    const places: NetworkBlock[] = [];
    for (const entry of this.#ledger.state.hosted.get(node) ?? [])
      for (const block of entry.ownedBlocks()) if (block.node === node) places.push({ entry, cidr: block.cidr });
    return this.#release(places, node, attempted);
  }

  async #claim(caller: NodeIdentity, entry: NetworkEntry, need: BlockNeed, attempted: string): Promise<boolean> {
    const { block } = need;
    if (block === undefined) throw await this.#exhausted(caller.name, entry, need, attempted);
    const identity = this.#identities.requireCurrent(caller, attempted);
    requireSelected(this.#ledger.state, entry.network, caller.name, attempted);
    const { name } = entry.network;
    const known = entry.blocks.get(block);
    const pool = entry.pool.blocksAt(block);
    const key = records.block.key(name, block);
    const state: BlockState = {
      node: caller.name,
      generation: (known?.generation ?? 0) + 1,
      closing: false,
      released: 0,
    };
    const claim = claimIn(entry);
    pool?.claim(block, caller.name);
    try {
      const { committed } = await this.#ledger.submit({
        conditions: [
          { key, revision: known?.revision ?? 0 },
          { key: records.identity.key(caller.name), revision: identity.revision },
          ...claim.conditions,
        ],
        operations: [...claim.operations, records.block.put(state, name, block)],
      });
      if (committed) this.#takenBack.delete(`${name}/${need.subnet}/${caller.name}`);
      return committed;
    } finally {
      pool?.endClaim(block);
    }
  }

  /** No block is free: takes one back in which nobody has an address, for this node to have after the quarantine. */
  async #exhausted(node: string, entry: NetworkEntry, need: BlockNeed, attempted: string): Promise<WeftError> {
    const { subnet, empty } = need;
    const { name, blockSize } = entry.network;
    const key = `${name}/${subnet}/${node}`;
    const taken = this.#takenBack.get(key);
    if ((taken === undefined || !this.#isWaiting(taken)) && empty !== undefined) {
      const owner = entry.blocks.get(empty)?.node ?? "";
      this.#takenBack.set(key, { entry, cidr: empty });
      await this.#release([{ entry, cidr: empty }], owner, attempted);
    }
    const again = entry.pool.blocksAt(subnet)?.need(node, undefined, this.#ledger.clock.monotonic());
    const freeAt = again?.ok ? again.value?.freeAt : undefined;
    const nobody = `no block of ${blockSize} addresses of ${subnet} is free for node ${node}`;
    if (freeAt === undefined)
      return new WeftError({
        code: "exhausted",
        attempted,
        reason: `${nobody}, and endpoints have addresses in every block`,
        hint: "detach endpoints, delete nodes that are gone, or use a network with a larger subnet or a smaller blockSize",
      });
    const wait = formatDuration(milliseconds(Math.max(0, freeAt - this.#ledger.clock.monotonic())));
    return new WeftError({
      code: "exhausted",
      attempted,
      reason: `${nobody}; the next one, released a moment ago, comes free in ${wait}`,
      hint: `try again in ${wait}`,
    });
  }

  /** In two phases; those that get an endpoint in between stay as they are. */
  async #release(places: readonly NetworkBlock[], node: string, attempted: string): Promise<number> {
    let { revision } = this.#ledger.state;
    for (let start = 0; start < places.length; start += chunkLimit) {
      const chunk = places.slice(start, start + chunkLimit);
      await this.#change(chunk, attempted, (block) =>
        block.node === node && !block.closing ? { closing: true } : undefined,
      );
      revision = await this.#settle(chunk, attempted);
    }
    return revision;
  }

  /** The second phase of a release: those closing blocks that are empty are nobody's from now on. */
  #settle(places: readonly NetworkBlock[], attempted: string): Promise<number> {
    return this.#change(places, attempted, (block, { entry, cidr }) => {
      if (!block.closing) return undefined;
      const isEmpty = entry.pool.blocksAt(cidr)?.isEmpty(cidr) ?? true;
      return { closing: false, ...(isEmpty ? { released: this.#ledger.clock.now() } : {}) };
    });
  }

  /** Changes the blocks that are owned still. */
  #change(
    places: readonly NetworkBlock[],
    attempted: string,
    change: (block: StoredBlock, place: NetworkBlock) => Partial<BlockState> | undefined,
  ): Promise<number> {
    return this.#ledger.commit(attempted, (): Transaction => {
      const conditions: Condition[] = [];
      const operations: Operation[] = [];
      for (const place of places) {
        const { entry, cidr } = place;
        const { name } = entry.network;
        const block = this.#ledger.state.networks.get(name) === entry ? entry.blocks.get(cidr) : undefined;
        const changes = block?.released === 0 ? change(block, place) : undefined;
        if (block === undefined || changes === undefined) continue;
        const key = records.block.key(name, cidr);
        conditions.push({ key, revision: block.revision });
        operations.push(records.block.put({ ...block, ...changes }, name, cidr));
      }
      return { conditions, operations };
    });
  }

  #isWaiting({ entry, cidr }: NetworkBlock): boolean {
    const isKnown = this.#ledger.state.networks.get(entry.network.name) === entry;
    return isKnown && entry.pool.blocksAt(cidr)?.isInQuarantine(cidr, this.#ledger.clock.monotonic()) === true;
  }

  /** Ends releases that were cut short, and releases what is not declared for its owner any more. */
  async #sweep(): Promise<void> {
    for (const [key, place] of this.#takenBack) if (!this.#isWaiting(place)) this.#takenBack.delete(key);
    for (const entry of [...this.#ledger.state.networks.values()]) {
      const attempted = `release blocks of network ${entry.network.name}`;
      const places = Array.from(entry.closingBlocks, (cidr) => ({ entry, cidr }));
      for (let start = 0; start < places.length; start += chunkLimit)
        await this.#settle(places.slice(start, start + chunkLimit), attempted);
      for (const { cidr, node } of this.#undeclared(entry)) await this.#release([{ entry, cidr }], node, attempted);
    }
  }

  /** Blocks without endpoints whose owner may not come to own them. */
  #undeclared(entry: NetworkEntry): StoredBlock[] {
    if (entry.network.blockAssignment === "automatic") return [];
    const { state } = this.#ledger;
    return [...entry.ownedBlocks()].filter(
      ({ cidr, node }) =>
        declaredBlocks(state, entry.network, node)?.includes(cidr) === false &&
        entry.pool.blocksAt(cidr)?.isEmpty(cidr) === true,
    );
  }
}
