/**
 * How near rates come to the limits that were asked for: one endpoint, limited in one direction, and another on another host, at each
 * limit TCP and UDP, by one connection and by eight. What counts is what the receiver got, as frames of the endpoint.
 *
 *     scripts/node.sh bench/bandwidth.ts [--seconds 5] [--limits 1Mbit,100Mbit]
 */
import { text } from "node:stream/consumers";
import { parseArgs } from "node:util";
import { bitsOf, type Direction, directions, type Rate } from "../src/model/bandwidth.ts";
import { players, Stage } from "../test/attacks/stage.ts";
import { eventually, settled } from "../test/support/underlay.ts";
import { table } from "./netlink-scene.ts";

const { values: options } = parseArgs({
  options: {
    seconds: { type: "string", default: "5" },
    limits: { type: "string", default: "1Mbit,10Mbit,100Mbit,1Gbit" },
  },
});
const seconds = Number(options.seconds);
const limits = options.limits.split(",") as Rate[];

/** Octets of payload in a packet, and of the frame that carries it, with an MTU of 1450. TCP: with timestamps. */
const sizes = { tcp: { payload: 1398, frame: 1464 }, udp: { payload: 1300, frame: 1342 } } as const;
type Protocol = keyof typeof sizes;

const stage = await Stage.make("rate", {});

async function limit(direction: Direction, rate: Rate): Promise<void> {
  const [dataplane] = stage.dataplanes;
  if (dataplane === undefined) throw new TypeError("there is no first node");
  const { endpointBandwidth: _, ...settings } = stage.network(1).settings;
  dataplane.putNetwork({ ...settings, endpointBandwidth: { [direction]: { limit: rate } } });
  await dataplane.changed();
  await settled(dataplane);
}

/** Bits per second of frames that arrived. */
async function measure(direction: Direction, protocol: Protocol, streams: number, rate: Rate): Promise<number> {
  const [from, to] = direction === "send" ? (["attacker", "far"] as const) : (["far", "attacker"] as const);
  const receiver = stage.container(to);
  const server = receiver.namespace.spawn("iperf3", ["--server", "--one-off", "--json"]);
  await eventually("iperf3 listens", () => receiver.shell("ss -Hltn sport = :5201") !== "");
  const offered = Math.round((bitsOf(rate) * 1.3) / streams);
  const words = protocol === "udp" ? ["--udp", "--bitrate", `${offered}`, "--length", `${sizes.udp.payload}`] : [];
  const parameters = ["--time", `${seconds}`, "--omit", "1", "--parallel", `${streams}`, ...words];
  stage.container(from).namespace.spawn("iperf3", ["--client", players[to].ipv4, ...parameters], { stdio: "ignore" });
  const report = JSON.parse(await text(server.stdout as NonNullable<typeof server.stdout>)) as Report;
  if (report.error !== undefined) throw new Error(`iperf3: ${report.error}`);
  let bytes = 0;
  let time = 0;
  for (const { sum } of report.intervals) {
    // What comes after the sender's end is what waited.
    if (sum.omitted || sum.seconds < 0.9 || time >= seconds - 1) continue;
    bytes += sum.bytes;
    time += sum.seconds;
  }
  const { payload, frame } = sizes[protocol];
  return ((bytes * 8) / time) * (frame / payload);
}

interface Report {
  readonly error?: string;
  readonly intervals: readonly {
    readonly sum: { readonly bytes: number; readonly seconds: number; readonly omitted: boolean };
  }[];
}

const megabits = (bits: number): string => (bits / 1e6).toFixed(2);

try {
  const rows = [["limit", "direction", "protocol", "streams", "asked Mbit/s", "measured", "ratio"]];
  for (const rate of limits)
    for (const direction of directions) {
      await limit(direction, rate);
      for (const protocol of ["tcp", "udp"] as const)
        for (const streams of [1, 8]) {
          const found = await measure(direction, protocol, streams, rate);
          const asked = bitsOf(rate);
          rows.push([
            rate,
            direction,
            protocol.toUpperCase(),
            String(streams),
            megabits(asked),
            megabits(found),
            (found / asked).toFixed(3),
          ]);
        }
    }
  console.log(table(rows));
} finally {
  await stage.close();
}
