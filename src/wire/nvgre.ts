import type { ValueOf } from "./codec.ts";
import type { GreHeader } from "./gre.ts";
import { defineHeader, uint } from "./layout.ts";

/**
 * The key of a GRE header as NVGRE uses it, 4 octets. RFC 7637 §3.2.
 *
 * NVGRE has no mark of its own: it is GRE with a key, without checksum and sequence number, around an Ethernet frame. A
 * GRE tunnel for Ethernet whose operator gave it a key (Linux: `gretap`) sends the same, so that no reader of packets can
 * tell the two apart. Whoever knows that a tunnel is NVGRE reads the key with `readNvgreKey`.
 *
 *      0                   1                   2                   3
 *      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |          Virtual Subnet ID (VSID)             |    FlowID     |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 */
export const nvgreKey = defineHeader("nvgre key", {
  /** The network. RFC 7637 §3 reserves 0…4095 and 16777215; on the wire they are possible. */
  vsid: uint(24),
  /** Tells flows of one network apart, for load balancing; 0 when the sender does not. */
  flowId: uint(8),
});
export type NvgreKey = ValueOf<typeof nvgreKey>;

/** The key of a header that NVGRE can have sent; `undefined` of any other GRE header. */
export function readNvgreKey({ protocolType, checksum, key, sequence }: GreHeader): NvgreKey | undefined {
  if (protocolType !== "transparent-ethernet-bridging" || key === undefined) return undefined;
  if (checksum !== undefined || sequence !== undefined) return undefined;
  const octets = new Uint8Array(nvgreKey.length);
  new DataView(octets.buffer).setUint32(0, key);
  const read = nvgreKey.decode(octets);
  return read.ok ? read.value : undefined;
}

/** The GRE header that NVGRE sends. Throws RangeError when a number does not fit its field. */
export function nvgreHeader(key: NvgreKey): GreHeader {
  const octets = new Uint8Array(nvgreKey.length);
  nvgreKey.encode(key, octets);
  return { protocolType: "transparent-ethernet-bridging", key: new DataView(octets.buffer).getUint32(0) };
}
