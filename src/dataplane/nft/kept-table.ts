import { isDeepStrictEqual } from "node:util";
import type { KernelObject } from "../objects.ts";
import type { Report } from "../report.ts";
import type { Nftables } from "./nftables.ts";
import type { NftTable } from "./table.ts";

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
  /** As it was left, so that what changes can be told from it; no table: there is none. Absent: that is not known. */
  #left: { readonly table: NftTable | undefined } | undefined;
  readonly #stop: () => void;

  constructor(options: KeptTableOptions) {
    this.#options = options;
    this.#stop = options.nftables.onChange(options.name, options.onDamage);
  }

  /** Makes it so. `table`: `undefined` if there shall be none. `isDamaged`: somebody touched it since it was left. */
  async ensure(table: NftTable | undefined, isDamaged: boolean): Promise<void> {
    const { nftables, family, name, object, report } = this.#options;
    const left = this.#left;
    const isSame = left !== undefined && isDeepStrictEqual(left.table, table);
    if (isSame && !isDamaged) return;
    this.#left = undefined;
    const before = isDamaged ? undefined : left?.table;
    const isWritten = await (table === undefined ? nftables.remove(family, name) : nftables.ensure(table, before));
    this.#left = { table };
    if (isWritten && isDamaged && isSame)
      report({ level: "warning", kind: "repaired", object, message: "had been changed or removed; set again" });
  }

  /** It was removed, on purpose. */
  forget(): void {
    this.#left = undefined;
  }

  close(): void {
    this.#stop();
  }
}
