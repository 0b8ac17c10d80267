import { AttributeSchema, string } from "../attribute.ts";
import { NLM_F_CREATE } from "../message.ts";
import type { Query, Request } from "../request.ts";
import { header, type NftFamily, nftMessage, writeHeader } from "./message.ts";

/** linux/netfilter/nf_tables.h */
const NFT_MSG_NEWTABLE = nftMessage(0);
const NFT_MSG_GETTABLE = nftMessage(1);
const NFT_MSG_DELTABLE = nftMessage(2);

/** linux/netfilter/nf_tables.h: `NFTA_TABLE_*`. */
const schema = new AttributeSchema("NFTA_TABLE", { name: string(1) });

/** Makes a table, unless it is there. Part of a transaction. */
export function addNftTable(family: NftFamily, name: string): Request {
  return {
    type: NFT_MSG_NEWTABLE,
    flags: NLM_F_CREATE,
    describe: () => `add nft table ${family} ${name}`,
    write: (writer) => {
      writeHeader(writer, family);
      schema.write(writer, { name });
    },
  };
}

/** Removes a table with all that is in it; ENOENT if there is none. Part of a transaction. */
export function deleteNftTable(family: NftFamily, name: string): Request {
  return {
    type: NFT_MSG_DELTABLE,
    flags: 0,
    describe: () => `delete nft table ${family} ${name}`,
    write: (writer) => {
      writeHeader(writer, family);
      schema.write(writer, { name });
    },
  };
}

/** The names of all tables of a family. */
export function listNftTables(family: NftFamily): Query<string> {
  return {
    type: NFT_MSG_GETTABLE,
    flags: 0,
    describe: () => `list nft tables of ${family}`,
    write: (writer) => writeHeader(writer, family),
    read: readNftTable,
  };
}

/** Reads the payload of NFT_MSG_NEWTABLE or NFT_MSG_DELTABLE: its name. */
export function readNftTable(bytes: Uint8Array, view: DataView, start: number, end: number): string | undefined {
  return schema.read(bytes, view, start + header.length, end).name;
}
