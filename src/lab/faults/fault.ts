import type { Bench } from "./bench.ts";
import type { Need } from "./needs.ts";

/** What whoever diagnoses shall find: the code of the finding, and the place by the words that weft has for it. */
export interface Expected {
  readonly code: string;
  /** A host or container of the lab, `server` or `switch`. */
  readonly host: string;
  /** What of it: a device, an address, `tunnel vx100 of network blue-net`. Containers stand for their endpoints. */
  readonly object: string;
}

/** Where in a network a fault is; lists are ordered by it. */
export type FaultGroup =
  | "underlay"
  | "tunnels"
  | "tables"
  | "firewalls"
  | "paths"
  | "containers"
  | "rules"
  | "services"
  | "load";

/** Something that goes wrong in real networks, made in a lab by the means by which it happens there. */
export interface Fault {
  /** Words with hyphens between: `udp-port-dropped`. */
  readonly name: string;
  readonly group: FaultGroup;
  /** What is wrong, in a few words. */
  readonly title: string;
  /** What of the machine this takes, beyond what labs take. */
  readonly needs: readonly Need[];
  readonly expected: readonly Expected[];
  break(bench: Bench): Promise<void>;
  /** Also after a break that failed half-way, and by another process than the one that broke it. */
  mend(bench: Bench): Promise<void>;
  /** Whether the fault can be felt now, by packets and commands alone. */
  symptom(bench: Bench): Promise<boolean>;
}
