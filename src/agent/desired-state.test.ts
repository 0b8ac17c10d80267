import assert from "node:assert/strict";
import { beforeEach, describe, it } from "node:test";
import { cidr } from "../base/cidr.ts";
import { ManualClock } from "../base/clock.ts";
import { type IpAddress, type Ipv4Address, type Ipv6Address, ip } from "../base/ip.ts";
import { mac } from "../base/mac.ts";
import { DesiredNetwork } from "../dataplane/desired.ts";
import type { NetworkSettings, NodeDataplane } from "../dataplane/index.ts";
import { DesiredPolicies } from "../dataplane/policy/desired-policies.ts";
import { Problems } from "../dataplane/report.ts";
import { type Endpoint, parseNetwork } from "../model/index.ts";
import { parsePolicy } from "../model/policy/index.ts";
import { Marked, placeIn } from "../testing/desired.ts";
import { DesiredState, interfaceAddresses, type UnderlayContext } from "./desired-state.ts";
import type { Attachment } from "./replica.ts";

/** The networks of a dataplane, and no kernel. */
class FakeDataplane
  implements Pick<NodeDataplane, "networks" | "putNetwork" | "removeNetwork" | "problems" | "policies">
{
  readonly policies = new DesiredPolicies();
  readonly problems = new Problems(() => {}, new ManualClock());
  readonly networks = new Map<string, DesiredNetwork>();

  putNetwork(settings: NetworkSettings): DesiredNetwork {
    const present = this.networks.get(settings.name);
    if (present?.settings.vni === settings.vni && present.settings.tenant === settings.tenant) {
      present.setSettings(settings);
      return present;
    }
    const network = new DesiredNetwork(settings);
    this.networks.set(settings.name, network);
    return network;
  }

  removeNetwork(name: string): void {
    this.networks.delete(name);
  }
}

let dataplane: FakeDataplane;
let attachments: Map<string, Attachment>;
let desired: DesiredState;

function setVteps(vteps: UnderlayContext["vteps"]): void {
  desired.setUnderlay({
    vteps,
    mtu: 1500,
    interfaceIndex: 2,
    interfaces: new Map([["eth0", 2]]),
    onLink: new Map(),
    prefixes: [cidr("192.0.2.0/24")],
  });
}

beforeEach(() => {
  dataplane = new FakeDataplane();
  attachments = new Map();
  desired = new DesiredState({
    node: "h0",
    dataplane: dataplane as unknown as NodeDataplane,
    attachments,
  });
  setVteps({ ipv4: ip("192.0.2.100") as Ipv4Address });
});

function putNetwork(name: string, wish: Record<string, unknown> & { readonly effectiveMtu?: number } = {}): void {
  const { effectiveMtu = 1450, ...fields } = wish;
  const network = parseNetwork({
    name,
    tenant: "acme",
    vni: 100,
    subnets: ["10.0.0.0/24", "fd00::/64"],
    ...fields,
  });
  assert.ok(network.ok, JSON.stringify(network));
  desired.apply({ kind: "network", state: { network: network.value, effectiveMtu, placement: "own" } });
}

function putNode(name: string, ipv4: string, ipv6?: string): void {
  const vtepAddresses = {
    ipv4: ip(ipv4) as Ipv4Address,
    ...(ipv6 === undefined ? {} : { ipv6: ip(ipv6) as Ipv6Address }),
  };
  desired.apply({ kind: "node", node: { name, vtepAddresses, underlayMtu: 1500, generation: 1 } });
}

function putEndpoint(id: string, node: string, network = "blue"): void {
  const endpoint: Endpoint = {
    id,
    network,
    node,
    mac: mac(`02:00:00:00:00:${id.slice(1).padStart(2, "0")}`),
    ips: [ip(`10.0.0.${id.slice(1)}`)],
    attachment: "netns",
    sequence: 1,
  };
  desired.apply({ kind: "endpoint", endpoint });
}

function attachHere(id: string, state: Attachment["state"] = "attached"): void {
  const place = {
    network: "blue",
    place: placeIn("/run/netns/c"),
    allowedAddresses: [],
  };
  attachments.set(id, { id, ...place, state });
}

function blue(): DesiredNetwork {
  const network = dataplane.networks.get("blue");
  assert.ok(network !== undefined);
  return network;
}

