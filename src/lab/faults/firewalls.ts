import type { Bench } from "./bench.ts";
import {
  addNetwork,
  type ExtraNetwork,
  greNetwork,
  ipipNetwork,
  isUnreachable,
  removeNetwork,
  worldNetwork,
} from "./extra-networks.ts";
import type { Expected, Fault } from "./fault.ts";
import { addFilter, removeFilter } from "./filters.ts";
import type { Need } from "./needs.ts";

const isCutOff = async (bench: Bench): Promise<boolean> => !(await bench.pings("blue1", "10.0.0.2"));

/** Firewalls that drop something in these places. */
function dropped(
  name: string,
  title: string,
  places: readonly (readonly [place: string, hook: "input" | "forward", rule: string])[],
  expected: readonly Expected[],
): Fault {
  return {
    ...{ name, group: "firewalls", title, needs: [], expected },
    async break(bench) {
      for (const [place, hook, rule] of places) await addFilter(bench, place, hook, rule);
    },
    async mend(bench) {
      for (const [place] of places) await removeFilter(bench, place);
    },
    symptom: isCutOff,
  };
}

const vxlan = "udp dport 4789 drop";

/** The switch drops an IP protocol on the way to h2, in which a network of its own has its tunnels. */
function protocolDropped(
  name: string,
  title: string,
  protocol: number,
  network: ExtraNetwork,
  needs: readonly Need[],
): Fault {
  return {
    ...{ name, group: "firewalls", title, needs },
    expected: [{ code: "path-blocked", host: "h1", object: "192.0.2.2" }],
    async break(bench) {
      await addNetwork(bench, network);
      await addFilter(bench, "switch", "forward", `oifname "port2" ip protocol ${protocol} drop`);
    },
    async mend(bench) {
      await removeFilter(bench, "switch");
      await removeNetwork(bench, network);
    },
    symptom: (bench) => isUnreachable(bench, network),
  };
}

const forwardDropped: Fault = {
  name: "forward-dropped",
  group: "firewalls",
  title: "the firewall of h1 forwards nothing, so that a network with egress reaches nothing outside",
  needs: [],
  expected: [{ code: "firewall-drops-forward", host: "h1", object: "table inet firewall" }],
  async break(bench) {
    await addNetwork(bench, worldNetwork);
    await addFilter(bench, "h1", "forward", "", "drop");
  },
  async mend(bench) {
    await removeFilter(bench, "h1");
    await removeNetwork(bench, worldNetwork);
  },
  symptom: async (bench) => bench.has("world1") && !(await bench.pings("world1", "192.0.2.254")),
};

export const firewallFaults: readonly Fault[] = [
  dropped(
    "tunnel-port-dropped",
    "the firewall of h2 drops UDP to port 4789",
    [["h2", "input", vxlan]],
    [{ code: "firewall-drops-tunnel", host: "h2", object: "udp 4789" }],
  ),
  dropped(
    "tunnel-port-dropped-on-both",
    "the firewalls of h1 and h2 drop UDP to port 4789",
    [
      ["h1", "input", vxlan],
      ["h2", "input", vxlan],
    ],
    [
      { code: "firewall-drops-tunnel", host: "h1", object: "udp 4789" },
      { code: "firewall-drops-tunnel", host: "h2", object: "udp 4789" },
    ],
  ),
  dropped(
    "tunnel-port-dropped-in-transit",
    "the switch drops UDP to port 4789 on its way to h2",
    [["switch", "forward", `oifname "port2" ${vxlan}`]],
    [{ code: "path-blocked", host: "h1", object: "192.0.2.2" }],
  ),
  protocolDropped("gre-dropped", "the switch drops GRE on its way to h2", 47, greNetwork, ["gre"]),
  protocolDropped("ipip-dropped", "the switch drops IPIP on its way to h2", 4, ipipNetwork, ["ipip"]),
  dropped(
    "container-firewall",
    "the firewall in blue2 drops what others send it",
    [["blue2", "input", "ip saddr 10.0.0.0/24 drop"]],
    [{ code: "endpoint-firewall", host: "blue2", object: "table inet firewall" }],
  ),
  forwardDropped,
];
