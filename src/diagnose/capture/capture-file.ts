import {
  linkTypeEthernet,
  linkTypeIp,
  pcapngInterface,
  pcapngPacket,
  pcapngSection,
  pcapngStatistics,
} from "../../wire/index.ts";
import { type CapturedPacket, type Place, placeName, type SourceCounts } from "./packet.ts";
import type { Reading } from "./reading.ts";

export interface CaptureFileOptions {
  /** The program's name and version. */
  readonly program: string;
  readonly snapLength: number;
  /** What packets had to be like. Empty: like anything. */
  readonly filter: string;
  /** Writes all of it before it returns. */
  readonly write: (octets: Uint8Array) => void;
}

/** Captured packets as a pcapng file, with an interface for each place that packets come from. */
export class CaptureFile {
  readonly #options: CaptureFileOptions;
  readonly #ids = new Map<Place, number>();
  readonly #written = new Map<Place, number>();
  /** Octets so far. */
  size = 0;

  /** Places that are known have their interface also when no packet comes. */
  constructor(options: CaptureFileOptions, places: readonly Place[]) {
    this.#options = options;
    this.#write(pcapngSection({ program: options.program, system: "Linux" }));
    for (const place of places) this.#idOf(place);
  }

  add(packet: CapturedPacket, reading: Reading): void {
    const { place, direction, reception, checksum, time: timestamp, bytes, originalLength } = packet;
    const interfaceId = this.#idOf(place);
    this.#written.set(place, (this.#written.get(place) ?? 0) + 1);
    const comment = commentOf(reading);
    this.#write(
      pcapngPacket({
        ...{ interfaceId, timestamp, bytes, originalLength, direction },
        ...(reception === undefined ? {} : { reception }),
        ...(checksum === undefined ? {} : { checksum }),
        segmentationOffloaded: packet.isSegmented,
        ...(comment === "" ? {} : { comments: [comment] }),
      }),
    );
  }

  /** Writes what the interfaces counted, at the end. Places that share a socket lose packets together. */
  finish(counts: readonly SourceCounts[], time: bigint): void {
    for (const { places, dropped } of counts)
      for (const [position, place] of places.entries()) {
        const lost = position === 0 ? dropped : 0;
        const together = places.map(placeName).join(", ");
        this.#write(
          pcapngStatistics({
            interfaceId: this.#idOf(place),
            timestamp: time,
            received: BigInt((this.#written.get(place) ?? 0) + lost),
            lost: BigInt(lost),
            ...(lost > 0 && places.length > 1 ? { comments: [`lost at ${together} together`] } : {}),
          }),
        );
      }
  }

  #idOf(place: Place): number {
    const known = this.#ids.get(place);
    if (known !== undefined) return known;
    const id = this.#ids.size;
    this.#ids.set(place, id);
    const { filter, snapLength } = this.#options;
    this.#write(
      pcapngInterface({
        linkType: place.link === "ethernet" ? linkTypeEthernet : linkTypeIp,
        snapLength,
        name: placeName(place),
        description: descriptionOf(place),
        ...(filter === "" ? {} : { filter }),
      }),
    );
    return id;
  }

  #write(octets: Uint8Array): void {
    this.#options.write(octets);
    this.size += octets.length;
  }
}

/** `port of endpoint 49ba1784b07b of network web, in weft-blue on h1`. */
function descriptionOf({ kind, endpoint, network, namespace, node }: Place): string {
  const whose = [
    ...(endpoint === undefined ? [] : [` of endpoint ${endpoint}`]),
    ...(network === undefined ? [] : [` of network ${network}`]),
  ].join("");
  return `${kind}${whose}, in ${namespace} on ${node}`;
}

function commentOf({ network, from, to, notes }: Reading): string {
  return [
    ...(network === undefined ? [] : [`network ${network}`]),
    ...(from === undefined ? [] : [`from endpoint ${from}`]),
    ...(to === undefined ? [] : [`to endpoint ${to}`]),
    ...notes,
  ].join(", ");
}
