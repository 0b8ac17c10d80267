import { isDeepStrictEqual } from "node:util";
import { WeftError } from "../../base/errors.ts";
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
import { attemptOf, listRules, rulesOf, writeRules } from "./rules.ts";
import type { FilledSet, NftObject, NftTable } from "./table.ts";

/** Elements of one request, and requests of one transaction: well within what a socket sends at once. */
const elementsPerRequest = 64;
const requestsPerTransaction = 16;

/** nftables of one namespace. Sets and their elements go by netlink; the program nft runs where rules are written or looked at. */
export class Nftables {
  readonly #namespace: KernelNamespace;
  readonly #socket: NetlinkSocket;
  readonly #watch: Watch;
  #ruleWrites = 0;
  /** The rules of tables as this run wrote them, by family and name. */
  readonly #written = new Map<string, WrittenRules>();

  constructor(namespace: KernelNamespace, watch: Watch) {
    this.#namespace = namespace;
    this.#socket = new NetlinkSocket({ channel: namespace.openChannel({ protocol: netlinkProtocol.netfilter }) });
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

  /**
   * What is in these sets of a table, those apart that it has not; `undefined`: there is no such table. A table that goes
   * meanwhile is an error, so that nobody takes part of a record for the whole.
   */
  async contents(
    family: NftFamily,
    name: string,
    sets: readonly Pick<NftSet, "name" | "key">[],
  ): Promise<ReadonlyMap<string, readonly string[]> | undefined> {
    const layouts = await this.#layouts(family, name);
    if (layouts === undefined) return undefined;
    const contents = new Map<string, readonly string[]>();
    for (const set of sets)
      if (layouts.has(set.name))
        contents.set(set.name, await readNftElements(this.#socket, { ...set, family, table: name }));
    return contents;
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
    const requests: Request[] = layouts === undefined ? [addNftTable(family, name)] : [];
    for (const set of sets) {
      const isThere = layouts?.has(set.name) === true;
      if (!isThere) requests.push(addNftSet(setOf(table, set)));
      requests.push(...changes(table, set, isThere ? await readNftElements(this.#socket, setOf(table, set)) : []));
    }
    const areSetsWritten = await this.#carryOut(requests);
    const areRulesWritten = await this.#ensureRules(table, layouts !== undefined);
    const surplus = [...(layouts?.keys() ?? [])].filter((key) => !sets.some((set) => set.name === key));
    const removals = surplus.map((key) => deleteNftSet({ family, table: name, name: key }));
    return (await this.#carryOut(removals)) || areSetsWritten || areRulesWritten;
  }

  /**
   * Tells whether the rules were others. nft may list them in another form than they were written in: what it lists alike before
   * and after they were written once more, with the same chains and as many rules, is theirs. What then still differs is
   * refused: whoever changed it meanwhile would be answered by the next write at once, and so on.
   */
  async #ensureRules(table: NftTable, isThere: boolean): Promise<boolean> {
    const key = `${table.family} ${table.name}`;
    const wanted = rulesOf(table);
    const present = isThere ? await this.#rulesIn(table) : [];
    const known = this.#written.get(key);
    const written = isDeepStrictEqual(known?.rules, wanted) ? known : undefined;
    const areWanted = (listed: readonly NftObject[]): boolean =>
      isDeepStrictEqual(listed, wanted) || isDeepStrictEqual(listed, written?.listed);
    if (areWanted(present)) return false;
    await this.#write(table, present);
    this.#written.set(key, written ?? { rules: wanted });
    // nft's own write is told of, and leads here again.
    if (written === undefined || !isThere) return true;
    const listed = await this.#rulesIn(table);
    if (areWanted(listed)) return true;
    if (!isDeepStrictEqual(outlineOf(listed), outlineOf(wanted)) || !isDeepStrictEqual(listed, present))
      throw new WeftError({
        code: "unavailable",
        attempted: attemptOf(table.family, table.name),
        reason: "what was written did not hold: nft lists other rules, and others than before",
        hint: `find out who changes them: nft monitor; and what is there: nft -j list table ${key}`,
      });
    this.#written.set(key, { rules: wanted, listed });
    return false;
  }

  #rulesIn({ family, name }: NftTable): Promise<NftObject[]> {
    return listRules(this.#namespace, family, name);
  }

  async #write(table: NftTable, present: readonly NftObject[]): Promise<void> {
    await writeRules(this.#namespace, table, present);
    this.#ruleWrites++;
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

interface WrittenRules {
  readonly rules: readonly NftObject[];
  /** The form in which nft lists them, if it is another. */
  readonly listed?: readonly NftObject[];
}

/** Which chains there are and how many rules in each, in their order. */
const outlineOf = (rules: readonly NftObject[]): unknown[] =>
  rules.map(({ chain, rule }) => [chain?.name, rule?.chain]);

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
