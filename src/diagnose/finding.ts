import type { KernelObject } from "../dataplane/index.ts";
import { type FindingCode, findingCodes, type Severity } from "./codes.ts";

/** Something on a node that is not as it should be, and what to do about it. */
export interface Finding {
  readonly code: FindingCode;
  readonly severity: Severity;
  /** Where it is. */
  readonly node: string;
  readonly object: KernelObject;
  readonly expected: string;
  readonly found: string;
  /** Why it is likely to be so, where that can be said. */
  readonly cause: string;
  /** A command, or what to do in words. */
  readonly cure: string;
}

/** What a check knows of it; the rest follows from its code. */
export type FindingDraft = Pick<Finding, "code" | "object" | "expected" | "found"> &
  Partial<Pick<Finding, "severity" | "cause" | "cure">>;

/** With what is the same in all findings of its code. */
export function complete(draft: FindingDraft, node: string): Finding {
  const { severity, cause, cure } = findingCodes[draft.code];
  return { severity, cause, cure, node, ...draft };
}
