import type { KernelNamespace } from "../kernel.ts";
import type { KernelObject } from "../objects.ts";
import type { Report } from "../report.ts";
import { ensureNftTable, type NftTable } from "./nftables.ts";

export interface KeptTableOptions {
  readonly namespace: KernelNamespace;
  /** What an event of its repair is about. */
  readonly object: KernelObject;
  readonly report: Report;
}

/** Keeps one nftables table as it is wanted. nft runs when that changed or somebody touched a filter, else not. */
export class KeptTable {
  readonly #options: KeptTableOptions;
  /** The table that the kernel has, as far as is known. */
  #present: string | undefined;
  /** The one that it had before somebody may have touched it. */
  #before: string | undefined;
  #writes = 0;

  constructor(options: KeptTableOptions) {
    this.#options = options;
  }

  /** Transactions that changed the kernel. */
  get writes(): number {
    return this.#writes;
  }

  /** It will be compared with the kernel at the next opportunity; what differs by then was damaged. */
  distrust(): void {
    this.#before = this.#present ?? this.#before;
    this.#present = undefined;
  }

  async ensure(table: NftTable): Promise<void> {
    const { namespace, object, report } = this.#options;
    const wanted = JSON.stringify(table);
    if (wanted === this.#present) return;
    const isRepair = this.#present === undefined && wanted === this.#before;
    // What is told of while this is under way is not known to be done.
    this.#present = wanted;
    try {
      if (!(await ensureNftTable(namespace, table))) return;
    } catch (error) {
      this.distrust();
      throw error;
    }
    this.#writes++;
    if (isRepair)
      report({ level: "warning", kind: "repaired", object, message: "had been changed or removed; set again" });
  }
}
