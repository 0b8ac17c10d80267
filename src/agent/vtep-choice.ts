import { cidrContains } from "../base/cidr.ts";
import { WeftError } from "../base/errors.ts";
import { familyOf, type IpAddress } from "../base/ip.ts";
import type { UnderlaySelector } from "../model/underlay-selector.ts";
import { impossibleVtep } from "../model/vtep-address.ts";
import type { InterfaceAddressEntry, Link } from "../netlink/index.ts";

/** A VTEP address of this node, and the interface that has it. */
export interface ChosenVtep {
  readonly address: IpAddress;
  readonly link: Link;
  /** What speaks against it, where it was asked for by name. */
  readonly remark?: string;
}

export interface VtepChoice {
  /** One of each family at most. */
  readonly chosen: readonly ChosenVtep[];
  /** No address of this family was chosen, and duplicate address detection of one that is meant is under way. */
  readonly isAwaited: boolean;
}

interface Obstacle {
  readonly kind: "impossible" | "inside VRF" | "duplicate";
  /** What the address is. */
  readonly text: string;
}

interface Candidate {
  readonly address: IpAddress;
  readonly link: Link;
  /** Why it cannot be a VTEP address. */
  readonly obstacle?: Obstacle;
  /** Why another one is better. */
  readonly flaw?: string;
  readonly isTentative: boolean;
}

/** linux/rtnetlink.h: RT_SCOPE_UNIVERSE. */
export const globalScope = 0;

/**
 * The addresses of this host that the selectors mean. Of several it is the first that is stable and preferred; `before`,
 * the addresses until now, stay as long as they are there. An address that was given itself may be temporary or
 * deprecated. Throws when a selector finds none, with what speaks against each.
 */
export function chooseVteps(
  selectors: readonly UnderlaySelector[],
  present: readonly InterfaceAddressEntry[],
  links: readonly Link[],
  before: readonly IpAddress[],
): VtepChoice {
  const chosen: ChosenVtep[] = [];
  let isAwaited = false;
  for (const selector of selectors) {
    const candidates = present
      .filter((entry) => isMeant(selector, entry, links))
      .flatMap((entry) => candidateOf(entry, links));
    let found = false;
    for (const family of [4, 6] as const) {
      const ofFamily = candidates.filter(({ address }) => familyOf(address) === family);
      if (ofFamily.length === 0 || chosen.some(({ address }) => familyOf(address) === family)) continue;
      const best = bestOf(ofFamily, before, selector.kind === "address");
      isAwaited ||= best === undefined && ofFamily.some(({ isTentative }) => isTentative);
      if (best === undefined) continue;
      found = true;
      const { address, link, flaw } = best;
      chosen.push({ address, link, ...(flaw === undefined ? {} : { remark: `${address} is ${flaw}` }) });
    }
    if (!found) throw nothingFound(selector, candidates);
  }
  return { chosen, isAwaited };
}

function isMeant(
  selector: UnderlaySelector,
  { index, address, scope }: InterfaceAddressEntry,
  links: readonly Link[],
): boolean {
  switch (selector.kind) {
    case "address":
      return address === selector.address;
    case "prefix":
      return cidrContains(selector.prefix, address);
    case "interface":
      return scope === globalScope && links.find((link) => link.index === index)?.name === selector.name;
  }
}

function candidateOf(entry: InterfaceAddressEntry, links: readonly Link[]): Candidate[] {
  const link = links.find(({ index }) => index === entry.index);
  if (link === undefined) return [];
  const obstacle = obstacleOf(entry, link, links);
  const flaw = flawOf(entry);
  return [
    {
      address: entry.address,
      link,
      ...(obstacle === undefined ? {} : { obstacle }),
      ...(flaw === undefined ? {} : { flaw }),
      isTentative: obstacle === undefined && entry.tentative === true,
    },
  ];
}

