import type { IpFamily } from "../../base/ip.ts";
import { eventGroup } from "../../netlink/events.ts";
import { netconfIndex, RTM_NEWNETCONF } from "../../netlink/index.ts";
import type { FakeMessage } from "../fake-kernel.ts";
import { carriesIpv6, type Device } from "./device.ts";
import type { DeviceUser, Links } from "./links.ts";

/** linux/netconf.h; `struct netconfmsg`, aligned. */
const RTM_DELNETCONF = RTM_NEWNETCONF + 1;
const headerLength = 4;
const attributeLength = 8;
const NETCONFA_IFINDEX = 1;
const toldOf: Readonly<Record<string, number>> = { forwarding: 2, rp_filter: 3, proxy_ndp: 5, force_forwarding: 8 };
const familyNumber = { 4: 2, 6: 10 } as const;

/** Documentation/networking/ip-sysctl.rst: what devices have at first. */
const ofDevices: Readonly<Record<IpFamily, Readonly<Record<string, string>>>> = {
  4: { forwarding: "0", rp_filter: "0", accept_redirects: "1", send_redirects: "1", proxy_delay: "80" },
  6: {
    forwarding: "0",
    force_forwarding: "0",
    accept_ra: "1",
    accept_dad: "1",
    accept_redirects: "1",
    addr_gen_mode: "0",
    disable_ipv6: "0",
    proxy_ndp: "0",
    proxy_delay: "80",
  },
};
/** Those of a family are below `conf`, but for these. */
const ofNeighbours: ReadonlySet<string> = new Set(["proxy_delay"]);
const folderOf = (name: string): string => (ofNeighbours.has(name) ? "neigh" : "conf");
const ofNamespace: Readonly<Record<string, string>> = {
  "ipv4/ip_forward_use_pmtu": "0",
  "ipv4/ip_no_pmtu_disc": "0",
  "bridge/bridge-nf-call-iptables": "1",
  "bridge/bridge-nf-call-ip6tables": "1",
  "bridge/bridge-nf-call-arptables": "1",
};

/** The settings of one namespace below /proc/sys/net, by paths such as `ipv4/conf/all/forwarding`. */
export class Sysctls implements DeviceUser {
  readonly #links: Links;
  readonly #tell: (group: number, message: FakeMessage) => void;
  readonly #plain = new Map(Object.entries(ofNamespace));
  /** What stands for all devices, and what devices that come will have. */
  readonly #shared = {
    4: { all: new Map(Object.entries(ofDevices[4])), default: new Map(Object.entries(ofDevices[4])) },
    6: { all: new Map(Object.entries(ofDevices[6])), default: new Map(Object.entries(ofDevices[6])) },
  };

  constructor(links: Links, tell: (group: number, message: FakeMessage) => void) {
    this.#links = links;
    this.#tell = tell;
  }

  read(path: string): string | undefined {
    const setting = parse(path);
    return setting === undefined ? this.#plain.get(path) : this.#of(setting.family, setting.device)?.get(setting.name);
  }

  /** Tells whether there is such a setting. */
  write(path: string, value: string): boolean {
    const before = this.read(path);
    if (before === undefined) return false;
    const setting = parse(path);
    if (setting === undefined) this.#plain.set(path, value);
    else if (before !== value) this.#set(setting, value);
    return true;
  }

  /** What is otherwise than at first, or on a device otherwise than on new ones: path and value. */
  *changes(): Iterable<readonly [path: string, value: string]> {
    for (const [path, value] of this.#plain) if (value !== ofNamespace[path]) yield [path, value];
    for (const family of [4, 6] as const) {
      const shared = this.#shared[family];
      for (const place of ["all", "default"] as const)
        for (const [name, value] of shared[place])
          if (value !== ofDevices[family][name]) yield [`ipv${family}/${folderOf(name)}/${place}/${name}`, value];
      for (const device of this.#links.devices)
        for (const [name, value] of device.settings[family])
          if (value !== shared.default.get(name))
            yield [`ipv${family}/${folderOf(name)}/${device.name}/${name}`, value];
    }
  }

  onMade(device: Device): void {
    for (const family of [4, 6] as const) if (family === 4 || carriesIpv6(device.mtu)) this.#begin(family, device);
  }

  onIpv6(device: Device): void {
    if (carriesIpv6(device.mtu)) this.#begin(6, device);
    else {
      device.settings[6].clear();
      this.#tellOf(6, RTM_DELNETCONF, device.index, {});
    }
  }

  onGone(device: Device): void {
    for (const family of [4, 6] as const)
      if (device.settings[family].size > 0) this.#tellOf(family, RTM_DELNETCONF, device.index, {});
  }

  #begin(family: IpFamily, device: Device): void {
    for (const [name, value] of this.#shared[family].default) device.settings[family].set(name, value);
    const { forwarding, rp_filter } = Object.fromEntries(device.settings[family]);
    this.#tellOf(family, RTM_NEWNETCONF, device.index, { forwarding, ...(family === 4 ? { rp_filter } : {}) });
  }

  #of(family: IpFamily, device: string): Map<string, string> | undefined {
    const shared = this.#shared[family];
    return device === "all" || device === "default" ? shared[device] : this.#links.find(device)?.settings[family];
  }

  #set({ family, device, name }: Setting, value: string): void {
    const isForAll = device === "all" && name === "forwarding";
    const places = isForAll ? ["all", "default", ...this.#links.devices.map((each) => each.name)] : [device];
    for (const place of places) {
      const settings = this.#of(family, place);
      if (settings?.has(name) !== true) continue;
      settings.set(name, value);
      if (name in toldOf) this.#tellOf(family, RTM_NEWNETCONF, this.#indexOf(place), { [name]: value });
    }
    const changed = this.#links.find(device);
    if (changed !== undefined && name === "disable_ipv6")
      for (const user of this.#links.users) if (user !== this) user.onIpv6?.(changed);
  }

  #indexOf(device: string): number {
    if (device === "all" || device === "default") return netconfIndex[device];
    return this.#links.find(device)?.index ?? 0;
  }

  #tellOf(family: IpFamily, type: number, index: number, values: Readonly<Record<string, string | undefined>>): void {
    const numbers = Object.entries(values).map(([name, value]) => [toldOf[name] ?? 0, Number(value)] as const);
    this.#tell(family === 4 ? eventGroup.ipv4Netconf : eventGroup.ipv6Netconf, {
      type,
      write(writer) {
        const header = writer.reserve(headerLength);
        writer.view.setUint8(header, familyNumber[family]);
        for (const [code, value] of [[NETCONFA_IFINDEX, index] as const, ...numbers]) {
          const start = writer.reserve(attributeLength);
          writer.view.setUint16(start, attributeLength, true);
          writer.view.setUint16(start + 2, code, true);
          writer.view.setInt32(start + 4, value, true);
        }
      },
    });
  }
}

interface Setting {
  readonly family: IpFamily;
  readonly device: string;
  readonly name: string;
}

function parse(path: string): Setting | undefined {
  if (path === "ipv4/ip_forward") return { family: 4, device: "all", name: "forwarding" };
  const [, family, folder, device, name] = /^ipv([46])\/(conf|neigh)\/(.+)\/([^/]+)$/.exec(path) ?? [];
  if (device === undefined || name === undefined || folder !== folderOf(name)) return undefined;
  return { family: family === "4" ? 4 : 6, device, name };
}
