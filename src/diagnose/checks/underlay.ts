import { type Cidr, cidrContains, cidrOf, hostPrefix } from "../../base/cidr.ts";
import { messageOf } from "../../base/errors.ts";
import { familyOf, type IpAddress, type Ipv4Address } from "../../base/ip.ts";
import { isLinkLocal } from "../../base/link-local.ts";
import {
  getNeighbour,
  type Link,
  listAddresses,
  listLinks,
  lookUp,
  lookUpRoute,
  neighbourState,
  type Route,
  routeType,
} from "../../netlink/index.ts";
import type { FindingDraft } from "../finding.ts";
import type { Check, ExaminedPeer, Subject } from "../subject.ts";
import { whoHas } from "./who-has.ts";

const addressCheck: Check = {
  name: "the VTEP addresses of this host",
  async *run({ socket, underlay, dataplane, peers }) {
    const present = new Set((await socket.dump(listAddresses())).map(({ address }) => address));
    for (const peer of peers)
      for (const vtep of peer.vteps.filter((each) => present.has(each)))
        yield {
          code: "vtep-address-duplicate",
          object: { kind: "VTEP address", key: vtep },
          expected: `node ${peer.name} alone has it`,
          found: "an interface of this host has it, too",
          cure: `ip address del ${vtep}/LENGTH dev INTERFACE, on this host`,
        };
    const missing = underlay.vteps.filter((vtep) => !present.has(vtep));
    for (const vtep of missing) yield missingAddress(vtep, `no interface has it`, underlay.interfaceName);
    // It may be there and of no use, as the agent has found.
    const problem = dataplane.problems.find(({ kind }) => kind === "VTEP address");
    if (problem !== undefined && missing.length === 0)
      yield missingAddress(underlay.vteps[0], messageOf(problem.error), underlay.interfaceName);
  },
};

function missingAddress(vtep: IpAddress | undefined, found: string, interfaceName: string): FindingDraft {
  const object = { kind: "VTEP address", ...(vtep === undefined ? {} : { key: vtep }) };
  const expected = `${vtep ?? "a VTEP address"} on an interface of this host`;
  const cure = `ip address add ${vtep ?? "ADDRESS"}/LENGTH dev ${interfaceName || "INTERFACE"}; or start the agent with the right --underlay`;
  return { code: "vtep-address-missing", object, expected, found, cure };
}

const linkCheck: Check = {
  name: "the interfaces of the underlay",
  async *run(subject) {
    for (const link of await underlayLinks(subject)) {
      if (link.up && link.carrier) continue;
      yield {
        code: "underlay-link-down",
        object: { kind: "interface", key: link.name },
        expected: "up, with a carrier",
        found: link.up ? "up, without a carrier" : "down",
        cure: link.up ? `see the carrier: ethtool ${link.name}` : `ip link set ${link.name} up`,
      };
    }
  },
};

/** Those that have VTEP addresses or carry tunnels. */
async function underlayLinks({ socket, underlay }: Subject): Promise<readonly Link[]> {
  const vteps = new Set<IpAddress>(underlay.vteps);
  const indexes = new Set(
    (await socket.dump(listAddresses())).filter(({ address }) => vteps.has(address)).map(({ index }) => index),
  );
  const links = await socket.dump(listLinks());
  return links.filter(
    ({ index, name, loopback }) => loopback !== true && (indexes.has(index) || name === underlay.interfaceName),
  );
}

/** Of so many nodes the routes are looked up, those that come first by name. */
const lookedUpAtMost = 1_000;
/** Look-ups in one turn of the event loop. */
const lookUpsPerTurn = 64;

const routeCheck: Check = {
  name: "routes to the VTEPs of other nodes",
  async *run(subject) {
    const { socket } = subject;
    const links = new Map((await socket.dump(listLinks())).map((link) => [link.index, link]));
    const own = await ownLinks(subject, links);
    let count = 0;
    for (const { peer, vtep, from } of ways(subject).slice(0, lookedUpAtMost)) {
      if (++count % lookUpsPerTurn === 0) await new Promise((resolve) => setImmediate(resolve));
      const object = { kind: "route to VTEP", key: vtep };
      const expected = `a route to ${vtep} of node ${peer.name}, from ${from}`;
      const cure = `ip route get ${vtep} from ${from}; add the route, or see the routing daemon`;
      let route: Route;
      try {
        route = await socket.get(lookUpRoute(hostPrefix(vtep), from));
      } catch (error) {
        yield { code: "underlay-route-missing", object, expected, found: messageOf(error), cure };
        continue;
      }
      if (route.type !== undefined && route.type !== routeType.unicast) {
        const found = `the route ${route.destination} says that it is ${typeName(route.type)}`;
        yield { code: "underlay-route-missing", object, expected, found, cure };
        continue;
      }
      yield* deadPaths(subject, route, links, { peer, vtep, from });
      yield* otherWayBack(subject, route, links, own.get(from), { peer, vtep });
    }
  },
};

interface Way {
  readonly peer: ExaminedPeer;
  readonly vtep: IpAddress;
  /** This node's. */
  readonly from: IpAddress;
}

/** From each VTEP address of this node to those of the same family. */
export function ways({ underlay, peers }: Pick<Subject, "underlay" | "peers">): readonly Way[] {
  return peers.flatMap((peer) =>
    peer.vteps.flatMap((vtep) => {
      const from = underlay.vteps.find((own) => familyOf(own) === familyOf(vtep));
      return from === undefined ? [] : [{ peer, vtep, from }];
    }),
  );
}

