import assert from "node:assert/strict";
import { test } from "node:test";
import { ManualClock } from "../base/clock.ts";
import { changeLink, RTM_NEWLINK } from "../netlink/index.ts";
import { networkSettings } from "../testing/desired.ts";
import { FakeKernel } from "../testing/fake-kernel.ts";
import type { Kernel, KernelNamespace } from "./kernel.ts";
import { aliasOf } from "./kernel-names.ts";
import { NodeDataplane } from "./node-dataplane.ts";
import type { DataplaneEvent } from "./report.ts";

const loopback = { ...changeLink({ index: 1 }, { name: "lo", alias: aliasOf("weft") }), type: RTM_NEWLINK };

/** A namespace that has a loopback device of weft's, and takes what it is told. */
function namespaceOf(label: string, inode: number): KernelNamespace {
  const namespace: Partial<KernelNamespace> = {
    label,
    inode,
    openChannel: () =>
      new FakeKernel({ handlers: [({ type }) => (type === RTM_NEWLINK + 2 ? { messages: [loopback] } : {})] }),
    readSysctl: () => undefined,
    nft: async () => '{"nftables":[]}',
    close() {},
    [Symbol.dispose]() {},
  };
  return namespace as KernelNamespace;
}

test("where names cannot be watched, that is told once, and an audit looks at them", async () => {
  const names = new Set<string>();
  const kernel: Partial<Kernel> = {
    namedExists: (name) => names.has(name),
    createNamed: (name) => void names.add(name),
    name: (_namespace, name) => void names.add(name),
    openNamed: (name) => namespaceOf(name, 2),
    listNamed: async () => [...names],
    watchNamed: (_onChange, onFailure) => {
      onFailure(new Error("EMFILE: too many open files"));
      return { close() {} };
    },
  };
  const events: DataplaneEvent[] = [];
  const dataplane = new NodeDataplane({
    kernel: kernel as Kernel,
    instance: "weft",
    underlay: namespaceOf("host", 1),
    clock: new ManualClock(),
    report: (event) => events.push(event),
  });
  dataplane.putNetwork(networkSettings());
  await dataplane.start();
  names.clear();
  await dataplane.audit();
  assert.deepEqual([...names], ["weft-blue"]);
  assert.equal(events.filter(({ object }) => object.kind === "names of network namespaces").length, 1);
  await dataplane.close();
});
