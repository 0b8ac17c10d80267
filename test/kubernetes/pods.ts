import assert from "node:assert/strict";
import { until } from "../support/cluster.ts";
import type { Kubectl, Manifest } from "./kubectl.ts";

export interface PodWish {
  readonly name: string;
  readonly node?: string;
  readonly labels?: Readonly<Record<string, string>>;
  /** Of the container. */
  readonly fields?: Manifest;
}

/** A pod that answers HTTP on port 80 with its name. */
export function webPod({ name, node, labels = {}, fields = {} }: PodWish): Manifest {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, labels },
    spec: {
      ...(node === undefined ? {} : { nodeName: node }),
      terminationGracePeriodSeconds: 1,
      containers: [webContainer(fields)],
    },
  };
}

export function webContainer(fields: Manifest = {}): Manifest {
  return {
    name: "web",
    image: "localhost/busybox:1",
    imagePullPolicy: "Never",
    command: ["sh", "-c", "hostname >/www/index.html; exec httpd -f -p 80 -h /www"],
    ...fields,
  };
}

/** One of such pods. `spec`: of each. */
export function deployment(name: string, replicas: number, spec: Manifest = {}): Manifest {
  return {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name },
    spec: {
      replicas,
      selector: { matchLabels: { app: name } },
      template: {
        metadata: { labels: { app: name } },
        spec: { terminationGracePeriodSeconds: 0, containers: [webContainer()], ...spec },
      },
    },
  };
}

/** Waits until so many pods with the labels are ready, as long as more of them become so. */
export async function readyPods(kubectl: Kubectl, selector: string, count: number): Promise<Manifest[]> {
  let pods: Manifest[] = [];
  await approached(count, async () => {
    pods = await kubectl.list("pods", "--selector", selector);
    return pods.filter(isReady).length;
  }).catch((error: unknown) => {
    const states = pods.map((pod) => `${pod.metadata.name}: ${JSON.stringify(pod.status)}`);
    throw new Error([`pods with ${selector}: ${(error as Error).message}`, ...states.slice(0, 5)].join("\n"));
  });
  return pods;
}

/** Waits until `count` has come to `goal`, as long as it comes nearer. */
export async function approached(goal: number, count: () => Promise<number>): Promise<void> {
  for (let distance = Number.POSITIVE_INFINITY; distance > 0; )
    await until(async () => {
      const now = await count();
      assert.ok(Math.abs(goal - now) < distance, `${now}, not ${goal}`);
      distance = Math.abs(goal - now);
    });
}

function isReady({ status }: Manifest): boolean {
  return (status.conditions ?? []).some(({ type, status: value }: Manifest) => type === "Ready" && value === "True");
}

/** What a web server says to a pod. Throws when it says nothing. */
export async function fetchFrom(
  kubectl: Kubectl,
  pod: string,
  address: string,
  port = 80,
  path = "/",
): Promise<string> {
  const script = `printf 'GET ${path} HTTP/1.0\\r\\n\\r\\n' | timeout 5 nc -w 3 ${address} ${port}`;
  const answer = await kubectl.exec(pod, "sh", "-c", script);
  return answer.trim().split("\n").at(-1) ?? "";
}
