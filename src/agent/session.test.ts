import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { createToken, startTestServer, type TestServer } from "../../test/support/server.ts";
import type { Credentials } from "../api/clients.ts";
import { certificateValidity, joinServer } from "../api/join.ts";
import { keyPairOf } from "../api/x509.ts";
import { ManualClock, systemClock } from "../base/clock.ts";
import { hours, seconds } from "../base/duration.ts";
import { silentLogger } from "../base/logger.ts";
import { CertificateAuthority } from "../server/identity/certificate-authority.ts";
import { Session } from "./session.ts";

async function until(isDone: () => boolean): Promise<void> {
  while (!isDone()) await new Promise((resolve) => setTimeout(resolve, 5));
}

/** An agent's conversation, by a clock of its own. `state` counts what it told. */
async function converse(t: TestContext, server: TestServer, credentials: Credentials, now = (): number => Date.now()) {
  const state = {
    connected: 0,
    changes: 0,
    refused: 0,
    renewed: [] as Credentials[],
    errors: [] as string[],
    underlayMtu: 1500,
    registered: 0,
    untold: [] as string[],
    /** What is told cannot be acted upon. */
    cannotAct: false,
  };
  const session = new Session({
    url: server.url,
    credentials,
    clock: { ...systemClock, now },
    logger: silentLogger,
    handlers: {
      resume: () => ({ revision: 0, networks: [], policyTenants: [] }),
      registration: () => ({ vtepIpv4: "192.0.2.1", vtepIpv6: "", underlayMtu: state.underlayMtu }),
      onRegistered: () => state.registered++,
      onNotRegistered: (error) => state.untold.push(error.message),
      onChanges: () => {
        state.changes++;
        if (state.cannotAct) throw new Error("database disk image is malformed");
      },
      onConnected: () => state.connected++,
      onDisconnected: (error) => state.errors.push(error.message),
      onRenewed: (renewed) => state.renewed.push(renewed),
      onOtherRefused: () => state.refused++,
      onAsked: () => {},
      onReportWanted: () => {},
    },
  });
  const run = session.run();
  t.after(async () => {
    session.close();
    await run;
  });
  return { session, state };
}

async function join(server: TestServer): Promise<Credentials> {
  return joinServer({ url: server.url, token: await createToken(server), node: "h1" });
}

/** A certificate made so many hours ago. */
async function aged(server: TestServer, credentials: Credentials, age: number): Promise<Credentials> {
  const authority = await CertificateAuthority.open(server.dataDir, new ManualClock(Date.now() - hours(age)));
  const { publicKey } = await keyPairOf(credentials.privateKey);
  return {
    ...credentials,
    certificate: await authority.issueNode({ publicKey, publicKeyHash: Buffer.alloc(0) }, "h1", 1),
  };
}

test("what the server calls expired is renewed at once, whatever the agent's own clock says", async (t) => {
  const server = await startTestServer(t);
  const expired = await aged(server, await join(server), 25);
  // Two days behind: by its own clock the certificate is not even valid yet.
  const { state } = await converse(t, server, expired, () => Date.now() - hours(48));
  await until(() => state.connected === 1);
  assert.equal(state.renewed.length, 1);
  assert.match(state.errors.join(), /expired at/);
});

test("an agent whose clock is ahead does not renew without end", async (t) => {
  const server = await startTestServer(t);
  const { state } = await converse(t, server, await join(server), () => Date.now() + hours(72));
  await until(() => state.connected === 1);
  await new Promise((resolve) => setTimeout(resolve, seconds(2.5)));
  assert.equal(state.connected, 1);
  assert.equal(state.renewed.length, 1);
  assert.ok(certificateValidity(state.renewed[0]?.certificate ?? "").until > Date.now());
});

test("a conversation that this side begins anew is no failure, and hides none that comes later", async (t) => {
  const server = await startTestServer(t);
  const credentials = await join(server);
  const { session, state } = await converse(t, server, credentials);
  // In the midst of registering, and when the stream is there.
  while (session.connection === undefined) await null;
  session.reconnect();
  await until(() => state.connected === 1);
  session.reconnect();
  await until(() => state.connected === 2);
  assert.deepEqual(state.errors, []);
  // A second agent speaks as this node.
  const other = await converse(t, server, credentials);
  await until(() => state.errors.length + other.state.errors.length > 0);
  assert.deepEqual(
    [...state.errors, ...other.state.errors].map((text) => /ended the stream/.test(text)),
    [false],
  );
});

async function underlayMtuOf(server: TestServer): Promise<number | undefined> {
  const { resources } = await server.admin.list({ kind: "node" });
  const [resource] = resources;
  return resource?.resource.case === "node" ? resource.resource.value.underlayMtu : undefined;
}

test("what the server did not take of what a node is now is told again until it has, on the same connection", async (t) => {
  const server = await startTestServer(t);
  const { session, state } = await converse(t, server, await join(server));
  await until(() => state.connected === 1);
  // Less than IPv6 needs: refused.
  state.underlayMtu = 1_000;
  session.registrationChanged();
  await until(() => state.untold.length > 1);
  assert.match(state.untold[0] ?? "", /1000/);
  assert.equal(await underlayMtuOf(server), 1_500);
  assert.equal(state.registered, 1);
  // Nobody says that it changed: it is told all the same, as it is by then.
  state.underlayMtu = 1_400;
  await until(() => state.registered === 2);
  assert.equal(await underlayMtuOf(server), 1_400);
  session.registrationChanged();
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(state.registered, 2, "what the server knows is not told again");
  assert.deepEqual([state.connected, state.errors], [1, []]);
});

test("what changes while a conversation begins is told as soon as that has begun", async (t) => {
  const server = await startTestServer(t);
  const { session, state } = await converse(t, server, await join(server));
  while (session.connection === undefined) await null;
  state.underlayMtu = 1_400;
  session.registrationChanged();
  await until(() => state.registered === 2);
  assert.equal(await underlayMtuOf(server), 1_400);
  assert.deepEqual(state.untold, []);
});

test("what this node cannot do with what it is told is not laid to the server", async (t) => {
  const server = await startTestServer(t);
  const { session, state } = await converse(t, server, await join(server));
  state.cannotAct = true;
  await until(() => state.errors.length > 0);
  assert.match(state.errors[0] ?? "", /^act upon what https:.* told: database disk image is malformed$/);
  state.cannotAct = false;
  await until(() => session.isSpeaking);
});

test("a conversation that is begun anew is not one until the server has spoken", async (t) => {
  const server = await startTestServer(t);
  const { session, state } = await converse(t, server, await join(server));
  assert.equal(session.isSpeaking, false);
  await until(() => state.connected === 1);
  assert.equal(session.isSpeaking, true);
  session.reconnect();
  await until(() => !session.isSpeaking);
  assert.equal(state.connected, 1);
  await until(() => session.isSpeaking);
  assert.equal(state.connected, 2);
});

test("what says nothing of the state is no state to act upon", async (t) => {
  const server = await startTestServer(t);
  const credentials = await join(server);
  const { state } = await converse(t, server, credentials);
  await until(() => state.changes > 0);
  const before = state.changes;
  await converse(t, server, credentials);
  await until(() => state.refused > 0);
  assert.equal(state.changes, before);
});
