import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { kinds } from "../../api/kinds.ts";
import type { NodeConnection } from "../../api/transport.ts";
import { ManualClock } from "../../base/clock.ts";
import { WeftError } from "../../base/errors.ts";
import { ip } from "../../base/ip.ts";
import { silentLogger } from "../../base/logger.ts";
import { mac } from "../../base/mac.ts";
import { type KernelObject, type NodeDataplane, Problems } from "../../dataplane/index.ts";
import type { Endpoint } from "../../model/index.ts";
import type { DesiredState } from "../desired-state.ts";
import { EventLog } from "../event-log.ts";
import type { Attachment, Replica } from "../replica.ts";
import { Attachments, type AttachmentsOptions } from "./attachments.ts";
import type { AttachKind, AttachRecord, AttachRequest } from "./kind.ts";

/** What happened, in order. */
let steps: string[];
let attachments: Map<string, Attachment>;
let isConnected: boolean;
let problem: { readonly object: KernelObject } | undefined;
let flow: Attachments;
const clock = new ManualClock();
const endpoint = { network: "web", node: "h1", mac: mac("02:00:00:00:00:01"), ips: [ip("10.0.0.1")], sequence: 0 };
const request: AttachRequest = { network: "web", netns: "hook", interface: "x", mac: "", ips: [], routePriority: 0 };

/** Attaches to hooks, which all are free. */
const hooks: AttachKind = {
  name: "netns",
  find: async ({ netns }) => ({
    key: netns,
    record: () => recordOf(netns),
  }),
  at: ({ netns }, present) => present.find((each) => each.netns === netns),
  current: (attachment) => attachment,
  port: (attachment) => attachment,
  text: ({ netns }) => netns,
};

/** A server that grants everything. */
const client = {
  createEndpoint: async ({ id }: { readonly id: string }) => {
    steps.push("claimed");
    const granted: Endpoint = { id, ...endpoint, attachment: "netns" };
    return { endpoint: kinds.endpoint.toMessage(granted), revision: 7n };
  },
  deleteEndpoints: async () => void steps.push("given back"),
};

beforeEach(() => {
  steps = [];
  attachments = new Map();
  isConnected = true;
  problem = undefined;
  const problems = new Problems(() => {}, clock);
  const dataplane = {
    networks: new Map(),
    problems,
    isPortInPlace: () => true,
    changed: async () => {
      steps.push("kernel");
      if (problem !== undefined)
        problems.failed(problem.object, new WeftError({ code: "internal", attempted: "a port", reason: "no" }));
    },
  };
  const replica: Pick<Replica, "putAttachment" | "deleteAttachment"> = {
    putAttachment: ({ state }) => void steps.push(`disk: ${state}`),
    deleteAttachment: () => void steps.push("disk: gone"),
  };
  const options: AttachmentsOptions = {
    kind: hooks,
    replica: replica as Replica,
    attachments,
    desired: { own: new Map(), attachmentChanged: () => {} } as unknown as DesiredState,
    dataplane: dataplane as unknown as NodeDataplane,
    events: new EventLog(clock),
    logger: silentLogger,
    clock,
    connection: () => (isConnected ? ({ client } as unknown as NodeConnection) : undefined),
    reached: async () => {},
  };
  flow = new Attachments(options);
});

test("what is attached is on disk before the server hears of it, and acknowledged once it is in the kernel", async () => {
  const { id } = await flow.attach(request);
  assert.deepEqual(steps, ["disk: pending", "claimed", "kernel", "disk: attached"]);
  assert.equal(attachments.get(id)?.state, "attached");
});

test("what the kernel refuses is given back, and nothing is left of it", async () => {
  problem = { object: { kind: "bridge", network: "web" } };
  await assert.rejects(flow.attach(request), /a port/);
  assert.deepEqual(steps.slice(2), ["kernel", "disk: releasing", "kernel", "given back", "disk: gone"]);
  assert.equal(attachments.size, 0);
});

test("one spot takes one endpoint at a time", async () => {
  const [first, second] = await Promise.allSettled([flow.attach(request), flow.attach(request)]);
  assert.equal(first.status, "fulfilled");
  assert.equal(second.status, "rejected");
  await flow.attach({ ...request, netns: "other hook" });
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
  attachments.set("00000000000a", { id: "00000000000a", network: "web", ...recordOf("hook"), state: "pending" });
  flow.abandonPending();
  await flow.settleWithServer();
  assert.deepEqual(steps, ["disk: releasing", "given back", "disk: gone"]);
  assert.equal(attachments.size, 0);
});

function recordOf(netns: string): AttachRecord {
  return { netns, interface: "x", inode: 0, routePriority: 1 };
}
