import { isDeepStrictEqual } from "node:util";
import { isErrno } from "../../linux/index.ts";
import {
  addNftElements,
  addNftSet,
  addNftTable,
  deleteNftElements,
  deleteNftSet,
  deleteNftTable,
  isSameSet,
  listNftSets,
  listNftTables,
  NetlinkSocket,
  type NftFamily,
  type NftSet,
  type NftSetLayout,
  netlinkProtocol,
  type Request,
  readNftElements,
  type Watch,
} from "../../netlink/index.ts";
import type { KernelNamespace } from "../kernel.ts";
import { listRules, rulesOf, writeRules } from "./rules.ts";
import type { FilledSet, NftTable } from "./table.ts";

/** Elements of one request, and requests of one transaction: well within what a socket sends at once. */
const elementsPerRequest = 64;
const requestsPerTransaction = 16;

/** nftables of one namespace. Sets and their elements go by netlink; the program nft runs where rules are written or looked at. */
export class Nftables {
  readonly #namespace: KernelNamespace;
  readonly #socket: NetlinkSocket;
  readonly #watch: Watch;
  #ruleWrites = 0;

  constructor(namespace: KernelNamespace, watch: Watch) {
    this.#namespace = namespace;
    this.#socket = new NetlinkSocket({ transport: namespace.openTransport({ protocol: netlinkProtocol.netfilter }) });
    this.#watch = watch;
  }

  /** Messages that changed the kernel, and runs of nft that did. */
  get writes(): number {
    return this.#socket.writes + this.#ruleWrites;
  }

  /** Calls back when somebody changes a table of this name; not of elements that were written here. Returns what ends it. */
  onChange(table: string, callback: () => void): () => void {
    return this.#watch.subscribe("nft", ({ port }) => port === this.#socket.portId || callback(), table);
  }

  /** The names of all tables of a family. */
  tables(family: NftFamily): Promise<string[]> {
    return this.#socket.dump(listNftTables(family));
  }

  /** What is in a set; `undefined`: there is no such set. */
  elements(set: NftSet): Promise<string[] | undefined> {
    return unlessMissing(readNftElements(this.#socket, set));
  }

  /**
   * Makes the table so if it is not so, and tells whether anything had to be written. `before`: what the kernel has, if that is
   * known; then nothing is read. Rules change at once, and find their sets filled; so does what is in sets, but for very many elements.
   */
  async ensure(table: NftTable, before?: NftTable): Promise<boolean> {
    if (before === undefined || !isDeepStrictEqual(before.rules, table.rules)) return this.#compare(table);
    return this.#carryOut(table.sets.flatMap((set, index) => changes(table, set, before.sets[index]?.elements ?? [])));
  }

  /** Tells whether there was such a table. */
  async remove(family: NftFamily, name: string): Promise<boolean> {
    return (await unlessMissing(this.#carryOut([deleteNftTable(family, name)]))) !== undefined;
  }

  close(): void {
    this.#socket.close();
  }

  async #compare(table: NftTable): Promise<boolean> {
    const { family, name, sets } = table;
    let layouts = await this.#layouts(family, name);
    if (layouts !== undefined && sets.some((set) => isOther(setOf(table, set), layouts?.get(set.name)))) {
      await this.remove(family, name);
      layouts = undefined;
    }
    const present = layouts === undefined ? [] : await listRules(this.#namespace, family, name);
    const requests: Request[] = layouts === undefined ? [addNftTable(family, name)] : [];
    for (const set of sets) {
      const isThere = layouts?.has(set.name) === true;
      if (!isThere) requests.push(addNftSet(setOf(table, set)));
      requests.push(...changes(table, set, isThere ? await readNftElements(this.#socket, setOf(table, set)) : []));
    }
    let isWritten = await this.#carryOut(requests);
    if (!isDeepStrictEqual(present, rulesOf(table))) {
      await writeRules(this.#namespace, table, present);
      this.#ruleWrites++;
      isWritten = true;
    }
    const surplus = [...(layouts?.keys() ?? [])].filter((key) => !sets.some((set) => set.name === key));
    const removals = surplus.map((key) => deleteNftSet({ family, table: name, name: key }));
    return (await this.#carryOut(removals)) || isWritten;
  }

  /** How the sets of a table are made, by name; `undefined`: there is no such table. */
  async #layouts(family: NftFamily, name: string): Promise<ReadonlyMap<string, NftSetLayout> | undefined> {
    const layouts = await unlessMissing(this.#socket.dump(listNftSets(family, name)));
    return layouts === undefined ? undefined : new Map(layouts);
  }

  async #carryOut(requests: readonly Request[]): Promise<boolean> {
    for (const part of slices(requests, requestsPerTransaction)) {
      const { failures } = await this.#socket.transaction(part);
      if (failures[0] !== undefined) throw failures[0].error;
    }
    return requests.length > 0;
  }
}

const setOf = ({ family, name }: NftTable, set: FilledSet): NftSet => ({ ...set, family, table: name });

const isOther = (set: NftSet, layout: NftSetLayout | undefined): boolean =>
  layout !== undefined && !isSameSet(set, layout);

/** Prefixes may not overlap, and those that go make room. Else what comes is there before what goes. */
function changes(table: NftTable, set: FilledSet, before: readonly string[]): Request[] {
  const [wanted, present] = [new Set(set.elements), new Set(before)];
  const ofSet = setOf(table, set);
  const gone = slices([...present.difference(wanted)], elementsPerRequest).map((each) =>
    deleteNftElements(ofSet, each),
  );
  const come = slices([...wanted.difference(present)], elementsPerRequest).map((each) => addNftElements(ofSet, each));
  return set.isInterval === true ? [...gone, ...come] : [...come, ...gone];
}

function slices<Value>(values: readonly Value[], length: number): Value[][] {
  const count = Math.ceil(values.length / length);
  return Array.from({ length: count }, (_, index) => values.slice(index * length, (index + 1) * length));
}

async function unlessMissing<Value>(answer: Promise<Value>): Promise<Value | undefined> {
  try {
    return await answer;
  } catch (error) {
    if (isErrno(error, "ENOENT")) return undefined;
    throw error;
  }
}
