import type { Direction } from "../../model/bandwidth.ts";
import type { TrafficStatistics } from "../../netlink/index.ts";

/** What has met the limits of a network here, or of one of its endpoints, since the kernel has these. */
export interface BandwidthUse {
  readonly network: string;
  /** Absent: of all endpoints of the network here. */
  readonly endpoint?: string;
  readonly direction: Direction;
  /** Octets of frames that passed. */
  readonly octets: number;
  readonly packets: number;
  /** How often it had something to send and had to wait. */
  readonly limited: number;
  /** Frames that found no room to wait, or waited too long. */
  readonly dropped: number;
  /** Octets that wait. */
  readonly waiting: number;
}

/** `passed`: by the class; `queued`: by what hangs on it. */
export function useOf(
  whose: Pick<BandwidthUse, "network" | "endpoint" | "direction">,
  passed: TrafficStatistics | undefined,
  queued: TrafficStatistics | undefined,
): BandwidthUse {
  return {
    ...whose,
    octets: passed?.octets ?? 0,
    packets: passed?.packets ?? 0,
    limited: passed?.overlimits ?? 0,
    dropped: queued?.dropped ?? 0,
    waiting: queued?.backlog ?? 0,
  };
}
