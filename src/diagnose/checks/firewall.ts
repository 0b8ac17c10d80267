import { hostPrefix } from "../../base/cidr.ts";
import { familyOf, type IpAddress, ip, ipFromBigInt, ipToBigInt } from "../../base/ip.ts";
import type { KernelObject } from "../../dataplane/index.ts";
import type { KernelNamespace } from "../../dataplane/kernel.ts";
import { hostDevice } from "../../dataplane/kernel-names.ts";
import { netlinkProtocol } from "../../linux/index.ts";
import { encapsulations } from "../../model/encapsulation.ts";
import { type Link, listLinks, listNftTables, lookUp, lookUpRoute, NetlinkSocket } from "../../netlink/index.ts";
import type { FindingCode } from "../codes.ts";
import type { FindingDraft } from "../finding.ts";
import { type Judge, type Judged, judgeContainer, judgeForwarding, judgeTunnel } from "../firewall/checks.ts";
import { judgeIn, readRuleset } from "../firewall/read-ruleset.ts";
import { causeWords, remediesFor } from "../firewall/remedies.ts";
import type { Ruleset } from "../firewall/ruleset.ts";
import { protocolNumber } from "../probe/packet.ts";
import type { Check, ExaminedEndpoint, Subject } from "../subject.ts";
import { sharedWays } from "./paths.ts";

/** Nodes whose tunnels' packets are judged at least, also where no packets are sent. */
const judgedAtLeast = 20;
/** Containers whose rules are read, at most: each takes nft twice. */
const containersAtMost = 50;
/** An address outside of everything, for what is forwarded to the world (RFC 5737, RFC 3849). */
const outside = { 4: ip("198.51.100.1"), 6: ip("2001:db8:ffff::1") } as const;

const hostCheck: Check = {
  name: "the firewall of this host",
  async *run(subject) {
    const { host } = subject;
    // weft's own tables are the agent's to keep.
    const ruleset = await readRuleset(host, (table) => table.startsWith("weft"));
    const judge = judgeOf(host, ruleset);
    const links = new Map((await subject.socket.dump(listLinks())).map((link) => [link.index, link]));
    yield* once(
      (async function* () {
        yield* tunnels(subject, ruleset, judge, links);
        yield* forwarded(subject, ruleset, judge, links);
      })(),
    );
  },
};

function judgeOf(namespace: KernelNamespace, ruleset: Ruleset): Judge {
  const answers = new Map();
  return (packet, hooks) => judgeIn(namespace, ruleset, packet, hooks, answers);
}

/** A rule drops the packets of many: it is told once. */
async function* once(findings: AsyncIterable<FindingDraft>): AsyncGenerator<FindingDraft> {
  const told = new Set<string>();
  for await (const finding of findings) {
    const key = `${finding.code} ${finding.object.key}`;
    if (!told.has(key)) yield finding;
    told.add(key);
  }
}

async function* tunnels(
  subject: Subject,
  ruleset: Ruleset,
  judge: Judge,
  links: ReadonlyMap<number, Link>,
): AsyncGenerator<FindingDraft> {
  for (const peer of subject.peers.slice(0, Math.max(subject.pathsTo, judgedAtLeast)))
    for (const { network, way } of sharedWays(subject, peer)) {
      const interfaceName = await interfaceTo(subject, way.to, way.from, links);
      const ends = {
        local: way.from,
        remote: way.to,
        protocol: protocolNumber(way),
        ...(way.port > 0 ? { port: way.port } : {}),
        ...(encapsulations[way.encapsulation].key === undefined ? {} : { vni: way.vni }),
        ...(interfaceName === undefined ? {} : { interfaceName }),
      };
      for (const judged of await judgeTunnel(judge, ends))
        yield* drops("firewall-drops-tunnel", judged, ruleset, {
          expected: `${judged.what}, node ${peer.name}, pass: packets of network ${network}`,
        });
    }
}

