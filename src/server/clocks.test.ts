import assert from "node:assert/strict";
import type { X509Certificate } from "node:crypto";
import { type TestContext, test } from "node:test";
import { connect } from "node:tls";
import {
  joinTestNode,
  nodeClient,
  refusal,
  startTestServer,
  type TestServer,
  TestWatch,
} from "../../test/support/server.ts";
import { renewCertificate } from "../api/join.ts";
import { keyPairOf } from "../api/x509.ts";
import { ManualClock } from "../base/clock.ts";
import { hours, seconds } from "../base/duration.ts";
import { CertificateAuthority } from "./identity/certificate-authority.ts";

const days = (count: number) => hours(24 * count);
const registration = { vtepIpv4: "192.0.2.1", underlayMtu: 1500 };

function shownBy({ url }: TestServer): Promise<X509Certificate> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    const socket = connect({ host: hostname, port: Number(port), rejectUnauthorized: false });
    socket.once("error", reject);
    socket.once("secureConnect", () => {
      resolve(socket.getPeerX509Certificate() as X509Certificate);
      socket.destroy();
    });
  });
}

/** Waits until the server shows a certificate that is good at its clock's time, and half a day before. */
async function isGood(server: TestServer, clock: ManualClock): Promise<void> {
  for (;;) {
    const { validFromDate, validToDate } = await shownBy(server);
    if (validFromDate.getTime() < clock.now() - hours(12) && validToDate.getTime() > clock.now()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

for (const [what, jump] of [
  ["ahead, as a machine that slept", days(8)],
  ["back, as one that was wrong", -days(8) as ReturnType<typeof days>],
] as const)
  test(`the server has a good certificate soon after its clock jumped ${what}`, async (t: TestContext) => {
    const clock = new ManualClock(Date.now());
    const server = await startTestServer(t, { clock });
    await isGood(server, clock);
    clock.jump(jump);
    clock.advance(seconds(10));
    await isGood(server, clock);
  });

test("a node certified while the server's clock was ahead is told so, and gets a new certificate", async (t) => {
  const server = await startTestServer(t);
  const { credentials } = await joinTestNode(t, server, 1);
  const ahead = new ManualClock(Date.now() + days(3));
  const authority = await CertificateAuthority.open(server.dataDir, ahead);
  const { publicKey } = await keyPairOf(credentials.privateKey);
  const certificate = await authority.issueNode({ publicKey, publicKeyHash: Buffer.alloc(0) }, "h1", 1);
  const early = { ...credentials, certificate };
  const client = nodeClient(t, server, early);
  await assert.rejects(
    client.register(registration),
    refusal("unauthenticated", /valid from 20.* on, and the server's clock says 20/),
  );
  await nodeClient(t, server, await renewCertificate(client, early)).register(registration);
});

test("a watch ends soon after the server's clock jumped over the end of its certificate", async (t) => {
  const clock = new ManualClock(Date.now());
  const server = await startTestServer(t, { clock });
  const { client } = await joinTestNode(t, server, 1);
  const watch = new TestWatch(t, client);
  await watch.reached(1);
  clock.jump(days(2));
  clock.advance(seconds(60));
  assert.match((await watch.ended())?.reason ?? "", /expired at/);
});
