import { messageOf } from "../../base/errors.ts";
import type { IpAddress } from "../../base/ip.ts";
import { isLinkLocal } from "../../base/link-local.ts";
import { deviceMtuOf } from "../../dataplane/desired.ts";
import type { DesiredNetwork, KernelObject, LocalEndpoint } from "../../dataplane/index.ts";
import type { KernelNamespace } from "../../dataplane/kernel.ts";
import { type Link, listAddresses, listLinks, listRoutes, NetlinkSocket, type Route } from "../../netlink/index.ts";
import type { FindingDraft } from "../finding.ts";
import type { Check, ExaminedEndpoint, Subject } from "../subject.ts";

/** Endpoints looked at one after the other before others get their turn. */
const perTurn = 16;

const containerCheck: Check = {
  name: "interfaces in containers",
  async *run(subject) {
    let count = 0;
    for (const examined of subject.endpoints()) {
      if (++count % perTurn === 0) await new Promise((resolve) => setImmediate(resolve));
      const network = subject.dataplane.networks.get(examined.endpoint.network);
      const local = network?.local(examined.endpoint.id);
      if (network === undefined || local === undefined || local.standsBy === true) continue;
      const object = objectOf(network, examined.endpoint.id);
      let container: KernelNamespace;
      try {
        container = subject.kernel.open(examined.place.netns);
      } catch (error) {
        yield {
          code: "endpoint-namespace-gone",
          object,
          expected: `its namespace ${examined.place.netns}`,
          found: messageOf(error),
          cure: `weft detach ${network.settings.name} --netns ${examined.place.netns} --interface ${examined.place.interface}`,
        };
        continue;
      }
      using _ = container;
      using socket = new NetlinkSocket({ channel: container.openChannel({}) });
      yield* inside({ subject, examined, network, local, object, socket });
    }
  },
};

interface Inside {
  readonly subject: Subject;
  readonly examined: ExaminedEndpoint;
  readonly network: DesiredNetwork;
  readonly local: LocalEndpoint;
  readonly object: KernelObject;
  readonly socket: NetlinkSocket;
}

async function* inside(at: Inside): AsyncGenerator<FindingDraft> {
  const { object, socket, examined, network } = at;
  const { place } = examined;
  const links = await socket.dump(listLinks());
  const link = links.find(({ name }) => name === place.interface);
  if (link === undefined) {
    const found = `it has ${links.map(({ name }) => name).join(", ") || "none"}`;
    yield { code: "endpoint-interface-missing", object, expected: `interface ${place.interface}`, found };
    return;
  }
  const command = (words: string): string => `${words}, in ${place.netns}`;
  if (!link.up || !link.carrier)
    yield {
      code: "endpoint-link-down",
      object,
      expected: `${link.name} is up`,
      found: link.up ? "no carrier: its port on the node is down" : "it is down",
      cure: command(`ip link set ${link.name} up`),
    };
  const mtu = deviceMtuOf(network.settings);
  if (link.mtu !== mtu)
    yield {
      code: "endpoint-mtu-differs",
      object,
      expected: `MTU ${mtu}, as its network's`,
      found: `${link.mtu}${link.mtu > mtu ? ": larger packets do not arrive" : ""}`,
      ...(link.mtu > mtu ? {} : { severity: "warning" as const }),
      cure: command(`ip link set ${link.name} mtu ${mtu}`),
    };
  yield* identity(at, link, command);
  yield* routes(at, link, command);
}

/** Whether its addresses are its own, and all there. */
async function* identity(
  { object, socket, network, local }: Inside,
  link: Link,
  command: (words: string) => string,
): AsyncGenerator<FindingDraft> {
  const present = (await socket.dump(listAddresses({ index: link.index }))).map(({ address }) => address);
  for (const { address, prefixLength } of local.addresses)
    if (!present.includes(address))
      yield {
        code: "endpoint-address-missing",
        object,
        expected: `${address} on ${link.name}`,
        found: present.filter((each) => !isLinkLocal(each)).join(", ") || "no address",
        cure: command(`ip address add ${address}/${prefixLength} dev ${link.name}`),
      };
  for (const address of present) {
    const owner = ownerOf(network, address, local);
    if (owner === undefined) continue;
    yield {
      code: "endpoint-duplicate-address",
      object,
      expected: `its own addresses alone: ${local.addresses.map((own) => own.address).join(", ")}`,
      found: `${address}, which is ${owner}'s`,
      cure: command(`ip address del ${address} dev ${link.name}`),
    };
  }
  if (link.mac === undefined || link.mac === local.mac) return;
  const other = network.remotesByMac.get(link.mac);
  const isLocal = [...network.locals.values()].some(({ mac, id }) => mac === link.mac && id !== local.id);
  yield {
    code: other === undefined && !isLocal ? "object-not-in-place" : "endpoint-duplicate-mac",
    object,
    expected: `MAC ${local.mac}`,
    found: `${link.mac}${other === undefined && !isLocal ? "" : ", which is another endpoint's"}`,
    cure: command(`ip link set ${link.name} address ${local.mac}`),
  };
}

