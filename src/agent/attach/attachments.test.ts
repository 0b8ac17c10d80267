import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import type { NodeConnection } from "../../api/clients.ts";
import { kinds } from "../../api/kinds.ts";
import { cidr } from "../../base/cidr.ts";
import { ManualClock } from "../../base/clock.ts";
import { seconds } from "../../base/duration.ts";
import { WeftError } from "../../base/errors.ts";
import { ip } from "../../base/ip.ts";
import { silentLogger } from "../../base/logger.ts";
import { mac } from "../../base/mac.ts";
import { DesiredNetwork, type NetworkSettings } from "../../dataplane/desired.ts";
import { type KernelObject, type NodeDataplane, nameOfObject, Problems } from "../../dataplane/index.ts";
import { tunnelName } from "../../dataplane/kernel-names.ts";
import type { Endpoint } from "../../model/index.ts";
import { networkSettings, placeIn } from "../../testing/desired.ts";
import { FakeMachine } from "../../testing/kernel/machine.ts";
import type { DesiredState } from "../desired-state.ts";
import { EventLog } from "../event-log.ts";
import type { Attachment, Replica, ReplicaChange } from "../replica.ts";
import { Attachments, type AttachmentsOptions } from "./attachments.ts";
import { DeviceAttachment } from "./device.ts";
import type { AttachKinds, AttachRequest, NamespaceRequest } from "./kind.ts";
import { sandboxAttachment } from "./sandbox.ts";

/** What happened, in order. */
let steps: string[];
let attachments: Map<string, Attachment>;
let isConnected: boolean;
let problem: { readonly object: KernelObject } | undefined;
let networks: Map<string, DesiredNetwork>;
let flow: Attachments;
/** Why the disk takes nothing, and why the server does not take a claim; `undefined`: they do. */
let diskError: WeftError | undefined;
let refusal: Error | undefined;
let own: Map<string, Endpoint>;
/** Networks as the server says. */
let declared: Map<string, { readonly network: object }>;
/** Of the node, apart from the kernel. */
let problems: Problems;
const clock = new ManualClock();
const endpoint = { network: "web", node: "h1", mac: mac("02:00:00:00:00:01"), ips: [ip("10.0.0.1")], sequence: 0 };
function hook(netns: string): NamespaceRequest {
  return { kind: "netns", netns, interface: "x", routePriority: 0 };
}

const request: AttachRequest = {
  network: "web",
  place: hook("hook"),
  mac: "",
  ips: [],
  allowedAddresses: [],
  labels: { app: "web" },
};

/** Attaches to hooks, which all are free. */
const hooks: AttachKinds["netns"] = {
  nameOf: () => "netns",
  find: async ({ netns }) => ({ key: netns, place: () => placeIn(netns, "x") }),
  at: (target, present) => present.find(({ place }) => place.kind === "netns" && place.netns === target.netns),
  current: (place) => place,
};

/** What the server does with what is given back. */
let deletion: () => Promise<unknown>;
/** The state of whichever revision is complete here. */
let reached: Promise<void>;

/** A server that grants everything. */
const client = {
  createEndpoint: async ({ id }: { readonly id: string }) => {
    steps.push("claimed");
    if (refusal !== undefined) throw refusal;
    const granted: Endpoint = { id, ...endpoint, attachment: "netns" };
    return { endpoint: kinds.endpoint.toMessage(granted), revision: 7n };
  },
  deleteEndpoints: () => deletion(),
};

