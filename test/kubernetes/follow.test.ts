/** weft kubernetes at a real API server, with the rights that it needs and no others. Nodes are names alone: nothing runs on them. */
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { connectNode, serverClient } from "../../src/api/clients.ts";
import { joinServer } from "../../src/api/join.ts";
import { cidr } from "../../src/base/cidr.ts";
import { silentLogger } from "../../src/base/logger.ts";
import { startServer } from "../../src/server/server.ts";
import { MemoryStore } from "../../src/store/index.ts";
import { cleanUp, theWholeFile, until } from "../support/cluster.ts";
import { KubernetesCluster } from "./cluster.ts";
import type { Manifest } from "./kubectl.ts";
import type { MachineProgram } from "./machine.ts";

const owner = theWholeFile();
const cluster = await KubernetesCluster.up(owner, { count: 0 });
const { kubectl, control, folder } = cluster;
const dataDir = join(folder, "weft-server");
mkdirSync(dataDir, { mode: 0o700 });
const server = await startServer({
  listen: "127.0.0.1:0",
  dataDir,
  store: new MemoryStore(),
  logger: silentLogger,
  vtepPrefixes: [cidr("192.0.2.0/24")],
});
cleanUp(owner, () => void server.close());
const admin = serverClient(server.adminSocket);
await admin.apply({
  resources: [
    { resource: { case: "tenant", value: { name: "cluster" } } },
    { resource: { case: "tenant", value: { name: "other" } } },
    {
      resource: { case: "network", value: { name: "pods", tenant: "cluster", mode: "l3", subnets: ["10.244.0.0/16"] } },
    },
    { resource: { case: "network", value: { name: "front", tenant: "other", subnets: ["10.1.0.0/24"] } } },
    { resource: { case: "policy", value: { name: "ours", tenant: "cluster", endpoints: "app=vm" } } },
  ],
});

/** As docs/kubernetes.md has them. */
const rights: Manifest[] = [
  { apiVersion: "v1", kind: "ServiceAccount", metadata: { name: "weft", namespace: "kube-system" } },
  {
    apiVersion: "rbac.authorization.k8s.io/v1",
    kind: "ClusterRole",
    metadata: { name: "weft" },
    rules: [
      { apiGroups: [""], resources: ["namespaces", "nodes", "pods", "services"], verbs: ["list", "watch"] },
      { apiGroups: ["networking.k8s.io"], resources: ["networkpolicies"], verbs: ["list", "watch"] },
    ],
  },
  {
    apiVersion: "rbac.authorization.k8s.io/v1",
    kind: "ClusterRoleBinding",
    metadata: { name: "weft" },
    roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: "weft" },
    subjects: [{ kind: "ServiceAccount", name: "weft", namespace: "kube-system" }],
  },
];

const node = (name: string): Manifest => ({ apiVersion: "v1", kind: "Node", metadata: { name } });
const namespace = (name: string, metadata: Manifest = {}): Manifest => ({
  apiVersion: "v1",
  kind: "Namespace",
  metadata: { name, ...metadata },
});
const pod = (name: string, metadata: Manifest = {}, spec: Manifest = {}): Manifest => ({
  apiVersion: "v1",
  kind: "Pod",
  metadata: { name, namespace: "shop", ...metadata },
  spec: {
    nodeName: "n1.example.org",
    automountServiceAccountToken: false,
    containers: [{ name: "main", image: "none", ports: [{ name: "http", containerPort: 8080 }] }],
    ...spec,
  },
});
const networkPolicy = (name: string, spec: Manifest): Manifest => ({
  apiVersion: "networking.k8s.io/v1",
  kind: "NetworkPolicy",
  metadata: { name, namespace: "shop" },
  spec,
});

async function podsAtWeft() {
  const { resources } = await admin.list({ kind: "pod" });
  const pods = resources.flatMap(({ resource }) => (resource.case === "pod" ? [resource.value] : []));
  return new Map(pods.map((each) => [each.title, each]));
}

async function policiesAtWeft() {
  const { resources } = await admin.list({ kind: "policy" });
  return resources.flatMap(({ resource }) => (resource.case === "policy" ? [resource.value] : []));
}

let controller: MachineProgram;
function startController(): void {
  controller = control.start(
    ...["weft-kubernetes", process.execPath, join(import.meta.dirname, "../../src/cli/main.ts"), "kubernetes"],
    ...["--network", "pods", "--server", server.adminSocket, "--kubeconfig", join(folder, "weft.kubeconfig")],
  );
}

