import type { BehindNode, NetworkReadiness } from "../api/generated/weft/v1/readiness_pb.js";
import { instant } from "./output.ts";

/** How far the nodes are with a network, for programs. */
export function readinessFields(readiness: NetworkReadiness | undefined) {
  if (readiness === undefined) return undefined;
  const { nodes, inPlace, change, failingNodes, leftBehind } = readiness;
  return {
    nodes,
    inPlace,
    behind: readiness.behind.map(nodeFields),
    failingNodes,
    failing: readiness.failing.map(nodeFields),
    ...(leftBehind.length === 0 ? {} : { leftBehind }),
    ...(change === undefined
      ? {}
      : {
          change: {
            phase: change.phase,
            since: instant(change.since),
            previous: change.previous.map(({ encapsulation, port, crossSubnet }) => ({
              encapsulation,
              port,
              crossSubnet,
            })),
            leftBehind: change.leftBehind,
          },
        }),
  };
}

type Fields = NonNullable<ReturnType<typeof readinessFields>>;

/** The same for people: labels and what stands beside them. */
export function readinessLines(
  fields: Fields | undefined,
): [label: string, text: string | readonly string[] | undefined][] {
  if (fields === undefined) return [];
  const { nodes, inPlace, behind, failing, failingNodes, change } = fields;
  const left = (change ?? fields).leftBehind ?? [];
  return [
    ["in place", nodes === 0 ? "no node hosts it" : `on ${inPlace} of ${nodes} nodes`],
    ["behind", named(behind, nodes - inPlace)],
    ["problems", named(failing, failingNodes)],
    ["changing", change && `${phases[change.phase] ?? change.phase}, since ${change.since}`],
    ["left behind", left.length === 0 ? undefined : left],
  ];
}

const phases: Readonly<Record<string, string>> = {
  receive: "receives on the new way, too",
  send: "sends on the new way, receives on all",
};

function nodeFields({ node, connected, since, reason }: BehindNode) {
  return { node, connected, since: instant(since), reason };
}

function named(nodes: Fields["behind"], count: number): readonly string[] | undefined {
  if (nodes.length === 0) return undefined;
  const lines = nodes.map(({ node, since, reason }) => `${node} since ${since}: ${reason}`);
  return count > nodes.length ? [...lines, `and ${count - nodes.length} more`] : lines;
}
