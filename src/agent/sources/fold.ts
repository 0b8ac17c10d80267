import { isDeepStrictEqual } from "node:util";
import type { Cidr } from "../../base/cidr.ts";
import type { IpAddress } from "../../base/ip.ts";
import { isSameList } from "../../base/lists.ts";
import type { DesiredNetwork, RemoteBlock, RemoteEndpoint, RemotePlace, Source } from "../../dataplane/index.ts";

/**
 * The most believed first. Where two sources place the same MAC address, IP address or block, the word of the first holds,
 * and the other's waits until that is gone. That something is here is a word like others.
 */
const precedence = Object.keys({ server: true, static: true } satisfies Record<SourceName, true>) as SourceName[];

type SourceName = Source["name"];

/** Where something is, as a source says. */
export interface Word {
  readonly source: Source;
  /** `undefined`: it is on this node. */
  readonly vtep: IpAddress | undefined;
}

export type EndpointWord = Omit<RemoteEndpoint, keyof Word> & Word;
export type BlockWord = Pick<RemoteBlock, "cidr"> & Word;

/** How packets of the network travel to a VTEP. */
export type WayTo = (vtep: IpAddress) => Pick<RemoteBlock, "isDirect" | "isFromLink">;

/** What all sources say of one network, as the one word that the dataplane gets. */
export class Fold {
  readonly #wayTo: WayTo;
  #network: DesiredNetwork;
  readonly #here = new Endpoints<EndpointWord>();
  /** What is not believed now. */
  readonly #waiting = new Endpoints<RemoteEndpoint>();
  /** Who has spoken of endpoints so far. */
  readonly #speakers = new Set<SourceName>();
  /** All that is said of blocks. */
  readonly #blocks = new Map<Cidr, Map<SourceName, BlockWord>>();

  constructor(network: DesiredNetwork, wayTo: WayTo) {
    this.#network = network;
    this.#wayTo = wayTo;
  }