/** Waits until weft has it so; not longer than the controller runs. */
const eventually = (check: () => Promise<void>): Promise<void> => controller.until(check);

test("with a service account that may list and watch, pods on nodes are told of", async () => {
  await kubectl.apply(...rights, node("n1.example.org"), node("n2"), namespace("shop", { labels: { team: "a" } }));
  let token = "";
  await until(async () => {
    const secrets = await kubectl.list("secrets", "--namespace=kube-system");
    const own = secrets.find(({ metadata }) => metadata.annotations?.["kubernetes.io/service-account.name"] === "weft");
    assert.ok(own?.data?.token);
    token = Buffer.from(own.data.token, "base64").toString();
  });
  writeFileSync(
    join(folder, "weft.kubeconfig"),
    JSON.stringify({
      "current-context": "c",
      contexts: [{ name: "c", context: { cluster: "c", user: "u" } }],
      clusters: [
        { name: "c", cluster: { server: `https://${control.address}:6443`, "certificate-authority": "pki/ca.crt" } },
      ],
      users: [{ name: "u", user: { token } }],
    }),
  );
  startController();
  await kubectl.apply(
    pod("web", { labels: { app: "web" } }),
    pod("host", {}, { hostNetwork: true, containers: [{ name: "main", image: "none" }] }),
    pod("pending", {}, { nodeName: undefined, schedulerName: "nobody" }),
  );
  await eventually(async () => {
    const pods = await podsAtWeft();
    assert.deepEqual([...pods.keys()], ["shop/web"]);
    const web = pods.get("shop/web");
    assert.deepEqual(
      [web?.node, web?.networks, web?.labels],
      [
        "n1.example.org",
        ["pods"],
        {
          app: "web",
          "kubernetes/namespace/team": "a",
          ...(web?.labels["kubernetes/namespace/kubernetes.io/metadata.name"] === undefined
            ? {}
            : { "kubernetes/namespace/kubernetes.io/metadata.name": "shop" }),
          "kubernetes/pod/name": "web",
          "kubernetes/pod/namespace": "shop",
          "kubernetes/port/tcp/http": "8080",
        },
      ],
    );
    const { metadata } = await kubectl.json("pod", "web", "--namespace=shop");
    assert.equal(web?.name, metadata.uid);
  });
});

test("labels of pods and of their namespaces are followed, and annotations say network and addresses", async () => {
  await kubectl.run("label", "namespace", "shop", "team=b", "--overwrite");
  await kubectl.run("label", "pod", "web", "--namespace=shop", "app=shop", "--overwrite");
  await eventually(async () => {
    const labels = (await podsAtWeft()).get("shop/web")?.labels;
    assert.deepEqual([labels?.app, labels?.["kubernetes/namespace/team"]], ["shop", "b"]);
  });
  await kubectl.run("annotate", "namespace", "shop", "weft.dev/networks=pods,front");
  const annotated = (annotations: Manifest): Manifest => ({ annotations });
  await kubectl.apply(
    pod("db-1", {
      ...annotated({
        "weft.dev/network": "front",
        "weft.dev/addresses": "10.1.0.10;10.1.0.11",
        "weft.dev/mac": "02:00:00:00:00:0b",
      }),
      ownerReferences: [
        { apiVersion: "apps/v1", kind: "StatefulSet", name: "db", uid: "00000000-0000-4000-8000-000000000001" },
      ],
    }),
    pod("strange", annotated({ "weft.dev/network": "secret" })),
  );
  await eventually(async () => {
    const pods = await podsAtWeft();
    const { networks, ips, mac, refusal } = pods.get("shop/db-1") ?? {};
    assert.deepEqual([networks, ips, mac, refusal], [["front", "pods"], ["10.1.0.11"], "02:00:00:00:00:0b", ""]);
    assert.deepEqual(pods.get("shop/web")?.networks, ["pods", "front"]);
    assert.match(pods.get("shop/strange")?.refusal ?? "", /weft.dev\/network: found "secret"; allowed: pods, front/);
  });
  await kubectl.delete("pod", "strange", "db-1", "--namespace=shop", "--force", "--grace-period=0");
});

