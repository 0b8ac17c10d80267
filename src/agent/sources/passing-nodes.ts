import { type Endpoint, passedNodes } from "../../model/resources.ts";

/**
 * The nodes from which frames of a network may come although they have nothing in it: they are about to take an endpoint over, or
 * forward to one that left them. Counted, so that news of one endpoint costs one step.
 */
export class PassingNodes {
  /** By network and endpoint. */
  readonly #passed = new Map<string, Map<string, readonly string[]>>();
  /** By network, with for how many endpoints. */
  readonly #counts = new Map<string, Map<string, number>>();
  readonly #onChange: (network: string, node: string, passes: boolean) => void;

  /** `onChange`: the node is one of the network's from now on, or no more. */
  constructor(onChange: (network: string, node: string, passes: boolean) => void) {
    this.#onChange = onChange;
  }

  of(network: string): Iterable<string> {
    return this.#counts.get(network)?.keys() ?? [];
  }

  has(network: string, node: string): boolean {
    return this.#counts.get(network)?.has(node) === true;
  }

  put(endpoint: Pick<Endpoint, "id" | "network" | "standby" | "formerNodes">): void {
    this.#set(endpoint.network, endpoint.id, passedNodes(endpoint));
  }

  remove(network: string, id: string): void {
    this.#set(network, id, []);
  }

  /** Tells nothing: who knew the network knows it no more. */
  removeNetwork(network: string): void {
    this.#passed.delete(network);
    this.#counts.delete(network);
  }

  #set(network: string, id: string, nodes: readonly string[]): void {
    const ofNetwork = this.#passed.get(network);
    const before = ofNetwork?.get(id) ?? [];
    if (nodes.length === 0 && before.length === 0) return;
    for (const node of nodes) if (!before.includes(node)) this.#count(network, node, 1);
    for (const node of before) if (!nodes.includes(node)) this.#count(network, node, -1);
    if (nodes.length > 0) this.#passed.set(network, (ofNetwork ?? new Map()).set(id, nodes));
    else if (ofNetwork?.delete(id) === true && ofNetwork.size === 0) this.#passed.delete(network);
  }

  #count(network: string, node: string, more: 1 | -1): void {
    const counts = this.#counts.get(network) ?? new Map<string, number>();
    const before = counts.get(node) ?? 0;
    if (before + more === 0) counts.delete(node);
    else counts.set(node, before + more);
    if (counts.size === 0) this.#counts.delete(network);
    else this.#counts.set(network, counts);
    if (before === 0 || before + more === 0) this.#onChange(network, node, more > 0);
  }
}
