import type { PolicyDirection } from "../../../model/policy/index.ts";
import type { PolicyPort, Protocol } from "../objects.ts";
import type { Peer } from "./peers.ts";

/** As policies of weft's are declared. */
export interface Rule {
  readonly direction: PolicyDirection;
  readonly action: "allow";
  readonly peers?: readonly Peer[];
  readonly ports?: readonly Port[];
}

export interface Port {
  readonly protocol: string;
  readonly ports?: readonly string[];
}

/** Of peers or of ports, in one rule of weft's. */
const most = 1_000;

/** Peers, or ports, that are absent are all; empty lists are none, and so are rules with them. */
export function rulesOf(
  direction: PolicyDirection,
  peers: readonly Peer[] | undefined,
  ports: readonly Port[] | undefined,
): Rule[] {
  const parts = <Item>(list: readonly Item[] | undefined): (readonly Item[] | undefined)[] =>
    list === undefined
      ? [undefined]
      : Array.from({ length: Math.ceil(list.length / most) }, (_, part) => list.slice(part * most, (part + 1) * most));
  return parts(peers).flatMap((somePeers) =>
    parts(ports).map((somePorts) => ({
      direction,
      action: "allow",
      ...(somePeers === undefined ? {} : { peers: somePeers }),
      ...(somePorts === undefined ? {} : { ports: somePorts }),
    })),
  );
}

/** Those that are told by number; `undefined`: all, of whatever protocol. */
export function numberedPorts(ports: readonly PolicyPort[]): readonly Port[] | undefined {
  if (ports.length === 0) return undefined;
  return ports.flatMap(({ protocol, port, endPort }): Port[] => {
    if (typeof port === "string") return [];
    if (port === undefined) return [{ protocol: protocol.toLowerCase() }];
    return [portOf(protocol, port, endPort)];
  });
}

/** Those that are told by name, with the numbers that pods have for them. */
export function namedPorts(
  ports: readonly PolicyPort[],
  numbersOf: (protocol: Protocol, name: string) => Iterable<number>,
): { readonly protocol: Protocol; readonly name: string; readonly number: number }[] {
  return ports.flatMap(({ protocol, port }) =>
    typeof port === "string"
      ? Array.from(numbersOf(protocol, port), (number) => ({ protocol, name: port, number }))
      : [],
  );
}

export function portOf(protocol: Protocol, first: number, last = first): Port {
  return { protocol: protocol.toLowerCase(), ports: [first === last ? `${first}` : `${first}-${last}`] };
}
