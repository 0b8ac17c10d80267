import { ip } from "../../base/ip.ts";
import { parseMac } from "../../base/mac.ts";
import { unwrap } from "../../base/result.ts";
import { announcement } from "../../dataplane/announcements.ts";
import { PacketSender } from "../../linux/index.ts";
import { getLink, NetlinkSocket } from "../../netlink/index.ts";
import type { Bench } from "./bench.ts";
import type { Fault } from "./fault.ts";
import { addFilter, removeFilter } from "./filters.ts";
import { answeredFlows } from "./flows.ts";

/** blue1 on h1 and blue2 on h2 are of one network. */
const isCutOff = async (bench: Bench): Promise<boolean> => !(await bench.pings("blue1", "10.0.0.2"));

const nicDown: Fault = {
  name: "underlay-nic-down",
  group: "underlay",
  title: "the interface of h2 to the underlay is down",
  needs: [],
  expected: [{ code: "underlay-link-down", host: "h2", object: "eth0" }],
  break: async (bench) => void (await bench.sh("h2", "ip link set eth0 down")),
  // An interface that goes down loses its IPv6 addresses.
  mend: async (bench) =>
    void (await bench.sh("h2", "ip link set eth0 up; ip address replace 2001:db8::2/64 dev eth0 nodad")),
  symptom: isCutOff,
};

const addressWrong: Fault = {
  name: "vtep-address-wrong",
  group: "underlay",
  title: "h2 has another address than its VTEP address",
  needs: [],
  expected: [{ code: "vtep-address-missing", host: "h2", object: "192.0.2.2" }],
  break: async (bench) =>
    void (await bench.sh("h2", "ip address del 192.0.2.2/24 dev eth0; ip address add 192.0.2.22/24 dev eth0")),
  mend: async (bench) =>
    void (await bench.sh(
      "h2",
      "ip address del 192.0.2.22/24 dev eth0 2>/dev/null || :; ip address replace 192.0.2.2/24 dev eth0",
    )),
  symptom: isCutOff,
};

const addressDuplicate: Fault = {
  name: "vtep-address-duplicate",
  group: "underlay",
  title: "h3 has the VTEP address of h2 as well",
  needs: ["arping"],
  expected: [{ code: "vtep-address-duplicate", host: "h2", object: "192.0.2.2" }],
  async break(bench) {
    await bench.sh("h3", "ip address replace 192.0.2.2/32 dev eth0");
    await announce(bench, "h3");
  },
  async mend(bench) {
    await bench.sh("h3", "ip address del 192.0.2.2/32 dev eth0 2>/dev/null || :");
    await announce(bench, "h2");
  },
  symptom: (bench) => answerTwice(bench, "h1", "192.0.2.2"),
};

/** Tells everybody on the underlay that 192.0.2.2 is at a host, as hosts do whose interface comes up. */
async function announce(bench: Bench, host: string): Promise<void> {
  const mac = unwrap(parseMac(await bench.macOf(host)));
  using namespace = bench.lab.namespace(host);
  using socket = new NetlinkSocket({ namespace });
  using sender = new PacketSender(namespace);
  const { index } = await socket.get(getLink({ name: "eth0" }));
  sender.send(index, announcement(ip("192.0.2.2"), mac));
}

/** Whether more than one MAC address answers for an address. */
export async function answerTwice(bench: Bench, from: string, address: string): Promise<boolean> {
  const heard = await bench.sh(from, `arping -b -c 2 -w 2 -I eth0 ${address} || :`);
  return new Set(heard.match(/(?<=\[)[0-9A-Fa-f:]{17}(?=\])/g)).size > 1;
}

const routeMissing: Fault = {
  name: "underlay-route-missing",
  group: "underlay",
  title: "h2 has no route to the other hosts",
  needs: [],
  expected: [{ code: "underlay-route-missing", host: "h2", object: "192.0.2.1" }],
  break: async (bench) => void (await bench.sh("h2", "ip route del 192.0.2.0/24 dev eth0")),
  mend: async (bench) =>
    void (await bench.sh("h2", "ip route replace 192.0.2.0/24 dev eth0 proto kernel scope link src 192.0.2.2")),
  symptom: isCutOff,
};

