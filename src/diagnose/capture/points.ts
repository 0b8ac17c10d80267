import { WeftError } from "../../base/errors.ts";
import { familyOf, type IpAddress, parseIp } from "../../base/ip.ts";
import { parseMac } from "../../base/mac.ts";
import { isTunnelOf } from "../../dataplane/kernel-names.ts";
import { noTunnel } from "../../model/encapsulation.ts";
import type { Vni } from "../../model/resources.ts";
import { allOf } from "./filter.ts";
import type { Link, PointKind } from "./packet.ts";
import { carriedText, ofAddresses, ofHosts, tunnelText, wayOf } from "./texts.ts";
import type { EndpointView, NetworkView, NodeView } from "./view.ts";

/** What is to be captured, in an operator's words. Nothing: what is in the node's tunnels. */
export interface Selection {
  /** Its id, MAC, an address of it, or the name of the namespace that it is attached in. */
  readonly endpoint?: string;
  readonly network?: string;
  /** One, or the two that tunnels run between. */
  readonly vteps?: readonly IpAddress[];
  /** Absent: of an endpoint its port, of a network the ports and tunnels, else the underlay. */
  readonly at?: readonly PointKind[];
}

/** A point that is wanted, before anybody looked for it in the kernel. */
export interface WantedPoint {
  readonly kind: PointKind;
  /** The namespace of a tenant, by its name; that of a container, by its path; the host's own. */
  readonly where: { readonly tenant: string } | { readonly path: string } | "host";
  /** Which interfaces there: this one, those that the test takes, or those that carry tunnels. */
  readonly interfaces: string | ((name: string) => boolean) | "underlay";
  /** What packets must be like as they are there: a filter of pcap's. */
  readonly filter: string;
  /** The same of the tenant's packet, which begins with `link`: in the tunnel on the underlay, else the packet itself. */
  readonly within: (link: Link) => string;
  /** The tenant's packets are in tunnels there. */
  readonly isTunnelled: boolean;
  readonly network?: string;
  readonly endpoint?: string;
}

const anything = (): string => "";

/** Throws {@link WeftError} when there is no such thing here, and says what there is. */
export function planPoints(view: NodeView, selection: Selection): readonly WantedPoint[] {
  const endpoint = selection.endpoint === undefined ? undefined : findEndpoint(view, selection);
  const networkName = endpoint?.network ?? selection.network;
  const network = networkName === undefined ? undefined : findNetwork(view, networkName);
  const kinds = selection.at ?? defaultKinds(selection);
  const attempted = "choose what to capture";
  if (network === undefined || selection.vteps !== undefined)
    for (const kind of kinds)
      if (kind !== "underlay")
        throw new WeftError({
          code: "invalid-argument",
          attempted,
          reason: `what is between VTEPs is captured at the underlay, not at "${kind}"`,
          hint: "name a network or an endpoint, by --network or --endpoint",
        });
  return kinds.flatMap((kind) => {
    if (network === undefined || kind === "underlay") return [underlayPoint(view, selection, network, endpoint)];
    return networkPoints(kind, view, network, endpoint);
  });
}

function defaultKinds({ endpoint, network, vteps }: Selection): readonly PointKind[] {
  if (vteps !== undefined) return ["underlay"];
  if (endpoint !== undefined) return ["port"];
  return network !== undefined ? ["port", "tunnel"] : ["underlay"];
}

interface Found {
  readonly id: string;
  readonly network: string;
  readonly mac: string;
  readonly ips: readonly string[];
  readonly view: EndpointView;
}

function underlayPoint(
  view: NodeView,
  { vteps }: Selection,
  network: NetworkView | undefined,
  endpoint: Found | undefined,
): WantedPoint {
  const isTunnelled = network?.encapsulation !== noTunnel;
  if (vteps !== undefined) checkVteps(view, vteps);
  return {
    kind: "underlay",
    where: "host",
    interfaces: "underlay",
    // A network says by its packets whose they are; also such are of interest that come from a VTEP that is nobody's.
    filter: allOf(
      ...(vteps ?? []).map((vtep) => ofHosts([vtep])),
      network === undefined && vteps === undefined ? ofHosts(view.vteps) : "",
      network === undefined ? tunnelText(view.networks) : carriedText(network),
    ),
    within: endpoint === undefined ? anything : (link) => ofAddresses(endpoint, link),
    isTunnelled,
    ...(network === undefined ? {} : { network: network.name }),
  };
}

