/** What kube-proxy and kubelet do with pods that weft gives their network: services, ports, probes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { theWholeFile, until } from "../support/cluster.ts";
import { KubernetesCluster } from "./cluster.ts";
import type { Manifest } from "./kubectl.ts";
import type { Machine } from "./machine.ts";
import { fetchFrom, readyPods, webPod } from "./pods.ts";
import { WeftNetwork } from "./weft.ts";

const cluster = await KubernetesCluster.up(theWholeFile());
const { kubectl, control, nodes } = cluster;
const [one, two] = nodes.map(({ machine }) => machine) as [Machine, Machine];

/** What a web server says to a machine. */
function fetchOn(machine: Machine, url: string): Promise<string> {
  return machine.run("curl", "--silent", "--show-error", "--max-time", "5", url).then((answer) => answer.trim());
}

/** Asks until each of `names` has answered; throws when others do, or nobody. */
async function answeredBy(ask: () => Promise<string>, ...names: readonly string[]): Promise<void> {
  const seen = new Set<string>();
  await until(async () => {
    seen.add(await ask());
    assert.deepEqual([...seen].sort(), [...names].sort());
  });
}

/** Fails when the pod cannot open a TCP connection there. */
async function connects(pod: string, address: string, port: number): Promise<void> {
  await kubectl.exec(pod, "sh", "-c", `timeout 5 nc -w 3 ${address} ${port} </dev/null`);
}

function service(name: string, selector: Manifest, spec: Manifest): Manifest {
  return { apiVersion: "v1", kind: "Service", metadata: { name }, spec: { selector, ...spec } };
}

test("without a network nodes are not ready, with weft they are", async () => {
  for (const { status } of await kubectl.list("nodes")) {
    const ready = status.conditions.find(({ type }: Manifest) => type === "Ready");
    assert.equal(ready.status, "False");
    assert.match(ready.message, /network/);
  }
  await WeftNetwork.up(cluster);
});

test("a node without pods of its own leads to those of others", async () => {
  const ports = [{ port: 80, nodePort: 30082 }];
  await kubectl.apply(
    webPod({ name: "lonely", node: "n1", labels: { app: "lonely" } }),
    service("lonely", { app: "lonely" }, { type: "NodePort", ports }),
  );
  const [{ status }] = (await readyPods(kubectl, "app=lonely", 1)) as [Manifest];
  await until(async () => assert.equal(await fetchOn(two, `http://${status.podIP}/`), "lonely"));
  await until(async () => assert.equal(await fetchOn(control, `http://${two.address}:30082/`), "lonely"));
  await kubectl.delete("pod/lonely", "service/lonely");
});

let pods: Manifest[] = [];

test("pods talk under their own addresses, on one node and on two", async () => {
  const labels = { app: "web" };
  await kubectl.apply(
    webPod({ name: "a", node: "n1", labels }),
    webPod({ name: "b", node: "n1", labels }),
    webPod({ name: "c", node: "n2", labels }),
  );
  pods = await readyPods(kubectl, "app=web", 3);
  for (const from of pods)
    for (const to of pods)
      assert.equal(await fetchFrom(kubectl, from.metadata.name, to.status.podIP), to.metadata.name);
});

test("nodes reach pods on all nodes, and pods the nodes and the API server", async () => {
  for (const { metadata, status } of pods) {
    for (const machine of [one, two])
      assert.equal(await fetchOn(machine, `http://${status.podIP}/`), metadata.name, machine.name);
    await connects(metadata.name, control.address, 6443);
    await connects(metadata.name, "10.96.0.1", 443);
    for (const machine of [one, two]) await connects(metadata.name, machine.address, 10250);
  }
});

test("a service leads pods, itself among them, and nodes to its pods", async () => {
  await kubectl.apply(service("web", { app: "web" }, { clusterIP: "10.96.0.80", ports: [{ port: 80 }] }));
  for (const { metadata } of pods)
    await answeredBy(() => fetchFrom(kubectl, metadata.name, "10.96.0.80"), "a", "b", "c");
  for (const machine of [one, two]) await answeredBy(() => fetchOn(machine, "http://10.96.0.80/"), "a", "b", "c");
});

test("a node port of each node leads there from outside, and from pods", async () => {
  const ports = [{ port: 80, nodePort: 30080 }];
  await kubectl.apply(service("ports", { app: "web" }, { type: "NodePort", ports }));
  for (const { address } of [one, two])
    await answeredBy(() => fetchOn(control, `http://${address}:30080/`), "a", "b", "c");
  for (const { address } of [one, two]) await answeredBy(() => fetchFrom(kubectl, "a", address, 30_080), "a", "b", "c");
});

