import assert from "node:assert/strict";
import { test } from "node:test";
import type { NamespacePlace } from "../../dataplane/index.ts";
import { type AttachFixture, attachContract } from "../../testing/attach-contract.ts";
import { placeIn } from "../../testing/desired.ts";
import { FakeMachine } from "../../testing/kernel/machine.ts";
import type { Attachment } from "../replica.ts";
import type { NamespaceRequest } from "./kind.ts";
import { NamespaceAttachment } from "./netns.ts";

const path = "/run/netns/c1";

function into(netns: string, changes: Partial<NamespaceRequest> = {}): NamespaceRequest {
  return { kind: "netns", netns, interface: "eth0", routePriority: 0, ...changes };
}

function nameOf(netns: string): string {
  return netns.slice(netns.lastIndexOf("/") + 1);
}

/** Containers `c1` and `c2`, and a namespace of weft's. */
function open(): AttachFixture<NamespaceRequest, NamespacePlace> {
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
  place: placeIn(path, "eth1", 4),
  allowedAddresses: [],
  state: "attached",
};

test("networks of one container come in the order in which they were attached, unless a priority is asked for", async () => {
  const { kind } = open();
  const priority = async (routePriority: number, netns = path): Promise<number> => {
    const { place } = await kind.find(into(netns, { routePriority }), [attached], "try");
    return place([attached]).routePriority;
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
  const first = one?.place([]) ?? assert.fail();
  assert.equal(first.routePriority, 1);
  assert.equal(two?.place([{ ...attached, place: first }]).routePriority, 2);
});

test("a name stands for whatever bears it", async () => {
  const { kind, destroy, free } = open();
  const { place } = await kind.find(free[0], [], "try");
  const here = { ...attached, place: place([]) };
  assert.equal(here.place.inode, 0);
  destroy(free[0]);
  assert.equal(kind.at(free[0], [here]), here);
});
