/** NetworkPolicies, networks and addresses that Kubernetes asks weft for, in a cluster whose pods talk. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { theWholeFile, until } from "../support/cluster.ts";
import { KubernetesCluster } from "./cluster.ts";
import type { Manifest } from "./kubectl.ts";
import { fetchFrom, readyPods, webContainer, webPod } from "./pods.ts";
import { WeftNetwork } from "./weft.ts";

const cluster = await KubernetesCluster.up(theWholeFile());
const { kubectl } = cluster;
// The last test needs it, for networks with a namespace of their own.
const weft = await WeftNetwork.up(cluster, { patches: ["layer-2.yaml"] });

const policy = (name: string, spec: Manifest): Manifest => ({
  apiVersion: "networking.k8s.io/v1",
  kind: "NetworkPolicy",
  metadata: { name },
  spec,
});
const only = (name: string): Manifest => ({ podSelector: { matchLabels: { name } } });
const pod = (name: string, node: string, fields: Manifest = {}): Manifest =>
  webPod({ name, node, labels: { app: "web", name }, fields });
const service = (name: string): Manifest => ({
  apiVersion: "v1",
  kind: "Service",
  metadata: { name },
  spec: { selector: { name }, ports: [{ port: 8080, targetPort: "http" }] },
});

const addresses = new Map<string, string>();
const named = { ports: [{ name: "http", containerPort: 80 }] };

/** Who of these reaches whom, by pod addresses or under a service's: `a > b`. */
async function reaches(from: string, to: string, by: "pod" | "service" = "pod"): Promise<boolean> {
  const address = addresses.get(by === "pod" ? to : `service ${to}`) ?? assert.fail(`${to} has no address`);
  return fetchFrom(kubectl, from, address, by === "pod" ? 80 : 8080).then(
    (answer) => answer === to,
    () => false,
  );
}

/** Waits until it is so: policies reach nodes a moment after kubectl has said that they are there. */
async function becomes(expected: Readonly<Record<string, boolean>>, by: "pod" | "service" = "pod"): Promise<void> {
  await until(async () => {
    for (const [pair, isReached] of Object.entries(expected)) {
      const [from = "", to = ""] = pair.split(" > ");
      assert.equal(await reaches(from, to, by), isReached, `${pair} by ${by}`);
    }
  });
}

test("pods and services answer before there is any policy", async () => {
  const probe = { readinessProbe: { httpGet: { port: 80, path: "/" }, periodSeconds: 1, failureThreshold: 1 } };
  await kubectl.apply(
    pod("a", "n1", { ...named, ...probe }),
    pod("b", "n1", named),
    pod("c", "n2", named),
    service("a"),
    service("c"),
  );
  for (const { metadata, status } of await readyPods(kubectl, "app=web", 3)) addresses.set(metadata.name, status.podIP);
  for (const { metadata, spec } of await kubectl.list("services"))
    addresses.set(`service ${metadata.name}`, spec.clusterIP);
  await becomes({ "b > a": true, "c > a": true, "a > c": true });
  await becomes({ "b > a": true, "b > c": true }, "service");
});

test("who is isolated is reached by those who are allowed, on its node and others, and by its node's probes", async () => {
  await kubectl.apply(policy("for-a", { ...only("a"), ingress: [{ from: [only("c")], ports: [{ port: "http" }] }] }));
  await becomes({ "b > a": false, "c > a": true, "a > b": true });
  await becomes({ "b > a": false, "c > a": true }, "service");
  // Labels that change are followed, and a probe that did not pass would have told by now.
  await kubectl.run("label", "pod", "b", "name=c", "--overwrite");
  await becomes({ "b > a": true });
  await kubectl.run("label", "pod", "b", "name=b", "--overwrite");
  await becomes({ "b > a": false });
  assert.equal((await readyPods(kubectl, "name=a", 1)).length, 1);
  await kubectl.delete("networkpolicy", "for-a");
  await becomes({ "b > a": true });
});

