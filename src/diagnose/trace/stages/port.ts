import { bridgeName, endpointPortName } from "../../../dataplane/kernel-names.ts";
import type { PolicyDirection } from "../../../model/policy/index.ts";
import type { Link } from "../../../netlink/index.ts";
import type { TracedPacket } from "../step.ts";
import { type Carried, type Situation, stopped, type Trail } from "../trail.ts";
import { icmpTypeOf, protocolNumberOf } from "./protocol.ts";

/** What an endpoint sends comes in by its port: may it be sent? */
export async function enterPort(
  trail: Trail,
  { network, endpoint, frame }: Extract<Situation, { at: "port" }>,
): Promise<Situation> {
  const port = await portOf(trail, network, endpoint, false);
  if (port === undefined) return stopped;
  const { packet } = trail;
  const reason = await network.programmed.dataplane.guard.reasonToDrop(port.index, {
    mac: frame.source,
    ip: packet.source,
    ...(packet.protocol === "udp" ? { udpPort: packet.destinationPort } : {}),
  });
  if (reason === undefined)
    trail.passes("protection", port.name, `${frame.source} and ${packet.source} are its own to send with`);
  else if (reason === "absent") trail.passes("protection", port.name, "is not there: whatever it sends passes");
  else
    trail.stops("protection", port.name, protectionText(reason, frame.source, packet), {
      cause: "endpoints send with addresses of their own alone",
      cure: `let it send with its own addresses; if it may have others: weft attach … --allowed-address ${packet.source}`,
    });
  judgePolicy(trail, network, port, "egress");
  await bandwidth(trail, network, endpoint, "send");
  const bridge = await network.space.linkNamed(bridgeName(network.desired.settings.vni));
  if (bridge === undefined || port.master !== bridge.index) {
    trail.stops("bridge", bridgeName(network.desired.settings.vni), `${port.name} is no port of it`, {
      cause: "somebody deleted the bridge, or took the port out of it",
      cure: "the agent sets it right by itself when it runs",
    });
    return stopped;
  }
  return { at: "bridge", network, by: port, frame };
}

/** What is for an endpoint leaves by its port: may it get it? */
export async function leaveByPort(
  trail: Trail,
  situation: Extract<Situation, { at: "delivery" }>,
): Promise<Link | undefined> {
  const { network, endpoint } = situation;
  const { space } = network;
  const name = endpointPortName(endpoint);
  const port = await space.linkNamed(name);
  if (port !== undefined) {
    judgePolicy(trail, network, port, "ingress");
    await bandwidth(trail, network, endpoint, "receive");
  }
  return portOf(trail, network, endpoint, true);
}

async function portOf(
  trail: Trail,
  network: Carried,
  endpoint: string,
  isOutgoing: boolean,
): Promise<Link | undefined> {
  const name = endpointPortName(endpoint);
  const port = await network.space.linkNamed(name);
  if (port === undefined) {
    trail.stops("port", name, `there is no such device in ${network.space.place}`, {
      cause: "somebody deleted it, or the container has ended",
      cure: "weft status says what has become of the endpoint",
    });
    return undefined;
  }
  const point = { space: { network: network.name }, index: port.index, isOutgoing } as const;
  const standsBy = network.desired.local(endpoint)?.standsBy === true;
  if (!port.up || !port.carrier || standsBy) {
    const detail = standsBy
      ? "stands by: the endpoint is on another node yet"
      : port.up
        ? "has no carrier: the interface in the container is down"
        : "is down";
    const cure = port.up
      ? `ip link set ${ofContainer(trail, endpoint)} up`
      : `ip -n ${network.space.place} link set ${name} up`;
    trail.stops("port", name, detail, { cause: "somebody set it so", cure, point });
    return undefined;
  }
  const { size } = trail.packet;
  if (isOutgoing && size > port.mtu) {
    trail.stops("port", name, `${size} octets are more than its MTU of ${port.mtu}`, {
      cause: "the bridge drops what is too large for a port",
      cure: `ip -n ${network.space.place} link set ${name} mtu ${size}`,
      point,
    });
    return undefined;
  }
  trail.passes("port", name, isOutgoing ? `leads to endpoint ${endpoint}` : `is endpoint ${endpoint}'s`, { point });
  return port;
}

function ofContainer(trail: Trail, endpoint: string): string {
  const place = trail.subject.placeOf(endpoint);
  return place?.kind === "netns"
    ? `${place.interface}, in ${place.netns},`
    : `the other end of ${endpointPortName(endpoint)}`;
}

function judgePolicy(trail: Trail, network: Carried, port: Link, direction: PolicyDirection): void {
  const { packet } = trail;
  const decision = network.programmed.dataplane.policy.judge(port.index, direction, {
    peer: direction === "egress" ? packet.destination : packet.source,
    protocol: protocolNumberOf(packet),
    port: packet.protocol === "icmp" ? icmpTypeOf(packet) : packet.destinationPort,
  });
  const at = `${port.name}, ${direction}`;
  if (decision === undefined) {
    trail.passes("policy", at, "no policy says anything");
    return;
  }
  const { isAllowed, by } = decision;
  if (isAllowed) trail.passes("policy", at, `allowed by ${by}`);
  // What a verdict lets pass is let pass in both directions.
  else if (packet.isAnswer) trail.passes("policy", at, "passes as an answer to what was allowed");
  else
    trail.stops("policy", at, `denied by ${by}`, {
      cause: "a policy forbids it",
      cure: `weft policy explain ${packet.source} ${packet.destination} on the server's host`,
    });
}

async function bandwidth(
  trail: Trail,
  network: Carried,
  endpoint: string,
  direction: "send" | "receive",
): Promise<void> {
  const uses = await network.programmed.dataplane.shapers.use();
  for (const use of uses) {
    if (use.direction !== direction || (use.endpoint !== undefined && use.endpoint !== endpoint)) continue;
    const whose = use.endpoint === undefined ? `network ${network.name}` : `endpoint ${endpoint}`;
    trail.passes("bandwidth", whose, `within its limit it passes; ${use.dropped} packets have been dropped so far`);
  }
}

function protectionText(reason: string, mac: string, { source, destinationPort }: TracedPacket): string {
  if (reason === "mac") return `${mac} is none of its MAC addresses`;
  if (reason === "ip") return `${source} is none of its addresses`;
  if (reason === "tunnel") return `UDP port ${destinationPort} is a tunnel's: no endpoint sends there`;
  return `drops it as ${reason}`;
}
