import { messageOf, WeftError } from "../../base/errors.ts";
import type { KernelObject, NodeDataplane } from "../../dataplane/index.ts";
import { isErrno } from "../../linux/index.ts";
import { getLink, lookUp } from "../../netlink/index.ts";
import type { FindingCode } from "../codes.ts";
import type { Check } from "../subject.ts";

/** What the agent knows already, or would find if it ran: objects that it could not make as they should be. */
export const problemCheck: Check = {
  name: "what the agent could not do",
  async *run({ dataplane }) {
    for (const { object, error } of dataplane.problems.list()) {
      // The checks of the underlay and of tables tell of these, and better.
      if (object.kind === "VTEP address" || (object.kind === "rows" && isErrno(error, "EROFS"))) continue;
      yield {
        code: await codeOf(object, error, dataplane),
        object,
        expected: "as its network says",
        found: isErrno(error, "EROFS") ? `not so: the agent would ${error.attempted}` : messageOf(error),
        ...(error instanceof WeftError && error.hint !== undefined ? { cure: error.hint } : {}),
      };
    }
  },
};

async function codeOf(object: KernelObject, error: Error, dataplane: NodeDataplane): Promise<FindingCode> {
  const isTaken = error instanceof WeftError && error.code === "already-exists";
  if (object.kind === "tunnel") {
    if (await isThere(object, dataplane)) return "tunnel-differs";
    return isTaken ? "tunnel-port-taken" : "tunnel-missing";
  }
  if (object.kind === "bridge" && !(await isThere(object, dataplane))) return "bridge-missing";
  return isForwarding.test(error.message) ? "forwarding-off" : "object-not-in-place";
}

/** What the settings are called by which a namespace forwards. */
const isForwarding = /\bnet\.ipv[46]\.(ip_forward|conf\.\w+\.forwarding)\b/;

/** Whether the tenant's namespace has a device of the object's name. */
async function isThere({ network, key }: KernelObject, dataplane: NodeDataplane): Promise<boolean> {
  const socket = network === undefined ? undefined : dataplane.network(network)?.socket;
  return socket !== undefined && key !== undefined && (await lookUp(socket, getLink({ name: key }))) !== undefined;
}