test("what leaves a pod under a service's address is allowed where its backends are", async () => {
  await kubectl.apply(
    policy("from-b", { ...only("b"), policyTypes: ["Egress"], egress: [{ to: [only("c")], ports: [{ port: 80 }] }] }),
  );
  await becomes({ "b > a": false, "b > c": true });
  await becomes({ "b > a": false, "b > c": true }, "service");
  await kubectl.delete("networkpolicy", "from-b");
  await becomes({ "b > a": true }, "service");
});

test("a pod is isolated from its first moment on", async () => {
  await kubectl.apply(policy("none", { podSelector: {}, policyTypes: ["Egress"] }));
  await becomes({ "b > a": false });
  const first = `printf 'GET / HTTP/1.0\\r\\n\\r\\n' | timeout 5 nc -w 3 ${addresses.get("a")} 80 >/www/first`;
  const command = ["sh", "-c", `${first}; hostname >/www/index.html; exec httpd -f -p 80 -h /www`];
  await kubectl.apply(pod("d", "n2", { command }));
  await readyPods(kubectl, "name=d", 1);
  await until(async () => assert.equal(await kubectl.exec("d", "cat", "/www/index.html"), "d\n"));
  assert.equal(await kubectl.exec("d", "cat", "/www/first"), "");
  await kubectl.delete("networkpolicy", "none");
  await becomes({ "b > a": true });
});

test("the pods of a StatefulSet have the addresses that it lists, on whichever node, and keep them while agents start again", async () => {
  // Addresses stay where pods go in layer-2 networks alone, which have a namespace of their own.
  const network = {
    name: "fixed",
    tenant: "databases",
    subnets: ["10.9.0.0/24"],
    gateways: ["10.9.0.1"],
    hostAccess: true,
  };
  await weft.admin.apply({
    resources: [
      { resource: { case: "tenant", value: { name: "databases" } } },
      { resource: { case: "network", value: network } },
    ],
  });
  await kubectl.apply({
    apiVersion: "v1",
    kind: "Namespace",
    metadata: { name: "db", annotations: { "weft.dev/networks": "fixed" } },
  });
  const labels = { set: "db" };
  const set = (nodeName: string): Manifest => ({
    apiVersion: "apps/v1",
    kind: "StatefulSet",
    metadata: { name: "db", namespace: "db" },
    spec: {
      serviceName: "db",
      replicas: 2,
      podManagementPolicy: "Parallel",
      selector: { matchLabels: labels },
      template: {
        metadata: { labels, annotations: { "weft.dev/addresses": "10.9.0.20;10.9.0.21" } },
        spec: {
          terminationGracePeriodSeconds: 1,
          nodeSelector: { "kubernetes.io/hostname": nodeName },
          containers: [webContainer()],
        },
      },
    },
  });
  const placed = async (node: string): Promise<void> => {
    await until(async () => {
      const pods = await kubectl.list("pods", "--namespace=db");
      assert.deepEqual(
        pods.map(({ metadata, spec, status }) => [metadata.name, spec.nodeName, status.podIP, status.phase]).sort(),
        [
          ["db-0", node, "10.9.0.20", "Running"],
          ["db-1", node, "10.9.0.21", "Running"],
        ],
        pods.map(({ status }) => JSON.stringify(status)).join("\n"),
      );
    });
  };
  await kubectl.apply(set("n1"));
  await placed("n1");
  await kubectl.apply(set("n2"));
  await placed("n2");
  const answers = async (): Promise<void> => {
    const ask = "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | timeout 5 nc -w 3 10.9.0.21 80";
    assert.match(await kubectl.run("--namespace=db", "exec", "db-0", "--", "sh", "-c", ask), /^db-1$/m);
  };
  await answers();
  await kubectl.run("--namespace=weft", "rollout", "restart", "daemonset/weft-agent");
  await kubectl.run("--namespace=weft", "rollout", "status", "daemonset/weft-agent", "--timeout=180s");
  await answers();
  // It is as it was, and goes on to be the agent's.
  const { metadata } = await kubectl.json("pod", "db-1", "--namespace=db");
  await kubectl.delete("pod", "db-1", "--namespace=db");
  await until(async () =>
    assert.notEqual((await kubectl.json("pod", "db-1", "--namespace=db")).metadata.uid, metadata.uid),
  );
  await placed("n2");
  await until(answers);
});
