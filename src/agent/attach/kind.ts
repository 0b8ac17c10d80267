import type { Duration } from "../../base/duration.ts";
import type { DevicePlace, NamespacePlace, PortPlace, SandboxPlace } from "../../dataplane/index.ts";
import type { AttachmentKind } from "../../model/attachment-kind.ts";
import type { Attachment, AttachmentPlace } from "../replica.ts";

/** Where something is attached, in an operator's words. */
export interface AttachTarget {
  readonly network: string;
  readonly place: PlaceRequest;
}

export type PlaceRequest = NamespaceRequest | DeviceRequest | SandboxRequest;

export interface NamespaceRequest {
  readonly kind: "netns";
  /** Path of a namespace. */
  readonly netns: string;
  /** Name of the interface. */
  readonly interface: string;
  /** As {@link NamespacePlace.routePriority}; 0: after those that are attached in the same namespace. */
  readonly routePriority: number;
}

export type DeviceRequest = DevicePlace;

export interface SandboxRequest extends SandboxPlace {
  /** The MAC, by which the engine's endpoint is known before it has a sandbox. */
  readonly key: string;
}

export interface AttachRequest extends AttachTarget {
  /** Empty: the server chooses. */
  readonly mac: string;
  readonly ips: readonly string[];
  /** As the operator gave it, unchecked. */
  readonly bandwidth?: object | undefined;
  /** As the operator gave them, unchecked: the server does. */
  readonly labels: Readonly<Record<string, string>>;
  /** Each as the operator gave it: an address or a prefix, and a MAC or none. */
  readonly allowedAddresses: readonly { readonly prefix: string; readonly mac: string }[];
  /** As {@link Attachment.owner}. */
  readonly owner?: string;
  /** Other nodes may stand by for it without an administrator's word. */
  readonly movable?: boolean;
  /** Id, MAC or address of an endpoint of another node, which this one makes ready to take over. Absent: the endpoint is new. */
  readonly standby?: string;
  /** As {@link Attachment.userData}; empty: none. */
  readonly userData?: Uint8Array;
  /** Ports of this node that shall lead to it, as the operator gave them: {@link parsePublishedPort}. Absent: none. */
  readonly published?: readonly string[];
  /** How long the server may take to answer. Absent: as long as calls do. */
  readonly patience?: Duration;
  /** Ends the attempt, which leaves nothing. */
  readonly signal?: AbortSignal;
}

/** What {@link Attachments.hold} is asked for. */
export interface HoldRequest
  extends Pick<AttachRequest, "network" | "mac" | "ips" | "labels" | "patience" | "signal">,
    Required<Pick<AttachRequest, "owner">> {
  /** What the other plugin makes, for people. */
  readonly interface: string;
}

/** Where an endpoint is to be attached, looked at and found fit. */
export interface Spot<Place extends PortPlace = PortPlace> {
  /** Requests that want the same spot have the same key. */
  readonly key: string;
  /** What is kept on disk of it, as it goes with what is attached now. Throws if it does not go with that. */
  place(present: readonly Attachment[]): Place;
}

/** A way to attach endpoints on a node, such as by an interface in a namespace. Holds no state: what is attached is handed in. */
export interface AttachKind<Request extends PlaceRequest = PlaceRequest, Place extends PortPlace = PortPlace> {
  /** What the server is told. */
  nameOf(place: Place): Exclude<AttachmentKind, "learned">;
  /** Looks where the request leads, and changes nothing. Throws unless an endpoint can be attached there. */
  find(request: Request, present: readonly Attachment[], attempted: string): Promise<Spot<Place>>;
  /** Which of these attachments is at the target, whose place may be gone by now. */
  at(target: Request, present: readonly Attachment[]): Attachment | undefined;
  /** As this version keeps what an earlier one did. */
  current(place: Place): Place;
}

/** The ways that there are, by what their places are. */
export interface AttachKinds {
  readonly netns: AttachKind<NamespaceRequest, NamespacePlace>;
  readonly device: AttachKind<DeviceRequest, DevicePlace>;
  readonly sandbox: AttachKind<SandboxRequest, SandboxPlace>;
}

/** The way that leads to such places. */
export function kindOf(kinds: AttachKinds, { kind }: PlaceRequest | PortPlace): AttachKind {
  // Each is asked for what it is for.
  return kinds[kind] as AttachKind;
}

/** Where it is, for people: `/run/netns/c1`, `tap vm1`. */
export function placeText(place: PlaceRequest | AttachmentPlace): string {
  switch (place.kind) {
    case "netns":
      return place.netns;
    case "device":
      return `${place.tap === undefined ? "interface" : "tap"} ${place.device}`;
    case "external":
      return "an interface that is not weft's";
    case "sandbox":
      return place.netns === "" ? "a sandbox that its engine is yet to name" : `sandbox ${place.netns}`;
  }
}

/** The interface that stands for it in what is told of endpoints; empty: it has the name that its engine gave it. */
export function interfaceOf(place: PlaceRequest | AttachmentPlace): string {
  switch (place.kind) {
    case "netns":
    case "external":
      return place.interface;
    case "device":
      return place.device;
    case "sandbox":
      return "";
  }
}

/** A tap that is to be made, as messages have it. */
export function tapOf(
  device: string,
  {
    owner,
    group,
    multiQueue: isMultiQueue,
  }: { owner?: number | undefined; group?: number | undefined; multiQueue: boolean },
): DevicePlace {
  const whose = { ...(owner === undefined ? {} : { owner }), ...(group === undefined ? {} : { group }) };
  return { kind: "device", device, tap: { isMultiQueue, ...whose } };
}
