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

/** Keeps one nftables table as it is wanted. The kernel is read when somebody touched it, and written as far as it differs. */
export class KeptTable {
  readonly #options: KeptTableOptions;
  /** What the kernel has, as far as is known; no table: none. */
  #present: { readonly table: NftTable | undefined } | undefined;
  /** What it had before somebody may have touched it. */
  #before: { readonly table: NftTable | undefined } | undefined;
  readonly #stop: () => void;

  constructor(options: KeptTableOptions) {
    const { nftables, name, onDamage } = options;
    this.#options = options;
    this.#stop = nftables.onChange(name, () => {
      this.distrust();
      onDamage();
    });
  }

  /** It will be compared with the kernel at the next opportunity; what differs by then was damaged. */
  distrust(): void {
    this.#before = this.#present ?? this.#before;
    this.#present = undefined;
  }

  /** It was removed, on purpose. */
  forget(): void {
    this.#present = undefined;
    this.#before = undefined;
  }

  /** `undefined`: there shall be none. */
  async ensure(table: NftTable | undefined): Promise<void> {
    const { nftables, family, name, object, report } = this.#options;
    const present = this.#present;
    if (present !== undefined && isDeepStrictEqual(present.table, table)) return;
    const isRepair = present === undefined && isDeepStrictEqual(this.#before, { table });
    // What is told of while this is under way is not known to be done.
    this.#present = { table };
    try {
      const isWritten = table === undefined ? nftables.remove(family, name) : nftables.ensure(table, present?.table);
      if (!(await isWritten)) return;
    } catch (error) {
      this.distrust();
      throw error;
    }
    if (isRepair)
      report({ level: "warning", kind: "repaired", object, message: "had been changed or removed; set again" });
  }

  close(): void {
    this.#stop();
  }
}
