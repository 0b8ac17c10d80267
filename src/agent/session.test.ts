import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { createToken, startTestServer, type TestServer } from "../../test/support/server.ts";
import { certificateValidity, joinServer } from "../api/join.ts";
import type { Credentials } from "../api/transport.ts";
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
  const state = { connected: 0, changes: 0, refused: 0, renewed: [] as Credentials[], errors: [] as string[] };
  const session = new Session({
    url: server.url,
    credentials,
    clock: { ...systemClock, now },
    logger: silentLogger,
    handlers: {
      resume: () => ({ revision: 0, networks: [] }),
      registration: () => ({ vtepIpv4: "192.0.2.1", vtepIpv6: "", underlayMtu: 1500 }),
      onChanges: () => state.changes++,
      onConnected: () => state.connected++,
      onDisconnected: (error) => state.errors.push(error.message),
      onRenewed: (renewed) => state.renewed.push(renewed),
      onOtherRefused: () => state.refused++,
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
