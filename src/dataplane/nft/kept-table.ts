import { isDeepStrictEqual } from "node:util";
import { isSameList } from "../../base/lists.ts";
import type { KernelObject } from "../objects.ts";
import type { Report } from "../report.ts";
import type { Nftables } from "./nftables.ts";
import type { FilledSet, NftTable } from "./table.ts";

export interface KeptTableOptions {
  readonly nftables: Nftables;
  readonly family: NftTable["family"];
  readonly name: string;
  /** What an event of its repair is about. */
  readonly object: KernelObject;
  readonly report: Report;
  /** Somebody touched it: it wants to be looked at. */
  readonly onDamage: () => void;
}

/** One nftables table. The kernel is read when somebody touched it, and written as far as it differs. */
export class KeptTable {
  readonly #options: KeptTableOptions;
  /** As it was left; no table: there was none. */
  #left: { readonly table: NftTable | undefined } | undefined;
  /** The kernel has what was left, as far as this goes: what changes can be told from it. */
  #isKnown = false;
  readonly #stop: () => void;

  constructor(options: KeptTableOptions) {
    this.#options = options;
    this.#stop = options.nftables.onChange(options.name, options.onDamage);
  }

  /** Makes it so. `table`: `undefined` if there shall be none. `isDamaged`: somebody touched it since it was left. */
  async ensure(table: NftTable | undefined, isDamaged: boolean): Promise<void> {
    const { nftables, family, name, object, report } = this.#options;
    const isSame = this.#left !== undefined && isSameTable(this.#left.table, table);
    const isKnown = this.#isKnown && !isDamaged;
    if (isSame && isKnown) return;
    const before = isKnown ? this.#left?.table : undefined;
    this.#isKnown = false;
    const isWritten = await (table === undefined ? nftables.remove(family, name) : nftables.ensure(table, before));
    this.#left = { table };
    this.#isKnown = true;
    if (isWritten && isDamaged && isSame)
      report({ level: "warning", kind: "repaired", object, message: "had been changed or removed; set again" });
  }

  /** It was removed, on purpose. */
  forget(): void {
    this.#left = undefined;
    this.#isKnown = false;
  }

  close(): void {
    this.#stop();
  }
}

/** Of the same name, so that their sets are made alike. */
function isSameTable(a: NftTable | undefined, b: NftTable | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  const isSameSet = (set: FilledSet, index: number): boolean => isSameList(set.elements, b.sets[index]?.elements ?? []);
  return isDeepStrictEqual(a.rules, b.rules) && a.sets.every(isSameSet);
}
