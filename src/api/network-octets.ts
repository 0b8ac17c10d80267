import type { WeftError } from "../base/errors.ts";
import { ok, type Result } from "../base/result.ts";
import type { Network } from "../model/resources.ts";
import { type OwnFields, parseNetworkLike } from "../model/schema.ts";
import { NetworkSchema } from "./generated/weft/v1/resources_pb.js";

type Decode = (octets: Uint8Array) => Result<Network, WeftError>;

/** Networks kept to compare others with: more kinds than operators have, and little memory. */
const kept = 1_000;

/**
 * Decodes networks as `decodeAll` does. Most of many differ in few fields: the octets of the others are read where they were not read
 * before, and what they say is shared.
 */
export function sharingDecoder(decodeAll: Decode): Decode {
  const known = new Map<string, Network>();
  return (octets) => {
    const parts = takeApart(octets);
    if (parts === undefined) return decodeAll(octets);
    const like = known.get(parts.rest);
    const read = like && parseNetworkLike(like, parts.own);
    if (read !== undefined) return ok(read);
    const decoded = decodeAll(octets);
    if (decoded.ok) {
      if (known.size === kept) known.clear();
      known.set(parts.rest, decoded.value);
    }
    return decoded;
  };
}

interface Parts {
  readonly own: OwnFields;
  /** The octets of all other fields, a character each. */
  readonly rest: string;
}

const { name, tenant, vni, subnets, gateways } = NetworkSchema.field;

/**
 * What is in the octets of a network's message, without reading all of it. `undefined`: they are not what weft writes. A text that is
 * not ASCII comes out as one that its field may not hold either.
 */
function takeApart(octets: Uint8Array): Parts | undefined {
  const own = { name: "", tenant: "", vni: 0, subnets: [] as string[], gateways: [] as string[] };
  const walk = new Walk(octets);
  let rest = "";
  let restStart = 0;
  while (walk.next()) {
    if (walk.field === vni.number && !walk.isText) own.vni = walk.value;
    else if (walk.field === name.number && walk.isText) own.name = walk.text;
    else if (walk.field === tenant.number && walk.isText) own.tenant = walk.text;
    else if (walk.field === subnets.number && walk.isText) own.subnets.push(walk.text);
    else if (walk.field === gateways.number && walk.isText) own.gateways.push(walk.text);
    else continue;
    rest += walk.slice(restStart, walk.start);
    restStart = walk.end;
  }
  return walk.isWhole ? { own, rest: rest + walk.slice(restStart, octets.length) } : undefined;
}

/** Goes from field to field of a message. https://protobuf.dev/programming-guides/encoding/ */
class Walk {
  /** Where the field begins and ends. */
  start = 0;
  end = 0;
  field = 0;
  /** Whether it has a length; else it is a number. */
  isText = false;
  /** The number, or the length. */
  value = 0;
  readonly #octets: Buffer;

  constructor(octets: Uint8Array) {
    this.#octets = Buffer.from(octets.buffer, octets.byteOffset, octets.byteLength);
  }

  /** Whether all was well up to the end. */
  get isWhole(): boolean {
    return this.end === this.#octets.length;
  }

  get text(): string {
    return this.slice(this.end - this.value, this.end);
  }

  slice(start: number, end: number): string {
    return this.#octets.toString("latin1", start, end);
  }

  /** False at the end, and where a field is of another kind or cut off. */
  next(): boolean {
    if (this.isWhole) return false;
    this.start = this.end;
    const tag = this.#varint();
    this.value = this.#varint();
    this.field = tag >>> 3;
    this.isText = (tag & 7) === 2;
    if (this.isText) this.end += this.value;
    return (this.isText || (tag & 7) === 0) && this.end <= this.#octets.length;
  }

  /** Of at most 32 bits; what is cut off, or has more, leads beyond the end. */
  #varint(): number {
    let number = 0;
    for (let shift = 0; shift < 32; shift += 7) {
      const octet = this.#octets[this.end++] ?? 0x80;
      number += (octet & 0x7f) * 2 ** shift;
      if (octet < 0x80) return number;
    }
    this.end = Number.POSITIVE_INFINITY;
    return number;
  }
}