beforeEach(() => {
  steps = [];
  attachments = new Map();
  isConnected = true;
  problem = undefined;
  diskError = undefined;
  refusal = undefined;
  reached = Promise.resolve();
  deletion = async () => void steps.push("given back");
  own = new Map();
  declared = new Map();
  networks = new Map();
  problems = new Problems(() => {}, clock);
  const kernelProblems = new Problems(() => {}, clock);
  const dataplane = {
    networks,
    problems: kernelProblems,
    isPortInPlace: () => true,
    changed: async () => {
      steps.push("kernel");
      if (problem !== undefined)
        kernelProblems.failed(problem.object, new WeftError({ code: "internal", attempted: "a port", reason: "no" }));
    },
  };
  const replica: Pick<Replica, "putAttachment" | "deleteAttachment"> = {
    putAttachment: ({ state }) => {
      if (diskError !== undefined) throw diskError;
      steps.push(`disk: ${state}`);
    },
    deleteAttachment: () => void steps.push("disk: gone"),
  };
  const options: AttachmentsOptions = {
    kinds: { netns: hooks, sandbox: sandboxAttachment, device: new DeviceAttachment(new FakeMachine().current()) },
    replica: replica as Replica,
    attachments,
    desired: {
      own,
      networks: declared,
      ownBlocks: () => [cidr("10.0.0.64/26")],
      attachmentChanged: () => {},
    } as unknown as DesiredState,
    dataplane: dataplane as unknown as NodeDataplane,
    problems,
    events: new EventLog(clock),
    logger: silentLogger,
    clock,
    connection: () => (isConnected ? ({ client } as unknown as NodeConnection) : undefined),
    reached: () => reached,
    node: "h1",
    claimSoon: () => void steps.push("claim soon"),
    apply: (change) => {
      if (change.kind === "endpoint") own.set(change.endpoint.id, change.endpoint);
      if (change.kind === "endpoint-removed") own.delete(change.id);
    },
  };
  flow = new Attachments(options);
});

test("what is attached is on disk before the server hears of it, and acknowledged once it is in the kernel", async () => {
  const { id } = await flow.attach(request);
  assert.deepEqual(steps, ["disk: pending", "claimed", "kernel", "disk: attached"]);
  assert.equal(attachments.get(id)?.state, "attached");
});

test("what the kernel refuses is given back, and nothing is left of it", async () => {
  networks.set("web", new DesiredNetwork(networkSettings({ name: "web" })));
  problem = { object: { kind: "bridge", network: "web" } };
  await assert.rejects(flow.attach(request), /a port/);
  assert.deepEqual(steps.slice(2), ["kernel", "disk: releasing", "kernel", "given back", "disk: gone"]);
  assert.equal(attachments.size, 0);
});

test("user data is kept with the attachment where the network has metadata; elsewhere nothing is left of the attempt", async () => {
  const withData = { ...request, userData: Uint8Array.of(1, 2) };
  await assert.rejects(flow.attach(withData), /nodes of this network do not answer for metadata/);
  assert.deepEqual(steps.slice(1), ["claimed", "disk: releasing", "kernel", "given back", "disk: gone"]);
  assert.equal(attachments.size, 0);
  declared.set("web", { network: { dhcp: { metadata: true } } });
  const { id } = await flow.attach(withData);
  assert.deepEqual(attachments.get(id)?.userData, Uint8Array.of(1, 2));
  const large = { ...withData, place: hook("other"), userData: new Uint8Array(16_385) };
  await assert.rejects(flow.attach(large), /its user data has 16385 octets; allowed: at most 16384/);
});

const [vxlan, geneve, gre] = [
  { encapsulation: "vxlan", port: 4789 },
  { encapsulation: "geneve", port: 6081 },
  { encapsulation: "gre", port: 0 },
] as const;
const { vni } = networkSettings();
const sharedTunnel = { kind: "tunnel", tenant: "blue", network: "web", key: "vx100" };
const toOneVtep = { kind: "tunnel", tenant: "blue", network: "web", key: tunnelName(geneve, vni, ip("192.0.2.2")) };
const ofNetwork = (kind: string, network = "web"): KernelObject => ({ kind, tenant: "blue", network, key: "x" });
const inGeneve = { transport: geneve };
const inBoth = { transport: geneve, standby: [vxlan] };
const direct = { transport: undefined } as unknown as Partial<NetworkSettings>;

