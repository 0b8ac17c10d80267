import type { WeftError } from "../base/errors.ts";
import { nameOfObject } from "../dataplane/index.ts";
import { complete } from "../diagnose/doctor.ts";

/** What can be said of a node whose agent does not answer at `socketPath`. */
export async function examineWithoutAgent(socketPath: string, refusal: WeftError) {
  const { hostname } = await import("node:os");
  const node = hostname();
  const finding = complete(
    {
      code: "agent-stopped",
      object: { kind: "agent", key: socketPath },
      expected: "it answers at its socket",
      found: refusal.reason,
    },
    node,
  );
  return { nodes: [node], findings: [{ ...finding, object: nameOfObject(finding.object) }] };
}
