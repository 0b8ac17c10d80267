import { isErrno } from "../linux/index.ts";
import { clsactQdisc, createQdisc, type NetlinkSocket } from "../netlink/index.ts";
import { explainMissing } from "./missing-module.ts";

/** Lets filters judge what the device receives and sends, if they do not already: its clsact qdisc. tc(8) */
export async function ensureHooks(socket: NetlinkSocket, index: number): Promise<void> {
  await socket.execute(createQdisc(clsactQdisc(index))).catch((error: unknown) => {
    if (!isErrno(error, "EEXIST")) explainMissing("sch_ingress")(error);
  });
}