function obstacleOf(entry: InterfaceAddressEntry, link: Link, links: readonly Link[]): Obstacle | undefined {
  const text = impossibleVtep(entry.address);
  return text === undefined ? (vrfObstacle(link, links) ?? duplicateObstacle(entry)) : { kind: "impossible", text };
}

/** Tunnels look their way up in the main tables and their sockets hear what comes by interfaces of no VRF. */
function vrfObstacle(link: Link, links: readonly Link[]): Obstacle | undefined {
  const vrf = link.info.kind === "vrf" ? link : links.find(({ index }) => index === link.master);
  if (vrf?.info.kind !== "vrf") return undefined;
  return { kind: "inside VRF", text: `inside VRF ${vrf.name}, where tunnels do not send and hear nothing` };
}

function duplicateObstacle({ duplicate }: InterfaceAddressEntry): Obstacle | undefined {
  return duplicate
    ? { kind: "duplicate", text: "a duplicate: another host on the link has it (dadfailed)" }
    : undefined;
}

/** Why an address may be gone soon. */
export function flawOf({ temporary, deprecated }: InterfaceAddressEntry): string | undefined {
  if (temporary) return "temporary (RFC 8981)";
  return deprecated ? "deprecated: its preferred lifetime is over" : undefined;
}

function bestOf(
  candidates: readonly Candidate[],
  before: readonly IpAddress[],
  isNamed: boolean,
): Candidate | undefined {
  const possible = candidates.filter(({ obstacle }) => obstacle === undefined);
  // What is in use stays while duplicate address detection is repeated, as it is when the link comes back.
  const kept = possible.find(({ address }) => before.includes(address));
  const ready = possible.filter(({ isTentative }) => !isTentative);
  return kept ?? ready.find(({ flaw }) => flaw === undefined) ?? (isNamed ? ready[0] : undefined);
}

function nothingFound(selector: UnderlaySelector, candidates: readonly Candidate[]): WeftError {
  const reasons = candidates.map(
    ({ address, link, obstacle, flaw, isTentative }) =>
      `${address} on ${link.name} is ${obstacle?.text ?? (isTentative ? "tentative: duplicate address detection is under way" : flaw)}`,
  );
  const isAwaited = candidates.some(({ isTentative }) => isTentative);
  return new WeftError({
    code: isAwaited ? "unavailable" : "failed-precondition",
    attempted: attemptOf(selector),
    reason: reasons.length > 0 ? reasons.join("; ") : absenceOf(selector),
    hint: isAwaited ? "wait until `ip address` shows it without `tentative`" : hintFor(selector, candidates),
  });
}

function attemptOf(selector: UnderlaySelector): string {
  switch (selector.kind) {
    case "address":
      return `use ${selector.address} as VTEP address`;
    case "prefix":
      return `find a VTEP address in ${selector.prefix}`;
    case "interface":
      return `use the address of interface ${selector.name} as VTEP address`;
  }
}

function absenceOf(selector: UnderlaySelector): string {
  switch (selector.kind) {
    case "address":
      return "no interface of this host has it";
    case "prefix":
      return "no interface of this host has an address of it";
    case "interface":
      return "this host has no such interface, or it has no address of global scope";
  }
}

function hintFor(selector: UnderlaySelector, candidates: readonly Candidate[]): string {
  if (candidates.some(({ obstacle }) => obstacle?.kind === "inside VRF"))
    return "give an address of an interface outside of VRFs by --underlay, or take this one out with: ip link set INTERFACE nomaster";
  if (candidates.some(({ obstacle, flaw }) => obstacle === undefined && flaw !== undefined))
    return "give this host a stable address, or the address itself by --underlay";
  switch (selector.kind) {
    case "address":
      return "give an address that other hosts reach and `ip address` shows, by --underlay";
    case "prefix":
      return "give a prefix that holds an address that `ip address` shows, by --underlay";
    case "interface":
      return "see `ip address`, and give an interface or an address by --underlay";
  }
}
