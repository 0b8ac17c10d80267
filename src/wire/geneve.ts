import { ok } from "../base/result.ts";
import { type Codec, requireRoom, type ValueOf } from "./codec.ts";
import { cutShort } from "./decode-error.ts";
import { etherType } from "./ethernet.ts";
import { type Code, codes, defineHeader, fixed, flag, reserved, uint } from "./layout.ts";
import { withOptions } from "./options.ts";

/** The UDP destination port that IANA gave Geneve. RFC 8926 §3.3. */
export const genevePort = 6081;

/** Who defines the types of an option. IANA "Geneve Option Class". */
export const geneveOptionClass = codes(16, { linux: 0x0100, "open-vswitch": 0x0101, ovn: 0x0102 });

/** An option of a Geneve header. What it means is the business of its class: the data is kept as it is. */
export interface GeneveOption {
  readonly optionClass: Code<"linux" | "open-vswitch" | "ovn">;
  /** 0…255. From 128 on the option is critical: see `isCriticalOption`. */
  readonly type: number;
  /** 0 to 124 octets, a multiple of 4. */
  readonly data: Uint8Array;
}

const optionLead = defineHeader("geneve option", {
  optionClass: geneveOptionClass,
  type: uint(8),
  reserved: reserved(3),
  dataWords: uint(5),
});

/** Whether a tunnel endpoint that does not know the option must drop the packet: the high bit of the type. RFC 8926 §3.5. */
export function isCriticalOption({ type }: Pick<GeneveOption, "type">): boolean {
  return type >= 0x80;
}

/**
 * The options of a Geneve header, up to the end of the bytes. RFC 8926 §3.5. The length counts the data alone, in units of
 * 4 octets.
 *
 *      0                   1                   2                   3
 *      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |          Option Class         |C|    Type     |R|R|R| Length  |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                   Data, 0 to 124 octets                       |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 */
export const geneveOptions: Codec<readonly GeneveOption[]> = {
  name: optionLead.name,
  lengthOf: optionsLength,

  decode(bytes, offset = 0) {
    const options: GeneveOption[] = [];
    let position = offset;
    while (position < bytes.length) {
      const lead = optionLead.decode(bytes, position);
      if (!lead.ok) return lead;
      const { optionClass, type, dataWords } = lead.value;
      const length = optionLead.length + dataWords * 4;
      if (position + length > bytes.length) return cutShort(optionLead.name, bytes, position, length);
      options.push({ optionClass, type, data: bytes.subarray(position + optionLead.length, position + length) });
      position += length;
    }
    return ok(options);
  },

  encode(options, target, offset = 0) {
    requireRoom(optionLead.name, target, offset, optionsLength(options));
    let position = offset;
    for (const { optionClass, type, data } of options) {
      if (data.length % 4 !== 0)
        throw new RangeError(`${optionLead.name} data has a multiple of 4 octets, not ${data.length}`);
      position += optionLead.encode({ optionClass, type, dataWords: data.length / 4 }, target, position);
      target.set(data, position);
      position += data.length;
    }
    return position - offset;
  },
};

function optionsLength(options: readonly GeneveOption[]): number {
  return options.reduce((total, { data }) => total + optionLead.length + data.length, 0);
}

const fixedPart = defineHeader("geneve", {
  version: fixed(2, 0),
  optionWords: uint(6),
  /** O: the packet is a control message for the tunnel endpoint, and is not forwarded. */
  control: flag(),
  /**
   * C: there are critical options. RFC 8926 §3.5 asks for it when there are; Linux 6.1 leaves it out of what routes with
   * `encap` send, so that it is kept as it is.
   */
  criticalOptions: flag(),
  reserved1: reserved(6),
  /** What the tunnel carries: an Ethernet frame (`transparent-ethernet-bridging`) or an IP packet. */
  protocolType: etherType,
  /** 0…16777215. */
  vni: uint(24),
  reserved2: reserved(8),
});

/**
 * Geneve header, 8 to 260 octets. RFC 8926 §3.4. The options length follows from the options, and an option that does not
 * end within it is refused, as are other versions.
 *
 *      0                   1                   2                   3
 *      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |Ver|  Opt Len  |O|C|   Reserved|         Protocol Type         |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |         Virtual Network Identifier (VNI)      |   Reserved    |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                   Options, 0 to 252 octets                    |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 */
export const geneve = withOptions(fixedPart, "optionWords", geneveOptions, "options");
export type GeneveHeader = ValueOf<typeof geneve>;
