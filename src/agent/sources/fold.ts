import { isDeepStrictEqual } from "node:util";
import type { Cidr } from "../../base/cidr.ts";
import type { IpAddress } from "../../base/ip.ts";
import type { DesiredNetwork, RemoteBlock, RemoteEndpoint, RemotePlace, Source } from "../../dataplane/index.ts";

/**
 * The most believed first. Where two sources place the same MAC address, IP address or block, the word of the first holds,
 * and the other's waits until that is gone.
 */
const precedence = Object.keys({ server: true, static: true } satisfies Record<SourceName, true>) as SourceName[];

type SourceName = Source["name"];

/** Where a block is, as a source says. */
export type BlockPlace = RemotePlace & Pick<RemoteBlock, "cidr">;

/** How packets of the network travel to a VTEP. */
export type WayTo = (vtep: IpAddress) => Pick<RemoteBlock, "isDirect" | "isFromLink">;

/** What all sources say of one network, as the one word that the dataplane gets. */
export class Fold {
  readonly #wayTo: WayTo;
  #network: DesiredNetwork;
  /** What is not believed now. */
  readonly #endpoints = new Map<string, RemoteEndpoint>();
  /** The same of blocks; by source and prefix. */
  readonly #blocks = new Map<string, BlockPlace>();

  constructor(network: DesiredNetwork, wayTo: WayTo) {
    this.#network = network;
    this.#wayTo = wayTo;
  }

  /** If the network was made anew, it shall have what it had. */
  moveTo(network: DesiredNetwork): void {
    if (network === this.#network) return;
    for (const endpoint of this.#network.remotes.values()) network.putRemote(endpoint);
    for (const block of this.#network.blocks.values()) network.putBlock(block);
    this.#network = network;
  }

  /** The way to each VTEP may be another. */
  waysChanged(): void {
    for (const block of this.#network.blocks.values()) this.#showBlock(block);
  }

  /** The VTEPs that sources list for the network as a whole. */
  setListed(places: readonly RemotePlace[]): void {
    this.#network.setListed(places.map(({ vtep }) => vtep));
  }

  /** What a source says of endpoints, believed or not. */
  *endpointsOf(name: SourceName): Iterable<RemoteEndpoint> {
    for (const endpoints of [this.#network.remotes, this.#endpoints])
      for (const endpoint of endpoints.values()) if (endpoint.source.name === name) yield endpoint;
  }

  putEndpoint(endpoint: RemoteEndpoint): void {
    this.#judge(endpoint);
    this.#judgeWaiting();
  }

  removeEndpoint(id: string): void {
    this.#endpoints.delete(id);
    this.#network.removeRemote(id);
    this.#judgeWaiting();
  }

  putBlock(place: BlockPlace): void {
    const holder = this.#network.blocks.get(place.cidr);
    if (holder !== undefined && isBefore(holder, place)) {
      this.#blocks.set(blockKey(place.source.name, place.cidr), place);
      return;
    }
    if (holder !== undefined && isBefore(place, holder))
      this.#blocks.set(blockKey(holder.source.name, holder.cidr), holder);
    this.#blocks.delete(blockKey(place.source.name, place.cidr));
    this.#showBlock(place);
  }

  removeBlock(cidr: Cidr, name: SourceName): void {
    this.#blocks.delete(blockKey(name, cidr));
    if (this.#network.blocks.get(cidr)?.source.name !== name) return;
    this.#network.removeBlock(cidr);
    for (const other of precedence) {
      const waiting = this.#blocks.get(blockKey(other, cidr));
      if (waiting === undefined) continue;
      this.putBlock(waiting);
      break;
    }
  }

  #showBlock({ cidr, vtep, source }: BlockPlace): void {
    const wanted = { cidr, vtep, source, ...this.#wayTo(vtep) };
    if (!isDeepStrictEqual(this.#network.blocks.get(cidr), wanted)) this.#network.putBlock(wanted);
  }

  #judge(endpoint: RemoteEndpoint): void {
    const rivals = this.#network.remotesLike(endpoint).filter(({ source }) => source.name !== endpoint.source.name);
    const isBelieved = rivals.every((rival) => isBefore(endpoint, rival));
    if (isBelieved) {
      this.#endpoints.delete(endpoint.id);
      if (!isSame(this.#network.remote(endpoint.id), endpoint)) this.#network.putRemote(endpoint);
    }
    for (const other of isBelieved ? rivals : [endpoint]) {
      this.#network.removeRemote(other.id);
      this.#endpoints.set(other.id, other);
    }
  }

  /** Those that another's word was in the way of. There are none unless sources contradict each other. */
  #judgeWaiting(): void {
    if (this.#endpoints.size > 0) for (const endpoint of [...this.#endpoints.values()]) this.#judge(endpoint);
  }
}

function isBefore(a: RemotePlace, b: RemotePlace): boolean {
  return precedence.indexOf(a.source.name) < precedence.indexOf(b.source.name);
}

function blockKey(name: SourceName, cidr: Cidr): string {
  return `${name} ${cidr}`;
}

function isSame(a: RemoteEndpoint | undefined, b: RemoteEndpoint): boolean {
  return a?.mac === b.mac && a.vtep === b.vtep && sameSource(a.source, b.source) && sameTexts(a.ips, b.ips);
}

/** A source shares one object, unless it was told anew of whom it speaks. */
function sameSource(a: Source, b: Source): boolean {
  return a === b || isDeepStrictEqual(a, b);
}

function sameTexts(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((text, index) => text === b[index]);
}
