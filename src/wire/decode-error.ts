import { err } from "../base/result.ts";

/** Why untrusted bytes are not what they were read as. */
export interface DecodeError {
  /** The header that was being read: `ipv4`, `vxlan`, `tcp option`. */
  readonly header: string;
  /** What is wrong with it: `cut short`, `version is 6, not 4`. */
  readonly what: string;
  /** Where, in octets from the start of the buffer that was given to the decoder. */
  readonly offset: number;
  /** Octets that were needed at `offset`; only when too few were there. */
  readonly needed?: number;
  /** Octets that were there; only with `needed`. */
  readonly available?: number;
}

/** One line for people: `ipv4 at octet 14: cut short: needs 20 octets, 7 are there`. */
export function formatDecodeError(error: DecodeError): string {
  const place = `${error.header} at octet ${error.offset}: ${error.what}`;
  return error.needed === undefined
    ? place
    : `${place}: needs ${error.needed} octets, ${error.available ?? 0} are there`;
}

export function malformed(header: string, what: string, offset: number): { ok: false; error: DecodeError } {
  return err({ header, what, offset });
}

/** `bytes` end before the `needed` octets at `offset` do. */
export function cutShort(
  header: string,
  bytes: Uint8Array,
  offset: number,
  needed: number,
): { ok: false; error: DecodeError } {
  return err({ header, what: "cut short", offset, needed, available: Math.max(0, bytes.length - offset) });
}
