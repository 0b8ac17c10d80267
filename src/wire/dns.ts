import { familyOf, type IpAddress, ipToBytes } from "../base/ip.ts";
import { ok, type Result } from "../base/result.ts";
import { cutShort, type DecodeError, malformed } from "./decode-error.ts";
import { domainNames } from "./domain-names.ts";
import { codes, defineHeader, type FieldValues, flag, reserved, uint } from "./layout.ts";
import { textOf } from "./text.ts";

/** UDP and TCP. */
export const dnsPort = 53;

/** RFC 1035 §4.1.1. */
const dnsResponseCode = codes(4, {
  "no-error": 0,
  "format-error": 1,
  "server-failure": 2,
  "name-error": 3,
  "not-implemented": 4,
  refused: 5,
});

/** RFC 1035 §3.2.2 and §3.2.3, RFC 3596 §2.1. */
const dnsType = codes(16, { a: 1, ptr: 12, aaaa: 28, any: 255 });

/** RFC 1035 §3.2.4. */
const dnsClass = codes(16, { internet: 1, any: 255 });

/**
 * Header of a DNS message, 12 octets. RFC 1035 §4.1.1. Bits that later RFCs gave a meaning (AD, CD) count as reserved.
 *
 *                                     1  1  1  1  1  1
 *       0  1  2  3  4  5  6  7  8  9  0  1  2  3  4  5
 *     +--+--+--+--+--+--+--+--+--+--+--+--+--+--+--+--+
 *     |                      ID                       |
 *     +--+--+--+--+--+--+--+--+--+--+--+--+--+--+--+--+
 *     |QR|   OPCODE  |AA|TC|RD|RA|   Z    |   RCODE   |
 *     +--+--+--+--+--+--+--+--+--+--+--+--+--+--+--+--+
 *     |                    QDCOUNT                    |
 *     +--+--+--+--+--+--+--+--+--+--+--+--+--+--+--+--+
 *     |                    ANCOUNT                    |
 *     +--+--+--+--+--+--+--+--+--+--+--+--+--+--+--+--+
 *     |                    NSCOUNT                    |
 *     +--+--+--+--+--+--+--+--+--+--+--+--+--+--+--+--+
 *     |                    ARCOUNT                    |
 *     +--+--+--+--+--+--+--+--+--+--+--+--+--+--+--+--+
 */
const dnsFields = {
  id: uint(16),
  isResponse: flag(),
  /** 0: a standard query. */
  operation: uint(4),
  isAuthoritative: flag(),
  isTruncated: flag(),
  recursionDesired: flag(),
  recursionAvailable: flag(),
  reserved: reserved(3),
  responseCode: dnsResponseCode,
  questions: uint(16),
  answers: uint(16),
  authorities: uint(16),
  additionals: uint(16),
} as const;
export const dnsHeader = defineHeader("dns", dnsFields);

/** What is asked. RFC 1035 §4.1.2. */
export interface DnsQuestion {
  /** Its labels with dots between, in the case that they came in; empty: the root. */
  readonly name: string;
  readonly type: ReturnType<typeof dnsType.decode>;
  readonly class: ReturnType<typeof dnsClass.decode>;
  /** All of it as it came: resolvers look whether a response has that, also in the case of letters. */
  readonly octets: Uint8Array;
}

/** What is known of the name that was asked for, in class IN. */
export type DnsRecord =
  | { readonly type: "address"; readonly address: IpAddress }
  | { readonly type: "name"; readonly name: string };

export interface DnsResponse
  extends Pick<FieldValues<typeof dnsFields>, "id" | "operation" | "recursionDesired" | "responseCode"> {
  readonly isAuthoritative: boolean;
  /** Absent: it could not be read. */
  readonly question?: DnsQuestion;
  readonly records: readonly DnsRecord[];
  /** Seconds that each of them may be kept. */
  readonly timeToLive: number;
}

/** Octets of a name with the lengths of its labels. RFC 1035 §3.1. */
const longestName = 255;
const longestLabel = 63;
/** Octets of a message over UDP where nothing else was agreed upon. RFC 1035 §4.2.1. */
const longestMessage = 512;
/** To the name of the question, which stands behind the header. RFC 1035 §4.1.4. */
const pointerToQuestion = 0xc000 | dnsHeader.length;

const questionTail = defineHeader("dns question", { type: dnsType, class: dnsClass });
const recordHead = defineHeader("dns record", {
  name: uint(16),
  type: dnsType,
  class: dnsClass,
  timeToLive: uint(32),
  length: uint(16),
});

/** The question at `offset`: of a query, in which nothing stands before it that its name could point to. */
export function readDnsQuestion(bytes: Uint8Array, offset: number): Result<DnsQuestion, DecodeError> {
  const labels: string[] = [];
  let position = offset;
  for (;;) {
    const length = bytes[position];
    if (length === undefined) return cutShort(questionTail.name, bytes, position, 1);
    if (length > longestLabel) return malformed(questionTail.name, `a label has ${length} octets`, position);
    const label = bytes.subarray(position + 1, position + 1 + length);
    if (label.length < length) return cutShort(questionTail.name, bytes, position, 1 + length);
    position += 1 + length;
    if (position - offset > longestName) return malformed(questionTail.name, "the name is too long", offset);
    if (length === 0) break;
    const text = textOf(label);
    if (text.includes(".")) return malformed(questionTail.name, "a label has a dot", position);
    labels.push(text);
  }
  const rest = questionTail.decode(bytes, position);
  if (!rest.ok) return rest;
  const octets = bytes.subarray(offset, position + questionTail.length);
  return ok({ name: labels.join("."), ...rest.value, octets });
}

/** As many of the records as fit into a message of UDP: whoever asks for addresses needs one. */
export function writeDnsResponse(response: DnsResponse): Uint8Array {
  const { id, operation, recursionDesired, responseCode, isAuthoritative, question, timeToLive } = response;
  const octets = question?.octets ?? new Uint8Array();
  const data = response.records.map(dataOf);
  const message = new Uint8Array(longestMessage);
  let length = dnsHeader.length;
  message.set(octets, length);
  length += octets.length;
  let answers = 0;
  for (const { type, content } of question === undefined ? [] : data) {
    if (length + recordHead.length + content.length > longestMessage) break;
    const head = { name: pointerToQuestion, type, class: "internet", timeToLive, length: content.length } as const;
    length += recordHead.encode(head, message, length);
    message.set(content, length);
    length += content.length;
    answers++;
  }
  dnsHeader.encode(
    {
      ...{ id, isResponse: true, operation, isAuthoritative, isTruncated: false, recursionDesired },
      ...{ recursionAvailable: false, responseCode, questions: question === undefined ? 0 : 1 },
      ...{ answers, authorities: 0, additionals: 0 },
    },
    message,
  );
  return message.slice(0, length);
}

function dataOf(record: DnsRecord): { readonly type: "a" | "aaaa" | "ptr"; readonly content: Uint8Array } {
  if (record.type === "address")
    return { type: familyOf(record.address) === 4 ? "a" : "aaaa", content: ipToBytes(record.address) };
  const content = new Uint8Array(domainNames.lengthOf([record.name]));
  domainNames.encode([record.name], content);
  return { type: "ptr", content };
}
