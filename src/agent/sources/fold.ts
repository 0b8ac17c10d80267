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

/**
 * What all sources say of one network, as the one word that the dataplane gets. What one source says replaces, and takes
 * back, what that source said before, and nothing that another says.
 */
export class Fold {
  readonly #wayTo: WayTo;
  #network: DesiredNetwork;
  /** The VTEPs that each source lists for the network as a whole. */
  readonly #listed = new Map<SourceName, readonly RemotePlace[]>();
  /** VTEPs of nodes that route into the network, with how many there are behind each. */
  readonly #routers = new Map<IpAddress, number>();
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
    network.setListed(this.#listedVteps());
    for (const vtep of this.#routers.keys()) network.setRouter(vtep, true);
    this.#network = network;
    this.waysChanged();
  }

  /** The way to each VTEP may be another. */
  waysChanged(): void {
    for (const cidr of this.#blocks.keys()) this.#showBlock(cidr);
  }

  /** The VTEPs that a source lists for the network as a whole, in place of those that it listed before. */
  setListed(name: SourceName, places: readonly RemotePlace[]): void {
    this.#listed.set(name, places);
    this.#network.setListed(this.#listedVteps());
  }

  /** A node behind the VTEP routes into the network from others. */
  addRouter(vtep: IpAddress): void {
    this.#routers.set(vtep, (this.#routers.get(vtep) ?? 0) + 1);
    this.#network.setRouter(vtep, true);
  }

  /** It does no more. */
  removeRouter(vtep: IpAddress): void {
    const count = this.#routers.get(vtep) ?? 0;
    if (count > 1) this.#routers.set(vtep, count - 1);
    else {
      this.#routers.delete(vtep);
      this.#network.setRouter(vtep, false);
    }
  }

  /** What a source says of endpoints elsewhere, believed or not. */
  *endpointsOf(name: SourceName): Iterable<RemoteEndpoint> {
    for (const endpoints of [this.#network.remotes.values(), this.#waiting.all])
      for (const endpoint of endpoints) if (endpoint.source.name === name) yield endpoint;
  }

  putEndpoint(word: EndpointWord): void {
    const { id, source } = word;
    this.#speakers.add(source.name);
    const before = this.#wordOf(id, source.name);
    if (isElsewhere(word)) {
      this.#here.remove(id, source.name);
      this.#judge(word);
    } else this.#placeHere(word);
    this.#judgeWaiting(before);
  }

  /** Who says for the source where the endpoint is, believed or not. */
  sourceOf(id: string, name: SourceName): Source | undefined {
    return this.#wordOf(id, name)?.source;
  }

  /** The source says of the endpoint no more where it is. */
  removeEndpoint(id: string, name: SourceName): void {
    const before = this.#wordOf(id, name);
    this.#here.remove(id, name);
    this.#withdraw(id, name);
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

  #listedVteps(): IpAddress[] {
    return [...this.#listed.values()].flatMap((places) => places.map(({ vtep }) => vtep));
  }

  #wordOf(id: string, name: SourceName): EndpointWord | undefined {
    return this.#believed(id, name) ?? this.#waiting.get(id, name) ?? this.#here.get(id, name);
  }

  #believed(id: string, name: SourceName): RemoteEndpoint | undefined {
    const endpoint = this.#network.remote(id);
    return endpoint?.source.name === name ? endpoint : undefined;
  }

  /** It is elsewhere no more, as far as the source is concerned. */
  #withdraw(id: string, name: SourceName): void {
    this.#waiting.remove(id, name);
    if (this.#believed(id, name) !== undefined) this.#network.removeRemote(id);
  }

  #placeHere(word: EndpointWord): void {
    this.#withdraw(word.id, word.source.name);
    this.#here.put(word);
    for (const holder of this.#holdersLike(word)) this.#judge(holder);
  }

  #judge(endpoint: RemoteEndpoint): void {
    const { id, source } = endpoint;
    this.#waiting.remove(id, source.name);
    const rivals = this.#rivalsOf(endpoint);
    const isBelieved =
      source.name === precedence[0] ||
      [...rivals, ...this.#here.like(endpoint)].every((word) => !isBefore(word, endpoint));
    if (!isBelieved) this.#withdraw(id, source.name);
    // Whoever has the id as well makes way first.
    for (const rival of isBelieved ? rivals : []) this.#withdraw(rival.id, rival.source.name);
    for (const loser of isBelieved ? rivals : [endpoint]) this.#waiting.put(loser);
    if (isBelieved && !isSame(this.#network.remote(id), endpoint)) this.#network.putRemote(endpoint);
  }

  /** Endpoints that another source places, and that have the id, the MAC or an address of this one. */
  #rivalsOf(endpoint: RemoteEndpoint): readonly RemoteEndpoint[] {
    if (this.#speakers.size < 2) return [];
    return this.#holdersLike(endpoint).filter(({ source }) => source.name !== endpoint.source.name);
  }

  /** Endpoints elsewhere that are believed and have the id, the MAC or an address of this one. */
  #holdersLike(word: EndpointWord): readonly RemoteEndpoint[] {
    const sameId = this.#network.remote(word.id);
    const holders = this.#network.remotesLike(word);
    return sameId === undefined || holders.some(({ id }) => id === word.id) ? holders : [sameId, ...holders];
  }

  /** Those that the former word of this one may have been in the way of. There are none unless sources contradict each other. */
  #judgeWaiting(former: EndpointWord | undefined): void {
    if (former === undefined) return;
    for (const waiting of this.#waiting.like(former)) this.#judge(waiting);
  }
}

/** Endpoints, each as one source says, and by what two of them contradict each other in: that costs the same however many there are. */
class Endpoints<Endpoint extends EndpointWord> {
  readonly #byKey = new Map<string, Endpoint>();
  readonly #with = new Map<string, Set<Endpoint>>();

  get all(): Iterable<Endpoint> {
    return this.#byKey.values();
  }

  /** What the source says of the endpoint. */
  get(id: string, name: SourceName): Endpoint | undefined {
    return this.#byKey.get(keyOf(id, name));
  }

  /** Those that have the id, the MAC or an address of this one. */
  like(word: EndpointWord): readonly Endpoint[] {
    if (this.#byKey.size === 0) return [];
    const found = new Set<Endpoint>();
    for (const name of namesOf(word)) for (const endpoint of this.#with.get(name) ?? []) found.add(endpoint);
    return [...found];
  }

  put(endpoint: Endpoint): void {
    const { id, source } = endpoint;
    this.remove(id, source.name);
    this.#byKey.set(keyOf(id, source.name), endpoint);
    for (const name of namesOf(endpoint)) this.#with.set(name, (this.#with.get(name) ?? new Set()).add(endpoint));
  }

  remove(id: string, source: SourceName): void {
    const endpoint = this.#byKey.get(keyOf(id, source));
    if (endpoint === undefined) return;
    this.#byKey.delete(keyOf(id, source));
    for (const name of namesOf(endpoint)) {
      const others = this.#with.get(name);
      others?.delete(endpoint);
      if (others?.size === 0) this.#with.delete(name);
    }
  }
}

function keyOf(id: string, name: SourceName): string {
  return `${name} ${id}`;
}

/** What stands for one endpoint alone. */
function namesOf({ id, mac, ips }: EndpointWord): readonly string[] {
  return [id, mac, ...ips];
}

function isElsewhere(word: EndpointWord): word is RemoteEndpoint {
  return word.vtep !== undefined;
}

function isBefore(a: Word, b: Word): boolean {
  return precedence.indexOf(a.source.name) < precedence.indexOf(b.source.name);
}

function isSame(a: RemoteEndpoint | undefined, b: RemoteEndpoint): boolean {
  if (a === undefined || a.mac !== b.mac || a.vtep !== b.vtep || !sameSource(a.source, b.source)) return false;
  return isSameList(a.ips, b.ips) && isSameList(a.learnedIps ?? [], b.learnedIps ?? []);
}

/** A source shares one object, unless it was told anew of whom it speaks. */
function sameSource(a: Source, b: Source): boolean {
  return a === b || isDeepStrictEqual(a, b);
}
