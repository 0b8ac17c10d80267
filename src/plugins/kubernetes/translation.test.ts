import assert from "node:assert/strict";
import { test } from "node:test";
import { type Logger, silentLogger } from "../../base/logger.ts";
import { namespaceSchema, networkPolicySchema, podSchema } from "./objects.ts";
import { type Observed, Translation } from "./translation.ts";

const namespace = (annotations: object = {}, labels: object = {}) =>
  namespaceSchema.parse({ metadata: { name: "shop", uid: "n", annotations, labels } });
const pod = (name: string, containerPort = 8080) =>
  podSchema.parse({
    metadata: { name, namespace: "shop", uid: `u-${name}` },
    spec: { nodeName: "h1", containers: [{ ports: [{ name: "http", containerPort }] }] },
  });
const policy = (spec: object) =>
  networkPolicySchema.parse({
    metadata: { name: "p", namespace: "shop", uid: "p" },
    spec: { podSelector: {}, ...spec },
  });
const observed = (fields: Partial<Observed>): Observed => ({
  ...{ namespaces: new Map([["/shop", namespace()]]), pods: new Map(), policies: new Map(), services: new Map() },
  ...fields,
});
const tenants = new Map([
  ["pods", "cluster"],
  ["front", "other"],
]);
const wanted = (translation: Translation, of: Observed) => ({
  pod: translation.pods(of),
  policy: translation.policies(of, (network) => tenants.get(network)),
});

test("a pod is told of when its namespace is known, and again when that changes", () => {
  const translation = new Translation("pods", silentLogger);
  const pods = new Map([["shop/web", pod("web")]]);
  const told = (namespaces: Observed["namespaces"]) => [
    ...wanted(translation, observed({ pods, namespaces })).pod.values(),
  ];
  assert.deepEqual(told(new Map()), []);
  const first = told(new Map([["/shop", namespace()]]));
  assert.deepEqual(
    first.map(({ networks }) => networks),
    [["pods"]],
  );
  const annotated = new Map([["/shop", namespace({ "weft.dev/networks": "front" }, { team: "a" })]]);
  const [second] = told(annotated);
  assert.deepEqual([second?.networks, second?.labels?.["kubernetes/namespace/team"]], [["front"], "a"]);
  assert.equal(told(annotated)[0], second);
});

test("a policy is one of each tenant that the namespace's pods may be in, where that is known", () => {
  const policies = new Map([["shop/p", policy({})]]);
  const namespaces = new Map([["/shop", namespace({ "weft.dev/networks": "pods,front,none" })]]);
  const translation = new Translation("pods", silentLogger);
  const of = observed({ policies, namespaces });
  assert.deepEqual([...translation.networksIn(of)], ["pods", "front", "none"]);
  const made = [...wanted(translation, of).policy.values()];
  assert.deepEqual(
    made.map(({ tenant }) => tenant),
    ["cluster", "other"],
  );
  assert.equal(wanted(translation, of).policy.get(made[0]?.name ?? ""), made[0]);
});

test("one that names a port follows the numbers that pods have for it", () => {
  const policies = new Map([["shop/p", policy({ ingress: [{ ports: [{ port: "http" }] }] })]]);
  const translation = new Translation("pods", silentLogger);
  const count = (pods: Observed["pods"]) => wanted(translation, observed({ policies, pods })).policy.size;
  assert.deepEqual([count(new Map()), count(new Map([["shop/a", pod("a")]]))], [1, 2]);
  assert.equal(
    count(
      new Map([
        ["shop/a", pod("a")],
        ["shop/b", pod("b", 80)],
      ]),
    ),
    3,
  );
});

test("what cannot be said is told once", () => {
  const told: object[] = [];
  const logger: Logger = { ...silentLogger, warn: (fields) => void told.push(fields) };
  const translation = new Translation("pods", logger);
  const from = [
    {
      podSelector: {
        matchExpressions: Array.from({ length: 65 }, (_, index) => ({ key: `l${index}`, operator: "Exists" })),
      },
    },
  ];
  const policies = new Map([["shop/p", policy({ ingress: [{ from }] })]]);
  wanted(translation, observed({ policies }));
  wanted(translation, observed({ policies }));
  assert.equal(told.length, 1);
  assert.match(JSON.stringify(told), /"networkPolicy":"shop\/p".*a selector of 66 requirements is left out/);
});

test("pods that have not changed are not translated again", () => {
  const translation = new Translation("pods", silentLogger);
  const pods = new Map(Array.from({ length: 10_000 }, (_, index) => [`shop/p${index}`, pod(`p${index}`)] as const));
  const policies = new Map(
    Array.from({ length: 100 }, (_, index) => {
      const of = policy({ egress: [{ to: [{ podSelector: {} }] }] });
      return [`shop/p${index}`, { ...of, metadata: { ...of.metadata, name: `p${index}` } }] as const;
    }),
  );
  const of = observed({ pods, policies });
  const first = wanted(translation, of);
  const again = wanted(translation, of);
  assert.deepEqual([again.pod.size, again.policy.size], [10_000, 100]);
  for (const [name, draft] of again.pod) assert.equal(draft, first.pod.get(name));
});
