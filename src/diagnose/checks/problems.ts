import { messageOf, WeftError } from "../../base/errors.ts";
import type { KernelObject } from "../../dataplane/index.ts";
import type { FindingCode } from "../codes.ts";
import type { Check } from "../subject.ts";

/** What the agent knows already: objects that it could not make as they should be. */
export const problemCheck: Check = {
  name: "what the agent could not do",
  *run({ dataplane }) {
    for (const { object, error, attempts } of dataplane.problems.list())
      yield {
        code: codeOf(object, error),
        object,
        expected: "as its network says",
        found: `${messageOf(error)} (tried ${attempts === 1 ? "once" : `${attempts} times`})`,
        ...(error instanceof WeftError && error.hint !== undefined ? { cure: error.hint } : {}),
      };
  },
};

function codeOf({ kind }: KernelObject, error: Error): FindingCode {
  const isTaken = error instanceof WeftError && error.code === "already-exists";
  if (kind === "tunnel") return isTaken ? "tunnel-port-taken" : "tunnel-missing";
  if (kind === "bridge") return "bridge-missing";
  if (kind === "VTEP address") return "vtep-address-missing";
  return "object-not-in-place";
}
