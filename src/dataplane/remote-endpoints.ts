import { HashIndex, hashOf } from "../base/hash-index.ts";
import { familyOf, type IpAddress, ipFromBytes, writeIp } from "../base/ip.ts";
import { type MacAddress, macFromBytes, writeMac } from "../base/mac.ts";

/** Who says where something is that is not here. One object is shared by all that one says. */
export type Source = { readonly name: "server"; readonly node: string } | { readonly name: "static" };

/** Where something is that is not here: behind a VTEP, which need not be a node's. */
export interface RemotePlace {
  readonly vtep: IpAddress;
  readonly source: Source;
}

/** An endpoint that has its place elsewhere. */
export interface RemoteEndpoint extends RemotePlace {
  readonly id: string;
  /** Found behind a port and never declared: it may turn up behind one of this node's. */
  readonly isLearned?: boolean;
  readonly mac: MacAddress;
  readonly ips: readonly IpAddress[];
  /** Those of them that nobody gave it: they may turn up with another. */
  readonly learnedIps?: readonly IpAddress[];
}

/** Which endpoint has something. Each is made when it is asked for. */
export interface EndpointsBy<Key> extends Iterable<readonly [Key, RemoteEndpoint]> {
  get(key: Key): RemoteEndpoint | undefined;
  has(key: Key): boolean;
  keys(): Iterable<Key>;
}

/** An id is as many characters of ASCII, or fewer. */
const idLength = 12;
const idPattern = new RegExp(`^[!-~]{1,${idLength}}$`);
/** Octets of an address: its family, then 4 or 16. */
const ipLength = 17;
const macLength = 6;
/** What is looked for is written here, and never indexed. */
const sought = 0;

/**
 * The endpoints of a network that have their places elsewhere, by id, MAC and IP address. There may be hundreds of thousands, so
 * they are kept in columns, in some 80 octets each: as objects in maps they take four times that.
 *
 * A MAC or address that several endpoints have is that of the last that was put, and of nobody once that is gone.
 */
export class RemoteEndpoints {
  readonly #places = new Places();
  readonly #freeEndpoints = new FreeNumbers();
  readonly #freeIps = new FreeNumbers();

  /** Columns of endpoints. No id: no endpoint. */
  #ids = new Uint8Array(idLength);
  #macs = new Uint8Array(macLength);
  #placeNumbers = new Uint32Array(1);
  #areLearned = new Uint8Array(1);
  /** The first of its addresses, in the order that it has them; 0: it has none. */
  #firstIps = new Uint32Array(1);

  /** Columns of addresses. */
  #ips = new Uint8Array(ipLength);
  #nextIps = new Uint32Array(1);
  #holders = new Uint32Array(1);
  #areIpsLearned = new Uint8Array(1);

  readonly #byId = new HashIndex({
    hash: (endpoint) => hashOf(this.#ids, endpoint * idLength, idLength),
    isSame: (a, b) => isSame(this.#ids, a, b, idLength),
  });
  readonly #byMac = new HashIndex({
    hash: (endpoint) => hashOf(this.#macs, endpoint * macLength, macLength),
    isSame: (a, b) => isSame(this.#macs, a, b, macLength),
  });
  readonly #byIp = new HashIndex({
    hash: (ip) => hashOf(this.#ips, ip * ipLength, ipLength),
    isSame: (a, b) => isSame(this.#ips, a, b, ipLength),
  });

  readonly byMac: EndpointsBy<MacAddress> = {
    get: (mac) => this.#get(this.#withMac(mac)),
    has: (mac) => this.#withMac(mac) !== 0,
    keys: () => this.#macsWithEndpoint(),
    [Symbol.iterator]: () => withEndpoints(this.byMac),
  };
  readonly byIp: EndpointsBy<IpAddress> = {
    get: (ip) => this.#get(this.#withIp(ip)),
    has: (ip) => this.#withIp(ip) !== 0,
    keys: () => this.#ipsWithEndpoint(),
    [Symbol.iterator]: () => withEndpoints(this.byIp),
  };

  get size(): number {
    return this.#byId.size;
  }

  get(id: string): RemoteEndpoint | undefined {
    return this.#get(this.#withId(id));
  }

