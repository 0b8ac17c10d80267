import { WeftError } from "../../base/errors.ts";
import type { IpFamily } from "../../base/ip.ts";
import { isErrno } from "../../linux/index.ts";
import {
  changeLink,
  createLink,
  deleteLink,
  getLink,
  type InterfaceAddressEntry,
  type Link,
  listAddresses,
  lookUp,
  type NetlinkSocket,
  type Request,
  replaceAddress,
} from "../../netlink/index.ts";
import type { KernelNamespace } from "../kernel.ts";
import { aliasOf, hostDevice, isOwnLink, tenantDevice, type UplinkIdentity, weftGroup } from "../kernel-names.ts";
import type { Nftables } from "../nft/nftables.ts";
import { ensureSysctls, quietSysctls } from "../sysctls.ts";
import { type AddressPair, linkLocal, type PairAddresses, pairPrefixLength } from "./addresses.ts";

/** A namespace and how to speak with its kernel. */
export interface Side {
  readonly namespace: KernelNamespace;
  readonly socket: NetlinkSocket;
  readonly nftables: Nftables;
}

export interface PairContext {
  readonly identity: UplinkIdentity;
  readonly tenant: Side;
  readonly underlay: Side;
}

type End = keyof AddressPair;
export const ends = ["host", "tenant"] as const satisfies readonly End[];

export type Ends = Readonly<Partial<Record<End, Link>>>;

export function sideOf(context: PairContext, end: End): Side {
  return end === "host" ? context.underlay : context.tenant;
}

/** What there is of the pair. Throws where somebody else's device has the name. */
export async function findEnds(context: PairContext): Promise<Ends> {
  const host = await find(context, "host");
  const tenant = await find(context, "tenant");
  return { ...(host === undefined ? {} : { host }), ...(tenant === undefined ? {} : { tenant }) };
}

/** How a pair shall be. */
export interface PairSettings {
  readonly addresses: PairAddresses;
  readonly mtu: number;
  /** Families of what the host forwards for the tenant. */
  readonly forwarded: readonly IpFamily[];
}

/** Devices, marks, addresses and settings of both ends. Tells what had to be changed on devices that were there. */
export async function ensurePair(
  context: PairContext,
  present: Ends,
  { addresses, mtu, forwarded }: PairSettings,
): Promise<{
  readonly host: number;
  readonly tenant: number;
  readonly isNew: boolean;
  readonly changes: readonly string[];
  readonly sysctlWrites: number;
}> {
  let { host, tenant } = present;
  const isPair = host !== undefined && tenant !== undefined && host.link === tenant.index && tenant.link === host.index;
  if (!isPair) {
    await removeEnds(context, present);
    await create(context, mtu);
    host = await context.underlay.socket.get(getLink({ name: hostDevice(context.identity) }));
    tenant = await context.tenant.socket.get(getLink({ name: tenantDevice }));
  }
  if (host === undefined || tenant === undefined) throw new TypeError("a pair has two ends");
  const changes: string[] = [];
  let sysctlWrites = 0;
  for (const end of ends) {
    const side = sideOf(context, end);
    const link = end === "host" ? host : tenant;
    const written = ensureSysctls(side.namespace, [sysctlsOf(end, link.name, forwarded)]);
    sysctlWrites += written.length;
    changes.push(...written.map(({ name, wanted }) => `${name} = ${wanted}`));
    const requests = [
      ...missingAddresses(link.index, end, addresses, await side.socket.dump(listAddresses({ index: link.index }))),
      ...endChanges(link, context.identity.instance, mtu),
    ];
    // One after the other, so that nothing comes up that is not complete: it would give itself an IPv6 address.
    for (const request of requests) await side.socket.execute(request);
    changes.push(...requests.map((request) => request.describe()));
  }
  return { host: host.index, tenant: tenant.index, isNew: !isPair, changes: isPair ? changes : [], sysctlWrites };
}

/** What makes an end as it shall be. It comes up last. */
export function* endChanges(link: Link, instance: string, mtu: number): Generator<Request> {
  const reference = { index: link.index };
  if (link.alias !== aliasOf(instance)) yield changeLink(reference, { alias: aliasOf(instance) });
  if (link.group !== weftGroup) yield changeLink(reference, { group: weftGroup });
  if (link.mtu !== mtu) yield changeLink(reference, { mtu });
  if (link.ipv6AddressGenerationMode === 0) yield changeLink(reference, { ipv6AddressGeneration: "none" });
  if (!link.up) yield changeLink(reference, { up: true });
}

/** Both ends go with one. */
export async function removeEnds(context: PairContext, present: Ends): Promise<void> {
  for (const end of ends) {
    const link = present[end];
    if (link === undefined) continue;
    await sideOf(context, end)
      .socket.execute(deleteLink({ index: link.index }))
      .catch((error: unknown) => {
        if (!isErrno(error, "ENODEV")) throw error;
      });
  }
}

/** Those of the devices go with them. */
function sysctlsOf(end: End, device: string, forwarded: readonly IpFamily[]): Readonly<Record<string, string>> {
  return {
    ...quietSysctls(device),
    ...(end === "host"
      ? // Loose: blocks may be reached one way and answer another while nodes change.
        {
          [`ipv4/conf/${device}/rp_filter`]: "2",
          ...Object.fromEntries(forwarded.map((family) => [forwardingOf(family, device), "1"])),
        }
      : { "ipv4/ip_forward": "1", "ipv6/conf/all/forwarding": "1" }),
  };
}

/** The switch for what comes in by one device. IPv6 has it since Linux 6.17. */
export function forwardingOf(family: IpFamily, device: string): string {
  return family === 4 ? `ipv4/conf/${device}/forwarding` : `ipv6/conf/${device}/force_forwarding`;
}

function* missingAddresses(
  index: number,
  end: End,
  addresses: PairAddresses,
  present: readonly InterfaceAddressEntry[],
): Generator<Request> {
  for (const { address, prefixLength } of addressesOf(end, addresses))
    if (!present.some((there) => there.address === address && there.prefixLength === prefixLength))
      yield replaceAddress({ index, address, prefixLength, withoutDad: true });
}

/** What an end has. */
export function addressesOf(
  end: End,
  addresses: PairAddresses,
): readonly Pick<InterfaceAddressEntry, "address" | "prefixLength">[] {
  return [
    { address: addresses[4][end], prefixLength: pairPrefixLength[4] },
    { address: addresses[6][end], prefixLength: pairPrefixLength[6] },
    { address: linkLocal[end], prefixLength: 64 },
  ];
}

async function create(context: PairContext, mtu: number): Promise<void> {
  await context.underlay.socket.execute(
    createLink("veth", {
      name: hostDevice(context.identity),
      mtu,
      group: weftGroup,
      info: { peer: { name: tenantDevice, mtu, group: weftGroup, namespace: context.tenant.namespace } },
    }),
  );
}

async function find(context: PairContext, end: End): Promise<Link | undefined> {
  const { namespace, socket } = sideOf(context, end);
  const name = end === "host" ? hostDevice(context.identity) : tenantDevice;
  const link = await lookUp(socket, getLink({ name }));
  if (link === undefined) return undefined;
  if (link.info.kind === "veth" && (isOwnLink(link) || link.alias === aliasOf(context.identity.instance))) return link;
  throw new WeftError({
    code: "already-exists",
    attempted: `create the uplink ${name} of tenant ${context.identity.tenant} in ${namespace.label}`,
    reason: `a ${link.info.kind ?? "plain"} device of this name is there already and weft did not make it`,
    hint: `delete it with: ip link delete ${name}`,
  });
}
