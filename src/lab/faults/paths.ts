import { ping } from "../measure.ts";
import type { Bench } from "./bench.ts";
import type { Expected, Fault } from "./fault.ts";
import { addFilter, removeFilter } from "./filters.ts";
import { makeRouter } from "./underlay.ts";

/** Octets behind the ICMP header that make a packet of the MTU of the blue network, 1450. */
const largest = 1422;

/** Small packets arrive, large ones do not. */
async function isBlackHole(bench: Bench): Promise<boolean> {
  return (await bench.pings("blue1", "10.0.0.2")) && !(await bench.pings("blue1", "10.0.0.2", largest));
}

const tooBigDropped: Fault = {
  name: "icmp-too-big-dropped",
  group: "paths",
  title: "a router to h2 has a smaller MTU, and its firewall drops the ICMP errors that would say so",
  needs: [],
  expected: [{ code: "path-mtu", host: "h1", object: "192.0.2.2" }],
  async break(bench) {
    await makeRouter(bench);
    await bench.sh("server", "ip route replace 192.0.2.2/32 dev eth0 mtu lock 1400");
    await addFilter(bench, "server", "output", "icmp type destination-unreachable icmp code frag-needed drop");
    await bench.sh("h1", "ip route replace 192.0.2.2/32 via 192.0.2.254 dev eth0");
  },
  async mend(bench) {
    await bench.sh("h1", "ip route del 192.0.2.2/32 via 192.0.2.254 2>/dev/null || :");
    await removeFilter(bench, "server");
    await bench.sh("server", "ip route del 192.0.2.2/32 2>/dev/null || :");
    await bench.restoreSysctls();
  },
  symptom: isBlackHole,
};

const smallerSwitch: Fault = {
  name: "switch-mtu-smaller",
  group: "paths",
  title: "the switch takes smaller frames than the hosts send, and says nothing",
  needs: [],
  expected: [{ code: "path-mtu", host: "h1", object: "192.0.2.2" }],
  break: async (bench) => void (await bench.sh("switch", "ip link set port2 mtu 1400")),
  mend: async (bench) => void (await bench.sh("switch", "ip link set port2 mtu 1500")),
  symptom: isBlackHole,
};

/** Some of many packets are lost. */
async function losesSome(bench: Bench, size = 56): Promise<boolean> {
  const { sent, received } = await ping(bench.lab, "blue1", "10.0.0.2", { count: 400, interval: 2, size });
  return received < sent;
}

const loss: Fault = {
  name: "loss",
  group: "paths",
  title: "the switch loses 5 % of what it sends to h2",
  needs: [],
  expected: [{ code: "path-loss", host: "h1", object: "192.0.2.2" }],
  break: (bench) => addFilter(bench, "switch", "forward", 'oifname "port2" numgen random mod 100 < 5 drop'),
  mend: (bench) => removeFilter(bench, "switch"),
  symptom: (bench) => losesSome(bench),
};

/** Frames whose sum did not fit, of all that h2 and blue2 took since they are there. */
async function wrongSums(bench: Bench): Promise<number> {
  const counted = await Promise.all(
    ["h2", "blue2"].map((place) => bench.sh(place, "nstat -asz UdpInCsumErrors IcmpInCsumErrors")),
  );
  return [...counted.join().matchAll(/CsumErrors\s+(\d+)/g)].reduce((sum, [, count]) => sum + Number(count), 0);
}

const corruption: Fault = {
  name: "corruption",
  group: "paths",
  title: "the switch changes octets in a fifth of the tunnelled frames to h2, so that checksums are wrong",
  needs: [],
  expected: [{ code: "path-corrupts", host: "h1", object: "192.0.2.2" }],
  // In the data of the inner packet: 14 + 20 + 8 + 8 octets of outer headers and 14 + 20 + 8 of inner ones come before.
  break: (bench) =>
    addFilter(bench, "switch", "forward", 'oifname "port2" udp dport 4789 numgen random mod 5 == 0 @ll,960,8 set 0xff'),
  mend: (bench) => removeFilter(bench, "switch"),
  async symptom(bench) {
    const before = await wrongSums(bench);
    return (await losesSome(bench)) && (await wrongSums(bench)) > before;
  },
};

/** What the switch sends to h2 waits in a queue that does something to it. */
function queued(name: string, title: string, discipline: string, expected: Expected, symptom: Fault["symptom"]): Fault {
  return {
    ...{ name, group: "paths", title, needs: ["netem"], expected: [expected], symptom },
    break: async (bench) => void (await bench.sh("switch", `tc qdisc replace dev port2 root ${discipline}`)),
    mend: async (bench) => void (await bench.sh("switch", "tc qdisc del dev port2 root 2>/dev/null || :")),
  };
}

async function isSlow(bench: Bench): Promise<boolean> {
  const { averageRtt = 0 } = await ping(bench.lab, "blue1", "10.0.0.2", { count: 5, interval: 200 });
  return averageRtt >= 100;
}

/** Whether answers come in another order than the requests were sent. */
async function comesOutOfOrder(bench: Bench): Promise<boolean> {
  const output = await bench.sh("blue1", "ping -n -c 200 -i 0.002 -W 1 10.0.0.2");
  const numbers = [...output.matchAll(/icmp_seq=(\d+)/g)].map(([, number]) => Number(number));
  return numbers.some((number, place) => number < (numbers[place - 1] ?? 0));
}

const bulk = "bulk";
/** Sends 2 Mbit/s to h2, whoever takes it. */
const sendBulk = `
const socket = require("node:dgram").createSocket("udp4");
socket.on("error", () => {});
setInterval(() => socket.send(Buffer.alloc(1250), 9, "192.0.2.2", () => {}), 5);`;

const exhausted: Fault = {
  name: "bandwidth-exhausted",
  group: "paths",
  title: "the switch has 1 Mbit/s to h2, and h3 alone sends twice as much",
  needs: ["tbf"],
  expected: [{ code: "path-loss", host: "h2", object: "192.0.2.2" }],
  async break(bench) {
    await bench.sh("switch", "tc qdisc replace dev port2 root tbf rate 1mbit burst 5kb latency 20ms");
    bench.lab.startProgram(bulk, "h3", process.execPath, ["-e", sendBulk]);
  },
  async mend(bench) {
    await bench.lab.endProgram(bulk);
    await bench.sh("switch", "tc qdisc del dev port2 root 2>/dev/null || :");
  },
  // As large as what fills the link: small ones find a gap.
  symptom: (bench) => losesSome(bench, 1200),
};

export const pathFaults: readonly Fault[] = [
  tooBigDropped,
  smallerSwitch,
  loss,
  corruption,
  queued(
    "delay",
    "the switch takes 100 ms for what it sends to h2",
    "netem delay 100ms limit 10000",
    { code: "path-delay", host: "h1", object: "192.0.2.2" },
    isSlow,
  ),
  queued(
    "reordering",
    "the switch sends a quarter of the frames to h2 before those that came earlier",
    "netem delay 20ms reorder 25% limit 10000",
    { code: "path-reordering", host: "h1", object: "192.0.2.2" },
    comesOutOfOrder,
  ),
  exhausted,
];
