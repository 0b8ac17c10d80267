import type { NftFamily, NftSet } from "../../netlink/index.ts";

/** One object of nftables' JSON schema, libnftables-json(5), in the form in which `nft -j list` prints it. */
export type NftObject = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

/** A set, and what shall be in it. */
export interface FilledSet extends Omit<NftSet, "family" | "table"> {
  /** Each once. */
  readonly elements: readonly string[];
}

/**
 * A table of nftables. Its rules are the same whatever networks, endpoints and VTEPs there are: what changes with these are
 * elements of its sets.
 */
export interface NftTable {
  readonly family: NftFamily;
  readonly name: string;
  readonly sets: readonly FilledSet[];
  /** Chains and rules in the order in which they are made, without `family` and `table`, which are those of the table. */
  readonly rules: readonly NftObject[];
}
