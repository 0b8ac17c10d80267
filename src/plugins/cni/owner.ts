import type { Attachment } from "../../agent/replica.ts";

/** Which attachment of which runtime it is: what stands on disk beside an attachment that came by CNI. */
export interface CniOwner {
  /** The name of the network configuration. */
  readonly configuration: string;
  readonly container: string;
  readonly interface: string;
  /** The boot that it was made in: no container outlives its host. */
  readonly boot: string;
  /** What the runtime calls the pod that it is of. Absent: it is of none. */
  readonly pod?: string;
}

const prefix = "cni ";

export function ownerText({ configuration, container, interface: name, boot, pod }: CniOwner): string {
  return `${prefix}${[configuration, container, name, boot, ...(pod === undefined ? [] : [pod])].join(" ")}`;
}

/** `undefined`: it is not CNI's. */
export function ownerOf({ owner = "" }: Pick<Attachment, "owner">): CniOwner | undefined {
  if (!owner.startsWith(prefix)) return undefined;
  // None of them has a blank in it.
  const [configuration = "", container = "", name = "", boot = "", pod] = owner.slice(prefix.length).split(" ");
  return { configuration, container, interface: name, boot, ...(pod === undefined ? {} : { pod }) };
}