test("NetworkPolicies are policies of each tenant that the namespace's pods may be in, and go with them", async () => {
  await kubectl.apply(
    networkPolicy("web", {
      podSelector: { matchLabels: { app: "shop" } },
      ingress: [
        { from: [{ namespaceSelector: { matchLabels: { team: "b" } } }], ports: [{ port: "http" }, { port: 80 }] },
      ],
    }),
  );
  const summary = async () =>
    (await policiesAtWeft())
      .filter(({ managedBy }) => managedBy === "kubernetes")
      .map(({ tenant, endpoints }) => `${tenant} ${endpoints}`)
      .sort();
  const selector = "kubernetes/pod/namespace=shop,app=shop";
  const expected = ["cluster", "other"].flatMap((tenant) => [
    `${tenant} ${selector}`,
    `${tenant} ${selector},kubernetes/port/tcp/http=8080`,
  ]);
  await eventually(async () => assert.deepEqual(await summary(), expected));
  // One that people take away is made again with the next look at the server, one of theirs stays.
  await kubectl.run("annotate", "namespace", "shop", "weft.dev/networks-");
  await eventually(async () => assert.deepEqual(await summary(), expected.slice(0, 2)));
  await kubectl.delete("networkpolicy", "web", "--namespace=shop");
  await eventually(async () => assert.deepEqual(await summary(), []));
  assert.deepEqual(
    (await policiesAtWeft()).map(({ name }) => name),
    ["ours"],
  );
});

test("what happened while nobody followed is made good", async () => {
  await kubectl.apply(networkPolicy("all", { podSelector: {} }), pod("second"));
  await eventually(async () => {
    assert.equal((await policiesAtWeft()).length, 2);
    assert.equal((await podsAtWeft()).size, 2);
  });
  await controller.end();
  await kubectl.delete("networkpolicy", "all", "--namespace=shop");
  await kubectl.delete("pod", "second", "--namespace=shop", "--force", "--grace-period=0");
  await kubectl.apply(pod("third"));
  startController();
  await eventually(async () => {
    assert.deepEqual(
      (await policiesAtWeft()).map(({ name }) => name),
      ["ours"],
    );
    assert.deepEqual([...(await podsAtWeft()).keys()].sort(), ["shop/third", "shop/web"]);
  });
});

test("an API server that was away, and has forgotten what was followed, is followed again", async () => {
  const words = (await control.run("sh", "-c", "cat /proc/$(pidof kube-apiserver)/cmdline")).split("\0").slice(0, -1);
  await control.run("sh", "-c", "kill -KILL $(pidof kube-apiserver)");
  const [path = "", ...rest] = words;
  const again = control.start("kube-apiserver-again", path, ...rest);
  await again.until(async () => assert.equal(await kubectl.get("--raw", "/readyz"), "ok"));
  await kubectl.apply(pod("fourth"), networkPolicy("late", { podSelector: {} }));
  await eventually(async () => {
    assert.ok((await podsAtWeft()).has("shop/fourth"));
    assert.equal((await policiesAtWeft()).length, 2);
  });
});

/** Nodes of Kubernetes, with the blocks that are declared for them. */
async function declared(): Promise<string[]> {
  return (await admin.list({ kind: "node" })).nodeSettings
    .filter(({ labels }) => "kubernetes/node" in labels)
    .map(({ name, blocks }) => [name, ...blocks].join(" "));
}

test("a node's podCIDR is declared for weft's, once nobody else has a part of it", async () => {
  await kubectl.run(
    "patch",
    "node",
    "n2",
    "--patch",
    '{"spec": {"podCIDR": "10.244.2.0/24", "podCIDRs": ["10.244.2.0/24"]}}',
  );
  await admin.setNode({ name: "vm-host", blocks: { prefixes: ["10.244.3.0/24"] } });
  await kubectl.apply({ ...node("n3"), spec: { podCIDR: "10.244.3.0/24", podCIDRs: ["10.244.3.0/24"] } });
  await eventually(async () => assert.deepEqual(await declared(), ["n1.example.org", "n2 10.244.2.0/24", "n3"]));
  await admin.setNode({ name: "vm-host", blocks: {} });
  // As kubelets do all the time.
  await kubectl.run("annotate", "node", "n3", "example.org/alive=1");
  await eventually(async () =>
    assert.deepEqual(await declared(), ["n1.example.org", "n2 10.244.2.0/24", "n3 10.244.3.0/24"]),
  );
  await kubectl.delete("node", "n3");
  await eventually(async () => assert.deepEqual(await declared(), ["n1.example.org", "n2 10.244.2.0/24"]));
});

