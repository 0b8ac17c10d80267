import { type KernelObject, nameOfObject } from "../objects.ts";
import type { Report } from "../report.ts";
import { type Dropped, type DropReason, dropReasons } from "./rows.ts";

const meanings: Readonly<Record<DropReason, string>> = {
  malformed: "that are malformed, or hide what they are",
  mac: "with a MAC address that is not its own",
  ip: "with an IP address that is not its own",
  arp: "of ARP in another's name",
  "neighbour-discovery": "of neighbour discovery in another's name",
  "router-advertisement": "that advertise a router",
  redirect: "that redirect",
  "dhcp-server": "of a DHCP server",
  "vlan-tag": "with a VLAN tag",
  tunnel: "to a tunnel's port",
  storm: "to groups, more than the network's limit",
  "unknown-unicast": "to MAC addresses that nobody has, more than the network's limit",
  "policy-ingress": "to it that policies forbid",
  "policy-egress": "from it that policies forbid",
};

/** Tells of frames that were dropped since it was told last, by endpoint. */
export class DroppedReport {
  readonly #report: Report;
  readonly #told = new Map<string, Dropped>();

  constructor(report: Report) {
    this.#report = report;
  }

  /** What was dropped so far of the frames from and to each endpoint that is here. */
  tell(endpoints: Iterable<readonly [object: KernelObject, dropped: Dropped]>): void {
    const names = new Set<string>();
    for (const [object, dropped] of endpoints) {
      const name = nameOfObject(object);
      names.add(name);
      const before = this.#told.get(name) ?? {};
      const news = dropReasons.flatMap((reason) => {
        const frames = (dropped[reason] ?? 0) - (before[reason] ?? 0);
        return frames > 0 ? [`${frames} frames ${meanings[reason]}`] : [];
      });
      this.#told.set(name, dropped);
      if (news.length > 0) this.#report({ level: "warning", kind: "dropped", object, message: news.join(", ") });
    }
    for (const name of this.#told.keys()) if (!names.has(name)) this.#told.delete(name);
  }
}
