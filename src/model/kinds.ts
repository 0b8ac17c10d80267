import { parsePolicy, policyFields } from "./policy/index.ts";
import type { Endpoint, Network, Node } from "./resources.ts";
import { parseFloatingAddress, parseNetworkDraft, parsePod, parseTenant } from "./schema.ts";

/** How what operators declare is read, in the order in which it comes into being: each kind may rest on those before it. */
export const declarable = {
  tenant: parseTenant,
  network: parseNetworkDraft,
  policy: parsePolicy,
  "floating-address": parseFloatingAddress,
  pod: parsePod,
};
/** How the other kinds come into being. */
export const undeclarable = {
  node: "a node comes into being when its agent joins",
  endpoint: "an endpoint comes into being when it is attached on its node",
};
/** All kinds, in that order. */
export const resourceKinds = [...Object.keys(declarable), ...Object.keys(undeclarable)] as readonly ResourceKind[];
/** Those that are what was declared, and no more: all of them are kept, listed, changed and deleted alike. */
export const plainKinds = Object.keys(declarable).filter((kind) => kind !== "network") as readonly PlainKind[];

export type DeclaredKind = keyof typeof declarable;
export type PlainKind = Exclude<DeclaredKind, "network">;
export type ResourceKind = DeclaredKind | keyof typeof undeclarable;

/** What is declared of each kind. */
export type Drafts = {
  readonly [Kind in DeclaredKind]: Extract<ReturnType<(typeof declarable)[Kind]>, { ok: true }>["value"];
};
/** What there is of each kind. */
export type Resources = Pick<Drafts, PlainKind> & {
  readonly network: Network;
  readonly node: Node;
  readonly endpoint: Endpoint;
};

/** As operators write it. */
export function fieldsOf<Kind extends ResourceKind>(kind: Kind, resource: Resources[Kind]): object {
  return kind === "policy" ? policyFields(resource as Resources["policy"]) : resource;
}

export function isDeclared(kind: unknown): kind is DeclaredKind {
  return typeof kind === "string" && Object.hasOwn(declarable, kind);
}
