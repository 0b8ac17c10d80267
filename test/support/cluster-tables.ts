/** What the server says beside what the kernel of a node has, both as lines of text, the second read by iproute2 alone. */
import type { Lab } from "../../src/lab/lab.ts";
import { inLab } from "./cluster.ts";

interface FdbLine {
  readonly mac: string;
  readonly ifname: string;
  readonly flags: readonly string[];
  readonly dst?: string;
  readonly nhid?: number;
  readonly master?: string;
  readonly state?: string;
}

/** Rows that the server's state asks of a node for one network. */
export async function wantedTables(lab: Lab, host: string, networkName: string): Promise<string[]> {
  const { resources } = await lab.admin.list({});
  const endpoints = await lab.admin.list({ kind: "endpoint", network: networkName });
  const vteps = new Map<string, string>();
  let underlay = "ipv4";
  let vni = 0;
  let hasLocalNeighbours = false;
  for (const { resource } of resources)
    if (resource.case === "network" && resource.value.name === networkName) {
      ({ underlay, vni } = resource.value);
      hasLocalNeighbours = resource.value.arpSuppression === true || resource.value.gateways.length > 0;
    }
  for (const { resource } of resources)
    if (resource.case === "node")
      vteps.set(resource.value.name, underlay === "ipv4" ? resource.value.vtepIpv4 : resource.value.vtepIpv6);
  const lines: string[] = [];
  const flood = new Set<string>();
  for (const { resource } of endpoints.resources) {
    if (resource.case !== "endpoint") continue;
    const { id, node, mac, ips, learnedIps, attachment } = resource.value;
    if (node === host) {
      lines.push(`bridge ${mac} dev ve${id}`);
      if (hasLocalNeighbours && attachment !== "learned")
        for (const ip of ips) if (!learnedIps.includes(ip)) lines.push(`neighbour ${ip} ${mac} PERMANENT`);
      continue;
    }
    const vtep = vteps.get(node) ?? "";
    flood.add(vtep);
    lines.push(`tunnel ${mac} via ${vtep}`, `bridge ${mac} dev vx${vni}`);
    for (const ip of ips) lines.push(`neighbour ${ip} ${mac} PERMANENT`);
  }
  for (const vtep of flood) lines.push(`flood ${vtep}`);
  return lines.sort();
}

/** Rows that the node's kernel has for one network, foreign ones excepted: those that are not marked as learned from outside. */
export async function kernelTables(lab: Lab, host: string, tenant: string, vni: number): Promise<string[]> {
  const nexthops = new Map<number, string>();
  const groups = new Map<number, number>();
  for (const nexthop of JSON.parse((await inLab(lab, host, "ip", "-j", "nexthop")) || "[]") as {
    readonly id: number;
    readonly gateway?: string;
    readonly group?: readonly { readonly id: number }[];
  }[]) {
    if (nexthop.gateway !== undefined) nexthops.set(nexthop.id, nexthop.gateway);
    const member = nexthop.group?.[0];
    if (member !== undefined) groups.set(nexthop.id, member.id);
  }
  const place = `${host}-${tenant}`;
  const lines: string[] = [];
  for (const entry of await json<FdbLine>(lab, host, tenant, "bridge", "-j", "fdb", "show", "br", `br${vni}`)) {
    if (entry.mac === "00:00:00:00:00:00") lines.push(`flood ${entry.dst}`);
    else if (!entry.flags.includes("extern_learn")) continue;
    else if (entry.flags.includes("self"))
      lines.push(`tunnel ${entry.mac} via ${entry.dst ?? nexthops.get(groups.get(entry.nhid ?? 0) ?? 0) ?? place}`);
    else lines.push(`bridge ${entry.mac} dev ${entry.ifname}`);
  }
  for (const { dst, lladdr, state, extern_learn } of await json<{
    readonly dst: string;
    readonly lladdr: string;
    readonly state: readonly string[];
    readonly extern_learn?: null;
  }>(lab, host, tenant, "ip", "-j", "neigh", "show", "dev", `br${vni}`))
    if (extern_learn === null) lines.push(`neighbour ${dst} ${lladdr} ${state.join(" ")}`);
  return lines.sort();
}

async function json<Row>(lab: Lab, host: string, tenant: string, ...words: readonly string[]): Promise<Row[]> {
  const [command = "", ...rest] = words;
  const text = await inTenant(lab, host, tenant, command, ...rest);
  return text.trim() === "" ? [] : (JSON.parse(text) as Row[]);
}

/** Runs a program in a tenant's namespace on a host. */
export function inTenant(lab: Lab, host: string, tenant: string, command: string, ...words: readonly string[]) {
  return inLab(lab, host, "ip", "netns", "exec", `${lab.names.instance(host)}-${tenant}`, command, ...words);
}
