import type { LocalEndpoint } from "../../dataplane/index.ts";
import type { Endpoint } from "../../model/resources.ts";
import type { Attachment } from "../replica.ts";

/** Where something is attached, in an operator's words. */
export interface AttachTarget {
  readonly network: string;
  /** Path of a namespace. */
  readonly netns: string;
  /** Name of the interface. */
  readonly interface: string;
}

export interface AttachRequest extends AttachTarget {
  /** Empty: the server chooses. */
  readonly mac: string;
  readonly ips: readonly string[];
  /** As {@link Attachment.routePriority}; 0: after those that are attached in the same namespace. */
  readonly routePriority: number;
  /** As the operator gave it, unchecked. */
  readonly bandwidth?: object | undefined;
  /** Each as the operator gave it: an address or a prefix, and a MAC or none. */
  /** As the operator gave them, unchecked: the server does. */
  readonly labels: Readonly<Record<string, string>>;
  readonly allowedAddresses: readonly { readonly prefix: string; readonly mac: string }[];
  /** As {@link Attachment.owner}. */
  readonly owner?: string;
  /** Ends the attempt, which leaves nothing. */
  readonly signal?: AbortSignal;
}

/** What {@link Attachments.hold} is asked for. */
export type HoldRequest = Pick<AttachRequest, "network" | "interface" | "mac" | "ips" | "labels" | "signal"> &
  Required<Pick<AttachRequest, "owner">>;

/** What is kept on disk of where an endpoint is attached. */
export type AttachRecord = Omit<Attachment, "id" | "network" | "state">;

/** Where an endpoint is to be attached, looked at and found fit. */
export interface Spot {
  /** Requests that want the same spot have the same key. */
  readonly key: string;
  /** What is kept on disk of it, as it goes with what is attached now. Throws if it does not go with that. */
  record(present: readonly Attachment[]): AttachRecord;
}

/** A way to attach endpoints on a node, such as by an interface in a namespace. Holds no state: what is attached is handed in. */
export interface AttachKind {
  /** What the server is told. */
  readonly name: Endpoint["attachment"];
  /** Looks where the request leads, and changes nothing. Throws unless an endpoint can be attached there. */
  find(request: AttachRequest, present: readonly Attachment[], attempted: string): Promise<Spot>;
  /** Which of these attachments is at the target, whose place may be gone by now. */
  at(target: AttachTarget, present: readonly Attachment[]): Attachment | undefined;
  /** As this version keeps what an earlier one did. */
  current(attachment: Attachment): Attachment;
  /** What the dataplane makes of it. */
  port(
    attachment: Attachment,
  ): Pick<LocalEndpoint, "netns" | "interface" | "inode" | "routePriority" | "allowedAddresses" | "bandwidth">;
  /** Where it is, for people: `/run/netns/c1`. */
  text(attachment: Attachment): string;
}
