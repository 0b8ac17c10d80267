import { ip } from "../base/ip.ts";
import { processesIn, writeNetworkSysctl } from "../linux/index.ts";
import {
  changeLink,
  createLink,
  createNamedNamespace,
  deleteNamedNamespace,
  getLink,
  listNamedNamespaces,
  NetlinkSocket,
  NetworkNamespace,
  replaceAddress,
} from "../netlink/index.ts";
import type { LabNames } from "./names.ts";

/** RFC 5737 and RFC 3849: addresses for documentation, which no real network has. */
const ipv4Prefix = "192.0.2.";
const ipv6Prefix = "2001:db8::";
/** Where the hosts have their addresses. */
export const vtepPrefixes = [`${ipv4Prefix}0/24`, `${ipv6Prefix}/64`] as const;
const serverNumber = 254;

export interface HostAddresses {
  readonly ipv4: string;
  readonly ipv6: string;
}

export function hostAddresses(number: number): HostAddresses {
  return { ipv4: `${ipv4Prefix}${number}`, ipv6: `${ipv6Prefix}${number.toString(16)}` };
}

export const serverAddress = hostAddresses(serverNumber).ipv4;

/** A switch in a namespace of its own. */
export async function makeSwitch(names: LabNames): Promise<void> {
  createNamedNamespace(names.switch);
  using namespace = NetworkNamespace.openNamed(names.switch);
  using socket = new NetlinkSocket({ namespace });
  await socket.execute(changeLink({ name: "lo" }, { up: true }));
  await socket.execute(
    createLink("bridge", { name: "switch", mtu: 9000, info: { bridge: { multicastSnooping: false } } }),
  );
  await socket.execute(changeLink({ name: "switch" }, { up: true }));
}

/** A namespace with `eth0` on the switch. */
export async function makeHost(names: LabNames, name: string, number: number, mtu: number): Promise<void> {
  createNamedNamespace(name);
  using fabric = NetworkNamespace.openNamed(names.switch);
  using host = NetworkNamespace.openNamed(name);
  using outside = new NetlinkSocket({ namespace: fabric });
  using inside = new NetlinkSocket({ namespace: host });
  const bridge = await outside.get(getLink({ name: "switch" }));
  const port = `port${number}`;
  await outside.execute(
    createLink("veth", { name: port, mtu, info: { peer: { name: "eth0", mtu, namespace: host } } }),
  );
  await outside.execute(changeLink({ name: port }, { master: bridge.index, up: true }));
  // The addresses are unique by construction; waiting for proof would delay every lab by a second.
  writeNetworkSysctl(host, "ipv6/conf/eth0/accept_dad", "0");
  const { index } = await inside.get(getLink({ name: "eth0" }));
  const addresses = hostAddresses(number);
  await inside.batch([
    changeLink({ name: "lo" }, { up: true }),
    replaceAddress({ index, address: ip(addresses.ipv4), prefixLength: 24 }),
    replaceAddress({ index, address: ip(addresses.ipv6), prefixLength: 64, withoutDad: true }),
    changeLink({ index }, { up: true }),
  ]);
}

export async function makeServerHost(names: LabNames, mtu: number): Promise<void> {
  await makeHost(names, names.server, serverNumber, mtu);
}

/**
 * Removes every namespace of the lab, those of its tenants among them. First everything that runs inside ends: an agent
 * that somebody started by hand would name its tenants' namespaces again.
 */
export async function removeNamespaces(names: LabNames): Promise<void> {
  const own = (await listNamedNamespaces()).filter(names.isOwn);
  for (const name of own) {
    using namespace = NetworkNamespace.openNamed(name);
    for (const pid of processesIn(namespace)) if (pid !== process.pid) endProcess(pid);
  }
  for (const name of own) deleteNamedNamespace(name);
}

function endProcess(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}