/** Remote endpoint → VTEP. */
function placement(): Record<string, IpAddress> {
  return Object.fromEntries([...blue().remotes.values()].map(({ id, vtep }) => [id, vtep]));
}

describe("endpoints of other nodes", () => {
  it("are behind the VTEP of their node", () => {
    putNetwork("blue");
    putNode("h1", "192.0.2.1");
    putEndpoint("e1", "h1");
    assert.deepEqual(placement(), { e1: "192.0.2.1" });
  });

  it("follow each its own node when nodes pass an address on", () => {
    putNetwork("blue");
    putNode("h1", "192.0.2.10");
    putNode("h2", "192.0.2.11");
    putEndpoint("e1", "h1");
    putEndpoint("e2", "h2");
    // h2 had gone from .11 to .12 first; a state sent whole names the nodes in another order.
    putNode("h1", "192.0.2.11");
    putNode("h2", "192.0.2.12");
    assert.deepEqual(placement(), { e1: "192.0.2.11", e2: "192.0.2.12" });
    // And they swap.
    putNode("h1", "192.0.2.12");
    putNode("h2", "192.0.2.11");
    assert.deepEqual(placement(), { e1: "192.0.2.12", e2: "192.0.2.11" });
  });

  it("have no place while their node has lost its VTEP address to another", () => {
    putNetwork("blue");
    putNode("h1", "192.0.2.10");
    putNode("h2", "192.0.2.11");
    putEndpoint("e1", "h1");
    putEndpoint("e2", "h2");
    desired.apply({ kind: "node", node: { name: "h2", vtepAddresses: {}, underlayMtu: 1500, generation: 1 } });
    putNode("h1", "192.0.2.11");
    assert.deepEqual(placement(), { e1: "192.0.2.11" });
    putNode("h2", "192.0.2.10");
    assert.deepEqual(placement(), { e1: "192.0.2.11", e2: "192.0.2.10" });
  });

  it("wait for the network, for the node, and for its VTEP of the network's family", () => {
    putEndpoint("e1", "h1");
    putNetwork("blue");
    assert.deepEqual(placement(), {});
    putNode("h1", "192.0.2.1");
    assert.deepEqual(placement(), { e1: "192.0.2.1" });
    setVteps({ ipv4: ip("192.0.2.100") as Ipv4Address, ipv6: ip("2001:db8::100") as Ipv6Address });
    putNetwork("six", { vni: 101, underlay: "ipv6" });
    putEndpoint("e2", "h1", "six");
    assert.equal(dataplane.networks.get("six")?.remotes.size, 0);
    putNode("h1", "192.0.2.1", "2001:db8::1");
    assert.equal(dataplane.networks.get("six")?.remote("e2")?.vtep, "2001:db8::1");
  });

  it("go with their removal, also while they wait", () => {
    putNetwork("blue");
    putEndpoint("e1", "h1");
    putEndpoint("e2", "h1");
    desired.apply({ kind: "endpoint-removed", network: "blue", id: "e1" });
    putNode("h1", "192.0.2.1");
    assert.deepEqual(placement(), { e2: "192.0.2.1" });
    desired.apply({ kind: "endpoint-removed", network: "blue", id: "e2" });
    assert.deepEqual(placement(), {});
  });

  it("mark nothing when they are told again as they are", () => {
    putNetwork("blue");
    putNode("h1", "192.0.2.1");
    putEndpoint("e1", "h1");
    const network = blue();
    const marked = new Marked(network);
    putNetwork("blue");
    putNode("h1", "192.0.2.1");
    putEndpoint("e1", "h1");
    assert.ok(marked.isEmpty);
  });
});

