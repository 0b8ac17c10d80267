/**
 * How an endpoint can be attached on its node: by an interface in a namespace, by a tap that weft made, by an interface that
 * somebody else made. `external`: its addresses are held for an interface that is not weft's.
 */
export const attachmentKinds = ["netns", "tap", "interface", "external"] as const;

/** How an endpoint hangs on its node; `learned`: found behind a port and never declared. */
export type AttachmentKind = (typeof attachmentKinds)[number] | "learned";

export function isAttachmentKind(text: string): text is AttachmentKind {
  return text === "learned" || (attachmentKinds as readonly string[]).includes(text);
}