  /** If the network was made anew, it shall have what it had. */
  moveTo(network: DesiredNetwork): void {
    if (network === this.#network) return;
    for (const endpoint of this.#network.remotes.values()) network.putRemote(endpoint);
    this.#network = network;
    this.waysChanged();
  }

  /** The way to each VTEP may be another. */
  waysChanged(): void {
    for (const cidr of this.#blocks.keys()) this.#showBlock(cidr);
  }

  /** The VTEPs that sources list for the network as a whole. */
  setListed(places: readonly RemotePlace[]): void {
    this.#network.setListed(places.map(({ vtep }) => vtep));
  }

  /** What a source says of endpoints elsewhere, believed or not. */
  *endpointsOf(name: SourceName): Iterable<RemoteEndpoint> {
    for (const endpoints of [this.#network.remotes, this.#waiting.byId])
      for (const endpoint of endpoints.values()) if (endpoint.source.name === name) yield endpoint;
  }

  putEndpoint(word: EndpointWord): void {
    this.#speakers.add(word.source.name);
    const before = this.#known(word.id);
    if (isElsewhere(word)) {
      this.#here.remove(word.id);
      this.#judge(word);
    } else this.#placeHere(word);
    this.#judgeWaiting(before);
  }

  removeEndpoint(id: string): void {
    const before = this.#known(id);
    this.#here.remove(id);
    this.#waiting.remove(id);
    this.#network.removeRemote(id);
    this.#judgeWaiting(before);
  }

  putBlock(word: BlockWord): void {
    const words = this.#blocks.get(word.cidr) ?? new Map<SourceName, BlockWord>();
    this.#blocks.set(word.cidr, words.set(word.source.name, word));
    this.#showBlock(word.cidr);
  }

  removeBlock(cidr: Cidr, name: SourceName): void {
    this.#blocks.get(cidr)?.delete(name);
    this.#showBlock(cidr);
  }

  #showBlock(cidr: Cidr): void {
    const words = this.#blocks.get(cidr);
    if (words?.size === 0) this.#blocks.delete(cidr);
    const name = precedence.find((each) => words?.has(each));
    const { vtep, source } = (name === undefined ? undefined : words?.get(name)) ?? {};
    if (vtep === undefined || source === undefined) {
      this.#network.removeBlock(cidr);
      return;
    }
    const wanted = { cidr, vtep, source, ...this.#wayTo(vtep) };
    if (!isDeepStrictEqual(this.#network.blocks.get(cidr), wanted)) this.#network.putBlock(wanted);
  }

  #known(id: string): EndpointWord | undefined {
    return this.#network.remote(id) ?? this.#waiting.byId.get(id) ?? this.#here.byId.get(id);
  }

  #placeHere(word: EndpointWord): void {
    this.#waiting.remove(word.id);
    this.#network.removeRemote(word.id);
    this.#here.put(word);
    for (const holder of this.#network.remotesLike(word)) this.#judge(holder);
  }

  #judge(endpoint: RemoteEndpoint): void {
    this.#waiting.remove(endpoint.id);
    const rivals = this.#rivalsOf(endpoint);
    const isBelieved =
      endpoint.source.name === precedence[0] ||
      [...rivals, ...this.#here.like(endpoint)].every((word) => !isBefore(word, endpoint));
    if (isBelieved && !isSame(this.#network.remote(endpoint.id), endpoint)) this.#network.putRemote(endpoint);
    for (const other of isBelieved ? rivals : [endpoint]) {
      this.#network.removeRemote(other.id);
      this.#waiting.put(other);
    }
  }

  /** Endpoints that another source places, and that have the MAC or an address of this one. */
  #rivalsOf(endpoint: RemoteEndpoint): readonly RemoteEndpoint[] {
    if (this.#speakers.size < 2) return [];
    return this.#network.remotesLike(endpoint).filter(({ source }) => source.name !== endpoint.source.name);
  }

  /** Those that the former word of this one may have been in the way of. There are none unless sources contradict each other. */
  #judgeWaiting(former: EndpointWord | undefined): void {
    if (former === undefined || this.#waiting.byId.size === 0) return;
    for (const waiting of this.#waiting.like(former)) this.#judge(waiting);
  }
}

/** Endpoints by id and by address, so that what one contradicts costs the same however many there are. */
class Endpoints<Endpoint extends EndpointWord> {
  readonly #byId = new Map<string, Endpoint>();
  readonly #with = new Map<Address, Set<Endpoint>>();

  get byId(): ReadonlyMap<string, Endpoint> {
    return this.#byId;
  }

  /** Those that have the MAC or an address of this one. */
  like(word: EndpointWord): readonly Endpoint[] {
    if (this.#byId.size === 0) return [];
    const found = new Set<Endpoint>();
    for (const address of addressesOf(word)) for (const endpoint of this.#with.get(address) ?? []) found.add(endpoint);
    return [...found];
  }

  put(endpoint: Endpoint): void {
    this.remove(endpoint.id);
    this.#byId.set(endpoint.id, endpoint);
    for (const address of addressesOf(endpoint))
      this.#with.set(address, (this.#with.get(address) ?? new Set()).add(endpoint));
  }

  remove(id: string): void {
    const endpoint = this.#byId.get(id);
    if (endpoint === undefined) return;
    this.#byId.delete(id);
    for (const address of addressesOf(endpoint)) {
      const others = this.#with.get(address);
      others?.delete(endpoint);
      if (others?.size === 0) this.#with.delete(address);
    }
  }
}

type Address = RemoteEndpoint["mac"] | IpAddress;

function addressesOf({ mac, ips }: EndpointWord): readonly Address[] {
  return [mac, ...ips];
}

function isElsewhere(word: EndpointWord): word is RemoteEndpoint {
  return word.vtep !== undefined;
}

function isBefore(a: Word, b: Word): boolean {
  return precedence.indexOf(a.source.name) < precedence.indexOf(b.source.name);
}

function isSame(a: RemoteEndpoint | undefined, b: RemoteEndpoint): boolean {
  return a?.mac === b.mac && a.vtep === b.vtep && sameSource(a.source, b.source) && isSameList(a.ips, b.ips);
}

/** A source shares one object, unless it was told anew of whom it speaks. */
function sameSource(a: Source, b: Source): boolean {
  return a === b || isDeepStrictEqual(a, b);
}