test("the API server says on which node the pod is whose token is shown", async () => {
  const subjects = [{ kind: "ServiceAccount", name: "weft", namespace: "kube-system" }];
  const role = (kind: string, name: string, rules: Manifest[]): Manifest[] => [
    { apiVersion: "rbac.authorization.k8s.io/v1", kind, metadata: { name, namespace: "shop" }, rules },
    {
      apiVersion: "rbac.authorization.k8s.io/v1",
      kind: `${kind}Binding`,
      metadata: { name, namespace: "shop" },
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind, name },
      subjects,
    },
  ];
  const named = { resources: ["configmaps"], resourceNames: ["weft-server"], verbs: ["patch"] };
  await kubectl.apply(
    { apiVersion: "v1", kind: "ServiceAccount", metadata: { name: "agent", namespace: "shop" } },
    ...role("ClusterRole", "weft-joins", [
      { apiGroups: ["authentication.k8s.io"], resources: ["tokenreviews"], verbs: ["create"] },
    ]),
    ...role("Role", "weft-joins", [
      { apiGroups: [""], resources: ["pods"], verbs: ["get"] },
      { apiGroups: [""], ...named },
    ]),
    { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "weft-server", namespace: "shop" } },
    pod("agent", {}, { serviceAccountName: "agent" }),
    pod("other"),
  );
  const tokenOf = async (account: string, podName: string, audience: string): Promise<string> => {
    const { metadata } = await kubectl.json("pod", podName, "--namespace=shop");
    const boundObjectRef = { kind: "Pod", apiVersion: "v1", name: podName, uid: metadata.uid };
    const request = {
      apiVersion: "authentication.k8s.io/v1",
      kind: "TokenRequest",
      spec: { audiences: [audience], boundObjectRef },
    };
    const file = join(folder, "token-request.json");
    writeFileSync(file, JSON.stringify(request));
    const path = `/api/v1/namespaces/shop/serviceaccounts/${account}/token`;
    return JSON.parse(await kubectl.run("create", "--raw", path, "--filename", file)).status.token;
  };
  const vouch = async (...tokens: string[]): Promise<string[]> => {
    const words = [join(folder, "weft.kubeconfig"), "shop", "agent", ...tokens];
    return (await control.run(process.execPath, join(import.meta.dirname, "vouch.ts"), ...words)).trim().split("\n");
  };
  const token = await tokenOf("agent", "agent", "weft");
  const answers = await vouch(
    ...[token, "no.to.ken", await tokenOf("agent", "agent", "https://kubernetes.default.svc")],
    await tokenOf("default", "other", "weft"),
  );
  const unknown = /does not know the token/;
  const expected = [/^n1\.example\.org$/, unknown, unknown, /it is a token of system:serviceaccount:shop:default/];
  for (const [index, answer] of answers.entries()) assert.match(answer, expected[index] ?? /never/);
  assert.equal(answers.length, expected.length);
  const { data } = await kubectl.json("configmap", "weft-server", "--namespace=shop");
  assert.deepEqual(data, { fingerprint: "somebody" });
  await kubectl.delete("pod", "agent", "other", "--namespace=shop", "--force", "--grace-period=0");
  // The API server remembers for some seconds whose a token was; the pod is looked at, too.
  assert.match((await vouch(token)).join(), /does not know the token|is gone/);
});

test("a node that is deleted takes weft's with it, with all that it had; others stay", async () => {
  const joinAs = async (name: string, vtepIpv4: string): Promise<void> => {
    const url = `https://${server.address}`;
    const credentials = await joinServer({ url, token: (await admin.createToken({})).token, node: name });
    const connection = connectNode({ url, credentials });
    await connection.client.register({ vtepIpv4, underlayMtu: 1500 });
    connection.close();
  };
  const nodesAtWeft = async (): Promise<string[]> =>
    (await admin.list({ kind: "node" })).resources.map(({ resource }) =>
      resource.case === "node" ? resource.value.name : "",
    );
  await joinAs("n2", "192.0.2.2");
  await joinAs("n1.example.org", "192.0.2.1");
  await joinAs("vm-host", "192.0.2.3");
  assert.deepEqual(await nodesAtWeft(), ["n1.example.org", "n2", "vm-host"]);
  assert.deepEqual(await declared(), ["n1.example.org", "n2 10.244.2.0/24"]);
  const marked = async (): Promise<string[]> =>
    (await admin.list({ kind: "node" })).nodeSettings
      .filter(({ labels }) => "kubernetes/node" in labels)
      .map(({ name }) => name);
  // As kubelets do all the time.
  await kubectl.run("annotate", "node", "n2", "example.org/alive=1");
  await eventually(async () => assert.deepEqual(await marked(), ["n1.example.org", "n2"]));
  await kubectl.delete("node", "n2");
  await eventually(async () => assert.deepEqual(await nodesAtWeft(), ["n1.example.org", "vm-host"]));
  assert.deepEqual(await declared(), ["n1.example.org"]);
  await controller.end();
});