/** The interface of each VTEP address, unless it is on none that packets come in by. */
async function ownLinks(
  { socket, underlay }: Subject,
  links: ReadonlyMap<number, Link>,
): Promise<ReadonlyMap<IpAddress, OwnLink>> {
  const own = new Map<IpAddress, OwnLink>();
  const addresses = await socket.dump(listAddresses());
  for (const { address, index } of addresses) {
    const link = links.get(index);
    const leadsNowhere = link === undefined || link.loopback === true || link.info.kind === "dummy";
    if (!underlay.vteps.includes(address) || leadsNowhere) continue;
    const onLink = addresses.filter((each) => each.index === index && !isLinkLocal(each.address));
    own.set(address, { link, prefixes: onLink.map((each) => cidrOf(each.address, each.prefixLength)) });
  }
  return own;
}

/** Next hops of a route with several of them that lead nowhere: a share of the packets is lost. */
async function* deadPaths(
  subject: Subject,
  { nexthops, destination }: Route,
  links: ReadonlyMap<number, Link>,
  { peer, vtep, from }: Way,
): AsyncGenerator<FindingDraft> {
  if (nexthops.length < 2) return;
  for (const { index = 0, gateway } of nexthops) {
    const link = links.get(index);
    const hop = `${gateway === undefined ? "" : `via ${gateway} `}dev ${link?.name ?? index}`;
    const isDeaf = gateway !== undefined && link !== undefined && (await answersNot(subject, link, gateway, from));
    if (link?.up === true && link.carrier && !isDeaf) continue;
    yield {
      code: "underlay-path-dead",
      object: { kind: "route to VTEP", key: vtep },
      expected: `each of the ${nexthops.length} next hops of ${destination} leads to node ${peer.name}`,
      found: isDeaf ? `nobody answers for ${hop}` : `${hop} is down`,
      cure: `take ${hop} out of the route ${destination} until it is back`,
    };
  }
}

/** Whether nobody answers for a next hop: the kernel may not have asked lately, where other paths had the packets. */
async function answersNot(
  { socket, host }: Subject,
  link: Link,
  gateway: IpAddress,
  from: IpAddress,
): Promise<boolean> {
  const neighbour = await lookUp(socket, getNeighbour(link.index, gateway));
  if (neighbour !== undefined && (neighbour.state & neighbourState.failed) !== 0) return true;
  if (familyOf(gateway) !== 4 || familyOf(from) !== 4 || link.mac === undefined || !link.up) return false;
  const sender = { index: link.index, mac: link.mac, ip: from as Ipv4Address };
  return (await whoHas(host, sender, gateway as Ipv4Address)) === undefined;
}

/** What one of this host's VTEP addresses is on, and what else is on that link. */
interface OwnLink {
  readonly link: Link;
  readonly prefixes: readonly Cidr[];
}

/** Packets from the VTEP come in by the interface that has this node's address, unless the underlay is laid out otherwise. */
function* otherWayBack(
  { host }: Subject,
  { nexthops, destination }: Route,
  links: ReadonlyMap<number, Link>,
  own: OwnLink | undefined,
  { peer, vtep }: Pick<Way, "peer" | "vtep">,
): Generator<FindingDraft> {
  if (own === undefined) return;
  const { link, prefixes } = own;
  const [hop] = nexthops;
  const isByLink = nexthops.some(({ index }) => index === link.index);
  const isDirect = nexthops.some(({ gateway }) => gateway === undefined);
  const isOnLink = prefixes.some((prefix) => cidrContains(prefix, vtep));
  if (isByLink && (isDirect || !isOnLink)) return;
  const away = links.get(hop?.index ?? 0)?.name ?? "another interface";
  const object = { kind: "route to VTEP", key: vtep };
  yield {
    code: "underlay-route-asymmetric",
    object,
    expected: isByLink
      ? `node ${peer.name} is on the link of ${link.name}`
      : `packets to node ${peer.name} leave by ${link.name}`,
    found: isByLink
      ? `${destination} leads by the router ${hop?.gateway}`
      : `${destination} leads by ${away}, while the address is on ${link.name}`,
    cure: `ip route get ${vtep}; take away the route ${destination} that leads it ${isByLink ? `by ${hop?.gateway}` : `by ${away}`}`,
  };
  if (!isByLink && familyOf(vtep) === 4 && isStrict(host, link.name))
    yield {
      code: "rp-filter-strict",
      object: { kind: "interface", key: link.name },
      expected: "rp_filter 0 or 2 where the way back is another interface",
      found: `rp_filter 1: what node ${peer.name} sends from ${vtep} is dropped as it comes in by ${link.name}`,
      cure: `sysctl -w net.ipv4.conf.${link.name}.rp_filter=2`,
    };
}

/** Whether the reverse path filter of an interface takes only what the way back leads by it: of both settings the higher counts. */
export function isStrict(host: Subject["host"], interfaceName: string): boolean {
  const values = ["all", interfaceName].map((name) => Number(host.readSysctl(`ipv4/conf/${name}/rp_filter`) ?? 0));
  return Math.max(...values) === 1;
}

function typeName(type: number): string {
  return Object.entries(routeType).find(([, value]) => value === type)?.[0] ?? `of type ${type}`;
}

export const underlayChecks: readonly Check[] = [addressCheck, linkCheck, routeCheck];
