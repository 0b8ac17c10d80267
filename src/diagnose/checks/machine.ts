import { existsSync, readdirSync, readFileSync } from "node:fs";
import { release } from "node:os";
import { join } from "node:path";
import { encapsulations } from "../../model/encapsulation.ts";
import type { Check } from "../subject.ts";

/** Where each of them looks for drop-ins, and what one of weft's is called. */
const managers = [
  {
    name: "NetworkManager",
    runs: "/run/NetworkManager",
    directories: ["/etc/NetworkManager/conf.d", "/usr/lib/NetworkManager/conf.d", "/run/NetworkManager/conf.d"],
    file: "/etc/NetworkManager/conf.d/weft.conf",
    source: "NetworkManager.conf",
  },
  {
    name: "systemd-networkd",
    runs: "/run/systemd/netif/state",
    directories: ["/etc/systemd/network", "/usr/lib/systemd/network", "/run/systemd/network"],
    file: "/etc/systemd/network/10-weft.network",
    source: "networkd.network",
  },
] as const;

const managerCheck: Check = {
  name: "network managers of this host",
  *run() {
    for (const { name, runs, directories, file, source } of managers) {
      if (!existsSync(runs) || directories.some((directory) => namesWeft(directory))) continue;
      yield {
        code: "network-manager",
        object: { kind: "network manager", key: name },
        expected: "it is told to leave weft's interfaces alone",
        found: `it runs, and no file in ${directories[0]} names them`,
        cure: `install weft's systemd/${source} as ${file}, and restart ${name}`,
      };
    }
  },
};

/** Whether a file in the directory speaks of weft's interfaces, whatever it is called. */
function namesWeft(directory: string): boolean {
  try {
    return readdirSync(directory).some((file) => readFileSync(join(directory, file), "utf8").includes("weft"));
  } catch {
    return false;
  }
}

/** Endpoints elsewhere from which on the fault is felt (drivers/net/vxlan before 6.16): each packet goes through a list of that many in 256. */
const manyEntries = 20_000;

const kernelCheck: Check = {
  name: "what is known of this kernel",
  *run({ dataplane }) {
    const [major = 0, minor = 0] = release().split(".").map(Number);
    if (major > 6 || (major === 6 && minor >= 16)) return;
    for (const { settings, remotes } of dataplane.networks.values()) {
      const isShared =
        settings.transport !== undefined && encapsulations[settings.transport.encapsulation].devices === "shared";
      if (settings.mode !== "l2" || !isShared || remotes.size < manyEntries) continue;
      yield {
        code: "kernel-trouble",
        object: { kind: "network", network: settings.name },
        expected: "Linux 6.16 or later where a network has as many endpoints elsewhere",
        found: `Linux ${release()}, whose tunnel devices keep all forwarding entries in 256 lists; ${remotes.size} are here`,
        cause: "each packet searches one of the lists; the table grows with its entries since 6.16",
        cure: "upgrade the kernel; or divide the network, or make it layer 3",
      };
    }
  },
};

export const machineChecks: readonly Check[] = [managerCheck, kernelCheck];
