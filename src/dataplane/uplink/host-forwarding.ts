import type { IpFamily } from "../../base/ip.ts";
import { type Link, listLinks, type NftSet, nftField } from "../../netlink/index.ts";
import type { KernelNamespace } from "../kernel.ts";
import { forwardingTable, hostDevicePattern, isOwnLink, isRoutingDevice, weftGroup } from "../kernel-names.ts";
import type { NftTable } from "../nft/table.ts";
import * as nft from "../nft/words.ts";
import type { Report } from "../report.ts";
import { forwardingOf, type Side } from "./pair.ts";
import { families } from "./request.ts";

/**
 * Forwarding on the host, without making it a router for everyone.
 *
 * A packet is forwarded if forwarding is on at the device that it came by. Where the host does not forward anyway, weft
 * switches it on at the devices that packets of tenants come back by, and nowhere else. Others could now use the host as a
 * router from there; {@link forwardingTable} keeps things as they were for them. Its sets are the record of what weft
 * switched on, in the kernel, for all uplinks and instances together: the last uplink that goes switches off again.
 * Once somebody else switches forwarding on for the whole host, the guard goes: it is not weft's to judge any more.
 *
 * IPv6 has a switch for each device since Linux 6.17 (`force_forwarding`). Before, there is only the one for the whole
 * host. It makes the host a router, and routers ignore router advertisements (RFC 4861 §6.2.7), on which hosts' default
 * routes hang, unless `accept_ra` is 2. This switch stays on when the last uplink goes, since nobody can tell who
 * relies on it by then.
 */

/** Devices of the host's own that packets come by which the host is to forward. */
export type ForwardingDevices = Readonly<Record<IpFamily, readonly string[]>>;

const global: Readonly<Record<IpFamily, string>> = { 4: "ipv4/ip_forward", 6: "ipv6/conf/all/forwarding" };

/**
 * `before` is what was guarded, should the record have been lost. Returns what is guarded now, and how often settings were
 * written.
 */
export async function ensureForwarding(
  underlay: Side,
  devices: ForwardingDevices,
  before: ForwardingDevices,
  report: Report,
): Promise<{ readonly guarded: ForwardingDevices; readonly writes: number }> {
  const { namespace, nftables } = underlay;
  const recorded = await recordedDevices(underlay);
  const guarded: Record<IpFamily, string[]> = { 4: [], 6: [] };
  const switches: { readonly key: string; readonly device: string }[] = [];
  let isGlobalNeeded = false;
  for (const family of families) {
    const isRouter = namespace.readSysctl(global[family]) === "1";
    if (!isRouter && devices[family].length > 0 && namespace.readSysctl(forwardingOf(family, "default")) === undefined)
      isGlobalNeeded = true;
    const record = [...before[family], ...(recorded?.[family] ?? [])];
    const off: string[] = [];
    for (const device of devices[family]) {
      const key = forwardingOf(family, device);
      if (namespace.readSysctl(key) !== "0" || (family === 6 && isRouter)) continue;
      off.push(device);
      switches.push({ key, device });
    }
    if (!isRouter) guarded[family] = [...new Set([...record, ...off])].sort();
  }
  let writes = 0;
  if (guarded[4].length + guarded[6].length > 0) await nftables.ensure(guardTable(guarded));
  else if (recorded !== undefined) await nftables.remove("inet", forwardingTable);
  for (const { key, device } of switches) {
    namespace.writeSysctl(key, "1");
    writes++;
    report({
      level: "info",
      kind: "adjusted",
      object: { kind: "host interface", key: device },
      message: `switched on net.${key.replaceAll("/", ".")} for packets of tenants; the last uplink switches it off`,
    });
  }
  if (isGlobalNeeded) writes += await makeIpv6Router(underlay, report);
  return { guarded, writes };
}

/** After an uplink went: switches off what weft switched on if it was the last. Returns how often settings were written. */
export async function releaseForwarding(underlay: Side): Promise<number> {
  const { namespace, socket, nftables } = underlay;
  const links = await socket.dump(listLinks());
  if (links.some((link) => isOwnLink(link) && (hostDevicePattern.test(link.name) || isRoutingDevice(link.name))))
    return 0;
  const recorded = await recordedDevices(underlay);
  if (recorded === undefined) return 0;
  let writes = 0;
  for (const family of families) {
    if (namespace.readSysctl(global[family]) === "1") continue;
    for (const device of recorded[family]) {
      const key = forwardingOf(family, device);
      if (namespace.readSysctl(key) !== "1") continue;
      namespace.writeSysctl(key, "0");
      writes++;
    }
  }
  await nftables.remove("inet", forwardingTable);
  return writes;
}

const deviceSet = (family: IpFamily): Pick<NftSet, "name" | "key"> => ({
  name: `devices${family}`,
  key: [nftField.ifname],
});

async function recordedDevices({ nftables }: Side): Promise<ForwardingDevices | undefined> {
  const recorded = await nftables.contents("inet", forwardingTable, families.map(deviceSet));
  const ofFamily = (family: IpFamily): readonly string[] => recorded?.get(deviceSet(family).name) ?? [];
  return recorded === undefined ? undefined : { 4: ofFamily(4), 6: ofFamily(6) };
}

/** What came by a device whose forwarding is on for tenants goes to tenants, or nowhere. */
function guardTable(devices: Readonly<Record<IpFamily, readonly string[]>>): NftTable {
  return {
    family: "inet",
    name: forwardingTable,
    sets: families.map((family) => ({ ...deviceSet(family), elements: devices[family] })),
    rules: [
      nft.chain("forward", { type: "filter", hook: "forward", prio: nft.hookPriority.filter }),
      ...families.map((family) =>
        nft.rule(
          "forward",
          nft.match({ meta: { key: "nfproto" } }, family === 4 ? "ipv4" : "ipv6"),
          nft.from(`@devices${family}`),
          nft.match({ meta: { key: "oifgroup" } }, weftGroup, "!="),
          nft.drop,
        ),
      ),
    ],
  };
}

async function makeIpv6Router({ namespace, socket }: Side, report: Report): Promise<number> {
  const links = await socket.dump(listLinks());
  const listening = links.filter((link) => !isOwnLink(link) && obeysRouters(namespace, link));
  // First: with the switch go the default routes of devices that would not accept them any more.
  for (const { name } of listening) namespace.writeSysctl(`ipv6/conf/${name}/accept_ra`, "2");
  namespace.writeSysctl(global[6], "1");
  const kept = listening.map(({ name }) => name).join(", ");
  report({
    level: "warning",
    kind: "adjusted",
    object: { kind: "host" },
    message:
      "switched on net.ipv6.conf.all.forwarding for packets of tenants: this kernel has no switch for single interfaces; it stays on" +
      (kept === "" ? "" : `; router advertisements are still obeyed on ${kept} (accept_ra = 2)`),
  });
  return listening.length + 1;
}

function obeysRouters(namespace: KernelNamespace, { name }: Link): boolean {
  return name !== "lo" && namespace.readSysctl(`ipv6/conf/${name}/accept_ra`) === "1";
}
