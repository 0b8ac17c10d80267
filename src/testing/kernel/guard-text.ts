import { filterHook, formatTcHandle } from "../../netlink/index.ts";
import type { FakeBpf } from "./ebpf.ts";
import type { FakeNamespace } from "./namespace.ts";

/** By its number; struct address_key in guard.c. */
const kinds: Readonly<Record<number, string>> = {
  1: "mac",
  4: "ipv4",
  6: "ipv6",
  20: "taken ipv4",
  22: "taken ipv6",
  32: "tunnel port",
};
const networkBit = 0x8000_0000;

/** The eBPF filters of a namespace's devices, and what their maps have of this namespace. */
export function guardLines({ inode, filters, links }: FakeNamespace, bpf: FakeBpf): string[] {
  const lines: string[] = [];
  const guard = new Map<string, ReadonlyMap<string, Uint8Array>>();
  const policy = new Map<string, ReadonlyMap<string, Uint8Array>>();
  const device = (index: number): string => links.get(index)?.name ?? `if${index}`;
  for (const filter of filters.all) {
    const { index, hook } = filter;
    const where =
      hook === filterHook.ingress ? "ingress" : hook === filterHook.egress ? "egress" : formatTcHandle(hook);
    if ("to" in filter) {
      lines.push(`filter ${device(index)} ${where} to ${device(filter.to)}`);
      continue;
    }
    const { name, programId } = filter;
    lines.push(`filter ${device(index)} ${where} ${name}`);
    const program = bpf.programById(programId);
    if (program !== undefined && name === "weft-forward") {
      lines.push(...forwardLines(bpf.contentOf(program), device(index), device));
      continue;
    }
    const contents = name === "weft-policy" ? policy : guard;
    if (program !== undefined) for (const [map, content] of bpf.contentOf(program)) contents.set(map, content);
  }
  lines.push(...policyLines(policy, device));
  const scope = (index: number): string =>
    index >= networkBit ? `network ${index - networkBit}` : index === 0 ? "node" : device(index);
  for (const [map, content] of guard)
    for (const [hex, value] of content) {
      const key = Uint8Array.from(Buffer.from(hex, "hex"));
      const view = new DataView(key.buffer);
      const start = map === "prefixes" ? 4 : 0;
      const tenant = view.getUint32(start, true);
      if (tenant !== inode && tenant !== 0) continue;
      const at = view.getUint32(start + 4, true);
      if (map === "macs") {
        const is = key[14] === 1 ? "whole" : `${hex.slice(16, 28)}${value[0] === 1 ? " declared" : ""}`;
        lines.push(`guard macs network ${at} ${is}`);
        continue;
      }
      const words = map === "ports" ? ` ${Buffer.from(value).toString("hex")}` : "";
      if (map === "addresses" || map === "prefixes") {
        const kind = view.getUint32(start + 8, true);
        const where = kind > 0x10 && kind < 0x20 ? `network ${at}` : scope(at);
        const length = map === "prefixes" ? `/${view.getUint32(0, true) - 96}` : "";
        lines.push(`guard ${map} ${where} ${kinds[kind]} ${hex.slice((start + 12) * 2)}${length}`);
      } else lines.push(`guard ${map} ${scope(at)}${words}`);
    }
  return lines.sort();
}

/** Where frames for a MAC that left the node go on that come by this tunnel; struct forwarded_key in forward.c. */
function* forwardLines(
  contents: Iterable<readonly [map: string, content: ReadonlyMap<string, Uint8Array>]>,
  tunnel: string,
  device: (index: number) => string,
): Iterable<string> {
  for (const [, content] of contents)
    for (const [hex, value] of content) {
      const to = new DataView(value.buffer, value.byteOffset).getUint32(0, true);
      yield `forward ${tunnel} ${hex.slice(0, 12)} to ${device(to)}`;
    }
}

/** The program's maps are one tenant's. */
function policyLines(
  contents: ReadonlyMap<string, ReadonlyMap<string, Uint8Array>>,
  device: (index: number) => string,
): string[] {
  return Array.from(contents, ([map, content]) =>
    Array.from(content, ([hex, value]) => {
      const isOfPort = map === "ports" || map === "denied";
      const key = isOfPort
        ? device(new DataView(Uint8Array.from(Buffer.from(hex, "hex")).buffer).getUint32(0, true))
        : hex;
      // How often a port's flows were judged anew is its own business, and what was counted.
      const shown = map === "ports" ? value.slice(0, 16) : map === "denied" || map === "rules" ? [] : value;
      return `policy ${map} ${key} ${Buffer.from(shown).toString("hex")}`.trimEnd();
    }),
  ).flat();
}