describe("networks that are routed with each other", () => {
  const routed = { gateway: "distributed", egress: true, hostAccess: true };
  const peersOf = (name: string): IpAddress[] => [...(dataplane.networks.get(name)?.peers ?? [])].sort();
  const red = { vni: 101, subnets: ["10.1.0.0/24", "fd01::/64"] };
  beforeEach(() => {
    putNetwork("blue", routed);
    putNetwork("red", { ...red, ...routed });
    putNode("h1", "192.0.2.1");
    putNode("h2", "192.0.2.2");
  });

  it("have as peers all nodes that have something in one of them, and flood to those that have it in the network", () => {
    putEndpoint("e1", "h1", "blue");
    putEndpoint("e2", "h2", "red");
    for (const name of ["blue", "red"]) assert.deepEqual(peersOf(name), ["192.0.2.1", "192.0.2.2"]);
    assert.deepEqual(blue().floodList, ["192.0.2.1"]);
    assert.deepEqual(blue().remoteVteps, ["192.0.2.1"]);
    // It moves, its node gets another VTEP, and it goes.
    putEndpoint("e2", "h1", "red");
    assert.deepEqual(peersOf("blue"), ["192.0.2.1"]);
    putEndpoint("e2", "h2", "red");
    putNode("h2", "192.0.2.20");
    assert.deepEqual(peersOf("blue"), ["192.0.2.1", "192.0.2.20"]);
    desired.apply({ kind: "endpoint-removed", network: "red", id: "e2" });
    assert.deepEqual(peersOf("blue"), ["192.0.2.1"]);
  });

  it("are apart from those that are not, and of other tenants", () => {
    putNetwork("green", { vni: 102, subnets: ["10.2.0.0/24"] });
    putNetwork("other", { vni: 103, tenant: "umbrella", ...routed });
    putEndpoint("e1", "h1", "green");
    putEndpoint("e2", "h2", "other");
    assert.deepEqual([peersOf("blue"), peersOf("green"), peersOf("other")], [[], ["192.0.2.1"], ["192.0.2.2"]]);
    putNetwork("green", { vni: 102, subnets: ["10.2.0.0/24"], gateway: "distributed" });
    assert.deepEqual(peersOf("blue"), ["192.0.2.1"]);
    putNetwork("green", { vni: 102, subnets: ["10.2.0.0/24"] });
    assert.deepEqual(peersOf("blue"), []);
  });

  it("are let into by who has something in a peer of another tenant, once both sides have declared it", () => {
    const wish = { vni: 103, tenant: "umbrella", subnets: ["10.3.0.0/24"], gateway: "distributed" };
    const settings = (name: string) => dataplane.networks.get(name)?.settings.peers;
    putNetwork("blue", { ...routed, peers: ["umbrella/other"] });
    putNetwork("other", wish);
    putEndpoint("e1", "h1", "other");
    putEndpoint("e2", "h2", "red");
    assert.deepEqual([peersOf("blue"), settings("blue"), settings("other")], [["192.0.2.2"], [], []]);
    putNetwork("other", { ...wish, peers: ["acme/blue"] });
    // Who has something in another network of the tenant is not let into the peer.
    assert.deepEqual(
      [peersOf("blue").sort(), peersOf("other"), peersOf("red")],
      [["192.0.2.1", "192.0.2.2"], ["192.0.2.1"], ["192.0.2.2"]],
    );
    const blueSubnets = [cidr("10.0.0.0/24"), cidr("fd00::/64")];
    assert.deepEqual(settings("other"), [{ network: "blue", tenant: "acme", subnets: blueSubnets }]);
    assert.deepEqual(settings("blue"), [{ network: "other", tenant: "umbrella", subnets: [cidr("10.3.0.0/24")] }]);
    putNetwork("other", { ...wish, subnets: ["10.4.0.0/24"], peers: ["acme/blue"] });
    assert.deepEqual(settings("blue")?.[0]?.subnets, [cidr("10.4.0.0/24")]);
    // Over an underlay that this node has no address of there is no way to it.
    putNetwork("other", { ...wish, vni: 104, underlay: "ipv6", peers: ["acme/blue"] });
    assert.deepEqual(settings("blue"), []);
    desired.apply({ kind: "network-removed", name: "other" });
    assert.deepEqual([peersOf("blue"), settings("blue")], [["192.0.2.2"], []]);
  });

  it("have the node as their gateway, but what they ask of the host only where something of them is here", () => {
    const asked = (name: string) => {
      const { gateways, egress, hostAccess } = dataplane.networks.get(name)?.settings ?? {};
      return [gateways?.map(({ address }) => address).join(" "), egress, hostAccess];
    };
    attachHere("e1");
    putEndpoint("e1", "h0", "blue");
    assert.deepEqual(asked("blue"), ["10.0.0.1 fd00::1", true, true]);
    assert.deepEqual(asked("red"), ["10.1.0.1 fd01::1", false, false]);
    attachments.delete("e1");
    desired.apply({ kind: "endpoint-removed", network: "blue", id: "e1" });
    assert.deepEqual(asked("blue"), ["10.0.0.1 fd00::1", false, false]);
  });
});