async function* forwarded(
  subject: Subject,
  ruleset: Ruleset,
  judge: Judge,
  links: ReadonlyMap<number, Link>,
): AsyncGenerator<FindingDraft> {
  for (const { settings, locals } of subject.dataplane.networks.values()) {
    if (!settings.egress || settings.placement === "host") continue;
    const [endpoint] = locals.values();
    for (const { address } of endpoint?.addresses ?? []) {
      const family = familyOf(address);
      // Where no route leads to everywhere, other nodes are outside as well.
      const others = subject.peers.flatMap(({ vteps }) => vteps).filter((vtep) => familyOf(vtep) === family);
      const found = await firstReached(subject, [outside[family], ...others.slice(0, 1)], links);
      if (found === undefined) continue;
      const { to, out } = found;
      const by = hostDevice({ instance: subject.instance, tenant: settings.tenant });
      for (const judged of await judgeForwarding(judge, { from: address, to, in: by, out }))
        yield* drops("firewall-drops-forward", judged, ruleset, {
          expected: `${judged.what} pass: network ${settings.name} reaches the world outside by this host`,
        });
    }
  }
}

/** What surely drops it; what only may is not told, as packets that are sent show whether it does. */
function* drops(
  code: FindingCode,
  { what, packet, judgement, isAcceptedOnceEstablished }: Judged,
  ruleset: Ruleset,
  more: { readonly expected: string; readonly object?: KernelObject; readonly inside?: string },
): Generator<FindingDraft> {
  const { by, verdict } = judgement;
  if (by === undefined || isAcceptedOnceEstablished === true) return;
  const { remove, precede, manager } = remediesFor(ruleset, by, packet);
  const words = causeWords(by);
  yield {
    code,
    object: more.object ?? { kind: "firewall", key: words },
    expected: more.expected,
    found: `${what}: ${verdict === "reject" ? "rejected" : "dropped"}`,
    cause: words,
    cure:
      manager === undefined ? `${precede}${more.inside ?? ""}; or ${remove}` : `${manager.command} (${manager.name})`,
  };
}

async function firstReached(
  subject: Subject,
  addresses: readonly IpAddress[],
  links: ReadonlyMap<number, Link>,
): Promise<{ readonly to: IpAddress; readonly out: string } | undefined> {
  for (const to of addresses) {
    const out = await interfaceTo(subject, to, undefined, links);
    if (out !== undefined) return { to, out };
  }
  return undefined;
}

async function interfaceTo(
  { socket }: Subject,
  to: IpAddress,
  from: IpAddress | undefined,
  links: ReadonlyMap<number, Link>,
): Promise<string | undefined> {
  const route = await lookUp(socket, lookUpRoute(hostPrefix(to), from)).catch(() => undefined);
  return links.get(route?.nexthops[0]?.index ?? 0)?.name;
}

const containerCheck: Check = {
  name: "firewalls inside containers",
  async *run(subject) {
    let left = containersAtMost;
    for (const examined of subject.endpoints()) {
      if (left === 0) return;
      let container: KernelNamespace;
      try {
        container = subject.kernel.open(examined.place.netns);
      } catch {
        // The check of interfaces tells of it.
        continue;
      }
      using inside = container;
      if (!(await hasRules(inside))) continue;
      left--;
      yield* inContainer(subject, examined, inside);
    }
  },
};

/** Whether anything of nftables is there: containers as a rule have nothing, and that is quickly seen. */
async function hasRules(container: KernelNamespace): Promise<boolean> {
  using socket = new NetlinkSocket({ channel: container.openChannel({ protocol: netlinkProtocol.netfilter }) });
  for (const family of ["inet", "ip", "ip6"] as const)
    if ((await socket.dump(listNftTables(family)).catch(() => [])).length > 0) return true;
  return false;
}

async function* inContainer(
  subject: Subject,
  { endpoint, place }: ExaminedEndpoint,
  container: KernelNamespace,
): AsyncGenerator<FindingDraft> {
  const network = subject.dataplane.networks.get(endpoint.network);
  if (network === undefined) return;
  const ruleset = await readRuleset(container);
  const judge = judgeOf(container, ruleset);
  const object = { kind: "endpoint", tenant: network.settings.tenant, network: endpoint.network, key: endpoint.id };
  for (const own of endpoint.ips) {
    const other = otherIn(own);
    for (const judged of await judgeContainer(judge, { own, other, interfaceName: place.interface }))
      yield* drops("endpoint-firewall", judged, ruleset, {
        object,
        expected: `${judged.what} pass`,
        inside: `, in ${place.netns}`,
      });
  }
}

/** Some other address of the same network: which, no rule that is meant for all of them tells apart. */
function otherIn(own: IpAddress): IpAddress {
  const number = ipToBigInt(own);
  return ipFromBigInt(number % 2n === 0n ? number + 1n : number - 1n, familyOf(own));
}

export const firewallChecks: readonly Check[] = [hostCheck, containerCheck];
