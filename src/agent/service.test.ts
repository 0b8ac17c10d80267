import assert from "node:assert/strict";
import { test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import type { HandlerContext } from "@connectrpc/connect";
import { refusal } from "../../test/support/server.ts";
import { generatePrivateKey } from "../api/certificate-request.ts";
import { GetAgentStatusResponseSchema } from "../api/generated/weft/v1/agent_pb.js";
import { keyAlgorithm, keyPairOf, x509 } from "../api/x509.ts";
import { ManualClock } from "../base/clock.ts";
import { hours, seconds } from "../base/duration.ts";
import type { Agent } from "./agent.ts";
import { agentService } from "./service.ts";

test("a wall clock that steps back does not disturb the status", async () => {
  const clock = new ManualClock();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: "CN=h1",
    keys: await keyPairOf(await generatePrivateKey()),
    signingAlgorithm: keyAlgorithm,
  });
  const since = clock.monotonic();
  const agent = {
    options: { clock, node: "h1", instance: "weft" },
    startedAt: clock.monotonic(),
    revision: 7,
    serverState: { state: "connected", error: "" },
    underlay: { mtu: 1500, vteps: { ipv4: "192.0.2.1" }, interfaces: new Map() },
    joinedGroups: () => [],
    credentials: { certificate: certificate.toString("pem") },
    attached: new Map(),
    desired: { own: new Map(), networks: new Map() },
    problems: { list: () => [{ object: { kind: "underlay" }, error: new Error("no room"), since, attempts: 3 }] },
    dataplane: { inSync: true, writes: 0, repairs: 0, networks: new Map(), problems: { list: () => [] } },
  } as unknown as Agent;
  clock.advance(seconds(5));
  clock.jump(hours(-3));
  const status = await agentService(agent).getStatus({} as never, {} as HandlerContext);
  assert.equal(status.uptime, 5_000n);
  // Of the clock as it is now, whatever it was then.
  assert.deepEqual(status.problems, [
    {
      object: "underlay",
      reference: { kind: "underlay" },
      state: "failed",
      reason: "no room",
      since: BigInt(clock.now() - 5_000),
      attempts: 3,
    },
  ]);
  assert.ok(toBinary(GetAgentStatusResponseSchema, create(GetAgentStatusResponseSchema, status)).length > 0);
});

test("a table has the name of a table, and no other that objects have", async () => {
  const list = agentService({ dataplane: { networks: new Map() } } as unknown as Agent).listTable;
  for (const table of ["toString", "constructor", "links"])
    await assert.rejects(
      async () => list({ table, network: "" } as never, {} as HandlerContext),
      refusal("invalid-argument", /allowed: fdb, neighbours, routes/),
    );
  assert.deepEqual(await list({ table: "fdb", network: "" } as never, {} as HandlerContext), { rows: [] });
});

test("an attachment is told the MTU of its device, also while the network's way changes", async () => {
  const agent = {
    attachments: {
      attach: async () => ({ id: "000000000001", network: "blue", ips: [], mac: "02:00:00:00:00:01", sequence: 0 }),
    },
    desired: { networks: new Map([["blue", { effectiveMtu: 1450 }]]), addressesOf: () => [] },
    dataplane: { networks: new Map([["blue", { settings: { mtu: 1350 }, local: () => undefined }]]) },
    revision: 7,
  } as unknown as Agent;
  const attach = (place: object) => agentService(agent).attach(place as never, {} as HandlerContext);
  const { mtu } = await attach({ netns: "/run/netns/c", interface: "eth0", device: "" });
  assert.equal(mtu, 1350);
  for (const [netns, device, found] of [
    ["", "", "neither a namespace nor"],
    ["/run/netns/c", "vm1", "a namespace and"],
  ])
    await assert.rejects(
      async () => attach({ network: "blue", netns, interface: "eth0", device }),
      new RegExp(`attach to network blue: found ${found} an interface of the host; allowed: one of both`),
    );
});