test("with externalTrafficPolicy Local a node port leads to pods of the node alone, which see who asks", async () => {
  await kubectl.apply(
    webPod({ name: "sees", node: "n2", labels: { app: "sees" }, fields: { command: tellsWhoAsks } }),
    service(
      "local",
      { app: "sees" },
      {
        type: "NodePort",
        externalTrafficPolicy: "Local",
        ports: [{ port: 80, nodePort: 30081 }],
      },
    ),
  );
  await readyPods(kubectl, "app=sees", 1);
  await answeredBy(() => fetchOn(control, `http://${two.address}:30081/cgi-bin/who`), control.address);
  await assert.rejects(fetchOn(control, `http://${one.address}:30081/cgi-bin/who`));
});

const tellsWhoAsks = [
  "sh",
  "-c",
  `mkdir -p /www/cgi-bin; printf '#!/bin/sh\\necho; echo $REMOTE_ADDR | tr -d [:f]\\n' >/www/cgi-bin/who; chmod +x /www/cgi-bin/who
   exec httpd -f -p 80 -h /www`,
];

test("pods see each other by their addresses, also by a service", async () => {
  const [a] = pods as [Manifest];
  const { status } = await kubectl.json("pod", "sees");
  assert.equal(await fetchFrom(kubectl, "a", status.podIP, 80, "/cgi-bin/who"), a.status.podIP);
  const { spec } = await kubectl.json("service", "local");
  assert.equal(await fetchFrom(kubectl, "a", spec.clusterIP, 80, "/cgi-bin/who"), a.status.podIP);
});

test("a host port leads from outside to the pod, and only on its node", async () => {
  const ports = [{ containerPort: 80, hostPort: 8080 }];
  await kubectl.apply(webPod({ name: "host-port", node: "n1", labels: { app: "host-port" }, fields: { ports } }));
  await readyPods(kubectl, "app=host-port", 1);
  assert.equal(await fetchOn(control, `http://${one.address}:8080/`), "host-port");
  assert.equal(await fetchOn(two, `http://${one.address}:8080/`), "host-port");
  assert.equal(await fetchFrom(kubectl, "c", one.address, 8080), "host-port");
  await assert.rejects(fetchOn(control, `http://${two.address}:8080/`));
});

test("a pod on the host's network and other pods reach each other", async () => {
  const pod = webPod({ name: "on-host", node: "n2", labels: { app: "on-host" } });
  pod.spec.hostNetwork = true;
  pod.spec.containers[0].command = ["sh", "-c", "echo on-host >/www/index.html; exec httpd -f -p 8081 -h /www"];
  await kubectl.apply(pod);
  await readyPods(kubectl, "app=on-host", 1);
  for (const { metadata, status } of pods) {
    assert.equal(await fetchFrom(kubectl, metadata.name, two.address, 8081), "on-host");
    assert.equal(await fetchFrom(kubectl, "on-host", status.podIP), metadata.name);
  }
});

test("probes by HTTP, TCP and command find out whether a pod is ready, and restart one that hangs", async () => {
  const probe = { periodSeconds: 1, failureThreshold: 2 };
  await kubectl.apply(
    webPod({
      name: "probed",
      node: "n1",
      labels: { app: "probed" },
      fields: {
        command: ["sh", "-c", "nc -ll -p 7 -e cat & touch /www/started; exec httpd -f -p 80 -h /www"],
        readinessProbe: { ...probe, httpGet: { path: "/ready", port: 80 } },
        livenessProbe: { ...probe, tcpSocket: { port: 7 } },
        startupProbe: { ...probe, exec: { command: ["test", "-e", "/www/started"] } },
      },
    }),
  );
  const isReady = async (): Promise<boolean> => {
    const { status } = await kubectl.json("pod", "probed");
    return status.containerStatuses?.[0]?.ready === true;
  };
  await until(async () =>
    assert.equal((await kubectl.json("pod", "probed")).status.containerStatuses[0].started, true),
  );
  assert.equal(await isReady(), false);
  await kubectl.exec("probed", "touch", "/www/ready");
  await until(async () => assert.ok(await isReady()));
  await kubectl.exec("probed", "rm", "/www/ready");
  await until(async () => assert.ok(!(await isReady())));
  await kubectl.exec("probed", "sh", "-c", "kill $(pidof nc)");
  await until(async () => {
    const { status } = await kubectl.json("pod", "probed");
    assert.ok(status.containerStatuses[0].restartCount > 0);
  });
});
