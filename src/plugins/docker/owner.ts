import type { Attachment } from "../../agent/replica.ts";

/** Whose attachment it is: what stands on disk beside one that came by Docker. */
export interface DockerOwner {
  /** By which Docker knows its endpoint before that has an id; empty: addresses that are asked for to see whether they are had. */
  readonly mac: string;
  /** Docker's id of its endpoint; empty: it is about to give it one. */
  readonly endpoint: string;
  /** The boot that it was made in: no container's sandbox outlives its host. */
  readonly boot: string;
}

const prefix = "docker ";
const none = "-";

export function ownerText({ mac, endpoint, boot }: DockerOwner): string {
  return `${prefix}${[mac || none, endpoint || none, boot].join(" ")}`;
}

/** `undefined`: it is not Docker's. */
export function ownerOf({ owner = "" }: Pick<Attachment, "owner">): DockerOwner | undefined {
  if (!owner.startsWith(prefix)) return undefined;
  const [mac = none, endpoint = none, boot = ""] = owner.slice(prefix.length).split(" ");
  const given = (word: string): string => (word === none ? "" : word);
  return { mac: given(mac), endpoint: given(endpoint), boot };
}
