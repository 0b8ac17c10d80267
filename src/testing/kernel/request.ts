import { constants } from "node:os";
import { NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL } from "../../netlink/message.ts";
import type { Query } from "../../netlink/request.ts";
import type { MessageWriter } from "../../netlink/writer.ts";
import type { FakeAnswer, FakeMessage, FakeRequest } from "../fake-kernel.ts";

/** Those that Node does not name. asm-generic/errno.h. */
const unnamed: Readonly<Record<string, number>> = { EXFULL: 54 };

/** asm-generic/errno.h */
export function errnoOf(name: string): number {
  const errno = constants.errno[name as keyof typeof constants.errno] ?? unnamed[name];
  if (errno === undefined) throw new RangeError(`no such error: ${name}`);
  return errno;
}

/** The kernel refuses a request: thrown by whoever finds out why. */
export class Refusal extends Error {
  readonly answer: FakeAnswer;

  /** `message`: the kernel's own words, where it has any. */
  constructor(name: string, message?: string) {
    super(message ?? name);
    this.answer = { errno: errnoOf(name), ...(message === undefined ? {} : { message }) };
  }
}

/** One family of objects of a namespace: carries out the requests of its types, `undefined` for those of other families. */
export interface Family {
  handle(request: FakeRequest): FakeAnswer | undefined;
}

/** What a request of a family asks for: types come in fours, NEW, DEL, GET, SET. linux/rtnetlink.h */
export type Operation = "new" | "delete" | "get" | "dump" | "set";

export function operationOf(request: FakeRequest, newType: number): Operation | undefined {
  const operation = (["new", "delete", "get", "set"] as const)[request.type - newType];
  return operation === "get" && (request.flags & NLM_F_DUMP) === NLM_F_DUMP ? "dump" : operation;
}

export function readAs<Value>({ payload, type }: FakeRequest, read: Query<Value>["read"]): Value {
  const value = read(payload, viewOf(payload), 0, payload.length, type);
  if (value === undefined) throw new Refusal("EINVAL");
  return value;
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Refuses as all families do to make what is there, or to change what is not. */
export function refuseByFlags({ flags }: FakeRequest, isPresent: boolean): void {
  if (isPresent && (flags & NLM_F_EXCL) !== 0) throw new Refusal("EEXIST");
  if (!isPresent && (flags & NLM_F_CREATE) === 0) throw new Refusal("ENOENT");
}

/** An object as the kernel tells of it, written as a request about it is. */
export function told(type: number, { write }: { write(writer: MessageWriter): void }): FakeMessage {
  return { type, write };
}
