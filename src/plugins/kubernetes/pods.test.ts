import assert from "node:assert/strict";
import { describe, it, test } from "node:test";
import { unwrap } from "../../base/result.ts";
import { namespaceSchema, type Pod, podSchema } from "./objects.ts";
import { isAttached, podDraft } from "./pods.ts";

const shop = namespaceSchema.parse({
  metadata: { name: "shop", uid: "n", labels: { team: "a" }, annotations: { "weft.dev/networks": "front, back,back" } },
});
const pod = (metadata: object = {}, spec: object = {}, status: object = {}): Pod =>
  podSchema.parse({
    metadata: { name: "web-2", namespace: "shop", uid: "u1", ...metadata },
    spec: { nodeName: "h1", containers: [], ...spec },
    status,
  });
const annotated = (annotations: object, metadata: object = {}): Pod => pod({ annotations, ...metadata });
const ofSet = { ownerReferences: [{ kind: "StatefulSet", name: "web" }] };

test("a pod is told to its node with labels that nobody can give it, and in the networks of its namespace", () => {
  const labelled = pod(
    { labels: { app: "web", "kubernetes/pod": "forged" } },
    {
      containers: [
        { ports: [{ name: "http", containerPort: 80 }, { containerPort: 81 }] },
        { ports: [{ name: "http", containerPort: 82 }] },
      ],
      initContainers: [
        { ports: [{ name: "once", containerPort: 83 }] },
        { restartPolicy: "Always", ports: [{ name: "dns", containerPort: 53, protocol: "UDP" }] },
      ],
    },
  );
  assert.deepEqual(unwrap(podDraft(labelled, shop, "pods")), {
    name: "u1",
    node: "h1",
    title: "shop/web-2",
    networks: ["front", "back"],
    ips: [],
    labels: {
      app: "web",
      "kubernetes/pod": "forged",
      "kubernetes/namespace/team": "a",
      "kubernetes/pod/name": "web-2",
      "kubernetes/pod/namespace": "shop",
      "kubernetes/port/tcp/http": "80",
      "kubernetes/port/udp/dns": "53",
    },
    managedBy: "kubernetes",
  });
  assert.deepEqual(unwrap(podDraft(pod(), undefined, "pods")).networks, ["pods"]);
});

test("of a pod from a file of its node, what its runtime calls it is not the UID of its image", () => {
  const mirrored = annotated({ "kubernetes.io/config.mirror": "h", "kubernetes.io/config.hash": "0123abcd" });
  assert.equal(unwrap(podDraft(mirrored, shop, "pods")).name, "0123abcd");
  assert.equal(unwrap(podDraft(annotated({ "kubernetes.io/config.hash": "forged" }), shop, "pods")).name, "u1");
});

test("weft has to do with pods that are on a node, live, and have a network of their own", () => {
  assert.ok(isAttached(pod()));
  assert.ok(isAttached(pod({}, {}, { phase: "Running" })));
  assert.ok(!isAttached(pod({}, { nodeName: "" })));
  assert.ok(!isAttached(pod({}, { hostNetwork: true })));
  assert.ok(!isAttached(pod({}, {}, { phase: "Succeeded" })));
  assert.ok(!isAttached(pod({}, {}, { phase: "Failed" })));
});

describe("annotations say", () => {
  const addresses = "weft.dev/addresses";
  const given: [what: string, of: Pod, expected: object][] = [
    ["the network", annotated({ "weft.dev/network": "back" }), { networks: ["back", "front"] }],
    ["the MAC address", annotated({ "weft.dev/mac": "02:00:00:00:00:01" }), { mac: "02:00:00:00:00:01" }],
    ["the addresses", annotated({ [addresses]: "10.1.0.5, fd01::5" }), { ips: ["10.1.0.5", "fd01::5"] }],
    [
      "those of each pod of a StatefulSet",
      annotated({ [addresses]: "10.1.0.5;10.1.0.6;10.1.0.7,fd01::7" }, ofSet),
      { ips: ["10.1.0.7", "fd01::7"] },
    ],
  ];
  for (const [what, of, expected] of given)
    it(what, () => {
      const { labels: _, managedBy: __, ...draft } = unwrap(podDraft(of, shop, "pods"));
      assert.deepEqual(draft, {
        ...{ name: "u1", node: "h1", title: "shop/web-2", networks: ["front", "back"], ips: [] },
        ...expected,
      });
    });

  const refused: [what: string, of: Pod, reason: RegExp][] = [
    [
      "no network that the namespace does not",
      annotated({ "weft.dev/network": "pods" }),
      /weft\.dev\/network: found "pods"; allowed: front, back, as annotation weft\.dev\/networks of namespace shop says/,
    ],
    ["no MAC address that is none", annotated({ "weft.dev/mac": "x" }), /weft\.dev\/mac: found "x"; allowed: a MAC/],
    ["no multicast MAC address", annotated({ "weft.dev/mac": "01:00:00:00:00:01" }), /mac: found "01/],
    [
      "no addresses that are none",
      annotated({ [addresses]: "10.1.0" }),
      /weft\.dev\/addresses: found "10\.1\.0"; allowed: IP addresses/,
    ],
    ["no addresses that are empty", annotated({ [addresses]: "" }), /found ""/],
    ["no lists for a pod that is in no set", annotated({ [addresses]: "10.1.0.5;10.1.0.6;10.1.0.7" }), /found "10/],
    ["not less than there are pods", annotated({ [addresses]: "10.1.0.5;10.1.0.6" }, ofSet), /found "10/],
    ["no labels that weft cannot keep", pod({ labels: { a: "b c" } }), /labels/],
  ];
  for (const [what, of, reason] of refused)
    it(what, () => assert.match(unwrap(podDraft(of, shop, "pods")).refusal ?? "", reason));
});