/** The endpoint that an address belongs to, if that is another one. */
function ownerOf(network: DesiredNetwork, address: IpAddress, local: LocalEndpoint): string | undefined {
  const remote = network.remotesByIp.get(address);
  if (remote !== undefined) return `an endpoint behind VTEP ${remote.vtep}`;
  const near = [...network.locals.values()].find(
    ({ id, addresses }) => id !== local.id && addresses.some((each) => each.address === address),
  );
  return near === undefined ? undefined : `endpoint ${near.id}`;
}

async function* routes(
  { object, socket, local, network }: Inside,
  link: Link,
  command: (words: string) => string,
): AsyncGenerator<FindingDraft> {
  const present = await socket.dump(listRoutes());
  for (const gateway of local.gateways ?? []) {
    const everything = gateway.includes(":") ? "::/0" : "0.0.0.0/0";
    const family = gateway.includes(":") ? " -6" : "";
    const defaults = present.filter(({ destination }) => destination === everything).sort(byMetric);
    const expected = `default via ${gateway} dev ${link.name}`;
    const [best] = defaults;
    if (!defaults.some((route) => leadsBy(route, link))) {
      // Another network of the container's may give the way out.
      if (best !== undefined) continue;
      const cure = command(`ip${family} route add default via ${gateway} dev ${link.name}`);
      yield { code: "endpoint-default-route-missing", object, expected, found: "no default route", cure };
    } else if (best !== undefined && leadsBy(best, link) && best.nexthops[0]?.gateway !== gateway) {
      const found = `default via ${best.nexthops[0]?.gateway ?? "nobody"} dev ${link.name}`;
      const cure = command(
        `ip${family} route replace ${expected}${best.priority === undefined ? "" : ` metric ${best.priority}`}`,
      );
      yield {
        code: "endpoint-gateway-differs",
        object,
        expected: `${expected}, of network ${network.settings.name}`,
        found,
        cure,
      };
    }
  }
}

function byMetric(a: Route, b: Route): number {
  return (a.priority ?? 0) - (b.priority ?? 0);
}

function leadsBy({ nexthops }: Route, link: Link): boolean {
  return nexthops.some(({ index }) => index === link.index);
}

const droppedCheck: Check = {
  name: "what endpoints may not send, and what policies forbid",
  *run({ dataplane, endpoints, droppedLately }) {
    for (const { endpoint } of endpoints()) {
      const network = dataplane.networks.get(endpoint.network);
      if (network === undefined) continue;
      const object = objectOf(network, endpoint.id);
      if (!droppedLately(object)) continue;
      const counts = Object.entries(dataplane.droppedOf(endpoint.network, endpoint.id));
      const denied = counts.filter(([reason]) => reason.startsWith("policy-"));
      const own = counts.filter(([reason]) => !reason.startsWith("policy-"));
      if (own.length > 0)
        yield {
          code: "endpoint-sends-what-is-not-its-own",
          object,
          expected: `frames of ${endpoint.mac} and ${endpoint.ips.join(", ")} alone`,
          found: `dropped since it is here: ${told(own)}`,
        };
      if (denied.length > 0)
        yield {
          code: "policy-denies",
          object,
          expected: "no packets that policies forbid",
          found: `dropped since it is here: ${told(denied)}`,
          cure: `weft policy explain ${endpoint.ips[0] ?? endpoint.id} TO, or FROM ${endpoint.ips[0] ?? endpoint.id}`,
        };
    }
  },
};

function told(counts: readonly (readonly [string, number])[]): string {
  return counts.map(([reason, count]) => `${count} ${reason}`).join(", ");
}

/** How long limits are watched, in milliseconds. */
const watched = 500;

const bandwidthCheck: Check = {
  name: "limits of bandwidth",
  async *run({ dataplane }) {
    const before = new Map((await dataplane.bandwidthUse()).map((use) => [keyOf(use), use]));
    if (before.size === 0) return;
    await new Promise((resolve) => setTimeout(resolve, watched));
    for (const use of await dataplane.bandwidthUse()) {
      const { network, endpoint, direction, dropped } = use;
      const more = dropped - (before.get(keyOf(use))?.dropped ?? dropped);
      if (more <= 0) continue;
      yield {
        code: "bandwidth-exhausted",
        object: {
          kind: endpoint === undefined ? "network" : "endpoint",
          network,
          ...(endpoint === undefined ? {} : { key: endpoint }),
        },
        expected: `what it ${direction}s within its limit`,
        found: `${more} packets dropped in ${watched} ms`,
      };
    }
  },
};

function keyOf({
  network,
  endpoint,
  direction,
}: {
  readonly network: string;
  readonly endpoint?: string;
  readonly direction: string;
}): string {
  return `${network} ${endpoint ?? ""} ${direction}`;
}

function objectOf({ settings }: DesiredNetwork, id: string): KernelObject {
  return { kind: "endpoint", tenant: settings.tenant, network: settings.name, key: id };
}

export const endpointChecks: readonly Check[] = [containerCheck, droppedCheck, bandwidthCheck];
