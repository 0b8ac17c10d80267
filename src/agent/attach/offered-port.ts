import { err, ok, type Result } from "../../base/result.ts";
import type { Endpoint } from "../../model/resources.ts";
import type { OfferedPort, Standby } from "../../model/standby.ts";
import { type Attachment, hasPort } from "../replica.ts";
import { type AttachRequest, type PlaceRequest, tapOf } from "./kind.ts";

/** How an endpoint is attached here, for another node that attaches it the same way; or why none can by itself. */
export function offerOf(attachment: Attachment | undefined): Result<OfferedPort, string> {
  if (attachment === undefined || !hasPort(attachment))
    return err("nothing of it is attached here that could be elsewhere");
  const { place, bandwidth, allowedAddresses, owner, userData, published } = attachment;
  if (userData !== undefined)
    return err("its user data is on this node alone: weft attach --standby … --user-data FILE on the other node");
  if (published !== undefined)
    return err("ports of this node lead to it: weft attach --standby … --publish PORT on the other node");
  if (owner !== undefined) return err(`${owner} attached it here, and must attach it on the other node`);
  const common = {
    ...(bandwidth === undefined ? {} : { bandwidth }),
    allowedAddresses: allowedAddresses.map(({ prefix, mac = "" }) => ({ prefix, mac })),
  };
  if (place.kind === "netns") {
    const { netns, interface: name, routePriority } = place;
    return ok({ netns, interface: name, routePriority, device: "", ...common });
  }
  if (place.kind === "sandbox") return err("a container engine put it into a sandbox of its own");
  const { device, tap } = place;
  const atDevice = { netns: "", interface: "", routePriority: 0, device, ...common };
  if (tap === undefined) return ok(atDevice);
  const { isMultiQueue: multiQueue, owner: user, group } = tap;
  const whose = { ...(user === undefined ? {} : { owner: user }), ...(group === undefined ? {} : { group }) };
  return ok({ ...atDevice, tap: { multiQueue, ...whose } });
}

/**
 * To attach the endpoint here; or why it cannot be. What the node that has it says of a namespace, or of an interface that somebody
 * made, is no reason to touch those of this host: where an endpoint goes that is not to have a tap of its own an administrator says.
 */
export function requestOf(
  { network, mac, ips }: Endpoint,
  { port, place }: Pick<Standby, "port" | "place">,
): Result<AttachRequest, string> {
  if (port === undefined) return err("it is not known how it is attached");
  const found = placeOf(port, place);
  if (found === undefined)
    return err(
      `it is attached by ${port.netns === "" ? "an interface" : "a namespace"}, and nobody said by which one here: weft migrate … --netns NAME, or --interface NAME`,
    );
  const { bandwidth, allowedAddresses } = port;
  return ok({ network, place: found, mac, ips, bandwidth, labels: {}, allowedAddresses });
}

function placeOf({ routePriority, device, tap }: OfferedPort, wanted: Standby["place"]): PlaceRequest | undefined {
  if (wanted !== undefined) {
    const { netns, interface: name, device: other } = wanted;
    return other === "" ? { kind: "netns", netns, interface: name, routePriority } : { kind: "device", device: other };
  }
  return tap === undefined ? undefined : tapOf(device, tap);
}
