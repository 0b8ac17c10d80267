import { WeftError } from "../../base/errors.ts";
import type { NamespacePlace } from "../../dataplane/index.ts";
import type { Kernel, KernelNamespace } from "../../dataplane/kernel.ts";
import { canonicalNamespacePath, isPathOfThisProcess, namedNamespacePath } from "../../linux/index.ts";
import { parseInterfaceName } from "../../model/names.ts";
import { getLink, lookUp, NetlinkSocket } from "../../netlink/index.ts";
import { type Attachment, type AttachmentPlace, isInPlace } from "../replica.ts";
import { type AttachKind, interfaceOf, type NamespaceRequest, type Spot } from "./kind.ts";

export interface NamespaceAttachmentOptions {
  readonly kernel: Kernel;
  /** Whether the namespace is weft's: nothing is attached there. */
  readonly isOwnNamespace: (inode: number) => boolean;
}

const lastRoutePriority = 99_999;

/** By an interface in a network namespace, a container's. */
export class NamespaceAttachment implements AttachKind<NamespaceRequest, NamespacePlace> {
  readonly #options: NamespaceAttachmentOptions;

  constructor(options: NamespaceAttachmentOptions) {
    this.#options = options;
  }

  nameOf(): "netns" {
    return "netns";
  }

  async find(
    request: NamespaceRequest,
    present: readonly Attachment[],
    attempted: string,
  ): Promise<Spot<NamespacePlace>> {
    const name = parseInterfaceName(request.interface);
    if (!name.ok)
      throw new WeftError({
        code: "invalid-argument",
        attempted,
        reason: `interface: found "${request.interface}"; allowed: ${name.error}`,
      });
    using namespace = this.#open(request.netns, attempted);
    if (isPathOfThisProcess(request.netns) || this.#options.isOwnNamespace(namespace.inode))
      throw new WeftError({
        code: "invalid-argument",
        attempted,
        reason: "that is the underlay's namespace or one that weft made for a tenant",
        hint: "attach the namespace of a container: its name, or /proc/PID/ns/net of one of its processes",
      });
    const { inode, label } = namespace;
    const taken = this.#in(inode, present).find(
      (each) => isInPlace(each) && interfaceOf(each.place) === request.interface,
    );
    if (taken !== undefined)
      throw new WeftError({
        code: "already-exists",
        attempted,
        reason: `endpoint ${taken.id} of network ${taken.network} is attached there`,
        hint: `detach it first: weft detach ${taken.network} --netns ${label} --interface ${request.interface}`,
      });
    if (await hasInterface(namespace, request.interface))
      throw new WeftError({
        code: "already-exists",
        attempted,
        reason: `${label} has an interface ${request.interface} already`,
        hint: "choose another name with --interface, or detach that one first",
      });
    const netns = canonicalNamespacePath(request.netns);
    return {
      key: `${inode} ${request.interface}`,
      place: (others) => ({
        kind: "netns",
        netns,
        interface: request.interface,
        // A name stands for whatever bears it, also after a reboot; any other path must go on meaning this namespace.
        inode: netns.startsWith(namedNamespacePath("")) ? 0 : inode,
        routePriority: chooseRoutePriority(request.routePriority, this.#in(inode, others), attempted),
      }),
    };
  }

  at(target: NamespaceRequest, present: readonly Attachment[]): Attachment | undefined {
    const candidates = present.filter(({ place }) => place.kind === "netns" && place.interface === target.interface);
    // A namespace has many paths; of one that is gone there is only the path that it was attached by.
    const path = canonicalNamespacePath(target.netns);
    const [found] = this.#in(this.#options.kernel.inodeAt(target.netns), candidates);
    return found ?? candidates.find(({ place }) => place.kind === "netns" && place.netns === path);
  }

  /** An earlier version kept names as they were spelt, and held a namespace of that name to be gone when it was made anew. */
  current(place: NamespacePlace): NamespacePlace {
    const netns = canonicalNamespacePath(place.netns);
    return netns === place.netns ? place : { ...place, netns, inode: 0 };
  }

  #open(path: string, attempted: string): KernelNamespace {
    try {
      return this.#options.kernel.open(path);
    } catch (error) {
      if (!(error instanceof WeftError)) throw error;
      const { code, reason, hint } = error;
      throw new WeftError({ code, attempted, reason, ...(hint === undefined ? {} : { hint }), cause: error });
    }
  }

  /** Those of the attachments that are in the namespace, by whatever path it was named. */
  #in(inode: number | undefined, attachments: readonly Attachment[]): Attachment[] {
    if (inode === undefined) return [];
    return attachments.filter(
      ({ state, place }) =>
        state !== "releasing" &&
        place.kind === "netns" &&
        (place.inode === 0 || place.inode === inode) &&
        this.#options.kernel.inodeAt(place.netns) === inode,
    );
  }
}

async function hasInterface(namespace: KernelNamespace, name: string): Promise<boolean> {
  using socket = new NetlinkSocket({ channel: namespace.openChannel({}) });
  return (await lookUp(socket, getLink({ name }))) !== undefined;
}

function chooseRoutePriority(wanted: number, present: readonly Attachment[], attempted: string): number {
  const hint = "name another with --route-priority";
  if (wanted > 0) {
    const taken = present.find(({ place }) => priorityOf(place) === wanted);
    if (wanted <= lastRoutePriority && taken === undefined) return wanted;
    const [code, reason] =
      taken === undefined
        ? (["invalid-argument", `route priority: found ${wanted}; allowed: 1 to ${lastRoutePriority}`] as const)
        : (["already-exists", `endpoint ${taken.id} has route priority ${wanted} in the same namespace`] as const);
    throw new WeftError({ code, attempted, reason, hint });
  }
  const next = 1 + Math.max(0, ...present.map(({ place }) => priorityOf(place)));
  if (next <= lastRoutePriority) return next;
  const reason = `an endpoint in the same namespace has route priority ${lastRoutePriority}, and there is none after it`;
  throw new WeftError({ code: "exhausted", attempted, reason, hint });
}

function priorityOf(place: AttachmentPlace): number {
  return place.kind === "netns" ? place.routePriority : 0;
}
