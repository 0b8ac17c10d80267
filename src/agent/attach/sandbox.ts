import type { SandboxPlace } from "../../dataplane/index.ts";
import type { AttachKind, SandboxRequest, Spot } from "./kind.ts";

/** By an interface that a container engine moves into a sandbox of its own. */
export const sandboxAttachment: AttachKind<SandboxRequest, SandboxPlace> = {
  nameOf: () => "netns",
  async find({ key, netns }): Promise<Spot<SandboxPlace>> {
    return { key: `sandbox of ${key}`, place: () => ({ kind: "sandbox", netns }) };
  },
  at: ({ netns }, present) =>
    present.find(({ place }) => place.kind === "sandbox" && place.netns !== "" && place.netns === netns),
  current: (place) => place,
};
