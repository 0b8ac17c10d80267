import { FixedHeader } from "../fixed-header.ts";
import type { MessageWriter } from "../writer.ts";

/** linux/netfilter/nfnetlink.h: NFNL_SUBSYS_NFTABLES, the upper octet of its message types. */
const nftables = 10;

/** The type of a message of nftables: NFT_MSG_* of linux/netfilter/nf_tables.h. */
export const nftMessage = (number: number): number => (nftables << 8) | number;

/** linux/netfilter/nfnetlink.h: what begins and ends a transaction. */
export const NFNL_MSG_BATCH_BEGIN = 16;
export const NFNL_MSG_BATCH_END = 17;

/** What a table looks at. `inet`: IPv4 and IPv6. */
export type NftFamily = "inet" | "ip" | "ip6" | "bridge";
/** linux/netfilter.h: NFPROTO_* */
const families: Readonly<Record<NftFamily, number>> = { inet: 1, ip: 2, ip6: 10, bridge: 7 };

export function readFamily(view: DataView, start: number, end: number): NftFamily {
  const { family } = header.read(view, start, end);
  return (Object.keys(families) as NftFamily[]).find((name) => families[name] === family) ?? "inet";
}

/** linux/netfilter/nfnetlink.h: `struct nfgenmsg`. Its last field is in network byte order, and small. */
export const header = new FixedHeader("nfgenmsg", [
  ["family", "u8"],
  ["version", "u8"],
  ["reserved", "pad8"],
  ["subsystem", "u8"],
]);

export const writeHeader = (writer: MessageWriter, family: NftFamily): void =>
  header.write(writer, { family: families[family] });

/** What begins or ends a transaction names who carries it out. */
export const writeBatchHeader = (writer: MessageWriter): void => header.write(writer, { subsystem: nftables });
