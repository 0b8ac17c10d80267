import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { createServer } from "node:tls";
import {
  createNetwork,
  createToken,
  endpointId,
  joinTestNode,
  nodeClient,
  refusal,
  startTestServer,
  TestWatch,
} from "../../test/support/server.ts";
import { generatePrivateKey } from "../api/certificate-request.ts";
import { connectNode, tlsConnection } from "../api/clients.ts";
import { certificateValidity, joinServer, renewCertificate } from "../api/join.ts";
import { formatToken, parseToken } from "../api/token.ts";
import { keyAlgorithm, keyPairOf, x509 } from "../api/x509.ts";
import { systemClock } from "../base/clock.ts";
import { milliseconds, seconds } from "../base/duration.ts";
import { WeftError } from "../base/errors.ts";
import { unwrap } from "../base/result.ts";
import { temporaryDirectory } from "../testing/temporary-directory.ts";
import { CertificateAuthority } from "./identity/certificate-authority.ts";
import type { Voucher } from "./voucher.ts";

async function authorityOf(dataDir: string): Promise<CertificateAuthority> {
  return CertificateAuthority.open(dataDir, systemClock);
}

async function keyRequest() {
  const privateKey = await generatePrivateKey();
  const { publicKey } = await keyPairOf(privateKey);
  return { privateKey, publicKey, publicKeyHash: Buffer.alloc(32) };
}

test("a token lets one node join, once", async (t) => {
  const server = await startTestServer(t);
  const token = await createToken(server);
  const credentials = await joinServer({ url: server.url, token, node: "h1" });
  const { until } = certificateValidity(credentials.certificate);
  assert.ok(until - Date.now() > 23 * 3_600_000 && until - Date.now() <= 24 * 3_600_000);
  await nodeClient(t, server, credentials).register({ vtepIpv4: "192.0.2.1", underlayMtu: 1500 });
  await assert.rejects(
    joinServer({ url: server.url, token, node: "h2" }),
    refusal("unauthenticated", /has been used, by node h1/),
  );
});

test("a join whose answer was lost is repeated with the same key", async (t) => {
  const server = await startTestServer(t);
  const token = await createToken(server);
  const privateKey = await generatePrivateKey();
  await joinServer({ url: server.url, token, node: "h1", privateKey });
  const again = await joinServer({ url: server.url, token, node: "h1", privateKey });
  const { node } = await nodeClient(t, server, again).register({ vtepIpv4: "192.0.2.1", underlayMtu: 1500 });
  assert.equal(node?.generation, 1);
  await assert.rejects(joinServer({ url: server.url, token, node: "h1" }), refusal("unauthenticated", /has been used/));
});

test("of many joins with one token at the same time, one succeeds", async (t) => {
  const server = await startTestServer(t);
  const token = await createToken(server);
  const joins = await Promise.allSettled(
    ["a", "b", "c", "d", "e"].map((node) => joinServer({ url: server.url, token, node })),
  );
  assert.equal(joins.filter((join) => join.status === "fulfilled").length, 1);
});

test("wrong, malformed and expired tokens are refused, each with its reason", async (t) => {
  const server = await startTestServer(t);
  const { fingerprint } = unwrap(parseToken(await createToken(server)));
  const wrong = formatToken({ issuer: "weft", secret: "A".repeat(32), fingerprint });
  await assert.rejects(
    joinServer({ url: server.url, token: wrong, node: "h1" }),
    refusal("unauthenticated", /does not know the token/),
  );
  await assert.rejects(
    joinServer({ url: server.url, token: wrong.slice(0, 40), node: "h1" }),
    refusal("invalid-argument", /cannot be read/),
  );
  const { token } = await server.admin.createToken({ lifetime: 1_000n });
  await new Promise((resolve) => setTimeout(resolve, 1_050));
  await assert.rejects(
    joinServer({ url: server.url, token, node: "h1" }),
    refusal("unauthenticated", /token expired at 20/),
  );
  await assert.rejects(server.admin.createToken({ lifetime: 1n }), refusal("invalid-argument", /lifetime of 1 ms/));
});

test("a name that is no name is refused", async (t) => {
  const server = await startTestServer(t);
  await assert.rejects(
    joinServer({ url: server.url, token: await createToken(server), node: "a/../b" }),
    refusal("invalid-argument", /the name is not a name of 1 to 253/),
  );
});