for (const [object, what, settings, isRefused] of [
  [{ kind: "underlay" }, "of VXLAN", {}, true],
  [{ kind: "underlay" }, "that is received by VXLAN, too", inBoth, true],
  [{ kind: "underlay" }, "of Geneve", inGeneve, false],
  [{ kind: "underlay" }, "of GRE", { transport: gre }, false],
  [{ kind: "underlay" }, "without a tunnel", direct, false],
  [{ kind: "protection", tenant: "blue", network: "web" }, "of VXLAN", {}, true],
  [sharedTunnel, "of VXLAN", {}, true],
  [sharedTunnel, "that is received by VXLAN, too", inBoth, true],
  [toOneVtep, "of Geneve", inGeneve, false],
  [sharedTunnel, "of Geneve, which VXLAN is yet to leave", inGeneve, false],
  [ofNetwork("bridge"), "of Geneve", inGeneve, true],
  [ofNetwork("bridge", "other"), "of VXLAN", {}, false],
  [ofNetwork("flood entry"), "of VXLAN", {}, false],
  [{ kind: "tenant", tenant: "blue" }, "of Geneve", inGeneve, true],
  [{ kind: "tenant", tenant: "red" }, "of VXLAN", {}, false],
  [{ kind: "nexthops" }, "of VXLAN", {}, false],
] as const)
  test(`a problem of the ${nameOfObject(object)} ${isRefused ? "refuses" : "leaves alone"} who attaches to a network ${what}`, async () => {
    networks.set("web", new DesiredNetwork(networkSettings({ name: "web", ...settings })));
    problem = { object };
    if (isRefused) await assert.rejects(flow.attach(request), /a port/);
    else assert.ok(await flow.attach(request));
    assert.equal(flow.obstacle("web") !== undefined, isRefused);
    assert.equal(flow.obstacle("unknown"), undefined);
  });

test("one spot takes one endpoint at a time", async () => {
  const [first, second] = await Promise.allSettled([flow.attach(request), flow.attach(request)]);
  assert.equal(first.status, "fulfilled");
  assert.equal(second.status, "rejected");
  await flow.attach({ ...request, place: hook("other hook") });
  assert.equal(attachments.size, 2);
});

test("what is detached while the server is away is gone from here, and given back when it can be", async () => {
  const { id } = await flow.attach(request);
  isConnected = false;
  assert.equal(await flow.detach({ ...request, network: "other" }), undefined);
  assert.equal(await flow.detach(request), id);
  assert.equal(await flow.detach(request), undefined);
  assert.equal(attachments.get(id)?.state, "releasing");
  isConnected = true;
  await flow.settleWithServer();
  assert.deepEqual(steps.slice(4), ["disk: releasing", "kernel", "given back", "disk: gone"]);
  assert.equal(attachments.size, 0);
});

test("what a crash left claimed and not acknowledged is given back", async () => {
  attachments.set("00000000000a", {
    id: "00000000000a",
    network: "web",
    place: placeIn("hook", "x"),
    allowedAddresses: [],
    state: "pending",
  });
  flow.abandonPending();
  await flow.settleWithServer();
  assert.deepEqual(steps, ["disk: releasing", "given back", "disk: gone"]);
  assert.equal(attachments.size, 0);
});

const full = new WeftError({ code: "failed-precondition", attempted: "write agent.db", reason: "disk is full" });

/** An endpoint that the server, restored from an older copy, does not know. */
function unclaimed(): Endpoint {
  const id = "00000000000a";
  attachments.set(id, { id, network: "web", place: placeIn("hook", "x"), allowedAddresses: [], state: "attached" });
  const forgotten: Endpoint = { id, ...endpoint, attachment: "netns" };
  own.set(id, forgotten);
  flow.markUnclaimed([forgotten]);
  return forgotten;
}

test("what the server accepts again stays, also while the disk is full, and is on disk when that has room", async () => {
  diskError = full;
  const { id } = unclaimed();
  assert.equal(attachments.get(id)?.state, "unclaimed");
  assert.deepEqual(await flow.claimAgain(), []);
  assert.equal(attachments.get(id)?.state, "attached");
  diskError = undefined;
  clock.advance(seconds(5));
  assert.deepEqual(new Set(steps), new Set(["claimed", "disk: attached"]));
});

