import { type Cidr, cidrOf, networkAddress, prefixLengthOf } from "../base/cidr.ts";
import { type Ipv4Address, ipFromBytes, ipToBytes } from "../base/ip.ts";
import { ok } from "../base/result.ts";
import { type Codec, requireRoom } from "./codec.ts";
import { cutShort, malformed } from "./decode-error.ts";

export interface ClasslessRoute {
  readonly destination: Cidr;
  /** 0.0.0.0: on the link. */
  readonly router: Ipv4Address;
}

const name = "classless routes";

/** Octets of a destination that are sent: none of them that its prefix length leaves out. */
function significant(prefixLength: number): number {
  return Math.ceil(prefixLength / 8);
}

/** Routes up to the end of the bytes, each the prefix length, as many octets of the destination as it covers, and the router. RFC 3442. */
export const classlessRoutes: Codec<readonly ClasslessRoute[]> = {
  name,
  lengthOf,

  decode(bytes, offset = 0) {
    const routes: ClasslessRoute[] = [];
    let position = offset;
    while (position < bytes.length) {
      const prefixLength = bytes[position] as number;
      if (prefixLength > 32) return malformed(name, `a prefix length is ${prefixLength}`, position);
      const octets = significant(prefixLength);
      if (position + 1 + octets + 4 > bytes.length) return cutShort(name, bytes, position, 1 + octets + 4);
      const destination = new Uint8Array(4);
      destination.set(bytes.subarray(position + 1, position + 1 + octets));
      routes.push({
        destination: cidrOf(ipFromBytes(destination), prefixLength),
        router: ipFromBytes(bytes, position + 1 + octets, 4) as Ipv4Address,
      });
      position += 1 + octets + 4;
    }
    return ok(routes);
  },

  encode(routes, target, offset = 0) {
    requireRoom(name, target, offset, lengthOf(routes));
    let position = offset;
    for (const { destination, router } of routes) {
      const octets = significant(prefixLengthOf(destination));
      target[position] = prefixLengthOf(destination);
      target.set(ipToBytes(networkAddress(destination)).subarray(0, octets), position + 1);
      target.set(ipToBytes(router), position + 1 + octets);
      position += 1 + octets + 4;
    }
    return position - offset;
  },
};

function lengthOf(routes: readonly ClasslessRoute[]): number {
  return routes.reduce((total, { destination }) => total + 1 + significant(prefixLengthOf(destination)) + 4, 0);
}
