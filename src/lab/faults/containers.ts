import type { Bench } from "./bench.ts";
import { addNetwork, openNetwork, removeNetwork, worldNetwork } from "./extra-networks.ts";
import type { Fault } from "./fault.ts";
import { answerTwice } from "./underlay.ts";

const isCutOff = async (bench: Bench): Promise<boolean> => !(await bench.pings("blue1", "10.0.0.2"));

const mtuTooLarge: Fault = {
  name: "endpoint-mtu-too-large",
  group: "containers",
  title: "the interface of blue1 has an MTU of 1500, more than the tunnel takes",
  needs: [],
  expected: [{ code: "endpoint-mtu-differs", host: "blue1", object: "eth0" }],
  break: async (bench) => void (await bench.sh("blue1", "ip link set eth0 mtu 1500")),
  mend: async (bench) => void (await bench.sh("blue1", "ip link set eth0 mtu 1450")),
  // 1500 octets as one packet, which with an MTU of 1450 would go in two fragments.
  symptom: async (bench) => (await bench.pings("blue1", "10.0.0.2")) && !(await bench.pings("blue1", "10.0.0.2", 1472)),
};

const linkDown: Fault = {
  name: "endpoint-link-down",
  group: "containers",
  title: "the interface of blue1 is down",
  needs: [],
  expected: [{ code: "endpoint-link-down", host: "blue1", object: "eth0" }],
  break: async (bench) => void (await bench.sh("blue1", "ip link set eth0 down")),
  // An interface that goes down loses its IPv6 addresses.
  mend: async (bench) =>
    void (await bench.sh("blue1", "ip link set eth0 up; ip address replace fd00:77::1/64 dev eth0 nodad")),
  symptom: isCutOff,
};

const ipv6Off: Fault = {
  name: "ipv6-broken",
  group: "containers",
  title: "blue2 has IPv6 switched off; IPv4 works",
  needs: [],
  expected: [{ code: "endpoint-address-missing", host: "blue2", object: "fd00:77::2" }],
  break: async (bench) => void (await bench.sh("blue2", "sysctl -q -w net.ipv6.conf.eth0.disable_ipv6=1")),
  mend: async (bench) =>
    void (await bench.sh(
      "blue2",
      "sysctl -q -w net.ipv6.conf.eth0.disable_ipv6=0; ip address replace fd00:77::2/64 dev eth0 nodad",
    )),
  symptom: async (bench) => (await bench.pings("blue1", "10.0.0.2")) && !(await bench.pings("blue1", "fd00:77::2")),
};

/** Default routes in a container that should reach the world by its node. */
function routing(name: string, title: string, code: string, object: string, change: string): Fault {
  return {
    ...{ name, group: "containers", title, needs: [] },
    expected: [{ code, host: "world1", object }],
    async break(bench) {
      await addNetwork(bench, worldNetwork);
      await bench.sh("world1", change);
    },
    mend: (bench) => removeNetwork(bench, worldNetwork),
    symptom: async (bench) => bench.has("world1") && !(await bench.pings("world1", "192.0.2.254")),
  };
}

const duplicateAddress: Fault = {
  name: "duplicate-ip",
  group: "containers",
  title: "open3 has given itself the address of open2, in a network that lets endpoints send what they like",
  needs: ["arping"],
  expected: [{ code: "endpoint-duplicate-address", host: "open3", object: "10.7.0.2" }],
  async break(bench) {
    await addNetwork(bench, openNetwork);
    await bench.sh("open3", `ip address add ${bench.addressOf("open2")}/24 dev eth0`);
  },
  mend: (bench) => removeNetwork(bench, openNetwork),
  symptom: async (bench) => bench.has("open1") && (await answerTwice(bench, "open1", bench.addressOf("open2"))),
};

const duplicateMac: Fault = {
  name: "duplicate-mac",
  group: "containers",
  title: "open3 has the MAC address of open2, as a machine that was cloned: answers for it go to open2",
  needs: [],
  expected: [{ code: "endpoint-duplicate-mac", host: "open3", object: "eth0" }],
  async break(bench) {
    await addNetwork(bench, openNetwork);
    await bench.sh("open3", `ip link set eth0 address ${await bench.macOf("open2")}`);
  },
  mend: (bench) => removeNetwork(bench, openNetwork),
  symptom: async (bench) => bench.has("open3") && !(await bench.pings("open3", bench.addressOf("open1"))),
};

export const containerFaults: readonly Fault[] = [
  mtuTooLarge,
  linkDown,
  ipv6Off,
  routing(
    "wrong-gateway",
    "the default route of world1 leads to an address that is no gateway",
    "endpoint-gateway-differs",
    "default route",
    // Its metric is lower than that of weft's route.
    "ip route add default via 10.9.0.77 dev eth0",
  ),
  routing(
    "default-route-missing",
    "world1 has no default route",
    "endpoint-default-route-missing",
    "default route",
    "ip route flush default",
  ),
  duplicateAddress,
  duplicateMac,
];
