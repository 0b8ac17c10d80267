import type { InterfaceAddress } from "../../base/cidr.ts";
import type { Clock } from "../../base/clock.ts";
import { familyOf, type IpAddress } from "../../base/ip.ts";
import { linkLocalOf } from "../../base/link-local.ts";
import { networkMac } from "../../model/endpoint-mac.ts";
import { maximumMtu } from "../../model/mtu.ts";
import { type BridgeSettings, changeLink, createLink, getLink, type Link, type Request } from "../../netlink/index.ts";
import { type DesiredNetwork, deviceMtuOf, type NetworkSettings } from "../desired.ts";
import { aliasOf, bridgeName, weftGroup } from "../kernel-names.ts";
import type { Objects } from "../reconcile/objects.ts";
import { ReconciledObjects } from "../reconcile/reconciled-objects.ts";
import {
  addressChanges,
  applyChanges,
  type DeviceContext,
  isMarked,
  settleOnHost,
  wrongKind,
} from "./device-changes.ts";
import type { LinkTable } from "./link-table.ts";

export interface BridgeOptions {
  readonly desired: DesiredNetwork;
  readonly context: DeviceContext & { readonly clock: Clock; readonly links: () => LinkTable };
  /** The bridge is new: it has no ports, and its tables are empty. */
  readonly onMade: () => void;
  /** The one that is there will be changed, which may flush its tables; `isRepair`: because somebody else has changed it. */
  readonly onChange: (isRepair: boolean) => void;
  readonly onRepaired: (name: string, change: string) => void;
  readonly onAttempt: Objects<string>["onAttempt"];
}

/** The bridge of a network with the addresses that it answers for as a gateway. */
export class Bridge implements Objects<string> {
  readonly objects: ReconciledObjects<string>;
  readonly name: string;
  readonly onAttempt: Objects<string>["onAttempt"];
  readonly #options: BridgeOptions;
  #index = 0;

  constructor(options: BridgeOptions) {
    this.#options = options;
    this.name = bridgeName(options.desired.settings.vni);
    this.onAttempt = options.onAttempt;
    this.objects = new ReconciledObjects(this, options.context.clock);
    this.objects.markAll();
  }

  /** 0 until there is one. */
  get index(): number {
    return this.#index;
  }

  keys(): Iterable<string> {
    return [this.name];
  }

  isWanted(): boolean {
    return true;
  }

  async ensure(name: string, isDamaged: boolean): Promise<void> {
    const { desired, context, onMade, onChange, onRepaired } = this.#options;
    const { settings } = desired;
    const changes: string[] = [];
    const present = await context.links().find(name);
    if (present !== undefined && (present.info.kind !== "bridge" || !isMarked(present, context.instance)))
      throw wrongKind(name, present, "bridge", context);
    const link = present ?? (await makeBridge(name, settings, context));
    this.#index = link.index;
    await settleOnHost(link, context);
    if (present === undefined) {
      changes.push(`bridge ${name} had been removed; made again`);
      onMade();
    }
    const requests = [
      ...bridgeChanges(settings, context.instance, link),
      ...(await addressChanges(bridgeAddresses(settings), link, context.socket)),
    ];
    if (present !== undefined && requests.length > 0) onChange(isDamaged);
    await applyChanges(name, context.socket, requests, present !== undefined, changes);
    if (isDamaged) for (const change of changes) onRepaired(name, change);
  }

  /** It goes with its network alone. */
  async remove(): Promise<void> {}

  /** The bridge is now as told, or gone (`undefined`). Tells whether there is something to restore. */
  judgeLink(link: Link | undefined): boolean {
    const { desired, context } = this.#options;
    if (link !== undefined && bridgeChanges(desired.settings, context.instance, link).next().done === true)
      return false;
    this.objects.damage(this.name);
    return true;
  }

  /** An address of it came or went. Tells whether there is something to restore. */
  judgeAddress(address: IpAddress, isGone: boolean): boolean {
    const isWanted = bridgeAddresses(this.#options.desired.settings).some((wanted) => wanted.address === address);
    if (isWanted !== isGone) return false;
    this.objects.damage(this.name);
    return true;
  }
}

/**
 * A bridge follows the smallest MTU of its ports until its own is changed (net/bridge/br_device.c, `br_change_mtu`), which what it
 * was made with is not: it is made with one that no network has.
 */
const madeWithMtu = maximumMtu;

/**
 * What is switched from port to port does not see the bridge's own MTU. In a layer-2 network it bounds what this node sends
 * as a gateway, to containers of other nodes as well; in a layer-3 network what comes from them by tunnels.
 */
function bridgeMtu(network: NetworkSettings): number {
  return network.mode === "l2" ? network.mtu : deviceMtuOf(network);
}

async function makeBridge(name: string, network: NetworkSettings, { socket }: DeviceContext): Promise<Link> {
  await socket.execute(
    createLink("bridge", {
      name,
      // An explicit MAC: one that follows the ports would change with them and flush all neighbours.
      mac: networkMac(network.vni),
      mtu: madeWithMtu,
      group: weftGroup,
      info: { bridge: bridgeSettings(network) },
    }),
  );
  return socket.get(getLink({ name }));
}

/**
 * Ageing is told in hundredths of a second. Without a querier on the link snooping would cut multicast off after some
 * minutes. Ports are in no VLAN: for each VLAN of a port the bridge would hold every entry once more (net/bridge/br_fdb.c,
 * `br_fdb_add`).
 */
function bridgeSettings(network: NetworkSettings) {
  return { multicastSnooping: false, ageingTime: network.ageing * 100, vlanDefaultPvid: 0 } satisfies BridgeSettings;
}

function isAs(wanted: ReturnType<typeof bridgeSettings>, actual: BridgeSettings | undefined): boolean {
  return (
    actual?.multicastSnooping === wanted.multicastSnooping &&
    actual.ageingTime === wanted.ageingTime &&
    (actual.vlanDefaultPvid ?? 0) === wanted.vlanDefaultPvid
  );
}

/** What makes the bridge as it shall be; nothing if it is. */
function* bridgeChanges(network: NetworkSettings, instance: string, link: Link): Generator<Request> {
  const reference = { index: link.index };
  if (link.mac !== networkMac(network.vni)) yield changeLink(reference, { mac: networkMac(network.vni) });
  if (link.alias !== aliasOf(instance)) yield changeLink(reference, { alias: aliasOf(instance) });
  if (link.group !== weftGroup) yield changeLink(reference, { group: weftGroup });
  if (link.mtu !== bridgeMtu(network)) yield changeLink(reference, { mtu: bridgeMtu(network) });
  const wanted = bridgeSettings(network);
  if (!isAs(wanted, link.info.bridge)) yield changeLink(reference, { info: { kind: "bridge", bridge: wanted } });
  if (!link.up) yield changeLink(reference, { up: true });
}

/**
 * The addresses of the bridge: the gateways, and beside IPv6 ones a link-local address, without which the kernel
 * solicits no neighbour (net/ipv6/ndisc.c, `ndisc_solicit`).
 */
function bridgeAddresses({ gateways, vni }: NetworkSettings): readonly InterfaceAddress[] {
  return gateways.some(({ address }) => familyOf(address) === 6)
    ? [...gateways, { address: linkLocalOf(networkMac(vni)), prefixLength: 64 }]
    : gateways;
}
