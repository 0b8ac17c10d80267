import { WeftError } from "../../base/errors.ts";
import { type DevicePlace, unfitAsEndpoint } from "../../dataplane/index.ts";
import type { KernelNamespace } from "../../dataplane/kernel.ts";
import { parseInterfaceName } from "../../model/names.ts";
import { getLink, type Link, listAddresses, listLinks, lookUp, NetlinkSocket } from "../../netlink/index.ts";
import { type Attachment, isInPlace } from "../replica.ts";
import { type AttachKind, type DeviceRequest, placeText, type Spot } from "./kind.ts";

/** By a device of the host's own namespace: a tap that weft makes for a virtual machine, or an interface that somebody else made. */
export class DeviceAttachment implements AttachKind<DeviceRequest, DevicePlace> {
  readonly #namespace: KernelNamespace;

  constructor(namespace: KernelNamespace) {
    this.#namespace = namespace;
  }

  nameOf({ tap }: DevicePlace): "tap" | "interface" {
    return tap === undefined ? "interface" : "tap";
  }

  async find(request: DeviceRequest, present: readonly Attachment[], attempted: string): Promise<Spot<DevicePlace>> {
    const { device, tap } = request;
    const name = parseInterfaceName(device);
    if (!name.ok)
      throw new WeftError({
        code: "invalid-argument",
        attempted,
        reason: `${tap === undefined ? "interface" : "tap"}: found "${device}"; allowed: ${name.error}`,
      });
    const taken = present.find((each) => isInPlace(each) && deviceOf(each) === device);
    if (taken !== undefined)
      throw new WeftError({
        code: "already-exists",
        attempted,
        reason: `endpoint ${taken.id} of network ${taken.network} is attached there`,
        hint: `detach it first: weft detach ${taken.network} --${placeText(taken.place)}`,
      });
    const unfit = await this.#unfitness(request);
    if (unfit !== undefined) throw new WeftError({ ...unfit, attempted });
    return { key: `device ${device}`, place: () => request };
  }

  at({ device }: DeviceRequest, present: readonly Attachment[]): Attachment | undefined {
    return present.find((each) => deviceOf(each) === device);
  }

  current(place: DevicePlace): DevicePlace {
    return place;
  }

  async #unfitness({
    device,
    tap,
  }: DeviceRequest): Promise<
    { code: "not-found" | "already-exists" | "failed-precondition"; reason: string; hint: string } | undefined
  > {
    using socket = new NetlinkSocket({ channel: this.#namespace.openChannel({}) });
    const link = await lookUp(socket, getLink({ name: device }));
    if (tap !== undefined && link !== undefined)
      return {
        code: "already-exists",
        reason: `the host has an interface ${device} already`,
        hint: `choose another name, or attach that one as it is: --interface ${device}`,
      };
    if (tap !== undefined) return undefined;
    if (link === undefined)
      return {
        code: "not-found",
        reason: `the host has no interface ${device}`,
        hint: `ip link; or let weft make a tap: --tap ${device}`,
      };
    const unfit = unfitAsEndpoint(link);
    if (unfit !== undefined)
      return {
        code: "failed-precondition",
        reason: `${device} cannot be an endpoint's: ${unfit}`,
        hint: "see ip -d link",
      };
    const above = (await socket.dump(listLinks())).find((each) => isOn(each, link));
    if (above !== undefined)
      return {
        code: "failed-precondition",
        reason: `${above.name} is on ${device}, and would hear nothing any more`,
        hint: "see ip -d link",
      };
    const addresses = await socket.dump(listAddresses({ index: link.index }));
    const own = addresses.find(({ scope }) => scope !== linkScope);
    if (own === undefined) return undefined;
    return {
      code: "failed-precondition",
      reason: `${device} has the host's address ${own.address}, and the host would hear nothing by it any more`,
      hint: `if it is the right one: ip addr flush dev ${device}`,
    };
  }
}

/** As a VLAN or macvlan is: its packets come by the other. */
function isOn({ link, linkNamespaceId, info }: Link, { index }: Link): boolean {
  return link === index && linkNamespaceId === undefined && info.kind !== "veth";
}

/** linux/rtnetlink.h: RT_SCOPE_LINK. */
const linkScope = 253;

function deviceOf({ place }: Attachment): string | undefined {
  return place.kind === "device" ? place.device : undefined;
}