function checkVteps(view: NodeView, vteps: readonly IpAddress[]): void {
  const [first, second] = vteps;
  if (first === undefined || second === undefined) return;
  const attempted = `capture between VTEPs ${first} and ${second}`;
  if (familyOf(first) !== familyOf(second))
    throw new WeftError({
      code: "invalid-argument",
      attempted,
      reason: "one is of IPv4, the other of IPv6: no packet has both",
    });
  if (!view.vteps.includes(first) && !view.vteps.includes(second))
    throw new WeftError({
      code: "not-found",
      attempted,
      reason: `neither is a VTEP address of node ${view.node}, which has ${view.vteps.join(" and ")}`,
      hint: "run it on a node that has one of them",
    });
}

function networkPoints(
  kind: Exclude<PointKind, "underlay">,
  view: NodeView,
  network: NetworkView,
  endpoint: Found | undefined,
): readonly WantedPoint[] {
  const common = { kind, filter: "", isTunnelled: false, network: network.name } as const;
  const inTenant = { ...common, where: { tenant: network.namespace } } as const;
  const within = endpoint === undefined ? anything : (link: Link) => ofAddresses(endpoint, link);
  switch (kind) {
    case "port":
      return endpointsOf(view, network, endpoint).map(({ id, view: { port } }) => ({
        ...{ ...inTenant, interfaces: port, within: anything, endpoint: id },
      }));
    case "container": {
      const inside = endpointsOf(view, network, endpoint).filter((each) => each.view.netns !== "");
      if (inside.length === 0)
        throw new WeftError({
          code: "failed-precondition",
          attempted: `capture in containers of ${endpoint === undefined ? `network ${network.name}` : `endpoint ${endpoint.id}`}`,
          reason:
            "none is attached in a namespace: what is attached to an interface of the host has no end in a container",
          hint: "capture at the port, by --at port",
        });
      return inside.map(({ id, view: { netns, interface: name } }) => ({
        ...{ ...common, where: { path: netns }, interfaces: name, within: anything, endpoint: id },
      }));
    }
    case "bridge":
      return [{ ...inTenant, interfaces: network.bridge, within }];
    case "tunnel": {
      if (network.encapsulation === noTunnel && network.standby.every((text) => wayOf(text) === undefined))
        throw new WeftError({
          code: "failed-precondition",
          attempted: `capture in tunnels of network ${network.name}`,
          reason: "it has none: its packets are routed as they are",
          hint: "capture them at the underlay, by --at underlay",
        });
      return [{ ...inTenant, interfaces: (name) => isTunnelOf(network.vni as Vni, name), within }];
    }
  }
}

function endpointsOf(view: NodeView, network: NetworkView, endpoint: Found | undefined): readonly Found[] {
  if (endpoint !== undefined) return [endpoint];
  return known(view).filter((each) => each.network === network.name && each.view.port !== "");
}

function known(view: NodeView): readonly Found[] {
  return view.endpoints.flatMap((each) => (each.endpoint === undefined ? [] : [{ ...each.endpoint, view: each }]));
}

function findNetwork(view: NodeView, name: string): NetworkView {
  const network = view.networks.find((each) => each.name === name);
  if (network !== undefined) return network;
  throw new WeftError({
    code: "not-found",
    attempted: `capture packets of network ${name}`,
    reason: `node ${view.node} does not host it; it hosts ${list(view.networks.map((each) => each.name))}`,
    hint: "run it on a node that does: weft network show lists them",
  });
}

function findEndpoint(view: NodeView, { endpoint: text = "", network }: Selection): Found {
  const mac = parseMac(text);
  const ip = parseIp(text);
  const isMeant = (each: Found): boolean =>
    each.id === text ||
    (mac.ok && each.mac === mac.value) ||
    (ip.ok && each.ips.includes(ip.value)) ||
    (text !== "" && [text, `/run/netns/${text}`].includes(each.view.netns));
  const inNetwork = known(view).filter((each) => network === undefined || each.network === network);
  const meant = inNetwork.filter(isMeant);
  const [first] = meant;
  const attempted = `capture packets of endpoint ${text}`;
  if (first === undefined)
    throw new WeftError({
      code: "not-found",
      attempted,
      reason: `it is not on node ${view.node}${network === undefined ? "" : `, in network ${network}`}; there are ${list(inNetwork.map(nameOf))}`,
      hint: "name an endpoint of this node by its id, MAC, address or namespace: weft status lists them",
    });
  if (meant.length > 1)
    throw new WeftError({
      code: "invalid-argument",
      attempted,
      reason: `several are meant: ${list(meant.map(nameOf))}`,
      hint: "name its network, too, by --network, or give its id",
    });
  return first;
}

function nameOf({ id, network, ips }: Found): string {
  return `${id} (${[network, ...ips].join(" ")})`;
}

/** More names than this do not help. */
const mostNames = 10;

function list(names: readonly string[]): string {
  if (names.length === 0) return "none";
  const more = names.length > mostNames ? ` and ${names.length - mostNames} more` : "";
  return `${names.slice(0, mostNames).join(", ")}${more}`;
}
