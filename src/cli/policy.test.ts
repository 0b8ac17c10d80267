/** The commands about policies as people run them, against a real server. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { done, weft } from "../../test/support/command.ts";
import { endpointId, joinTestNode, startTestServer, type TestServer } from "../../test/support/server.ts";
import { temporaryDirectory } from "../testing/temporary-directory.ts";

const manifest = `
kind: tenant
name: acme
---
kind: network
name: front
tenant: acme
subnets: [10.1.0.0/24, "fd01::/64"]
---
kind: network
name: back
tenant: acme
subnets: [10.2.0.0/24]
policyDefault: deny
---
kind: policy
name: web
tenant: acme
priority: 10
networks: [front]
endpoints: app=web
isolates: [ingress]
rules:
  - name: http
    direction: ingress
    action: allow
    peers: [{ endpoints: app=client }, { subnet: 192.0.2.0/24, except: [192.0.2.128/25] }]
    ports: [{ protocol: tcp, ports: [80, "8000-8010"] }, { protocol: icmp, types: [8] }]
  - { name: seen, direction: ingress, action: log }
  - { direction: egress, action: deny, peers: [{ networks: [back] }, { endpoints: "" }] }
---
kind: policy
name: nothing
tenant: acme
`;

/** A server with this, and of network front a web server and a client, of network back one more. */
async function started(t: TestContext): Promise<TestServer> {
  const server = await startTestServer(t);
  const file = join(temporaryDirectory(t), "all.yaml");
  writeFileSync(file, manifest);
  await done(server, `apply -f ${file}`);
  const { client } = await joinTestNode(t, server, 1);
  for (const [number, network, app, ips] of [
    [1, "front", "web", ["10.1.0.2", "fd01::2"]],
    [2, "front", "client", ["10.1.0.3", "fd01::3"]],
    [3, "back", "db", ["10.2.0.3"]],
  ] as const)
    await client.createEndpoint({ id: endpointId(number), network, labels: { app }, ips: [...ips] });
  return server;
}

test("list and show tell all of policies, and rules in the order in which they are asked", async (t) => {
  const server = await started(t);
  const list = await done(server, "policy list");
  assert.match(list, /^NAME +TENANT +PRIORITY +NETWORKS +ENDPOINTS +ISOLATES +RULES$/m);
  assert.match(list, /^web +acme +10 +front +app=web +ingress +3$/m);
  assert.match(list, /^nothing +acme +1000 +all +all +0$/m);
  const show = await done(server, "policy show web");
  assert.match(show, /^PRIORITY +10$/m);
  assert.match(show, /^ISOLATES +ingress$/m);
  const rules = show.slice(show.indexOf("DIRECTION")).trimEnd().split("\n");
  assert.match(rules[1] ?? "", /^ingress +seen +log +all +all$/);
  assert.match(
    rules[2] ?? "",
    /^ingress +http +allow +app=client; 192\.0\.2\.0\/24 except 192\.0\.2\.128\/25 +tcp 80, 8000-8010; icmp type 8$/,
  );
  assert.match(rules[3] ?? "", /^egress +egress-3 +deny +endpoints in back; endpoints of the tenant +all$/);
  assert.equal(rules.length, 4);
  assert.match(await done(server, "policy show nothing"), /^ISOLATES +nothing$/m);
  const shown = JSON.parse(await done(server, "policy show web -o json"));
  assert.deepEqual(
    [shown.name, shown.endpoints, shown.rules.map(({ name }: { name: string }) => name)],
    ["web", "app=web", ["http", "seen", "egress-3"]],
  );
  assert.deepEqual(
    JSON.parse(await done(server, "policy list -o json")).map(({ name }: { name: string }) => name),
    ["nothing", "web"],
  );
});

