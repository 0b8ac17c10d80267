import type { Cidr } from "../base/cidr.ts";
import { cidr } from "../base/cidr.ts";
import type { IpAddress } from "../base/ip.ts";
import { ip } from "../base/ip.ts";
import type { MacAddress } from "../base/mac.ts";
import type { DesiredNetwork, DeviceMarks, NamespacePlace, NetworkSettings, RowMarks } from "../dataplane/desired.ts";
import type { Vni } from "../model/index.ts";
import { defaultStormControl } from "../model/storm-control.ts";

/** A layer-2 network over VXLAN as it is where nothing else is said. */
export function networkSettings(changes: Partial<NetworkSettings> = {}): NetworkSettings {
  return {
    name: "blue-net",
    tenant: "blue",
    placement: "own",
    vni: 100 as Vni,
    mode: "l2",
    subnets: [cidr("10.0.0.0/24"), cidr("fd00::/64")],
    mtu: 1450,
    transport: { encapsulation: "vxlan", port: 4789 },
    standby: [],
    localVtep: ip("192.0.2.1"),
    flood: "head-end",
    floodsUnknown: true,
    arpSuppression: true,
    learning: "control-plane",
    localLearning: false,
    vlanTags: false,
    antiSpoof: true,
    stormControl: defaultStormControl,
    answersDhcp: false,
    answersAtNodeAddress: false,
    policyDefault: "allow",
    ageing: 300,
    gateways: [],
    egress: false,
    egressBlocked: [],
    hostAccess: false,
    peers: [],
    ...changes,
  };
}

/** What changes of a network have marked. */
export class Marked implements RowMarks, DeviceMarks {
  readonly macs = new Set<MacAddress>();
  readonly ips = new Set<IpAddress>();
  readonly blocks = new Set<Cidr>();
  readonly floods = new Set<IpAddress>();
  readonly peers = new Set<IpAddress>();
  readonly ports = new Set<string>();
  hasOtherSettings = false;
  readonly mac = (mac: MacAddress): unknown => this.macs.add(mac);
  readonly ip = (ip: IpAddress): unknown => this.ips.add(ip);
  readonly block = (cidr: Cidr): unknown => this.blocks.add(cidr);
  readonly flooded = (vtep: IpAddress): unknown => this.floods.add(vtep);
  readonly peer = (vtep: IpAddress): unknown => this.peers.add(vtep);
  readonly port = (endpoint: string): unknown => this.ports.add(endpoint);
  isForwardingOtherwise = false;

  /** From now on, of this network. */
  constructor(network: DesiredNetwork) {
    network.markedBy(this, this);
  }

  settings(): void {
    this.hasOtherSettings = true;
  }

  forwarding(): void {
    this.isForwardingOtherwise = true;
  }

  get isEmpty(): boolean {
    const sets = [this.macs, this.ips, this.blocks, this.floods, this.peers, this.ports];
    return !this.hasOtherSettings && !this.isForwardingOtherwise && sets.every((set) => set.size === 0);
  }
}

/** An interface of a container's namespace. */
export function placeIn(netns: string, name = "eth0", routePriority = 1): NamespacePlace {
  return { kind: "netns", netns, interface: name, inode: 0, routePriority };
}