for (const code of ["invalid-argument", "not-found", "already-exists"] as const)
  test(`what the server refuses with ${code} is refused for good`, async () => {
    const forgotten = unclaimed();
    refusal = new WeftError({ code, attempted: "create an endpoint", reason: "not this one" });
    const refused = await flow.claimAgain();
    assert.deepEqual(
      refused.map(({ endpoint: { id } }) => id),
      [forgotten.id],
    );
    assert.match(refused[0]?.reason ?? "", /not this one/);
    flow.forget(forgotten, refused[0]?.reason ?? "");
    assert.equal(problems.size, 0);
  });

const notNow = ["unavailable", "internal", "failed-precondition", "exhausted", "unauthenticated", "in-use"] as const;
for (const code of [...notNow, undefined])
  test(`what the server cannot take now (${code ?? "no error of weft's"}) stays, and is told until it does`, async () => {
    const { id } = unclaimed();
    const reason = "the store is read-only";
    refusal = code === undefined ? new Error(reason) : new WeftError({ code, attempted: "create an endpoint", reason });
    assert.deepEqual(await flow.claimAgain(), []);
    assert.equal(attachments.get(id)?.state, "unclaimed");
    const isTold = code !== "unavailable" && code !== undefined;
    assert.equal(problems.find(({ kind, key }) => kind === "claim of endpoint" && key === id) !== undefined, isTold);
    refusal = undefined;
    assert.deepEqual(await flow.claimAgain(), []);
    assert.equal(attachments.get(id)?.state, "attached");
    assert.equal(problems.size, 0);
  });

function routed(): void {
  declared.set("web", { network: { name: "web", mode: "l3", vni: 7, subnets: [cidr("10.0.0.0/16")] } });
}

test("while the server is away, a layer-3 network has addresses of the node's own, and it hears of them when it is back", async () => {
  isConnected = false;
  await assert.rejects(flow.attach(request), /no connection to the server/);
  routed();
  const { id, ips } = await flow.attach(request);
  assert.deepEqual(ips, ["10.0.0.126"]);
  assert.equal(attachments.get(id)?.state, "unclaimed");
  assert.ok(own.has(id));
  isConnected = true;
  steps = [];
  assert.deepEqual(await flow.claimAgain(), []);
  assert.deepEqual(steps, ["claimed", "disk: attached"]);
});

test("what the server accepted is not held to be lost by a state of before", async () => {
  isConnected = false;
  routed();
  const { id } = await flow.attach(request);
  isConnected = true;
  const { promise, resolve } = Promise.withResolvers<void>();
  reached = promise;
  const claiming = flow.claimAgain();
  while (steps.at(-1) !== "claimed") await new Promise(setImmediate);
  const removed: ReplicaChange = { kind: "endpoint-removed", network: "web", id };
  const [lost = assert.fail()] = flow.lostBy([removed]);
  assert.ok(flow.isUnclaimed(lost));
  resolve();
  await claiming;
  assert.equal(attachments.get(id)?.state, "attached");
});

test("nor is what is being attached with addresses of the node's own", async () => {
  routed();
  const attaching = flow.attach({ ...request, owner: "a runtime" });
  while (own.size === 0) await new Promise(setImmediate);
  const [id = ""] = own.keys();
  const [lost = assert.fail()] = flow.lostBy([{ kind: "endpoint-removed", network: "web", id }]);
  assert.ok(flow.isUnclaimed(lost));
  flow.markUnclaimed([lost]);
  assert.equal((await attaching).id, id);
  assert.equal(attachments.get(id)?.state, "unclaimed");
});

test("who waits for it as a runtime does has an address of the node's own at once, and operators have one of the server", async () => {
  routed();
  const { id } = await flow.attach({ ...request, owner: "a runtime" });
  assert.deepEqual(steps, ["kernel", "disk: unclaimed", "claim soon"]);
  assert.equal(attachments.get(id)?.owner, "a runtime");
  await flow.claimAgain();
  steps = [];
  await flow.attach({ ...request, place: hook("another") });
  assert.ok(steps.includes("claimed"));
});

