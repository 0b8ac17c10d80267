import { deleteNamedNamespace, listNamedNamespaces } from "../../src/linux/index.ts";
import { isAlive } from "../../src/testing/temporary-directory.ts";
import { listCgroups, removeCgroups } from "./cgroups.ts";

/** Of the namespace that has a cluster's switch. */
export const switchLabel = "kubernetes-switch";

/** Takes away what is left of clusters whose tests were killed: their processes have ended with them, and directories go with the next test. */
export async function removeLeftovers(): Promise<void> {
  for (const name of listCgroups()) if (isLeft(/^weft-t(\d+)[a-z]-/, name)) removeCgroups(name);
  for (const name of await listNamedNamespaces())
    if (name.endsWith(switchLabel) && isLeft(/^wt(\d+)-/, name)) deleteNamedNamespace(name);
}

/** The names tell the process whose it is. */
function isLeft(form: RegExp, name: string): boolean {
  const pid = form.exec(name)?.[1];
  return pid !== undefined && !isAlive(Number(pid));
}