  *values(): Iterable<RemoteEndpoint> {
    for (const endpoint of this.#all()) yield this.#make(endpoint);
  }

  /** The MAC of the endpoint that has the address. */
  macOf(ip: IpAddress): MacAddress | undefined {
    const endpoint = this.#withIp(ip);
    return endpoint === 0 ? undefined : macFromBytes(this.#macs, endpoint * macLength);
  }

  /** In the place of one with the id. Throws where the id is not of 1 to 12 characters of ASCII. */
  put({ id, mac, ips, isLearned, learnedIps = [], vtep, source }: RemoteEndpoint): void {
    if (!idPattern.test(id)) throw new RangeError(`the id "${id}" is not of 1 to ${idLength} characters of ASCII`);
    this.remove(id);
    const endpoint = this.#freeEndpoints.take();
    if (endpoint >= this.#placeNumbers.length) this.#growEndpoints();
    this.#writeId(endpoint, id);
    writeMac(mac, this.#macs, endpoint * macLength);
    this.#placeNumbers[endpoint] = this.#places.use({ vtep, source });
    this.#areLearned[endpoint] = isLearned === true ? 1 : 0;
    this.#firstIps[endpoint] = 0;
    this.#byId.put(endpoint);
    this.#byMac.put(endpoint);
    for (const ip of ips.toReversed()) {
      const record = this.#freeIps.take();
      if (record >= this.#holders.length) this.#growIps();
      this.#writeIp(record, ip);
      this.#holders[record] = endpoint;
      this.#areIpsLearned[record] = learnedIps.includes(ip) ? 1 : 0;
      this.#nextIps[record] = this.#firstIps[endpoint];
      this.#firstIps[endpoint] = record;
      this.#byIp.put(record);
    }
  }

  remove(id: string): void {
    const endpoint = this.#withId(id);
    if (endpoint === 0) return;
    this.#byId.remove(endpoint);
    this.#byMac.remove(endpoint);
    for (const record of this.#ipsOf(endpoint)) {
      this.#byIp.remove(record);
      this.#freeIps.give(record);
    }
    this.#places.leave(this.#placeNumbers[endpoint] as number);
    this.#writeId(endpoint, "");
    this.#freeEndpoints.give(endpoint);
  }

  *#all(): Iterable<number> {
    for (let endpoint = 1; endpoint < this.#placeNumbers.length; endpoint++)
      if (this.#ids[endpoint * idLength] !== 0) yield endpoint;
  }

  *#ipsOf(endpoint: number): Iterable<number> {
    for (let record = this.#firstIps[endpoint] as number; record !== 0; ) {
      const next = this.#nextIps[record] as number;
      yield record;
      record = next;
    }
  }

  *#macsWithEndpoint(): Iterable<MacAddress> {
    for (const endpoint of this.#all())
      if (this.#byMac.find(endpoint) === endpoint) yield macFromBytes(this.#macs, endpoint * macLength);
  }

  *#ipsWithEndpoint(): Iterable<IpAddress> {
    for (const endpoint of this.#all())
      for (const record of this.#ipsOf(endpoint)) if (this.#byIp.find(record) === record) yield this.#readIp(record);
  }

  #get(endpoint: number): RemoteEndpoint | undefined {
    return endpoint === 0 ? undefined : this.#make(endpoint);
  }

  #make(endpoint: number): RemoteEndpoint {
    const { vtep, source } = this.#places.get(this.#placeNumbers[endpoint] as number);
    const ips: IpAddress[] = [];
    const learnedIps: IpAddress[] = [];
    for (const record of this.#ipsOf(endpoint)) {
      const ip = this.#readIp(record);
      ips.push(ip);
      if (this.#areIpsLearned[record] === 1) learnedIps.push(ip);
    }
    return {
      id: this.#readId(endpoint),
      mac: macFromBytes(this.#macs, endpoint * macLength),
      ips,
      vtep,
      source,
      ...(this.#areLearned[endpoint] === 1 ? { isLearned: true } : {}),
      ...(learnedIps.length === 0 ? {} : { learnedIps }),
    };
  }

  #withId(id: string): number {
    // None was put with such a one.
    if (!idPattern.test(id)) return 0;
    this.#writeId(sought, id);
    return this.#byId.find(sought);
  }

  #withMac(mac: MacAddress): number {
    writeMac(mac, this.#macs, sought);
    return this.#byMac.find(sought);
  }

  #withIp(ip: IpAddress): number {
    this.#writeIp(sought, ip);
    return this.#holders[this.#byIp.find(sought)] as number;
  }

  #writeId(endpoint: number, id: string): void {
    const start = endpoint * idLength;
    this.#ids.fill(0, start, start + idLength);
    for (let index = 0; index < id.length; index++) this.#ids[start + index] = id.charCodeAt(index);
  }

  #readId(endpoint: number): string {
    let id = "";
    for (let index = endpoint * idLength; index < (endpoint + 1) * idLength && this.#ids[index] !== 0; index++)
      id += String.fromCharCode(this.#ids[index] as number);
    return id;
  }

  #writeIp(record: number, ip: IpAddress): void {
    const start = record * ipLength;
    this.#ips.fill(0, start, start + ipLength);
    this.#ips[start] = familyOf(ip);
    writeIp(ip, this.#ips, start + 1);
  }

  #readIp(record: number): IpAddress {
    const start = record * ipLength;
    return ipFromBytes(this.#ips, start + 1, this.#ips[start] === 4 ? 4 : 16);
  }

  #growEndpoints(): void {
    this.#ids = doubled(this.#ids);
    this.#macs = doubled(this.#macs);
    this.#placeNumbers = doubled(this.#placeNumbers);
    this.#areLearned = doubled(this.#areLearned);
    this.#firstIps = doubled(this.#firstIps);
  }

  #growIps(): void {
    this.#ips = doubled(this.#ips);
    this.#nextIps = doubled(this.#nextIps);
    this.#holders = doubled(this.#holders);
    this.#areIpsLearned = doubled(this.#areIpsLearned);
  }
}

/** Places, each once: what many endpoints have in common. */
class Places {
  readonly #places: RemotePlace[] = [];
  readonly #users: number[] = [];
  readonly #free = new FreeNumbers();
  readonly #numbers = new Map<RemotePlace["source"], Map<IpAddress, number>>();

  get(number: number): RemotePlace {
    return this.#places[number] as RemotePlace;
  }

  use(place: RemotePlace): number {
    const { source, vtep } = place;
    const numbers = this.#numbers.get(source) ?? new Map<IpAddress, number>();
    this.#numbers.set(source, numbers);
    const number = numbers.get(vtep) ?? this.#free.take();
    if (!numbers.has(vtep)) {
      numbers.set(vtep, number);
      this.#places[number] = place;
      this.#users[number] = 0;
    }
    this.#users[number] = (this.#users[number] as number) + 1;
    return number;
  }

  leave(number: number): void {
    const left = (this.#users[number] as number) - 1;
    this.#users[number] = left;
    if (left > 0) return;
    const { source, vtep } = this.get(number);
    const numbers = this.#numbers.get(source);
    numbers?.delete(vtep);
    if (numbers?.size === 0) this.#numbers.delete(source);
    this.#free.give(number);
  }
}

/** Numbers from 1 on, those that were given back first. */
class FreeNumbers {
  readonly #given: number[] = [];
  #next = 1;

  take(): number {
    return this.#given.pop() ?? this.#next++;
  }

  give(number: number): void {
    this.#given.push(number);
  }
}

function* withEndpoints<Key>(endpoints: EndpointsBy<Key>): Iterator<readonly [Key, RemoteEndpoint]> {
  for (const key of endpoints.keys()) {
    const endpoint = endpoints.get(key);
    if (endpoint !== undefined) yield [key, endpoint];
  }
}

function doubled<Column extends Uint8Array<ArrayBuffer> | Uint32Array<ArrayBuffer>>(column: Column): Column {
  const larger = new (column.constructor as new (length: number) => Column)(column.length * 2);
  larger.set(column);
  return larger;
}

function isSame(column: Uint8Array, a: number, b: number, length: number): boolean {
  for (let index = 0; index < length; index++)
    if (column[a * length + index] !== column[b * length + index]) return false;
  return true;
}