test("explain says what becomes of packets, and which rule decides", async (t) => {
  const server = await started(t);
  const explain = (line: string): Promise<string> => done(server, `policy explain ${line}`);
  assert.equal(
    await explain("front/10.1.0.3 front/10.1.0.2 --port 80"),
    [
      `FROM       front/10.1.0.3, endpoint ${endpointId(2)}, app=client`,
      `TO         front/10.1.0.2, endpoint ${endpointId(1)}, app=web`,
      "PACKETS    tcp 80",
      "VERDICT    allow",
      "EGRESS     allow: no policy says anything; the default of the network",
      "INGRESS    allow: rule http of policy web",
      "LOGGED BY  rule seen of policy web",
      "",
    ].join("\n"),
  );
  const answers: [line: string, ...said: RegExp[]][] = [
    [
      `front/fd01::3 ${endpointId(1)} --protocol udp --port 53`,
      /^PACKETS +udp 53$/m,
      /^VERDICT +deny$/m,
      /^INGRESS +deny: no rule allows it, and policy web isolates the endpoint$/m,
    ],
    [
      "192.0.2.7 front/10.1.0.2 --protocol icmp",
      /^FROM +192\.0\.2\.7, outside$/m,
      /^PACKETS +icmp type 8$/m,
      /: rule http/,
    ],
    ["192.0.2.200 front/10.1.0.2 --type 8", /^VERDICT +deny$/m],
    ["front/10.1.0.2 10.1.0.99 --port 1", /^TO +front\/10\.1\.0\.99, which no endpoint has$/m, /deny: rule egress-3/],
    [
      "front/10.1.0.3 back/10.2.0.3 --port 80",
      /^EGRESS +allow: no policy/m,
      /^INGRESS +deny: no policy says anything/m,
    ],
    [
      "front/fd01::3 back/10.2.0.3 --port 80",
      /^VERDICT +deny$/m,
      /^BECAUSE +they have no addresses of one IP family$/m,
    ],
  ];
  for (const [line, ...said] of answers) {
    const answer = await explain(line);
    for (const each of said) assert.match(answer, each, line);
  }
  const { verdict, decisions } = JSON.parse(await explain("front/10.1.0.3 front/10.1.0.2 --port 22 -o json"));
  assert.equal(verdict, "deny");
  assert.deepEqual(decisions, [
    {
      direction: "egress",
      endpoint: endpointId(2),
      verdict: "allow",
      decidedBy: "default",
      policy: "",
      rule: "",
      logged: [],
    },
    {
      direction: "ingress",
      endpoint: endpointId(1),
      verdict: "deny",
      decidedBy: "isolation",
      policy: "web",
      rule: "",
      logged: [{ policy: "web", rule: "seen" }],
    },
  ]);
});

const refusals: [line: string, status: number, reason: RegExp][] = [
  ["show none", 1, /show policy none: there is none of this name/],
  ["delete none", 1, /no policy none/],
  ["explain front/10.1.0.2", 2, /missing required argument 'to'/],
  [
    "explain front/10.1.0.2 front/10.1.0.3",
    1,
    /what is said is not named\n {2}try: name it: --protocol tcp --port 443/,
  ],
  ["explain front/10.1.0.2 front/10.1.0.3 --port 65536", 2, /'65536' is invalid/],
  ["explain front/10.1.0.2 front/10.1.0.3 --port http", 2, /'http' is invalid/],
  ["explain front/10.1.0.2 front/10.1.0.3 --type 256", 2, /'256' is invalid/],
  ["explain front/10.1.0.2 front/10.1.0.3 --protocol tpc --port 80", 1, /protocol: found "tpc"; allowed: /],
  ["explain front/10.1.0.2 front/10.1.0.3 --protocol tcp", 1, /port: found nothing/],
  ["explain front/10.1.0.2 front/10.1.0.9 --port 80", 1, /no endpoint of network front has the address 10\.1\.0\.9/],
  ["explain front/10.1.0.2 none/10.1.0.3 --port 80", 1, /no network none/],
  [`explain front/10.1.0.2 ${endpointId(9)} --port 80`, 1, /there is no endpoint 000000000009/],
];

test("what there is not, or cannot be meant, is refused with what to do", async (t) => {
  const server = await started(t);
  for (const [line, status, reason] of refusals) {
    const outcome = await weft(server, `policy ${line}`);
    assert.match(outcome.stderr, reason, line);
    assert.equal(outcome.status, status, line);
    assert.equal(outcome.stdout, "", line);
  }
});

test("delete takes away the policies that are named, as far as there are such", async (t) => {
  const server = await started(t);
  const names = async (): Promise<string[]> =>
    JSON.parse(await done(server, "policy list -o json")).map(({ name }: { name: string }) => name);
  assert.deepEqual(await names(), ["nothing", "web"]);
  const { status, stdout, stderr } = await weft(server, "policy delete none web web neither");
  assert.equal(status, 1);
  assert.equal(stdout, "policy web deleted\n");
  assert.match(
    stderr,
    /^weft: delete policy none: there is no policy none\n.*\nweft: delete policy neither: .*\n.*\n$/,
  );
  assert.deepEqual(await names(), ["nothing"]);
  assert.equal(await done(server, "policy delete nothing"), "policy nothing deleted\n");
  assert.deepEqual(await names(), []);
  assert.match(await done(server, "policy explain front/10.1.0.3 front/10.1.0.2 --port 22"), /^VERDICT +allow$/m);
});
