import assert from "node:assert/strict";
import { test } from "node:test";
import { type AttachFixture, attachContract } from "../../testing/attach-contract.ts";
import { FakeMachine } from "../../testing/kernel/machine.ts";
import type { Attachment } from "../replica.ts";
import type { AttachRequest } from "./kind.ts";
import { NamespaceAttachment } from "./netns.ts";

const path = "/run/netns/c1";

function into(netns: string, changes: Partial<AttachRequest> = {}): AttachRequest {
  return {
    network: "web",
    netns,
    interface: "eth0",
    mac: "",
    ips: [],
    routePriority: 0,
    allowedAddresses: [],
    labels: {},
    ...changes,
  };
}

function nameOf(netns: string): string {
  return netns.slice(netns.lastIndexOf("/") + 1);
}

/** Containers `c1` and `c2`, and a namespace of weft's. */
function open(): AttachFixture & { readonly kind: NamespaceAttachment } {
  const machine = new FakeMachine();
  for (const name of ["c1", "c2", "weft-blue"]) machine.createNamed(name);
  const own = machine.namespace("weft-blue").inode;
  return {
    kind: new NamespaceAttachment({ kernel: machine, isOwnNamespace: (inode) => inode === own }),
    free: [into(path), into("/run/netns/c2")],
    respelt: into("/run/netns/../netns/c1"),
    impossible: [
      into("/run/netns/none"),
      into("/run/netns/weft-blue"),
      into(path, { interface: "a/b" }),
      into("/proc/self/ns/net"),
    ],
    text: () => machine.text(),
    occupy: (request) => void machine.namespace(nameOf(request.netns)).links.add({ name: request.interface }),
    destroy: (request) => machine.deleteNamed(nameOf(request.netns)),
  };
}

attachContract("an interface in a namespace", open);

const attached: Attachment = {
  id: "00000000000b",
  network: "db",
  netns: path,
  interface: "eth1",
  inode: 0,
  routePriority: 4,
  allowedAddresses: [],
  state: "attached",
};

test("networks of one container come in the order in which they were attached, unless a priority is asked for", async () => {
  const { kind } = open();
  const priority = async (routePriority: number, netns = path): Promise<number> => {
    const { record } = await kind.find(into(netns, { routePriority }), [attached], "try");
    return record([attached]).routePriority;
  };
  assert.equal(await priority(0), 5);
  assert.equal(await priority(2), 2);
  assert.equal(await priority(4, "/run/netns/c2"), 4);
  await assert.rejects(priority(4), /endpoint 00000000000b has route priority 4 in the same namespace/);
  await assert.rejects(priority(100_000), /allowed: 1 to 99999/);
});

test("a priority is chosen with what has come meanwhile", async () => {
  const { kind } = open();
  const [one, two] = await Promise.all(
    ["eth0", "eth2"].map((name) => kind.find(into(path, { interface: name }), [], "try")),
  );
  const first = { ...attached, ...one?.record([]) };
  assert.equal(first.routePriority, 1);
  assert.equal(two?.record([first]).routePriority, 2);
});

test("a name stands for whatever bears it", async () => {
  const { kind, destroy, free } = open();
  const { record } = await kind.find(free[0], [], "try");
  const here = { ...attached, ...record([]) };
  assert.equal(here.inode, 0);
  destroy(free[0]);
  assert.equal(kind.at(free[0], [here]), here);
});
