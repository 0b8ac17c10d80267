import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import { networkChange } from "../api/convert-change.ts";
import type { NodeService } from "../api/generated/weft/v1/node_pb.js";
import type { InPlaceProgress, NetworkReadiness } from "../api/generated/weft/v1/readiness_pb.js";
import { WeftError } from "../base/errors.ts";
import type { PeerCertificate } from "./identity/node-identity.ts";
import type { Ledger } from "./ledger.ts";
import { mostBehind, type Progress, progressUntilInPlace } from "./progress.ts";
import type { Behind } from "./readiness.ts";
import type { NetworkEntry } from "./state.ts";

/** What a node may send in one request, how much of a problem's text is kept, and how many waits of one node are followed. */
const limits = { reportedNetworks: 1_000, waitedNetworks: 100, problemLength: 500, waits: 64 } as const;

type BehindInit = { [Field in keyof Behind]: Field extends "since" ? bigint : Behind[Field] };
type ProgressInit = Omit<InPlaceProgress, "$typeName" | "$unknown" | "behind"> & { readonly behind: BehindInit[] };

/** What nodes tell and ask of what is in place. */
export function readinessService(
  ledger: Ledger,
  /** Who calls, if no other agent speaks as its node. */
  writer: (context: HandlerContext, attempted: string) => PeerCertificate,
): Pick<ServiceImpl<typeof NodeService>, "reportInPlace" | "waitInPlace"> {
  const waits = new Map<string, number>();
  return {
    reportInPlace(request, context) {
      const attempted = "report what is in place";
      const peer = writer(context, attempted);
      requireFew(limits.reportedNetworks, request.networks.length, attempted);
      const reports = request.networks.map(({ network, revision, problem }) => ({
        network,
        revision: Number(revision),
        problem: problem.slice(0, limits.problemLength),
      }));
      return { pause: ledger.readiness.report(peer.name, reports) };
    },

    async *waitInPlace(request, context) {
      const attempted = "wait for what is in place";
      const peer = writer(context, attempted);
      requireFew(limits.waitedNetworks, request.networks.length, attempted);
      for (const name of request.networks)
        if (ledger.state.networks.get(name)?.hosts.has(peer.name) !== true)
          throw new WeftError({
            code: "permission-denied",
            attempted,
            reason: `node ${peer.name} does not host network ${name}`,
          });
      const under = waits.get(peer.name) ?? 0;
      waits.set(peer.name, under + 1);
      try {
        for await (const message of waitFor(ledger, request, context.signal)) {
          // What failed on other nodes is for the administrator.
          yield { ...message, behind: message.behind.map((each) => ({ ...each, reason: "" })) };
          // More than are followed hear how far it is, and ask again.
          if (under >= limits.waits) return;
        }
      } finally {
        const left = (waits.get(peer.name) ?? 1) - 1;
        if (left === 0) waits.delete(peer.name);
        else waits.set(peer.name, left);
      }
    },
  };
}

/** Progress as it crosses the API. */
export async function* waitFor(
  ledger: Ledger,
  { networks, revision }: { readonly networks: readonly string[]; readonly revision: bigint },
  signal: AbortSignal,
): AsyncGenerator<ProgressInit> {
  for await (const progress of progressUntilInPlace(ledger, networks, Number(revision), signal))
    yield progressToMessage(progress);
}

export function readinessToMessage(
  { readiness }: Ledger,
  entry: NetworkEntry,
): Omit<NetworkReadiness, "$typeName" | "$unknown" | "behind" | "failing" | "change"> & {
  readonly behind: BehindInit[];
  readonly failing: BehindInit[];
} {
  const { nodes, inPlace, behind, failing } = readiness.progressOf(entry);
  const named = (list: readonly Behind[]): BehindInit[] => list.slice(0, mostBehind).map(behindToMessage);
  return {
    network: entry.network.name,
    nodes,
    inPlace,
    behind: named(behind),
    failing: named(failing),
    failingNodes: failing.length,
    leftBehind: entry.change === undefined ? readiness.leftBehindOf(entry) : [],
    ...(entry.change === undefined ? {} : { change: networkChange.toMessage(entry.change) }),
  };
}

function progressToMessage({ done, nodes, inPlace, behind, changing }: Progress): ProgressInit {
  return { done, nodes, inPlace, behind: behind.map(behindToMessage), changing: [...changing] };
}

function behindToMessage(behind: Behind): BehindInit {
  return { ...behind, since: BigInt(behind.since) };
}

function requireFew(limit: number, count: number, attempted: string): void {
  if (count <= limit) return;
  const reason = `${count} networks in one request are more than ${limit}`;
  throw new WeftError({ code: "invalid-argument", attempted, reason });
}
