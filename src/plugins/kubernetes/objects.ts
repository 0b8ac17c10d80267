import { z } from "zod";

/**
 * What weft reads of Kubernetes' objects, as its API says them; all else is left out. What the API server has filled in or refuses
 * is not checked again.
 */
const texts = z.array(z.string());
const textMap = z.record(z.string(), z.string());

const metadata = z.object({
  name: z.string(),
  namespace: z.string().default(""),
  uid: z.string(),
  labels: textMap.default({}),
  annotations: textMap.default({}),
  ownerReferences: z.array(z.object({ kind: z.string(), name: z.string() })).default([]),
});

/** Both must hold, and of each all. Without any it is everything. */
const labelSelector = z.object({
  matchLabels: textMap.default({}),
  matchExpressions: z
    .array(
      z.object({
        key: z.string(),
        operator: z.enum(["In", "NotIn", "Exists", "DoesNotExist"]),
        values: texts.nullish().transform((values) => values ?? []),
      }),
    )
    .default([]),
});
export type LabelSelector = z.infer<typeof labelSelector>;

const protocol = z.enum(["TCP", "UDP", "SCTP"]).default("TCP");
export type Protocol = z.infer<typeof protocol>;
const portOrName = z.union([z.number(), z.string()]);

export const namespaceSchema = z.object({ metadata });
export type Namespace = z.infer<typeof namespaceSchema>;

const containers = z
  .array(
    z.object({
      restartPolicy: z.string().optional(),
      ports: z.array(z.object({ name: z.string().optional(), containerPort: z.number(), protocol })).default([]),
    }),
  )
  .default([]);
export const podSchema = z.object({
  metadata,
  spec: z.object({
    nodeName: z.string().default(""),
    hostNetwork: z.boolean().default(false),
    containers,
    initContainers: containers,
  }),
  status: z
    .object({ phase: z.string().default(""), podIPs: z.array(z.object({ ip: z.string() })).default([]) })
    .default({
      phase: "",
      podIPs: [],
    }),
});
export type Pod = z.infer<typeof podSchema>;

const peers = z
  .array(
    z.object({
      podSelector: labelSelector.nullish(),
      namespaceSelector: labelSelector.nullish(),
      ipBlock: z.object({ cidr: z.string(), except: texts.default([]) }).nullish(),
    }),
  )
  .nullish()
  .transform((list) => list ?? []);
const ports = z
  .array(z.object({ protocol, port: portOrName.optional(), endPort: z.number().optional() }))
  .nullish()
  .transform((list) => list ?? []);
export const networkPolicySchema = z.object({
  metadata,
  spec: z.object({
    podSelector: labelSelector,
    policyTypes: z.array(z.enum(["Ingress", "Egress"])).default([]),
    ingress: z.array(z.object({ from: peers, ports })).default([]),
    egress: z.array(z.object({ to: peers, ports })).default([]),
  }),
});
export type NetworkPolicy = z.infer<typeof networkPolicySchema>;
export type PolicyPeer = z.infer<typeof peers>[number];
export type PolicyPort = z.infer<typeof ports>[number];

export const serviceSchema = z.object({
  metadata,
  spec: z.object({
    clusterIP: z.string().default(""),
    clusterIPs: texts.default([]),
    selector: textMap.default({}),
    ports: z.array(z.object({ port: z.number(), protocol, targetPort: portOrName.optional() })).default([]),
  }),
});
export type Service = z.infer<typeof serviceSchema>;

export const nodeSchema = z.object({
  metadata,
  spec: z
    .object({ podCIDR: z.string().default(""), podCIDRs: texts.default([]) })
    .default({ podCIDR: "", podCIDRs: [] }),
});
export type Node = z.infer<typeof nodeSchema>;

/** Whether it will never run again. */
export function hasEnded({ status: { phase } }: Pod): boolean {
  return phase === "Succeeded" || phase === "Failed";
}
