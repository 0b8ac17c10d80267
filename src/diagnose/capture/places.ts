import { WeftError } from "../../base/errors.ts";
import { isOwnLink } from "../../dataplane/kernel-names.ts";
import { NetworkNamespace, namedNamespaceExists } from "../../linux/index.ts";
import { type Link as KernelLink, listAddresses, listLinks, NetlinkSocket } from "../../netlink/index.ts";
import type { Place } from "./packet.ts";
import type { WantedPoint } from "./points.ts";
import type { NodeView } from "./view.ts";

/** Interfaces of one namespace that packets are captured at in the same way. */
export interface Located {
  readonly namespace: NetworkNamespace;
  readonly point: WantedPoint;
  /** By the index of the interface. */
  readonly places: ReadonlyMap<number, Place>;
}

/** Looks the interfaces up. Opens namespaces, which `close` closes. Throws when an interface is not there. */
export async function locate(
  view: NodeView,
  points: readonly WantedPoint[],
  host: () => NetworkNamespace,
): Promise<{ readonly located: readonly Located[]; close(): void }> {
  const opened = new Map<string, Promise<Opened>>();
  const close = async (): Promise<void> => {
    for (const each of await Promise.allSettled(opened.values()))
      if (each.status === "fulfilled") each.value.namespace.close();
  };
  try {
    const located: Located[] = [];
    for (const point of points) {
      const key = point.where === "host" ? "" : "tenant" in point.where ? point.where.tenant : point.where.path;
      const there = opened.get(key) ?? open(point.where, host);
      opened.set(key, there);
      located.push(await locateIn(view, point, await there));
    }
    return { located, close: () => void close() };
  } catch (error) {
    await close();
    throw error;
  }
}

interface Opened {
  readonly namespace: NetworkNamespace;
  /** Its name or path; the host's own has none. */
  readonly label: string;
  readonly links: readonly KernelLink[];
  readonly addresses: ReadonlyMap<string, number>;
}

async function open(where: WantedPoint["where"], host: () => NetworkNamespace): Promise<Opened> {
  const namespace = isHostsOwn(where) ? host() : namespaceAt(where);
  try {
    using socket = new NetlinkSocket({ namespace });
    const links = await socket.dump(listLinks());
    const addresses = await socket.dump(listAddresses());
    const label = isHostsOwn(where) ? "the host" : namespace.label;
    return { namespace, label, links, addresses: new Map(addresses.map(({ address, index }) => [address, index])) };
  } catch (error) {
    namespace.close();
    throw error;
  }
}

function namespaceAt(where: Exclude<WantedPoint["where"], "host">): NetworkNamespace {
  return "path" in where ? NetworkNamespace.open(where.path) : NetworkNamespace.openNamed(where.tenant);
}

/** A tenant whose networks are in the host's own namespace has none of its name. */
function isHostsOwn(where: WantedPoint["where"]): where is "host" {
  return where === "host" || ("tenant" in where && !namedNamespaceExists(where.tenant));
}

async function locateIn(view: NodeView, point: WantedPoint, there: Opened): Promise<Located> {
  const { interfaces } = point;
  const chosen =
    interfaces === "underlay"
      ? carriersOf(view, there)
      : there.links.filter(({ name }) => (typeof interfaces === "string" ? name === interfaces : interfaces(name)));
  if (chosen.length === 0)
    throw new WeftError({
      code: "not-found",
      attempted: `capture at the ${point.kind} of ${point.endpoint === undefined ? `network ${point.network}` : `endpoint ${point.endpoint}`}`,
      reason: `there is no ${typeof interfaces === "string" ? `interface ${interfaces}` : "such interface"} in ${there.label}`,
      hint: "see what is wrong with weft status",
    });
  const places = chosen.map((link): [number, Place] => [
    link.index,
    {
      node: view.node,
      kind: point.kind,
      namespace: there.label,
      interface: link.name,
      // Tunnels that carry IP packets have addresses of another length, or none.
      link: link.mac === undefined ? "ip" : "ethernet",
      mtu: link.mtu,
      ...(point.network === undefined ? {} : { network: point.network }),
      ...(point.endpoint === undefined ? {} : { endpoint: point.endpoint }),
    },
  ]);
  return { namespace: there.namespace, point, places: new Map(places) };
}

/** Those that have VTEP addresses; for one that leads nowhere, such as a loopback interface, all that packets may leave by. */
function carriersOf(view: NodeView, { links, addresses }: Opened): readonly KernelLink[] {
  const holders = view.vteps.flatMap((vtep) => links.filter(({ index }) => addresses.get(vtep) === index));
  if (holders.length === 0)
    throw new WeftError({
      code: "failed-precondition",
      attempted: `capture at the underlay of node ${view.node}`,
      reason: `no interface here has one of its VTEP addresses, ${view.vteps.join(" and ")}`,
      hint: "run it on the node itself, in the network namespace that its agent runs in",
    });
  const leadsNowhere = ({ loopback, info }: KernelLink): boolean => loopback === true || info.kind === "dummy";
  const chosen = holders.some(leadsNowhere)
    ? links.filter((link) => link.up && !leadsNowhere(link) && !isOwnLink(link))
    : holders;
  return [...new Set(chosen)];
}