describe("endpoints of this node", () => {
  it("are put where they are attached, with the prefix lengths of their subnets", () => {
    putNetwork("blue");
    attachHere("e1");
    putEndpoint("e1", "h0");
    const local = blue().local("e1");
    assert.deepEqual(local?.place, placeIn("/run/netns/c"));
    assert.deepEqual(local?.addresses, [{ address: "10.0.0.1", prefixLength: 24 }]);
    assert.deepEqual([...desired.own.keys()], ["e1"]);
  });

  it("are nowhere while nothing is attached here, and come and go with the attachment", () => {
    putNetwork("blue");
    putEndpoint("e1", "h0");
    assert.equal(blue().local("e1"), undefined);
    attachHere("e1");
    desired.attachmentChanged("e1");
    assert.ok(blue().local("e1"));
    attachHere("e1", "releasing");
    desired.attachmentChanged("e1");
    assert.equal(blue().local("e1"), undefined);
  });

  it("stay while the server that forgot them is asked again", () => {
    putNetwork("blue");
    attachHere("e1", "unclaimed");
    putEndpoint("e1", "h0");
    assert.ok(blue().local("e1"));
  });

  it("have their port as long as they are attached, also while their place is elsewhere", () => {
    putNetwork("blue");
    putNode("h1", "192.0.2.1");
    attachHere("e1");
    putEndpoint("e1", "h1");
    assert.ok(blue().local("e1"));
    assert.deepEqual(placement(), { e1: "192.0.2.1" });
    putEndpoint("e1", "h0");
    assert.ok(blue().local("e1"));
    assert.deepEqual(placement(), {});
    putEndpoint("e1", "h1");
    assert.deepEqual([...desired.own.keys()], ["e1"]);
    attachments.delete("e1");
    desired.attachmentChanged("e1");
    assert.equal(blue().local("e1"), undefined);
    assert.deepEqual(placement(), { e1: "192.0.2.1" });
    assert.equal(desired.own.size, 0);
  });
});

describe("networks", () => {
  it("mark their devices when the MTU changes", () => {
    putNetwork("blue");
    attachHere("e1");
    putEndpoint("e1", "h0");
    const network = blue();
    const marked = new Marked(network);
    putNetwork("blue", { effectiveMtu: 1350 });
    assert.equal(blue(), network);
    assert.equal(network.settings.mtu, 1350);
    assert.ok(marked.hasOtherSettings);
  });

  it("with another VNI are made anew, with the endpoints that they have", () => {
    putNetwork("blue");
    putNode("h1", "192.0.2.1");
    attachHere("e1");
    putEndpoint("e1", "h0");
    putEndpoint("e2", "h1");
    const before = blue();
    putNetwork("blue", { vni: 200 });
    assert.notEqual(blue(), before);
    assert.equal(blue().settings.vni, 200);
    assert.ok(blue().local("e1"));
    assert.deepEqual(placement(), { e2: "192.0.2.1" });
  });

  it("leave with all that is theirs, and nothing of it comes back with the name", () => {
    putNetwork("blue");
    attachHere("e1");
    putEndpoint("e1", "h0");
    putEndpoint("e2", "h1");
    desired.apply({ kind: "network-removed", name: "blue" });
    assert.equal(dataplane.networks.size, 0);
    assert.equal(desired.own.size, 0);
    putNetwork("blue", { vni: 200 });
    putNode("h1", "192.0.2.1");
    assert.equal(blue().remotes.size, 0);
    assert.equal(blue().locals.size, 0);
  });

  it("whose family this node has no VTEP of wait for one", () => {
    putNetwork("six", { underlay: "ipv6" });
    assert.equal(dataplane.networks.size, 0);
    setVteps({ ipv4: ip("192.0.2.100") as Ipv4Address, ipv6: ip("2001:db8::100") as Ipv6Address });
    assert.equal(dataplane.networks.get("six")?.settings.localVtep, "2001:db8::100");
  });
});

it("gives addresses the prefix length of their subnet, and leaves out those of none", () => {
  const subnets = [cidr("10.0.0.0/24"), cidr("fd00::/64")];
  assert.deepEqual(interfaceAddresses([ip("10.0.0.9"), ip("fd00::9"), ip("10.7.0.1")], subnets), [
    { address: "10.0.0.9", prefixLength: 24 },
    { address: "fd00::9", prefixLength: 64 },
  ]);
});