test("the server chooses when it has heard of all that the node chose, which chooses nothing meanwhile", async () => {
  routed();
  const { id } = await flow.attach({ ...request, owner: "a runtime" });
  steps = [];
  const operators = flow.attach({ ...request, place: hook("another") });
  const runtimes = flow.attach({ ...request, place: hook("third"), owner: "a runtime" });
  while (steps.length < 2) await new Promise(setImmediate);
  assert.deepEqual(steps, ["claim soon", "claim soon"]);
  await flow.claimAgain();
  assert.equal(attachments.get(id)?.state, "attached");
  assert.deepEqual((await operators).ips, ["10.0.0.1"]);
  assert.deepEqual((await runtimes).ips, ["10.0.0.1"], "of the server's");
  assert.deepEqual(steps.slice(2, 4), ["claimed", "disk: attached"]);
  const next = await flow.attach({ ...request, place: hook("fourth"), owner: "a runtime" });
  assert.deepEqual(next.ips, ["10.0.0.125"], "it is the node's turn again");
});

test("who waits for that in vain is told, and leaves nothing", async () => {
  routed();
  await flow.attach({ ...request, owner: "a runtime" });
  const waiting = assert.rejects(flow.attach({ ...request, place: hook("another") }), /has not heard yet/);
  while (steps.filter((step) => step === "claim soon").length < 2) await new Promise(setImmediate);
  clock.advance(seconds(10));
  await waiting;
  assert.equal(attachments.size, 1);
});

test("what the node gave out by itself and took back, nobody has any more", async () => {
  routed();
  const { id } = await flow.attach({ ...request, owner: "a runtime" });
  await flow.releaseOwned(attachments.get(id) as Attachment);
  assert.equal(own.size, 0);
  assert.equal(attachments.size, 0);
  networks.set("web", new DesiredNetwork(networkSettings({ name: "web" })));
  problem = { object: { kind: "bridge", network: "web" } };
  await assert.rejects(flow.attach({ ...request, owner: "a runtime" }), /a port/);
  assert.equal(own.size, 0);
  assert.equal(attachments.size, 0);
});

test("addresses are held without anything in the kernel", async () => {
  const { id } = await flow.hold({ network: "web", interface: "x", mac: "", ips: [], labels: {}, owner: "a runtime" });
  assert.deepEqual(steps, ["disk: pending", "claimed", "disk: attached"]);
  assert.deepEqual(attachments.get(id)?.place, { kind: "external", interface: "x" });
});

test("an attempt that is ended leaves nothing", async () => {
  const ending = new AbortController();
  const attached = flow.attach({ ...request, owner: "a runtime", signal: ending.signal });
  ending.abort(new Error("nobody waits"));
  await assert.rejects(attached, /nobody waits/);
  assert.equal(attachments.size, 0);
});

test("who releases by its name waits for the server no longer than a second", async () => {
  const { id } = await flow.attach({ ...request, owner: "a runtime" });
  const { promise: never } = Promise.withResolvers<never>();
  deletion = () => {
    steps.push("asked to delete");
    return never;
  };
  const released = flow.releaseOwned(attachments.get(id) as Attachment);
  while (steps.at(-1) !== "asked to delete") await new Promise(setImmediate);
  clock.advance(seconds(1));
  await released;
  assert.equal(attachments.get(id)?.state, "releasing");
});

test("what is detached while the disk is full is gone from here, and is recorded as such until the server knows", async () => {
  const { id } = await flow.attach(request);
  diskError = full;
  isConnected = false;
  assert.equal(await flow.detach(request), id);
  assert.equal(problems.get({ kind: "records of attachments" })?.error, full);
  diskError = undefined;
  steps = [];
  clock.advance(seconds(5));
  assert.deepEqual(steps, ["disk: releasing"]);
  assert.equal(problems.size, 0);
});

test("what was detached while the disk was full is recorded with the next that is attached, and when the agent ends", async () => {
  for (const next of [() => flow.attach({ ...request, place: hook("other") }), () => flow.close()]) {
    isConnected = true;
    await flow.attach(request);
    diskError = full;
    isConnected = false;
    await flow.detach(request);
    diskError = undefined;
    isConnected = true;
    steps = [];
    await next();
    assert.ok(steps.includes("disk: releasing"), steps.join());
    clock.advance(seconds(60));
    assert.equal(steps.filter((step) => step === "disk: releasing").length, 1);
  }
});
