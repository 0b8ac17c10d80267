import { mac } from "../../base/mac.ts";
import type { Kernel } from "../../dataplane/kernel.ts";
import {
  changeLink,
  clsactQdisc,
  createLink,
  createQdisc,
  deleteFilter,
  deleteHtbClass,
  deleteLink,
  deleteQdisc,
  filterHook,
  type HtbClass,
  qdiscParent,
  replaceHtbClass,
  replaceQdisc,
  replaceRedirectFilter,
  tcHandle,
} from "../../netlink/index.ts";
import { Observation } from "./observation.ts";

/** What a kernel answers when trees of classes, their queues and what leads to them are made, changed and taken away. */
export async function observeShaping(kernel: Kernel, names: readonly [string, string]): Promise<string[]> {
  return Observation.of(kernel, names, async (on) => {
    const index = (): number => on.index("sd1");
    const tree = () => ({ index: index(), kind: "htb", handle: tcHandle(1), parent: qdiscParent.root, htb: {} });
    const entry = (minor: number, parent: number, rate: number): HtbClass => ({
      index: index(),
      handle: tcHandle(1, minor),
      parent: tcHandle(1, parent),
      rate,
    });
    const queue = () => ({ index: index(), handle: tcHandle(2), parent: tcHandle(1, 2) });
    const tbf = { rate: 1e12, burst: 1_472, limit: 40_000 };
    await on.do("device", () => createLink("ifb", { name: "sd1", mac: mac("02:00:00:00:00:01") }));
    await on.do("up", () => changeLink({ index: index() }, { up: true }));
    await on.do("class without a tree", () => replaceHtbClass(entry(2, 1, 1e6)));
    await on.do("no tree", () => deleteQdisc({ ...tree(), handle: 0 }));
    await on.do("tree", () => createQdisc(tree()));
    await on.do("class below none", () => replaceHtbClass(entry(7, 1, 1e6)));
    await on.do("class of all", () => replaceHtbClass(entry(1, 0, 1e7)));
    await on.do("class", () => replaceHtbClass(entry(2, 1, 1e6)));
    await on.do("class that changes", () => replaceHtbClass(entry(2, 1, 2e6)));
    await on.do("queue of no class", () => replaceQdisc({ ...queue(), parent: tcHandle(1, 3), kind: "tbf", tbf }));
    await on.do("queue", () => replaceQdisc({ ...queue(), kind: "tbf", tbf }));
    await on.do("queue that changes", () => replaceQdisc({ ...queue(), kind: "tbf", tbf: { ...tbf, limit: 50_000 } }));
    await on.do("class that has others below", () => deleteHtbClass(entry(1, 0, 1e7)));
    const lead = () => ({ index: on.index("p1"), hook: filterHook.ingress, priority: 2, to: index() });
    await on.do("port", () => createLink("ifb", { name: "p1", mac: mac("02:00:00:00:00:02") }));
    await on.do("redirection without hooks", () => replaceRedirectFilter(lead()));
    await on.do("hooks", () => createQdisc(clsactQdisc(on.index("p1"))));
    await on.do("redirection", () => replaceRedirectFilter(lead()));
    await on.do("redirection again", () => replaceRedirectFilter(lead()));
    await on.do("no redirection any more", () => deleteFilter(lead()));
    await on.do("no redirection", () => deleteFilter(lead()));
    await on.do("class that goes", () => deleteHtbClass(entry(2, 1, 2e6)));
    await on.do("class that is gone", () => deleteHtbClass(entry(2, 1, 2e6)));
    await on.do("tree that goes", () => deleteQdisc({ ...tree(), handle: 0 }));
    await on.do("device that goes", () => deleteLink({ index: index() }));
  });
}
