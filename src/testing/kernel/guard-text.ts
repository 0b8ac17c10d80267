import { filterHook, formatTcHandle } from "../../netlink/index.ts";
import type { FakeBpf } from "./ebpf.ts";
import type { FakeNamespace } from "./namespace.ts";

/** By its number; struct address_key in guard.c. */
const kinds: Readonly<Record<number, string>> = {
  1: "mac",
  4: "ipv4",
  6: "ipv6",
  17: "taken mac",
  20: "taken ipv4",
  22: "taken ipv6",
  32: "tunnel port",
};
const networkBit = 0x8000_0000;

/** The eBPF filters of a namespace's devices, and what their maps have of this namespace. */
export function guardLines({ inode, filters, links }: FakeNamespace, bpf: FakeBpf): string[] {
  const lines: string[] = [];
  const contents = new Map<string, ReadonlyMap<string, Uint8Array>>();
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
    if (program !== undefined) for (const [map, content] of bpf.contentOf(program)) contents.set(map, content);
  }
  const scope = (index: number): string =>
    index >= networkBit ? `network ${index - networkBit}` : index === 0 ? "node" : device(index);
  for (const [map, content] of contents)
    for (const [hex, value] of content) {
      const key = Uint8Array.from(Buffer.from(hex, "hex"));
      const view = new DataView(key.buffer);
      const start = map === "prefixes" ? 4 : 0;
      const tenant = view.getUint32(start, true);
      if (tenant !== inode && tenant !== 0) continue;
      const at = view.getUint32(start + 4, true);
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
