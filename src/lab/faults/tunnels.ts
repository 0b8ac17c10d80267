import type { Bench } from "./bench.ts";
import { addNetwork, isUnreachable, nvgreNetwork, removeNetwork } from "./extra-networks.ts";
import type { Fault } from "./fault.ts";

const isCutOff = async (bench: Bench): Promise<boolean> => !(await bench.pings("blue1", "10.0.0.2"));
const tunnel = "tunnel vx100 of network blue-net";

/**
 * The tunnel of the blue network on h2, made by hand while no agent was there to keep it. The agent runs again then, and
 * leaves alone what it did not make.
 */
function madeByHand(name: string, title: string, settings: string, port = "ip link set vx100 master br100"): Fault {
  return {
    ...{ name, group: "tunnels", title, needs: [] },
    expected: [{ code: "tunnel-differs", host: "h2", object: tunnel }],
    async break(bench) {
      const tenant = bench.tenantNamespace("h2", "blue");
      await bench.stopAgent("h2");
      await bench.inTenant("h2", "blue", "ip link del vx100");
      await bench.sh("h2", `ip link add vx100 netns ${tenant} type vxlan local 192.0.2.2 ${settings}`);
      await bench.inTenant("h2", "blue", `${port}; ip link set vx100 mtu 1450 up`);
      await bench.inTenant("h2", "blue", "bridge fdb append 00:00:00:00:00:00 dev vx100 dst 192.0.2.1");
      await bench.lab.startAgent("h2");
    },
    async mend(bench) {
      await bench.stopAgent("h2");
      await bench.inTenant("h2", "blue", "ip link del vx100 2>/dev/null || :");
      await bench.restartAgent("h2");
    },
    symptom: isCutOff,
  };
}

const keyDiffers: Fault = {
  name: "key-differs",
  group: "tunnels",
  title: "an NVGRE tunnel was made by hand with another key",
  needs: ["gretap"],
  expected: [{ code: "tunnel-differs", host: "h2", object: "tunnel to 192.0.2.1 of network routed-net" }],
  async break(bench) {
    await addNetwork(bench, nvgreNetwork);
    const links = await bench.inTenant("h2", "blue", "ip -o link show type gretap");
    const [, device = ""] = /^\d+: ([^@:]+)@.*master br4400/m.exec(links) ?? [];
    bench.note("device", device);
    const tenant = bench.tenantNamespace("h2", "blue");
    await bench.stopAgent("h2");
    await bench.inTenant("h2", "blue", `ip link del ${device}`);
    await bench.sh("h2", `ip link add ${device} netns ${tenant} type gretap local 192.0.2.2 remote 192.0.2.1 key 1`);
    await bench.inTenant("h2", "blue", `ip link set ${device} master br4400 up`);
    await bench.lab.startAgent("h2");
  },
  async mend(bench) {
    await bench.stopAgent("h2");
    const device = bench.noted("device");
    if (device !== undefined) await bench.inTenant("h2", "blue", `ip link del ${device} 2>/dev/null || :`);
    await bench.restartAgent("h2");
    await removeNetwork(bench, nvgreNetwork);
  },
  symptom: (bench) => isUnreachable(bench, nvgreNetwork),
};

const bridgeDeleted: Fault = {
  name: "bridge-deleted",
  group: "tunnels",
  title: "somebody deleted the bridge on h2, where no agent runs that would make it again",
  needs: [],
  expected: [
    { code: "agent-stopped", host: "h2", object: "agent" },
    { code: "bridge-missing", host: "h2", object: "bridge br100 of network blue-net" },
  ],
  async break(bench) {
    await bench.stopAgent("h2");
    await bench.inTenant("h2", "blue", "ip link del br100");
  },
  mend: (bench) => bench.restartAgent("h2"),
  symptom: isCutOff,
};

/** As after a reboot, when another program was quicker. */
const portTaken: Fault = {
  name: "tunnel-port-taken",
  group: "tunnels",
  title: "another program on h2 has UDP port 4789, so that the tunnel cannot come up",
  needs: [],
  expected: [{ code: "tunnel-port-taken", host: "h2", object: "udp 4789" }],
  async break(bench) {
    await bench.stopAgent("h2");
    await bench.inTenant("h2", "blue", "ip link del vx100");
    const program = 'require("node:dgram").createSocket("udp4").bind(4789)';
    bench.lab.startProgram(portHolder, "h2", process.execPath, ["-e", program]);
    await bench.sh("h2", "timeout 60 sh -c 'until ss -Hlun sport = 4789 | grep -q .; do sleep 0.1; done'");
    await bench.lab.startAgent("h2");
  },
  async mend(bench) {
    await bench.lab.endProgram(portHolder);
    await bench.restartAgent("h2");
  },
  symptom: isCutOff,
};

const portHolder = "port-holder";

export const tunnelFaults: readonly Fault[] = [
  madeByHand("vni-differs", "the tunnel on h2 was made by hand with another VNI", "id 101 dstport 4789 nolearning"),
  madeByHand(
    "port-differs",
    "the tunnel on h2 was made by hand with another UDP port",
    "id 100 dstport 8472 nolearning",
  ),
  madeByHand(
    "tunnel-made-by-hand",
    "the tunnel on h2 was made by hand, and is in no bridge",
    "id 100 dstport 4789 nolearning",
    ":",
  ),
  keyDiffers,
  bridgeDeleted,
  portTaken,
];
