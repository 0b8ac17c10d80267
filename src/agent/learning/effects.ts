/** What the learning of a network is told and what it asks for. */
import type { Duration } from "../../base/duration.ts";
import type { IpAddress } from "../../base/ip.ts";
import type { MacAddress } from "../../base/mac.ts";
import type { KernelObject } from "../../dataplane/index.ts";

/** What is to be published of one MAC: all of its addresses, in place of those published before. */
export interface Finding {
  /** For the endpoint, if it is to be made. */
  readonly id: string;
  readonly mac: MacAddress;
  readonly ips: readonly IpAddress[];
}

/** What the server made of a finding. */
export interface Outcome {
  /** Absent: refused. */
  readonly endpoint?: {
    readonly id: string;
    /** Those of the finding that it now has. */
    readonly ips: readonly IpAddress[];
  };
  readonly reason: string;
  /** When asking again may help; 0: never. */
  readonly retryAfter: Duration;
}

/** A port of this node, by the endpoint that was declared there. */
export interface Port {
  readonly mac: MacAddress;
  readonly ips: readonly IpAddress[];
  /** Further addresses of the declared MAC that are published. */
  readonly learnedIps: readonly IpAddress[];
}

/** An endpoint of this node that was learned, as the server says. */
export interface KnownEndpoint {
  readonly id: string;
  readonly mac: MacAddress;
  readonly ips: readonly IpAddress[];
}

export type LearningEvent = {
  readonly level: "info" | "warning";
  readonly kind: "learned" | "moved" | "withdrawn" | "refused" | "limited";
  readonly object: KernelObject;
  readonly message: string;
};

/** What is to be done. */
export type Effect =
  /** Tell the server, withdrawals first; then call `released` and `answered`, or `failed`. */
  | { readonly kind: "send"; readonly withdraw: readonly string[]; readonly publish: readonly Finding[] }
  /** Ask the kernel which port the MAC is at; then call `checked`. */
  | { readonly kind: "check"; readonly mac: MacAddress }
  /** Let the kernel learn nothing more at the port and forget what it learned there. */
  | { readonly kind: "deafen"; readonly port: string }
  | { readonly kind: "listen"; readonly port: string }
  | { readonly kind: "report"; readonly event: LearningEvent };
