import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { unwrap } from "../../base/result.ts";
import { readPcap } from "../../wire/index.ts";
import { startCapture } from "../capture.ts";
import type { Bench } from "./bench.ts";
import { addNetwork, isUnreachable, removeNetwork, routedNetwork } from "./extra-networks.ts";
import type { Expected, Fault } from "./fault.ts";

const isCutOff = async (bench: Bench): Promise<boolean> => !(await bench.pings("blue1", "10.0.0.2"));

/** A row that somebody took or changed in the tables of the blue tenant on a host where no agent runs that would set it again. */
function tableFault(
  name: string,
  title: string,
  host: string,
  change: (bench: Bench) => Promise<string>,
  found: readonly Expected[],
  symptom: Fault["symptom"] = isCutOff,
): Fault {
  return {
    ...{ name, group: "tables", title, needs: [], symptom },
    expected: [{ code: "agent-stopped", host, object: "agent" }, ...found],
    async break(bench) {
      const script = await change(bench);
      await bench.stopAgent(host);
      await bench.inTenant(host, "blue", script);
      // Their caches would run out by themselves.
      for (const container of ["blue1", "blue2"]) await bench.sh(container, "ip neighbour flush dev eth0");
    },
    mend: (bench) => bench.restartAgent(host),
  };
}

/** Whether a broadcast of blue1's does not come to blue2. */
async function isDeafToBroadcast(bench: Bench): Promise<boolean> {
  const directory = mkdtempSync(join(tmpdir(), "weft-lab-"));
  const file = join(directory, "broadcast");
  try {
    using namespace = bench.lab.namespace("blue2");
    const capture = await startCapture(namespace, "eth0", file, { filter: "dst host 10.0.0.255" });
    // Nobody answers.
    await bench.succeeds("blue1", "ping -b -n -q -c 3 -i 0.2 -W 1 10.0.0.255");
    await capture.stop();
    return unwrap(readPcap(readFileSync(file))).packets.length === 0;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Faults of a network of layer 3, which is there for them. */
function routedFault(
  fault: Omit<Fault, "group" | "needs" | "symptom" | "break" | "mend">,
  host: string,
  change: string,
): Fault {
  return {
    ...{ ...fault, group: "tables", needs: [] },
    async break(bench) {
      await addNetwork(bench, routedNetwork);
      await bench.stopAgent(host);
      await bench.inTenant(host, "blue", change);
    },
    async mend(bench) {
      await bench.restartAgent(host);
      await removeNetwork(bench, routedNetwork);
    },
    symptom: (bench) => isUnreachable(bench, routedNetwork),
  };
}

const staleFdb: Fault = {
  ...tableFault(
    "stale-fdb",
    "h1 believes blue2 to be still on h3",
    "h1",
    async (bench) => {
      const mac = await bench.macOf("blue2");
      return `bridge fdb del ${mac} dev vx100 self; bridge fdb add ${mac} dev vx100 dst 192.0.2.3 self`;
    },
    [{ code: "fdb-entry-differs", host: "h1", object: "FDB entry of blue2 in network blue-net" }],
  ),
  // The kernel does not let an entry with a VTEP be replaced by one with a nexthop.
  async mend(bench) {
    const mac = await bench.macOf("blue2");
    await bench.inTenant("h1", "blue", `bridge fdb del ${mac} dev vx100 dst 192.0.2.3 self 2>/dev/null || :`);
    await bench.restartAgent("h1");
  },
};

/** Of the endpoint that had the address of blue2 before, on h3. */
const formerMac = "02:00:00:00:00:99";

const staleNeighbour: Fault = {
  ...tableFault(
    "stale-neighbour",
    "h1 answers ARP for blue2 with the MAC address of the endpoint that had its address before",
    "h1",
    // The bridge answers for a MAC address that it knows behind the tunnel.
    async () =>
      `bridge fdb append ${formerMac} dev vx100 dst 192.0.2.3 self; bridge fdb append ${formerMac} dev vx100 master static
       ip neighbour replace 10.0.0.2 dev br100 lladdr ${formerMac} nud permanent extern_learn`,
    [
      { code: "neighbour-differs", host: "h1", object: "neighbour 10.0.0.2 of network blue-net" },
      { code: "fdb-entry-foreign", host: "h1", object: `FDB entry ${formerMac} of network blue-net` },
    ],
  ),
  // weft leaves rows that it did not make.
  async mend(bench) {
    for (const where of ["self", "master"])
      await bench.inTenant("h1", "blue", `bridge fdb del ${formerMac} dev vx100 ${where} 2>/dev/null || :`);
    await bench.restartAgent("h1");
    await bench.sh("blue1", "ip neighbour flush dev eth0");
  },
};

export const tableFaults: readonly Fault[] = [
  tableFault(
    "flood-entry-missing",
    "h1 sends no copies of what is flooded to h2: broadcast and multicast are lost",
    "h1",
    async () => "bridge fdb del 00:00:00:00:00:00 dev vx100 dst 192.0.2.2",
    [{ code: "flood-entry-missing", host: "h1", object: "192.0.2.2 of network blue-net" }],
    isDeafToBroadcast,
  ),
  tableFault(
    "one-way-fdb",
    "h2 does not know behind which VTEP blue1 is, and does not flood: what blue1 sends arrives, answers do not",
    "h2",
    async (bench) => {
      const mac = await bench.macOf("blue1");
      return `bridge fdb del ${mac} dev vx100 master; bridge fdb del ${mac} dev vx100 self; bridge link set dev vx100 flood off`;
    },
    [{ code: "fdb-entry-missing", host: "h2", object: "FDB entry of blue1 in network blue-net" }],
  ),
  staleFdb,
  tableFault(
    "neighbour-missing",
    "h1 has no neighbour entry for blue2, and so does not answer ARP for it",
    "h1",
    async () => "ip neighbour del 10.0.0.2 dev br100",
    [{ code: "neighbour-missing", host: "h1", object: "neighbour 10.0.0.2 of network blue-net" }],
  ),
  staleNeighbour,
  routedFault(
    {
      name: "route-missing",
      title: "h1 has no route to the block of h2 in a network of layer 3",
      expected: [
        { code: "agent-stopped", host: "h1", object: "agent" },
        { code: "route-missing", host: "h1", object: "route to the block of h2 in network routed-net" },
      ],
    },
    "h1",
    "ip route del $(ip -o route show proto 119 dev vx300 | cut -d ' ' -f 1) dev vx300",
  ),
  routedFault(
    {
      name: "forwarding-off",
      title: "h2 does not forward for the blue tenant",
      expected: [
        { code: "agent-stopped", host: "h2", object: "agent" },
        { code: "forwarding-off", host: "h2", object: "net.ipv4.ip_forward of tenant blue" },
      ],
    },
    "h2",
    "sysctl -q -w net.ipv4.ip_forward=0",
  ),
];
