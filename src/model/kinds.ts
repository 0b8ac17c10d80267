import type { Result } from "../base/result.ts";
import type { FieldProblem } from "./problem.ts";
import type { Endpoint, Network, Node, Tenant } from "./resources.ts";
import { type NetworkDraft, parseNetworkDraft, parseTenant } from "./schema.ts";

/** What operators declare, by kind. */
export interface Drafts {
  readonly tenant: Tenant;
  readonly network: NetworkDraft;
}
/** All that there is, by kind. */
export interface Resources {
  readonly tenant: Tenant;
  readonly network: Network;
  readonly node: Node;
  readonly endpoint: Endpoint;
}
export type DeclaredKind = keyof Drafts;
export type ResourceKind = keyof Resources;

/** How declarations are read. The order is that in which they come into being: each kind may rest on those before it. */
export const declarable: { readonly [Kind in DeclaredKind]: (input: unknown) => Result<Drafts[Kind], FieldProblem[]> } =
  {
    tenant: parseTenant,
    network: parseNetworkDraft,
  };
/** How the other kinds come into being. */
export const undeclarable: Readonly<Record<Exclude<ResourceKind, DeclaredKind>, string>> = {
  node: "a node comes into being when its agent joins",
  endpoint: "an endpoint comes into being when it is attached on its node",
};

/** All kinds, in the order in which they come into being. */
export const resourceKinds = [...Object.keys(declarable), ...Object.keys(undeclarable)] as readonly ResourceKind[];

export function isDeclared(kind: unknown): kind is DeclaredKind {
  return typeof kind === "string" && Object.hasOwn(declarable, kind);
}
