import { messageOf } from "../base/errors.ts";
import { duplicateCheck } from "./checks/duplicates.ts";
import { endpointChecks } from "./checks/endpoints.ts";
import { firewallChecks } from "./checks/firewall.ts";
import { hostChecks } from "./checks/host.ts";
import { limitChecks } from "./checks/limits.ts";
import { machineChecks } from "./checks/machine.ts";
import { pathChecks } from "./checks/paths.ts";
import { problemCheck } from "./checks/problems.ts";
import { serverChecks } from "./checks/server.ts";
import { tableChecks } from "./checks/tables.ts";
import { underlayChecks } from "./checks/underlay.ts";
import { complete, type Finding, type FindingDraft } from "./finding.ts";
import type { Check, Subject } from "./subject.ts";

/** In the order in which people read them: what others rest on comes first. */
const checks: readonly Check[] = [
  ...hostChecks,
  ...machineChecks,
  ...serverChecks,
  ...underlayChecks,
  duplicateCheck,
  ...limitChecks,
  problemCheck,
  ...tableChecks,
  ...endpointChecks,
  ...firewallChecks,
  ...pathChecks,
];

export type Examined =
  /** A check begins. */
  { readonly check: string } | { readonly finding: Finding };

/** Looks at all of a node, one check after the other, and tells what is not as it should be. */
export async function* examine(subject: Subject): AsyncGenerator<Examined> {
  for (const check of checks) {
    yield { check: check.name };
    try {
      for await (const draft of check.run(subject)) yield { finding: complete(draft, subject.node) };
    } catch (error) {
      const failed: FindingDraft = {
        code: "check-failed",
        object: { kind: "check", key: check.name },
        expected: "an answer",
        found: messageOf(error),
      };
      yield { finding: complete(failed, subject.node) };
    }
  }
}
