/** What commands wait for, against a real server and nodes that say what the test lets them say. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { done, weft } from "../../test/support/command.ts";
import { endpointId, joinTestNode, startTestServer, TestWatch } from "../../test/support/server.ts";
import { temporaryDirectory } from "../testing/temporary-directory.ts";

const manifest = `
kind: tenant
name: acme
---
kind: tenant
name: corp
---
kind: network
name: web
tenant: acme
subnets: [10.1.0.0/24]
gateways: [10.1.0.1]
gateway: distributed
egress: true
peers: [corp/db]
---
kind: network
name: db
tenant: corp
subnets: [10.2.0.0/24]
gateway: distributed
---
kind: network
name: far
tenant: corp
subnets: [10.3.0.0/24]
gateways: [10.3.0.1]
egress: true
`;

/** A server with a node that has an endpoint in each network. */
async function started(t: TestContext) {
  const server = await startTestServer(t);
  const file = (content: string): string => {
    const path = join(temporaryDirectory(t), "all.yaml");
    writeFileSync(path, content);
    return path;
  };
  await done(server, `apply -f ${file(manifest)}`);
  const { client } = await joinTestNode(t, server, 1);
  const watch = new TestWatch(t, client, { reports: true });
  for (const [index, ip] of ["10.1.0.5", "10.2.0.5", "10.3.0.5"].entries())
    await client.createEndpoint({ id: endpointId(index), network: ["web", "db", "far"][index] ?? "", ips: [ip] });
  /** The node says that all is in place of these networks. */
  const report = async (...networks: string[]): Promise<void> => {
    const { revision } = await server.admin.getStatus({});
    await watch.reached(revision);
    await client.reportInPlace({ networks: networks.map((network) => ({ network, revision })) });
  };
  await report("web", "db", "far");
  /** Whether the command ends while the node says nothing more; else it names what it waited for. */
  const waits = async (line: string, what: string): Promise<void> => {
    const { status, stderr } = await weft(server, `${line} --wait 100ms`);
    assert.equal(status, 1, line);
    assert.match(stderr, new RegExp(`wait for ${what} to be in place on all nodes: 100 ms are over`));
  };
  const ends = async (line: string): Promise<void> => {
    const { status, stderr } = await weft(server, `${line} --wait`);
    assert.equal(status, 0, stderr);
    assert.match(stderr, /in place on 1 of 1 nodes\n$/);
  };
  return { server, file, report, waits, ends };
}

test("a floating address is waited for on the nodes of its network, and on those of the one that it had", async (t) => {
  const { server, file, report, waits, ends } = await started(t);
  const what = "floating-address 192.0.2.50";
  await waits("floating-address create 192.0.2.50 --network web --endpoint 10.1.0.5", what);
  await report("web");
  await ends("floating-address set 192.0.2.50 --endpoint 10.1.0.5");
  const move = "floating-address set 192.0.2.50 --network far --endpoint 10.3.0.5";
  await waits(move, what);
  await report("web");
  await waits(move, what);
  await report("far");
  await ends(move);
  const declared = "kind: floating-address\nname: 192.0.2.51\nnetwork: web\nendpoint: 10.1.0.5\n";
  await waits(`apply -f ${file(declared)}`, "network web");
  await report("web");
  await ends(`apply -f ${file(declared)}`);
  await done(server, "floating-address delete 192.0.2.50 192.0.2.51");
});

test("a peering is waited for at the ends of both tenants", async (t) => {
  const { file, report, waits, ends } = await started(t);
  // Not in force, it is nothing to wait for elsewhere.
  await report("web");
  await ends("network set web --peer corp/db");
  await waits("network set db --peer acme/web", "network db");
  await report("db");
  await waits("network set db --peer acme/web", "network db");
  const declared = manifest.replace("gateway: distributed\n---", "gateway: distributed\npeers: [acme/web]\n---");
  const onlyDb = declared.split("---\n")[3] ?? "";
  await waits(`apply -f ${file(onlyDb)}`, "2 networks");
  await report("web");
  await ends("network set db --peer acme/web");
  await ends(`apply -f ${file(onlyDb)}`);
});
