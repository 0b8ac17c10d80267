import type { IpAddress } from "../../base/ip.ts";
import type { Vni } from "../../model/index.ts";
import { peerTunnelName, type Transport, tunnelName } from "../../model/names.ts";
import type { Link, LinkInfo } from "../../netlink/index.ts";
import type { NetworkSettings } from "../desired.ts";
import { geneveTunnel } from "./geneve.ts";
import { greTunnel, nvgreTunnel } from "./gre.ts";
import { ipipTunnel } from "./ipip.ts";
import type { TunnelDevice } from "./tunnel-device.ts";
import { vxlanTunnel } from "./vxlan.ts";

/** How one encapsulation is made of kernel devices. `peer`: the VTEP that the device leads to; absent: all of them. */
interface Encapsulation {
  /** `shared`: one device, whose entries name VTEPs. `per-peer`: a device for each VTEP, a mesh. */
  readonly topology: "shared" | "per-peer";
  readonly device: (network: NetworkSettings, transport: Transport, peer: IpAddress) => TunnelDevice;
}

const encapsulations: Readonly<Record<Transport["encapsulation"], Encapsulation>> = {
  vxlan: { topology: "shared", device: vxlanTunnel },
  geneve: { topology: "per-peer", device: geneveTunnel },
  nvgre: { topology: "per-peer", device: nvgreTunnel },
  gre: { topology: "per-peer", device: greTunnel },
  ipip: { topology: "per-peer", device: ipipTunnel },
};

export function isPerPeer(transport: Transport): boolean {
  return encapsulations[transport.encapsulation].topology === "per-peer";
}

/**
 * Whether the kernel takes packets of such a tunnel from every address, so that a filter must say whose are welcome. A
 * tunnel that leads to one VTEP takes packets of that one.
 */
export function takesFromAll(transport: Transport): boolean {
  return !isPerPeer(transport);
}

/** Whether frames carry an inner Ethernet header: then routes through the tunnel need a neighbour. */
export function carriesEthernet({ encapsulation }: Transport): boolean {
  return encapsulation !== "gre" && encapsulation !== "ipip";
}

/** A tunnel and the VTEP that it leads to; `undefined`: it leads to all. */
export interface PlannedTunnel {
  readonly device: TunnelDevice;
  readonly transport: Transport;
  readonly peer: IpAddress | undefined;
  /** Received from alone: nothing is sent through it. */
  readonly isStandby: boolean;
}

/** The tunnels of a network towards these peers, by the names of their devices. */
export function plannedTunnels(network: NetworkSettings, peers: Iterable<IpAddress>): Map<string, PlannedTunnel> {
  const planned = new Map<string, PlannedTunnel>();
  const all = [...peers];
  const plan = (transport: Transport, isStandby: boolean): void => {
    for (const peer of isPerPeer(transport) ? all : [undefined]) {
      const device = encapsulations[transport.encapsulation].device(network, transport, peer ?? network.localVtep);
      planned.set(device.name, { device, transport, peer, isStandby });
    }
  };
  // First what is sent by: while frames are flooded by one tunnel after another, one too many beats one too few.
  if (network.transport !== undefined) plan(network.transport, false);
  for (const transport of network.standby) plan(transport, true);
  return planned;
}

/** The tunnels of a transport by name: that of the one, or what all begin with and a `*`. */
export function tunnelPattern(transport: Transport, vni: Vni): string {
  if (!isPerPeer(transport)) return tunnelName(vni, transport.port);
  const name = peerTunnelName(transport, vni, "0.0.0.0" as IpAddress);
  return `${name.slice(0, name.indexOf("-") + 1)}*`;
}

/** What the device is made with, beside what all devices are. */
export function infoOf(device: TunnelDevice, fields: readonly string[] = Object.keys(device.settings)): LinkInfo {
  const chosen = Object.fromEntries(fields.map((field) => [field, device.settings[field]]));
  return { [device.field]: chosen } as LinkInfo;
}

/** Why the device that is there cannot become what is wanted; `undefined` when it can. */
export function tunnelConflict(wanted: TunnelDevice, link: Link): string | undefined {
  if (link.info.kind !== wanted.kind) return `it is a ${link.info.kind ?? "plain"} device`;
  const actual = actualSettings(wanted, link);
  for (const field of wanted.fixed)
    if (!isSame(actual[field], wanted.settings[field]))
      return `its ${field} is ${shown(actual[field])}, not ${shown(wanted.settings[field])}`;
  return undefined;
}

/** Whether a setting differs that can be changed on the living device. */
export function hasOtherSettings(wanted: TunnelDevice, link: Link): boolean {
  const actual = actualSettings(wanted, link);
  return Object.keys(wanted.settings).some((field) => !isSame(actual[field], wanted.settings[field]));
}

function actualSettings({ field }: TunnelDevice, { info }: Link): Readonly<Record<string, unknown>> {
  return (info[field] ?? {}) as Readonly<Record<string, unknown>>;
}

/** What the kernel does not report is off or unset. */
function isSame(actual: unknown, wanted: unknown): boolean {
  return actual === wanted || (actual === undefined && (wanted === false || wanted === 0));
}

function shown(value: unknown): string {
  return value === undefined ? "unset" : String(value);
}