/** A TLS server of another installation; counts the octets that clients send it. */
async function impostor(t: TestContext, chain?: string) {
  const authority = await authorityOf(temporaryDirectory(t));
  const certificate = await authority.issueServer(["127.0.0.1"]);
  let received = 0;
  const server = createServer({ cert: chain ?? certificate.chain, key: certificate.privateKey, ALPNProtocols: ["h2"] });
  server.on("secureConnection", (socket) => {
    socket.on("data", (data) => {
      received += data.length;
    });
    socket.on("error", () => {});
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => server.close());
  const address = server.address();
  assert.ok(typeof address === "object" && address !== null);
  return { url: `https://127.0.0.1:${address.port}`, certificate, authority, received: () => received };
}

test("the token is not sent to a server with another CA", async (t) => {
  const server = await startTestServer(t);
  const token = await createToken(server);
  const other = await impostor(t);
  await assert.rejects(
    joinServer({ url: other.url, token, node: "h1" }),
    refusal("unauthenticated", /its CA has another fingerprint/),
  );
  assert.equal(other.received(), 0);
});

test("the token is not sent to a server that only shows the right CA's certificate", async (t) => {
  const server = await startTestServer(t);
  const token = await createToken(server);
  const other = await impostor(t);
  const { certificate } = await authorityOf(server.dataDir);
  // Its own certificate, then the CA's, which is public.
  const chain = other.certificate.chain.replace(other.authority.certificate, certificate);
  const liar = createServer({ cert: chain, key: other.certificate.privateKey, ALPNProtocols: ["h2"] });
  let received = 0;
  liar.on("secureConnection", (socket) => socket.on("data", (data) => (received += data.length)).on("error", () => {}));
  await new Promise<void>((resolve) => liar.listen(0, "127.0.0.1", resolve));
  t.after(() => liar.close());
  const address = liar.address();
  assert.ok(typeof address === "object" && address !== null);
  await assert.rejects(
    joinServer({ url: `https://127.0.0.1:${address.port}`, token, node: "h1" }),
    (error: Error) => error.name === "WeftError",
  );
  assert.equal(received, 0);
});

test("a node's certificate does not make a server", async (t) => {
  const server = await startTestServer(t);
  const node = await joinTestNode(t, server, 1);
  const { certificate, privateKey, caCertificate } = node.credentials;
  const liar = createServer({ cert: `${certificate}\n${caCertificate}`, key: privateKey, ALPNProtocols: ["h2"] });
  liar.on("secureConnection", (socket) => socket.on("error", () => {}));
  await new Promise<void>((resolve) => liar.listen(0, "127.0.0.1", resolve));
  t.after(() => liar.close());
  const address = liar.address();
  assert.ok(typeof address === "object" && address !== null);
  await assert.rejects(
    joinServer({ url: `https://127.0.0.1:${address.port}`, token: await createToken(server), node: "h2" }),
    refusal("unauthenticated", /did not prove that it is one of this installation/),
  );
});

test("without a certificate nothing but joining is allowed", async (t) => {
  const server = await startTestServer(t);
  const { certificate } = await authorityOf(server.dataDir);
  const connection = tlsConnection(server.url, { ca: certificate });
  t.after(() => connection.close());
  const none = refusal("unauthenticated", /showed no certificate/);
  await assert.rejects(connection.client.register({ vtepIpv4: "192.0.2.9", underlayMtu: 1500 }), none);
  await assert.rejects(connection.client.createEndpoint({ id: endpointId(1), network: "blue" }), none);
  await assert.rejects(connection.client.renewCertificate({ certificateRequest: new Uint8Array(10) }), none);
  const watch = new TestWatch(t, connection.client);
  assert.match((await watch.ended())?.reason ?? "", /showed no certificate/);
});

test("a certificate of another CA is none", async (t) => {
  const server = await startTestServer(t);
  const ours = await authorityOf(server.dataDir);
  const theirs = await authorityOf(temporaryDirectory(t));
  const request = await keyRequest();
  const connection = tlsConnection(server.url, {
    ca: ours.certificate,
    cert: await theirs.issueNode(request, "h1", 1),
    key: request.privateKey,
  });
  t.after(() => connection.close());
  await assert.rejects(
    connection.client.register({ vtepIpv4: "192.0.2.9", underlayMtu: 1500 }),
    refusal("unauthenticated", /showed no certificate/),
  );
});

test("an expired certificate of another CA is none, and is not renewed", async (t) => {
  const server = await startTestServer(t);
  await joinTestNode(t, server, 1);
  const { certificate: ca } = await authorityOf(server.dataDir);
  const theirs = await authorityOf(temporaryDirectory(t));
  const request = await keyRequest();
  const certificate = await theirs.issueNode(request, "h1", 1, seconds(-5));
  const forged = { certificate, privateKey: request.privateKey, caCertificate: ca };
  await assert.rejects(
    renewCertificate(nodeClient(t, server, forged), forged),
    refusal("unauthenticated", /showed no certificate/),
  );
});

test("an expired certificate is refused with its time, and can be renewed for the same key", async (t) => {
  const server = await startTestServer(t);
  const { credentials } = await joinTestNode(t, server, 1);
  const authority = await authorityOf(server.dataDir);
  const { publicKey } = await keyPairOf(credentials.privateKey);
  const request = { publicKey, publicKeyHash: Buffer.alloc(32) };
  const expired = { ...credentials, certificate: await authority.issueNode(request, "h1", 1, seconds(-5)) };
  const client = nodeClient(t, server, expired);
  await assert.rejects(
    client.register({ vtepIpv4: "192.0.2.1", underlayMtu: 1500 }),
    refusal("unauthenticated", /certificate of node h1 expired at 20\d\d-/),
  );
  const renewed = await renewCertificate(client, expired);
  await nodeClient(t, server, renewed).register({ vtepIpv4: "192.0.2.1", underlayMtu: 1500 });
});

test("a watch ends when its certificate expires", async (t) => {
  const server = await startTestServer(t);
  const { credentials } = await joinTestNode(t, server, 1);
  const authority = await authorityOf(server.dataDir);
  const { publicKey } = await keyPairOf(credentials.privateKey);
  const request = { publicKey, publicKeyHash: Buffer.alloc(32) };
  const certificate = await authority.issueNode(request, "h1", 1, milliseconds(2_000));
  const watch = new TestWatch(t, nodeClient(t, server, { ...credentials, certificate }));
  assert.match((await watch.ended())?.reason ?? "", /expired at/);
});

test("a renewal for another key is refused", async (t) => {
  const server = await startTestServer(t);
  const { client, credentials } = await joinTestNode(t, server, 1);
  await assert.rejects(
    renewCertificate(client, { ...credentials, privateKey: await generatePrivateKey() }),
    refusal("permission-denied", /another key/),
  );
});

test("a certificate request that its key did not sign is refused", async (t) => {
  const server = await startTestServer(t);
  const { client } = await joinTestNode(t, server, 1);
  const request = await x509.Pkcs10CertificateRequestGenerator.create({
    keys: await keyPairOf(await generatePrivateKey()),
    signingAlgorithm: keyAlgorithm,
  });
  const der = new Uint8Array(request.rawData);
  der[der.length - 1] = (der.at(-1) as number) ^ 1;
  await assert.rejects(client.renewCertificate({ certificateRequest: der }), refusal("invalid-argument", /signature/));
  await assert.rejects(
    client.renewCertificate({ certificateRequest: Uint8Array.of(1, 2, 3) }),
    refusal("invalid-argument", /cannot be read/),
  );
});

test("a second host that joins under a name takes it over; the first writes nothing any more", async (t) => {
  const server = await startTestServer(t);
  const first = await joinTestNode(t, server, 1);
  await createNetwork(server, "blue", "10.0.0.0/24");
  await first.client.createEndpoint({ id: endpointId(1), network: "blue" });
  const watch = new TestWatch(t, first.client);
  await watch.reached(1);
  const credentials = await joinServer({ url: server.url, token: await createToken(server), node: "h1" });
  assert.match((await watch.ended())?.reason ?? "", /has joined again, as generation 2/);
  const stale = refusal("permission-denied", /another host has joined as node h1 since/);
  await assert.rejects(first.client.createEndpoint({ id: endpointId(2), network: "blue" }), stale);
  await assert.rejects(first.client.deleteEndpoints({ ids: [endpointId(1)] }), stale);
  await assert.rejects(first.client.register({ vtepIpv4: "192.0.2.1", underlayMtu: 1500 }), stale);
  await assert.rejects(renewCertificate(first.client, first.credentials), stale);
  assert.match((await new TestWatch(t, first.client).ended())?.reason ?? "", /another host has joined/);
  const second = nodeClient(t, server, credentials);
  const { node } = await second.register({ vtepIpv4: "192.0.2.1", underlayMtu: 1500 });
  assert.equal(node?.generation, 2);
  await second.createEndpoint({ id: endpointId(2), network: "blue" });
});

test("a deleted node is refused until it joins again, and then has a new generation", async (t) => {
  const server = await startTestServer(t);
  const { client } = await joinTestNode(t, server, 1);
  await createNetwork(server, "blue", "10.0.0.0/24");
  await client.createEndpoint({ id: endpointId(1), network: "blue" });
  await server.admin.delete({ resources: [{ kind: "node", name: "h1" }] });
  await assert.rejects(
    client.register({ vtepIpv4: "192.0.2.1", underlayMtu: 1500 }),
    refusal("permission-denied", /node h1 was deleted/),
  );
  assert.equal((await server.admin.getStatus({})).endpoints, 0);
  await assert.rejects(
    server.admin.delete({ resources: [{ kind: "node", name: "h1" }] }),
    refusal("not-found", /no node h1/),
  );
  const credentials = await joinServer({ url: server.url, token: await createToken(server), node: "h1" });
  const { node } = await nodeClient(t, server, credentials).register({ vtepIpv4: "192.0.2.1", underlayMtu: 1500 });
  assert.equal(node?.generation, 2);
});

test("a server that cannot be reached says so", async () => {
  const connection = connectNode({
    url: "https://127.0.0.1:1",
    credentials: { certificate: "", privateKey: "", caCertificate: "" },
  });
  await assert.rejects(connection.client.register({}), (error: Error) => /127\.0\.0\.1:1/.test(error.message));
  await assert.rejects(
    joinServer({
      url: "https://127.0.0.1:1",
      token: formatToken({ issuer: "weft", secret: "A".repeat(32), fingerprint: "A".repeat(43) }),
      node: "h1",
    }),
    refusal("unavailable", /nobody listens there/),
  );
});

test("a node joins with a token of another authority that says which node it is, each time as another", async (t) => {
  const told: string[] = [];
  const voucher: Voucher = {
    async nodeOf(token) {
      if (token.startsWith("pod-on-")) return token.slice("pod-on-".length);
      throw new WeftError({ code: "unauthenticated", attempted: "ask", reason: "it is no token" });
    },
    async announce(fingerprint) {
      told.push(fingerprint);
    },
  };
  const server = await startTestServer(t, { voucher });
  const [fingerprint = ""] = told;
  assert.equal(unwrap(parseToken(await createToken(server))).fingerprint, fingerprint);
  const join = (node: string, secret: string) =>
    joinServer({ url: server.url, token: formatToken({ issuer: "vouched", secret, fingerprint }), node });
  await assert.rejects(join("h2", "pod-on-h1"), refusal("permission-denied", /the token is of node h1/));
  await assert.rejects(join("h1", "nothing"), refusal("unauthenticated", /it is no token/));
  const first = nodeClient(t, server, await join("h1", "pod-on-h1"));
  await first.register({ vtepIpv4: "192.0.2.1", underlayMtu: 1500 });
  const second = nodeClient(t, server, await join("h1", "pod-on-h1"));
  await second.register({ vtepIpv4: "192.0.2.1", underlayMtu: 1500 });
  await assert.rejects(
    first.register({ vtepIpv4: "192.0.2.1", underlayMtu: 1400 }),
    refusal("permission-denied", /another host has joined as node h1 since/),
  );
});

test("without another authority its tokens are refused", async (t) => {
  const server = await startTestServer(t);
  const { fingerprint } = unwrap(parseToken(await createToken(server)));
  const token = formatToken({ issuer: "vouched", secret: "pod-on-h1", fingerprint });
  await assert.rejects(
    joinServer({ url: server.url, token, node: "h1" }),
    refusal("unauthenticated", /nobody vouches for nodes/),
  );
});
