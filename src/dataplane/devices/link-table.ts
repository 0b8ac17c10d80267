import { getLink, type Link, listLinks, lookUp, type NetlinkSocket } from "../../netlink/index.ts";

/** Up to this many devices are looked up one by one; for more, all are listed once. */
const singleLookUps = 16;

/** The devices of a namespace as of one pass, read as the pass needs them: few lookups cost little, many cost one dump. */
export class LinkTable {
  readonly #socket: NetlinkSocket;
  #lookUps = 0;
  #all: Promise<ReadonlyMap<string, Link>> | undefined;

  constructor(socket: NetlinkSocket) {
    this.#socket = socket;
  }

  async find(name: string): Promise<Link | undefined> {
    if (this.#all === undefined && ++this.#lookUps > singleLookUps)
      this.#all = this.#socket.dump(listLinks()).then((links) => new Map(links.map((link) => [link.name, link])));
    if (this.#all !== undefined) return (await this.#all).get(name);
    return lookUp(this.#socket, getLink({ name }));
  }
}