describe("the MTU that the underlay cannot carry", () => {
  it("is a problem until it is cured, and names the smallest node that is known", () => {
    const putSmall = (underlayMtu: number) =>
      desired.apply({
        kind: "node",
        node: {
          name: "h3",
          vtepAddresses: { ipv4: ip("192.0.2.3") as Ipv4Address },
          underlayMtu,
          generation: 1,
        },
      });
    putNetwork("blue", { mtu: 1450 });
    assert.equal(dataplane.problems.size, 0);
    putSmall(1400);
    assert.match(
      `${dataplane.problems.get({ kind: "MTU", network: "blue" })?.error.message}`,
      /node h3 has an underlay MTU of 1400/,
    );
    putSmall(1500);
    assert.equal(dataplane.problems.size, 0);
  });

  it("is a problem, too, where the smallest node is not known here", () => {
    putNetwork("blue", { mtu: 1450, effectiveMtu: 1350 });
    assert.match(
      `${dataplane.problems.get({ kind: "MTU", network: "blue" })?.error.message}`,
      /asks for 1450, .* carries 1350/,
    );
    desired.apply({ kind: "network-removed", name: "blue" });
    assert.equal(dataplane.problems.size, 0);
  });

  it("routes say who is on a link, against what the prefixes of interfaces say", () => {
    const isDirect = () => [...blue().blocks.values()].map((block) => block.isDirect);
    putNetwork("blue", { mode: "l3", encapsulation: "gre", crossSubnet: true, subnets: ["10.0.0.0/16"] });
    putNode("h1", "203.0.113.1");
    desired.apply({
      kind: "block",
      block: { network: "blue", node: "h1", cidr: cidr("10.0.1.0/26"), generation: 1 },
    });
    assert.deepEqual(isDirect(), [false]);
    desired.setUnderlay({
      vteps: { ipv4: ip("192.0.2.100") as Ipv4Address },
      mtu: 1500,
      interfaceIndex: 2,
      interfaces: new Map([["eth0", 2]]),
      onLink: new Map([[ip("203.0.113.1"), true]]),
      prefixes: [cidr("192.0.2.0/24")],
    });
    assert.deepEqual(isDirect(), [true]);
  });
});

describe("policies", () => {
  const put = (name: string, tenant = "acme"): void => {
    const policy = parsePolicy({ name, tenant });
    assert.ok(policy.ok);
    desired.apply({ kind: "policy", policy: policy.value });
  };
  const putMember = (id: string, tenant = "acme"): void =>
    desired.apply({ kind: "policy-member", member: { id, tenant, network: "blue", ips: [], labels: {} } });
  const known = (tenant: string): (readonly string[])[] => {
    const { policies, members } = desired.policiesOf(tenant);
    return [[...policies], [...members]];
  };

  it("are known by their tenant with whom they speak of, until they go one by one or all together", () => {
    for (const name of ["p1", "p2"]) put(name);
    put("q", "other");
    for (const id of ["e1", "e2"]) putMember(id);
    putMember("f1", "other");
    assert.deepEqual([...desired.policyTenants], ["acme", "other"]);
    desired.apply({ kind: "policy-removed", tenant: "acme", name: "p1" });
    desired.apply({ kind: "policy-member-removed", tenant: "acme", network: "blue", id: "e1" });
    assert.deepEqual(known("acme"), [["p2"], ["e2"]]);
    desired.apply({ kind: "policies-removed", tenant: "acme" });
    assert.deepEqual(known("acme"), [[], []]);
    assert.deepEqual(known("other"), [["q"], ["f1"]]);
    assert.deepEqual([...desired.policyTenants], ["other"]);
    assert.equal(dataplane.policies.of("acme").policies.size, 0);
  });

  it("find the default of a network, and the labels of an endpoint here as they are now", () => {
    putNetwork("blue", { policyDefault: "deny" });
    assert.equal(blue().settings.policyDefault, "deny");
    attachHere("e1");
    putEndpoint("e1", "h0");
    assert.equal(blue().local("e1")?.labels, undefined);
    const endpoint = desired.own.get("e1");
    assert.ok(endpoint !== undefined);
    const marked = new Marked(blue());
    desired.apply({ kind: "endpoint", endpoint: { ...endpoint, labels: { app: "web" } } });
    assert.deepEqual(blue().local("e1")?.labels, { app: "web" });
    assert.ok(marked.ports.has("e1"));
  });
});
