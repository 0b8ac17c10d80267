import type { IpAddress } from "../../base/ip.ts";
import { encapsulations, type TunnelEncapsulation, type TunnelTransport } from "../../model/encapsulation.ts";
import type { Link, LinkInfo } from "../../netlink/index.ts";
import type { NetworkSettings } from "../desired.ts";
import { geneveTunnel } from "./geneve.ts";
import { greTunnel } from "./gre.ts";
import { ipipTunnel } from "./ipip.ts";
import { nvgreTunnel } from "./nvgre.ts";
import type { TunnelDevice } from "./tunnel-device.ts";
import { vxlanTunnel } from "./vxlan.ts";

/** The device that carries a network by each encapsulation to `peer`; where one serves all VTEPs, this node's own stands there. */
const deviceOf: Readonly<
  Record<TunnelEncapsulation, (network: NetworkSettings, transport: TunnelTransport, peer: IpAddress) => TunnelDevice>
> = {
  vxlan: vxlanTunnel,
  geneve: geneveTunnel,
  nvgre: nvgreTunnel,
  gre: greTunnel,
  ipip: ipipTunnel,
};

/**
 * Whether the kernel takes packets of such a tunnel from every address, so that a filter must say whose are welcome. A
 * tunnel that leads to one VTEP takes packets of that one.
 */
export function takesFromAll({ encapsulation }: TunnelTransport): boolean {
  return encapsulations[encapsulation].devices === "shared";
}

/** A tunnel and the VTEP that it leads to; `undefined`: it leads to all. */
export interface WantedTunnel {
  readonly device: TunnelDevice;
  readonly transport: TunnelTransport;
  readonly peer: IpAddress | undefined;
  /** Received from alone: nothing is sent through it. */
  readonly isStandby: boolean;
}

/** The tunnels of a network towards these peers, by the names of their devices. */
export function wantedTunnels(network: NetworkSettings, peers: Iterable<IpAddress>): Map<string, WantedTunnel> {
  const wanted = new Map<string, WantedTunnel>();
  const all = [...peers];
  const plan = (transport: TunnelTransport, isStandby: boolean): void => {
    const { encapsulation } = transport;
    for (const peer of encapsulations[encapsulation].devices === "shared" ? [undefined] : all) {
      const device = deviceOf[encapsulation](network, transport, peer ?? network.localVtep);
      wanted.set(device.name, { device, transport, peer, isStandby });
    }
  };
  // First what is sent by: while frames are flooded by one tunnel after another, one too many beats one too few.
  if (network.transport !== undefined) plan(network.transport, false);
  for (const transport of network.standby) plan(transport, true);
  return wanted;
}

/** What the device is made with, beside what all devices are. */
export function infoOf({ field, settings }: TunnelDevice): LinkInfo {
  return { [field]: settings } as LinkInfo;
}

/** What the device that is there is changed with. */
export function changedInfoOf({ kind, field, settings, fixed, isSetWhole }: TunnelDevice): LinkInfo {
  const told = Object.entries(settings).filter(([name]) => isSetWhole || !fixed.includes(name));
  return { kind, [field]: Object.fromEntries(told) } as LinkInfo;
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