const neighbourFailed: Fault = {
  name: "underlay-arp-lost",
  group: "underlay",
  title: "the switch loses the ARP of h2",
  needs: [],
  expected: [{ code: "underlay-neighbour-failed", host: "h1", object: "192.0.2.2" }],
  async break(bench) {
    await addFilter(
      bench,
      "switch",
      "forward",
      'ether type arp meta iifname "port2" drop; ether type arp oifname "port2" drop',
    );
    // Time would do the same.
    for (const host of ["h1", "h2"]) await bench.sh(host, "ip neighbour flush dev eth0");
  },
  mend: (bench) => removeFilter(bench, "switch"),
  symptom: isCutOff,
};

/** A second link between h1 and h2, beside the switch. */
const secondLink = "198.51.100";

const reversePathFilter: Fault = {
  name: "rp-filter-strict",
  group: "underlay",
  title: "h1 drops by rp_filter what h2 sends over a second link",
  needs: [],
  expected: [
    { code: "rp-filter-strict", host: "h1", object: "eth1" },
    { code: "underlay-route-asymmetric", host: "h2", object: "192.0.2.1" },
  ],
  async break(bench) {
    const h2 = bench.lab.names.host("h2");
    await bench.sh("h1", `ip link add eth1 type veth peer name eth1 netns ${h2}`);
    await bench.sh("h1", `ip address add ${secondLink}.1/24 dev eth1; ip link set eth1 up`);
    await bench.sh("h1", "sysctl -q -w net.ipv4.conf.eth1.rp_filter=1");
    await bench.sh("h2", `ip address add ${secondLink}.2/24 dev eth1; ip link set eth1 up`);
    // Else h2 would ask for its next hop by 192.0.2.2, and rp_filter drops that ARP request already.
    await bench.sh("h2", "sysctl -q -w net.ipv4.conf.eth1.arp_announce=2");
    await bench.sh("h2", `ip route add 192.0.2.1/32 via ${secondLink}.1 dev eth1 src 192.0.2.2`);
  },
  // Its routes and settings go with the link.
  mend: async (bench) => void (await bench.sh("h1", "ip link del eth1 2>/dev/null || :")),
  symptom: isCutOff,
};

const asymmetric: Fault = {
  name: "asymmetric-underlay-route",
  group: "underlay",
  title: "h2 sends to h1 by a router, whose firewall does not let tunnels through; h1 sends to h2 directly",
  needs: [],
  expected: [
    { code: "underlay-route-asymmetric", host: "h2", object: "192.0.2.1" },
    { code: "path-blocked", host: "h2", object: "192.0.2.1" },
  ],
  async break(bench) {
    await makeRouter(bench);
    await addFilter(bench, "server", "forward", "udp dport 4789 drop");
    await bench.sh("h2", "ip route replace 192.0.2.1/32 via 192.0.2.254 dev eth0");
  },
  async mend(bench) {
    await bench.sh("h2", "ip route del 192.0.2.1/32 via 192.0.2.254 2>/dev/null || :");
    await removeFilter(bench, "server");
    await bench.restoreSysctls();
  },
  symptom: isCutOff,
};

/** The server's host forwards between hosts on the same link, and does not tell them that they could do without it. */
export async function makeRouter(bench: Bench): Promise<void> {
  await bench.setSysctls("server", {
    "net.ipv4.conf.all.send_redirects": 0,
    "net.ipv4.conf.eth0.send_redirects": 0,
    "net.ipv4.ip_forward": 1,
  });
}

const deadPath: Fault = {
  name: "ecmp-dead-path",
  group: "underlay",
  title: "h1 has two paths to h2, and one leads to a router that is dead",
  needs: [],
  expected: [{ code: "underlay-path-dead", host: "h1", object: "192.0.2.250" }],
  async break(bench) {
    await bench.setSysctls("h1", { "net.ipv4.fib_multipath_hash_policy": 1 });
    await bench.sh("h1", "ip route add 192.0.2.2/32 nexthop dev eth0 nexthop via 192.0.2.250 dev eth0");
  },
  async mend(bench) {
    await bench.sh("h1", "ip route del 192.0.2.2/32 2>/dev/null || :");
    await bench.restoreSysctls();
  },
  async symptom(bench) {
    const answered = await answeredFlows(bench, "blue1", "10.0.0.2", 24);
    return answered > 0 && answered < 24;
  },
};

export const underlayFaults: readonly Fault[] = [
  nicDown,
  addressWrong,
  addressDuplicate,
  routeMissing,
  neighbourFailed,
  reversePathFilter,
  asymmetric,
  deadPath,
];
