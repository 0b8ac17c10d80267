import type { Clock } from "../base/clock.ts";
import type { IpAddress } from "../base/ip.ts";
import type { KernelObject, NamespacePlace, NodeDataplane } from "../dataplane/index.ts";
import type { Kernel, KernelNamespace } from "../dataplane/kernel.ts";
import type { Endpoint } from "../model/resources.ts";
import type { NetlinkSocket } from "../netlink/index.ts";
import type { FindingDraft } from "./finding.ts";
import type { Correspondence } from "./probe/correspondence.ts";

/** An endpoint that hangs in a namespace of this node. */
export interface ExaminedEndpoint {
  readonly endpoint: Endpoint;
  readonly place: NamespacePlace;
}

/** Another node that shares networks with the one that is examined. */
export interface ExaminedPeer {
  readonly name: string;
  readonly vteps: readonly IpAddress[];
}

/** A node that is examined: what is wanted of it, what it knows, and its kernel. Nothing of it is changed. */
export interface Subject {
  readonly node: string;
  readonly instance: string;
  readonly kernel: Kernel;
  readonly clock: Clock;
  /** The host's own namespace, and a socket there. */
  readonly host: KernelNamespace;
  readonly socket: NetlinkSocket;
  readonly dataplane: NodeDataplane;
  /** As the agent last knew it. */
  readonly underlay: {
    readonly vteps: readonly IpAddress[];
    readonly interfaceName: string;
    /** Octets. */
    readonly mtu: number;
  };
  /** Nodes that share networks with this one; no VTEPs that are no nodes of weft's. */
  readonly peers: readonly ExaminedPeer[];
  readonly endpoints: () => Iterable<ExaminedEndpoint>;
  /** Whether frames of an endpoint were dropped lately, by the events that the agent keeps. */
  readonly droppedLately: (object: KernelObject) => boolean;
  readonly server: {
    readonly url: string;
    readonly isConnected: boolean;
    /** Why not; empty: nothing is known. */
    readonly error: string;
  };
  readonly certificate: { readonly from: number; readonly until: number };
  readonly dataDirectory: string;
  /** Nodes that ways are examined to, at most. */
  readonly pathsTo: number;
  /** By which other nodes are asked; absent: nobody can be, because there is no connection to the server. */
  readonly correspondence?: Correspondence;
}

/** Something that is looked at. One that throws is told as a finding of its own. */
export interface Check {
  /** What it looks at, in the words of an operator: `routes to VTEPs`. */
  readonly name: string;
  run(subject: Subject): AsyncIterable<FindingDraft> | Iterable<FindingDraft>;
}
