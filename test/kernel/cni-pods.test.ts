/** Pods of Kubernetes' by CNI: an agent that is told of them by the server, and runtimes that name them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createNetworks, inLab, testLab, theWholeFile, until } from "../support/cluster.ts";
import { type CallOptions, Runtime } from "../support/cni.ts";
import { fileRequires } from "../support/kernel.ts";

await fileRequires("quick processes");
process.env.WEFT_KUBERNETES = "1";
const lab = await testLab(theWholeFile(), { hosts: 1 });
await createNetworks(lab, [
  { name: "front", subnets: ["10.1.0.0/16"], vni: 100 },
  { name: "back", subnets: ["10.2.0.0/16"], vni: 200 },
  { name: "routed", mode: "l3", subnets: ["10.3.0.0/16"], vni: 300 },
]);
const runtime = new Runtime(lab, "h1");
for (const name of ["a", "b"]) lab.addContainer(name);

/** That of a cluster: it names no network. */
const configuration = runtime.configuration({ network: undefined });
const callOf = (pod: string, options: CallOptions = {}): CallOptions => ({
  ...options,
  args: `IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;K8S_POD_UID=${pod};K8S_POD_INFRA_CONTAINER_ID=x`,
});

interface PodFields {
  readonly networks?: string[];
  readonly ips?: string[];
  readonly mac?: string;
  readonly labels?: Record<string, string>;
  readonly refusal?: string;
}
async function tell(name: string, fields: PodFields = {}): Promise<void> {
  const value = {
    name,
    node: "h1",
    title: "shop/web",
    networks: ["front", "back"],
    managedBy: "kubernetes",
    ...fields,
  };
  await lab.admin.apply({ resources: [{ resource: { case: "pod", value } }] });
}

async function endpoints() {
  const { resources } = await lab.admin.list({ kind: "endpoint" });
  return resources.flatMap(({ resource }) => (resource.case === "endpoint" ? [resource.value] : []));
}

async function release(pod: string): Promise<void> {
  for (const container of ["a", "b"])
    for (const name of ["eth0", "net1"])
      await runtime.must("DEL", configuration, callOf(pod, { container, interface: name }));
  await lab.admin.delete({ resources: [{ kind: "pod", name: pod }] });
  await until(async () => assert.deepEqual(await endpoints(), []));
}

test("ADD waits until weft is told of the pod, and gives it what was told", async () => {
  const added = runtime.must("ADD", configuration, callOf("u1"));
  await tell("u1", {
    ips: ["10.1.7.7"],
    mac: "02:00:00:00:07:07",
    labels: { app: "web", "kubernetes/pod/namespace": "shop" },
  });
  const { ips, interfaces } = await added;
  assert.deepEqual([ips[0].address, interfaces[1].mac], ["10.1.7.7/16", "02:00:00:00:07:07"]);
  const [endpoint] = await endpoints();
  assert.deepEqual(
    [endpoint?.network, endpoint?.labels],
    ["front", { app: "web", "kubernetes/pod/namespace": "shop" }],
  );
  await runtime.must("CHECK", { ...configuration, prevResult: { ips, interfaces } }, callOf("u1"));

  // Others are for what the runtime names them, in networks that the pod may be in.
  await runtime.must("ADD", runtime.configuration({ network: "back" }), callOf("u1", { interface: "net1" }));
  assert.deepEqual((await endpoints()).map(({ network }) => network).sort(), ["back", "front"]);
  const strange = runtime.configuration({ network: "routed" });
  const refusal = await runtime.fails(7, "ADD", strange, callOf("u1", { container: "b" }));
  assert.match(refusal, /network: found "routed"; allowed: front, back, which are those of pod shop\/web/);
  assert.match(await inLab(lab, "a", "ip", "-o", "link"), /eth0.*net1/s);
  await release("u1");
});

test("labels that the pod gets later are those of its endpoints, also after the agent was away", async () => {
  await tell("u2", { labels: { app: "web" } });
  await runtime.must("ADD", configuration, callOf("u2"));
  const areLabels = (labels: object) =>
    until(async () =>
      assert.deepEqual(
        (await endpoints()).map((each) => each.labels),
        [labels],
      ),
    );
  await areLabels({ app: "web" });
  await tell("u2", { labels: { app: "db", tier: "" } });
  await areLabels({ app: "db", tier: "" });
  await lab.stop("h1");
  await tell("u2", { labels: { tier: "x" } });
  await lab.startAgent("h1");
  await areLabels({ tier: "x" });
  await release("u2");
});

test("what is not as it must be is told to the runtime, and DEL asks for nothing", async () => {
  await tell("u3", { refusal: 'annotation weft.dev/mac: found "x"; allowed: a MAC address' });
  assert.match(
    await runtime.fails(7, "ADD", configuration, callOf("u3")),
    /pod shop\/web: annotation weft.dev\/mac: found "x"/,
  );
  const nameless = { ...callOf("u3"), args: "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web" };
  assert.match(await runtime.fails(4, "ADD", configuration, nameless), /the runtime does not say its UID, K8S_POD_UID/);
  await release("u3");
  // Containers that are no pods come as ever.
  await runtime.must("ADD", runtime.configuration({ network: "back" }));
  await runtime.must("DEL", runtime.configuration({ network: "back" }));
});

test("a DEL ends an ADD that waits, and a pod that nobody tells of is tried again", async () => {
  const added = runtime.fails(11, "ADD", configuration, callOf("u4"));
  // The runtime's process has asked when the agent answers a call about something else that began after it.
  await runtime.must("STATUS", configuration);
  await until(async () => {
    await runtime.must("DEL", configuration, callOf("u4"));
    assert.match(await Promise.race([added, Promise.resolve("waits")]), /it was deleted while it was being added/);
  });
});

test("while the server is away, pods that were told come, and the node stays ready", async () => {
  await tell("u5", { networks: ["routed"], labels: { app: "web" } });
  await runtime.must("ADD", configuration, callOf("u5"));
  await lab.stop("server");
  await runtime.must("ADD", configuration, callOf("u5", { container: "b" }));
  await runtime.must("STATUS", configuration);
  await lab.startServer();
  await until(async () =>
    assert.deepEqual(
      (await endpoints()).map(({ network, labels }) => [network, labels]),
      [
        ["routed", { app: "web" }],
        ["routed", { app: "web" }],
      ],
    ),
  );
  await release("u5");
});

test("a pod that is gone without a DEL leaves nothing, one whose namespace is there stays", async () => {
  lab.addContainer("gone");
  await tell("u6", { networks: ["routed"] });
  await runtime.must("ADD", configuration, callOf("u6"));
  let stays = "";
  await until(async () => {
    const [endpoint] = await endpoints();
    assert.ok(endpoint);
    stays = endpoint.id;
  });
  await runtime.must("ADD", configuration, callOf("u6", { container: "gone" }));
  await until(async () => assert.equal((await endpoints()).length, 2));
  await lab.admin.delete({ resources: [{ kind: "pod", name: "u6" }] });
  lab.removeContainer("gone");
  await until(async () => assert.equal((await endpoints()).length, 1));
  assert.deepEqual(
    (await endpoints()).map(({ id }) => id),
    [stays],
  );
  await runtime.must("DEL", configuration, callOf("u6"));
  await until(async () => assert.deepEqual(await endpoints(), []));
});
