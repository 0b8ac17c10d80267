import { existsSync } from "node:fs";

/** What met a limit on this node, as its agent tells it. */
export interface BandwidthUseRow {
  readonly direction: string;
  /** Octets of frames that passed. */
  readonly octets: number;
  readonly packets: number;
  /** How often something had to wait. */
  readonly limited: number;
  readonly dropped: number;
  /** Octets that wait now. */
  readonly waiting: number;
}

/** Of a network's endpoints on this node together, or of one of them; empty: nothing is limited, or there is no agent here that tells. */
export async function bandwidthUseHere(
  agent: string,
  whose: { readonly network: string; readonly endpoint?: string },
): Promise<readonly BandwidthUseRow[]> {
  if (!existsSync(agent)) return [];
  const { agentClient } = await import("../api/clients.ts");
  // Its socket stays when it is killed. What the server says is shown all the same.
  const answer = await agentClient(agent)
    .getBandwidthUse({ network: whose.network })
    .catch(() => undefined);
  const uses = answer?.uses.filter(({ endpoint }) => endpoint === (whose.endpoint ?? "")) ?? [];
  return uses.map(({ direction, octets, packets, limited, dropped, waiting }) => ({
    direction,
    octets: Number(octets),
    packets: Number(packets),
    limited: Number(limited),
    dropped: Number(dropped),
    waiting: Number(waiting),
  }));
}

/** `send: 1200 MB in 820000 frames, limited 400 times, 3 dropped, 0 octets wait`, for people. */
export function bandwidthUseTexts(uses: readonly BandwidthUseRow[]): readonly string[] {
  return uses.map(
    ({ direction, octets, packets, limited, dropped, waiting }) =>
      `${direction}: ${(octets / 1e6).toFixed(1)} MB in ${packets} frames, limited ${limited} times, ${dropped} dropped, ${waiting} octets wait`,
  );
}
