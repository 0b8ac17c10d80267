import { EventSocket, netlinkProtocol } from "../../netlink/index.ts";
import type { KernelNamespace } from "../kernel.ts";

/** linux/netfilter/nfnetlink.h: changes of nftables' rules; `struct nfgenmsg` before the attributes. */
const NFNLGRP_NFTABLES = 7;
const nfgenmsgLength = 4;
/** linux/netfilter/nf_tables.h: the end of a transaction, which names no table. */
const NFT_MSG_NEWGEN = 15;
/** The first attribute of all messages about a table and what is in it: NFTA_TABLE_NAME, NFTA_CHAIN_TABLE, NFTA_RULE_TABLE, … */
const tableAttribute = 1;

const decoder = new TextDecoder();

/** Calls back when something in one of the tables changes, by whomever. Other tables of the host may change all the time. */
export function watchTables(
  namespace: KernelNamespace,
  tables: readonly string[],
  onChange: (table: string | undefined) => void,
): EventSocket {
  return new EventSocket({
    open: (options) => namespace.openTransport(options),
    protocol: netlinkProtocol.netfilter,
    groups: [NFNLGRP_NFTABLES],
    onEvent: ({ type, bytes, view, start, end }) => {
      if ((type & 0xff) === NFT_MSG_NEWGEN) return;
      const attribute = start + nfgenmsgLength;
      if (end < attribute + 4 || view.getUint16(attribute + 2, true) !== tableAttribute) return;
      const length = view.getUint16(attribute, true);
      if (length < 5 || attribute + length > end) return;
      const name = decoder.decode(bytes.subarray(attribute + 4, attribute + length - 1));
      if (tables.includes(name)) onChange(name);
    },
    onOverrun: () => onChange(undefined),
  });
}
