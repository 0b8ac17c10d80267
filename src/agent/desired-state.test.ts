import assert from "node:assert/strict";
import { beforeEach, describe, it } from "node:test";
import { cidr } from "../base/cidr.ts";
import { type IpAddress, type Ipv4Address, type Ipv6Address, ip } from "../base/ip.ts";
import { mac } from "../base/mac.ts";
import { DesiredNetwork } from "../dataplane/desired.ts";
import type { NetworkSettings, NodeDataplane } from "../dataplane/index.ts";
import { type Endpoint, parseNetwork } from "../model/index.ts";
import { DesiredState, interfaceAddresses, type UnderlayPlace } from "./desired-state.ts";
import type { Attachment } from "./replica.ts";

/** The networks of a dataplane, and no kernel. */
class FakeDataplane implements Pick<NodeDataplane, "networks" | "putNetwork" | "removeNetwork"> {
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

function setVteps(vteps: UnderlayPlace["vteps"]): void {
  desired.setUnderlay({
    vteps,
    interfaceIndex: 2,
    interfaces: new Map([["eth0", 2]]),
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
  desired.apply({ kind: "network", state: { network: network.value, effectiveMtu } });
}

function putNode(name: string, ipv4: string, ipv6?: string): void {
  const vtepAddresses = {
    ipv4: ip(ipv4) as Ipv4Address,
    ...(ipv6 === undefined ? {} : { ipv6: ip(ipv6) as Ipv6Address }),
  };
  desired.apply({ kind: "node", node: { name, vtepAddresses, underlayMtu: 1500, labels: {}, generation: 1 } });
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
  attachments.set(id, { id, network: "blue", netns: "/run/netns/c", interface: "eth0", state, inode: 0 });
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
    network.devicesChanged = false;
    network.changedMacs.clear();
    network.changedIps.clear();
    putNetwork("blue");
    putNode("h1", "192.0.2.1");
    putEndpoint("e1", "h1");
    assert.ok(!network.hasChanges);
  });
});

describe("endpoints of this node", () => {
  it("are put where they are attached, with the prefix lengths of their subnets", () => {
    putNetwork("blue");
    attachHere("e1");
    putEndpoint("e1", "h0");
    const local = blue().local("e1");
    assert.equal(local?.netns, "/run/netns/c");
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

  it("become remote when they move away, and local when they come", () => {
    putNetwork("blue");
    putNode("h1", "192.0.2.1");
    attachHere("e1");
    putEndpoint("e1", "h0");
    putEndpoint("e1", "h1");
    assert.equal(blue().local("e1"), undefined);
    assert.deepEqual(placement(), { e1: "192.0.2.1" });
    assert.equal(desired.own.size, 0);
    putEndpoint("e1", "h0");
    assert.ok(blue().local("e1"));
    assert.deepEqual(placement(), {});
  });
});

describe("networks", () => {
  it("mark their ports when the MTU changes", () => {
    putNetwork("blue");
    attachHere("e1");
    putEndpoint("e1", "h0");
    const network = blue();
    network.changedPorts.clear();
    putNetwork("blue", { effectiveMtu: 1350 });
    assert.equal(blue(), network);
    assert.equal(network.settings.mtu, 1350);
    assert.deepEqual([...network.changedPorts], ["e1"]);
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
