import { netconfIndex, RTM_NEWNETCONF } from "../../netlink/index.ts";
import { writeNumber } from "./attributes.ts";
import type { Context } from "./context.ts";

/** linux/netconf.h: NETCONFA_*. */
const netconf = { index: 1, forwarding: 2, reversePathFilter: 3 } as const;

/** Settings of each device, with what a new namespace has. */
const ofDevice: Readonly<Record<string, string>> = {
  "ipv4/forwarding": "0",
  "ipv4/rp_filter": "0",
  "ipv4/accept_redirects": "1",
  "ipv4/send_redirects": "1",
  "ipv6/forwarding": "0",
  "ipv6/force_forwarding": "0",
  "ipv6/accept_ra": "1",
  "ipv6/accept_dad": "1",
  "ipv6/accept_redirects": "1",
  "ipv6/addr_gen_mode": "0",
  "ipv6/disable_ipv6": "0",
};
const ofNamespace: Readonly<Record<string, string>> = { "ipv4/ip_forward_use_pmtu": "0", "ipv4/ip_no_pmtu_disc": "0" };

/** Settings below /proc/sys/net. */
export class FakeSysctls {
  readonly #namespace: Context;
  readonly #values = new Map<string, string>(Object.entries(ofNamespace));
  readonly #asNew = new Map<string, string>(Object.entries(ofNamespace));

  constructor(namespace: Context) {
    this.#namespace = namespace;
    for (const name of ["all", "default", "lo"]) this.#add(name, (_family, setting) => ofDevice[setting] ?? "0");
  }

  addDevice(name: string): void {
    this.#add(name, (family, setting) => this.#values.get(`${family}/conf/default/${setting.slice(5)}`) ?? "0");
  }

  /** Those that are otherwise than in a new namespace. */
  text(): string[] {
    const isAsNew = (key: string, value: string): boolean => value === this.#asNew.get(key);
    return [...this.#values].flatMap(([key, value]) => (isAsNew(key, value) ? [] : [`sysctl ${key} = ${value}`]));
  }

  removeDevice(name: string): void {
    for (const key of this.#values.keys()) if (key.split("/")[2] === name) this.#values.delete(key);
  }

  read(key: string): string | undefined {
    return this.#values.get(canonical(key));
  }

  write(key: string, value: string): void {
    const at = canonical(key);
    this.#values.set(at, value);
    const [family, , device, setting] = at.split("/");
    if (setting !== "forwarding" && setting !== "rp_filter") return;
    // What is set for all is set for each, and for those to come.
    if (device === "all" && setting === "forwarding")
      for (const other of this.#values.keys())
        if (other.startsWith(`${family}/conf/`) && other.endsWith("/forwarding")) this.#values.set(other, value);
    this.#tell(family as "ipv4" | "ipv6", device ?? "", setting, Number(value));
  }

  #add(name: string, initial: (family: string, setting: string) => string): void {
    for (const setting of Object.keys(ofDevice)) {
      const [family = "", leaf] = setting.split("/");
      const key = `${family}/conf/${name}/${leaf}`;
      this.#values.set(key, initial(family, setting));
      this.#asNew.set(key, ofDevice[setting] ?? "0");
    }
  }

  #tell(family: "ipv4" | "ipv6", device: string, setting: "forwarding" | "rp_filter", value: number): void {
    const index =
      device === "all"
        ? netconfIndex.all
        : device === "default"
          ? netconfIndex.default
          : this.#namespace.links.byName(device)?.link.index;
    if (index === undefined) return;
    this.#namespace.publish(family === "ipv4" ? "ipv4Netconf" : "ipv6Netconf", {
      type: RTM_NEWNETCONF,
      write: (writer) => {
        writer.reserve(4);
        writeNumber(writer, netconf.index, index);
        writeNumber(writer, setting === "forwarding" ? netconf.forwarding : netconf.reversePathFilter, value);
      },
    });
  }
}

/** One switch has two names. */
function canonical(key: string): string {
  return key === "ipv4/ip_forward" ? "ipv4/conf/all/forwarding" : key;
}
